"""`wcbuild build`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.files import replacing
from registry.oci import mediatypes
from wcbuild.builder import plan_build, run_build
from wcbuild.cli.buildargs import read_build_args
from wcbuild.cli.errors import SourceReader, read_file
from wcbuild.cli.flags import add_absent, add_switch
from wcbuild.cli.main import Invocation
from wcbuild.cli.render import choose, rendering
from wcbuild.cli.runflags import read_host, read_limits, read_size, read_ulimit
from wcbuild.cli.secrets import find_agents, read_secrets
from wcbuild.cli.signing import add_password_argument, signing_key
from wcbuild.errors import UsageError
from wcbuild.graph.ops import Network
from wcbuild.inputs import STDIN, is_fetched
from wcbuild.machine import Machine
from wcbuild.outputs import Output
from wcbuild.remotecache.spec import CacheFrom, CacheTo
from wcbuild.request import SHM_BYTES, BuildRequest, BuildResult
from wcbuild.solve.events import Event

if TYPE_CHECKING:
    from registry.sign import SigningKey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add = parser.add_argument
    add(
        "context",
        metavar="PATH|URL|-",
        help="the build context: a folder, a URL, or a tar on stdin",
    )
    add(
        "-f",
        "--file",
        metavar="FILE",
        help="the Dockerfile, - for stdin (default: PATH/Dockerfile)",
    )
    add("-t", "--tag", action="append", default=[], metavar="REF", help="a name for the image")
    add("--target", default="", metavar="STAGE", help="the stage to build (default: the last)")
    add("--build-arg", action="append", default=[], metavar="K[=V]", help="set an ARG")
    add(
        "--build-context",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a folder, URL, oci-layout://DIR, docker-image://REF or stage to use as NAME",
    )
    add("--label", action="append", default=[], metavar="K=V", help="add a label")
    add(
        "--annotation",
        action="append",
        default=[],
        metavar="[PLACE:]K=V",
        help="annotate the manifest, or manifest[OS/ARCH], index, manifest-descriptor",
    )
    add(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH[,...]",
        help="build for other platforms; several give an index",
    )
    add(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="SPEC",
        help="type=oci|docker|local|tar|image|registry|cacheonly[,dest=PATH], or a folder; with tar=false,"
        " platform-split=BOOL, name=REF, push=true, push-by-digest=true,"
        " compression=gzip|zstd|uncompressed, compression-level=N",
    )
    add_switch(parser, "--push", dest="push", help="push the image under its names")
    add("--sign-key", default="", metavar="FILE", help="sign what is pushed with a private key")
    add_password_argument(parser)
    add_switch(
        parser, "--load", dest="load", help="accepted for docker's sake: images always land here"
    )
    add_switch(parser, "--pull", dest="pull", help="ask registries for newer base images")
    add_switch(
        parser,
        "--squash",
        dest="squash",
        help="make one layer of what the build adds to its base image",
    )
    add_switch(
        parser,
        "--no-cache",
        dest="no_cache",
        help="build every step again, with empty caches of mounts",
    )
    add(
        "--no-cache-filter",
        action="append",
        default=[],
        metavar="STAGE[,...]",
        help="build every step of these stages again",
    )
    add(
        "--cache-from",
        action="append",
        default=[],
        metavar="REF|SPEC",
        help="look for results there, too: REF, type=registry,ref=REF or type=local,src=DIR",
    )
    add(
        "--cache-to",
        action="append",
        default=[],
        metavar="REF|SPEC",
        help="leave results there: type=registry,ref=REF[,mode=max], type=local,dest=DIR or type=inline",
    )
    add(
        "--allow",
        action="append",
        default=[],
        metavar="WHAT",
        help="what the Dockerfile may have: network.host, security.insecure, device or device=NAME",
    )
    add(
        "--secret",
        action="append",
        default=[],
        metavar="id=ID[,src=FILE|,env=NAME]",
        help="a secret for RUN --mount=type=secret",
    )
    add(
        "--ssh",
        action="append",
        default=[],
        metavar="default|ID[=SOCKET|KEY[,KEY]]",
        help="an agent, or private keys, for RUN --mount=type=ssh",
    )
    add(
        "--compat",
        default="",
        metavar="2015",
        help="read backslashes of a Dockerfile for Windows as paths, without # escape=`",
    )
    add(
        "--network",
        type=lambda text: text or Network.DEFAULT,
        default="default",
        choices=tuple(map(str, Network)),
        metavar="MODE",
        help="of RUNs: default or host, which both are this machine's, or none",
    )
    add(
        "--add-host",
        action="append",
        default=[],
        metavar="NAME:IP[,...]",
        help="add a host name; the address host-gateway is this machine",
    )
    add(
        "--ulimit",
        action="append",
        default=[],
        metavar="TYPE=SOFT[:HARD]",
        help="limit what each process of a RUN may use; -1 is no limit",
    )
    add("--shm-size", default="64m", metavar="SIZE", help="size of /dev/shm in RUN")
    add("-m", "--memory", default="0", metavar="SIZE", help="memory that a RUN may use")
    add("--cpus", type=float, default=0.0, metavar="N", help="processors that a RUN may use")
    add("--cpu-quota", default="", metavar="US", help="--cpus in docker's way: so many of each")
    add("--cpu-period", default="", metavar="US", help="microseconds (default: 100000)")
    add(
        "--resource",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="memory, cpu-quota or cpu-period, as the flags of these names",
    )
    add("--pids-limit", type=int, default=0, metavar="N", help="processes that a RUN may have")
    add(
        "--isolation",
        default="default",
        choices=("default", "wine"),
        help="wine: run the RUNs of Windows images, under Wine",
    )
    add(
        "--wine-registry",
        action="store_true",
        help="keep what RUNs under Wine add to the registry (experimental)",
    )
    add(
        "--wine-keep",
        action="append",
        default=[],
        metavar="FOLDER",
        help="keep what RUNs under Wine change in a folder below C:\\Windows",
    )
    add(
        "--call",
        default="build",
        metavar="METHOD[,format=json]",
        help="build, or print what check, outline or targets say without building",
    )
    add_switch(
        parser,
        "--check",
        dest="call",
        on="check",
        off="build",
        help="the same as --call=check: exit status 1 if there are warnings",
    )
    add(
        "--print-plan",
        choices=("text", "json"),
        metavar="FORMAT",
        help="say what would be built, as text or (--print-plan=json) JSON, and build nothing",
    )
    add(
        "--progress",
        default="auto",
        metavar="MODE",
        help="auto, tty, plain, rawjson, quiet or none",
    )
    add_switch(parser, "-q", "--quiet", dest="quiet", help="print only the image id")
    add("--iidfile", default="", metavar="FILE", help="write the image id to FILE")
    add(
        "--metadata-file",
        default="",
        metavar="FILE",
        help="write digests and names to FILE as JSON",
    )
    add_absent(parser)


def run(invocation: Invocation) -> int:
    """Build; print the image id if asked to be quiet."""
    args = invocation.args
    request = make_request(invocation)
    if args.call not in ("", "build"):
        from wcbuild.cli.calls import Call, run_call  # noqa: PLC0415 - most invocations build

        call = Call.parse(args.call)
        if call.method != "build":
            return run_call(call, request, invocation.stdout)
    if args.print_plan:
        from wcbuild.cli.plan import shown  # noqa: PLC0415 - most invocations build

        with Machine.start() as machine:
            invocation.stdout.write(shown(plan_build(request, machine, _ignore), args.print_plan))
        return 0
    for path in filter(None, (args.iidfile, args.metadata_file)):
        _check_folder(path)
    if os.path.isfile(args.iidfile):
        os.unlink(args.iidfile)  # whoever reads it after a failure must not find another build's
    # docker's `quiet` is `-q`, and says the id at the end; `none` says nothing.
    quiet = args.quiet or args.progress == "quiet"
    with Machine.start() as machine:
        progress = "none" if quiet else args.progress
        renderer = choose(progress, invocation.stderr, invocation.environment)
        with rendering(renderer) as emit:
            result = run_build(request, machine, emit)
    if args.iidfile:
        _write(args.iidfile, result.image_id.encode())
    if args.metadata_file:
        _write(args.metadata_file, json.dumps(metadata(result), indent=2).encode() + b"\n")
    if quiet:
        invocation.stdout.write(f"{result.image_id}\n")
    return 0


def spelled_out(words: list[str]) -> list[str]:
    """Give `--print-plan` its value: alone, argparse would take the next word for it."""
    return ["--print-plan=text" if word == "--print-plan" else word for word in words]


def _ignore(_: Event) -> None:
    return


def read_source(args: argparse.Namespace) -> SourceReader:
    """Return a reader for the file that an error's place names."""
    if is_fetched(args.context, args.file) or args.file == STDIN:
        # It is not here any more.
        return lambda _: None
    path = args.file or os.path.join(args.context, "Dockerfile")
    return lambda name: read_file(path) if name == os.path.basename(path) else read_file(name)


