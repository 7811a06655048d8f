"""Docker's first manifest format: read, and made into the second."""

import base64
import gzip
import json

import pytest

from registry.copy import copy
from registry.errors import (
    DamagedDataError,
    DigestMismatchError,
    InvalidDocumentError,
    NotFoundError,
)
from registry.image import check_image, read_image
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.digest import sha256
from registry.remote.schema1 import signed_payload

EMPTY = gzip.compress(bytes(1024), mtime=0)
TYPES = (mediatypes.DOCKER_SCHEMA1_SIGNED, mediatypes.DOCKER_SCHEMA1, "application/json")


def unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(document: dict) -> tuple[bytes, bytes]:
    """Return the manifest as registries hold it, and the payload that its digest is of."""
    payload = json.dumps(document, indent=3).encode()
    length = len(payload) - 2
    protected = {"formatLength": length, "formatTail": unpadded(payload[length:])}
    signature = {
        "header": {"alg": "ES256"},
        "signature": "x",
        "protected": unpadded(json.dumps(protected).encode()),
    }
    return payload[:length] + b',\n "signatures": ' + json.dumps(
        [signature]
    ).encode() + b"}", payload


@pytest.fixture
def layers(make_tar):
    return [gzip.compress(make_tar({f"file{number}": b"x" * 9000})) for number in range(2)]


@pytest.fixture
def document(layers):
    """An image of two layers, a CMD that changed no files between them, newest first."""
    top = {
        "id": "3",
        "parent": "2",
        "Size": 9000,
        "os": "linux",
        "architecture": "amd64",
        "created": "2015-03-01T00:00:00Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"]},
        "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) COPY"]},
    }
    middle = {"id": "2", "throwaway": True, "container_config": {"Cmd": ["#(nop) CMD"]}}
    bottom = {"id": "1", "author": "ali", "created": "2015-01-01T00:00:00Z"}
    digests = [sha256(layers[1]), sha256(EMPTY), sha256(layers[0])]
    return {
        "schemaVersion": 1,
        "name": "team/app",
        "tag": "old",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest} for digest in digests],
        "history": [{"v1Compatibility": json.dumps(each)} for each in (top, middle, bottom)],
    }


@pytest.fixture
def push(simulator, layers):
    def do(document, media_type=TYPES[0]):
        for layer in layers:
            simulator.add_blob("team/app", layer)
        raw, payload = signed(document)
        digest = sha256(payload)
        simulator.repositories["team/app"].manifests[digest] = (media_type, raw)
        simulator.repositories["team/app"].tags["old"] = digest
        return digest

    return do


@pytest.mark.parametrize("media_type", TYPES)
def test_an_old_image_is_pulled_whole(repository, push, document, layers, media_type):
    push(document, media_type)
    found = repository.resolve("old")
    assert found.media_type == mediatypes.DOCKER_MANIFEST
    pulled = MemoryStore()
    copy(repository, pulled, found)
    image = read_image(pulled, found, None)
    check_image(image, pulled)
    assert [layer.descriptor.digest for layer in image.layers] == [sha256(raw) for raw in layers]
    assert image.config.config.cmd == ("/bin/sh",)
    assert image.config.config.env == ("A=b",)
    assert [entry.empty_layer for entry in image.config.history] == [False, True, False]
    assert image.config.history[2].created_by == "/bin/sh -c #(nop) COPY"
    assert image.config.history[0].author == "ali"
    data = json.loads(image.config_raw)
    assert not {"id", "parent", "Size", "throwaway"} & set(data)


def test_the_same_image_is_made_each_time(push, document, new_client, at):
    push(document)
    first, second = (new_client().repository(at("team/app")).resolve("old") for _ in range(2))
    assert first == second


def test_is_found_by_the_digest_of_what_was_signed(repository, push, document):
    digest = push(document)
    found = repository.resolve(digest)
    assert found == repository.resolve("old")
    assert found.digest != digest


def test_the_payload_of_what_is_not_signed_is_the_whole():
    raw = json.dumps({"schemaVersion": 1, "fsLayers": []}).encode()
    assert signed_payload(raw, "it") == raw


def test_attack_other_bytes_than_the_digest_asked_for_are_refused(
    repository, simulator, push, document
):
    digest = push(document)
    raw, _ = signed(document | {"tag": "other"})
    simulator.repositories["team/app"].manifests[digest] = (TYPES[0], raw)
    for name in (digest, "old"):
        with pytest.raises(DigestMismatchError):
            repository.resolve(name)


def test_attack_layer_of_other_bytes_is_refused(repository, simulator, push, document, layers):
    push(document)
    blobs = simulator.repositories["team/app"].blobs
    blobs[sha256(layers[0])] = blobs[sha256(layers[1])]
    with pytest.raises(DigestMismatchError):
        repository.resolve("old")


def test_a_layer_that_is_not_compressed_as_it_must_be_is_refused(
    repository, simulator, push, document
):
    plain = simulator.add_blob("team/app", b"not gzip")
    document["fsLayers"][0]["blobSum"] = plain
    push(document)
    with pytest.raises(DamagedDataError):
        repository.resolve("old")


def test_a_missing_layer_is_not_found(repository, push, document):
    document["fsLayers"][0]["blobSum"] = sha256(b"nowhere")
    push(document)
    with pytest.raises(NotFoundError):
        repository.resolve("old")


@pytest.mark.parametrize(
    "change",
    [
        {"fsLayers": []},
        {"fsLayers": [{}]},
        {"fsLayers": "x"},
        {"fsLayers": [{"blobSum": "sha256:../../x"}] * 3},
        {"history": [3, 3, 3]},
        {"history": [{"v1Compatibility": "[]"}] * 3},
        {"history": [{"v1Compatibility": "{"}] * 3},
        {"history": [{}] * 3},
        {"fsLayers": [{}] * 1001, "history": [{"v1Compatibility": "{}"}] * 1001},
    ],
)
def test_attack_broken_manifests_are_refused(repository, push, document, change):
    push(document | change)
    with pytest.raises(InvalidDocumentError):
        repository.resolve("old")


@pytest.mark.parametrize(
    "protected", ["", "e30", unpadded(b'{"formatLength": 1}'), "!", unpadded(b"[" * 100_000)]
)
def test_attack_broken_signatures_are_refused(protected):
    raw = json.dumps({"schemaVersion": 1, "signatures": [{"protected": protected}]}).encode()
    with pytest.raises(InvalidDocumentError, match="signature cannot be read"):
        signed_payload(raw, "it")


@pytest.mark.parametrize("key", ["layers", "config", "manifests", "mediaType"])
def test_v72_attack_document_that_is_also_another_kind_is_refused(repository, push, document, key):
    push(document | {key: []})
    with pytest.raises((InvalidDocumentError, DigestMismatchError)):
        repository.resolve("old")
