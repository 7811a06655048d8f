"""The client between registries and tools, other people's and our own: what each writes the others read."""

import io
import json
import random
import shutil
import subprocess

import pytest

from registry.copy import Recompress, copy
from registry.image import check_image, read_image
from registry.layout import OciLayout
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.digest import sha256
from registry.oci.manifest import Manifest
from registry.oci.platform import Platform
from registry.reference import Reference

pytestmark = pytest.mark.peers

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


@pytest.fixture(params=["docker-registry", "crane", "wcbuild"])
def host(request):
    """Registries: an old one, one of OCI 1.1, and our own."""
    if request.param == "wcbuild":
        return request.getfixturevalue("own_registry")
    if request.param == "crane":
        return request.getfixturevalue("crane_registry")
    return request.getfixturevalue("new_docker_registry")()


@pytest.fixture
def at_peer(new_client, host):
    """Make a repository of a new client, which remembers nothing."""
    return lambda name="team/app": new_client().repository(Reference.parse(f"{host}/{name}"))


@pytest.fixture
def skopeo(tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def run(*arguments: object) -> bytes:
        command = ["skopeo", "--policy", str(tmp_path / "policy.json"), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def image(new_builder):
    builder = new_builder()
    return builder.store, builder.image(3, size=400_000, platform=AMD64)


@pytest.fixture
def index(new_builder):
    from dataclasses import replace

    builder = new_builder()
    entries = [
        replace(builder.image(number, platform=platform), platform=platform)
        for number, platform in enumerate((AMD64, ARM64), 1)
    ]
    return builder.store, builder.index(*entries)


@pytest.mark.parametrize("codec", ["gzip", "zstd", None])
def test_an_image_goes_there_and_back(at_peer, image, codec):
    store, root = image
    recompress = Recompress(codec=codec) if codec else None
    pushed = copy(store, at_peer(), root, tags=("1",), recompress=recompress)
    back, source = MemoryStore(), at_peer()
    assert source.resolve("1") == pushed
    copy(source, back, pushed)
    check_image(read_image(back, pushed, None), back)


def test_an_index_goes_there_and_back(at_peer, index):
    store, root = index
    copy(store, at_peer(), root, tags=("1",))
    back, source = MemoryStore(), at_peer()
    copy(source, back, source.resolve("1"))
    for platform in (AMD64, ARM64):
        check_image(read_image(back, root, platform), back)


def test_a_second_push_sends_no_blob(at_peer, image):
    store, root = image
    copy(store, at_peer(), root, tags=("1",))
    notes = []
    copy(store, at_peer(), root, tags=("2",), emit=lambda event: notes.append(event.note))
    assert set(notes) == {"exists"}


def test_a_neighbours_blobs_are_mounted_or_sent(new_client, host, image):
    store, root = image
    client = new_client()
    base = client.repository(Reference.parse(f"{host}/team/base"))
    app = client.repository(Reference.parse(f"{host}/team/app"))
    copy(store, base, root, tags=("1",))
    copy(base, app, root, tags=("1",))
    back = MemoryStore()
    copy(app, back, app.resolve("1"))
    check_image(read_image(back, root, None), back)


def test_an_artifact_goes_there_and_back(at_peer, describe):
    source = MemoryStore()
    content = describe(b"any bytes", "application/x-thing")
    empty = describe(b"{}", mediatypes.OCI_EMPTY)
    for raw, descriptor in ((b"any bytes", content), (b"{}", empty)):
        source.put(io.BytesIO(raw), descriptor)
    made = Manifest.build(config=empty, layers=[content], artifact_type="application/x-kind")
    source.put(io.BytesIO(made.raw), made.descriptor)
    copy(source, at_peer(), made.descriptor, tags=("1",))
    back = MemoryStore()
    copy(at_peer(), back, at_peer().resolve("1"))
    assert back.open(content).read() == b"any bytes"


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 5_000_000])
def test_blobs_of_all_sizes_and_ways(at_peer, describe, size):
    raw = random.Random(size).randbytes(size)
    at_peer().put(io.BytesIO(raw), describe(raw))
    assert at_peer().open(describe(raw)).read() == raw
    streamed = at_peer("team/other").put_new(io.BytesIO(raw), "x/y")
    assert at_peer("team/other").open(streamed).read() == raw


def test_uploads_in_parts(at_peer, describe, monkeypatch):
    monkeypatch.setattr("registry.remote.upload._Upload._put", _in_parts())
    raw = random.Random(3).randbytes(3_500_000)
    at_peer().put(io.BytesIO(raw), describe(raw))
    assert at_peer().open(describe(raw)).read() == raw


