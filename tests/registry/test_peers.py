"""Real tools read what we write, and we read what they write."""

import json
import shutil
import subprocess

import pytest

from registry.archive import archive_file, open_archive
from registry.copy import Recompress, copy
from registry.image import check_image, read_image
from registry.layout import OciLayout

pytestmark = pytest.mark.peers

NAME = "docker.io/library/app:1"


@pytest.fixture
def skopeo(tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def run(*arguments: object) -> bytes:
        command = ["skopeo", "--policy", str(tmp_path / "policy.json"), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, cwd=tmp_path).stdout

    return run


@pytest.fixture
def layout(tmp_path, new_builder):
    builder = new_builder(OciLayout(tmp_path / "layout"))
    builder.store.tag(builder.image(3, size=400_000), "1")
    return builder.store


def written(layout, tmp_path, kind, codec):
    """Write the image in the form ``kind`` and return skopeo's name for it."""
    path, root = tmp_path / "out", layout.resolve("1")
    recompress = None if codec == "none" else Recompress(codec=codec)
    if kind == "oci":
        copy(layout, OciLayout(path), root, tags=("1",), recompress=recompress)
        return f"oci:{path}:1"
    with archive_file(path, docker=kind == "docker-archive") as target:
        copy(layout, target, root, tags=(NAME,), recompress=recompress)
    return f"{kind}:{path}"


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_skopeo_copies_what_we_write(skopeo, layout, tmp_path, kind, codec):
    skopeo("copy", written(layout, tmp_path, kind, codec), "oci:copied:1")
    copied = OciLayout(tmp_path / "copied")
    image = read_image(copied, copied.resolve("1"), None)
    check_image(image, copied)
    assert image.config.diff_ids == read_image(layout, layout.resolve("1"), None).config.diff_ids


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_we_read_what_skopeo_writes(skopeo, layout, tmp_path, kind):
    skopeo("copy", f"oci:{tmp_path / 'layout'}:1", f"{kind}:{tmp_path / 'theirs'}:app:1")
    with open(tmp_path / "theirs", "rb") as stream, open_archive(stream, "theirs") as archive:
        image = read_image(archive, archive.resolve("app:1"), None)
        check_image(image, archive)
    assert image.config.diff_ids == read_image(layout, layout.resolve("1"), None).config.diff_ids


def test_skopeo_sees_our_tag(skopeo, layout, tmp_path):
    seen = json.loads(skopeo("inspect", f"oci:{tmp_path / 'layout'}:1"))
    assert seen["Digest"] == layout.resolve("1").digest


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_umoci_unpacks_what_we_write(layout, tmp_path, codec):
    if shutil.which("umoci") is None:
        pytest.skip("umoci is not installed")
    written(layout, tmp_path, "oci", codec)
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'out'}:1", tmp_path / "bundle"],
        check=True,
        capture_output=True,
    )
    assert len(list((tmp_path / "bundle" / "rootfs").iterdir())) == 3
