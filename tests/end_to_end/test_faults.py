"""What happens when the world is not as it should be: full disks, damage, refusals, crashes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time

import pytest

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.usefixtures("userns")]


@pytest.fixture
def in_namespace(wcbuild):
    """Give a function that runs a shell script as root of a user namespace of its own."""

    def run(script, **variables):
        env = wcbuild.env | {name: str(value) for name, value in variables.items()}
        env["WCBUILD"] = " ".join(wcbuild.command())
        return subprocess.run(
            ["unshare", "-Urm", "sh", "-c", script],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_full_disk_is_named_and_nothing_stays(wcbuild, context, in_namespace):
    folder = context("FROM scratch\nCOPY big /\n")
    with open(folder / "big", "wb") as big:
        big.write(os.urandom(30 << 20))
    script = (
        "mkdir $STORE && mount -t tmpfs -o size=20m tmpfs $STORE || exit 99\n"
        "$WCBUILD --root $STORE -t full $CONTEXT; echo status=$?\n"
        "$WCBUILD --root $STORE images; find $STORE/ingest $STORE/tmp -type f\n"
        "rm $CONTEXT/big; echo small > $CONTEXT/big\n"
        "$WCBUILD --root $STORE -q -t fits $CONTEXT\n"
    )
    done = in_namespace(script, STORE=wcbuild.root, CONTEXT=folder)
    assert "status=1" in done.stdout, done.stderr
    assert "no space left on device" in done.stderr.lower()
    assert str(wcbuild.root) in done.stderr
    assert "prune" in done.stderr
    _, *listing = done.stdout.splitlines()
    assert not any("full" in line for line in listing)
    assert not any(str(wcbuild.root) in line for line in listing)
    assert listing[-1].startswith("sha256:")


def test_a_disk_that_a_command_fills_fails_the_command_only(wcbuild, context, in_namespace):
    folder = context("FROM base\nRUN head -c 60000000 /dev/zero > /fill\n")
    script = (
        "mkdir $STORE && mount -t tmpfs -o size=45m tmpfs $STORE || exit 99\n"
        "$WCBUILD --root $STORE --build-context base=oci-layout://$BASE $CONTEXT; echo status=$?\n"
        "find $STORE/ingest $STORE/tmp -type f\n"
    )
    done = in_namespace(script, STORE=wcbuild.root, CONTEXT=folder, BASE=wcbuild.base)
    assert done.stdout == "status=1\n", done.stderr
    assert "no space left" in done.stderr.lower()
    assert "internal error" not in done.stderr


def test_copies_give_the_same_image_where_overlays_cannot_be_mounted(
    wcbuild, context, in_namespace, tmp_path
):
    """A store that lies on an overlay itself cannot hold another one's upper directory."""
    dockerfile = (
        "FROM base\nWORKDIR /w\nCOPY one .\n"
        "RUN echo 2 > two && cp two 2b && ln two three && ln -s one four && mkfifo five && chmod 4755 one\n"
        "RUN rm /etc/passwd && mkdir -p /a/b && touch -d @1000000000 /a/b/c && mv 2b /a\n"
        "RUN rm -r /a && mkdir /a && echo again > /a/b\n"
    )
    folder = context(dockerfile, {"one": "1"})
    script = (
        "mkdir -p $ON/l $ON/m; mount -t tmpfs tmpfs $ON/l; mkdir $ON/l/l $ON/l/u $ON/l/w\n"
        "mount -t overlay -o userxattr,lowerdir=$ON/l/l,upperdir=$ON/l/u,workdir=$ON/l/w o $ON/m\n"
        "for store in $ON/m/store $STORE; do\n"
        "  $WCBUILD -q --root $store --build-context base=oci-layout://$BASE"
        " --build-arg SOURCE_DATE_EPOCH=1700000000 $CONTEXT || exit 1\n"
        "  ls -d $store/snapshots/*/by-chain/* | head -n 1\n"
        "done\n"
    )
    done = in_namespace(
        script, STORE=wcbuild.root, CONTEXT=folder, BASE=wcbuild.base, ON=tmp_path / "on"
    )
    copied, kind, overlaid, other_kind = done.stdout.split()
    assert "/snapshots/copying" in kind, done.stderr
    assert "/snapshots/overlay" in other_kind
    assert copied == overlaid


def test_a_refused_user_namespace_says_which_setting(wcbuild, context, in_namespace):
    """COPY still works; a RUN says what it needs."""
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces || exit 99\n"
        # Without any capability, root is an ordinary user to the kernel.
        "exec setpriv --inh-caps=-all --bounding-set=-all --ambient-caps=-all"
        " $WCBUILD --build-context base=oci-layout://$BASE $CONTEXT\n"
    )
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    copying = in_namespace(script, CONTEXT=context("FROM base\nCOPY . /x\n"), BASE=wcbuild.base)
    assert copying.returncode == 0, copying.stderr
    running = in_namespace(script, CONTEXT=context("FROM base\nRUN true\n"), BASE=wcbuild.base)
    assert running.returncode == 1
    assert "user.max_user_namespaces" in running.stderr
    assert "Dockerfile:2" in running.stderr


