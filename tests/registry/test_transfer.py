"""An image with what belongs to it: what a list of referrers may say, and in which order things come."""

import io
import itertools
from dataclasses import replace

import pytest

from registry import transfer as module
from registry.errors import NotFoundError, TooLargeError
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.digest import sha256
from registry.oci.manifest import Manifest
from registry.oci.platform import Platform
from registry.referrers import fallback_tag, listed
from registry.transfer import SIGNATURE_TYPES, choose_platforms, signature_tags, transfer

ARM64 = Platform(os="linux", architecture="arm64")


class Listing(MemoryStore):
    """A store whose lists of referrers say what they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = {}

    def referrers(self, subject, artifact_type=""):
        return iter(self.lists.get(subject, ()))


class Recording(MemoryStore):
    """A store that remembers in which order documents and tags came."""

    def __init__(self) -> None:
        super().__init__()
        self.order = []

    def put(self, stream, expected):
        super().put(stream, expected)
        self.order.append(expected.digest)

    def tag(self, descriptor, tag):
        super().tag(descriptor, tag)
        self.order.append(tag)


def refer(builder, subject, name="x", artifact_type="example/sbom") -> Manifest:
    manifest = Manifest.build(
        config=builder.blob(b"{}", mediatypes.OCI_EMPTY),
        layers=(),
        artifact_type=artifact_type,
        annotations={"name": name},
        subject=subject,
    )
    builder.document(manifest)
    return manifest


def test_everything_is_there_before_the_tag(builder):
    image = builder.image()
    about = refer(builder, image)
    signature = builder.image(1)
    builder.store.tag(signature, f"{fallback_tag(image.digest)}.sig")
    target = Recording()
    transfer(builder.store, target, image, tags=("v1",), referrers=True, signatures=True)
    assert target.order[-1] == "v1"
    assert target.order.index(image.digest) < target.order.index(about.descriptor.digest)
    assert target.resolve(f"{fallback_tag(image.digest)}.sig").digest == signature.digest


@pytest.mark.parametrize("kind", SIGNATURE_TYPES)
def test_signatures_among_the_referrers_come_without_the_others(builder, kind):
    image = builder.image()
    signature, sbom = refer(builder, image, artifact_type=kind), refer(builder, image)
    target = MemoryStore()
    transfer(builder.store, target, image, signatures=True)
    assert [each.digest for each in target.referrers(image.digest)] == [signature.descriptor.digest]
    transfer(builder.store, target, image, referrers=True)
    assert {each.digest for each in target.referrers(image.digest)} == {
        signature.descriptor.digest,
        sbom.descriptor.digest,
    }


def test_v82_a_poisoned_list_brings_nothing_that_is_about_something_else(new_builder):
    builder = new_builder(Listing())
    image, other = builder.image(1), builder.image(2)
    about_other = refer(builder, other)
    good = refer(builder, image)
    gone = replace(good.descriptor, digest=sha256(b"gone"))
    builder.store.lists[image.digest] = [
        listed(about_other),
        other,
        gone,
        image,
        listed(good),
        listed(good),
    ]
    target = MemoryStore()
    transfer(builder.store, target, image, referrers=True)
    assert target.has(good.descriptor)
    assert not target.has(about_other.descriptor)
    assert not target.has(other)


def test_referrers_without_end_are_refused(new_builder, monkeypatch):
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 10)
    builder = new_builder(Listing())
    image = builder.image(1)
    builder.store.lists[image.digest] = [
        listed(refer(builder, image, str(number))) for number in range(11)
    ]
    with pytest.raises(TooLargeError, match="number of referrers"):
        transfer(builder.store, MemoryStore(), image, referrers=True)


def test_a_source_that_knows_no_referrers_has_none(builder):
    class Plain:
        open, resolve = builder.store.open, builder.store.resolve

    image = builder.image()
    target = MemoryStore()
    assert transfer(Plain(), target, image, tags=("v1",), referrers=True) == image
    assert target.resolve("v1") == image


def test_all_platforms_of_an_index_are_the_index_itself(builder):
    one, two = builder.image(1), builder.image(2, ARM64)
    amd64 = Platform(os="linux", architecture="amd64")
    root = builder.index(replace(one, platform=amd64), replace(two, platform=ARM64))
    for platforms in itertools.permutations((amd64, ARM64)):
        assert choose_platforms(builder.store, root, platforms) == root
    assert choose_platforms(builder.store, root, (ARM64,)).digest == two.digest
    assert choose_platforms(builder.store, one, (amd64, ARM64)) == one
    for platforms in ((ARM64,), (ARM64, Platform.parse("s390x"))):
        with pytest.raises(NotFoundError, match="which is for linux/amd64"):
            choose_platforms(builder.store, one, platforms)
    with pytest.raises(NotFoundError, match="which has linux/amd64, linux/arm64"):
        choose_platforms(builder.store, root, (ARM64, Platform.parse("s390x")))


def test_of_several_windows_versions_each_is_the_one_that_a_build_would_take(builder):
    versions = ("10.0.17763.1", "10.0.20348.1", "10.0.20348.2", "10.0.26100.1")
    platforms = [Platform.parse(f"windows({version})/amd64") for version in versions]
    images = [builder.image(number) for number in range(4)]
    root = builder.index(*map(lambda i, p: replace(i, platform=p), images, platforms))

    def chosen(*wanted):
        index = choose_platforms(builder.store, root, [Platform.parse(each) for each in wanted])
        return [entry.platform.os_version for entry in index.manifests]

    assert chosen("windows(10.0.26100)/amd64", "windows(10.0.17763)/amd64") == [
        *("10.0.17763.1", "10.0.26100.1")
    ]
    assert chosen("windows(10.0.20348)/amd64", "windows(10.0.20348.1)/amd64") == [
        *("10.0.20348.1", "10.0.20348.2")
    ]
    every = (Platform.parse("windows/amd64"), Platform.parse("windows(10.0.17763)/amd64"))
    assert choose_platforms(builder.store, root, every) == root


def test_one_of_the_platforms_may_be_enough(builder):
    one, two = builder.image(1), builder.image(2, ARM64)
    amd64, s390x = Platform.parse("amd64"), Platform.parse("s390x")
    root = builder.index(replace(one, platform=amd64), replace(two, platform=ARM64))
    chosen = choose_platforms(builder.store, root, (ARM64, s390x), missing_ok=True)
    assert [entry.digest for entry in chosen.manifests] == [two.digest]
    with pytest.raises(NotFoundError, match="linux/s390x, linux/riscv64"):
        choose_platforms(builder.store, root, (s390x, Platform.parse("riscv64")), missing_ok=True)


def test_an_artifact_is_for_every_platform(builder):
    artifact = refer(builder, builder.image()).descriptor
    assert choose_platforms(builder.store, artifact, (ARM64,)) == artifact


def test_signature_tags_are_those_of_cosign(builder):
    image = builder.image()
    for suffix in ("sig", "att", "sbom", "other"):
        builder.store.tag(image, f"sha256-{image.digest.hex}.{suffix}")
    found = [tag.rpartition(".")[2] for tag, _ in signature_tags(builder.store, image.digest)]
    assert found == ["sig", "att", "sbom"]


def test_an_interrupted_copy_goes_on(builder):
    image = builder.image()
    about = refer(builder, image)
    target = MemoryStore()
    target.put(io.BytesIO(about.raw), about.descriptor)
    transfer(builder.store, target, image, referrers=True)
    assert [each.digest for each in target.referrers(image.digest)] == [about.descriptor.digest]
