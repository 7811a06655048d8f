"""V75: other bytes than were asked for, in every place where bytes come from."""

import json
import random

import pytest
from clients import IMPATIENT

from registry.copy import copy
from registry.errors import DigestMismatchError, RegistryError, SizeMismatchError
from registry.oci import mediatypes
from registry.oci.manifest import Manifest

BLOB = random.Random(75).randbytes(1_500_000)


@pytest.fixture
def image(serve_image):
    return serve_image(BLOB)


@pytest.fixture
def nothing_is_kept(store):
    def check(*descriptors):
        assert not any(store.has(descriptor) for descriptor in descriptors)
        assert store.images() == []
        assert not list((store.root / "ingest").glob("*"))

    return check


@pytest.mark.parametrize(
    "evil",
    [BLOB[:-1], BLOB + b"x", bytes(len(BLOB)), b"", BLOB[:-1] + b"x", b"x" + BLOB[1:]],
    ids=["short by one", "long by one", "zeros", "empty", "last byte", "first byte"],
)
def test_attack_other_blob_is_refused(repository, simulator, store, image, evil, nothing_is_kept):
    simulator.repositories["team/app"].blobs[image.layers[0].digest] = evil
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        copy(repository, store, image.descriptor)
    nothing_is_kept(image.layers[0], image.descriptor)


def test_attack_other_config_is_refused(repository, simulator, store, image, nothing_is_kept):
    simulator.repositories["team/app"].blobs[image.config.digest] = b"[]"
    with pytest.raises(DigestMismatchError):
        copy(repository, store, image.descriptor)
    nothing_is_kept(image.config, image.descriptor)


def test_attack_other_manifest_is_refused(repository, simulator, image, store):
    other = Manifest.build(config=image.config, layers=[])
    kept = simulator.repositories["team/app"].manifests
    kept[image.descriptor.digest] = (other.media_type, other.raw)
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        copy(repository, store, image.descriptor)


def test_attack_manifest_with_spaces_added_is_refused(repository, simulator, image):
    kept = simulator.repositories["team/app"].manifests
    kept[image.descriptor.digest] = (image.media_type, image.raw + b"\n")
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        repository.open(image.descriptor)


def test_attack_answer_that_stops_with_the_connection_open_is_not_taken_for_whole(
    new_client, at, simulator, store, image
):
    """The length says one thing, and then nothing comes: not the end, but a broken connection."""
    simulator.ranges = False
    simulator.stall(120, times=9, after=700_000, at=image.layers[0].digest)
    with pytest.raises(RegistryError, match="no answer in time"):
        copy(
            new_client(**IMPATIENT, attempts=2).repository(at("team/app")), store, image.descriptor
        )
    assert not store.has(image.layers[0])


@pytest.mark.parametrize(
    "content_range", ["bytes 0-1499999/1500000", "bytes 699999-1499998/1500000", "bytes */1500000"]
)
def test_attack_range_with_another_offset_is_not_spliced_in(
    repository, simulator, store, image, content_range
):
    layer = image.layers[0]
    simulator.cut_after(700_000, at=layer.digest)
    wrong = {"Content-Range": content_range}
    simulator.fail_next("GET", 206, 1, wrong, body=b"evil" * 200_000, at=layer.digest)
    copy(repository, store, image.descriptor)
    assert store.open(layer).read() == BLOB


def test_attack_embedded_data_that_is_not_the_digests_is_not_used(repository, simulator, store):
    """A descriptor's `data` is a convenience; nothing here takes it for the content."""
    config = {
        "mediaType": mediatypes.OCI_CONFIG,
        "digest": simulator.add_blob("team/app", b"{}"),
        "size": 2,
        "data": "W10=",
    }
    raw = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    simulator.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, "1")
    copy(repository, store, repository.resolve("1"))
    manifest = store.manifest(repository.resolve("1"))
    assert store.open(manifest.config).read() == b"{}"
