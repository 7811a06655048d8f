import io
import json
from dataclasses import replace

import pytest

from registry.compress import compressing
from registry.errors import (
    DamagedDataError,
    DigestMismatchError,
    InvalidDocumentError,
    NotFoundError,
    TooLargeError,
)
from registry.image import MAX_DEPTH, Layer, check_image, open_layer, read_image
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.config import History, ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, sha256
from registry.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from registry.oci.platform import Platform

AMD64 = Platform.parse("linux/amd64")
ARM64 = Platform.parse("linux/arm64")


def entry(descriptor, platform=None, **annotations):
    return replace(descriptor, platform=platform, annotations=annotations)


def test_reads_an_image_with_its_layers(builder):
    descriptor = builder.image(layers=3)
    image = read_image(builder.store, descriptor, None)
    assert image.descriptor == descriptor
    assert image.id == image.manifest.config.digest == sha256(image.config_raw)
    assert [layer.descriptor for layer in image.layers] == list(image.manifest.layers)
    assert [layer.diff_id for layer in image.layers] == list(image.config.diff_ids)
    check_image(image, builder.store)


def test_a_manifest_is_read_whatever_its_platform(builder):
    descriptor = builder.image(platform=ARM64)
    assert read_image(builder.store, descriptor, AMD64).config.platform == ARM64


def test_follows_an_index_to_the_platform(builder):
    arm, amd = builder.image(1, ARM64), builder.image(2, AMD64)
    index = builder.index(entry(arm, ARM64), entry(amd, AMD64))
    assert read_image(builder.store, index, AMD64).descriptor == amd
    assert read_image(builder.store, index, ARM64).descriptor == arm


def test_prefers_the_exact_match_to_an_accepted_one(builder):
    old, new = (Platform.parse(f"windows(10.0.20348.{n})/amd64") for n in (1, 2))
    index = builder.index(entry(builder.image(1), old), entry(builder.image(2), new))
    assert len(read_image(builder.store, index, new).layers) == 2
    other = Platform.parse("windows(10.0.20348.0)/amd64")
    assert len(read_image(builder.store, index, other).layers) == 2
    any_version = Platform.parse("windows/amd64")
    assert len(read_image(builder.store, index, any_version).layers) == 1


def test_the_newest_is_found_by_number_not_by_letters(builder):
    versions = ("10.0.20348.999", "10.0.20348.1000", "10.0.17763.5000")
    entries = [
        entry(builder.image(n), Platform.parse(f"windows({version})/amd64"))
        for n, version in enumerate(versions, 1)
    ]
    index = builder.index(*entries)
    wanted = Platform.parse("windows(10.0.20348)/amd64")
    assert len(read_image(builder.store, index, wanted).layers) == 2


def test_a_windows_version_that_nothing_matches_tells_what_there_is(builder):
    index = builder.index(
        entry(builder.image(), Platform.parse("windows(10.0.17763.1)/amd64")),
        entry(builder.image(), Platform.parse("windows(10.0.20348.1)/amd64")),
    )
    offered = r"has windows\(10.0.17763.1\)/amd64, windows\(10.0.20348.1\)/amd64"
    with pytest.raises(NotFoundError, match=offered):
        read_image(builder.store, index, Platform.parse("windows(10.0.14393)/amd64"))


def test_prefers_the_exact_windows_version_whatever_its_features(builder):
    exact = Platform(
        os="windows",
        architecture="amd64",
        os_version="10.0.20348.1",
        os_features=("win32k",),
    )
    newer = Platform.parse("windows(10.0.20348.2)/amd64")
    index = builder.index(entry(builder.image(2), newer), entry(builder.image(1), exact))
    wanted = Platform.parse("windows(10.0.20348.1)/amd64")
    assert len(read_image(builder.store, index, wanted).layers) == 1


def test_an_entry_without_platform_is_the_last_choice(builder):
    index = builder.index(entry(builder.image(1)), entry(builder.image(2), AMD64))
    assert len(read_image(builder.store, index, AMD64).layers) == 2
    assert len(read_image(builder.store, index, ARM64).layers) == 1


def test_missing_platform_tells_what_there_is(builder):
    index = builder.index(entry(builder.image(), AMD64))
    with pytest.raises(NotFoundError, match=r"linux/s390x.* has linux/amd64"):
        read_image(builder.store, index, Platform.parse("linux/s390x"))


def test_attestations_are_no_images(builder):
    unknown = Platform(os="unknown", architecture="unknown")
    attestation = builder.image(1)
    index = builder.index(
        entry(attestation, unknown, **{"vnd.docker.reference.type": "attestation-manifest"}),
        entry(builder.image(2), AMD64),
    )
    assert len(read_image(builder.store, index, None).layers) == 2
    with pytest.raises(NotFoundError):
        read_image(builder.store, builder.index(entry(attestation, unknown)), unknown)


def test_without_platform_the_index_must_leave_no_choice(builder):
    index = builder.index(entry(builder.image(1), AMD64), entry(builder.image(2), ARM64))
    with pytest.raises(InvalidDocumentError, match="needs a platform to be chosen"):
        read_image(builder.store, index, None)


def test_an_index_in_an_index_is_followed(builder):
    inner = builder.index(entry(builder.image(), AMD64))
    assert read_image(builder.store, builder.index(inner), AMD64)


