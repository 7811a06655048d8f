"""What attacks are made of: a root to unpack into, and a canary beside it that must not notice."""

import io

import pytest
from canary import Canary
from clients import ali, at, describe, new_client, repository  # noqa: F401 - fixtures
from rawtar import archive

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.apply import apply


@pytest.fixture
def canary(tmp_path):
    """A tree outside; checked when the test has ended."""
    canary = Canary(tmp_path / "canary")
    yield canary
    canary.check()


@pytest.fixture
def root(tmp_path):
    """An empty directory that images are unpacked into."""
    path = tmp_path / "store/root"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def unpack(root, canary):
    """Unpack entries; return the refusal's text, or "" if they were taken."""

    def unpack(*parts, into=root, ownership=False, devices=False):
        try:
            apply(io.BytesIO(archive(*parts)), into, ownership=ownership, devices=devices)
        except UnsafeArchiveError as error:
            canary.check()
            return str(error)
        canary.check()
        return ""

    return unpack
