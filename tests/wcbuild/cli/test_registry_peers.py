"""The registry tools beside crane, regctl, oras and skopeo, on an old registry and on one of OCI 1.1."""

import json
import os
import re
import subprocess
from pathlib import Path

import peers
import pytest

pytestmark = pytest.mark.peers

REGISTRIES = {"docker-registry": peers.docker_registry, "crane": peers.crane_registry}


@pytest.fixture(params=REGISTRIES.values(), ids=REGISTRIES)
def host(request, tmp_path):
    (tmp_path / "registry").mkdir()
    with request.param(tmp_path / "registry") as registry:
        yield registry.host


@pytest.fixture
def call(tmp_path):
    """Run a peer and return what it prints."""
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def run(name: str, *words: object, status: int = 0) -> str:
        command = [peers.tool(name), *map(str, words)]
        if name == "skopeo":
            command[1:1] = ["--policy", str(tmp_path / "policy.json")]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done
        return done.stdout

    return run


@pytest.fixture
def app(wcbuild, place, host):
    """The layout's images, in a registry."""
    for tag in ("one", "two", "both"):
        wcbuild("copy", place(tag), f"{host}/team/app:{tag}")
    return f"{host}/team/app"


def test_crane_and_we_list_the_same_tags(wcbuild, call, app):
    assert wcbuild("ls", app).out.split() == sorted(call("crane", "ls", app).split())


def test_crane_and_we_read_the_same_bytes(wcbuild, call, app):
    assert wcbuild("manifest", "get", f"{app}:both").out == call("crane", "manifest", f"{app}:both")
    digest = json.loads(wcbuild("manifest", "get", f"{app}:one").out)["config"]["digest"]
    assert wcbuild("blob", "get", f"{app}@{digest}").out == call("crane", "blob", f"{app}@{digest}")


def test_oras_sees_what_we_attach_and_gets_the_files(wcbuild, call, app, write, tmp_path):
    file = write("sbom.json", '{"a": 1}')
    digest = wcbuild(
        *("attach", f"{app}:one", f"{file}:application/spdx+json"),
        *("--artifact-type", "example/sbom"),
    ).out.strip()
    found = call("oras", "discover", "--plain-http", "--format", "json", f"{app}:one")
    assert digest in found
    assert "example/sbom" in found
    call("oras", "pull", "--plain-http", "-o", tmp_path / "pulled", f"{app}@{digest}")
    assert (tmp_path / "pulled" / "sbom.json").read_text() == '{"a": 1}'


def test_we_see_what_oras_attaches(wcbuild, call, app, write):
    write("note.txt", "hello")
    words = ("attach", "--plain-http", "--artifact-type", "example/note", f"{app}:one")
    call("oras", *words, "note.txt:text/plain")
    (row,) = wcbuild("referrers", f"{app}:one", "--format", "json").out.splitlines()
    assert json.loads(row)["ArtifactType"] == "example/note"
    ours = write("x", "x")
    wcbuild("attach", f"{app}:one", ours, "--artifact-type", "example/ours")
    assert len(wcbuild("referrers", "-q", f"{app}:one").out.split()) == 2
    theirs = json.loads(call("oras", "discover", "--plain-http", "--format", "json", f"{app}:one"))
    assert len(theirs["referrers"]) == 2


def test_we_see_what_oras_attaches_in_a_layout_and_it_sees_ours(wcbuild, call, place, write):
    write("note.txt", "hello")
    folder = place("one").removeprefix("oci:")
    call("oras", "attach", "--oci-layout", "--artifact-type", "example/note", folder, "note.txt")
    assert "example/note" in wcbuild("referrers", place("one")).out
    wcbuild("attach", place("one"), write("x", "x"), "--artifact-type", "example/ours")
    assert "example/ours" in call("oras", "discover", "--oci-layout", folder)


def test_regctl_and_we_bring_referrers_along(wcbuild, call, app, host, write):
    wcbuild("attach", f"{app}:both", write("x", "x"), "--artifact-type", "example/sbom")
    call("regctl", "registry", "set", "--skip-check", "--tls", "disabled", host)
    call("regctl", "image", "copy", "--referrers", f"{app}:both", f"{host}/theirs:1")
    assert "example/sbom" in wcbuild("referrers", f"{host}/theirs:1").out
    wcbuild("copy", "--referrers", f"{host}/theirs:1", f"{host}/ours:1")
    assert "example/sbom" in call("regctl", "artifact", "list", f"{host}/ours:1")


