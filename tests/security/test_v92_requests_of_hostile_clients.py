"""V92: requests that no client makes by accident, sent to our registry."""

import concurrent.futures
import contextlib
import http.client
import json
import select
import socket
import threading
import time

import pytest
from processes import until
from talk import RegistryProcess, Talk, digest_of, manifest

from registry.oci import mediatypes
from registry.oci.manifest import MAX_ENTRIES
from registry.server import ServerSettings, serve


@pytest.fixture
def serving(tmp_path):
    """Serve with a time limit for whoever sends, or takes, nothing."""

    @contextlib.contextmanager
    def start(idle_timeout_s):
        settings = ServerSettings(
            threads=4, max_uploads=2, idle_timeout_s=idle_timeout_s, gc_interval_s=0
        )
        with serve(tmp_path / "registry", settings) as registry:
            yield Talk(registry.url)

    return start


@pytest.fixture
def talk(serving):
    with serving(120) as talk:
        yield talk


@pytest.fixture
def impatient(serving):
    """Speak to a registry that cuts off within a second who has not said anything, or takes nothing."""
    with serving(1) as talk:
        yield talk


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 3", "Content-Length: 5"),
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 3"),
        ("Content-Length: -3",),
        ("Content-Length: +3",),
        ("Content-Length: 0x3",),
        ("Content-Length: 1_0",),
        ("Content-Length: 3, 3",),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Content-Length : 3",),
        (" Content-Length: 3",),
        ("Host: y",),
        ("X: a", " folded: b"),
        ("X: a\0b",),
        ("X: a\rContent-Length: 3",),
        ("no colon",),
        ("Transfer-Encoding: gzip, chunked",),
    ],
)
def test_attack_request_smuggling(talk, lines):
    """What two servers in a row could read differently is refused, and the connection closed."""
    place = talk.start("app")
    hidden = head("GET /v2/_catalog HTTP/1.1", "Host: x")
    request = head(f"PATCH {place} HTTP/1.1", "Host: x", *lines)
    answer = talk.raw(request + b"abc" + hidden)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"repositories" not in answer


@pytest.mark.parametrize(
    "path",
    [
        "/v2/app/tags/list?last=%0d%0aX-Evil:%20yes&n=1",
        "/v2/app/tags/list?n=1&last=a&x=%0d%0aX-Evil:%20yes",
        "/v2/app/referrers/{digest}?artifactType=%0d%0aX-Evil:%20yes",
        "/v2/app%0d%0aX-Evil:%20yes/tags/list",
        "/v2/app/manifests/%0d%0aX-Evil:%20yes",
        "/v2/app/blobs/uploads/?mount={digest}&from=%0d%0aX-Evil:%20yes",
    ],
)
def test_attack_header_splitting(talk, path):
    digest = talk.push("app", "b")
    raw = talk("GET", f"/v2/app/manifests/{digest}").body
    talk.put_manifest("app", "c", raw)
    method = "POST" if "uploads" in path else "GET"
    answer = talk.raw(
        head(
            f"{method} {path.format(digest=digest)} HTTP/1.1",
            *("Host: x", "Content-Length: 0", "Connection: close"),
        )
    )
    headers = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    assert not [line for line in headers if line.lower().startswith("x-evil")]


def test_attack_host_header_in_the_challenge(tmp_path):
    (tmp_path / "htpasswd").write_text("ali:$2b$04$" + "a" * 53)
    settings = ServerSettings(
        threads=2, htpasswd=tmp_path / "htpasswd", tokens=True, gc_interval_s=0
    )
    with serve(tmp_path / "registry", settings) as registry:
        talk = Talk(registry.url)
        for host in ('x",service="y', "x y", "x/y?z", "", "x" * 300):
            answer = talk.raw(head("GET /v2/ HTTP/1.1", f"Host: {host}", "Connection: close"))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"realm" not in answer


# Slow ones


def trickle(address, first: bytes, rest: bytes) -> bool:
    """Send ``rest`` byte by byte for two minutes; say whether the server had enough of it."""
    end = time.monotonic() + 120
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(first)
        connection.settimeout(0.01)
        while time.monotonic() < end:
            try:
                connection.sendall(rest[:1])
                rest = rest[1:] + rest[:1]
                if not connection.recv(1000):
                    return True
            except TimeoutError:
                time.sleep(0.1)
            except OSError:
                return True
    return False


