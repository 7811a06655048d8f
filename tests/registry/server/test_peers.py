"""Other people's clients against our registry."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest
from talk import digest_of

from registry.image import check_image, read_image
from registry.layout import OciLayout
from registry.oci import mediatypes
from registry.reference import Reference

pytestmark = pytest.mark.peers


@pytest.fixture
def tool(tmp_path):
    """Run a peer; returns what it says."""
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (tmp_path / "home").mkdir()

    def run(name: str, *arguments: object, fails: bool = False, given: str = "") -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        if name == "skopeo":
            arguments = ("--policy", tmp_path / "policy.json", *arguments)
        done = subprocess.run(
            [found, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            input=given,
            env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done.stdout + (done.stderr if fails else "")

    return run


@pytest.fixture
def layout(tmp_path, new_builder):
    builder = new_builder(OciLayout(tmp_path / "layout"))
    builder.store.tag(builder.image(3, size=400_000), "1")
    return builder.store


# skopeo


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_pushes_and_pulls(tool, layout, new_registry, new_client, tmp_path, form):
    registry = new_registry()
    there = f"docker://{registry.host}/team/app:1"
    tool("skopeo", "copy", "--dest-tls-verify=false", "-f", form, "oci:layout:1", there)
    tool("skopeo", "copy", "--src-tls-verify=false", there, "oci:back:1")
    back = OciLayout(tmp_path / "back")
    check_image(read_image(back, back.resolve("1"), None), back)
    repository = new_client().repository(Reference.parse(f"{registry.host}/team/app"))
    image = read_image(repository, repository.resolve("1"), None)
    check_image(image, repository)
    assert image.config.diff_ids == read_image(layout, layout.resolve("1"), None).config.diff_ids
    said = json.loads(tool("skopeo", "inspect", "--tls-verify=false", there))
    assert said["Digest"] == image.descriptor.digest
    assert said["RepoTags"] == ["1"]


def test_skopeo_mounts_what_the_registry_has(tool, layout, new_registry):
    registry = new_registry()
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false")
    first, second = (f"docker://{registry.host}/team/{name}:1" for name in ("one", "two"))
    tool("skopeo", "copy", *flags, "oci:layout:1", first)
    sent = sum(exchange.received for exchange in registry.log)
    tool("skopeo", "copy", *flags, first, second)
    more = sum(exchange.received for exchange in registry.log) - sent
    assert more < 10_000, "the layers were not sent again"
    assert registry.talk.is_whole("team/two", "1")


@pytest.mark.parametrize("is_token", [False, True])
def test_skopeo_logs_in(tool, layout, new_registry, htpasswd, is_token):
    registry = new_registry(htpasswd=htpasswd, tokens=is_token)
    there = f"docker://{registry.host}/team/app:1"
    copy = ("copy", "--dest-tls-verify=false", "oci:layout:1", there)
    tool("skopeo", *copy, fails=True)
    wrong = ("login", "--tls-verify=false", "-u", "ali", "-p", "wrong", registry.host)
    tool("skopeo", *wrong, "--authfile", "auth.json", fails=True)
    right = ("login", "--tls-verify=false", "-u", "ali", "-p", "open sesame", registry.host)
    tool("skopeo", *right, "--authfile", "auth.json")
    tool("skopeo", "copy", "--authfile", "auth.json", *copy[1:])
    tool("skopeo", "copy", "--authfile", "auth.json", "--src-tls-verify=false", there, "dir:back")


def test_skopeo_copies_between_docker_registry_and_ours(
    tool, layout, new_registry, new_docker_registry
):
    ours, theirs = new_registry(), new_docker_registry()
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false")
    places = [f"docker://{theirs}/app:1", f"docker://{ours.host}/app:1", f"docker://{theirs}/b:1"]
    tool("skopeo", "copy", *flags, "oci:layout:1", places[0])
    for source, target in pairwise(places):
        tool("skopeo", "copy", *flags, source, target)
    digests = {
        json.loads(tool("skopeo", "inspect", "--tls-verify=false", place))["Digest"]
        for place in places
    }
    assert len(digests) == 1
    assert ours.talk.is_whole("app", "1")


# crane and oras


def test_crane_does_all_it_can(tool, layout, new_registry, tmp_path):
    registry = new_registry()
    there = f"{registry.host}/team/app"
    tool("crane", "push", tmp_path / "layout", f"{there}:1")
    assert tool("crane", "ls", there).split() == ["1"]
    digest = tool("crane", "digest", f"{there}:1").strip()
    assert digest == layout.resolve("1").digest
    tool("crane", "tag", f"{there}:1", "2")
    tool("crane", "copy", f"{there}:1", f"{registry.host}/other/app:1")
    assert tool("crane", "catalog", registry.host).split() == ["other/app", "team/app"]
    tool("crane", "pull", "--format", "oci", f"{there}:2", tmp_path / "back")
    assert (tmp_path / "back/blobs" / digest.replace(":", "/")).exists()
    tool("crane", "append", "-b", f"{there}:1", "-t", f"{there}:3", "-f", _tar(tmp_path))
    assert registry.talk.is_whole("team/app", "3")
    tool("crane", "delete", f"{there}@{digest}")
    assert tool("crane", "ls", there).split() == ["3"]


def _tar(folder) -> str:
    import io
    import tarfile

    with tarfile.open(folder / "more.tar", "w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    return str(folder / "more.tar")


def test_oras_attaches_and_finds(tool, layout, new_registry, tmp_path):
    registry = new_registry()
    there = f"{registry.host}/team/app"
    tool("oras", "copy", "--from-oci-layout", "layout:1", "--to-plain-http", f"{there}:1")
    for name in ("sbom", "report"):
        (tmp_path / name).write_text(f"the {name}")
        tool("oras", "attach", "--plain-http", "--artifact-type", f"a/{name}", f"{there}:1", name)
    flags = ("--plain-http", "--format", "json", "--artifact-type", "a/sbom")
    found = json.loads(tool("oras", "discover", *flags, f"{there}:1"))
    entries = found.get("referrers") or found.get("manifests")
    assert [entry["artifactType"] for entry in entries] == ["a/sbom"]
    (tmp_path / "got").mkdir()
    tool("oras", "pull", "--plain-http", "-o", "got", entries[0]["reference"])
    assert (tmp_path / "got/sbom").read_text() == "the sbom"
    # No fallback tag: the registry lists referrers itself.
    assert tool("oras", "repo", "tags", "--plain-http", there).split() == ["1"]
    assert tool("oras", "repo", "ls", "--plain-http", registry.host).split() == ["team/app"]


@pytest.mark.parametrize("is_token", [False, True])
def test_oras_and_crane_log_in(tool, new_registry, htpasswd, tmp_path, is_token):
    registry = new_registry(htpasswd=htpasswd, tokens=is_token)
    (tmp_path / "file").write_text("hello")
    push = ("push", "--plain-http", f"{registry.host}/app:1", "file")
    tool("oras", *push, fails=True)
    login = ("login", "--plain-http", "-u", "ali", "--password-stdin", registry.host)
    tool("oras", *login, given="open sesame")
    tool("oras", *push)
    assert tool("crane", "ls", f"{registry.host}/app").split() == ["1"]


# Our own commands


def test_our_commands_push_pull_and_copy(new_process, layout, tmp_path):
    """Without any peer, but with the whole road."""
    process = new_process()

    def wcbuild(*arguments: object) -> str:
        command = [sys.executable, "-m", "wcbuild", *map(str, arguments), "--root", tmp_path / "s"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    there = f"{process.host}/team/app:1"
    pushed = wcbuild("copy", f"oci:{tmp_path}/layout:1", f"docker://{there}").strip()
    reply = process.talk("GET", "/v2/team/app/manifests/1")
    assert reply.headers["Docker-Content-Digest"] == pushed == digest_of(reply.body)
    wcbuild("pull", there)
    wcbuild("push", there, f"{process.host}/team/again:2")
    reply = process.talk("GET", "/v2/team/again/manifests/2")
    assert reply.headers["Docker-Content-Digest"] == digest_of(reply.body)
    assert reply.headers["Content-Type"] == mediatypes.OCI_MANIFEST
    assert process.talk.is_whole("team/again", "2")