def damaged_base(wcbuild, tmp_path, change):
    """Copy the base with its one layer changed, its old digest kept; return the layout."""
    layout = tmp_path / "damaged"
    shutil.copytree(wcbuild.base, layout)
    blobs = layout / "blobs" / "sha256"
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    largest.write_bytes(change(largest.read_bytes()))
    return layout


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw[:-1], "expected"),
        (lambda raw: raw + b"\0", "expected"),
        (lambda raw: raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:], "expected digest"),
    ],
    ids=["truncated", "too long", "one bit changed"],
)
def test_a_base_layer_that_is_not_what_its_manifest_says_is_refused(
    wcbuild, context, tmp_path, change, told
):
    layout = damaged_base(wcbuild, tmp_path, change)
    broken = type(wcbuild)(wcbuild.root, layout)
    failed = broken.build(context("FROM base\nRUN true\n"), "-t", "bad", check=False)
    assert failed.returncode == 1
    assert told in failed.stderr
    assert "sha256:" in failed.stderr
    assert "bad" not in wcbuild("images").stdout


def hostile_layout(tmp_path, *members):
    """Write a layout whose one layer holds ``members``, all digests right."""
    layout = tmp_path / "hostile"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(raw, media_type):
        digest = hashlib.sha256(raw).hexdigest()
        (blobs / digest).write_bytes(raw)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}

    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        for member in members:
            archive.addfile(member)
    raw = (tmp_path / "layer.tar").read_bytes()
    layer = add(raw, "application/vnd.oci.image.layer.v1.tar")
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    config = add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = add(json.dumps(manifest | {"mediaType": kind}).encode(), kind)
    index = {"schemaVersion": 2, "manifests": [manifest]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_hostile_base_touches_nothing_outside(wcbuild, context, tmp_path):
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("untouched")
    up = "../" * 30
    for number, members in enumerate(
        (
            [member(f"{up}{canary}/planted")],
            [member("link", tarfile.SYMTYPE, str(canary)), member("link/planted")],
            [member("hard", tarfile.LNKTYPE, f"{up}{canary}/file"), member("hard")],
            [member("", tarfile.SYMTYPE, str(canary)), member("planted")],
            [member("x", tarfile.SYMTYPE, str(canary)), member("x/.wh.file")],
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        hostile = type(wcbuild)(wcbuild.root, hostile_layout(place, *members))
        done = hostile.build(context(f'FROM base\nRUN ["/nothing", "{number}"]\n'), check=False)
        assert done.returncode == 1
        assert "internal error" not in done.stderr
        assert [path.name for path in canary.iterdir()] == ["file"]
        assert (canary / "file").read_text() == "untouched"


def test_a_store_in_use_is_not_pruned(wcbuild, context):
    folder = context("FROM base\nRUN echo begun; sleep 600\n")
    base = f"base=oci-layout://{wcbuild.base}"
    words = wcbuild.command("build", "--progress", "plain", "--build-context", base, folder)
    with subprocess.Popen(words, env=wcbuild.env, stderr=subprocess.PIPE, text=True) as build:
        try:
            for line in build.stderr:
                if line.endswith("begun\n"):
                    break
            failed = wcbuild("prune", check=False)
        finally:
            build.send_signal(signal.SIGINT)
            build.stderr.read()
    assert failed.returncode == 1
    assert f"process {build.pid}" in failed.stderr


@pytest.mark.slow
def test_builds_killed_at_any_moment_leave_a_store_that_works(wcbuild, context):
    """A storm of SIGKILL, then one build whose image is the one of a store that saw no storm."""
    dockerfile = (
        "FROM base\nCOPY files /files\nRUN cat /files/* > /all\nRUN sha256sum /all > /sum\n"
    )
    files = {f"files/{number}": str(number) * 1000 for number in range(50)}
    folder = context(dockerfile, files)
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-t", "storm")
    base = f"base=oci-layout://{wcbuild.base}"
    words = wcbuild.command("build", "-q", "--build-context", base, *flags, folder)
    chance = random.Random(1)
    for _ in range(12):
        build = subprocess.Popen(
            words, env=wcbuild.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.05, 0.6))
        build.kill()
        build.wait()
    calm = type(wcbuild)(wcbuild.root.with_name("calm"), wcbuild.base)
    assert wcbuild.build(folder, "-q", *flags).stdout == calm.build(folder, "-q", *flags).stdout
    assert wcbuild("run", "storm", "sha256sum", "-c", "/sum").stdout == "/all: OK\n"
    assert list((wcbuild.root / "ingest").iterdir()) == []


def test_a_lost_layer_is_built_again(wcbuild, context):
    folder = context("FROM base\nRUN echo x > /x\n")
    wcbuild.build(folder, "-t", "app")
    [document] = json.loads(wcbuild("inspect", "app").stdout)
    layer = wcbuild.root / "blobs" / "sha256" / document["RootFS"]["Layers"][-1].partition(":")[2]
    layer.unlink()
    again = wcbuild.build(folder, "-t", "app")
    assert again.stderr.count(" DONE ") == 1
    assert wcbuild("run", "app", "cat", "/x").stdout == "x\n"
