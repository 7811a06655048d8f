"""Registries behind TLS: whose certificate counts, and that nothing is tried without it."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from registry.errors import UnreachableError
from registry.reference import Reference

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture
def certificate(tmp_path):
    """Make a server's certificate and key, its own authority; return the file that holds both."""

    def make(name: str = "127.0.0.1", *, expires: dt.datetime = NOW + DAY) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.IPAddress(ipaddress.ip_address(name))
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 9 * DAY)
            .not_valid_after(expires)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        return str(path)

    return make


@pytest.fixture
def secure(new_simulator):
    """Start a registry that has the certificate and key of a file."""

    def start(path: str):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        simulator = new_simulator(tls=context)
        simulator.add_blob("team/app", b"content")
        return simulator

    return start


@pytest.fixture
def ask(new_client, describe):
    """Ask a registry whether it has the blob that each has here."""

    def do(simulator, **settings) -> bool:
        client = new_client(**settings)
        reference = Reference.parse(f"{simulator.host}/team/app")
        return client.repository(reference).has(describe(b"content"))

    return do


def test_trusts_the_authorities_of_the_environment(secure, certificate, ask):
    path = certificate()
    assert ask(secure(path), environment={"SSL_CERT_FILE": path})


def test_v80_attack_unknown_authority_is_refused(secure, certificate, ask):
    simulator = secure(certificate())
    with pytest.raises(UnreachableError, match=r"certificate is not trusted: self.signed"):
        ask(simulator)
    assert simulator.requests == []


def test_an_unknown_authority_is_believed_in_the_file_that_the_error_names(
    secure, certificate, ask, tmp_path
):
    path, folders = certificate(), (tmp_path / "certs.d",)
    simulator = secure(path)
    with pytest.raises(UnreachableError, match="if you trust its authority") as caught:
        ask(simulator, certificate_folders=folders)
    named = Path(caught.value.reason.split('"')[1])
    named.parent.mkdir(parents=True)
    named.write_bytes(Path(path).read_bytes())
    assert ask(simulator, certificate_folders=folders)


def test_v80_attack_certificate_of_another_host_is_refused(secure, certificate, ask):
    path = certificate("127.0.0.2")
    with pytest.raises(UnreachableError, match="certificate is not trusted: IP address mismatch"):
        ask(secure(path), environment={"SSL_CERT_FILE": path})


def test_v80_attack_expired_certificate_is_refused(secure, certificate, ask, tmp_path):
    path = certificate(expires=NOW - DAY)
    with pytest.raises(UnreachableError, match=r"certificate has expired \("):
        ask(
            secure(path),
            environment={"SSL_CERT_FILE": path},
            certificate_folders=(tmp_path / "certs.d",),
        )


def test_takes_any_certificate_of_a_host_that_is_configured_so(secure, certificate, ask):
    simulator = secure(certificate("127.0.0.2"))
    assert ask(simulator, insecure=frozenset((simulator.host,)))


def test_trust_in_one_host_is_not_trust_in_another(secure, certificate, new_client, describe):
    known, other = secure(certificate("127.0.0.2")), secure(certificate("127.0.0.3"))
    client = new_client(insecure=frozenset((known.host,)))
    for simulator in (known, known):
        reference = Reference.parse(f"{simulator.host}/team/app")
        assert client.repository(reference).has(describe(b"content"))
    with pytest.raises(UnreachableError, match="not trusted"):
        client.repository(Reference.parse(f"{other.host}/team/app")).has(describe(b"content"))


def test_authorities_that_are_not_there_are_said_so(secure, certificate, ask, tmp_path):
    with pytest.raises(UnreachableError, match="CA certificate bundle"):
        ask(secure(certificate()), environment={"SSL_CERT_FILE": str(tmp_path / "none")})
