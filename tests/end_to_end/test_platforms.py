"""Builds for several platforms: one index, shared work, a folder for each."""

from __future__ import annotations

import json

import pytest

from registry.layout import OciLayout
from registry.oci import mediatypes
from registry.oci.manifest import parse
from registry.store import read_all
from wcbuild.request import host_platform

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

BOTH = "linux/amd64,linux/arm64"
CROSS = """\
FROM --platform=$BUILDPLATFORM base AS build
ARG TARGETARCH
RUN echo "for $TARGETARCH" > /made
RUN echo shared > /shared
FROM scratch
COPY --from=build /made /made
"""


def opened(store, descriptor):
    return parse(read_all(store, descriptor), descriptor.media_type)


def test_several_platforms_give_an_index(wcbuild, context, tmp_path):
    folder = context(CROSS)
    layout = tmp_path / "layout"
    wcbuild.build(
        folder, "--platform", BOTH, "-t", "a:1", "-o", f"type=oci,tar=false,dest={layout}"
    )
    store = OciLayout(layout)
    index = opened(store, store.resolve("1"))
    assert [str(each.platform) for each in index.manifests] == BOTH.split(",")
    for each in index.manifests:
        config = json.loads(store.open(opened(store, each).config).read())
        assert config["architecture"] == each.platform.architecture


def test_a_base_of_the_build_platform_gives_an_image_for_each_platform(wcbuild, context, tmp_path):
    folder = context("FROM --platform=$BUILDPLATFORM base\nCOPY Dockerfile /\n")
    layout = tmp_path / "layout"
    out = f"type=oci,tar=false,dest={layout}"
    wcbuild.build(folder, "--platform", BOTH, "-t", "a:1", "-o", out)
    store = OciLayout(layout)
    index = opened(store, store.resolve("1"))
    assert [str(each.platform) for each in index.manifests] == BOTH.split(",")
    configs = [
        json.loads(store.open(opened(store, each).config).read()) for each in index.manifests
    ]
    assert [config["architecture"] for config in configs] == ["amd64", "arm64"]


def test_the_local_platform_is_this_machines(wcbuild, context):
    done = wcbuild.build(
        context("FROM base\nARG TARGETPLATFORM\nRUN echo for $TARGETPLATFORM.\n"),
        *("--platform", "Local"),
    )
    assert f"for {host_platform()}." in done.stderr


def test_each_platform_has_a_folder(wcbuild, context, tmp_path):
    wcbuild.build(context(CROSS), "--platform", BOTH, "-o", tmp_path / "out")
    assert (tmp_path / "out/linux_amd64/made").read_text() == "for amd64\n"
    assert (tmp_path / "out/linux_arm64/made").read_text() == "for arm64\n"


def test_a_folder_for_the_only_platform_may_be_asked_for(wcbuild, context, tmp_path):
    folder = context("FROM scratch\nCOPY <<EOF /made\nx\nEOF\n")
    out = f"type=local,dest={tmp_path / 'out'},platform-split=true"
    wcbuild.build(folder, "--platform", "linux/arm64", "-o", out)
    assert (tmp_path / "out/linux_arm64/made").read_text() == "x\n"


def test_files_of_several_platforms_are_not_mixed_nor_built_in_vain(wcbuild, context, tmp_path):
    out = f"type=local,dest={tmp_path / 'out'},platform-split=false"
    failed = wcbuild.build(context(CROSS), "--platform", BOTH, "-o", out, check=False)
    assert failed.stderr == "ERROR: --output type=local: several platforms need platform-split\n"
    assert failed.returncode == 2


def test_what_platforms_share_is_done_once(wcbuild, context):
    text = "FROM --platform=$BUILDPLATFORM base AS a\nRUN echo x > /x\nFROM scratch\nCOPY --from=a /x /\n"
    done = wcbuild.build(context(text), "--platform", BOTH)
    assert done.stderr.count("RUN echo x > /x") == 1


def test_labels_say_which_platform_a_step_is_for(wcbuild, context):
    done = wcbuild.build(context("FROM scratch\nCOPY Dockerfile /\n"), "--platform", BOTH)
    assert "[linux/amd64 1/1] COPY Dockerfile /" in done.stderr


def test_an_archive_for_docker_holds_one_platform(wcbuild, context, tmp_path):
    out = f"type=docker,dest={tmp_path / 'a.tar'}"
    done = wcbuild.build(context("FROM scratch\n"), "--platform", BOTH, "-o", out, check=False)
    assert done.returncode == 2
    assert "use type=oci" in done.stderr


def test_annotations_reach_the_index_and_one_manifest(wcbuild, context, tmp_path):
    layout = tmp_path / "layout"
    words = ("--annotation", "index,manifest[linux/arm64],manifest-descriptor:a=1")
    out = f"type=oci,tar=false,dest={layout}"
    wcbuild.build(context("FROM scratch\n"), "--platform", BOTH, *words, "-t", "a:1", "-o", out)
    store = OciLayout(layout)
    index = opened(store, store.resolve("1"))
    assert index.annotations == {"a": "1"}
    assert [opened(store, each).annotations for each in index.manifests] == [{}, {"a": "1"}]
    assert [dict(each.annotations) for each in index.manifests] == [{"a": "1"}, {"a": "1"}]


def test_an_index_annotation_without_an_index_is_refused(wcbuild, context):
    done = wcbuild.build(context("FROM scratch\n"), "--annotation", "index:a=1", check=False)
    assert done.returncode == 2
    assert "there is no index" in done.stderr


def test_one_platform_can_be_forced_into_an_index(wcbuild, context, tmp_path):
    meta = tmp_path / "meta.json"
    words = ("--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "--metadata-file", meta)
    wcbuild.build(context("FROM scratch\n"), *words)
    data = json.loads(meta.read_text())
    assert data["containerimage.descriptor"]["mediaType"] == mediatypes.OCI_INDEX
    assert "containerimage.config.digest" not in data


@pytest.mark.parametrize(
    ("platform", "value", "error"),
    [
        ("linux/amd64", "often", 'is true or false, not "often"'),
        (BOTH, "0", "several platforms need an index"),
    ],
)
def test_an_index_that_cannot_be_as_it_is_wanted_is_refused(
    wcbuild, context, platform, value, error
):
    words = ("--platform", platform, "--build-arg", f"BUILDKIT_MULTI_PLATFORM={value}")
    done = wcbuild.build(context("FROM scratch\n"), *words, check=False)
    assert done.returncode == 2
    assert error in done.stderr


def test_history_shows_the_chosen_platform(wcbuild, context):
    wcbuild.build(context(CROSS), "--platform", BOTH, "-t", "a")
    assert "COPY /made" in wcbuild("history", "a", "--platform", "linux/arm64").stdout
    done = wcbuild("history", "a", "--platform", "linux/s390x", check=False)
    assert done.returncode == 1
    assert "linux/s390x" in done.stderr
