import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from registry.errors import InvalidDocumentError, NotFoundError, StoreError, TooLargeError
from registry.image import check_image, read_image
from registry.layout import IMAGE_NAME, REF_NAME, OciLayout, entry_name
from registry.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from registry.oci.mediatypes import OCI_EMPTY


@pytest.fixture
def layout(tmp_path):
    return OciLayout(tmp_path / "layout")


@pytest.fixture
def built(layout, new_builder):
    return new_builder(layout)


def test_is_what_the_specification_says(layout, built, tmp_path):
    layout.tag(built.image(), "v1")
    path = tmp_path / "layout"
    assert sorted(os.listdir(path)) == ["blobs", "index.json", "oci-layout"]
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((path / "index.json").read_bytes())
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert index["manifests"][0]["annotations"] == {REF_NAME: "v1"}
    assert (path / "index.json").stat().st_mode & 0o777 == 0o644
    check_image(read_image(layout, layout.resolve("v1"), None), layout)


def test_nothing_is_made_before_the_first_write(layout, tmp_path):
    with pytest.raises(NotFoundError, match="OCI image layout"):
        layout.resolve("x")
    assert os.listdir(tmp_path) == []


def test_no_name_means_the_only_image_or_latest(layout, built):
    one, two = built.image(1), built.image(2)
    layout.tag(one, "v1")
    assert layout.resolve("").digest == one.digest
    layout.tag(two, "v2")
    with pytest.raises(NotFoundError, match="has v1, v2"):
        layout.resolve("")
    layout.tag(two, "latest")
    assert layout.resolve("").digest == two.digest
    layout.tag(layout.resolve("v1"), "again")
    with pytest.raises(NotFoundError, match="has v1, v2, latest, again"):
        layout.resolve("v3")


def test_a_reference_is_found_by_each_of_its_spellings(layout, built):
    image = built.image()
    layout.tag(image, "docker.io/library/app:1")
    layout.tag(built.image(1), "ghcr.io/team/app:2")
    for name in ("1", "app:1", "docker.io/library/app:1", image.digest):
        assert layout.resolve(name).digest == image.digest
    assert layout.index().manifests[0].annotations == {
        IMAGE_NAME: "docker.io/library/app:1",
        REF_NAME: "1",
    }


def test_a_name_from_elsewhere_is_not_kept(layout, built):
    elsewhere = {IMAGE_NAME: "docker.io/library/app:1", REF_NAME: "1"}
    layout.tag(replace(built.image(), annotations=elsewhere), "2")
    assert layout.index().manifests[0].annotations == {REF_NAME: "2"}


def test_one_tag_of_two_repositories_is_ambiguous(layout, built):
    layout.tag(built.image(1), "a:1")
    layout.tag(built.image(2), "b:1")
    assert len(layout.index().manifests) == 2
    with pytest.raises(InvalidDocumentError, match='several images named "1"'):
        layout.resolve("1")
    layout.tag(built.image(3), "1")
    assert [entry_name(entry) for entry in layout.index().manifests] == ["1"]


def test_tags_are_tags_also_where_the_whole_name_stands_beside_them(layout, built):
    layout.tag(built.image(1), "docker.io/library/app:1")
    layout.tag(built.image(2), "2")
    layout.tag(built.image(3), "")
    assert list(layout.tags()) == ["1", "2"]


def test_images_may_have_no_name(layout, built):
    one, two = built.image(1), built.image(2)
    layout.tag(one, "")
    layout.tag(two, "")
    layout.tag(two, "")
    assert [entry.digest for entry in layout.index().manifests] == [one.digest, two.digest]
    assert layout.resolve(two.digest).digest == two.digest


