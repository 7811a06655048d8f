"""Requests and answers of the registry's API, as values without a server around them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol


class Body(Protocol):
    """What comes after a request's headers."""

    length: int | None
    """Bytes announced; None if they come in chunks, whose sum nobody knows."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; none at the end.

        Raises:
            BrokenBodyError: the connection ended before the body did, or what came is not HTTP.
            TimeoutError: nothing came, or next to nothing.
        """
        ...


class BrokenBodyError(Exception):
    """A request's body ended early or is not framed as HTTP asks; nobody is there to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request."""

    method: str
    path: str
    """With its escapes undone; whoever uses a part of it checks it first."""
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name in lower case."""
    body: Body
    client: str = ""
    """The address that it came from."""

    def header(self, name: str) -> str:
        """Return a header; empty if it was not sent."""
        return self.headers.get(name.lower(), "")

    def parameter(self, name: str) -> str | None:
        """Return the first value of a parameter in the query; None if it is not there."""
        values = self.query.get(name)
        return values[0] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """Bytes of a file, to be sent by the kernel and then closed."""

    file: BinaryIO
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamContent:
    """So many bytes, made while they are sent."""

    chunks: Iterator[bytes]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request is answered with."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | FileContent | StreamContent = b""
    user: str = ""
    """Who asked, for the access log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request that was answered, or broke off: an event for the access log."""

    client: str
    user: str
    method: str
    target: str
    """Path and query as they were sent; not to be trusted by a terminal."""
    status: int
    """0 if nothing could be answered."""
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of the answer's body."""
    seconds: float
    finished: float = field(default_factory=time.time)
    """Seconds since 1970."""


class ApiError(Exception):
    """A refusal, with the specification's code for it.

    Spec: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = dict(headers or {})

    def answer(self) -> Answer:
        """Return what the client is told."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return json_answer({"errors": [error]}, status=self.status, headers=self.headers)

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"


def json_answer(
    data: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Answer:
    """Return an answer whose content is ``data``."""
    raw = json.dumps(data, separators=(",", ":")).encode()
    return Answer(
        status=status, headers={"Content-Type": media_type, **(headers or {})}, content=raw
    )
