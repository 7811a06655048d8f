"""What can go wrong on the other side or on the road.

    RegistryError
     |- InvalidReferenceError(text, reason)
     |- InvalidDigestError(text, reason)
     |- InvalidDocumentError(what, reason)        a manifest, index or config that breaks its specification
     |    |- InvalidPlatformError(what, reason)   a platform's name that nobody could mean
     |- NotFoundError(what, where)
     |- DigestMismatchError(expected, got, what)
     |- SizeMismatchError(expected, got, what)
     |- TooLargeError(what, limit)
     |- DamagedDataError(what, reason)            compressed bytes that cannot be decompressed
     |- UnauthorizedError(host, scope, reason)
     |- UnreachableError(host, reason)            no answer: name, connection, TLS or time
     |- ProtocolError(request, status, codes)     an answer that the specification does not allow for
     |- ConfigurationError(path, reason)          a file of settings that cannot be used
     |- StoreError(path, reason)                  the file system below a local store

Fields first; the message is derived from them and is one line.
"""

from __future__ import annotations


class RegistryError(Exception):
    """Any failure of this package."""

    exit_status = 1


class InvalidReferenceError(RegistryError):
    """A name that no registry could hold."""

    exit_status = 2
    """Somebody wrote it: in data it would be a document that is invalid."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.reason = reason

    def __str__(self) -> str:
        return f'invalid reference "{self.text}": {self.reason}'


class InvalidDigestError(RegistryError):
    """A digest whose algorithm or hexadecimal part is not allowed."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.reason = reason

    def __str__(self) -> str:
        return f'invalid digest "{self.text[:100]}": {self.reason}'


class InvalidDocumentError(RegistryError):
    """A manifest, index, config or descriptor that breaks its specification."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class InvalidPlatformError(InvalidDocumentError):
    """A name of a platform that nobody could mean."""

    exit_status = 2
    """As of `InvalidReferenceError`."""


class NotFoundError(RegistryError):
    """The place answered, and does not have it."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what, where)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        return f"{self.what}: not found in {self.where}"


class DigestMismatchError(RegistryError):
    """The bytes are not those that were asked for."""

    def __init__(self, expected: str, got: str, what: str) -> None:
        super().__init__(expected, got, what)
        self.expected = expected
        self.got = got
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: expected digest {self.expected}, received {self.got}"


class SizeMismatchError(RegistryError):
    """More or fewer bytes (sizes in bytes) than the descriptor says."""

    def __init__(self, expected: int, got: int, what: str) -> None:
        super().__init__(expected, got, what)
        self.expected = expected
        self.got = got
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected} bytes, received {self.got}"


class TooLargeError(RegistryError):
    """Untrusted input beyond its named limit (bytes)."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(what, limit)
        self.what = what
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what}: larger than the limit of {self.limit} bytes"


class DamagedDataError(RegistryError):
    """Compressed bytes that are truncated, fail their checksum or are not what they claim."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class UnauthorizedError(RegistryError):
    """The registry refused the credentials, or the want of them."""

    def __init__(self, host: str, scope: str, reason: str) -> None:
        super().__init__(host, scope, reason)
        self.host = host
        self.scope = scope
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.host}: access to {self.scope} was refused: {self.reason}"


class UnreachableError(RegistryError):
    """No usable answer came: name resolution, connection, TLS or a time limit.

    ``transient`` says that the same request may be answered a moment later.
    """

    def __init__(self, host: str, reason: str, *, transient: bool = True) -> None:
        super().__init__(host, reason)
        self.host = host
        self.reason = reason
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.host}: {self.reason}"


class ProtocolError(RegistryError):
    """An answer that the distribution specification does not allow for."""

    def __init__(
        self,
        request: str,
        status: int,
        codes: tuple[str, ...] = (),
        detail: str = "",
        *,
        what: str = "",
        tries: int = 1,
    ) -> None:
        super().__init__(request, status, codes, detail)
        self.request = request
        self.status = status
        self.codes = codes
        self.detail = detail
        self.what = what
        """What it was about, where the request does not say so."""
        self.tries = tries

    def __str__(self) -> str:
        what = f"{self.what}: " if self.what else ""
        codes = f" {', '.join(self.codes)}" if self.codes else ""
        detail = f": {self.detail}" if self.detail else ""
        tries = f", {self.tries} tries" if self.tries > 1 else ""
        return f"{what}{self.request}: the registry answered {self.status}{codes}{detail}{tries}"


class StoreError(RegistryError):
    """The file system below a local store refused."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ConfigurationError(RegistryError):
    """A file of settings (mirrors, certificates) that cannot be read or used."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
