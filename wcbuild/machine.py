"""The process a build runs in: its identity, its own mount namespace, and the launcher of sandboxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from wcbuild.sandbox.identity import Identity, become_root
from wcbuild.sandbox.launcher import Launcher, NamespaceSandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Made once, at the start of a process, before its first thread.

    As a context manager it ends the launcher, and with it everything that runs in a sandbox.
    """

    identity: Identity
    launcher: Launcher

    @classmethod
    def start(cls, *, want_userns: bool = False) -> Self:
        """Become root, in a user namespace if need be, and fork the launcher."""
        # In this order: the launcher's sandboxes are made from the namespaces that it inherits.
        identity = become_root(want_userns=want_userns)
        return cls(identity=identity, launcher=Launcher.start())

    @property
    def sandbox(self) -> NamespaceSandbox:
        """Where RUN runs."""
        return NamespaceSandbox(self.launcher, self.identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.launcher.close()
