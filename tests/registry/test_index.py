"""Changes of an index: values in, values out, and unknown fields stay."""

import json
from dataclasses import replace

import pytest
from images import AMD64

from registry.errors import InvalidDocumentError, NotFoundError
from registry.index import (
    ATTESTED,
    annotated,
    create_index,
    entries_for,
    find_entries,
    read_index,
    with_entries,
    without_entries,
)
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import encode, parse_index
from registry.oci.platform import Platform

ARM = Platform(os="linux", architecture="arm64")


def entry(name: str, platform: Platform | None = None, **fields) -> Descriptor:
    return Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=sha256(name.encode()),
        size=5,
        platform=platform,
        **fields,
    )


ONE, TWO = entry("one", AMD64), entry("two", ARM)
ATTESTATION = entry(
    "attestation",
    Platform(os="unknown", architecture="unknown"),
    annotations={ATTESTED: ONE.digest},
)


def with_unknown(index):
    data = json.loads(index.raw) | {"example": [1]}
    data["manifests"][0]["example"] = 2
    return parse_index(encode(data))


def test_attestations_share_a_platform_that_nobody_runs_on():
    other = replace(ATTESTATION, digest=sha256(b"other"), annotations={ATTESTED: TWO.digest})
    index = create_index([ONE, TWO, ATTESTATION, other, ONE])
    assert index.manifests == (ONE, TWO, ATTESTATION, other)


def test_one_platform_has_one_image():
    arm_v8 = Platform(os="linux", architecture="arm64", variant="v8")
    with pytest.raises(InvalidDocumentError, match="two images for linux/arm64"):
        create_index([TWO, entry("other", arm_v8)])
    # Artifacts have no platform, and any number of them may be there.
    assert len(create_index([entry("a"), entry("b")]).manifests) == 2


def test_a_newer_image_takes_the_place_and_the_attestations_of_the_older():
    index = with_unknown(create_index([TWO, ONE, ATTESTATION]))
    newer = entry("newer", AMD64)
    changed, replaced = with_entries(index, [newer])
    assert changed.manifests == (index.manifests[0], newer)
    assert replaced == (ONE.digest,)
    assert json.loads(changed.raw)["example"] == [1]
    assert json.loads(changed.raw)["manifests"][0]["example"] == 2
    assert with_entries(changed, [newer])[0].raw == changed.raw


def test_entries_go_with_their_attestations():
    index = with_unknown(create_index([TWO, ONE, ATTESTATION]))
    assert without_entries(index, [ONE.digest]).manifests == (index.manifests[0],)
    assert without_entries(index, [sha256(b"none")]).manifests == index.manifests


def test_annotations_are_sorted_and_go_when_there_are_none():
    index = create_index([ONE], {"b": "1"})
    changed = annotated(index, annotations={"a": "2"})
    assert list(json.loads(changed.raw)["annotations"]) == ["a", "b"]
    assert "annotations" not in json.loads(annotated(changed, annotations={}, removed="ab").raw)
    changed = annotated(index, entry=ONE.digest, annotations={"c": "3"}, platform=ARM)
    assert changed.manifests[0] == replace(ONE, annotations={"c": "3"}, platform=ARM)


def test_entries_are_found_by_digest_and_platform():
    index = create_index([ONE, TWO])
    assert find_entries(index, ONE.digest) == find_entries(index, "linux/amd64") == (ONE.digest,)
    for text in ("s390x", sha256(b"none")):
        with pytest.raises(NotFoundError, match="which has linux/amd64, linux/arm64"):
            find_entries(index, text)


def test_a_windows_version_names_its_own_revisions_and_not_what_else_it_runs():
    platforms = [
        Platform.parse(f"windows({version})/amd64")
        for version in ("10.0.20348.1", "10.0.20348.22", "10.0.26100.1")
    ]
    index = create_index(
        [replace(ONE, digest=sha256(bytes([n])), platform=p) for n, p in enumerate(platforms)]
    )
    every = tuple(entry.digest for entry in index.manifests)
    assert find_entries(index, "windows(10.0.26100)/amd64") == every[2:]
    assert find_entries(index, "windows(10.0.20348)/amd64") == every[:2]
    assert find_entries(index, "windows(10.0.20348.22)/amd64") == every[1:2]
    assert find_entries(index, "windows/amd64") == every
    with pytest.raises(NotFoundError):
        find_entries(index, "windows(10.0.20348.2)/amd64")


def test_a_manifest_is_listed_with_its_configs_platform(builder):
    image = builder.image(1, ARM)
    assert entries_for(builder.store, image) == (replace(image, platform=ARM),)
    index = builder.index(ONE, TWO)
    assert entries_for(builder.store, index) == (ONE, TWO)
    builder.store.tag(image, "image")
    builder.store.tag(index, "index")
    assert read_index(builder.store, "index").manifests == (ONE, TWO)
    with pytest.raises(InvalidDocumentError, match="not an index"):
        read_index(builder.store, "image")
