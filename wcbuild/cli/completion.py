"""`wcbuild completion`, and the answers to a shell that asks what may stand next.

A shell that has read what `wcbuild completion` prints runs `wcbuild` with `_ARGCOMPLETE` in its environment
when somebody presses Tab; argcomplete takes the line from there and prints the words.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import argcomplete
from argcomplete.completers import DirectoriesCompleter
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from registry.errors import RegistryError
from wcbuild.cli.main import COMMANDS, Invocation, parser_of, split_common
from wcbuild.cli.parser import Parser
from wcbuild.errors import WcbuildError
from wcbuild.store import default_root, open_store

SHELLS = ("bash", "zsh", "fish")

_OF_LOCAL_IMAGES = frozenset(("run", "inspect", "history", "tag", "rmi", "save", "push"))
"""Commands whose arguments are images of the local store."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("shell", choices=SHELLS, help="which shell will read it")


def run(invocation: Invocation) -> int:
    """Print what the shell has to read at its start."""
    script = shellcode(["wcbuild"], shell=invocation.args.shell)
    invocation.stdout.write(script)
    return 0


def answer() -> NoReturn:
    """Print the words that may stand where the cursor is, and end the process."""
    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    common, rest = split_common(words[1:])
    is_named = bool(rest) and rest[0] in COMMANDS
    parser = parser_of(rest[0] if is_named else "build")
    if not rest:
        folders = DirectoriesCompleter()
        _complete(parser, lambda prefix, **_: [*COMMANDS, *folders(prefix)])
    elif rest[0] in _OF_LOCAL_IMAGES:
        _complete(parser, lambda parsed_args, **_: _local_images(parsed_args.root))
    # The number of the word, from 1, behind which the words for the parser begin.
    os.environ["_ARGCOMPLETE"] = str(1 + len(common) + is_named)
    argcomplete.autocomplete(parser, always_complete_options=False)
    raise AssertionError("argcomplete ends the process")


def _complete(parser: Parser, words: Callable[..., Iterable[str]]) -> None:
    for argument in parser.positionals:
        argument.completer = words  # type: ignore[attr-defined]  # where argcomplete looks for it


def _local_images(root: Path | None) -> list[str]:
    root = root or default_root(os.environ)
    if not root.exists():
        return []  # looking for names makes no store
    with (
        contextlib.suppress(WcbuildError, RegistryError, OSError),
        contextlib.closing(open_store(root)) as store,
    ):
        return [each.reference.familiar for each in store.images() if each.reference]
    return []
