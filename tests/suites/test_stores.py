"""What every store promises, asked of each of them. A new store is a line in STORES."""

import hashlib
import io
import threading

import pytest

from registry.errors import (
    DigestMismatchError,
    NotFoundError,
    RegistryError,
    SizeMismatchError,
)
from registry.layout import OciLayout
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import Index, Manifest
from registry.server import Storage
from registry.store import Deleter, Referrers, Source, StreamSink, Target

STORES = {
    "memory": lambda _: MemoryStore(),
    "layout": OciLayout,
    "durable layout": lambda path: OciLayout(path, durable=True),
    "registry's folder": lambda path: Storage(path).repository("team/app"),
}


@pytest.fixture(params=STORES.values(), ids=STORES)
def store(request, tmp_path):
    made = request.param(tmp_path / "store")
    as_source: Source = made
    as_target: Target = made
    assert as_source is as_target
    return made


def described(raw: bytes, media_type: str = "text/plain") -> Descriptor:
    return Descriptor(media_type=media_type, digest=sha256(raw), size=len(raw))


def put(store, raw: bytes, media_type: str = "text/plain") -> Descriptor:
    store.put(io.BytesIO(raw), described(raw, media_type))
    return described(raw, media_type)


def put_manifest(store, name: str = "x") -> Descriptor:
    manifest = Manifest.build(
        config=put(store, b"{}", mediatypes.OCI_CONFIG), layers=(), annotations={"name": name}
    )
    store.put(io.BytesIO(manifest.raw), manifest.descriptor)
    return manifest.descriptor


@pytest.mark.parametrize("raw", [b"", b"x", bytes(3_000_000)])
def test_gives_back_what_was_put(store, raw):
    assert not store.has(described(raw))
    descriptor = put(store, raw)
    assert store.has(descriptor)
    assert store.open(descriptor).read() == raw


def test_missing_blob_is_not_found(store):
    with pytest.raises(NotFoundError):
        store.open(described(b"x"))


@pytest.mark.parametrize("raw", [b"evil!", b"hell", b"hello!"])
def test_wrong_bytes_are_refused_and_not_kept(store, raw):
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        store.put(io.BytesIO(raw), described(b"hello"))
    assert not store.has(described(b"hello"))


def test_putting_again_is_harmless(store):
    assert put(store, b"hello") == put(store, b"hello")


def test_asking_for_a_wrong_size_raises(store):
    put(store, b"hello")
    wrong = Descriptor(media_type="text/plain", digest=sha256(b"hello"), size=4)
    with pytest.raises(SizeMismatchError):
        store.open(wrong).read()


def test_takes_bytes_of_unknown_digest(store):
    if not isinstance(store, StreamSink):
        pytest.skip("takes blobs of known digest only")
    assert store.put_new(io.BytesIO(b"hello"), "text/plain") == described(b"hello")
    assert store.open(described(b"hello")).read() == b"hello"


def test_sha512_is_a_digest_like_another(store):
    digest = Digest("sha512:" + hashlib.sha512(b"x").hexdigest())
    descriptor = Descriptor(media_type="text/plain", digest=digest, size=1)
    store.put(io.BytesIO(b"x"), descriptor)
    assert store.open(descriptor).read() == b"x"


def test_tags_move(store):
    one, two = put_manifest(store, "one"), put_manifest(store, "two")
    store.tag(one, "v1")
    store.tag(one, "latest")
    store.tag(two, "latest")
    assert store.resolve("v1").digest == one.digest
    assert store.resolve("latest").digest == two.digest


def test_resolves_digests(store):
    manifest = put_manifest(store)
    store.tag(manifest, "v1")
    index = Index.build(manifests=[manifest])
    store.put(io.BytesIO(index.raw), index.descriptor)
    assert store.resolve(manifest.digest).media_type == mediatypes.OCI_MANIFEST
    assert store.resolve(index.descriptor.digest) == index.descriptor


@pytest.mark.parametrize("name", ["v2", str(sha256(b"x")), "sha256:../../x", "", "../x"])
def test_unknown_names_are_not_found(store, name):
    store.tag(put_manifest(store, "one"), "v1")
    store.tag(put_manifest(store, "two"), "v3")
    with pytest.raises(NotFoundError):
        store.resolve(name)


def test_what_is_no_manifest_does_not_resolve(store):
    store.tag(put_manifest(store), "v1")
    with pytest.raises(RegistryError):
        store.resolve(put(store, b"hello").digest)


def test_threads_can_write_at_once(store):
    def work(number: int) -> None:
        for turn in range(5):
            put(store, b"shared %d" % turn)
            store.tag(put_manifest(store, f"{number}"), f"t{number}-{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        for turn in range(5):
            assert store.resolve(f"t{number}-{turn}")
            assert store.open(described(b"shared %d" % turn)).read()


def refer(store, subject: Descriptor, artifact_type: str = "example/sbom") -> Descriptor:
    manifest = Manifest.build(
        config=put(store, b"{}", mediatypes.OCI_EMPTY),
        layers=(),
        artifact_type=artifact_type,
        annotations={"about": artifact_type},
        subject=subject,
    )
    store.put(io.BytesIO(manifest.raw), manifest.descriptor)
    return manifest.descriptor


def test_lists_referrers_from_when_they_are_put(store):
    if not isinstance(store, Referrers):
        pytest.skip("knows no referrers")
    subject, other = put_manifest(store, "one"), put_manifest(store, "two")
    assert list(store.referrers(subject.digest)) == []
    sbom, signature = refer(store, subject), refer(store, subject, "example/signature")
    refer(store, subject)
    refer(store, other)
    found = {each.digest: each for each in store.referrers(subject.digest)}
    assert set(found) == {sbom.digest, signature.digest}
    assert found[sbom.digest].artifact_type == "example/sbom"
    assert found[sbom.digest].annotations == {"about": "example/sbom"}
    chosen = store.referrers(subject.digest, "example/signature")
    assert [each.digest for each in chosen] == [signature.digest]


def test_referrers_do_not_make_a_subject_ambiguous(store):
    if not isinstance(store, Referrers):
        pytest.skip("knows no referrers")
    subject = put_manifest(store)
    refer(store, subject)
    store.tag(subject, "v1")
    assert store.resolve("v1").digest == subject.digest
    assert store.resolve(subject.digest).digest == subject.digest


def test_lists_its_names(store):
    one = put_manifest(store)
    store.tag(one, "v1")
    store.tag(one, "v2")
    assert sorted(store.tags()) == ["v1", "v2"]


def test_finds_a_blob_by_its_digest_alone(store):
    put(store, b"hello")
    found = store.find_blob(sha256(b"hello"))
    assert (found.digest, found.size) == (sha256(b"hello"), 5)
    assert store.open(found).read() == b"hello"
    with pytest.raises(NotFoundError):
        store.find_blob(sha256(b"other"))


def test_deletes_names_and_manifests(store):
    if not isinstance(store, Deleter):
        pytest.skip("deletes nothing")
    one, two = put_manifest(store, "one"), put_manifest(store, "two")
    for descriptor, name in ((one, "v1"), (one, "v2"), (two, "v3")):
        store.tag(descriptor, name)
    store.untag("v1")
    with pytest.raises(NotFoundError):
        store.untag("v1")
    assert store.resolve("v2").digest == one.digest
    store.delete(one)
    assert list(store.tags()) == ["v3"]
    assert not store.has(one)
    with pytest.raises(NotFoundError):
        store.delete(one)
