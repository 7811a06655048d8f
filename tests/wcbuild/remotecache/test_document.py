"""Documents of caches: written and read again, and what an attacker might write."""

import json

import pytest

from registry.errors import InvalidDocumentError, TooLargeError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from wcbuild.graph.keys import digest
from wcbuild.remotecache.document import (
    MAX_DOCUMENT_BYTES,
    MAX_RESULTS,
    CachedResult,
    encode_results,
    parse_results,
)
from wcbuild.solve.cache import Record

LAYERS = tuple(
    Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=sha256(bytes([n])), size=n)
    for n in range(3)
)


def result(n, layer=None):
    record = Record(
        diff_id=sha256(b"tar %d" % n),
        size=1024 * n,
        identity=digest("identity", n),
        created="2024-01-01T00:00:00.25Z",
    )
    return CachedResult(keys=(digest(n), digest("identity", n)), record=record, layer=layer)


def read(**fields):
    document = json.loads(encode_results([result(1, LAYERS[1])], LAYERS))
    document["results"][0] |= fields
    return parse_results(json.dumps(document).encode(), LAYERS, "x")


def test_what_was_written_is_read():
    results = (result(1, LAYERS[2]), result(2), result(3, LAYERS[0]))
    raw = encode_results(results, LAYERS)
    assert parse_results(raw, LAYERS, "x") == results
    assert raw == encode_results(results, LAYERS)


def test_layers_are_told_by_their_place_so_that_they_may_be_compressed_later():
    raw = encode_results([result(1, LAYERS[1])], LAYERS)
    others = tuple(
        Descriptor(media_type=mediatypes.OCI_LAYER_ZSTD, digest=sha256(b"z"), size=n)
        for n in (1, 2)
    )
    [found] = parse_results(raw, others, "x")
    assert found.layer == others[1]


def test_a_layer_is_where_the_manifest_is_and_nowhere_else():
    layer = Descriptor(
        media_type=mediatypes.DOCKER_LAYER_GZIP,
        digest=sha256(b"x"),
        size=1,
        urls=("http://169.254.169.254/",),
        data=b"x",
        annotations={"a": "b"},
    )
    [found] = parse_results(encode_results([result(1, layer)], [layer]), [layer], "x")
    expected = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=sha256(b"x"), size=1)
    assert found.layer == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"keys": ["../../images/x"]},
        {"keys": [digest("x") + "\n"]},
        {"keys": []},
        {"keys": [1]},
        {"keys": "a"},
        {"identity": "x"},
        {"identity": None},
        {"created": "yesterday"},
        {"created": "2024-01-01T00:00:00Z\n"},
        {"created": 1},
        {"diffId": "sha256:../x"},
        {"diffId": "sha512:" + "0" * 128},
        {"diffId": None},
        {"layer": 3},
        {"layer": -1},
        {"layer": True},
        {"layer": None},
        {"layer": "0"},
        {"size": -1},
        {"size": "1"},
        {"size": 1 << 64},
        {"size": True},
    ],
)
def test_attack_fields_that_make_no_sense_are_refused(fields):
    assert read()
    with pytest.raises(InvalidDocumentError, match="x result 1"):
        read(**fields)


def test_attack_layers_of_other_types_are_refused():
    for media_type in (mediatypes.OCI_FOREIGN_LAYER, mediatypes.OCI_CONFIG, "x" * 1000):
        layer = Descriptor(media_type=media_type, digest=sha256(b"x"), size=1)
        with pytest.raises(InvalidDocumentError, match="names a layer of the type"):
            parse_results(encode_results([result(1, layer)], [layer]), [layer], "x")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b"\xff", b'{"results": 1}', b'{"results": [1]}', b"[" * 100_000]
)
def test_attack_other_documents_are_refused(raw):
    with pytest.raises(InvalidDocumentError):
        parse_results(raw, LAYERS, "x")


def test_attack_large_documents_are_refused():
    with pytest.raises(TooLargeError):
        parse_results(b" " * (MAX_DOCUMENT_BYTES + 1), LAYERS, "x")
    many = json.dumps({"results": [0] * (MAX_RESULTS + 1)}).encode()
    with pytest.raises(InvalidDocumentError, match="the limit is"):
        parse_results(many, LAYERS, "x")
