"""V79: answers that come byte by byte, stop in the middle, or do not end."""

import contextlib
import time

import pytest
from clients import IMPATIENT
from rawserver import RawServer

from registry.errors import RegistryError, UnreachableError
from registry.reference import Reference

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
PING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture
def serve():
    servers = []

    def start(*script, then: str = "close"):
        servers.append(RawServer(script, then=then))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def read(new_client, describe, monkeypatch):
    """Read the blob `content`; return how long it took to fail."""

    def do(server) -> tuple[float, RegistryError]:
        client = new_client(**IMPATIENT, attempts=2)
        # The question who is there would get the same answer.
        monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "http")
        repository = client.repository(Reference.parse(f"{server.host}/team/app"))
        begin = time.monotonic()
        with pytest.raises(RegistryError) as caught:
            repository.open(describe(b"content")).read()
        return time.monotonic() - begin, caught.value

    return do


@pytest.mark.parametrize(
    "script",
    [
        (b"H", 0.05),
        (b"HTTP/1.1 200 OK\r\n", 0.05, b"X-", 0.05, b"A: b", 0.05),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n", *(item for _ in range(400) for item in (b"z", 0.02))),
        (b"HTTP/1.1 200 OK\r\n", *(b"X: y\r\n", 0.02) * 300),
    ],
    ids=["status", "headers", "one header", "many headers"],
)
def test_attack_head_that_comes_byte_by_byte_does_not_hold_us(serve, read, script):
    """Each wait is short, so that no timeout of a socket ends it."""
    took, error = read(serve(*script, then="repeat"))
    assert took < 5
    assert isinstance(error, UnreachableError)
    assert "2 tries" in str(error)


def test_attack_head_without_end_is_cut(serve, read):
    took, error = read(serve(b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 60_000 + b"\r\n"] * 200))
    assert took < 5
    assert isinstance(error, UnreachableError)


def test_attack_line_without_end_is_cut(serve, read):
    took, _ = read(serve(b"HTTP/1.1 200 " + b"x" * 10_000_000))
    assert took < 5


@pytest.mark.parametrize(
    "rest",
    [
        (b"7\r\ncontent\r\n0\r\n", *(b"X: y\r\n",) * 50, b"Trailer: x\r\n"),
        (b"7;", b"x", 0.02),
        (b"7\r\ncontent\r\n0\r\n", b"X", 0.02),
    ],
    ids=["trailers", "a chunk's length", "one trailer"],
)
def test_attack_chunks_without_end_do_not_hold_us(serve, new_client, describe, monkeypatch, rest):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(
        head, *rest[:-1], *(rest[-1:] * 2000 if isinstance(rest[-1], bytes) else (b"x", 0.02) * 400)
    )
    client = new_client(**IMPATIENT, attempts=2)
    monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "http")
    repository = client.repository(Reference.parse(f"{server.host}/team/app"))
    begin = time.monotonic()
    with contextlib.suppress(RegistryError):
        assert repository.open(describe(b"content")).read() == b"content"
    assert time.monotonic() - begin < 6


def test_attack_silence_after_the_head_does_not_hold_us(serve, read):
    took, error = read(serve(HEAD, b"con", 5.0))
    assert took < 4
    assert "no answer in time" in str(error)
    assert "3 of 7 bytes" in str(error)


def test_attack_half_closed_connection_is_a_broken_one(serve, read):
    took, error = read(serve(HEAD, b"con"))
    assert took < 3
    assert "the connection was closed" in str(error)


def test_attack_more_than_was_announced_is_not_read(serve, new_client, describe, monkeypatch):
    server = serve(HEAD, b"content" + b"x" * 1000)
    monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "http")
    repository = new_client().repository(Reference.parse(f"{server.host}/team/app"))
    assert repository.open(describe(b"content")).read() == b"content"


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/9.9 200\r\n\r\n", b"\x16\x03\x01"]
)
def test_attack_what_is_no_http_is_told_in_a_sentence(serve, read, answer):
    took, error = read(serve(answer))
    assert took < 3
    assert isinstance(error, UnreachableError)
    assert "\n" not in str(error)
