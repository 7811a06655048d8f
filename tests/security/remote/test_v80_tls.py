"""V80: certificates and protocols that must not be accepted, and no way around TLS."""

import shutil
import ssl
import subprocess
import warnings

import pytest
from certificates import DAY, NOW, Authority

from registry.errors import UnreachableError
from registry.reference import Reference
from registry.remote.certificates import tls_context
from registry.remote.settings import Settings


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def secure(new_simulator, authority):
    def start(name: str = "127.0.0.1", *, expires=NOW + DAY, newest=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(name, expires=expires))
        if newest is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = newest
            context.set_ciphers("ALL:@SECLEVEL=0")
        simulator = new_simulator(tls=context)
        simulator.add_blob("team/app", b"content")
        return simulator

    return start


@pytest.fixture
def made_by_openssl(new_simulator, authority, tmp_path):
    """A registry whose certificate is made with openssl: no library of ours signs so weakly."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def start(kind: str):
        key, ours, leaf = (tmp_path / name for name in ("leaf.key", "own.crt", "leaf.crt"))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        openssl("req", "-x509", *curve, "-keyout", key, "-out", ours, *names)
        if kind != "self-signed":
            root = tmp_path / "root.key"
            openssl(
                *("req", "-x509", *curve, "-keyout", root, "-out", authority.file),
                *("-subj", "/CN=root"),
            )
            names = tmp_path / "names"
            names.write_text("subjectAltName=IP:127.0.0.1")
            openssl(
                *("x509", "-in", ours, "-CA", authority.file, "-CAkey", root, f"-{kind}"),
                *("-set_serial", 1, "-out", leaf, "-days", 9, "-clrext", "-extfile", names),
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(ours if kind == "self-signed" else leaf, key)
        simulator = new_simulator(tls=context)
        simulator.add_blob("team/app", b"content")
        return simulator

    return start


@pytest.fixture
def ask(new_client, describe, tmp_path, authority):
    """Ask for a blob, trusting the authority unless ``strangers``."""

    def do(simulator, *, strangers: bool = False) -> bool:
        place = tmp_path / "certs.d" / simulator.host
        place.mkdir(parents=True, exist_ok=True)
        if not strangers:
            shutil.copy(authority.file, place / "ca.crt")
        client = new_client(certificate_folders=(tmp_path / "certs.d",))
        reference = Reference.parse(f"{simulator.host}/team/app")
        return client.repository(reference).has(describe(b"content"))

    return do


def test_a_good_certificate_is_accepted(secure, ask):
    assert ask(secure())


def test_attack_strangers_certificate_is_refused_and_nothing_sent(secure, ask):
    simulator = secure()
    with pytest.raises(UnreachableError, match="certificate is not trusted") as caught:
        ask(simulator, strangers=True)
    assert simulator.requests == []
    assert "tries" not in str(caught.value), "another try would not help"


def test_attack_self_signed_certificate_is_refused(made_by_openssl, ask):
    simulator = made_by_openssl("self-signed")
    with pytest.raises(UnreachableError, match=r"certificate is not trusted: self.signed"):
        ask(simulator, strangers=True)
    assert simulator.requests == []


def test_attack_certificate_signed_with_sha1_is_refused(made_by_openssl, ask):
    assert ask(made_by_openssl("sha256"))
    simulator = made_by_openssl("sha1")
    with pytest.raises(UnreachableError, match=r"certificate is not trusted: .*too weak"):
        ask(simulator)
    assert simulator.requests == []


def test_attack_certificate_of_another_host_is_refused(secure, ask):
    simulator = secure("127.0.0.2")
    with pytest.raises(UnreachableError, match="IP address mismatch"):
        ask(simulator)
    assert simulator.requests == []


def test_attack_expired_certificate_is_refused(secure, ask):
    simulator = secure(expires=NOW - DAY)
    with pytest.raises(UnreachableError, match="certificate has expired"):
        ask(simulator)
    assert simulator.requests == []


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_attack_old_protocol_is_refused(secure, ask, newest):
    simulator = secure(newest=newest)
    with pytest.raises(UnreachableError):
        ask(simulator)
    assert simulator.requests == []


def test_old_protocols_are_not_offered_even_to_insecure_hosts():
    context = tls_context(Settings(insecure=frozenset(("a.example",))), "a.example")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls_context(Settings(), "a.example").verify_mode == ssl.CERT_REQUIRED
    assert tls_context(Settings(), "a.example").check_hostname


def test_attack_certificate_refused_is_not_followed_by_plain_http(new_simulator, secure, ask):
    """Nothing that happens to TLS makes a host plain."""
    simulator = secure()
    with pytest.raises(UnreachableError):
        ask(simulator, strangers=True)
    assert simulator.requests == []


def test_attack_redirect_from_https_to_http_is_refused(
    secure, new_simulator, describe, ask, tmp_path, authority, new_client
):
    plain = new_simulator()
    plain.storage["x"] = b"content"
    simulator = secure()
    simulator.redirect_blobs(f"{plain.url}/storage/x")
    assert ask(simulator)
    client = new_client(certificate_folders=(tmp_path / "certs.d",))
    repository = client.repository(Reference.parse(f"{simulator.host}/team/app"))
    with pytest.raises(UnreachableError, match="would leave HTTPS for plain HTTP"):
        repository.open(describe(b"content"))
    assert plain.requests == []
