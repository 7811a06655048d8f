"""HTTP itself: redirects, netrc, proxies, plain HTTP, error texts and logs."""

import gzip
import io
import logging
import threading

import pytest

from registry.errors import (
    NotFoundError,
    ProtocolError,
    RegistryError,
    SizeMismatchError,
    UnreachableError,
)
from registry.reference import Reference
from registry.remote.client import Settings
from registry.remote.errors import error_codes, printable, redact
from registry.remote.settings import bypasses_proxy, is_loopback
from registry.remote.transport import MIN_RATE, Transport, check_url


@pytest.fixture
def blob(simulator, describe):
    simulator.add_blob("team/app", b"content")
    return describe(b"content")


@pytest.fixture
def storage(new_simulator, blob):
    storage = new_simulator()
    storage.storage[blob.digest] = b"content"
    return storage


# Redirects


def test_follows_a_redirect_to_storage_without_authorization(
    new_client, at, simulator, storage, ali, blob
):
    simulator.require_basic("ali", "open sesame")
    simulator.redirect_blobs(f"{storage.url}/storage/{blob.digest}?sig=1")
    client = new_client({simulator.host: ali, storage.host: ali})
    assert client.repository(at("team/app")).open(blob).read() == b"content"
    (request,) = storage.requests
    assert request.path.endswith("?sig=1")
    assert "Authorization" not in request.headers
    assert "Cookie" not in request.headers


def test_attack_authorization_dropped_once_does_not_come_back(
    new_client, at, simulator, storage, ali, blob
):
    """A storage host that redirects back to the registry must not learn whether it works."""
    simulator.require_basic("ali", "open sesame")
    simulator.redirect_blobs(f"{storage.url}/back")
    back = {"Location": f"{simulator.url}/v2/team/app/blobs/{blob.digest}"}
    storage.fail_next("GET", 302, 99, back, at="/back")
    with pytest.raises(RegistryError):
        new_client({simulator.host: ali}).repository(at("team/app")).open(blob)
    assert not any(r.authorization for r in storage.requests)


def test_attack_cookies_of_a_registry_reach_nobody(new_client, at, simulator, storage, blob):
    simulator.say_too("GET", {"Set-Cookie": "session=1; Domain=127.0.0.1; Path=/"}, 9)
    simulator.redirect_blobs(f"{storage.url}/storage/{blob.digest}")
    new_client().repository(at("team/app")).open(blob).read()
    assert "Cookie" not in storage.requests[0].headers


def test_attack_endless_redirects_end(repository, simulator, blob):
    simulator.redirect_blobs(f"/v2/team/app/blobs/{blob.digest}")
    with pytest.raises(UnreachableError, match="more than 9 redirects"):
        repository.open(blob)
    assert len(simulator.sent("GET", "/blobs/")) == 10


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://storage.example.com/x", "plain HTTP"),
        ("ftp://127.0.0.1/x", "not an HTTP URL"),
        ("file:///etc/passwd", "not an HTTP URL"),
        ("https://user:secret@127.0.0.1/x", "not allowed there"),
        ("https://169.254.169.254/x", "link-local"),
        ("https://[::1", "impossible URL"),
        ("https:///x", "not an HTTP URL"),
        ("https://127.0.0.1:99999/x", "not an HTTP URL"),
    ],
)
def test_attack_redirect_to_where_nothing_may_go_is_refused(
    repository, simulator, blob, location, reason
):
    simulator.redirect_blobs(location)
    with pytest.raises(RegistryError, match=reason) as caught:
        repository.open(blob)
    assert "secret" not in str(caught.value)


def test_attack_redirect_from_https_to_http_is_refused_even_to_this_machine():
    with pytest.raises(UnreachableError, match="would leave HTTPS"):
        check_url(
            "http://127.0.0.1/x", Settings(), sender=check_url("https://a.example/", Settings())
        )


@pytest.mark.parametrize("location", ["http://registry.example.com/up", "https://u:p@127.0.0.1/"])
def test_attack_upload_location_elsewhere_is_refused(
    repository, simulator, describe, location, tmp_path
):
    simulator.fail_next("POST", 202, 1, {"Location": location})
    with pytest.raises(UnreachableError), (tmp_path / "x").open("wb+") as stream:
        repository.put(stream, describe(b""))


def test_upload_without_a_location_is_refused(repository, simulator, describe, tmp_path):
    simulator.fail_next("POST", 202)
    with pytest.raises(ProtocolError, match="no Location"), (tmp_path / "x").open("wb+") as stream:
        repository.put(stream, describe(b""))


