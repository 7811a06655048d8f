"""What can go wrong with your text, your step or your machine.

    WcbuildError
     |- SourceError(message, spans, hint)       a place in a Dockerfile is to blame
     |    |- DockerfileSyntaxError              ... and it could not be read at all
     |- ContextError(path, reason)              the build context is not there or not readable
     |    |- ContextChangedError                ... or a file of it was written meanwhile
     |- RemoteError(url, reason)                what ADD or a context names cannot be fetched
     |- UnsafeArchiveError(entry, reason)       a tar that tries to leave its root, or is damaged
     |- LayerError(what, reason)                a layer that is not what its image says
     |- SandboxError(operation, reason, hint)   the kernel refused what a RUN needs
     |- StepFailedError(label, status, tail)    a command of yours ended with a status that is not 0
     |- CancelledError                          something else failed, or the person asked to stop
     |- StoreInUseError(path, holders)          another process holds the local store
     |- UsageError(message)                     an option or argument that makes no sense

Fields first; the message is derived from them and is one line. `registry.errors` has the other family.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wcbuild.dockerfile.source import Span


class WcbuildError(Exception):
    """Any failure of this package.

    ``spans`` name the places in a Dockerfile that are to blame, first the one to show, and ``word`` the
    text to underline there. ``dockerfile`` is its text, if it came from where nobody can read it again.
    Whoever raises need not know them: the caller who does fills them in.
    """

    exit_status = 1
    spans: tuple[Span, ...] = ()
    word = ""
    dockerfile: str | None = None


@contextlib.contextmanager
def blaming(*spans: Span) -> Iterator[None]:
    """Give an error these places, unless it knows better ones."""
    try:
        yield
    except WcbuildError as error:
        error.spans = error.spans or spans
        raise


class SourceError(WcbuildError):
    """A place in a Dockerfile is to blame."""

    def __init__(
        self, message: str, spans: tuple[Span, ...] = (), *, word: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, spans)
        self.message = message
        self.spans = spans
        self.word = word
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.spans[0]}: " if self.spans else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


class DockerfileSyntaxError(SourceError):
    """The text is not a Dockerfile."""


class ContextError(WcbuildError):
    """The build context is not there, is not a folder, or cannot be read."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'build context "{self.path}": {self.reason}'


class ContextChangedError(ContextError):
    """A file of the build context was cut or rewritten after the build had looked at it."""

    def __init__(self, path: str) -> None:
        hint = "build again when nobody writes it, or keep it out with .dockerignore"
        super().__init__(path, f"changed while it was read; {hint}")


class RemoteError(WcbuildError):
    """Something that ADD or a build context names cannot be fetched, or is not what it should be.

    ``url`` is without user and password.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = self.word = url
        self.reason = reason

    def __str__(self) -> str:
        return f'fetch "{self.url}": {self.reason}'


class UnsafeArchiveError(WcbuildError):
    """An archive entry that points outside the root, or an archive that is damaged."""

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(entry, reason)
        self.entry = entry
        self.reason = reason

    def __str__(self) -> str:
        # An attacker chose the name: it may be long, and hold what a terminal obeys.
        entry = repr(self.entry[:200])[1:-1]
        return f'entry "{entry}" {self.reason}; nothing was written outside the image root'


class LayerError(WcbuildError):
    """A layer that is not what its image says."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class SandboxError(WcbuildError):
    """The kernel refused what a RUN needs; ``hint`` says which setting allows it."""

    def __init__(self, operation: str, reason: str, hint: str = "") -> None:
        super().__init__(operation, reason, hint)
        self.operation = operation
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"sandbox: {self.operation}: {self.reason}{hint}"


class StepFailedError(WcbuildError):
    """A command ended with a status that is not 0.

    ``tail`` is its last output, decoded; ``spans`` the Dockerfile's lines; ``out_of_memory`` says that the
    kernel killed something of it, as it wanted more than it was given.
    """

    def __init__(
        self,
        label: str,
        command: str,
        status: int,
        tail: str,
        spans: tuple[Span, ...] = (),
        *,
        out_of_memory: bool = False,
    ) -> None:
        super().__init__(label, command, status, tail, spans)
        self.out_of_memory = out_of_memory
        self.label = label
        self.command = command
        self.status = status
        self.tail = tail
        self.spans = spans

    def __str__(self) -> str:
        place = f"{self.spans[0]}: " if self.spans else ""
        why = " (it wanted more memory than --memory allows)" if self.out_of_memory else ""
        return (
            f'{place}process "{self.command}" did not complete successfully: '
            f"exit code: {self.status}{why}"
        )


class CancelledError(WcbuildError):
    """Ended because something else failed, or because the person asked to stop."""

    def __str__(self) -> str:
        return "canceled"


class StoreInUseError(WcbuildError):
    """Another process holds the local store."""

    def __init__(self, path: str, holders: tuple[int, ...]) -> None:
        super().__init__(path, holders)
        self.path = path
        self.holders = holders

    def __str__(self) -> str:
        who = ", ".join(f"process {pid}" for pid in self.holders) or "another process"
        return f"the store {self.path} is in use by {who}; try again when it has ended"


class UsageError(WcbuildError):
    """An option or argument that makes no sense."""

    exit_status = 2
