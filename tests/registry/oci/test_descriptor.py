import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidDocumentError, RegistryError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256

GOOD = {"mediaType": "text/plain", "digest": str(sha256(b"x")), "size": 1}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_reading_and_writing_keeps_every_field():
    data = GOOD | {
        "urls": ["https://example.org/x"],
        "annotations": {"a": "b"},
        "data": "eA==",
        "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
        "artifactType": "a/b",
        "org.example.new": {"deep": [1, 2]},
    }
    descriptor = Descriptor.from_json(data)
    assert descriptor.to_json() == data
    assert descriptor.data == b"x"


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": None},
        {"mediaType": 7},
        {"mediaType": ""},
        {"size": -1},
        {"size": True},
        {"size": 1.0},
        {"size": "1"},
        {"digest": "sha256:../../x"},
        {"digest": None},
        {"annotations": ["a"]},
        {"annotations": {"a": 1}},
        {"data": "not base64!"},
    ],
)
def test_refuses_a_wrong_field_and_names_the_place(change):
    with pytest.raises(InvalidDocumentError, match="layer 3"):
        Descriptor.from_json(GOOD | change, "layer 3")


@given(st.dictionaries(st.sampled_from([*GOOD, "annotations", "data", "urls", "platform"]), JSON))
def test_attack_any_json_is_read_or_refused(change):
    with contextlib.suppress(RegistryError):
        Descriptor.from_json(GOOD | change).to_json()
