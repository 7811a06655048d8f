"""Environment variables, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping


class Variables(MutableMapping[str, str]):
    """Values by name. One that is set again keeps its place; ``caseless`` names differ in more than case.

    Windows knows a variable by any spelling of its name, and so does `$name` in the Dockerfile of a
    Windows image.
    """

    def __init__(self, entries: Iterable[str] = (), *, caseless: bool = False) -> None:
        """Take over ``entries`` (`NAME=value`, as in an image's config)."""
        self.caseless = caseless
        self._pairs: dict[str, tuple[str, str]] = {}
        for entry in entries:
            name, _, value = entry.partition("=")
            self[name] = value

    def renew(self, name: str, value: str) -> None:
        """Set a variable, which is then the last one; BuildKit's steps have their environment so."""
        self.pop(name, None)
        self[name] = value

    def entries(self) -> tuple[str, ...]:
        """Return `NAME=value` for each, in the order in which they were first set."""
        return tuple(f"{name}={value}" for name, value in self._pairs.values())

    def copy(self) -> Variables:
        """Return the same variables, to be changed without changing these."""
        same = Variables(caseless=self.caseless)
        same._pairs = dict(self._pairs)
        return same

    def _key(self, name: str) -> str:
        return name.casefold() if self.caseless else name

    def __getitem__(self, name: str) -> str:
        return self._pairs[self._key(name)][1]

    def __setitem__(self, name: str, value: str) -> None:
        self._pairs[self._key(name)] = (name, value)

    def __delitem__(self, name: str) -> None:
        del self._pairs[self._key(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._pairs

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)
