"""V79: answers that come byte by byte, stop in the middle, or do not end."""

import contextlib

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
    """Read the blob `content`; return why that failed, which takes a server far longer to bring about
    than the client has patience."""

    def do(server, **settings) -> RegistryError:
        client = new_client(attempts=2, **settings)
        # The question who is there would get the same answer.
        monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "http")
        repository = client.repository(Reference.parse(f"{server.host}/team/app"))
        with pytest.raises(RegistryError) as caught:
            repository.open(describe(b"content")).read()
        return caught.value

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
    error = read(serve(*script, then="repeat"), **IMPATIENT)
    assert isinstance(error, UnreachableError)
    assert "no answer in time" in str(error)
    assert "2 tries" in str(error)


@pytest.mark.parametrize(
    "script",
    [
        (b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 60_000 + b"\r\n"] * 1000),
        (b"HTTP/1.1 200 ", *[b"x" * 1_000_000] * 60),
    ],
    ids=["headers", "line"],
)
def test_attack_head_without_end_is_cut(serve, read, script):
    server = serve(*script)
    assert isinstance(read(server), UnreachableError)
    assert not server.completed


@pytest.mark.parametrize(
    "rest",
    [
        (b"7\r\ncontent\r\n0\r\n", *(b"X: y\r\n", 0.02) * 6000),
        (b"7;", *(b"x", 0.02) * 6000),
        (b"7\r\ncontent\r\n0\r\nX", *(b"x", 0.02) * 6000),
    ],
    ids=["trailers", "a chunk's length", "one trailer"],
)
def test_attack_chunks_without_end_do_not_hold_us(serve, new_client, describe, monkeypatch, rest):
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *rest)
    client = new_client(**IMPATIENT, attempts=2)
    monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "http")
    repository = client.repository(Reference.parse(f"{server.host}/team/app"))
    with contextlib.suppress(RegistryError):
        assert repository.open(describe(b"content")).read() == b"content"
    assert not server.completed


def test_attack_silence_after_the_head_does_not_hold_us(serve, read):
    error = read(serve(HEAD, b"con", 120.0), **IMPATIENT)
    assert "no answer in time" in str(error)
    assert "3 of 7 bytes" in str(error)


def test_attack_half_closed_connection_is_a_broken_one(serve, read):
    assert "the connection was closed" in str(read(serve(HEAD, b"con")))


def test_attack_more_than_was_announced_is_not_read(serve, new_client, describe, monkeypatch):
    server = serve(HEAD, b"content" + b"x" * 1000)
    monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "http")
    repository = new_client().repository(Reference.parse(f"{server.host}/team/app"))
    assert repository.open(describe(b"content")).read() == b"content"


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/9.9 200\r\n\r\n", b"\x16\x03\x01"]
)
def test_attack_what_is_no_http_is_told_in_a_sentence(serve, read, answer):
    error = read(serve(answer))
    assert isinstance(error, UnreachableError)
    assert "\n" not in str(error)
