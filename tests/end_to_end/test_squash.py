"""`--squash`: one layer of what the build adds, on a base that stays as it is."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from registry.image import check_image, open_layer, read_image
from registry.layout import OciLayout
from registry.oci import mediatypes
from registry.oci.platform import Platform
from wcbuild import BuildRequest, CacheTo, build
from wcbuild.errors import UsageError
from wcbuild.request import host_platform

from .conftest import Wcbuild, call, need

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

ON_BASE = """\
FROM base
COPY one.txt /kept/
RUN head -c 3000000 /dev/zero > /big && ln /kept/one.txt /second && mkdir /old && echo a > /old/a
RUN rm /big /kept/one.txt && rm -r /old && chmod 640 /second
LABEL a=b
WORKDIR /srv
RUN rm -r /etc/alternatives && mkdir /etc/alternatives && echo new > /etc/alternatives/new
CMD ["cat", "/second"]
"""
FILES = {"one.txt": "one\n"}


class Built:
    """An image in a layout, checked."""

    def __init__(self, layout: Path, platform: Platform | None = None) -> None:
        self.store = OciLayout(layout)
        descriptor = self.store.resolve("latest")
        self.image = read_image(self.store, descriptor, platform or host_platform())
        check_image(self.image, self.store)

    @property
    def diff_ids(self):
        return self.image.config.diff_ids

    @property
    def history(self):
        """Return what made each line's layer, and whether it has one."""
        return [(line.created_by, not line.empty_layer) for line in self.image.config.history]

    def members(self, layer=-1):
        """Return what one layer has, by the names in its tar."""
        stream = open_layer(self.store, self.image.layers[layer])
        with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            return {member.name: member for member in archive}


@pytest.fixture
def squashed(wcbuild: Wcbuild, context, tmp_path):
    """Return a function that builds with and without --squash, and gives both images."""

    def make(dockerfile, files=None, *flags):
        folder = context(dockerfile, FILES | (files or {}))
        images = []
        for name, more in (("plain", ()), ("squashed", ("--squash",))):
            layout = tmp_path / name
            wcbuild.build(folder, *more, *flags, "-o", f"type=oci,tar=false,dest={layout}")
            images.append(Built(layout))
        return images

    return make


@pytest.fixture(scope="module")
def on_base(machine_base, stores, tmp_path_factory):
    """Return the images of `ON_BASE`, without --squash and with it."""
    place = tmp_path_factory.mktemp("on-base")
    stores.append(place / "store")
    (place / "Dockerfile").write_text(ON_BASE)
    (place / "one.txt").write_text("one\n")
    images = []
    for name, more in (("plain", ()), ("squashed", ("--squash",))):
        out = f"type=oci,tar=false,dest={place / name}"
        Wcbuild(stores[-1], machine_base).build(place, *more, "-o", out)
        images.append(Built(place / name))
    return images


def said(files):
    """Return what an exported tar says of each path."""
    return {
        name: (m.type, m.mode, m.uid, m.gid, m.mtime, m.linkname, m.pax_headers, content)
        for name, (m, content) in files.items()
    }


def test_own_layers_become_one_and_the_bases_stay(on_base):
    plain, one = on_base
    base = len(plain.diff_ids) - 5
    assert base == 1
    assert one.diff_ids[:base] == plain.diff_ids[:base]
    assert len(one.diff_ids) == base + 1
    assert one.image.manifest.layers[:base] == plain.image.manifest.layers[:base]
    assert one.image.config.config == plain.image.config.config


@pytest.mark.slow
def test_the_files_are_the_same(files_of, wcbuild):
    plain = files_of(ON_BASE, FILES)
    assert said(files_of(ON_BASE, FILES, "--squash", "-t", "one")) == said(plain)
    assert wcbuild("run", "one").stdout == "one\n"


def test_the_layer_has_what_is_left_and_deletes_what_the_base_has(on_base):
    _, one = on_base
    members = one.members()
    assert sum(member.size for member in members.values()) < 100
    assert members["second"].isreg()
    assert members["second"].mode == 0o640
    assert not {"big", "kept/one.txt", "old", ".wh.big", ".wh.old"} & members.keys()
    deleted = {name for name in members if "/.wh." in name}
    assert deleted
    assert all(name.startswith("etc/alternatives/.wh.") for name in deleted)
    assert "etc/alternatives/.wh..wh..opq" not in members


def test_history_keeps_the_lines_and_ends_with_that_of_the_layer(on_base):
    plain, one = on_base
    own = plain.history[1:]
    assert one.history[:1] == plain.history[:1]
    assert one.history[1:] == [*((text, False) for text, _ in own), ("squash 5 layers", True)]
    times = [line.created for line in one.image.config.history]
    assert times[:-1] == [line.created for line in plain.image.config.history]
    assert one.image.config.created == times[-1] == times[-2]


