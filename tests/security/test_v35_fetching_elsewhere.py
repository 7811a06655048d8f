"""V35: servers that send whoever asks them to where they must not go, or send what nobody can hold."""

import gzip
import threading

import pytest

from registry.remote.settings import Settings
from registry.remote.transport import Transport
from wcbuild.context import http
from wcbuild.context.http import Downloads
from wcbuild.errors import RemoteError


@pytest.fixture
def fetch(tmp_path):
    def run(url, checksum="", secrets=None):
        settings = Settings(plain=True, retry_wait_s=0.01, retry_budget_s=300.0, attempts=2)
        downloads = Downloads(tmp_path / "downloads", lambda: Transport(settings), secrets or {})
        return downloads.fetch(url, checksum, threading.Event())

    yield run
    # Whatever was refused has left nothing.
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/x",
        "unix:///run/x.sock",
        "ftp://127.0.0.1/x",
        "//169.254.169.254/latest/meta-data",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/x",
        "http://user:password@127.0.0.1/x",
        "http://127.0.0.1\\@example.invalid/x",
        "http://[::1/x",
    ],
)
def test_redirects_to_elsewhere_are_not_followed(web, fetch, target):
    with pytest.raises(RemoteError) as caught:
        fetch(web.redirect("/f", target))
    assert "password" not in str(caught.value)
    assert web.paths() == ["/f"]


def test_credentials_are_not_sent_where_a_redirect_leads(web, new_git_server, tmp_path, fetch):
    other = new_git_server()
    other.put("/f", status=404)
    url = web.redirect("/f", f"{other.url}/f")
    with pytest.raises(RemoteError):
        fetch(url, secrets={f"HTTP_AUTH_TOKEN_{web.host}": b"hush"})
    with pytest.raises(RemoteError):
        fetch(f"http://me:hush@{web.host}/f")
    assert all("authorization" in each.headers for each in web.asked)
    assert len(other.asked) == 2
    assert all("authorization" not in each.headers for each in other.asked)


def test_netrc_is_not_read(web, fetch, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hush\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    web.put("/f", status=404)
    with pytest.raises(RemoteError):
        fetch(f"{web.url}/f")
    assert "authorization" not in web.asked[0].headers


def test_no_more_is_taken_than_anybody_can_want(web, fetch, monkeypatch):
    monkeypatch.setattr(http, "MAX_DOWNLOAD_BYTES", 1000)
    with pytest.raises(RemoteError, match="more than 1000 bytes"):
        fetch(web.put("/f", b"x" * 1001))


def test_what_has_another_checksum_is_not_kept(web, fetch):
    with pytest.raises(RemoteError, match="expected checksum"):
        fetch(web.put("/f", b"evil"), "sha256:" + "0" * 64)


def test_what_was_compressed_on_the_road_is_measured_when_it_is_not_any_more(
    web, fetch, monkeypatch
):
    body = gzip.compress(bytes(10_000_000))
    monkeypatch.setattr(http, "MAX_DOWNLOAD_BYTES", 1_000_000)
    with pytest.raises(RemoteError, match="more than 1000000 bytes"):
        fetch(web.put("/f", body, headers={"Content-Encoding": "gzip"}))


def test_what_claims_to_be_compressed_and_is_not_is_refused(web, fetch):
    for body in (b"plain", gzip.compress(b"x")[:-4], gzip.compress(b"x")[:-4] + b"1234"):
        with pytest.raises(RemoteError):
            fetch(web.put("/f", body, headers={"Content-Encoding": "gzip"}))


def test_a_hostile_address_cannot_become_a_path(web, tmp_path, canary):
    downloads = Downloads(tmp_path / "kept", lambda: Transport(Settings(plain=True)), {})
    for path in (f"/..%2F..%2F{canary.path}", "/..%5C..%5Cx", "/" + "a" * 3000):
        web.put(path, b"x")
        found = downloads.fetch(f"{web.url}{path}", "", threading.Event())
        assert found.path.is_relative_to(tmp_path / "kept/files")
