"""From words to a subcommand: one module each, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import keyword
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO, cast

from wcbuild.access import RegistryAccess
from wcbuild.cli.errors import INTERRUPTED, describe, guarded, leave_quietly, read_file
from wcbuild.cli.parser import Parser
from wcbuild.cli.render import wants_colour
from wcbuild.dockerfile.suggest import suggest
from wcbuild.errors import UsageError
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
    "import": "make an image of a tar of files",
    "pull": "bring an image from a registry",
    "push": "send an image to a registry",
    "copy": "copy an image between registries, layouts, archives and the local store",
    "sync": "copy what a YAML file lists: many repositories, tags by pattern",
    "ls": "list the tags of a repository",
    "manifest": "read, write and delete manifests",
    "index": "make and change indexes of images for several platforms",
    "blob": "read a blob by its digest",
    "referrers": "list what refers to an image: signatures, SBOMs and the like",
    "attach": "attach files to an image, as an artifact that refers to it",
    "diff": "show how the configs and files of two images differ",
    "pin": "rewrite a Dockerfile's base images to digests",
    "keygen": "make a pair of keys for signing",
    "sign": "sign an image of a registry",
    "verify": "check signatures of an image",
    "attest": "sign a statement about an image, such as an SBOM",
    "verify-attestation": "check signed statements about an image",
    "registry": "serve a registry from a folder, and clean it up",
    "login": "remember credentials of a registry",
    "logout": "forget them",
    "df": "show what takes the space of the local store",
    "prune": "delete what no named image needs",
    "completion": "print what makes a shell complete words of wcbuild",
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
        return RegistryAccess(
            insecure=insecure,
            environment=self.environment,
            signature_policy=self.args.signature_policy,
        )


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
    if "_ARGCOMPLETE" in os.environ:
        # A shell asks what may stand next.
        from wcbuild.cli.completion import answer  # noqa: PLC0415 - for nobody else

        answer()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started us had closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        return leave_quietly()
    except KeyboardInterrupt:  # before a command began
        return INTERRUPTED
    if threading.active_count() > 1:
        # A thread still waits for a registry that says nothing; its result is not wanted any more.
        os._exit(status)
    return status


def _dispatch(words: list[str]) -> int:
    common, words = split_common(words)
    if len(words) > 1 and words[0] == "help" and words[1] in COMMANDS:
        words = [*words[1:], "--help"]
    if words and words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    if words and words[0] == "--version":
        words = ["version"]
    # `wcbuild -t x .` is `wcbuild build -t x .`; a first word that is no command is a context.
    is_named = bool(words) and words[0] in COMMANDS
    name = words.pop(0) if is_named else "build"
    command, parser = command_of(name), parser_of(name)
    spelled_out = getattr(command, "spelled_out", list)
    environment = dict(os.environ)
    colour = wants_colour(sys.stderr, environment)
    try:
        args = parser.parse_args(spelled_out([*common, *words]))
    except UsageError as error:
        sys.stderr.write(describe(error, colour=colour))
        if not is_named:
            sys.stderr.write(_meant_command(words))
        return error.exit_status
    except SystemExit:
        return 0  # the help was printed; a caller of `main` gets a status like any other
    interrupt_when_told_to_end()
    invocation = Invocation(
        args=args,
        # Asked now: some commands become root in a namespace, and then the answer would change.
        root=args.root.absolute() if args.root else default_root(environment),
        environment=environment,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    status = guarded(
        lambda: command.run(invocation),
        stream=sys.stderr,
        colour=colour,
        debug=args.debug,
        read_source=getattr(command, "read_source", lambda _: read_file)(args),
    )
    if status and not is_named and not os.path.lexists(args.context):
        sys.stderr.write(_meant_command([args.context]))
    return status


def split_common(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the flags for every command that stand before its name, and the other words."""
    if not words or not words[0].startswith("-"):
        return [], words  # as mostly, and then no parser is made for it
    common = _add_common(Parser())
    takes_value = {flag: each.nargs != 0 for each in common for flag in each.option_strings}
    end = 0
    while end < len(words):
        flag, has_value, _ = words[end].partition("=")
        if flag not in takes_value:
            break
        end += 2 if takes_value[flag] and not has_value else 1
    return words[:end], words[end:]


def _meant_command(words: Sequence[str]) -> str:
    """Return a line for who may have meant another command than `build`, which failed; or nothing."""
    named = next((word for word in words if word in COMMANDS and not os.path.lexists(word)), None)
    if named:
        return f"a command comes before its own flags: wcbuild {named} ...\n"
    first = words[0] if words else ""
    meant = suggest(first, COMMANDS) if first[:1].isalpha() else ""
    return f'did you mean "wcbuild {meant}"?\n' if meant else ""


def module_of(command: str) -> str:
    """Return the name of a subcommand's module."""
    name = command.replace("-", "_")
    # A module cannot be called as a word of the language is.
    return f"wcbuild.cli.{name}_" if keyword.iskeyword(name) else f"wcbuild.cli.{name}"


def command_of(name: str) -> Command:
    """Return the module of a subcommand."""
    return cast("Command", importlib.import_module(module_of(name)))


def parser_of(name: str) -> Parser:
    """Return the parser of a subcommand's words."""
    text = COMMANDS[name]
    parser = Parser(prog=f"wcbuild {name}", description=f"{text[0].upper()}{text[1:]}.")
    _add_common(parser)
    command_of(name).add_arguments(parser)
    return parser


def add_actions(
    parser: argparse.ArgumentParser, texts: Mapping[str, str]
) -> dict[str, argparse.ArgumentParser]:
    """Give a command actions of its own, `manifest get`; return the parser of each.

    What the person chose is `args.action`. ``texts`` say what each does.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {}
    for name, text in texts.items():
        made[name] = actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        # Flags for every command may stand before the action, and are not reset when they do.
        _add_common(made[name], default=argparse.SUPPRESS)
    return made


def _add_common(
    parser: argparse.ArgumentParser, default: str | None = None
) -> list[argparse.Action]:
    """Declare the flags for every command; return them."""
    every = parser.add_argument_group("for every command")
    return [
        every.add_argument(
            "--root", type=Path, metavar="DIR", default=default, help="where the local store is"
        ),
        every.add_argument(
            "--insecure-registry",
            action="append",
            metavar="HOST",
            default=default,
            help="a registry that may speak plain HTTP",
        ),
        every.add_argument(
            "--signature-policy",
            type=Path,
            metavar="FILE",
            default=default,
            help="a policy.json that pulled and base images have to meet",
        ),
        every.add_argument(
            "--debug", action="store_true", default=default or False, help="show tracebacks"
        ),
    ]


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return (
        "usage: wcbuild [build] [-f FILE] [-t REF]... [flags] PATH\n"
        "       wcbuild [--root DIR] [--insecure-registry HOST] [--debug] COMMAND ...\n\n"
        "Build container images from Dockerfiles and move them to and from registries:\n"
        "no daemon, no root, no other container tool.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n`wcbuild COMMAND --help` says more.\n"
    )