@pytest.mark.slow
@pytest.mark.parametrize("dockerfile", ["FROM base\nENV A=1\n", "FROM base\nCOPY one.txt /\n"])
def test_what_adds_no_two_layers_is_as_without(squashed, dockerfile):
    plain, one = squashed(dockerfile, None, "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
    assert one.image.descriptor == plain.image.descriptor


def test_from_scratch_there_is_one_layer(squashed):
    plain, one = squashed("FROM scratch\nCOPY one.txt /a\nCOPY one.txt /b\nCOPY one.txt /a\n")
    assert (len(plain.diff_ids), len(one.diff_ids)) == (3, 1)
    assert one.members().keys() == {"a", "b"}


@pytest.mark.slow
def test_layers_of_all_stages_below_the_target_are_one(squashed):
    dockerfile = "FROM base AS a\nRUN echo 1 > /one\nFROM a\nRUN rm /one\nRUN echo 2 > /two\n"
    plain, one = squashed(dockerfile)
    assert (len(plain.diff_ids), len(one.diff_ids)) == (4, 2)
    assert [name for name, member in one.members().items() if member.isreg()] == ["two"]


@pytest.mark.slow
def test_layers_that_triggers_of_the_base_make_are_the_builds_own(wcbuild, context, tmp_path):
    wcbuild.build(context("FROM base\nONBUILD COPY one.txt /\n", FILES), "-t", "parent")
    folder = context("FROM parent\nRUN rm /one.txt\n")
    wcbuild.build(folder, "--squash", "-o", f"type=oci,tar=false,dest={tmp_path / 'out'}")
    one = Built(tmp_path / "out")
    assert len(one.diff_ids) == 2
    assert one.members() == {}


def test_a_second_squash_does_nothing_and_gives_the_same_image(wcbuild, context):
    folder = context(ON_BASE, FILES)
    first = wcbuild.build(folder, "--squash", "--iidfile", folder.parent / "1")
    assert "squashed 5 layers: 3.0" in first.stderr
    again = wcbuild.build(folder, "--squash", "--iidfile", folder.parent / "2")
    assert " DONE" not in again.stderr
    assert "squashed" not in again.stderr
    assert (folder.parent / "1").read_text() == (folder.parent / "2").read_text()
    # What was squashed is found without it, too.
    assert " DONE" not in wcbuild.build(folder).stderr


@pytest.mark.slow
def test_equal_builds_in_different_stores_give_the_same_image(wcbuild, context, stores, tmp_path):
    folder = context("FROM base\nCOPY one.txt /\nRUN rm /one.txt; echo 1 > /b\n", FILES)
    ids = set()
    for name in "ab":
        stores.append(tmp_path / name)
        machine = Wcbuild(stores[-1], wcbuild.base)
        words = ("-q", "--squash", "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
        ids.add(machine.build(folder, *words).stdout)
    assert len(ids) == 1


@pytest.mark.slow
def test_no_time_is_later_than_the_epoch(squashed):
    _, one = squashed(ON_BASE, None, "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
    assert max(member.mtime for member in one.members().values()) == 1_000_000_000
    assert one.image.config.created == "2001-09-09T01:46:40Z"


@pytest.mark.slow
def test_each_platform_has_one_layer(wcbuild, context, tmp_path):
    both = ("linux/amd64", "linux/arm64")
    text = "FROM scratch\nARG TARGETARCH\nCOPY one.txt /\nCOPY one.txt /$TARGETARCH\n"
    out = f"type=oci,tar=false,dest={tmp_path / 'out'}"
    wcbuild.build(context(text, FILES), "--squash", "--platform", ",".join(both), "-o", out)
    for name in both:
        platform = Platform.parse(name)
        one = Built(tmp_path / "out", platform)
        assert one.members().keys() == {"one.txt", platform.architecture}
        assert len(one.diff_ids) == 1


def test_pushed_it_has_one_layer_on_the_bases(wcbuild, context, simulator):
    name = f"{simulator.host}/app:1"
    wcbuild.build(context(ON_BASE, FILES), "--squash", "--push", "-t", name)
    repository = simulator.repositories["app"]
    [(_, raw)] = repository.manifests.values()
    manifest = json.loads(raw)
    assert [layer["mediaType"] for layer in manifest["layers"]] == [mediatypes.OCI_LAYER_GZIP] * 2
    config = json.loads(repository.blobs[manifest["config"]["digest"]])
    assert len(config["rootfs"]["diff_ids"]) == 2


@pytest.mark.slow
def test_a_plan_tells_of_it(wcbuild, context):
    folder = context(ON_BASE, FILES)
    shown = wcbuild.build(folder, "--squash", "--print-plan").stdout
    assert "squash: these layers become one" in shown
    for words, squash in (((), False), (("--squash",), True), (("--squash=false",), False)):
        plan = json.loads(wcbuild.build(folder, *words, "--print-plan=json").stdout)
        assert plan["images"][0]["squash"] is squash
    one = context("FROM base\nRUN true\n")
    plan = json.loads(wcbuild.build(one, "--squash", "--print-plan=json").stdout)
    assert plan["images"][0]["squash"] is False


def test_changes_to_the_registry_are_refused_before_anything_is_built(wcbuild, context):
    folder = context("FROM scratch\nCOPY one.txt /\n", FILES)
    for more in ((), ("--print-plan",)):
        words = ("--squash", "--platform", "windows/amd64", "--wine-registry", *more)
        failed = wcbuild.build(folder, *words, check=False)
        assert failed.returncode == 2
        assert "--squash: --wine-registry keeps changes to the registry" in failed.stderr
        assert "#1" not in failed.stderr


def test_a_cache_in_the_image_itself_is_refused(wcbuild, context):
    request = BuildRequest(
        context=context("FROM scratch\nCOPY one.txt /\n", FILES),
        squash=True,
        cache_to=(CacheTo(kind="inline"),),
        root=wcbuild.root,
    )
    with pytest.raises(UsageError, match="type=registry or type=local"):
        build(request)


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_damaged_layer_is_refused_and_made_anew_without_the_cache(
    wcbuild, context, tmp_path, size
):
    folder = context("FROM scratch\nCOPY big /\nCOPY one.txt /\n", FILES | {"big": "x" * size})
    words = ("-o", f"type=oci,tar=false,dest={tmp_path / 'out'}")
    wcbuild.build(folder, *words)
    first = Built(tmp_path / "out").diff_ids[0]
    blob = wcbuild.root / "blobs" / first.replace(":", "/")
    blob.chmod(0o600)
    data = bytearray(blob.read_bytes())
    data[512 + size - 1] ^= 1
    blob.write_bytes(data)
    failed = wcbuild.build(folder, "--squash", "-t", "bad", check=False)
    assert failed.returncode == 1
    assert f'{blob}: is damaged: the content of "big"' in failed.stderr
    assert "bad" not in wcbuild("images").stdout
    wcbuild.build(folder, "--squash", "--no-cache", "-t", "good", *words)
    assert Built(tmp_path / "out").members()["big"].size == size


@pytest.mark.slow
def test_prune_forgets_what_no_image_has(wcbuild, context):
    folder = context(ON_BASE, FILES)
    wcbuild.build(folder, "--squash", "-t", "one")
    wcbuild("prune")
    assert wcbuild("run", "one").stdout == "one\n"
    wcbuild("rmi", "one")
    wcbuild("prune")
    blobs = [path for path in (wcbuild.root / "blobs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in blobs) == 0


@pytest.mark.slow
def test_from_python_it_is_a_field(wcbuild, context):
    request = BuildRequest(
        context=context("FROM scratch\nCOPY one.txt /a\nCOPY one.txt /b\n", FILES),
        squash=True,
        tags=("one",),
        root=wcbuild.root,
    )
    build(request)
    [shown] = json.loads(wcbuild("inspect", "one").stdout)
    assert len(shown["RootFS"]["Layers"]) == 1


@pytest.mark.peers
@pytest.mark.root
def test_umoci_unpacks_the_same_tree(wcbuild, context, tmp_path):
    need("umoci", "skopeo")
    folder = context(ON_BASE, FILES)
    trees = []
    for name, more in (("plain", ()), ("squashed", ("--squash",))):
        wcbuild.build(folder, *more, "-o", f"type=oci,dest={tmp_path / name}.tar", "-t", "app:x")
        call(
            *("skopeo", "copy", "--insecure-policy", "--quiet"),
            *(f"oci-archive:{tmp_path / name}.tar", f"oci:{tmp_path / name}:x"),
        )
        bundle = tmp_path / f"{name}-bundle"
        call("umoci", "unpack", "--image", f"{tmp_path / name}:x", bundle)
        trees.append(unpacked(bundle / "rootfs"))
    assert trees[0] == trees[1]
    assert trees[0]["second"][-1] == b"one\n"


def unpacked(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what there is at each path below ``root``; names of one file have the same last but one."""
    paths = sorted(root.rglob("*"))
    first: dict[int, str] = {}
    found: dict[str, tuple[object, ...]] = {}
    for path in paths:
        status, name = path.lstat(), str(path.relative_to(root))
        content: object = b""
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        own = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime))
        found[name] = (*own, first.setdefault(status.st_ino, name), content)
    return found
