"""Moving images to and from Debian's registry: names, digests, credentials, and what it has already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Wcbuild, call, need, serving

pytestmark = [pytest.mark.peers, pytest.mark.userns, pytest.mark.usefixtures("cache", "userns")]

# bcrypt, the only form that the registry takes, of "right horse".
HTPASSWD = "somebody:$2b$05$ozE524Ck2KTYv4NXqxTTXOCnnLMYyHvI5s12ePYHdVeapiQhRwXaq\n"


@pytest.fixture
def app(wcbuild: Wcbuild, context) -> str:
    wcbuild.build(context("FROM base\nRUN echo made > /made\nCMD cat /made\n"), "-t", "app:1")
    return "app:1"


def test_an_image_comes_back_from_a_registry_as_it_was(wcbuild, app, registry, tmp_path):
    wcbuild("push", app, f"{registry}/there-and-back:1")
    other = Wcbuild(tmp_path / "other")
    other("pull", f"{registry}/there-and-back:1")
    assert other("run", f"{registry}/there-and-back:1").stdout == "made\n"
    images = [
        json.loads(store("inspect", name).stdout)[0]["Id"]
        for store, name in ((wcbuild, app), (other, f"{registry}/there-and-back:1"))
    ]
    assert images[0] == images[1]


def test_a_second_push_sends_nothing(wcbuild, app, registry):
    wcbuild("push", app, f"{registry}/twice:1")
    again = wcbuild("push", app, f"{registry}/twice:1")
    moved = [line.split() for line in again.stderr.splitlines() if line.startswith("push ")]
    assert moved
    assert {line[-1] for line in moved} == {"exists"}


def test_a_build_can_stand_on_a_pushed_image_by_tag_and_by_digest(
    wcbuild, app, registry, context, tmp_path
):
    pushed = json.loads(
        call(
            *("skopeo", "inspect", "--tls-verify=false"), f"docker://{push(wcbuild, app, registry)}"
        ).stdout
    )
    for suffix in (":1", f"@{pushed['Digest']}"):
        other = Wcbuild(tmp_path / "other")
        other("build", "-t", "on-top", context(f"FROM {registry}/base-of-others{suffix}\nUSER 1\n"))
        assert other("run", "on-top", "cat", "/made").stdout == "made\n"


def push(wcbuild: Wcbuild, image: str, registry: str) -> str:
    need("skopeo")
    wcbuild("push", image, f"{registry}/base-of-others:1")
    return f"{registry}/base-of-others:1"


def test_copies_between_a_registry_a_layout_and_an_archive(wcbuild, app, registry, tmp_path):
    need("skopeo")
    wcbuild("push", app, f"{registry}/copied:1")
    wcbuild("copy", f"docker://{registry}/copied:1", f"oci:{tmp_path / 'layout'}:x")
    wcbuild("copy", f"oci:{tmp_path / 'layout'}:x", f"oci-archive:{tmp_path / 'archive.tar'}")
    wcbuild("copy", f"oci-archive:{tmp_path / 'archive.tar'}", f"docker://{registry}/copied:2")
    digests = {
        json.loads(call("skopeo", "inspect", *flags, place).stdout)["Digest"]
        for flags, place in (
            (["--tls-verify=false"], f"docker://{registry}/copied:1"),
            ([], f"oci:{tmp_path / 'layout'}:x"),
            (["--tls-verify=false"], f"docker://{registry}/copied:2"),
        )
    }
    assert len(digests) == 1


@pytest.fixture
def guarded_registry(tmp_path):
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "htpasswd").write_text(HTPASSWD)
    settings = f"auth: {{htpasswd: {{realm: here, path: {folder / 'htpasswd'}}}}}\n"
    with serving(folder, settings) as address:
        yield address


def test_credentials_are_asked_for_checked_and_remembered(wcbuild, app, guarded_registry, tmp_path):
    env = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    target = f"{guarded_registry}/secret/app:1"

    refused = wcbuild("push", app, target, env=env, check=False)
    assert refused.returncode == 1
    assert guarded_registry in refused.stderr
    assert "Traceback" not in refused.stderr

    login = ("login", "-u", "somebody", "--password-stdin", guarded_registry)
    wrong = wcbuild(*login, env=env, check=False, input="wrong horse")
    assert wrong.returncode == 1
    assert "wrong horse" not in wrong.stderr
    assert not (tmp_path / "docker" / "config.json").exists()

    wcbuild(*login, env=env, input="right horse\n")
    assert Path(tmp_path / "docker" / "config.json").stat().st_mode & 0o777 == 0o600
    wcbuild("push", app, target, env=env)
    Wcbuild(tmp_path / "other")("pull", target, env=env)

    wcbuild("logout", guarded_registry, env=env)
    assert wcbuild("pull", target, env=env, check=False).returncode == 1


def test_a_base_is_asked_for_once_and_then_with_pull_alone(
    wcbuild, app, registry, context, tmp_path
):
    base = push(wcbuild, app, registry)
    folder = context(f"FROM {base}\nUSER 1\n")
    other = Wcbuild(tmp_path / "other")
    first = other("build", "-q", folder).stdout
    assert base.rpartition(":")[0] in other("images").stdout

    wcbuild.build(context("FROM base\nRUN echo newer > /made\n"), "-t", "newer")
    wcbuild("push", "newer", base)
    folder = context(f"FROM {base}\nUSER 1\n")
    assert other("build", "-q", folder).stdout == first
    assert other("build", "-q", "--pull", folder).stdout != first


def test_the_registry_tools_work_on_a_built_image(wcbuild, app, registry, tmp_path, context):
    name = f"{registry}/tools"
    wcbuild("push", app, f"{name}:1")
    wcbuild.build(context("FROM base\nRUN echo other > /made\nCMD cat /made\n"), "-t", "app:2")
    wcbuild("push", "app:2", f"{name}:2")
    assert wcbuild("ls", name).stdout == "1\n2\n"
    changed = wcbuild("diff", "--only", "files", f"{name}:1", f"{name}:2", check=False)
    assert (changed.returncode, changed.stdout) == (1, "C /made (size 5 -> 6, content)\n")
    (tmp_path / "sbom.json").write_text("{}")
    words = ("--artifact-type", "example/sbom")
    artifact = wcbuild("attach", f"{name}:1", tmp_path / "sbom.json", *words).stdout.strip()
    assert wcbuild("referrers", "-q", f"{name}:1").stdout.strip() == artifact
    manifest = json.loads(wcbuild("manifest", "get", f"{name}:1").stdout)
    layer = manifest["layers"][-1]
    wcbuild("blob", "get", f"{name}@{layer['digest']}", "-o", tmp_path / "layer")
    assert (tmp_path / "layer").stat().st_size == layer["size"]
    wcbuild("copy", "--referrers", f"{name}:1", f"{registry}/elsewhere:1")
    assert wcbuild("referrers", "-q", f"{registry}/elsewhere:1").stdout.strip() == artifact
    wcbuild("pull", f"{registry}/elsewhere:1")
    assert wcbuild("run", f"{registry}/elsewhere:1").stdout == "made\n"
    (tmp_path / "Dockerfile").write_text(f"FROM {name}:1\nRUN cat /made\n")
    assert wcbuild("pin", "--check", "-f", tmp_path / "Dockerfile", check=False).returncode == 1
    wcbuild("pin", "-f", tmp_path / "Dockerfile")
    assert f"FROM {name}:1@sha256:" in (tmp_path / "Dockerfile").read_text()
    assert "made" in wcbuild("build", "--progress", "plain", tmp_path).stderr