def test_keeps_what_others_wrote_in_the_index(layout, built, tmp_path):
    layout.tag(built.image(1), "v1")
    path = tmp_path / "layout" / "index.json"
    data = json.loads(path.read_bytes())
    data |= {"annotations": {"a": "b"}, "org.example": [1]}
    data["manifests"][0]["org.example"] = {"deep": True}
    path.write_text(json.dumps(data))
    layout.tag(replace(built.image(2), annotations={"c": "d"}), "v2")
    after = json.loads(path.read_bytes())
    assert after["annotations"] == {"a": "b"}
    assert after["org.example"] == [1]
    assert after["manifests"][0]["org.example"] == {"deep": True}
    assert after["manifests"][1]["annotations"] == {"c": "d", REF_NAME: "v2"}


TAG_MANY = """
import pathlib, sys
from registry.layout import OciLayout
layout = OciLayout(pathlib.Path(sys.argv[1]))
image = layout.resolve("v1")
for turn in range(20):
    layout.tag(image, f"p{sys.argv[2]}-{turn}")
"""


def test_processes_do_not_lose_each_others_tags(layout, built, tmp_path, run_python):
    layout.tag(built.image(), "v1")
    with ThreadPoolExecutor() as pool:
        runs = pool.map(lambda number: run_python(TAG_MANY, tmp_path / "layout", number), range(4))
    assert [run.returncode for run in runs] == [0] * 4
    assert len(layout.index().manifests) == 1 + 4 * 20


def test_unknown_version_is_refused(layout, built, tmp_path):
    layout.tag(built.image(), "v1")
    (tmp_path / "layout" / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(InvalidDocumentError, match=r"2\.0\.0"):
        layout.resolve("v1")


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_attack_huge_file_is_refused(layout, built, tmp_path, name):
    layout.tag(built.image(), "v1")
    os.truncate(tmp_path / "layout" / name, 8 * 1024**3)
    with pytest.raises(TooLargeError):
        layout.resolve("v1")


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_attack_fifo_does_not_stop_us(layout, built, tmp_path, name):
    layout.tag(built.image(), "v1")
    (tmp_path / "layout" / name).unlink()
    os.mkfifo(tmp_path / "layout" / name)
    with pytest.raises(StoreError):
        layout.resolve("v1")


def test_attack_huge_manifest_is_refused(layout, built, tmp_path):
    image = built.image()
    layout.tag(built.image(3), "v1")
    path = tmp_path / "layout" / "blobs" / "sha256" / image.digest.hex
    path.chmod(0o644)
    os.truncate(path, MAX_MANIFEST_BYTES + 1)
    with pytest.raises(TooLargeError):
        layout.resolve(image.digest)


def test_a_file_in_the_way_is_told(tmp_path, new_builder):
    (tmp_path / "file").write_text("x")
    layout = OciLayout(tmp_path / "file")
    with pytest.raises(NotFoundError):
        layout.resolve("")
    with pytest.raises(StoreError):
        new_builder(layout).image()


def test_the_only_image_stays_the_only_one_beside_its_referrers(layout, built):
    image = built.image()
    layout.tag(image, "v1")
    refer = Manifest.build(
        config=built.blob(b"{}", OCI_EMPTY), layers=(), artifact_type="example/sbom", subject=image
    )
    built.document(refer)
    assert layout.resolve("").digest == image.digest
    listed = layout.index().manifests[-1]
    assert (listed.digest, listed.artifact_type) == (refer.descriptor.digest, "example/sbom")
    assert not entry_name(listed)


def test_finds_referrers_under_the_fallback_tag_that_other_tools_write(layout, built, tmp_path):
    image = built.image()
    refer = Manifest.build(
        config=built.blob(b"{}", OCI_EMPTY), layers=(), artifact_type="example/sbom", subject=image
    )
    entry = replace(built.document(refer), artifact_type="example/sbom")
    layout.tag(built.index(entry), f"sha256-{image.digest.hex}")
    path = tmp_path / "layout" / "index.json"
    index = json.loads(path.read_bytes())
    index["manifests"] = [each for each in index["manifests"] if "artifactType" not in each]
    path.write_text(json.dumps(index))
    assert [each.digest for each in layout.referrers(image.digest)] == [entry.digest]
