import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidDocumentError, RegistryError, TooLargeError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import MAX_ENTRIES, MAX_MANIFEST_BYTES, Index, Manifest, parse

CONFIG = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=sha256(b"c"), size=1)
LAYER = Descriptor(media_type=mediatypes.OCI_LAYER, digest=sha256(b"l"), size=1)


def test_keeps_the_exact_bytes():
    raw = json.dumps(
        json.loads(Manifest.build(config=CONFIG, layers=[LAYER]).raw), indent=3
    ).encode()
    manifest = parse(raw)
    assert manifest.raw == raw
    assert manifest.descriptor.digest == sha256(raw)


def test_building_twice_gives_the_same_bytes():
    one = Manifest.build(config=CONFIG, layers=[LAYER], annotations={"b": "2", "a": "1"})
    two = Manifest.build(config=CONFIG, layers=[LAYER], annotations={"a": "1", "b": "2"})
    assert one.raw == two.raw
    assert parse(one.raw) == one


@pytest.mark.parametrize("media_type", ["", *mediatypes.MANIFESTS, *mediatypes.INDEXES])
@pytest.mark.parametrize("inside", [None, *mediatypes.MANIFESTS, *mediatypes.INDEXES])
@pytest.mark.parametrize("half", ["config", "layers"])
def test_attack_manifest_that_is_also_an_index_is_refused(media_type, inside, half):
    """CVE-2021-41190: the carrier's Content-Type must not decide what the bytes mean."""
    data = {"schemaVersion": 2, "manifests": [], half: CONFIG.to_json() if half == "config" else []}
    if inside:
        data["mediaType"] = inside
    with pytest.raises(InvalidDocumentError):
        parse(json.dumps(data).encode(), media_type)


def test_attack_content_type_that_contradicts_the_document_is_refused():
    raw = Index.build(manifests=[]).raw
    with pytest.raises(InvalidDocumentError, match="but was sent as"):
        parse(raw, mediatypes.OCI_MANIFEST)


def test_document_without_media_type_is_told_by_its_fields():
    data = json.loads(Manifest.build(config=CONFIG, layers=[LAYER]).raw)
    del data["mediaType"]
    assert isinstance(parse(json.dumps(data).encode()), Manifest)
    assert isinstance(parse(b'{"schemaVersion": 2, "manifests": []}'), Index)
    with pytest.raises(InvalidDocumentError, match="unsupported media type"):
        parse(b'{"schemaVersion": 2}')


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":1,"config":{}}',
        b'{"schemaVersion":2,"config":null,"layers":[]}',
        b'{"schemaVersion":2,"config":[],"layers":{}}',
        b'{"schemaVersion":2,"manifests":{"a":1}}',
        b'{"schemaVersion":2,"manifests":[null]}',
        b'{"schemaVersion":2,"manifests":[],"annotations":[]}',
        b'{"schemaVersion":2,"manifests":[],"subject":7}',
    ],
)
def test_attack_malformed_document_is_refused(raw):
    with pytest.raises(InvalidDocumentError):
        parse(raw)


def test_attack_huge_document_is_refused_unread():
    with pytest.raises(TooLargeError):
        parse(b" " * (MAX_MANIFEST_BYTES + 1))


def test_attack_million_layers_are_refused():
    data = {"schemaVersion": 2, "config": CONFIG.to_json(), "layers": [0] * (MAX_ENTRIES + 1)}
    with pytest.raises(InvalidDocumentError, match="the limit is"):
        parse(json.dumps(data).encode())


@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests"]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    )
)
def test_attack_any_object_is_read_or_refused(data):
    with contextlib.suppress(RegistryError):
        parse(json.dumps(data).encode())