def test_upload_location_at_another_host_gets_no_authorization(
    new_client, at, simulator, storage, ali, describe, tmp_path
):
    simulator.require_basic("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    assert not repository.has(describe(b"x"))
    simulator.fail_next("POST", 202, 1, {"Location": f"{storage.url}/up?state=1"})
    storage.fail_next("PUT", 201, at="/up")
    (tmp_path / "x").write_bytes(b"x")
    with (tmp_path / "x").open("rb") as stream:
        repository.put(stream, describe(b"x"))
    (request,) = storage.requests
    assert request.path == f"/up?state=1&digest={describe(b'x').digest.replace(':', '%3A')}"
    assert "Authorization" not in request.headers


# netrc, environment, proxies


def test_v87_attack_netrc_adds_nothing_and_replaces_nothing(
    new_client, at, simulator, storage, ali, blob, tmp_path, monkeypatch
):
    """CVE-2018-18074, CVE-2024-47081: `requests` reads ~/.netrc unless it is told not to."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login netrc password leaked\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    simulator.require_token("ali", "open sesame")
    simulator.redirect_blobs(f"{storage.url}/storage/{blob.digest}")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    assert repository.open(blob).read() == b"content"
    assert {r.authorization.partition(" ")[0] for r in simulator.sent("GET", "/v2/")} == {
        "",
        "Bearer",
    }
    assert storage.requests[0].authorization == ""


def test_v87_proxies_of_the_process_are_not_used(repository, blob, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert repository.has(blob)


def test_v87_attack_proxy_credentials_stay_with_the_proxy(new_client, simulator, new_simulator):
    proxy = new_simulator()
    proxy.fail_next("GET", 404, 9, at="http://registry.example.com/")
    proxy.fail_next("HEAD", 404, 9, at="http://registry.example.com/")
    client = new_client(
        insecure=frozenset(("registry.example.com",)),
        environment={
            "http_proxy": proxy.url.replace("//", "//me:proxypass@"),
            "https_proxy": proxy.url,
        },
        attempts=1,
    )
    with pytest.raises(NotFoundError) as caught:
        client.repository(Reference.parse("registry.example.com/x")).resolve("1")
    assert "proxypass" not in str(caught.value)
    asked = [r for r in proxy.requests if r.path.startswith("http://registry.example.com/")]
    assert asked
    assert all(r.authorization == "" for r in asked)
    assert all(r.headers["Proxy-Authorization"].startswith("Basic ") for r in asked)


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        ("example.com", "", False),
        ("example.com", "*", True),
        ("example.com", "example.com", True),
        ("example.com:5000", "example.com", True),
        ("example.com:5000", "example.com:5000", True),
        ("example.com:5000", "example.com:443", False),
        ("a.example.com", "example.com", True),
        ("a.example.com", ".example.com, other", True),
        ("a.example.com", "*.example.com", True),
        ("notexample.com", "example.com", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("11.1.2.3", "garbage/99", False),
        ("example.com", "10.0.0.0/8", False),
        ("[fd00::1]:5000", "fd00::/8", True),
        ("EXAMPLE.com", "example.COM", True),
    ],
)
def test_no_proxy_means_what_it_usually_means(host, no_proxy, expected):
    assert bypasses_proxy(host, no_proxy) is expected


def test_proxy_variables_are_read_as_other_programs_do():
    both = Settings(
        environment={"https_proxy": "p:1", "HTTP_PROXY": "q:2", "NO_PROXY": "no.example"}
    )
    assert both.proxy("https", "a.example") == "http://p:1"
    assert both.proxy("http", "a.example") == "http://q:2"
    assert both.proxy("https", "no.example") == ""
    assert both.proxy("http", "127.0.0.1:5000") == ""
    request = Settings(environment={"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"})
    assert request.proxy("http", "a.example") == "", "a request's Proxy header set it"


def test_certificates_come_from_the_settings():
    assert Settings(environment={"SSL_CERT_FILE": "/x"}).ca_bundle() == "/x"
    assert Settings().ca_bundle()


# Plain HTTP


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("LOCALHOST", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("128.0.0.1", False),
        ("example.com", False),
        ("127.1", False),
    ],
)
def test_loopback_is_this_machine_only(host, expected):
    assert is_loopback(host) is expected


def test_attack_plain_http_is_not_spoken_to_other_hosts(new_client):
    for host in ("http://example.com/", "http://127.0.0.1.example.com/"):
        with pytest.raises(UnreachableError, match="--insecure-registry"):
            check_url(host, Settings())
    check_url("http://example.com/", Settings(insecure=frozenset(("example.com",))))
    check_url("http://example.com:81/", Settings(insecure=frozenset(("example.com",))))
    with pytest.raises(UnreachableError):
        check_url("http://example.com:82/", Settings(insecure=frozenset(("example.com:81",))))


def test_docker_io_is_asked_at_its_registry(new_client):
    repository = new_client().repository(Reference.parse("debian"))
    assert repository._manifest_url("12") == (
        "https://registry-1.docker.io/v2/library/debian/manifests/12"
    )
    assert repository.name == "docker.io/library/debian"


def test_one_client_gives_one_object_for_one_name(new_client, at):
    client = new_client()
    assert client.repository(at("a")) is client.repository(at("a"))
    assert client.repository(at("a")) is not client.repository(at("b"))


# What is said


def test_v84_attack_error_text_cannot_move_the_terminal(repository, simulator, blob):
    body = b'{"errors":[{"code":"X\\u001b[2J","message":"\\u001b]0;title\\u0007\\r\\nroot# \\u202egnp"}]}'
    simulator.fail_next("GET", 400, body=body, at="/blobs/")
    with pytest.raises(ProtocolError) as caught:
        repository.open(blob)
    assert str(caught.value).isprintable()
    assert "\x1b" not in repr(caught.value.codes)


def test_v84_attack_endless_error_body_is_cut(repository, simulator, blob):
    simulator.fail_next("GET", 400, body=b"A" * 5_000_000, at="/blobs/")
    with pytest.raises(ProtocolError) as caught:
        repository.open(blob)
    assert len(str(caught.value)) < 1000


def test_html_of_a_proxy_is_called_that_and_not_repeated(repository, simulator, blob):
    simulator.fail_next("GET", 418, body=b"<html><h1>Hello</h1></html>", at="/blobs/")
    with pytest.raises(ProtocolError, match="answered 418: a web page came instead") as caught:
        repository.open(blob)
    assert "Hello" not in str(caught.value)


def test_xml_of_a_storage_host_is_neither_repeated_nor_called_a_web_page(
    repository, simulator, blob
):
    body = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
    simulator.fail_next("GET", 418, body=body, at="/blobs/")
    with pytest.raises(ProtocolError) as caught:
        repository.open(blob)
    assert str(caught.value).endswith("the registry answered 418")


def test_a_web_page_is_no_blob_and_no_list_of_tags(repository, simulator, blob):
    page = b"<html>Please log in</html>"
    html = {"Content-Type": "text/html"}
    simulator.fail_next("HEAD", 200, headers=html, at="/blobs/")
    assert not repository.has(blob)
    simulator.fail_next("HEAD", 200, headers={"Content-Length": str(len(page))}, at="/blobs/")
    assert not repository.has(blob)
    simulator.fail_next("POST", 200, headers=html, body=page, at="/blobs/")
    with pytest.raises(ProtocolError, match="a web page came instead of an answer"):
        repository.put(io.BytesIO(b"x"), blob)
    simulator.fail_next("GET", 200, headers=html, body=page, at="/tags/")
    with pytest.raises(ProtocolError, match="a web page came instead of an answer"):
        list(repository.tags())


def test_what_a_registry_warns_of_is_passed_on_once(repository, simulator, blob, caplog):
    """The specification's own example, and one that would move the terminal."""
    token = '299 - "Your auth token will expire in 30 seconds."'
    evil = '299 - "a \\"quoted\\" \x1b[2Jword"'
    other = '110 - "Response is stale"'
    for _ in range(2):
        simulator.say_too("HEAD", {"Warning": f"{other}, {token}, {evil}"})
        assert repository.has(blob)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"{simulator.host} warns: Your auth token will expire in 30 seconds.",
        f'{simulator.host} warns: a "quoted" [2Jword',
    ]


