"""V81: a tag that moves while it is used; what was resolved once is what is fetched."""

import pytest

from registry.copy import copy
from registry.image import read_image
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.manifest import Index, Manifest
from registry.oci.platform import Platform


@pytest.fixture
def image(simulator, describe):
    """Add an index with one image, under the tag `1`."""

    def add(content: bytes):
        raw = (
            b'{"os":"linux","architecture":"amd64","config":{"Cmd":["%s"]},'
            b'"rootfs":{"type":"layers","diff_ids":[]}}' % content
        )
        simulator.add_blob("team/app", raw)
        manifest = Manifest.build(config=describe(raw, mediatypes.OCI_CONFIG), layers=[])
        simulator.add_manifest("team/app", manifest.raw, manifest.media_type)
        index = Index.build(manifests=[manifest.descriptor])
        simulator.add_manifest("team/app", index.raw, index.media_type, "1")
        return index, manifest

    return add


def test_attack_tag_moved_after_it_was_resolved_changes_nothing(repository, simulator, image):
    _index, manifest = image(b"old")
    found = repository.resolve("1")
    image(b"new")
    copied = MemoryStore()
    copy(repository, copied, found)
    read = read_image(copied, found, Platform.parse("linux/amd64"))
    assert read.descriptor == manifest.descriptor
    assert read.config.config.cmd == ("old",)
    asked = [request.path.rpartition("/")[2] for request in simulator.sent("GET", "/manifests/")]
    assert asked
    assert all(name.startswith("sha256:") for name in asked), "children by digest alone"


def test_attack_tag_moved_between_head_and_get_is_not_followed(repository, simulator, image):
    index, _ = image(b"old")
    found = repository.resolve("1")
    image(b"new")
    assert repository.open(found).read() == index.raw
