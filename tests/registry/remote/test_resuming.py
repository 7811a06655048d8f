"""Pulls that end half-way, by an error or a kill: what came is not fetched again, nor believed."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from processes import until

from registry.blobs import PART_KEPT_S
from registry.copy import Foreign, copy
from registry.errors import DigestMismatchError, UnreachableError
from registry.oci import mediatypes
from registry.oci.manifest import Manifest

BLOB = random.Random(9).randbytes(6_000_000)

PULL = """
import sys
from pathlib import Path
from registry.reference import Reference
from wcbuild.access import RegistryAccess, open_client
from wcbuild.export import Exporter
from wcbuild.store import open_store
store = open_store(Path(sys.argv[1]))
client = open_client(RegistryAccess())
Exporter(store, lambda event: None, lambda: client, lambda: None).pull(Reference.parse(sys.argv[2]))
"""


@pytest.fixture
def image(serve_image):
    return serve_image(BLOB)


@pytest.fixture
def layer(image):
    return image.layers[0]


@pytest.fixture
def broken(simulator, repository, store, image):
    """Pull until the connection is gone for good, after three megabytes and a half."""

    def do():
        simulator.cut_after(3_500_000, at=image.layers[0].digest)
        simulator.fail_next("GET", 503, times=9, at=image.layers[0].digest)
        with pytest.raises(UnreachableError):
            copy(repository, store, image.descriptor)
        simulator._faults.clear()
        simulator.requests.clear()

    return do


def parts(store):
    folder = store.root / "ingest"
    return list(folder.glob(".part-*"))


def ranges(simulator, layer):
    return [request.headers.get("Range") for request in simulator.sent("GET", layer.digest)]


def test_f01_next_pull_goes_on_where_the_last_one_failed(
    broken, simulator, repository, store, image, layer
):
    broken()
    (part,) = parts(store)
    size = part.stat().st_size
    assert size >= 2_400_000
    copy(repository, store, image.descriptor)
    assert ranges(simulator, layer) == [f"bytes={size}-"]
    assert store.open(layer).read() == BLOB
    assert parts(store) == []


def test_f01_pull_killed_with_9_is_continued_by_the_next_process(
    simulator, tmp_path, image, layer, store
):
    simulator.stall(600, after=4_000_000, at=layer.digest)
    command = [sys.executable, "-c", PULL, str(tmp_path / "store"), f"{simulator.host}/team/app:1"]
    with subprocess.Popen(command) as process:
        assert until(lambda: sum(part.stat().st_size for part in parts(store)) >= 2_000_000)
        process.send_signal(signal.SIGKILL)
    size = max(part.stat().st_size for part in parts(store))
    simulator.requests.clear()
    subprocess.run(command, check=True, timeout=300)
    assert ranges(simulator, layer) == [f"bytes={size}-"]
    assert store.open(layer).read() == BLOB
    assert parts(store) == []


def test_f18_the_other_of_two_pulls_takes_over_when_one_is_killed(
    simulator, tmp_path, image, layer, store, repository
):
    """While one lives the other writes a file of its own; what the dead one left is used."""
    simulator.stall(600, after=4_000_000, at=layer.digest)
    command = [sys.executable, "-c", PULL, str(tmp_path / "store"), f"{simulator.host}/team/app:1"]
    with subprocess.Popen(command) as process:
        assert until(lambda: sum(part.stat().st_size for part in parts(store)) >= 2_000_000)
        copy(repository, store, image.descriptor)
        assert store.open(layer).read() == BLOB
        process.send_signal(signal.SIGKILL)
    assert store.blobs.sweep(parts_kept_s=0) > 0


def test_f23_attack_what_was_kept_is_verified_and_dropped_if_wrong(
    broken, simulator, repository, store, image, layer
):
    broken()
    (part,) = parts(store)
    with part.open("r+b") as file:
        file.write(b"evil")
    copy(repository, store, image.descriptor)
    assert ranges(simulator, layer) == [f"bytes={part_size(BLOB, simulator, layer)}-", None]
    assert store.open(layer).read() == BLOB
    assert parts(store) == []


def part_size(raw, simulator, layer):
    return int(ranges(simulator, layer)[0].removeprefix("bytes=").removesuffix("-"))


@pytest.mark.parametrize("size", [len(BLOB), len(BLOB) + 5])
def test_f23_attack_a_part_as_long_as_the_blob_or_longer_is_no_trap(
    broken, simulator, repository, store, image, layer, size
):
    broken()
    (part,) = parts(store)
    os.truncate(part, size)
    copy(repository, store, image.descriptor)
    assert store.open(layer).read() == BLOB


def test_f23_a_blob_that_stays_wrong_is_refetched_once_and_then_refused(
    simulator, repository, store, image, layer
):
    simulator.repositories["team/app"].blobs[layer.digest] = bytes(len(BLOB))
    with pytest.raises(DigestMismatchError):
        copy(repository, store, image.descriptor)
    assert ranges(simulator, layer) == [None, None]
    assert parts(store) == []
    assert not store.has(layer)


def test_a_part_whose_registry_ignores_ranges_is_read_through(
    broken, simulator, repository, store, image, layer
):
    broken()
    simulator.ranges = False
    copy(repository, store, image.descriptor)
    assert store.open(layer).read() == BLOB


def test_parts_stay_for_a_week_and_go_with_prune(broken, store):
    broken()
    assert store.blobs.sweep() == 0
    (part,) = parts(store)
    os.utime(part, (time.time() - PART_KEPT_S - 60,) * 2)
    assert store.blobs.sweep() > 0
    assert parts(store) == []
    broken()
    assert store.blobs.sweep(parts_kept_s=0) > 0


def test_v89_attack_link_in_the_place_of_a_part_is_not_followed(
    simulator, repository, store, image, layer, tmp_path
):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (store.root / "ingest").mkdir(exist_ok=True)
    store.blobs._part_path(layer.digest).symlink_to(victim)
    with pytest.raises(Exception, match="symbolic links"):
        copy(repository, store, image.descriptor)
    assert victim.read_text() == "mine"


# F28: the registry forgets a blob that it said it had


def test_f28_forgotten_blobs_are_sent_again_once(simulator, new_client, new_builder, at):
    builder = new_builder()
    root = builder.image(3)
    target = new_client().repository(at("team/new"))
    simulator.fail_next("HEAD", 200, times=4, at="/blobs/")
    assert copy(builder.store, target, root, tags=("1",)) == root
    assert target.resolve("1") == root
    assert len(simulator.sent("PUT", "/manifests/")) == 3


def test_f28_blobs_that_are_forgotten_again_are_an_error(simulator, new_client, new_builder, at):
    builder = new_builder()
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    simulator.fail_next("PUT", 400, times=9, body=body, at="/manifests/")
    with pytest.raises(Exception, match="MANIFEST_BLOB_UNKNOWN: blob unknown to registry"):
        copy(builder.store, new_client().repository(at("team/new")), builder.image(2), tags=("1",))
    assert len(simulator.sent("PUT", "/manifests/")) == 2


# Foreign layers


@pytest.fixture
def foreign(simulator, describe):
    """Make an image whose layer is elsewhere."""

    def make(*urls: str):
        layer = replace(describe(BLOB, mediatypes.DOCKER_FOREIGN_LAYER_GZIP), urls=urls)
        manifest = Manifest.build(config=describe(b"{}", mediatypes.OCI_CONFIG), layers=[layer])
        simulator.add_blob("team/app", b"{}")
        simulator.add_manifest("team/app", manifest.raw, manifest.media_type, "1")
        return manifest

    return make


def test_a_foreign_layer_comes_from_its_url(simulator, new_simulator, foreign, repository, store):
    elsewhere = new_simulator()
    elsewhere.storage["layer"] = BLOB
    elsewhere.cut_after(1_000_000, at="/storage/")
    manifest = foreign(f"{elsewhere.url}/storage/none", f"{elsewhere.url}/storage/layer")
    copy(repository, store, manifest.descriptor, foreign=Foreign.TAKE_ALONG)
    assert store.open(manifest.layers[0]).read() == BLOB


def test_a_foreign_layer_that_the_registry_has_comes_from_there(
    simulator, new_simulator, foreign, repository, store
):
    elsewhere = new_simulator()
    manifest = foreign(f"{elsewhere.url}/storage/layer")
    simulator.add_blob("team/app", BLOB)
    copy(repository, store, manifest.descriptor, foreign=Foreign.TAKE_ALONG)
    assert elsewhere.requests == []


def test_v74_attack_credentials_do_not_go_to_a_foreign_layers_host(
    simulator, new_simulator, foreign, new_client, at, ali, store
):
    """CVE-2020-15157: the URL's host asked for credentials, and got the registry's."""
    thief = new_simulator()
    thief.require_basic("ali", "open sesame")
    simulator.require_basic("ali", "open sesame")
    manifest = foreign(f"{thief.url}/v2/team/app/blobs/{'0' * 64}", f"{thief.url}/storage/x")
    repository = new_client({simulator.host: ali, thief.host: ali}).repository(at("team/app"))
    with pytest.raises(Exception, match="not found") as caught:
        copy(repository, store, manifest.descriptor, foreign=Foreign.TAKE_ALONG)
    assert thief.requests
    assert not any(request.authorization for request in thief.requests)
    assert thief.host in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "http://user:password@127.0.0.1/x",
        "http://registry.example.com/x",
        "/relative",
    ],
)
def test_v74_attack_foreign_urls_of_other_kinds_are_not_asked(foreign, repository, store, url):
    with pytest.raises(Exception, match="not found"):
        copy(repository, store, foreign(url).descriptor, foreign=Foreign.TAKE_ALONG)
