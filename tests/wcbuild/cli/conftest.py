"""The command line in this process, on a store of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from images import Builder

from registry.layout import OciLayout
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.remote.client import Client, Settings
from wcbuild.cli.main import _dispatch

ARM64 = Platform(os="linux", architecture="arm64")
AMD64 = Platform(os="linux", architecture="amd64")


class NoCredentials:
    def find(self, registry: str, repository: str) -> None:
        return None


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def wcbuild(tmp_path, capfd, monkeypatch):
    """Run a command; its exit status must be ``status``."""
    monkeypatch.setenv("WCBUILD_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    def run(*words: object, status: int = 0) -> Outcome:
        capfd.readouterr()
        # Not `main`, which ends the process when threads are left: those of the simulator are.
        ended = _dispatch([str(word) for word in words])
        outcome = Outcome(ended, *capfd.readouterr())
        assert ended == status, outcome
        return outcome

    return run


@pytest.fixture
def layout(tmp_path):
    """A layout with `one` (amd64), `two` (arm64) and `both`."""
    builder = Builder(OciLayout(tmp_path / "layout"))
    one, two = builder.image(1, AMD64), builder.image(2, ARM64)
    from dataclasses import replace

    both = builder.index(replace(one, platform=AMD64), replace(two, platform=ARM64))
    for descriptor, tag in ((one, "one"), (two, "two"), (both, "both")):
        builder.store.tag(descriptor, tag)
    return builder.store


@pytest.fixture
def place(tmp_path, layout):
    """Spell the place of an image of `layout`."""
    return lambda tag: f"oci:{tmp_path / 'layout'}:{tag}"


@pytest.fixture
def remote(simulator):
    """Spell the place of a repository of the simulator, and reach it as the client does."""
    client = Client(Settings(), NoCredentials())

    def at(name: str) -> str:
        return f"{simulator.host}/{name}"

    at.repository = lambda name: client.repository(Reference.parse(at(name)))
    yield at
    client.close()


@pytest.fixture
def app(wcbuild, place, remote):
    """The layout's images in `team/app` of the simulator: its place."""
    for tag in ("one", "two", "both"):
        wcbuild("copy", place(tag), remote(f"team/app:{tag}"))
    return remote("team/app")


@pytest.fixture
def write(tmp_path):
    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make
