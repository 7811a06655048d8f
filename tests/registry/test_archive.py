import gzip
import io
import json
import os
import tarfile
from dataclasses import replace

import pytest

from registry.archive import ArchiveTarget, archive_file, open_archive
from registry.copy import Recompress, copy
from registry.errors import (
    DamagedDataError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    RegistryError,
    SizeMismatchError,
    StoreError,
    TooLargeError,
)
from registry.image import check_image, read_image
from registry.layout import entry_name
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import Index, Manifest

NAME = "docker.io/library/app:1"


def tar_with(members: dict[str, bytes | str], name: str = "w") -> io.BytesIO:
    """Return a tar; text instead of bytes is the target of a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in members.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def read(stream, tmp_path):
    return open_archive(stream, "it.tar", spool=tmp_path)


@pytest.fixture
def legacy(builder, make_tar):
    """Returns the files of an archive as docker wrote it for ten years, and a way to change them."""

    def make(**changes) -> dict[str, bytes | str]:
        layers = [make_tar({f"f{number}": b"x" * 5000}) for number in range(2)]
        config = builder.store.open(builder.config([sha256(layer) for layer in layers])).read()
        item = {
            "Config": "abc.json",
            "RepoTags": ["app:1", "app:latest"],
            "Layers": ["one/layer.tar", "two/layer.tar"],
        }
        return {
            "abc.json": config,
            "one/layer.tar": layers[0],
            "two/VERSION": b"1.0",
            "two/layer.tar": layers[1],
            "manifest.json": json.dumps([item | changes]).encode(),
            "repositories": b"{}",
        }

    return make


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_what_was_written_is_read_back(builder, tmp_path, docker, codec):
    root, path = builder.image(3, size=300_000), tmp_path / "image.tar"
    recompress = None if codec == "none" else Recompress(codec=codec)
    with archive_file(path, docker=docker) as target:
        written = copy(builder.store, target, root, tags=(NAME,), recompress=recompress)
    assert os.listdir(tmp_path) == ["image.tar"]
    with open_archive(open(path, "rb"), str(path)) as archive:
        assert archive.resolve("app:1").digest == archive.resolve("").digest == written.digest
        image = read_image(archive, archive.resolve("1"), None)
        check_image(image, archive)
        assert image.id == read_image(builder.store, root, None).id


def test_the_same_image_gives_the_same_bytes(builder):
    root, outputs = builder.image(4), []
    for _ in range(2):
        out = io.BytesIO()
        with ArchiveTarget(out, docker=True) as target:
            copy(builder.store, target, root, tags=(NAME,), recompress=Recompress(codec="gzip"))
        outputs.append(out.getvalue())
    assert outputs[0] == outputs[1]


def test_docker_finds_what_it_looks_for(builder):
    root, out = builder.image(2), io.BytesIO()
    with ArchiveTarget(out, docker=True) as target:
        copy(builder.store, target, root, tags=(NAME, "ghcr.io/team/app:2"))
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        assert all(member.mtime == member.uid == 0 for member in tar)
    (item,) = json.loads(files["manifest.json"])
    assert item["RepoTags"] == ["app:1", "ghcr.io/team/app:2"]
    image = read_image(builder.store, root, None)
    assert files[item["Config"]] == image.config_raw
    assert [sha256(files[name]) for name in item["Layers"]] == list(image.config.diff_ids)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_many_images_share_layers(builder, tmp_path):
    one, two, out = builder.image(1), builder.image(2), io.BytesIO()
    with ArchiveTarget(out, docker=True) as target:
        copy(builder.store, target, one, tags=("a:1",))
        copy(builder.store, target, two, tags=("b:1",))
    out.seek(0)
    with read(out, tmp_path) as archive:
        assert archive.resolve("a:1").digest == one.digest
        assert archive.resolve("b:1").digest == two.digest
        with pytest.raises(
            NotFoundError, match=r"has docker.io/library/a:1, docker.io/library/b:1"
        ):
            archive.resolve("")


def test_an_index_does_not_fit_dockers_format(builder):
    index = builder.index(builder.image())
    with ArchiveTarget(io.BytesIO()) as target:
        copy(builder.store, target, index, tags=(NAME,))
    target = ArchiveTarget(io.BytesIO(), docker=True)
    copy(builder.store, target, index, tags=(NAME,))
    with pytest.raises(InvalidDocumentError, match="choose a platform"):
        target.finish()


def test_failed_archive_does_not_appear(builder, tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(b"old")
    wrong = Descriptor(media_type="text/plain", digest=sha256(b"x"), size=7)
    with pytest.raises(SizeMismatchError), archive_file(path) as target:
        target.put(io.BytesIO(b"x"), wrong)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["image.tar"]


def test_an_archive_with_a_hole_is_not_finished():
    target = ArchiveTarget(io.BytesIO())
    wrong = Descriptor(media_type="text/plain", digest=sha256(b"x"), size=7)
    with pytest.raises(SizeMismatchError):
        target.put(io.BytesIO(b"x"), wrong)
    assert not target.has(wrong)
    with pytest.raises(StoreError, match="incomplete"):
        target.finish()


def test_full_disk_is_told(builder):
    with (
        pytest.raises(StoreError, match="No space left"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        ArchiveTarget(full)


def test_a_device_is_written_to_and_not_replaced(builder, tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    with archive_file(tmp_path / "null") as target:
        copy(builder.store, target, builder.image(), tags=(NAME,))
    assert (tmp_path / "null").is_symlink()


def test_reads_what_docker_wrote_for_ten_years(legacy, tmp_path):
    with read(tar_with(legacy()), tmp_path) as archive:
        assert [entry_name(entry) for entry in archive.index.manifests] == [
            "docker.io/library/app:1",
            "docker.io/library/app:latest",
        ]
        check_image(read_image(archive, archive.resolve("app"), None), archive)


def test_reads_symbolic_links_between_layers(legacy, tmp_path):
    files = legacy()
    files["real.tar"] = files["one/layer.tar"]
    files["one/layer.tar"] = "../real.tar"
    with read(tar_with(files), tmp_path) as archive:
        check_image(read_image(archive, archive.resolve(""), None), archive)


def test_reads_compressed_layers(legacy, tmp_path):
    files = legacy()
    files["one/layer.tar"] = gzip.compress(files["one/layer.tar"])
    with read(tar_with(files), tmp_path) as archive:
        image = read_image(archive, archive.resolve(""), None)
        assert image.layers[0].descriptor.media_type == mediatypes.OCI_LAYER_GZIP
        check_image(image, archive)


def test_reads_images_without_names(legacy, tmp_path):
    with read(tar_with(legacy(RepoTags=None)), tmp_path) as archive:
        assert read_image(archive, archive.resolve(""), None)


def with_oci_half(files, documents, entry):
    blobs = {f"blobs/sha256/{sha256(raw).hex}": raw for raw in documents}
    index = {"schemaVersion": 2, "manifests": [entry.to_json()]}
    half = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
    }
    return files | blobs | half


def test_does_without_oci_manifests_that_lack_their_layers(legacy, tmp_path):
    """Docker 25.0 wrote such."""
    files = legacy()
    raw = files["abc.json"]
    config = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=sha256(raw), size=len(raw))
    manifest = Manifest.build(config=config, layers=())
    files = with_oci_half(files, [raw, manifest.raw], manifest.descriptor)
    with read(tar_with(files), tmp_path) as archive:
        assert len(read_image(archive, archive.resolve("app:1"), None).layers) == 2


def test_does_without_an_index_of_platforms_that_are_not_there(legacy, builder, tmp_path):
    """An image store that pulled one platform saves the index of all."""
    index = Index.build(manifests=[builder.image(1), builder.image(2)])
    files = with_oci_half(legacy(), [index.raw], index.descriptor)
    with read(tar_with(files), tmp_path) as archive:
        assert len(read_image(archive, archive.resolve("app:1"), None).layers) == 2


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_reads_from_a_pipe(legacy, tmp_path, pack):
    source, sink = os.pipe()
    with open(sink, "wb") as writer:
        writer.write(pack(tar_with(legacy()).getvalue()))
    with read(open(source, "rb"), tmp_path) as archive:
        check_image(read_image(archive, archive.resolve("app:1"), None), archive)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["../../canary", "/etc/passwd", "", ".", "..", "one", "nothing"])
@pytest.mark.parametrize("field", ["Config", "Layers"])
def test_attack_name_outside_the_archive_is_not_found(legacy, tmp_path, field, name):
    """CVE-2014-9358: names from the archive are no paths."""
    (tmp_path.parent / "canary").write_bytes(b"{}")
    change = {field: name if field == "Config" else [name, name]}
    with pytest.raises(NotFoundError):
        read(tar_with(legacy(**change)), tmp_path)


@pytest.mark.parametrize("tag", ["../x:y", "/etc/passwd", "a:../b", "A", ""])
def test_attack_tag_that_is_no_reference_is_refused(legacy, tmp_path, tag):
    with pytest.raises(InvalidReferenceError):
        read(tar_with(legacy(RepoTags=[tag])), tmp_path)


@pytest.mark.parametrize(
    "link", ["/etc/passwd", "../../etc/passwd", "layer.tar", "../two/layer.tar"]
)
def test_attack_link_out_of_the_archive_or_to_itself_is_not_found(legacy, tmp_path, link):
    files = legacy()
    files["one/layer.tar"] = link
    files["two/layer.tar"] = "../one/layer.tar"
    with pytest.raises(NotFoundError):
        read(tar_with(files), tmp_path)


def test_attack_file_that_is_not_its_digest_raises_when_read(legacy, tmp_path):
    files = legacy()
    files["one/layer.tar"], files["two/layer.tar"] = files["two/layer.tar"], files["one/layer.tar"]
    with read(tar_with(files), tmp_path) as archive:
        image = read_image(archive, archive.resolve(""), None)
        with pytest.raises(RegistryError, match="expected digest"):
            check_image(image, archive)


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "manifest.json", "abc.json"])
def test_attack_huge_document_is_refused_unread(legacy, tmp_path, name):
    """CVE-2023-25153: eight gigabytes, though sparse on this disk."""
    files = legacy()
    if name in ("index.json", "oci-layout"):
        files |= {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": b"{}"}
    del files[name]
    raw = tar_with(files).getvalue().rstrip(b"\0")
    raw += bytes(-len(raw) % 512)
    path = tmp_path / "huge.tar"
    member = tarfile.TarInfo(name)
    member.size = 8 * 1024**3
    with open(path, "wb") as file:
        file.write(raw + member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + member.size + 1024)
    with open(path, "rb") as stream, pytest.raises(TooLargeError, match=name):
        open_archive(stream, "huge.tar")


@pytest.mark.parametrize(
    "listing",
    [b"", b"null", b"{}", b"7", b"[7]", b"[{}]", b'[{"Config": 1}]', b'[{"Config":"abc.json","Layers":7}]', b'[{"Config":"abc.json","Layers":[7]}]', b'[{"Config":"abc.json","RepoTags":"a"}]', b'[{"Config":"abc.json","Layers":[]}]', b"[" * 100_000, b"[" + b"{}," * 20_000 + b"{}]"],
)  # fmt: skip
def test_attack_malformed_listing_is_refused(legacy, tmp_path, listing):
    with pytest.raises(InvalidDocumentError):
        read(tar_with(legacy() | {"manifest.json": listing}), tmp_path)


def test_what_is_no_archive_of_images_is_told(tmp_path):
    with pytest.raises(InvalidDocumentError, match="neither an OCI nor a docker archive"):
        read(tar_with({"a": b"b"}), tmp_path)
    with pytest.raises(DamagedDataError, match="not a tar"):
        read(io.BytesIO(b"hello" * 1000), tmp_path)
    with pytest.raises(DamagedDataError, match="truncated"):
        read(io.BytesIO(gzip.compress(b"x" * 10_000)[:-4]), tmp_path)


def test_missing_blob_is_not_found(builder, tmp_path):
    out = io.BytesIO()
    with ArchiveTarget(out) as target:
        root = copy(builder.store, target, builder.image(), tags=(NAME,))
    out.seek(0)
    with read(out, tmp_path) as archive, pytest.raises(NotFoundError, match="blob"):
        archive.open(replace(root, digest=sha256(b"x")))


def test_referrers_are_listed_and_do_not_hide_the_only_image(builder, tmp_path):
    image = builder.image()
    refer = Manifest.build(
        config=builder.blob(b"{}", mediatypes.OCI_EMPTY),
        layers=(),
        artifact_type="example/sbom",
        subject=image,
    )
    builder.document(refer)
    out = io.BytesIO()
    with ArchiveTarget(out) as target:
        copy(builder.store, target, refer.descriptor)
        copy(builder.store, target, image, tags=("1",))
    out.seek(0)
    with read(out, tmp_path) as archive:
        assert archive.resolve("").digest == image.digest
        assert list(archive.tags()) == ["1"]
        (found,) = archive.referrers(image.digest, "example/sbom")
        assert found.digest == refer.descriptor.digest
        blob = archive.find_blob(image.digest)
        assert blob.size == image.size
        with pytest.raises(NotFoundError):
            archive.find_blob(sha256(b"x"))


def test_dockers_format_has_no_place_for_referrers(builder, tmp_path):
    image = builder.image()
    refer = Manifest.build(config=builder.config([]), layers=(), subject=image)
    builder.document(refer)
    out = io.BytesIO()
    with ArchiveTarget(out, docker=True) as target:
        copy(builder.store, target, image, tags=(NAME,))
        target.put(io.BytesIO(refer.raw), refer.descriptor)
    out.seek(0)
    with read(out, tmp_path) as archive:
        assert len(archive.index.manifests) == 1
