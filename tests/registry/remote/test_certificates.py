"""`certs.d`: authorities and client certificates for one host, as docker and podman keep them."""

import shutil
import ssl

import pytest
from certificates import Authority

from registry.errors import ConfigurationError, UnreachableError
from registry.reference import Reference


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def secure(new_simulator, authority):
    """Start a registry with a certificate of the authority; ``wants`` one of the client's, too."""

    def start(*, wants: bool = False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("127.0.0.1"))
        if wants:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.file)
        simulator = new_simulator(tls=context)
        simulator.add_blob("team/app", b"content")
        return simulator

    return start


@pytest.fixture
def folder(tmp_path):
    """Make the folder of a host in a place of `certs.d`."""

    def make(host: str, place: str = "certs.d"):
        path = tmp_path / place / host
        path.mkdir(parents=True)
        return path

    return make


@pytest.fixture
def ask(new_client, describe, tmp_path):
    def do(simulator, *places: str, **settings) -> bool:
        folders = tuple(tmp_path / place for place in places or ("certs.d",))
        client = new_client(certificate_folders=folders, **settings)
        reference = Reference.parse(f"{simulator.host}/team/app")
        return client.repository(reference).has(describe(b"content"))

    return do


def test_an_authority_beside_the_machines_own_is_trusted(secure, folder, authority, ask):
    simulator = secure()
    shutil.copy(authority.file, folder(simulator.host) / "ca.crt")
    assert ask(simulator)


def test_the_first_place_that_has_a_folder_for_the_host_is_used(secure, folder, authority, ask):
    simulator = secure()
    folder(simulator.host, "user")
    shutil.copy(authority.file, folder(simulator.host, "machine") / "ca.crt")
    assert ask(simulator, "none", "machine")
    with pytest.raises(UnreachableError, match="not trusted"):
        ask(simulator, "user", "machine")


def test_an_authority_for_one_host_is_not_trusted_for_another(secure, folder, authority, ask):
    known, other = secure(), secure()
    shutil.copy(authority.file, folder(known.host) / "ca.crt")
    assert ask(known)
    with pytest.raises(UnreachableError, match="not trusted"):
        ask(other)


def test_a_client_shows_its_certificate(secure, folder, authority, ask):
    simulator = secure(wants=True)
    place = folder(simulator.host)
    shutil.copy(authority.file, place / "ca.crt")
    with pytest.raises(UnreachableError):
        ask(simulator)
    certificate, key = authority.issue("ali")
    shutil.copy(certificate, place / "ali.cert")
    shutil.copy(key, place / "ali.key")
    assert ask(simulator)


def test_v74_attack_a_client_certificate_is_not_shown_to_a_storage_host(
    secure, folder, authority, new_client, describe, tmp_path, new_simulator
):
    """A redirect leads to another port, which would like to see who comes."""
    shown = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority.file)
    storage = new_simulator(tls=context)
    storage.storage["x"] = b"content"
    handler = storage._server.RequestHandlerClass
    handle = handler.handle_any

    def watch(self):
        shown.append(self.connection.getpeercert())
        handle(self)

    handler.do_GET = watch
    registry = secure(wants=True)
    registry.redirect_blobs(f"{storage.url}/storage/x")
    place = folder(registry.host)
    certificate, key = authority.issue("ali")
    for file in (authority.file, certificate, key):
        shutil.copy(file, place)
    client = new_client(
        certificate_folders=(tmp_path / "certs.d",),
        environment={"SSL_CERT_FILE": str(authority.file)},
    )
    repository = client.repository(Reference.parse(f"{registry.host}/team/app"))
    assert repository.open(describe(b"content")).read() == b"content"
    assert shown in ([{}], [None])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ali.cert": b""}, r'ali\.cert: its key "ali\.key" is missing'),
        ({"ali.key": b""}, r'ali\.key: its certificate "ali\.cert" is missing'),
        ({"ali.cert": b"x", "ali.key": b"x"}, r'ali\.cert: with "ali\.key" is no pair in PEM form'),
        ({"ca.crt": b"-----BEGIN CERTIFICATE-----"}, r"ca\.crt: is not a certificate in PEM form"),
    ],
)
def test_files_that_are_no_certificates_are_named(secure, folder, ask, files, message):
    simulator = secure()
    place = folder(simulator.host)
    for name, content in files.items():
        (place / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        ask(simulator)
    assert simulator.requests == []


def test_a_key_with_a_password_is_refused_instead_of_asking(secure, folder, authority, ask):
    simulator = secure()
    place = folder(simulator.host)
    for file in authority.issue("ali", password=b"secret"):
        shutil.copy(file, place)
    with pytest.raises(ConfigurationError, match="without a password"):
        ask(simulator)


def test_other_files_are_passed_over(secure, folder, authority, ask):
    simulator = secure()
    place = folder(simulator.host)
    shutil.copy(authority.file, place / "ca.crt")
    (place / "README").write_text("hello")
    assert ask(simulator)