def make_request(invocation: Invocation) -> BuildRequest:
    """Read the words of the command line.

    Raises:
        UsageError: one of them makes no sense.
    """
    args = invocation.args
    memory, cpus = read_limits(args)
    return BuildRequest(
        context=args.context,
        file=args.file,
        stdin=sys.stdin.fileno() if STDIN in (args.context, args.file) else None,
        tags=tuple(args.tag),
        target=args.target,
        build_args=read_build_args(args.build_arg, invocation.environment),
        labels=_pairs("--label", args.label, alone=True),
        annotations=_pairs("--annotation", filter(None, args.annotation)),
        platform=_platform(args.platform, invocation.environment),
        build_contexts=_pairs("--build-context", args.build_context, empty=False),
        outputs=tuple(Output.parse(text) for text in args.output if text),
        push=args.push,
        pull=args.pull,
        squash=args.squash,
        no_cache=args.no_cache,
        no_cache_filter=_words(args.no_cache_filter),
        cache_from=tuple(CacheFrom.parse(text) for text in args.cache_from if text),
        cache_to=tuple(CacheTo.parse(text) for text in args.cache_to if text),
        allow=tuple(_entitlements(args.allow)),
        compat=args.compat,
        network=args.network,
        add_hosts=tuple(read_host(text) for text in _words(args.add_host)),
        ulimits=tuple(read_ulimit(text) for text in args.ulimit),
        shm_size=read_size("--shm-size", args.shm_size) or SHM_BYTES,
        memory=memory,
        cpus=cpus,
        pids_limit=args.pids_limit,
        isolation=args.isolation,
        wine_registry=args.wine_registry,
        wine_keep=tuple(args.wine_keep),
        secrets=read_secrets(args.secret, invocation.environment),
        ssh=find_agents(args.ssh, invocation.environment),
        sign_key=_sign_key(invocation),
        root=invocation.root,
        registries=invocation.registries,
    )


