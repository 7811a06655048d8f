"""V87 (CVE-2018-18074, CVE-2023-32681, CVE-2024-47081, CVE-2024-35195): what `requests` sends unasked."""

import base64
import ssl

import pytest

from registry.reference import Reference


@pytest.fixture
def blob(simulator, describe):
    simulator.add_blob("team/app", b"content")
    return describe(b"content")


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    """A netrc with a login for every host."""
    path = tmp_path / "netrc"
    path.write_text(
        "default login evil password evil\nmachine 127.0.0.1 login evil password evil\n"
    )
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_attack_netrc_is_not_read_at_all(
    netrc, simulator, new_simulator, new_client, at, ali, blob
):
    storage = new_simulator()
    storage.storage["x"] = b"content"
    simulator.require_token("ali", "open sesame")
    simulator.redirect_blobs(f"{storage.url}/storage/x")
    client = new_client({simulator.host: ali})
    assert client.repository(at("team/app")).open(blob).read() == b"content"
    sent = [r.authorization for r in (*simulator.requests, *storage.requests)]
    assert base64.b64encode(b"evil:evil").decode() not in "".join(sent)
    assert not any(r.authorization for r in storage.requests)


def test_attack_proxies_of_the_process_are_not_used(
    simulator, new_simulator, new_client, at, blob, monkeypatch
):
    proxy = new_simulator()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert new_client().repository(at("team/app")).has(blob)
    assert proxy.requests == []


def test_attack_credentials_of_a_proxy_stay_with_it(new_simulator, new_client, describe):
    proxy, insecure = new_simulator(), frozenset(("registry.example.com",))
    environment = {"http_proxy": proxy.url.replace("//", "//ali:secret@")}
    client = new_client(environment=environment, insecure=insecure)
    reference = Reference.parse("registry.example.com/team/app")
    client.repository(reference)._api.transport.exchange(
        "GET", "http://registry.example.com/v2/", headers={}
    )
    (request,) = proxy.requests
    assert request.headers["Proxy-Authorization"].startswith("Basic ")
    assert request.authorization == ""


def test_attack_unchecked_certificates_of_one_host_do_not_spread(new_client):
    """Who shares connections shares what they check; here each origin has its own."""
    client = new_client(insecure=frozenset(("lab.example",)))
    transport = client._transport
    from urllib.parse import urlsplit

    lab, other = (transport._line(urlsplit(f"https://{h}/")) for h in ("lab.example", "b.example"))
    assert lab is not other
    unchecked, checked = (line.connection_pool_kw["ssl_context"] for line in (lab, other))
    assert unchecked.verify_mode == ssl.CERT_NONE
    assert checked.verify_mode == ssl.CERT_REQUIRED
    assert checked.check_hostname
