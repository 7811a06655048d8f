"""Why files cannot be placed where an instruction wants them.

PlaceError(word)                       the CLI underlines ``word`` in the instruction
 |- MissingSourceError(source, near)   COPY of something that is not there
 |- InvalidPatternError(pattern)       a wildcard that cannot be read
 |- ConflictError(source, path, reason)  a file where a directory is needed, or the reverse
 |- TooManyLinksError(path)            symlinks that lead in a circle
 |- InvalidModeError(text, reason)     --chmod
 |- InvalidOwnerError(text, reason)    --chown, USER
"""

from __future__ import annotations

from wcbuild.errors import WcbuildError


class PlaceError(WcbuildError):
    """Files that cannot be placed. ``word`` is the text of the instruction that is to blame, if any."""

    word = ""


class MissingSourceError(PlaceError):
    """A source path without wildcards that is not there.

    ``where`` says which files were searched; ``near`` are paths there that look like it;
    ``ignored`` says that it exists but `.dockerignore` keeps it out; ``link`` is what it is a symlink to;
    ``through`` is a symlink above it, which --parents does not follow.
    """

    def __init__(
        self,
        source: str,
        where: str,
        near: tuple[str, ...] = (),
        *,
        ignored: bool = False,
        link: str = "",
        through: str = "",
    ) -> None:
        # Not `ignored`, which takes no place among the arguments: `pickle` brings it with the other fields.
        super().__init__(source, where, near)
        self.source = source
        self.word = source
        self.where = where
        self.near = near
        self.ignored = ignored
        self.link = link
        self.through = through

    def __str__(self) -> str:
        if self.link:
            return f'"/{self.source}": links to "{self.link}", not found in {self.where}'
        if self.ignored:
            hint = " (it is there, but .dockerignore excludes it)"
        elif self.through:
            hint = f' ("/{self.through}" is a symlink, and --parents goes through none)'
        elif self.near:
            near = " or ".join(f'"/{path}"' for path in self.near)
            hint = f" (did you mean {near}?)"
        else:
            hint = ""
        return f'"/{self.source}": not found in {self.where}{hint}'


class InvalidPatternError(PlaceError):
    """A wildcard, or a pattern of --exclude, that cannot be read."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.pattern = pattern
        self.word = pattern

    def __str__(self) -> str:
        return f'"{self.pattern}": syntax error in pattern'


class ConflictError(PlaceError):
    """What is to be written and what is there are of different kinds. ``source`` is what is written."""

    def __init__(self, source: str, path: str, reason: str) -> None:
        super().__init__(source, path, reason)
        self.source = source
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'cannot write "/{self.source}" to "/{self.path}": {self.reason}'


class InTheWayError(ConflictError):
    """A directory ``source`` cannot be made, as ``path``, itself or above it, is none."""

    def __init__(self, source: str, path: str, reason: str) -> None:
        super().__init__(source, path, reason)
        self.word = f"/{source}"

    def __str__(self) -> str:
        if self.source != self.path:
            return f'"/{self.path}" is {self.reason}, so "/{self.source}" cannot be made'
        return f'"/{self.path}" is {self.reason}, where a directory is needed'


class TooManyLinksError(PlaceError):
    """Symlinks that lead in a circle, or too far."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path
        self.word = path

    def __str__(self) -> str:
        return f'"/{self.path}": too many levels of symbolic links'


class InvalidModeError(PlaceError):
    """A mode that is neither octal nor symbolic."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.word = text
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid chmod parameter: '{self.text}'. {self.reason}"


class InvalidOwnerError(PlaceError):
    """An owner that no file can have."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.word = text
        self.reason = reason

    def __str__(self) -> str:
        return f'invalid owner "{self.text}": {self.reason}'
