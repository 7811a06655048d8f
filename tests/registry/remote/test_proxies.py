"""Registries behind a proxy: HTTPS goes through a tunnel, with the registry's own certificates."""

import contextlib
import re
import shutil
import socket
import ssl
import threading

import pytest
from certificates import Authority

from registry.errors import ConfigurationError, UnreachableError
from registry.reference import Reference

HOST = "registry.example.com"


class Tunnel:
    """A proxy that knows CONNECT alone, and leads every tunnel to one place."""

    def __init__(self, target: str) -> None:
        address, port = target.split(":")
        self._target = (address, int(port))
        self.heads: list[str] = []
        self.status = "200 Connection established"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            self.heads.append(head.decode())
            client.sendall(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
            if not self.status.startswith("200"):
                return
            with socket.create_connection(self._target) as server:
                self._sockets += [client, server]
                back = threading.Thread(target=self._relay, args=(server, client), daemon=True)
                back.start()
                self._relay(client, server)
                back.join()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def registry(new_simulator, authority, ali):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(HOST))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority.file)
    simulator = new_simulator(tls=context)
    simulator.add_blob("team/app", b"content")
    simulator.require_basic("ali", "open sesame")
    return simulator


@pytest.fixture
def tunnel(registry):
    tunnel = Tunnel(registry.host)
    yield tunnel
    tunnel.stop()


@pytest.fixture
def repository(new_client, tunnel, authority, tmp_path, ali):
    folder = tmp_path / "certs.d" / HOST
    folder.mkdir(parents=True)
    shutil.copy(authority.file, folder / "ca.crt")
    client = new_client(
        {HOST: ali},
        environment={"HTTPS_PROXY": f"http://proxy-user:proxy-secret@{tunnel.host}"},
        certificate_folders=(tmp_path / "certs.d",),
    )
    return client.repository(Reference.parse(f"{HOST}/team/app"))


def test_https_goes_through_a_tunnel_with_the_registrys_own_authority(
    repository, tunnel, registry, describe
):
    assert repository.open(describe(b"content")).read() == b"content"
    assert tunnel.heads
    assert all(head.startswith(f"CONNECT {HOST}:443 ") for head in tunnel.heads)
    assert registry.requests


def test_v87_attack_each_secret_goes_to_whom_it_is_for(repository, tunnel, registry, describe):
    repository.open(describe(b"content")).read()
    assert all("Proxy-Authorization: Basic" in head for head in tunnel.heads)
    assert not any("\r\nAuthorization" in head for head in tunnel.heads)
    assert any(request.authorization for request in registry.requests)
    assert not any("Proxy-Authorization" in request.headers for request in registry.requests)


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_a_proxy_that_refuses_is_told_without_its_secret(repository, tunnel, describe, status):
    tunnel.status = status
    told = f"the proxy http://{tunnel.host}: answered {status}"
    with pytest.raises(UnreachableError, match=re.escape(told)) as caught:
        repository.open(describe(b"content"))
    assert "proxy-secret" not in str(caught.value)
    assert HOST in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_gone_is_named_and_not_the_registry_blamed(
    new_client, new_simulator, describe, scheme
):
    gone = new_simulator()
    gone.stop()
    client = new_client(
        environment={f"{scheme}_proxy": f"http://ali:secret@{gone.host}"},
        insecure=frozenset({HOST} if scheme == "http" else ()),
    )
    repository = client.repository(Reference.parse(f"{HOST}/team/app"))
    with pytest.raises(UnreachableError) as caught:
        repository._api.transport.exchange("GET", f"{scheme}://{HOST}/v2/", headers={})
    assert str(caught.value) == (
        f"{HOST}: the proxy http://{gone.host}: connection refused (GET {scheme}://{HOST}/v2/)"
    )


@pytest.mark.parametrize(
    "text", ["socks5://ali:secret@p:1", "http://", "http://p:port", "http://["]
)
def test_what_is_no_proxy_is_named_by_its_variable(new_client, describe, text):
    client = new_client(environment={"HTTPS_PROXY": text})
    with pytest.raises(
        ConfigurationError, match="https_proxy: is not the URL of an HTTP"
    ) as caught:
        client.repository(Reference.parse(f"{HOST}/team/app")).has(describe(b"x"))
    assert "secret" not in str(caught.value)


def test_uploads_go_through_the_tunnel(repository, registry, describe):
    import io

    raw = b"x" * 2_000_000
    repository.put(io.BytesIO(raw), describe(raw))
    assert registry.repositories["team/app"].blobs[describe(raw).digest] == raw


def test_local_files_go_through_tls(repository, registry, describe, tmp_path):
    import io

    from registry.blobs import BlobDirectory

    raw = bytes(range(256)) * 10_000
    blobs = BlobDirectory(tmp_path / "blobs")
    blobs.put(io.BytesIO(raw), describe(raw))
    with blobs.open(describe(raw)) as stream:
        repository.put(stream, describe(raw))
    assert registry.repositories["team/app"].blobs[describe(raw).digest] == raw
