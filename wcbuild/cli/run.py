"""`wcbuild run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from registry.image import read_image
from registry.oci.config import ContainerConfig
from wcbuild.bases import image_layers
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_store
from wcbuild.cli.terminal import Terminal
from wcbuild.dockerfile.lower import DEFAULT_PATH
from wcbuild.dockerfile.variables import Variables
from wcbuild.errors import UsageError
from wcbuild.graph.ops import WINDOWS, Network
from wcbuild.machine import Machine
from wcbuild.request import host_platform
from wcbuild.sandbox.base import RunSpec, SandboxMount
from wcbuild.sizes import parse_size
from wcbuild.snapshot import choose_snapshotter
from wcbuild.solve.layers import Layers
from wcbuild.solve.results import stacked
from wcbuild.store import sweep

_CONTAINER = "wcbuild"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a name or image id of the local store")
    add("command", nargs=argparse.REMAINDER, metavar="CMD", help="instead of the image's")
    add("-i", "--interactive", action="store_true", help="give the command this stdin")
    add("-t", "--tty", action="store_true", help="give the command a terminal")
    add("-v", "--volume", action="append", default=[], metavar="SRC:DST[:ro]")
    add("-e", "--env", action="append", default=[], metavar="K[=V]")
    add("-w", "--workdir", default="", metavar="DIR")
    add("-u", "--user", default="", metavar="USER[:GROUP]")
    add("--entrypoint", default=None, metavar="CMD", help="instead of the image's")
    add("--network", default="host", choices=("host", "none"))
    add("--hostname", default=_CONTAINER, metavar="NAME")
    add("--read-only", action="store_true", help="let nothing be written to the root")
    add("--rm", action="store_true", help="accepted for docker's sake: nothing is ever kept")
    add("-m", "--memory", default="0", metavar="SIZE")
    add("--cpus", type=float, default=0.0, metavar="N")
    add("--pids-limit", type=int, default=0, metavar="N")


def run(invocation: Invocation) -> int:
    """Run the command, and return its exit status."""
    args = invocation.args
    with Machine.start() as machine, opened_store(invocation) as store:
        snapshotter = choose_snapshotter(store.root, machine.identity)
        sweep(store, snapshotter.sweep)
        identity = machine.identity
        layers = Layers(
            store,
            snapshotter,
            ownership=identity.full_ownership,
            devices=not identity.userns,
        )
        image = read_image(store, store.find(args.image).descriptor, host_platform())
        if image.config.platform.os == WINDOWS:
            raise UsageError(f'"{args.image}" is a Windows image, whose programs do not run here')
        snapshot = snapshotter.prepare(layers.snapshot(stacked(image_layers(image))))
        try:
            with Terminal(wanted=args.tty, keep_stdin=args.interactive) as terminal:
                status = machine.sandbox.attach(
                    snapshotter.root(snapshot),
                    _spec(invocation, image.config.config),
                    *terminal.streams,
                )
        finally:
            snapshotter.remove(snapshot)
    return status.code


def _spec(invocation: Invocation, config: ContainerConfig) -> RunSpec:
    args = invocation.args
    entrypoint = config.entrypoint or ()
    command = tuple(args.command) or config.cmd or ()
    if args.entrypoint is not None:
        entrypoint = (args.entrypoint,) if args.entrypoint else ()
        command = tuple(args.command)
    if not entrypoint and not command:
        raise UsageError(f'"{args.image}" says no command; give one')
    env = Variables(config.env)
    for text in args.env:
        name, equals, value = text.partition("=")
        if equals or name in invocation.environment:
            env[name] = value if equals else invocation.environment[name]
    env.setdefault("PATH", DEFAULT_PATH)
    if args.tty:
        env.setdefault("TERM", invocation.environment.get("TERM", "xterm"))
    return RunSpec(
        args=(*entrypoint, *command),
        env=env.entries(),
        cwd=args.workdir or config.working_dir or "/",
        user=args.user or config.user,
        network=Network(args.network),
        hostname=args.hostname,
        mounts=tuple(_volume(text) for text in args.volume),
        memory=parse_size(args.memory),
        cpus=args.cpus,
        pids=args.pids_limit,
        read_only_root=args.read_only,
        terminal=args.tty,
    )


def _volume(text: str) -> SandboxMount:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise UsageError(f'--volume "{text}": expected SRC:DST[:ro] with an absolute DST')
    path = Path(source).absolute()
    if not path.exists():
        raise UsageError(f'--volume "{text}": there is no "{path}"')
    return SandboxMount(target=target, source=path, read_only=mode == "ro")