def test_attack_deep_index_is_refused(builder):
    descriptor = builder.image()
    for _ in range(100):
        descriptor = builder.index(descriptor)
    with pytest.raises(InvalidDocumentError, match=f"more than {MAX_DEPTH} levels"):
        read_image(builder.store, descriptor, AMD64)


def test_attack_index_that_names_itself_is_refused():
    class Liar(MemoryStore):
        """Breaks the promise to verify, as no other store does."""

        def open(self, descriptor):
            return io.BytesIO(raw)

    loop = Descriptor(media_type=mediatypes.OCI_INDEX, digest=sha256(b"loop"), size=1)
    raw = json.dumps({"schemaVersion": 2, "manifests": [loop.to_json()]}).encode()
    with pytest.raises(InvalidDocumentError, match="nested"):
        read_image(Liar(), loop, AMD64)


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_attack_huge_document_is_refused_unread(builder, what):
    huge = Descriptor(
        media_type=mediatypes.OCI_CONFIG, digest=sha256(b"x"), size=MAX_MANIFEST_BYTES + 1
    )
    root = replace(huge, media_type=mediatypes.OCI_MANIFEST)
    if what == "config":
        root = builder.document(Manifest.build(config=huge, layers=()))
    with pytest.raises(TooLargeError):
        read_image(builder.store, root, None)


def test_an_artifact_is_no_image(builder):
    config = builder.blob(b"{}", mediatypes.OCI_EMPTY)
    artifact = builder.document(Manifest.build(config=config, layers=(), artifact_type="a/sbom"))
    with pytest.raises(InvalidDocumentError, match='artifact of type "a/sbom"'):
        read_image(builder.store, artifact, None)


def test_layers_and_diff_ids_must_be_as_many(builder):
    layers = [builder.layer(0), builder.layer(1)]
    config = builder.config([layers[0].digest])
    root = builder.document(Manifest.build(config=config, layers=layers))
    with pytest.raises(InvalidDocumentError, match="has 2 layers, its config 1"):
        read_image(builder.store, root, None)


def packed_layer(builder, raw, codec):
    packed = compressing(io.BytesIO(raw), codec).read()
    return builder.blob(packed, mediatypes.layer(codec))


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_opens_a_layer_as_its_tar(builder, make_tar, codec):
    raw = make_tar({"a": b"1" * 2_000_000})
    layer = Layer(diff_id=DiffId(sha256(raw)), descriptor=packed_layer(builder, raw, codec))
    with open_layer(builder.store, layer) as stream:
        assert stream.read() == raw


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_attack_layer_that_is_not_its_diff_id_raises(builder, codec):
    layer = Layer(diff_id=DiffId(sha256(b"good")), descriptor=packed_layer(builder, b"evil", codec))
    with open_layer(builder.store, layer) as stream, pytest.raises(DigestMismatchError):
        stream.read()


def image_of(builder, layers, diff_ids, history=()):
    config = ImageConfig(platform=AMD64, diff_ids=tuple(diff_ids), history=history)
    raw = builder.blob(config.encode(), mediatypes.OCI_CONFIG)
    root = builder.document(Manifest.build(config=raw, layers=layers))
    return read_image(builder.store, root, None)


def test_check_finds_a_wrong_diff_id(builder):
    layer = packed_layer(builder, b"evil", "gzip")
    image = image_of(builder, [layer], [DiffId(sha256(b"good"))])
    with pytest.raises(DigestMismatchError, match="uncompressed"):
        check_image(image, builder.store)


def test_check_finds_a_layer_that_cannot_be_unpacked(builder):
    packed = builder.blob(b"\x1f\x8b\x08no", mediatypes.OCI_LAYER_GZIP)
    image = image_of(builder, [packed], [DiffId(sha256(b"x"))])
    with pytest.raises(DamagedDataError):
        check_image(image, builder.store)


def test_check_finds_history_that_does_not_fit(builder):
    layer = builder.layer()
    history = (History(created_by="a"), History(created_by="b"), History(empty_layer=True))
    image = image_of(builder, [layer], [DiffId(layer.digest)], history)
    with pytest.raises(InvalidDocumentError, match="history has 2 layers, its manifest 1"):
        check_image(image, builder.store)


def test_check_finds_a_missing_blob(builder, new_builder):
    image = read_image(builder.store, builder.image(), None)
    with pytest.raises(NotFoundError):
        check_image(image, new_builder().store)


def test_check_passes_over_layers_that_may_not_be_distributed(builder):
    gone = Descriptor(
        media_type=mediatypes.DOCKER_FOREIGN_LAYER_GZIP,
        digest=sha256(b"x"),
        size=1,
        urls=("https://example.org/x",),
    )
    image = image_of(builder, [gone], [DiffId(sha256(b"y"))])
    check_image(image, builder.store)


def test_check_finds_fields_that_are_not_in_the_documents(builder):
    image = read_image(builder.store, builder.image(), None)
    with pytest.raises(InvalidDocumentError):
        check_image(replace(image, layers=image.layers[:1]), builder.store)
    with pytest.raises(DigestMismatchError):
        check_image(replace(image, config_raw=image.config_raw + b" "), builder.store)
