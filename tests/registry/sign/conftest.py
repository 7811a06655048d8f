"""Keys, an image to sign, and the peers that know signatures."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from registry.copy import copy
from registry.reference import Reference
from registry.remote.client import Client, Settings
from registry.sign import SigningKey

NAME = "registry.example/team/app"


class NoCredentials:
    def find(self, registry: str, repository: str) -> None:
        return None


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="session")
def other_key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="session")
def key_file(key) -> bytes:
    """The key as cosign keeps it, with the password "secret"; deriving that takes a while."""
    return key.encrypted(b"secret")


@pytest.fixture
def reference() -> Reference:
    return Reference.parse(f"{NAME}:1")


@pytest.fixture
def store(builder):
    return builder.store


@pytest.fixture
def image(builder):
    made = builder.image()
    builder.store.tag(made, "1")
    return made


@pytest.fixture
def at(simulator):
    """Make a reference on a registry in this process."""
    return lambda name: Reference.parse(f"{simulator.host}/{name}")


@pytest.fixture
def client():
    with Client(Settings(attempts=2, retry_wait_s=0.01), NoCredentials()) as made:
        yield made


@pytest.fixture
def pushed(at, client, builder):
    """Push an image, or what is given, as `team/app:1`; returns its repository, descriptor and name."""

    def push(descriptor=None, name="team/app:1"):
        reference = at(name)
        repository = client.repository(reference)
        descriptor = descriptor or builder.image()
        copy(builder.store, repository, descriptor, tags=(reference.tag,))
        return repository, descriptor, reference

    return push


@pytest.fixture
def peer(tmp_path):
    """Run cosign, or the skopeo that knows signatures; see `scripts/signing-peers`."""

    def run(program: str, *arguments: object, check: bool = True, **environment: str):
        folder = Path(os.environ.get("WCBUILD_TEST_CACHE", "/nonexistent")) / "signing" / "bin"
        if not (folder / program).exists():
            pytest.skip(
                f"no {program} in $WCBUILD_TEST_CACHE/signing: scripts/signing-peers makes it"
            )
        done = subprocess.run(
            [folder / program, *map(str, arguments)],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COSIGN_PASSWORD": "secret"}
            | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{program} {arguments}:\n{done.stdout}\n{done.stderr}")
        return done

    return run
