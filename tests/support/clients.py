"""Clients for tests, impatient ones, and the registries of other people: fixtures for conftest files."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.reference import Reference
from registry.remote.client import Client, Settings
from registry.remote.credentials import Credential, Secret

# crypt's $2b$04$ hash of "open sesame"; the registry takes bcrypt only.
HTPASSWD = "ali:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"


class KnownCredentials:
    """The same credential for the hosts it is told of."""

    def __init__(self, credentials: dict[str, Credential]) -> None:
        self.credentials = credentials
        self.asked: list[str] = []

    def find(self, registry: str, repository: str) -> Credential | None:
        self.asked.append(f"{registry}/{repository}")
        return self.credentials.get(registry)


IMPATIENT = Settings(
    attempts=4,
    retry_wait_s=0.01,
    retry_budget_s=20,
    connect_timeout_s=2,
    stall_timeout_s=0.5,
    commit_timeout_s=5,
)


@pytest.fixture
def new_client():
    made = []

    def make(credentials: dict[str, Credential] | None = None, **settings) -> Client:
        client = Client(replace(IMPATIENT, **settings), KnownCredentials(credentials or {}))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def repository(simulator, new_client):
    """`team/app` on the simulator, for a client without credentials."""
    return new_client().repository(Reference.parse(f"{simulator.host}/team/app"))


@pytest.fixture
def at(simulator):
    """Make a reference on the simulator."""
    return lambda name: Reference.parse(f"{simulator.host}/{name}")


@pytest.fixture
def ali():
    return Credential(username="ali", password=Secret("open sesame"))


@pytest.fixture
def describe():
    def make(raw: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        digest = Digest(f"sha256:{hashlib.sha256(raw).hexdigest()}")
        return Descriptor(media_type=media_type, digest=digest, size=len(raw))

    return make


@pytest.fixture
def new_docker_registry(tmp_path):
    """Start Debian's registry; returns its host.

    ``htpasswd`` makes it ask for ali's password, ``first_format`` take Docker's first manifest format.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    running = []

    def start(*, htpasswd: bool = False, port: int = 0, first_format: bool = False) -> str:
        port = port or _free_port()
        root = tmp_path / f"registry{port}"
        root.mkdir(exist_ok=True)
        config = f"""
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
        if htpasswd:
            (root / "htpasswd").write_text(HTPASSWD)
            config += f"auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n"
        if first_format:
            config += "compatibility: {schema1: {enabled: true}}\n"
        (root / "config.yml").write_text(config)
        process = subprocess.Popen(
            [program, "serve", str(root / "config.yml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        _wait_for(port)
        start.process = process
        return f"127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture
def crane_registry():
    """Start an OCI 1.1 registry, crane's, that forgets everything at its end; give its host."""
    program = shutil.which("crane")
    if program is None:
        pytest.skip("crane is not installed")
    port = _free_port()
    with subprocess.Popen(
        [program, "registry", "serve", "--address", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
        process.terminate()


@pytest.fixture
def own_registry(tmp_path):
    """Start our own registry, as a process of its own; give its host."""
    port = _free_port()
    words = ["registry", "serve", "--listen", f"127.0.0.1:{port}", "--root", str(tmp_path / "own")]
    with subprocess.Popen(
        [sys.executable, "-m", "wcbuild", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
        process.terminate()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the registry did not start")
