"""`wcbuild import`: a build whose one step unpacks a tar of files into an empty image."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from registry.compress import SNIFF, decompressing
from registry.errors import DamagedDataError
from registry.files import store_errors
from wcbuild.builder import run_build
from wcbuild.cli.main import Invocation
from wcbuild.cli.render import choose, rendering
from wcbuild.cli.stores import opened_store
from wcbuild.errors import UsageError
from wcbuild.layer.tar import BLOCK_SIZE
from wcbuild.machine import Machine
from wcbuild.request import BuildRequest
from wcbuild.snapshot.removal import remove_tree
from wcbuild.store import LocalStore
from wcbuild.tree.unpack import is_header

_NAME = "rootfs.tar"
_BLOCK = 1024 * 1024
_CHANGES = (
    *("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL"),
    *("USER", "VOLUME", "WORKDIR"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("file", metavar="FILE|-", help="a tar of all files, compressed or not")
    parser.add_argument("name", nargs="?", metavar="REF", help="a name for the image")
    parser.add_argument(
        "-c",
        "--change",
        action="append",
        default=[],
        metavar="INSTRUCTION",
        help=f"set something as a Dockerfile does: {', '.join(_CHANGES)}",
    )
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="what the files are for")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Make the image, and print its id."""
    args = invocation.args
    for change in args.change:
        if change.partition(" ")[0].upper() not in _CHANGES or "\n" in change:
            raise UsageError(f'--change "{change}": it is one of {", ".join(_CHANGES)}')
    mode = "quiet" if args.quiet else args.progress
    with (
        Machine.start() as machine,
        opened_store(invocation) as store,
        _context(store, args.file) as context,
        rendering(choose(mode, invocation.stderr, invocation.environment)) as emit,
    ):
        request = BuildRequest(
            context=context,
            file="-",
            stdin="\n".join(["FROM scratch", f"ADD {_NAME} /", *args.change, ""]).encode(),
            tags=(args.name,) if args.name else (),
            platform=args.platform,
            root=invocation.root,
            registries=invocation.registries,
        )
        result = run_build(request, machine, emit)
    invocation.stdout.write(f"{result.image_id}\n")
    return 0


@contextlib.contextmanager
def _context(store: LocalStore, name: str) -> Iterator[Path]:
    """Make a folder that holds the archive and nothing else, for the `with` block."""
    folder = store.scratch_folder()
    path = folder / _NAME
    try:
        if name == "-":
            _copy(sys.stdin.buffer, path)
        else:
            try:
                os.link(os.path.realpath(name), path)
            except OSError:  # on another file system, or not ours
                with open(name, "rb") as source:
                    _copy(source, path)
        _check(path, name)
        yield folder
    finally:
        remove_tree(folder)


def _copy(source: BinaryIO, path: Path) -> None:
    with store_errors(path), open(path, "wb") as file:
        while block := source.read(_BLOCK):
            file.write(block)


def _check(path: Path, name: str) -> None:
    """Refuse what is no archive: ADD would take it for a file. Raises UsageError."""
    try:
        with decompressing(open(path, "rb"), SNIFF) as stream:
            is_archive = is_header(stream.read(BLOCK_SIZE))
    except DamagedDataError:
        is_archive = False
    if not is_archive:
        raise UsageError(f'"{name}" is not a tar')