def is_served(talk: Talk) -> bool:
    """Say whether a request is answered; one that comes late is cut off as slow ones are."""
    try:
        return talk("GET", "/v2/").status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_v79_attack_slow_headers(talk, monkeypatch):
    """A byte now and then keeps no thread: all four are free again after the time limit."""
    monkeypatch.setattr("registry.server.http.HEADER_TIMEOUT_S", 1.0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first = b"GET /v2/ HTTP/1.1\r\nX: "
        slow = [pool.submit(trickle, talk.address, first, b"abc") for _ in range(4)]
        time.sleep(0.3)
        assert until(lambda: is_served(talk), 60)
    assert all(each.result() for each in slow)


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_v79_attack_slow_body(impatient, framing):
    place = impatient.start("app")
    first = head(f"PATCH {place} HTTP/1.1", "Host: x", framing)
    if "chunked" in framing:
        first += b"f4240\r\n"
    assert trickle(impatient.address, first, b"x")
    assert impatient("GET", place).status == 204


def test_v79_attack_chunk_size_that_never_ends(impatient):
    place = impatient.start("app")
    first = head(f"PATCH {place} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")
    assert trickle(impatient.address, first, b"0")


def test_v79_attack_reader_that_does_not_read(serving):
    with serving(120) as talk:
        digest = talk.put_blob("app", bytes(30_000_000))
    with serving(1) as talk:
        read_nothing(talk, digest)


def read_nothing(talk: Talk, digest: str) -> None:
    """Ask for a large blob on as many connections as there are threads, and for something else then."""
    deaf = []
    for _ in range(4):
        connection = socket.create_connection(talk.address)
        connection.sendall(head(f"GET /v2/app/blobs/{digest} HTTP/1.1", "Host: x"))
        deaf.append(connection)
    time.sleep(0.2)
    assert until(lambda: is_served(talk), 60)
    for connection in deaf:
        connection.close()


def test_v79_attack_silent_connections(talk):
    """They wait without a thread."""
    silent = [socket.create_connection(talk.address) for _ in range(50)]
    for _ in range(3):
        assert talk("GET", "/v2/").status == 200
    # Nobody had to be cut off for that.
    assert not any(select.select(silent, (), (), 0))
    for connection in silent:
        connection.close()


# Large ones


def test_attack_huge_manifests(talk):
    for length in (5 * 1024 * 1024, 10**15):
        answer = talk.raw(
            head(
                "PUT /v2/app/manifests/1 HTTP/1.1",
                f"Content-Type: {mediatypes.OCI_MANIFEST}",
                *("Host: x", f"Content-Length: {length}"),
            )
        )
        assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.slow
def test_attack_many_large_manifests_at_once(tmp_path):
    """JSON that grows thirty times in memory, from as many clients as there are threads."""
    process = RegistryProcess(tmp_path / "registry", "-q")
    raw = b'{"mediaType": "%s", "schemaVersion": 2, "manifests": [], "x": [' % (
        mediatypes.OCI_INDEX.encode()
    )
    raw += b",".join([b"{}"] * ((4 * 1024 * 1024 - len(raw) - 10) // 3)) + b"]}"
    statuses: list[int] = []

    def push(number: int) -> None:
        reply = process.talk(
            "PUT", f"/v2/app/manifests/{number}", raw, Content_Type=mediatypes.OCI_INDEX
        )
        statuses.append(reply.status)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(16)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with open(f"/proc/{process.process.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    finally:
        process.stop()
    assert set(statuses) <= {201, 429}
    assert statuses.count(201) >= 4
    assert peak < 800 * 1024, "KiB"


def test_v77_attack_index_of_too_many_entries(talk):
    digest = talk.push("app", "1")
    entry = {"mediaType": mediatypes.OCI_MANIFEST, "digest": digest, "size": 1}
    index = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [entry] * (MAX_ENTRIES + 1),
    }
    raw = json.dumps(index).encode()
    reply = talk("PUT", "/v2/app/manifests/2", raw, Content_Type=mediatypes.OCI_INDEX)
    assert reply.code == "MANIFEST_INVALID"


def test_v78_attack_huge_pages(talk):
    digest = talk.push("app", "0")
    raw = talk("GET", f"/v2/app/manifests/{digest}").body
    for number in range(1, 4):
        talk.put_manifest("app", str(number), raw)
    for count in ("999999999", "99999999999999999999", "-1", "1e9"):
        reply = talk("GET", f"/v2/app/tags/list?n={count}")
        assert reply.status == 400 or len(reply.json["tags"]) <= 1000


def test_attack_huge_headers_and_urls(talk):
    for request in (
        b"GET /v2/" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        head("GET /v2/ HTTP/1.1", "Host: x", "X: " + "y" * 200_000),
        head("GET /v2/ HTTP/1.1", "Host: x", *(f"X{n}: y" for n in range(20_000))),
    ):
        assert talk.raw(request)[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 414", b"HTTP/1.1 400")
    assert talk("GET", "/v2/?" + "&".join(f"a{n}=1" for n in range(1000))).status == 400


def test_attack_deeply_nested_json(talk):
    raw = b'{"mediaType": "%s", "x": ' % mediatypes.OCI_INDEX.encode() + b"[" * 1_000_000
    reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=mediatypes.OCI_INDEX)
    assert reply.code == "MANIFEST_INVALID"


def test_attack_numbers_that_are_none(talk):
    config = talk.put_blob("app", b"{}")
    for size in (-1, 1.5, True, "2", None, 10**400):
        document = manifest(config)
        document["config"]["size"] = size
        raw = json.dumps(document).encode()
        reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=mediatypes.OCI_MANIFEST)
        assert reply.status in (201, 400)
        assert reply.status == 400 or size == 10**400


@pytest.mark.parametrize(
    "line",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\n\r\n",
        b"GET http://evil.example/v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 1000,
    ],
)
def test_attack_what_is_not_http(talk, line):
    answer = talk.raw(line, timeout=1)
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert talk("GET", "/v2/").status == 200


def test_attack_many_mistakes_leave_the_registry_as_it_was(talk):
    """A fixed mixture of cut and turned requests; afterwards everything still works."""
    import random

    chance = random.Random(92)
    digest = talk.push("app", "1", b"layer")
    good = [
        head("GET /v2/app/manifests/1 HTTP/1.1", "Host: x", "Connection: close"),
        head(f"GET /v2/app/blobs/{digest} HTTP/1.1", "Host: x", "Range: bytes=0-1"),
        head(f"PATCH {talk.start('app')} HTTP/1.1", "Host: x", "Content-Length: 3") + b"abc",
        head("PUT /v2/app/manifests/2 HTTP/1.1", "Host: x", "Content-Length: 2") + b"{}",
    ]
    for _ in range(150):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        talk.raw(bytes(data[: chance.randrange(1, len(data) + 1)]), timeout=0.02)
    assert talk.is_whole("app", "1")
    assert talk.put_blob("app", b"more") == digest_of(b"more")
