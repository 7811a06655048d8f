"""Clients for tests, and registries, other people's and our own: fixtures for conftest files."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace

import peers
import pytest
from talk import RegistryProcess

from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.remote.client import Client, Settings
from registry.remote.credentials import Credential, Secret
from wcbuild.store import open_store

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


QUICK = Settings(attempts=4, retry_wait_s=0.01, retry_budget_s=300, connect_timeout_s=60)
"""Tries again at once, but knows that a registry in this process may be kept from answering."""

IMPATIENT = {"stall_timeout_s": 0.5}
"""For registries that say nothing. Of one that does, an answer may be late, and is asked for again."""


@pytest.fixture
def new_client():
    made = []

    def make(credentials: dict[str, Credential] | None = None, **settings) -> Client:
        client = Client(replace(QUICK, **settings), KnownCredentials(credentials or {}))
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
def store(tmp_path):
    """A local store, to pull into."""
    store = open_store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def serve_image(simulator, describe):
    """Give the simulator an image of one layer, `team/app:1`; return its manifest."""

    def serve(layer: bytes) -> Manifest:
        config = describe(b"{}", mediatypes.OCI_CONFIG)
        manifest = Manifest.build(config=config, layers=[describe(layer, mediatypes.OCI_LAYER)])
        for raw in (b"{}", layer):
            simulator.add_blob("team/app", raw)
        simulator.add_manifest("team/app", manifest.raw, manifest.media_type, "1")
        return manifest

    return serve


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
    with contextlib.ExitStack() as running:

        def start(*, htpasswd: bool = False, port: int = 0, first_format: bool = False) -> str:
            port = port or peers.free_port()
            # One that is started again finds what it had.
            folder = tmp_path / f"registry{port}"
            folder.mkdir(exist_ok=True)
            more = ""
            if htpasswd:
                (folder / "htpasswd").write_text(HTPASSWD)
                more += f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
            if first_format:
                more += "compatibility: {schema1: {enabled: true}}\n"
            registry = running.enter_context(peers.docker_registry(folder, port=port, more=more))
            start.process = registry.process
            return registry.host

        yield start


@pytest.fixture
def crane_registry():
    """Start an OCI 1.1 registry, crane's, that forgets everything at its end; give its host."""
    with peers.crane_registry() as registry:
        yield registry.host


@pytest.fixture
def own_registry(tmp_path):
    """Start our own registry, as a process of its own; give its host."""
    registry = RegistryProcess(tmp_path / "own")
    yield registry.host
    registry.stop()
