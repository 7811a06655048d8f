"""V89: another user of the machine reads, changes or prepares the store."""

import io
import os
import stat

import pytest

from registry.errors import RegistryError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from wcbuild.store import open_store


@pytest.fixture
def store(tmp_path):
    before = os.umask(0)
    try:
        store = open_store(tmp_path / "store")
        yield store
        store.close()
    finally:
        os.umask(before)


def described(raw: bytes) -> Descriptor:
    return Descriptor(media_type="x/y", digest=sha256(raw), size=len(raw))


def test_attack_the_store_is_closed_to_others_whatever_the_umask(store):
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    store.put(io.BytesIO(b"x" * 2_000_000), described(b"x" * 2_000_000))
    for path in store.root.rglob("*"):
        if path.is_file():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


def test_attack_blob_changed_through_a_second_name_is_found_when_it_is_used(store, tmp_path):
    store.put(io.BytesIO(b"content"), described(b"content"))
    path = store.blobs.path(sha256(b"content"))
    os.link(path, tmp_path / "mine")
    (tmp_path / "mine").chmod(0o644)
    (tmp_path / "mine").write_bytes(b"CONTENT")
    with pytest.raises(RegistryError, match="expected digest"):
        store.open(described(b"content")).read()


def test_attack_link_in_the_place_of_a_blob_that_comes_is_replaced_not_followed(store, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = store.blobs.path(sha256(b"content"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim)
    store.put(io.BytesIO(b"content"), described(b"content"))
    assert victim.read_text() == "mine"
    assert store.open(described(b"content")).read() == b"content"


def test_blobs_are_written_by_nobody_afterwards(store):
    store.put(io.BytesIO(b"content"), described(b"content"))
    assert stat.S_IMODE(store.blobs.path(sha256(b"content")).stat().st_mode) == 0o444
