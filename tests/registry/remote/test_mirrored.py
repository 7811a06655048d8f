"""Reading through mirrors: who is asked, in which order, and who is believed."""

import io
import random

import pytest

from registry.copy import copy
from registry.errors import DigestMismatchError, NotFoundError, RegistryError, UnreachableError
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.remote.mirrors import Mirror, Mirrors, Rule

BLOB = random.Random(7).randbytes(2_000_000)


@pytest.fixture
def origin(simulator):
    return simulator


@pytest.fixture
def mirror(new_simulator):
    return new_simulator()


@pytest.fixture
def image(describe):
    config, layer = describe(b"{}", mediatypes.OCI_CONFIG), describe(BLOB, mediatypes.OCI_LAYER)
    return Manifest.build(config=config, layers=[layer])


@pytest.fixture
def holding(image):
    """Give registries the image, under `1`, in a repository."""

    def do(simulator, name: str = "team/app", manifest=None):
        simulator.add_blob(name, b"{}")
        simulator.add_blob(name, BLOB)
        made = manifest or image
        simulator.add_manifest(name, made.raw, made.media_type, "1")

    return do


@pytest.fixture
def source(new_client, origin):
    """Make the source of `team/app` at the origin, with mirrors."""

    def make(*mirrors, location: str = "", credentials=None, blocked: bool = False):
        rule = Rule(
            prefix=origin.host,
            location=location,
            blocked=blocked,
            mirrors=tuple(
                each if isinstance(each, Mirror) else Mirror(location=each.host) for each in mirrors
            ),
        )
        client = new_client(credentials, mirrors=Mirrors(rules=(rule,)))
        return client.source(Reference.parse(f"{origin.host}/team/app"))

    return make


def test_without_a_rule_the_source_is_the_repository(new_client, at):
    client = new_client()
    assert client.source(at("team/app")) is client.repository(at("team/app"))


def test_a_mirror_is_asked_and_the_origin_left_alone(source, origin, mirror, holding, image):
    holding(mirror)
    read = source(mirror)
    assert read.resolve("1") == image.descriptor
    copied = MemoryStore()
    copy(read, copied, image.descriptor)
    assert copied.open(image.layers[0]).read() == BLOB
    assert origin.requests == []
    assert read.resolved_by == f"{mirror.host}/team/app"
    assert read.name == f"{origin.host}/team/app"


def test_what_a_mirror_lacks_comes_from_the_origin(source, origin, mirror, holding, image):
    holding(origin)
    read = source(mirror)
    assert read.resolve("1") == image.descriptor
    assert read.open(image.layers[0]).read() == BLOB
    assert read.resolved_by == f"{origin.host}/team/app"
    assert mirror.requests


def test_mirrors_are_asked_in_their_order(source, mirror, new_simulator, holding, image):
    second = new_simulator()
    holding(second)
    holding(mirror)
    source(mirror, second).resolve("1")
    assert second.requests == []


def test_a_mirror_with_a_path_has_the_images_below_it(source, mirror, holding, image):
    holding(mirror, "hub/team/app")
    read = source(Mirror(location=f"{mirror.host}/hub"))
    assert read.resolve("1") == image.descriptor


def test_a_mirror_for_digests_is_not_asked_for_tags(source, origin, mirror, holding, image):
    holding(mirror)
    holding(origin)
    read = source(Mirror(location=mirror.host, tags=False))
    read.resolve("1")
    assert mirror.requests == []
    assert read.open(image.layers[0]).read() == BLOB
    assert mirror.sent("GET", "/blobs/")


def test_a_mirror_for_tags_is_not_asked_for_digests(source, origin, mirror, holding, image):
    holding(mirror)
    holding(origin)
    read = source(Mirror(location=mirror.host, digests=False))
    read.resolve("1")
    assert read.open(image.layers[0]).read() == BLOB
    assert mirror.sent("HEAD", "/manifests/1")
    assert not mirror.sent("GET", "/blobs/")


def test_a_location_replaces_the_origin_for_pulls(source, origin, mirror, holding, image):
    holding(mirror)
    assert source(location=mirror.host).resolve("1") == image.descriptor
    assert origin.requests == []


def test_pushing_goes_to_the_origin(new_client, origin, mirror, describe):
    rule = Rule(prefix=origin.host, mirrors=(Mirror(location=mirror.host),))
    client = new_client(mirrors=Mirrors(rules=(rule,)))
    repository = client.repository(Reference.parse(f"{origin.host}/team/app"))
    repository.put(io.BytesIO(b"new"), describe(b"new"))
    assert mirror.requests == []


def test_blobs_of_a_mirrored_source_are_mounted_at_its_origin(new_client, origin, mirror, describe):
    rule = Rule(prefix=origin.host, mirrors=(Mirror(location=mirror.host),))
    client = new_client(mirrors=Mirrors(rules=(rule,)))
    origin.add_blob("team/base", b"shared")
    source = client.source(Reference.parse(f"{origin.host}/team/base"))
    target = client.repository(Reference.parse(f"{origin.host}/team/app"))
    assert target.mount(describe(b"shared"), source)


