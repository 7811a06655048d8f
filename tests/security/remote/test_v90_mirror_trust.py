"""V90: what a mirror may decide, and what it may not."""

import pytest

from registry.errors import RegistryError
from registry.oci import mediatypes
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.remote.mirrors import Mirror, Mirrors, Rule


@pytest.fixture
def mirror(new_simulator):
    return new_simulator()


@pytest.fixture
def source(new_client, simulator, mirror):
    def make(credentials=None):
        rule = Rule(prefix=simulator.host, mirrors=(Mirror(location=mirror.host),))
        client = new_client(credentials, mirrors=Mirrors(rules=(rule,)))
        return client.source(Reference.parse(f"{simulator.host}/team/app"))

    return make


@pytest.fixture
def image(describe):
    """Add an image to a registry, under `1`."""

    def add(simulator, text: bytes):
        simulator.add_blob("team/app", text)
        manifest = Manifest.build(config=describe(text, mediatypes.OCI_CONFIG), layers=[])
        simulator.add_manifest("team/app", manifest.raw, manifest.media_type, "1")
        return manifest

    return add


def test_who_said_what_a_tag_means_is_known(source, simulator, mirror, image):
    new, stale = image(simulator, b"[1]"), image(mirror, b"[0]")
    read = source()
    assert read.resolve("1") == stale.descriptor
    assert read.resolved_by == f"{mirror.host}/team/app"
    assert read.resolve(new.descriptor.digest) == new.descriptor


def test_attack_a_pinned_digest_is_not_the_mirrors_to_choose(source, simulator, mirror, image):
    good, evil = image(simulator, b"[1]"), image(mirror, b"[666]")
    kept = mirror.repositories["team/app"].manifests
    kept[good.descriptor.digest] = (evil.media_type, evil.raw)
    read = source()
    assert read.open(read.resolve(good.descriptor.digest)).read() == good.raw


def test_attack_credentials_of_the_registry_do_not_go_to_its_mirror(
    source, simulator, mirror, image, ali
):
    wanted = image(simulator, b"[1]")
    image(mirror, b"[0]")
    mirror.require_basic("ali", "open sesame")
    simulator.require_basic("ali", "open sesame")
    read = source({simulator.host: ali})
    assert read.resolve("1") == wanted.descriptor
    assert not any(request.authorization for request in mirror.requests)


def test_a_mirror_gets_the_credentials_that_are_its_own(source, simulator, mirror, image, ali):
    image(mirror, b"[0]")
    mirror.require_basic("ali", "open sesame")
    read = source({mirror.host: ali})
    read.resolve("1")
    assert read.resolved_by.startswith(mirror.host)
    assert simulator.requests == []


@pytest.mark.parametrize("realm", ["http://169.254.169.254/token", "https://thief.example/token"])
def test_attack_foreign_realm_of_a_mirror_gets_nothing(
    source, simulator, mirror, image, ali, realm
):
    wanted = image(simulator, b"[1]")
    image(mirror, b"[0]")
    mirror.require_token("ali", "open sesame", realm=realm)
    read = source({mirror.host: ali, simulator.host: ali})
    assert read.resolve("1") == wanted.descriptor
    assert not any(request.authorization for request in mirror.requests)


def test_attack_mirror_that_serves_what_is_no_manifest_is_passed_over(
    source, simulator, mirror, image
):
    wanted = image(simulator, b"[1]")
    mirror.fail_next("HEAD", 200, 9, {"Content-Type": "text/html"})
    mirror.fail_next("GET", 200, 9, body=b"<html>Please log in</html>", at="/manifests/")
    try:
        assert source().resolve("1") == wanted.descriptor
    except RegistryError as error:
        pytest.fail(f"gave up: {error}")
