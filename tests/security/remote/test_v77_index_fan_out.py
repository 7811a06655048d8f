"""V77: indexes that name themselves, go deep or wide, or list what is no image."""

import json

import pytest

from registry.copy import MAX_DOCUMENTS, copy
from registry.errors import InvalidDocumentError, NotFoundError, RegistryError, TooLargeError
from registry.image import read_image
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.digest import sha256
from registry.oci.manifest import MAX_ENTRIES, Index
from registry.oci.platform import Platform

AMD64 = Platform.parse("linux/amd64")


@pytest.fixture
def add(simulator):
    def do(index: Index):
        simulator.add_manifest("team/app", index.raw, index.media_type)
        return index.descriptor

    return do


def test_attack_index_that_claims_to_be_its_own_child_ends(repository, simulator):
    """Its digest cannot be inside itself, so a liar serves it for a digest that is not its own."""
    claimed = sha256(b"claimed")
    entry = {"mediaType": mediatypes.OCI_INDEX, "digest": claimed, "size": 300}
    raw = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    simulator.add_manifest("team/app", raw, mediatypes.OCI_INDEX, "1")
    simulator.repositories["team/app"].manifests[claimed] = (mediatypes.OCI_INDEX, raw)
    with pytest.raises(RegistryError):
        copy(repository, MemoryStore(), repository.resolve("1"))
    assert len(simulator.sent("GET", "/manifests/")) < 10


@pytest.mark.parametrize("depth", [6, 100])
def test_attack_deep_pile_of_indexes_is_refused(repository, simulator, add, depth):
    inner = add(Index.build(manifests=[]))
    for _ in range(depth):
        inner = add(Index.build(manifests=[inner]))
    for read in (
        lambda: copy(repository, MemoryStore(), inner),
        lambda: read_image(repository, inner, AMD64),
    ):
        with pytest.raises((InvalidDocumentError, NotFoundError)):
            read()
    assert len(simulator.sent("GET", "/manifests/")) < 20


def test_attack_a_hundred_thousand_entries_are_refused(repository, simulator):
    entry = {"mediaType": mediatypes.OCI_MANIFEST, "digest": sha256(b""), "size": 1}
    raw = b'{"schemaVersion":2,"manifests":[' + b",".join([json.dumps(entry).encode()] * 100_000)
    simulator.add_manifest("team/app", raw + b"]}", mediatypes.OCI_INDEX, "1")
    with pytest.raises(TooLargeError):
        repository.open(repository.resolve("1"))


def test_attack_more_entries_than_any_image_has_are_refused(repository, simulator):
    entry = f'{{"mediaType":"x/y","digest":"{sha256(b"")}","size":1}}'.encode()
    raw = b'{"schemaVersion":2,"manifests":[' + b",".join([entry] * (MAX_ENTRIES + 1)) + b"]}"
    simulator.add_manifest("team/app", raw, mediatypes.OCI_INDEX, "1")
    with pytest.raises(RegistryError, match=r"the limit is 10000"):
        repository.open(repository.resolve("1"))


def test_attack_wide_tree_of_manifests_is_refused(repository, simulator, add):
    children = [
        add(Index.build(manifests=[], annotations={"number": str(number)}))
        for number in range(MAX_DOCUMENTS + 1)
    ]
    root = add(Index.build(manifests=children))
    with pytest.raises(TooLargeError, match="number of manifests"):
        copy(repository, MemoryStore(), root)


def test_attestations_and_other_platforms_are_not_taken_for_the_image(repository, add, describe):
    from dataclasses import replace

    unknown = Platform(os="unknown", architecture="unknown")
    entry = replace(describe(b"{}", mediatypes.OCI_MANIFEST), platform=unknown)
    other = replace(
        describe(b"[]", mediatypes.OCI_MANIFEST), platform=Platform.parse("linux/s390x")
    )
    strange = replace(describe(b"x", "application/x-unknown"), platform=AMD64)
    root = add(Index.build(manifests=[entry, other, strange]))
    with pytest.raises(NotFoundError, match=r"linux/amd64.* has linux/s390x$"):
        read_image(repository, root, AMD64)
