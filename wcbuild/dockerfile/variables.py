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
        self._entries: dict[str, str] = {}
        """What `entries` returns; every step of a long stage asks for all of them."""
        for entry in entries:
            name, _, value = entry.partition("=")
            self[name] = value

    def renew(self, name: str, value: str) -> None:
        """Set a variable, which is then the last one; BuildKit's steps have their environment so."""
        self.pop(name, None)
        self[name] = value

    def renew_all(self, others: Variables) -> None:
        """Renew all of ``others``, in their order."""
        for key in others._pairs.keys() & self._pairs.keys():
            del self._pairs[key], self._entries[key]
        self._pairs.update(others._pairs)
        self._entries.update(others._entries)

    def entries(self) -> tuple[str, ...]:
        """Return `NAME=value` for each, in the order in which they were first set."""
        return tuple(self._entries.values())

    def copy(self) -> Variables:
        """Return the same variables, to be changed without changing these."""
        same = Variables(caseless=self.caseless)
        same._pairs = dict(self._pairs)
        same._entries = dict(self._entries)
        return same

    def _key(self, name: str) -> str:
        return name.casefold() if self.caseless else name

    def __getitem__(self, name: str) -> str:
        return self._pairs[self._key(name)][1]

    def __setitem__(self, name: str, value: str) -> None:
        key = self._key(name)
        self._pairs[key] = (name, value)
        self._entries[key] = f"{name}={value}"

    def __delitem__(self, name: str) -> None:
        key = self._key(name)
        del self._pairs[key], self._entries[key]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._pairs

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)
