"""Dockerfiles of real shape, built, pushed, and given to other people's tools."""

from __future__ import annotations

import json
import os

import pytest

from .conftest import CASES, Buildah, Unpacked, Wcbuild, call, need

pytestmark = [pytest.mark.peers, pytest.mark.slow]

NAMES = sorted(path.name for path in CASES.iterdir())


@pytest.fixture(scope="module")
def built(bases, tmp_path_factory):
    """Build and push each case once, all into one store."""
    wcbuild = Wcbuild(tmp_path_factory.mktemp("wcbuild") / "store")
    images: dict[str, str] = {}

    def build(name: str) -> str:
        if name not in images:
            image = f"{bases}/wcbuild/{name}:1"
            wcbuild(
                *("--build-arg", f"REGISTRY={bases}", "--progress", "plain"),
                *("-t", image, "--push", CASES / name),
            )
            images[name] = image
        return images[name]

    return build


@pytest.fixture(params=NAMES)
def case(request) -> str:
    return request.param


def test_buildah_builds_the_same_tree_and_config(case, bases, built, buildah, fetched):
    theirs_name = f"{bases}/buildah/{case}:1"
    buildah.build(CASES / case, theirs_name, bases)
    ours, theirs = fetched(built(case)), fetched(theirs_name)
    assert ours.runtime == theirs.runtime
    assert differences(ours, theirs) == {}


def differences(ours: Unpacked, theirs: Unpacked) -> dict[str, object]:
    mine, other = ours.tree(), theirs.tree()
    return {
        path: (mine.get(path), other.get(path))
        for path in sorted(mine.keys() | other.keys())
        if mine.get(path) != other.get(path)
    }


def test_buildah_runs_it(case, built, buildah: Buildah, fetched):
    image = built(case)
    printed = buildah.run(image, fetched(image).command)
    assert printed == (CASES / case / "expected.txt").read_text()


def test_skopeo_inspects_it(case, built):
    need("skopeo")
    shown = json.loads(
        call("skopeo", "inspect", "--tls-verify=false", f"docker://{built(case)}").stdout
    )
    assert shown["Os"] == "linux"
    assert shown["Layers"]


def test_umoci_unpacks_it(case, built, tmp_path):
    need("umoci", "skopeo")
    call(
        *("skopeo", "copy", "--insecure-policy", "--quiet", "--src-tls-verify=false"),
        *(f"docker://{built(case)}", f"oci:{tmp_path / 'layout'}:x"),
    )
    rootless = ("--rootless",) if os.geteuid() else ()
    call("umoci", "unpack", *rootless, "--image", f"{tmp_path / 'layout'}:x", tmp_path / "bundle")
    spec = json.loads((tmp_path / "bundle" / "config.json").read_bytes())
    assert spec["process"]["args"]
    assert any((tmp_path / "bundle" / "rootfs").iterdir())
