"""What travels on the wire: chunks, invitations, kept connections, TLS, and the end of it all."""

import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time

import pytest
from certificates import Authority
from processes import until
from talk import Talk, digest_of

BLOB = os.urandom(3_000_000)


def lines(*texts: str) -> bytes:
    return "\r\n".join((*texts, "", "")).encode()


@pytest.fixture
def place(talk):
    return talk.start("app")


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"005;name=value\r\nhello\r\n06\r\n world\r\n0;last\r\nTrailer: x\r\nOther: y\r\n\r\n",
        b"b\r\nhello world\r\n0\r\n\r\n",
    ],
)
def test_chunks_of_a_body_are_joined_and_the_connection_goes_on(talk, place, body):
    head = lines(f"PATCH {place} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")
    after = lines(f"GET {place} HTTP/1.1", "Host: x", "Connection: close")
    answer = talk.raw(head + body + after)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.count(b"Range: 0-10\r\n") == 2


@pytest.mark.parametrize(
    "body",
    [
        b"-1\r\n",
        b"x\r\n",
        b"\r\n",
        b"5\r\nhelloXX",
        b"5" * 300 + b"\r\n",
        b"5\nhello\n0\n\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"0\r\n" + b"T: x\r\n" * 5000,
    ],
)
def test_chunks_that_are_none_end_the_connection(talk, place, body):
    head = lines(f"PATCH {place} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")
    after = lines(f"GET {place} HTTP/1.1", "Host: x", "Connection: close")
    answer = talk.raw(head + body + after)
    assert b"204" not in answer
    assert b"202" not in answer
    assert talk("GET", place).status == 204