def test_attack_warnings_without_end_are_not_passed_on(repository, simulator, blob, caplog):
    for number in range(30):
        simulator.say_too("HEAD", {"Warning": f'299 - "{number}"'})
        assert repository.has(blob)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 10


def test_a_storage_hosts_warnings_are_not_the_registrys(
    repository, simulator, new_simulator, blob, caplog
):
    storage = new_simulator()
    storage.storage["x"] = b"content"
    simulator.redirect_blobs(f"{storage.url}/storage/x")
    storage.say_too("GET", {"Warning": '299 - "hello"'})
    repository.open(blob)
    assert "hello" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"errors":3}',
        b'{"errors":[3,{}]}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"errors":{"code":"X"}}',
    ],
)
def test_error_bodies_of_any_shape_are_survived(body):
    codes, words = error_codes(body)
    assert all(isinstance(code, str) for code in codes)
    assert words.isprintable()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host/x", "https://host/x"),
        (
            "https://host/x?X-Amz-Signature=abc&digest=d",
            "https://host/x?X-Amz-Signature=***&digest=d",
        ),
        ("https://host/x?sig=a%3D&_state=b#frag", "https://host/x?sig=***&_state=***"),
        ("https://[::1", "(an impossible URL)"),
        ("https://host/\x1b[2J", "https://host/ [2J"),
    ],
)
def test_urls_are_shown_without_secrets(url, shown):
    assert redact(url) == shown