def _in_parts():
    from registry.remote.upload import _Upload

    put = _Upload._put

    def in_parts(self, *arguments):
        self._part = 1024 * 1024
        return put(self, *arguments)

    return in_parts


def test_skopeo_reads_what_we_push_and_writes_what_we_pull(at_peer, host, skopeo, image, tmp_path):
    store, root = image
    pushed = copy(store, at_peer(), root, tags=("1",), recompress=Recompress(codec="gzip"))
    skopeo("copy", "--src-tls-verify=false", f"docker://{host}/team/app:1", "oci:here:1")
    layout = OciLayout(tmp_path / "here")
    assert layout.resolve("1").digest == pushed.digest
    check_image(read_image(layout, pushed, None), layout)
    skopeo("copy", "--dest-tls-verify=false", "oci:here:1", f"docker://{host}/team/theirs:1")
    back, theirs = MemoryStore(), at_peer("team/theirs")
    copy(theirs, back, theirs.resolve("1"))
    check_image(read_image(back, theirs.resolve("1"), None), back)


def test_skopeo_copies_all_platforms_both_ways(at_peer, host, skopeo, index, tmp_path):
    store, root = index
    pushed = copy(store, at_peer(), root, tags=("1",), recompress=Recompress(codec="gzip"))
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{host}/team/app:1", "oci:here:1")
    assert OciLayout(tmp_path / "here").resolve("1").digest == pushed.digest
    skopeo(
        "copy", "--all", "--dest-tls-verify=false", "oci:here:1", f"docker://{host}/team/theirs:1"
    )
    back, theirs = MemoryStore(), at_peer("team/theirs")
    copy(theirs, back, theirs.resolve("1"))
    for platform in (AMD64, ARM64):
        check_image(read_image(back, theirs.resolve("1"), platform), back)


def test_dockers_own_media_types_are_read(at_peer, host, skopeo, image, tmp_path):
    store, root = image
    copy(store, OciLayout(tmp_path / "here"), root, tags=("1",))
    skopeo(
        "copy",
        "--format=v2s2",
        "--dest-tls-verify=false",
        "oci:here:1",
        f"docker://{host}/team/app:1",
    )
    found = at_peer().resolve("1")
    assert found.media_type == mediatypes.DOCKER_MANIFEST
    back = MemoryStore()
    copy(at_peer(), back, found)
    check_image(read_image(back, found, None), back)


def test_crane_finds_what_we_push_valid(at_peer, host, image):
    if shutil.which("crane") is None:
        pytest.skip("crane is not installed")
    store, root = image
    copy(store, at_peer(), root, tags=("1",), recompress=Recompress(codec="gzip"))
    done = subprocess.run(
        ["crane", "validate", "--remote", f"{host}/team/app:1"], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_dockers_first_format_that_skopeo_writes_is_read(
    new_docker_registry, new_client, skopeo, image, tmp_path
):
    host = new_docker_registry(first_format=True)
    store, root = image
    copy(
        store, OciLayout(tmp_path / "here"), root, tags=("1",), recompress=Recompress(codec="gzip")
    )
    skopeo(
        "copy",
        "--format=v2s1",
        "--dest-tls-verify=false",
        "oci:here:1",
        f"docker://{host}/team/app:1",
    )
    command = ["inspect", "--raw", "--tls-verify=false", f"docker://{host}/team/app:1"]
    assert json.loads(skopeo(*command))["schemaVersion"] == 1
    repository = new_client().repository(Reference.parse(f"{host}/team/app"))
    back, found = MemoryStore(), repository.resolve("1")
    copy(repository, back, found)
    pulled = read_image(back, found, None)
    check_image(pulled, back)
    assert pulled.config.diff_ids == read_image(store, root, None).config.diff_ids


def test_sha512_blobs_where_the_registry_has_them(new_docker_registry, new_client):
    import hashlib

    from registry.oci.descriptor import Descriptor
    from registry.oci.digest import Digest

    host = new_docker_registry()
    repository = new_client().repository(Reference.parse(f"{host}/team/app"))
    raw = random.Random(5).randbytes(2_000_000)
    digest = Digest("sha512:" + hashlib.sha512(raw).hexdigest())
    descriptor = Descriptor(media_type="x/y", digest=digest, size=len(raw))
    repository.put(io.BytesIO(raw), descriptor)
    assert repository.open(descriptor).read() == raw
    assert sha256(raw) != digest
