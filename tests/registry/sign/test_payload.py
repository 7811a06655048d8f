"""What a signature may say."""

import json

import pytest

from registry.oci.digest import Digest
from registry.sign import Payload
from registry.sign.payload import MAX_PAYLOAD_BYTES
from registry.sign.strict import StrictError

DIGEST = Digest("sha256:" + "a" * 64)
EXACT = (
    '{"critical":{"identity":{"docker-reference":"r.example/app"},"image":{"docker-manifest-digest":'
    f'"{DIGEST}"}},"type":"cosign container image signature"}},"optional":OPTIONAL}}'
)


def document(**changes):
    """Return a payload with dotted paths changed; None removes."""
    data = json.loads(EXACT.replace("OPTIONAL", "null"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = data
        for parent in parents:
            place = place[parent.replace("_", "-")]
        last = last.replace("_", "-")
        if value is None:
            del place[last]
        else:
            place[last] = value
    return json.dumps(data).encode()


def test_is_written_as_cosign_writes_it():
    payload = Payload.build(docker_reference="r.example/app", digest=DIGEST)
    assert payload.raw.decode() == EXACT.replace("OPTIONAL", "null")
    payload = Payload.build(
        docker_reference="r.example/app", digest=DIGEST, annotations={"b": "2", "a": "1"}
    )
    assert payload.raw.decode() == EXACT.replace("OPTIONAL", '{"a":"1","b":"2"}')


def test_is_read_back_with_its_exact_bytes():
    raw = b"  " + document(optional={"creator": "x", "timestamp": 7, "k": "v"})
    payload = Payload.parse(raw)
    assert payload.raw == raw
    assert (payload.docker_reference, payload.digest) == ("r.example/app", DIGEST)
    assert payload.annotations == {"creator": "x", "timestamp": 7, "k": "v"}
    assert payload.to_json() == json.loads(raw)


def test_needs_no_optional_part():
    assert Payload.parse(document(optional=None)).annotations == {}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", 'has no "critical"'),
        (b"[" * 100_000, "is not JSON"),
        (b'{"critical": NaN}', "has NaN"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), "is larger than"),
        (document(more=1), 'has "more", which is not understood'),
        (document(critical__more=1), 'has "more", which is not understood'),
        (document(critical__identity__more=1), "not understood"),
        (document(critical__image__more=1), "not understood"),
        (document(critical__image=None), 'has no "image"'),
        (document(critical__identity="x"), "is not an object"),
        (document(critical__type="atomic container signature"), "is of the type"),
        (document(critical__type=["cosign container image signature"]), "is of the type"),
        (document(critical__identity__docker_reference=7), "names no image"),
        (document(critical__image__docker_manifest_digest="sha256:../../x"), "impossible digest"),
        (
            document(critical__image__docker_manifest_digest=f"{DIGEST}".upper()),
            "impossible digest",
        ),
        (document(optional=[]), '"optional" part that is not an object'),
        (document(optional={"creator": 7}), "has a creator that is not a text"),
        (document(optional={"timestamp": "now"}), "has a timestamp that is not a whole number"),
        (document(optional={"timestamp": True}), "has a timestamp that is not a whole number"),
    ],
)
def test_refuses_what_says_more_or_less(raw, reason):
    with pytest.raises(StrictError, match=reason):
        Payload.parse(raw)


@pytest.mark.parametrize("key", ["critical", "identity", "docker-manifest-digest", "type"])
def test_refuses_a_key_that_stands_twice(key):
    raw = document().decode()
    at = raw.index(f'"{key}"')
    with pytest.raises(StrictError, match=f'has "{key}" twice'):
        Payload.parse(f'{raw[:at]}"{key}": null, {raw[at:]}'.encode())