def test_skopeo_and_crane_take_our_index(wcbuild, call, app, layout, tmp_path):
    wcbuild("index", "create", f"{app}:new", f"{app}:one", f"{app}:two")
    index = json.loads(
        call("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{app}:new")
    )
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    arm = call("crane", "manifest", "--platform", "linux/arm64", f"{app}:new")
    assert arm == layout.open(layout.resolve("two")).read().decode()
    flags = ("copy", "--all", "--src-tls-verify=false")
    call("skopeo", *flags, f"docker://{app}:new", f"oci:{tmp_path / 'theirs'}:new")
    theirs = f"oci:{tmp_path / 'theirs'}:new"
    assert wcbuild("diff", "--platform", "amd64", "--only", "files", theirs, f"{app}:one").out == ""


def test_we_copy_what_skopeo_copied_and_back(wcbuild, call, app, host, layout, tmp_path):
    both = layout.resolve("both").digest
    flags = ("copy", "--all", "--preserve-digests")
    flags += ("--src-tls-verify=false", "--dest-tls-verify=false")
    call("skopeo", *flags, f"docker://{app}:both", f"docker://{host}/theirs:1")
    assert wcbuild("copy", f"{host}/theirs:1", f"oci:{tmp_path / 'x'}:1").out.strip() == both
    call("skopeo", *flags, f"oci:{tmp_path / 'x'}:1", f"docker://{host}/again:1")
    assert call("crane", "digest", f"{host}/again:1").strip() == both
    call(
        "skopeo",
        "copy",
        f"oci:{tmp_path / 'layout'}:one",
        f"docker-archive:{tmp_path / 'd.tar'}:a/b:1",
    )
    assert wcbuild("ls", f"docker-archive:{tmp_path / 'd.tar'}").out == "docker.io/a/b:1\n"
    wcbuild("copy", f"docker-archive:{tmp_path / 'd.tar'}:a/b:1", f"{host}/from-archive:1")
    assert wcbuild("diff", "--only", "files", f"{app}:one", f"{host}/from-archive:1").out == ""


def test_a_tag_is_removed_alone_where_the_registry_can(wcbuild, call, app, request):
    if "docker-registry" in request.node.name:
        refused = wcbuild("manifest", "delete", f"{app}:one", status=1)
        digest = call("crane", "digest", f"{app}:one").strip()
        assert f"wcbuild manifest delete {app}@{digest}" in refused.err
        assert "one" in wcbuild("ls", app).out
        wcbuild("manifest", "delete", f"{app}@{digest}")
    else:
        wcbuild("manifest", "delete", f"{app}:one")
    assert "one" not in call("crane", "ls", app).split()


def test_sync_copies_from_one_registry_to_another(wcbuild, call, app, host, write):
    rule = {"source": app, "target": f"{host}/mirror", "tags": ["t*", "both"]}
    file = write("sync.yaml", json.dumps({"sync": [rule]}))
    wcbuild("sync", file)
    assert sorted(call("crane", "ls", f"{host}/mirror").split()) == ["both", "two"]
    assert wcbuild("sync", file).out.count("exists") == 2


def test_pinned_digests_are_those_that_crane_says(wcbuild, call, app, write):
    file = write("Dockerfile", f"FROM {app}:both\n")
    wcbuild("pin", "-f", file)
    digest = call("crane", "digest", f"{app}:both").strip()
    assert file.read_text() == f"FROM {app}:both@{digest}\n"


def test_the_documented_pushes_to_larger_registries(wcbuild, tmp_path, write, monkeypatch):
    """docs/registry.md: distribution, configured as there, and an OCI 1.1 registry in place of zot."""
    page = (Path(__file__).parents[3] / "docs/registry.md").read_text()
    page = page[page.index("## More than one machine") :]
    (config,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    port = peers.free_port()
    config = config.replace("127.0.0.1:5000", f"127.0.0.1:{port}").replace("/srv", str(tmp_path))
    serve = (peers.tool("docker-registry"), "serve", str(write("distribution.yml", config)))
    write("Dockerfile", "FROM scratch\nCMD app\n")
    monkeypatch.chdir(tmp_path)
    wcbuild("build", "-t", "app:1", ".")
    lines = re.findall(r"^\$ wcbuild (.*)$", page, re.MULTILINE)
    with peers.running(port, *serve) as distribution, peers.crane_registry() as other:
        for line in lines:
            here = line.replace("127.0.0.1:5000", distribution.host)
            wcbuild(*here.replace("127.0.0.1:8080", other.host).split())
        assert len(lines) == 4
        for registry in (distribution, other):
            assert wcbuild("ls", f"{registry.host}/team/app").out == "1\n"
