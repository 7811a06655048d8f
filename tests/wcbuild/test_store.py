"""The local store: names, images, deletion, and the lock."""

import io
import json
import os
import subprocess
import sys

import pytest

from registry.errors import InvalidDocumentError, NotFoundError, StoreError
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.config import ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, sha256
from registry.oci.manifest import Manifest
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.assemble import put_image
from wcbuild.collect import collect_unnamed
from wcbuild.errors import StoreInUseError
from wcbuild.store import default_root, open_store, sweep

AMD64 = Platform(os="linux", architecture="amd64")


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    yield store
    store.close()


def add_image(store, name, content=b"layer"):
    layer = Descriptor(media_type=mediatypes.OCI_LAYER, digest=sha256(content), size=len(content))
    store.put(io.BytesIO(content), layer)
    config = ImageConfig(platform=AMD64, diff_ids=(DiffId(layer.digest),))
    descriptor, _ = put_image(config, [layer], store)
    reference = Reference.parse(name).with_default_tag() if name else None
    return store.name_image(descriptor, reference), layer


def test_names_are_found_in_any_spelling(store):
    record, _ = add_image(store, "team/app:1")
    for name in ("team/app:1", "docker.io/team/app:1", f"team/app@{record.descriptor.digest}"):
        assert store.find(name).descriptor == record.descriptor


def test_an_image_is_found_by_the_beginning_of_its_id(store):
    record, _ = add_image(store, "app")
    assert store.find(record.image_id.hex[:12]) == record
    assert store.find(record.image_id) == record


def test_an_unknown_name_is_an_error_that_says_where_it_was_looked_for(store):
    with pytest.raises(NotFoundError, match="image nothing:latest: not found in the local store"):
        store.find("nothing")


def test_a_name_moves_to_the_newer_image(store):
    add_image(store, "app", b"one")
    newer, _ = add_image(store, "app", b"two")
    assert store.find("app") == newer
    assert len(store.images()) == 1


def test_collect_keeps_what_a_name_leads_to_and_deletes_the_rest(store):
    kept, kept_layer = add_image(store, "kept", b"kept")
    gone, gone_layer = add_image(store, "gone", b"gone")
    store.remove_name(gone)
    with store.exclusively():
        freed, chains = store.collect(lambda _: False, derived=False)
    assert freed > 0
    assert store.has(kept.descriptor)
    assert store.has(kept_layer)
    assert not store.has(gone_layer)
    assert chains == {kept_layer.digest}


def test_collect_keeps_layers_of_the_build_cache(store):
    record, layer = add_image(store, "app")
    store.remove_name(record)
    with store.exclusively():
        store.collect(lambda diff_id: diff_id == layer.digest, derived=True)
    assert store.has(layer)
    assert not store.has(record.descriptor)


def test_nothing_is_deleted_while_another_process_uses_the_store(store):
    script = (
        "import sys; from pathlib import Path; from wcbuild.store import open_store;"
        f"s = open_store(Path({str(store.root)!r})); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUseError) as caught, store.exclusively():
            pass
        assert caught.value.holders == (other.pid,)
        other.stdin.close()
    with store.exclusively():
        pass


def test_leftovers_of_killed_processes_are_swept_when_nobody_else_is_there(store):
    leftovers = [store.scratch_file(), store.scratch_folder()]
    (leftovers[1] / "agent").touch()
    swept = []
    sweep(store, lambda: swept.append(True))
    assert not any(leftover.exists() for leftover in leftovers)
    assert swept == [True]


def test_the_store_is_closed_to_other_users(store):
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_a_store_of_a_newer_version_is_refused(store):
    (store.root / "version").write_text("99\n")
    with pytest.raises(InvalidDocumentError, match="has version 99"):
        open_store(store.root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="choose another --root"):
        open_store(tmp_path / "store")


def test_compressed_layers_are_remembered_by_encoder(store):
    diff_id = DiffId(sha256(b"x"))
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=sha256(b"gz"), size=2)
    assert store.compressed.find(diff_id, "gzip-1/lib") is None
    store.compressed.remember(diff_id, "gzip-1/lib", descriptor)
    assert store.compressed.find(diff_id, "gzip-1/lib") == descriptor


def test_a_damaged_image_record_is_named(store):
    record, _ = add_image(store, "app")
    [path] = (store.root / "images").iterdir()
    path.write_text(json.dumps({"reference": "app"}))
    with pytest.raises(InvalidDocumentError, match="is not an image record"):
        store.images()
    assert record


def test_the_usual_place_follows_the_environment(monkeypatch):
    assert str(default_root({"WCBUILD_ROOT": "/x"})) == "/x"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert str(default_root({"XDG_DATA_HOME": "/d"})) == "/d/wcbuild"


def test_referrers_stay_as_long_as_what_they_refer_to(store):
    record, _ = add_image(store, "app", b"one")
    other, _ = add_image(store, "other", b"two")
    config = Descriptor(media_type=mediatypes.OCI_EMPTY, digest=sha256(b"{}"), size=2)
    store.put(io.BytesIO(b"{}"), config)
    manifest = Manifest.build(
        config=config, layers=(), artifact_type="example/sbom", subject=record.descriptor
    )
    store.put(io.BytesIO(manifest.raw), manifest.descriptor)
    with store.exclusively():
        collect_unnamed(store)
    (found,) = store.referrers(record.descriptor.digest, "example/sbom")
    assert found.digest == manifest.descriptor.digest
    assert store.open(found).read() == manifest.raw
    assert store.open(config).read() == b"{}"
    assert list(store.referrers(other.descriptor.digest)) == []
    store.remove_name(record)
    with store.exclusively():
        collect_unnamed(store)
    assert list(store.referrers(record.descriptor.digest)) == []
    assert not store.has(manifest.descriptor)


def test_a_blob_that_was_left_elsewhere_comes_when_it_is_opened(store):
    elsewhere = MemoryStore()
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER, digest=sha256(b"layer"), size=5)
    elsewhere.put(io.BytesIO(b"layer"), descriptor)
    asked = []

    def repositories(reference):
        asked.append(reference.name)
        return elsewhere

    with pytest.raises(NotFoundError):
        store.open(descriptor)
    store.note_origin([descriptor], Reference.parse("127.0.0.1:5000/a/b:1"))
    assert store.origin(descriptor) is None  # nobody said how to reach it
    store.fetch_from(repositories)
    assert store.open(descriptor).read() == b"layer"
    assert store.open(descriptor).read() == b"layer"
    assert store.has(descriptor)
    assert asked == ["127.0.0.1:5000/a/b"]
    with store.exclusively():
        store.collect(lambda _: False, derived=False)
    assert store.origin(descriptor) is None