def test_printable_text_is_one_short_line():
    assert printable("a\r\n\tb\x1b[1mc\u202e") == "a b [1mc"
    assert len(printable("x" * 1000)) == 300


def test_v85_attack_secrets_are_not_in_debug_logs(
    new_client, at, simulator, storage, ali, blob, caplog
):
    caplog.set_level(logging.DEBUG, logger="registry")
    simulator.require_token("ali", "open sesame")
    simulator.redirect_blobs(f"{storage.url}/storage/{blob.digest}?X-Amz-Signature=topsecret")
    new_client({simulator.host: ali}).repository(at("team/app")).open(blob).read()
    text = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("registry"))
    assert "request.started GET" in text
    tokens = [r.authorization.partition(" ")[2] for r in simulator.requests if r.authorization]
    for secret in ("topsecret", "open sesame", *tokens):
        assert secret not in text


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br, gzip"])
def test_attack_bodies_are_never_decompressed(repository, simulator, describe, encoding):
    """It would change the bytes that digests are of, and a bomb would fill the memory."""
    packed = gzip.compress(bytes(1_000_000))
    simulator.add_blob("team/app", packed)
    simulator.say_too("GET", {"Content-Encoding": encoding}, times=9)
    assert repository.open(describe(packed)).read() == packed
    unpacked = describe(bytes(1_000_000))
    simulator.repositories["team/app"].blobs[unpacked.digest] = packed
    with pytest.raises(SizeMismatchError):
        repository.open(unpacked)
    asked = {request.headers["Accept-Encoding"] for request in simulator.requests}
    assert asked == {"identity"}


def test_connections_are_used_again(repository, simulator, blob, describe):
    big = describe(b"x" * 2_000_000)
    for _ in range(5):
        assert repository.has(blob)
        repository.put(io.BytesIO(b"x" * 2_000_000), big)
        assert repository.put_new(io.BytesIO(b"y"), "text/plain") == describe(b"y", "text/plain")
        assert list(repository.tags()) == []
        assert repository.open(blob).read() == b"content"
    assert simulator.connections == 1


def test_memory_does_not_grow_with_a_blob(repository, simulator, describe):
    import tracemalloc

    class Zeros(io.RawIOBase):
        left = 64 * 1024 * 1024

        def readable(self):
            return True

        def read(self, size=-1):
            taken = min(size, self.left)
            self.left -= taken
            return bytes(taken)

    simulator.fail_next("PATCH", 500)
    tracemalloc.start()
    try:
        simulator.forgets_bodies = True
        with pytest.raises(ProtocolError):
            repository.put_new(Zeros(), "text/plain")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_v79_rate_below_which_a_body_counts_as_stalled_is_small():
    assert MIN_RATE <= 1024


def test_closing_a_client_twice_is_harmless(new_client):
    client = new_client()
    client.close()
    client.close()


def test_connections_are_shared_by_threads(simulator):
    transport = Transport(Settings())
    parts = check_url(simulator.url + "/v2/", Settings())
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(transport._line(parts))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, made))) == 1
    transport.close()


@pytest.mark.parametrize("token", ["a\nX-Other: b", "\u20ac"])
def test_a_header_that_cannot_be_sent_is_an_error_without_its_secret(new_client, simulator, token):
    transport = new_client(attempts=1)._transport
    with pytest.raises(UnreachableError, match="is not something that can be asked") as caught:
        transport.exchange("GET", f"{simulator.url}/v2/", headers={"Authorization": token})
    assert token not in str(caught.value)
    assert simulator.requests == []
