"""The parser of one command's words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, and raises it; a page of flags would hide that."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, **keywords)

    def parse_known_args(  # type: ignore[override]  # typeshed: overloads by the namespace's type
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse words, all of which have to be known.

        Raises:
            UsageError: they are not, one lacks its value, or something is missing.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            flag = word.partition("=")[0]
            if flag.startswith("-"):
                hint = did_you_mean(flag, self._option_string_actions)
                self.error(f'unknown flag "{flag}"{f", {hint}" if hint else ""}')
            self.error(f'unexpected argument "{word}"')
        return found, []

    @property
    def positionals(self) -> list[argparse.Action]:
        """The arguments that are no flags."""
        return self._get_positional_actions()

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print. Raises UsageError."""
        raise UsageError(f"{message} ({self.prog} --help shows what there is)")