def test_what_is_blocked_is_neither_read_nor_written(source, origin):
    with pytest.raises(UnreachableError, match="is blocked by the configuration"):
        source(blocked=True)
    assert origin.requests == []


# F31, F33, V90: mirrors that fail and lie


def test_f31_a_dead_mirror_is_left_out_for_the_rest_of_the_run(
    source, origin, new_simulator, holding, image
):
    gone = new_simulator()
    gone.stop()
    holding(origin)
    read = source(gone)
    assert read.resolve("1") == image.descriptor
    assert read.open(image.layers[0]).read() == BLOB


def test_f31_when_nobody_has_it_each_try_is_told(source, origin, mirror, new_simulator):
    gone = new_simulator()
    gone.stop()
    with pytest.raises(NotFoundError) as caught:
        source(mirror, gone).resolve("1")
    assert caught.value.where == origin.host
    notes = "\n".join(caught.value.__notes__)
    assert f"{mirror.host}/team/app:1: not found" in notes
    assert "connection refused" in notes


def test_a_mirror_that_breaks_off_for_good_is_continued_by_the_origin(
    source, origin, mirror, holding, image
):
    holding(origin)
    holding(mirror)
    mirror.cut_after(100_000, times=99)
    assert source(mirror).open(image.layers[0]).read() == BLOB
    (last,) = origin.sent("GET", "/blobs/")
    assert last.headers["Range"] == "bytes=400000-"


def test_f33_attack_mirror_with_wrong_bytes_is_found_out_and_not_asked_again(
    source, origin, mirror, holding, image
):
    holding(origin)
    holding(mirror)
    mirror.repositories["team/app"].blobs[image.layers[0].digest] = bytes(len(BLOB))
    read, copied = source(mirror), MemoryStore()
    copy(read, copied, read.resolve("1"))
    assert copied.open(image.layers[0]).read() == BLOB
    before = len(mirror.requests)
    assert read.open(image.config).read() == b"{}"
    assert len(mirror.requests) == before


def test_f33_attack_wrong_manifest_of_a_mirror_is_not_believed(
    source, origin, mirror, holding, image
):
    holding(origin)
    other = Manifest.build(config=image.config, layers=[])
    mirror.repositories["team/app"].manifests[image.descriptor.digest] = (
        other.media_type,
        other.raw,
    )
    read = source(mirror)
    assert read.open(image.descriptor).read() == image.raw


def test_f33_wrong_bytes_from_the_origin_too_are_an_error(source, origin, mirror, holding, image):
    holding(origin)
    holding(mirror)
    for simulator in (origin, mirror):
        simulator.repositories["team/app"].blobs[image.layers[0].digest] = bytes(len(BLOB))
    read, copied = source(mirror), MemoryStore()
    with pytest.raises(DigestMismatchError):
        copy(read, copied, read.resolve("1"))
    assert not copied.has(image.layers[0])


def test_tags_are_the_origins_whatever_a_mirror_has(source, origin, mirror, holding, image):
    holding(origin)
    holding(mirror)
    mirror.add_manifest("team/app", image.raw, image.media_type, "only-here")
    assert sorted(source(mirror).tags()) == ["1"]


def test_a_blob_is_found_at_a_mirror(source, mirror, holding, image):
    holding(mirror)
    assert source(mirror).find_blob(image.layers[0].digest).size == len(BLOB)


def test_what_refers_to_an_image_is_listed_wherever_it_is(
    source, new_client, origin, mirror, holding, image
):
    for simulator, note in ((origin, "there"), (mirror, "here")):
        holding(simulator)
        repository = new_client().repository(Reference.parse(f"{simulator.host}/team/app"))
        referrer = Manifest.build(
            config=image.config,
            layers=image.layers,
            subject=image.descriptor,
            artifact_type="example/note",
            annotations={"note": note},
        )
        repository.put(io.BytesIO(referrer.raw), referrer.descriptor)

    def notes():
        listed = source(mirror).referrers(image.descriptor.digest, "example/note")
        return sorted(entry.annotations["note"] for entry in listed)

    assert notes() == ["here", "there"]
    origin.stop()
    assert notes() == ["here"]
    assert list(source(mirror).referrers(image.config.digest)) == []
    mirror.fail_next("GET", 403, at="/referrers/")
    with pytest.raises(RegistryError):
        list(source(mirror).referrers(image.config.digest))
    mirror.stop()
    with pytest.raises(UnreachableError):
        notes()


def test_tags_made_from_digests_are_where_the_image_is(source, origin, mirror, holding, image):
    """Signatures lie there. A mirror for digests is asked for them, and an image may have none."""
    tag = f"sha256-{image.descriptor.digest.hex}.sig"
    mirror.add_manifest("team/app", image.raw, image.media_type, tag)
    read = source(Mirror(location=mirror.host, tags=False))
    assert read.resolve(tag) == image.descriptor
    origin.stop()
    assert read.resolve(tag) == image.descriptor
    with pytest.raises(NotFoundError) as caught:
        read.resolve(tag.replace(".sig", ".att"))
    assert "connection refused" in caught.value.__notes__[0]
    for other in ("latest", f"build-{image.descriptor.digest.hex}"):
        with pytest.raises(UnreachableError):
            read.resolve(other)
