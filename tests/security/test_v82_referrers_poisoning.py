"""V82: anybody who can push may list anything among an image's referrers, or under its signature tag."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from registry.errors import InvalidDocumentError
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.sign import NotSignedError, SigningKey, sign, verify
from registry.sign.signatures import SIGNATURES

REFERENCE = Reference.parse("r.example/app:1")
KEY = SigningKey.generate()


class Lying(MemoryStore):
    """Lists for every subject whatever it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[Descriptor] = []

    def referrers(self, subject, artifact_type=""):
        return iter(self.listed)


def blob(store, raw: bytes, media_type: str) -> Descriptor:
    return store.put_new(io.BytesIO(raw), media_type)


def image(store, content: bytes) -> Descriptor:
    config = blob(store, content, mediatypes.OCI_CONFIG)
    manifest = Manifest.build(config=config, layers=[])
    store.put(io.BytesIO(manifest.raw), manifest.descriptor)
    return manifest.descriptor


@pytest.fixture
def store():
    return Lying()


@pytest.fixture
def mine(store):
    return image(store, b"{}")


@pytest.fixture
def theirs(store):
    return image(store, b'{"other": 1}')


def referrer(store, subject: Descriptor) -> Descriptor:
    """Sign ``subject`` among its referrers; return the manifest of the signature."""
    before = set(store._manifests)
    sign(store, subject, REFERENCE, KEY, form="referrers")
    (digest,) = set(store._manifests) - before
    return store._manifests[digest]


def test_a_signature_of_another_subject_is_not_counted(store, mine, theirs):
    store.listed = [referrer(store, theirs)]
    with pytest.raises(NotSignedError):
        verify(store, mine, REFERENCE, [KEY.public])


def test_a_manifest_without_a_subject_is_not_counted(store, mine):
    # It is signed as if it were a referrer of ours, but does not say so.
    found = Manifest.build(
        config=blob(store, b"{}", SIGNATURES.artifact_type),
        layers=[blob(store, b"{}", SIGNATURES.media_type)],
    )
    store.put(io.BytesIO(found.raw), found.descriptor)
    store.listed = [found.descriptor]
    with pytest.raises(NotSignedError):
        verify(store, mine, REFERENCE, [KEY.public])


def test_entries_that_lie_do_not_hide_a_good_signature(store, mine):
    good = referrer(store, mine)
    missing = replace(good, digest=sha256(b"nothing"))
    longer = replace(good, size=good.size + 1)
    an_image = replace(mine, annotations={"x": "y"})
    no_manifest = replace(blob(store, b"<html>", "text/html"), media_type=mediatypes.OCI_MANIFEST)
    huge = replace(good, size=2**40)
    other_type = replace(good, media_type=mediatypes.OCI_INDEX)
    store.listed = [missing, longer, an_image, no_manifest, huge, other_type, good]
    assert len(verify(store, mine, REFERENCE, [KEY.public])) == 1


def test_a_list_without_end_is_not_read_to_its_end(store, mine):
    asked = []
    open_before = store.open

    def counting(descriptor):
        asked.append(descriptor)
        return open_before(descriptor)

    store.open = counting
    store.listed = [mine] * 100_000  # what is listed need not even be a signature
    with pytest.raises(InvalidDocumentError, match="has more than 200 signatures"):
        verify(store, mine, REFERENCE, [KEY.public])
    assert len(asked) == 200


def test_a_signature_tag_copied_from_another_image_proves_nothing(store, mine, theirs):
    sign(store, theirs, REFERENCE, KEY)
    stolen = store.resolve(f"sha256-{theirs.digest.hex}.sig")
    store.tag(stolen, f"sha256-{mine.digest.hex}.sig")
    with pytest.raises(Exception, match="signature 1 is for another image"):
        verify(store, mine, REFERENCE, [KEY.public])
