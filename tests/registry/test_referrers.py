"""Lists of referrers as values."""

import io

import pytest

from registry.errors import InvalidDocumentError
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import Index, Manifest
from registry.referrers import (
    found_in,
    listed,
    of_type,
    subject_of,
    with_listed,
    without_listed,
)

SUBJECT = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256(b"x"), size=1)
EMPTY = Descriptor(media_type=mediatypes.OCI_EMPTY, digest=sha256(b"{}"), size=2)


def referrer(name: str, artifact_type: str = "example/sbom") -> Manifest:
    return Manifest.build(
        config=EMPTY,
        layers=(),
        annotations={"name": name},
        artifact_type=artifact_type,
        subject=SUBJECT,
    )


def test_a_list_names_type_and_annotations():
    entry = listed(referrer("one"))
    assert entry.digest == referrer("one").descriptor.digest
    assert entry.artifact_type == "example/sbom"
    assert entry.annotations == {"name": "one"}
    assert listed(referrer("one", "")).artifact_type == mediatypes.OCI_EMPTY


def test_a_list_names_each_once_and_keeps_what_it_has():
    one, two = listed(referrer("one")), listed(referrer("two"))
    index = with_listed(None, one)
    assert index.manifests == (one,)
    assert with_listed(index, one) is index
    assert with_listed(index, two).manifests == (one, two)
    assert without_listed(with_listed(index, two), one.digest).manifests == (two,)
    assert without_listed(index, two.digest) is index


def test_types_are_chosen():
    one, two = listed(referrer("one")), listed(referrer("two", "example/note"))
    assert list(of_type((one, two), "")) == [one, two]
    assert list(of_type((one, two), "example/note")) == [two]


def test_what_cannot_be_read_is_no_referrer(builder):
    builder.blob(b"{}", mediatypes.OCI_EMPTY)
    good = builder.document(referrer("one"))
    damaged = builder.blob(b"{", mediatypes.OCI_MANIFEST)
    missing = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256(b"gone"), size=4)
    entries = [missing, damaged, good, good, EMPTY, builder.image()]
    found = list(found_in(builder.store, entries, SUBJECT.digest))
    assert [each.digest for each in found] == [good.digest]


def test_the_subject_of_what_is_no_manifest(builder):
    assert subject_of(builder.store, EMPTY) is None
    assert subject_of(builder.store, builder.image()) is None
    index = Index.build(manifests=[])
    builder.document(index)
    assert subject_of(builder.store, index.descriptor) is None
    with pytest.raises(InvalidDocumentError):
        subject_of(builder.store, builder.blob(b"{", mediatypes.OCI_MANIFEST))


def test_a_store_in_memory_lists_an_index_that_refers():
    store = MemoryStore()
    raw = Index.build(manifests=()).raw.replace(b"}", b',"subject":%s}', 1) % (
        b'{"mediaType":"%b","digest":"%b","size":1}'
        % (SUBJECT.media_type.encode(), SUBJECT.digest.encode())
    )
    descriptor = store.put_new(io.BytesIO(raw), mediatypes.OCI_INDEX)
    store.put(io.BytesIO(raw), descriptor)
    assert [each.digest for each in store.referrers(SUBJECT.digest)] == [descriptor.digest]
