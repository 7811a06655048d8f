"""From words to a subcommand: one module each, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO, cast

from wcbuild.access import RegistryAccess
from wcbuild.cli.errors import guarded, leave_quietly, read_file
from wcbuild.cli.render import wants_colour
from wcbuild.interrupts import interrupt_when_told_to_end
from wcbuild.store import default_root

COMMANDS = {
    "build": "build an image from a Dockerfile",
    "run": "run a command in a new container of an image",
    "images": "list the images of the local store",
    "inspect": "show an image's manifest and config",
    "history": "show how an image's layers came to be",
    "tag": "give an image another name",
    "rmi": "remove names, and images that have none left",
    "save": "write images to an archive",
    "load": "read images from an archive",
    "pull": "bring an image from a registry",
    "push": "send an image to a registry",
    "copy": "copy an image between registries, layouts, archives and the local store",
    "login": "remember credentials of a registry",
    "logout": "forget them",
    "prune": "delete what no named image needs",
    "version": "show versions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What a subcommand gets."""

    args: argparse.Namespace
    root: Path
    """Where the store is."""
    environment: Mapping[str, str]
    stdout: TextIO
    stderr: TextIO

    @property
    def registries(self) -> RegistryAccess:
        """How registries are reached."""
        insecure = tuple(self.args.insecure_registry or ())
        return RegistryAccess(insecure=insecure, environment=self.environment)


class Command(Protocol):
    """A subcommand's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare flags and arguments."""
        ...

    def run(self, invocation: Invocation) -> int:
        """Do it; return the exit status."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        return leave_quietly()
    if threading.active_count() > 1:
        # A thread still waits for a registry that says nothing; its result is not wanted any more.
        os._exit(status)
    return status


def _dispatch(words: list[str]) -> int:
    if words and words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    if words and words[0] == "--version":
        words = ["version"]
    # `wcbuild -t x .` is `wcbuild build -t x .`; a first word that is no command is a context.
    name = words.pop(0) if words and words[0] in COMMANDS else "build"
    command = cast("Command", importlib.import_module(f"wcbuild.cli.{name}"))
    parser = _parser(name)
    command.add_arguments(parser)
    spelled_out = getattr(command, "spelled_out", list)
    try:
        args = parser.parse_args(spelled_out(words))
    except SystemExit as exit_:
        # argparse prints and leaves; a caller of `main` gets a status like any other.
        return int(exit_.code or 0)
    interrupt_when_told_to_end()
    environment = dict(os.environ)
    invocation = Invocation(
        args=args,
        # Asked now: some commands become root in a namespace, and then the answer would change.
        root=args.root.absolute() if args.root else default_root(environment),
        environment=environment,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    return guarded(
        lambda: command.run(invocation),
        stream=sys.stderr,
        colour=wants_colour(sys.stderr, environment),
        debug=args.debug,
        read_source=getattr(command, "read_source", lambda _: read_file)(args),
    )


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"wcbuild {name}",
        description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        allow_abbrev=False,
    )
    every = parser.add_argument_group("for every command")
    every.add_argument("--root", type=Path, metavar="DIR", help="where the local store is")
    every.add_argument(
        "--insecure-registry",
        action="append",
        metavar="HOST",
        help="a registry that may speak plain HTTP",
    )
    every.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return (
        "usage: wcbuild [build] [-f FILE] [-t REF]... [flags] PATH\n"
        "       wcbuild COMMAND ...\n\n"
        "Build container images from Dockerfiles and move them to and from registries:\n"
        "no daemon, no root, no other container tool.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n`wcbuild COMMAND --help` says more.\n"
    )
