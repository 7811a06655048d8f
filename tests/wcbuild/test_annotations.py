import pytest

from registry.oci.platform import Platform
from wcbuild.annotations import Level, parse_annotations, select
from wcbuild.errors import UsageError

ARM = Platform(os="linux", architecture="arm64")
AMD = Platform(os="linux", architecture="amd64")


def test_an_annotation_without_a_place_is_every_manifests():
    annotations = parse_annotations({"org.example.a": "1"})
    assert select(annotations, Level.MANIFEST, ARM) == {"org.example.a": "1"}
    assert select(annotations, Level.INDEX) == {}


def test_an_annotation_goes_to_each_place_that_it_names():
    annotations = parse_annotations({"index,manifest[linux/arm64]:a": "1"})
    assert select(annotations, Level.INDEX) == {"a": "1"}
    assert select(annotations, Level.MANIFEST, ARM) == {"a": "1"}
    assert select(annotations, Level.MANIFEST, AMD) == {}


@pytest.mark.parametrize("key", ["", "idex:a", "index:", ":a", "index[linux/arm64]:a"])
def test_refuses_places_that_are_none(key):
    with pytest.raises(UsageError, match="--annotation"):
        parse_annotations({key: "1"})


def test_suggests_the_place_that_was_meant():
    with pytest.raises(UsageError, match='did you mean "index"'):
        parse_annotations({"idex:a": "1"})
