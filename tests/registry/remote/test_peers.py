"""The client between registries and tools, other people's and our own: what each writes the others read."""

import contextlib
import hashlib
import io
import json
import random
import shutil
import subprocess
from dataclasses import replace

import pytest
from cutting import CuttingProxy

from registry.copy import Recompress, copy, read_tree
from registry.errors import DigestMismatchError, NotFoundError, ProtocolError
from registry.image import check_image, read_image
from registry.layout import OciLayout
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import Index, Manifest
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.store import open_store

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


@pytest.fixture
def broken_road(host):
    """Lead to the registry; where it breaks is told to its `cuts`."""
    proxy = CuttingProxy(host)
    yield proxy
    proxy.close()


@pytest.fixture
def at_end_of_road(new_client, broken_road):
    """A repository whose next connection is a new one."""
    repository = new_client(retry_wait_s=0.3).repository(
        Reference.parse(f"{broken_road.host}/team/app")
    )
    assert list(repository.referrers(sha256(b"nobody's"))) == []
    repository._api.transport.close()
    return repository


@pytest.mark.parametrize("size", [500, 1000, 3_000_000, 5_999_999])
def test_f26_upload_survives_a_broken_connection(
    request, at_peer, at_end_of_road, broken_road, describe, size
):
    """Ours goes on where it was; the others forget an upload that broke off, and get it all again."""
    raw = random.Random(4).randbytes(6_000_000)
    broken_road.cuts = [("up", size)]
    at_end_of_road.put(io.BytesIO(raw), describe(raw))
    assert at_peer().open(describe(raw)).read() == raw
    assert broken_road.cuts == []
    if "wcbuild" in request.node.callspec.id and size > 1000:
        assert broken_road.carried["up"] < len(raw) + size, "what had come was not sent again"


@pytest.mark.parametrize("size", [0, 400, 3_000_000, 5_999_999])
def test_f21_download_goes_on_after_a_broken_connection(
    request, at_peer, at_end_of_road, broken_road, describe, size
):
    raw = random.Random(4).randbytes(6_000_000)
    at_peer().put(io.BytesIO(raw), describe(raw))
    broken_road.cuts = [("down", size)]
    assert at_end_of_road.open(describe(raw)).read() == raw
    assert broken_road.cuts == []
    if "crane" not in request.node.callspec.id:  # which knows no ranges
        assert broken_road.carried["down"] < len(raw) + 200_000, "what had come came once"


def test_a_layer_compressed_on_the_way_survives_a_broken_connection(
    at_peer, at_end_of_road, broken_road, new_builder
):
    """Streamed first, and once its digest is known sent as any blob."""
    builder = new_builder()
    root = builder.image(1, size=3_000_000)
    broken_road.cuts = [("up", 1_000_000)]
    pushed = copy(
        builder.store, at_end_of_road, root, recompress=Recompress(codec="gzip"), workers=1
    )
    assert broken_road.cuts == []
    back = MemoryStore()
    copy(at_peer(), back, pushed)
    check_image(read_image(back, pushed, None), back)


def test_tags_are_listed_whole_however_many(at_peer, image):
    store, root = image
    tags = [f"v{number:03}" for number in range(150)]
    copy(store, at_peer(), root, tags=tags)
    assert sorted(at_peer().tags()) == tags


def test_tags_and_images_and_blobs_are_deleted(request, at_peer, image):
    store, root = image
    copy(store, at_peer(), root, tags=("1", "2"))
    if "docker-registry" in request.node.callspec.id:
        with pytest.raises(ProtocolError, match=r"manifests/1: the registry answered 4"):
            at_peer().untag("1")
    else:
        at_peer().untag("1")
        with pytest.raises(NotFoundError):
            at_peer().resolve("1")
    assert at_peer().resolve("2") == root
    at_peer().delete(root)
    # To crane's registry a tag is another name for the bytes, not for the digest.
    for name in (root.digest,) if "crane" in request.node.callspec.id else ("2", root.digest):
        with pytest.raises(NotFoundError):
            at_peer().resolve(name)
    with pytest.raises(NotFoundError):
        at_peer().delete(root)
    layer = read_image(store, root, None).layers[0].descriptor
    at_peer().delete(layer)
    assert not at_peer().has(layer)


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


def sha512(raw: bytes, media_type: str) -> Descriptor:
    digest = Digest("sha512:" + hashlib.sha512(raw).hexdigest())
    return Descriptor(media_type=media_type, digest=digest, size=len(raw))


@pytest.fixture
def long_digests(new_builder):
    """An index whose every descriptor, and its own, is by sha512."""
    store = MemoryStore()

    def put(raw: bytes, media_type: str) -> Descriptor:
        described = sha512(raw, media_type)
        store.put(io.BytesIO(raw), described)
        return described

    builder = new_builder()
    image = read_image(builder.store, builder.image(1, size=2_000_000, platform=AMD64), None)
    with builder.store.open(image.layers[0].descriptor) as tar:
        layer = put(tar.read(), mediatypes.OCI_LAYER)
    config = put(image.config_raw, mediatypes.OCI_CONFIG)
    manifest = Manifest.build(config=config, layers=[layer])
    entry = replace(put(manifest.raw, manifest.media_type), platform=AMD64)
    index = Index.build(manifests=[entry])
    return store, put(index.raw, index.media_type)


def test_an_image_of_sha512_goes_to_our_registry_into_the_local_store_and_back(
    own_registry, new_client, long_digests, tmp_path
):
    source, root = long_digests

    def at(name: str):
        return new_client().repository(Reference.parse(f"{own_registry}/{name}"))

    copy(source, at("team/app"), root, tags=("1",))
    with contextlib.closing(open_store(tmp_path / "store")) as store:
        copy(at("team/app"), store, at("team/app").resolve(root.digest))
        check_image(read_image(store, root, AMD64), store)
        copy(store, at("team/other"), root, tags=("1",))
    back = MemoryStore()
    copy(at("team/other"), back, root)
    assert {digest.algorithm for digest in read_tree(back, root)} == {"sha512"}
    with pytest.raises(DigestMismatchError):
        at("team/app").put(io.BytesIO(b"x" * root.size), replace(root, media_type="x/y"))


def test_sha512_blobs(at_peer, describe):
    """docker-registry calls them by their sha256 in its answers; nothing here minds."""
    raw = random.Random(5).randbytes(2_000_000)
    at_peer().put(io.BytesIO(raw), sha512(raw, "x/y"))
    assert at_peer().open(sha512(raw, "x/y")).read() == raw