def metadata(result: BuildResult) -> dict[str, object]:
    """Return what `--metadata-file` writes, in buildx's words."""
    data: dict[str, object] = {}
    if not mediatypes.is_index(result.descriptor.media_type):
        data["containerimage.config.digest"] = result.image_id
    if result.wine:
        data["wcbuild.isolation"] = "wine"
        data["wcbuild.wine.version"] = result.wine
    return data | {
        "containerimage.descriptor": result.descriptor.to_json(),
        "containerimage.digest": result.descriptor.digest,
        "image.name": ",".join(result.names),
    }


def _sign_key(invocation: Invocation) -> SigningKey | None:
    """Open the key before anything is built: a wrong password must not cost a build."""
    args = invocation.args
    if not args.sign_key:
        return None
    return signing_key(args.sign_key, args.key_password_fd, invocation.environment)


def _check_folder(path: str) -> None:
    """Say before anything is built that a file cannot be written after it."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UsageError(f'cannot write "{path}": there is no folder "{folder}"')


def _write(path: str, data: bytes) -> None:
    with replacing(Path(path).absolute()) as file:
        file.write(data)


def _entitlements(texts: Iterable[str]) -> Iterator[str]:
    """Yield what is allowed; commas separate it, but one after a device's name is that device's."""
    for text in texts:
        yield from [text] if text.startswith("device=") else _words([text])


def _words(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _pairs(
    flag: str, texts: Iterable[str], *, alone: bool = False, empty: bool = True
) -> dict[str, str]:
    """Read `NAME=VALUE`; ``alone`` takes a name without a value, ``empty`` a value of no length."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not (equals or alone) or not (value or empty):
            raise UsageError(f'{flag} "{text}": expected NAME=VALUE')
        pairs[name] = value
    return pairs


def _platform(texts: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what is asked for, or else what the user builds for wherever nothing is."""
    return ",".join(_words(texts)) or environment.get("DOCKER_DEFAULT_PLATFORM", "")