def test_a_body_is_invited_when_it_is_wanted(talk, place):
    with socket.create_connection(talk.address, timeout=120) as connection:
        connection.sendall(
            lines(
                f"PUT {place}?digest={digest_of(b'hello')} HTTP/1.1",
                "Host: x",
                "Content-Length: 5",
                "Expect: 100-continue",
            )
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_a_body_is_not_invited_when_it_is_not_wanted(talk):
    answer = talk.raw(
        lines(
            f"PUT /v2/app/blobs/uploads/{'0' * 32}?digest={digest_of(b'x')} HTTP/1.1",
            "Host: x",
            f"Content-Length: {10**12}",
            "Expect: 100-continue",
        )
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in answer


def test_who_sends_much_that_is_not_wanted_still_reads_why(talk):
    connection = http.client.HTTPConnection(*talk.address, timeout=120)
    connection.connect()
    connection.putrequest("PATCH", f"/v2/app/blobs/uploads/{'0' * 32}")
    connection.putheader("Content-Length", str(8 * len(BLOB)))
    connection.endheaders()
    for _ in range(8):
        try:
            connection.send(BLOB)
        except (BrokenPipeError, ConnectionResetError):
            break
    reply = connection.getresponse()
    assert reply.status == 404
    assert json.loads(reply.read())["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
    connection.close()


def test_a_connection_is_kept_for_many_requests(talk):
    digest = talk.put_blob("app", BLOB)
    connection = http.client.HTTPConnection(*talk.address, timeout=120)
    connection.connect()
    kept = connection.sock
    for _ in range(5):
        connection.request("PUT", "/v2/app/manifests/1", b"nonsense")
        assert connection.getresponse().read()
        connection.request("HEAD", f"/v2/app/blobs/{digest}")
        assert connection.getresponse().read() == b""
        connection.request("GET", f"/v2/app/blobs/{digest}")
        assert connection.getresponse().read() == BLOB
        assert connection.sock is kept
    connection.close()


def test_speaks_http_1_0(talk):
    answer = talk.raw(b"GET /v2/ HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n{}")


def test_more_connections_than_threads_are_served(new_registry):
    talk = new_registry(threads=2).talk
    waiting = [http.client.HTTPConnection(*talk.address, timeout=120) for _ in range(30)]
    for _ in range(2):
        for connection in waiting:
            connection.request("GET", "/v2/")
            assert connection.getresponse().read() == b"{}"
    for connection in waiting:
        connection.close()


# Stopping


class SlowUpload(threading.Thread):
    """Sends half a blob, which the registry has at once, and the other half when it is told to."""

    def __init__(self, talk: Talk, place: str) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.talk, self.place, self.status = talk, place, 0
        self.start()
        assert until(lambda: talk("GET", place).headers["Range"] == "0-999")

    def run(self) -> None:
        def parts():
            yield b"x" * 1000
            self.go_on.wait(120)
            yield b"y" * 1000

        try:
            self.status = self.talk("PATCH", self.place, parts(), Content_Length="2000").status
        except (OSError, http.client.HTTPException):
            self.status = -1


def is_deaf(talk: Talk) -> bool:
    """Say whether the registry takes no more connections."""
    try:
        talk("GET", "/v2/")
    except OSError:
        return True
    return False


def test_stopping_lets_requests_under_way_finish(new_registry):
    registry = new_registry(grace_s=600, idle_timeout_s=600)
    upload = SlowUpload(registry.talk, registry.talk.start("app"))
    stopping = threading.Thread(target=registry._server.stop)
    stopping.start()
    assert until(lambda: is_deaf(registry.talk))
    upload.go_on.set()
    upload.join()
    assert upload.status == 202
    stopping.join()


def test_stopping_does_not_wait_for_ever(new_registry, tmp_path):
    registry = new_registry(grace_s=1, idle_timeout_s=200)
    upload = SlowUpload(registry.talk, registry.talk.start("app"))
    # A client that reads nothing of a large answer, too.
    digest = registry.talk.put_blob("app", BLOB * 10)
    with socket.create_connection(registry.talk.address) as deaf:
        deaf.sendall(lines(f"GET /v2/app/blobs/{digest} HTTP/1.1", "Host: x"))
        assert until(lambda: len(registry._server.active) == 2)
        began = time.monotonic()
        registry._server.stop()
        assert time.monotonic() - began < 60, "both would go on for longer"
    upload.go_on.set()
    upload.join()
    assert upload.status == -1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly_when_told_to(new_process, number):
    process = new_process()
    assert process.line.startswith("serving http://127.0.0.1:")
    process.talk.push("app", "1")
    process.tell(number)
    status, said = process.stop()
    assert status == 0
    assert "Traceback" not in said
    assert '"PUT /v2/app/manifests/1" 201' in said


def test_being_told_twice_ends_it_at_once(new_process):
    statuses = []
    # Who is late with the second word finds that it has ended by itself.
    while -signal.SIGTERM not in statuses and len(statuses) < 4:
        process = new_process()
        upload = SlowUpload(process.talk, process.talk.start("app"))
        process.tell()
        assert until(lambda told=process: is_deaf(told.talk))
        process.tell()
        statuses.append(process.process.wait(120))
        upload.go_on.set()
        upload.join()
    assert statuses[-1] == -signal.SIGTERM


# TLS


@pytest.fixture
def secure(new_registry, tmp_path):
    """A patient registry with TLS; its `connect` speaks it, its `talk` does not."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    registry = new_registry(tls_certificate=certificate, tls_key=key, idle_timeout_s=600)
    context = ssl.create_default_context(cafile=str(authority.file))

    def connect() -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(*registry.talk.address, context=context, timeout=120)

    registry.connect = connect
    return registry


def test_speaks_https(secure):
    assert secure.url.startswith("https://127.0.0.1:")
    connection = secure.connect()
    for _ in range(2):
        connection.request("POST", f"/v2/app/blobs/uploads/?digest={digest_of(BLOB)}", BLOB)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 201
        connection.request("GET", reply.headers["Location"], headers={"Range": "bytes=5-"})
        assert connection.getresponse().read() == BLOB[5:]
    connection.close()


def test_plain_http_to_a_port_of_tls_is_told_so(secure):
    answer = secure.talk.raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTPS" in answer


def test_who_connects_and_says_nothing_does_not_keep_others_from_connecting(secure):
    silent = [socket.create_connection(secure.talk.address) for _ in range(4)]
    connection = secure.connect()
    connection.request("GET", "/v2/")
    assert connection.getresponse().read() == b"{}"
    connection.close()
    for each in silent:
        each.close()


def test_memory_stays_flat_whatever_the_size_of_a_blob(new_process):
    """Up in one chunk of HTTP, and as one body; down whole."""
    process = new_process("-q")

    def peak() -> int:
        with open(f"/proc/{process.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    process.talk.put_blob("app", BLOB)
    before = peak()
    large = BLOB * 50
    process.talk.put_blob("app", large)
    place = process.talk.start("app")
    reply = process.talk("PATCH", place, iter([large]), chunked=True, Transfer_Encoding="chunked")
    assert reply.status == 202
    assert process.talk("PUT", f"{place}?digest={digest_of(large)}").status == 201
    unwanted = process.talk("PATCH", place, large[:60_000])
    assert unwanted.status == 404
    assert process.talk("GET", f"/v2/app/blobs/{digest_of(large)}").body == large
    assert peak() - before < 16 * 1024, "KiB"


# The access log


def test_each_request_is_told_of(new_registry):
    registry = new_registry()
    registry.talk("GET", "/v2/app/tags/list?n=3")
    registry.talk.put_blob("app", b"hello")
    assert until(lambda: len(registry.log) == 2)
    # Two threads write them.
    first, second = sorted(registry.log, key=lambda each: each.method)
    assert (first.method, first.target, first.status) == ("GET", "/v2/app/tags/list?n=3", 404)
    assert (first.client, first.user) == ("127.0.0.1", "")
    assert (second.status, second.received, second.sent) == (201, 5, 0)


def test_a_log_line_cannot_act_on_a_terminal(new_process):
    process = new_process()
    process.talk.raw(b"GET /v2/\x1b[2J\x9b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    process.talk("GET", "/v2/")
    _, said = process.stop()
    assert "GET /v2/" in said
    assert "\x1b" not in said
    assert "\x9b" not in said
