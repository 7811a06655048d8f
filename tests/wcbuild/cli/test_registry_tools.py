"""`ls`, `manifest`, `blob`, `referrers`, `attach` and `inspect`."""

import json

import pytest

from registry.oci import mediatypes
from registry.oci.digest import sha256

NOWHERE = f"sha256:{'0' * 64}"


def test_ls_prints_all_pages_sorted(wcbuild, app, simulator):
    simulator.page_size = 1
    assert wcbuild("ls", app).out == "both\none\ntwo\n"
    answer = wcbuild("ls", "--format", "json", app).json
    assert answer == {"name": app, "tags": ["both", "one", "two"]}
    assert wcbuild("ls", "--format", "{{len .tags}}", app).out == "3\n"


def test_ls_lists_layouts_archives_and_the_local_store(wcbuild, place, tmp_path):
    assert wcbuild("ls", place("one").rpartition(":")[0]).out == "both\none\ntwo\n"
    wcbuild("copy", place("one"), f"oci-archive:{tmp_path / 'x.tar'}:v1")
    assert wcbuild("ls", f"oci-archive:{tmp_path / 'x.tar'}").out == "v1\n"
    wcbuild("copy", place("one"), "store:team/app:1")
    wcbuild("copy", place("one"), "store:team/other:2")
    assert wcbuild("ls", "store:team/app").out == "1\n"


def test_ls_wants_a_repository(wcbuild, app):
    assert "give a repository" in wcbuild("ls", f"{app}:one", status=2).err
    said = wcbuild("ls", "docker://registry.example:5000", status=2).err
    assert said.endswith("is a registry; give a repository of it: registry.example:5000/NAME\n")
    assert "not found" in wcbuild("ls", "oci:nowhere", status=1).err


def test_ls_of_a_repository_that_is_not_there(wcbuild, simulator, remote):
    simulator.fail_next("GET", 404, at="tags/list")
    outcome = wcbuild("ls", remote("nothing"), status=1)
    assert outcome.err == f"ERROR: tags of {remote('nothing')}: not found in {remote('')[:-1]}\n"


def test_pull_brings_all_platforms_or_the_one_that_is_asked_for(wcbuild, app, layout, tmp_path):
    two, both = layout.resolve("two").digest, layout.resolve("both").digest
    words = ("pull", "-q", f"{app}:both")
    assert wcbuild(*words, "--platform", "linux/arm64").out == f"{app}@{two}\n"
    one = layout.resolve("one").digest
    manifests = tmp_path / "store" / "blobs" / "sha256"
    assert [(manifests / digest.hex).exists() for digest in (one, two)] == [False, True]
    assert wcbuild(*words).out == f"{app}@{both}\n"
    assert (manifests / one.hex).exists()
    said = wcbuild(*words, "--platform", "linux/s390x", status=1).err
    assert "linux/s390x: not found in index" in said


def test_manifest_get_prints_the_exact_bytes(wcbuild, app, layout):
    raw = layout.open(layout.resolve("both")).read().decode()
    assert wcbuild("manifest", "get", f"{app}:both").out == raw
    one = wcbuild("manifest", "get", "--platform", "linux/amd64", f"{app}:both").out
    assert sha256(one.encode()) == layout.resolve("one").digest


def test_manifest_put_tags_what_is_whole(wcbuild, app, write, simulator, layout):
    raw = wcbuild("manifest", "get", f"{app}:one").out
    file = write("changed.json", json.dumps(json.loads(raw) | {"annotations": {"a": "b"}}))
    digest = wcbuild("manifest", "put", f"{app}:changed", file).out.strip()
    assert digest == sha256(file.read_bytes())
    assert simulator.repositories["team/app"].tags["changed"] == digest
    untagged = write("untagged.json", json.dumps(json.loads(raw) | {"annotations": {"a": "c"}}))
    digest = sha256(untagged.read_bytes())
    assert wcbuild("manifest", "put", f"{app}@{digest}", untagged).out.strip() == digest
    assert digest not in simulator.repositories["team/app"].tags.values()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "unsupported media type"),
        ('{"schemaVersion": 2, "layers": [], "config": {}, "manifests": []}', "at once"),
        ("x" * (4 * 1024 * 1024 + 1), "larger than the limit"),
    ],
)
def test_manifest_put_refuses_what_is_none(wcbuild, app, write, simulator, content, said):
    before = len(simulator.requests)
    assert said in wcbuild("manifest", "put", f"{app}:x", write("x", content), status=1).err
    assert len(simulator.requests) == before


def test_manifest_put_refuses_one_whose_blobs_are_missing(wcbuild, app, remote, write, simulator):
    file = write("x.json", wcbuild("manifest", "get", f"{app}:one").out)
    outcome = wcbuild("manifest", "put", remote("other:1"), file, status=1)
    assert "which the manifest names: not found" in outcome.err
    assert simulator.repositories["other"].tags == {}
    wrong = wcbuild("manifest", "put", f"{app}@{NOWHERE}", file, status=1)
    assert "expected digest" in wrong.err


def test_manifest_delete_takes_a_tag_or_a_manifest_with_its_tags(wcbuild, app, simulator, layout):
    repository = simulator.repositories["team/app"]
    wcbuild("manifest", "delete", f"{app}:one")
    assert sorted(repository.tags) == ["both", "two"]
    assert layout.resolve("one").digest in repository.manifests
    wcbuild("manifest", "delete", f"{app}@{layout.resolve('two').digest}")
    assert sorted(repository.tags) == ["both"]


def test_manifest_delete_does_not_take_other_tags_along_unasked(wcbuild, app, simulator, layout):
    simulator.untags = False
    outcome = wcbuild("manifest", "delete", f"{app}:one", status=1)
    assert f"`wcbuild manifest delete {app}@{layout.resolve('one').digest}`" in outcome.err
    assert "one" in simulator.repositories["team/app"].tags


def test_manifest_delete_takes_names_and_manifests_out_of_a_layout(wcbuild, place, layout):
    two = layout.resolve("two")
    layout.tag(two, "again")
    wcbuild("manifest", "delete", place("two"))
    assert layout.resolve("again") == layout.resolve(two.digest)
    wcbuild("manifest", "delete", f"{place('one').rpartition(':')[0]}@{two.digest}")
    assert not layout.has(two)
    assert wcbuild("ls", place("one")).out == "both\none\n"
    assert "not found" in wcbuild("manifest", "delete", place("two"), status=1).err
    assert "not found" in wcbuild("manifest", "delete", "oci:nowhere:1", status=1).err


@pytest.mark.parametrize("name", ["{app}", "oci:x", "store:x:1", "oci-archive:x.tar:1"])
def test_manifest_delete_wants_a_tag_or_digest_of_a_registry_or_layout(
    wcbuild, app, simulator, name
):
    before = dict(simulator.repositories["team/app"].tags)
    wcbuild("manifest", "delete", name.format(app=app), status=2)
    assert simulator.repositories["team/app"].tags == before


def test_manifest_delete_of_nothing(wcbuild, app):
    assert "not found" in wcbuild("manifest", "delete", f"{app}:nothing", status=1).err
    assert "not found" in wcbuild("manifest", "delete", f"{app}@{NOWHERE}", status=1).err


def test_blob_get_writes_verified_bytes(wcbuild, app, place, simulator, tmp_path):
    digest = json.loads(wcbuild("manifest", "get", f"{app}:one").out)["config"]["digest"]
    raw = simulator.repositories["team/app"].blobs[digest]
    assert wcbuild("blob", "get", f"{app}@{digest}").out.encode() == raw
    assert wcbuild("blob", "get", f"{place('one').rpartition(':')[0]}@{digest}").out.encode() == raw
    wcbuild("copy", place("one"), "store:app")
    wcbuild("blob", "get", f"store:app@{digest}", "-o", tmp_path / "config")
    assert (tmp_path / "config").read_bytes() == raw
    assert (tmp_path / "config").stat().st_mode & 0o777 == 0o644


def test_blob_get_leaves_no_file_of_wrong_bytes(wcbuild, app, simulator, write, tmp_path):
    digest = json.loads(wcbuild("manifest", "get", f"{app}:one").out)["config"]["digest"]
    blobs = simulator.repositories["team/app"].blobs
    blobs[digest] = bytes(len(blobs[digest]))
    old = write("config", "old")
    assert "expected digest" in wcbuild("blob", "get", f"{app}@{digest}", "-o", old, status=1).err
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert "not found" in wcbuild("blob", "get", f"{app}@{NOWHERE}", status=1).err
    assert "has no digest" in wcbuild("blob", "get", f"{app}:one", status=2).err


def test_attached_files_are_an_artifact_that_refers_to_the_image(
    wcbuild, app, simulator, write, monkeypatch, tmp_path, layout
):
    write("out/sbom.json", '{"a": 1}')
    write("notes.txt", "hello")
    monkeypatch.chdir(tmp_path)
    words = ("attach", f"{app}:one", "out/sbom.json:application/spdx+json", tmp_path / "notes.txt")
    words += ("--artifact-type", "example/sbom", "--annotation", "by=me")
    digest = wcbuild(*words).out.strip()
    manifest = wcbuild("manifest", "get", f"{app}@{digest}").json
    assert manifest["artifactType"] == "example/sbom"
    assert manifest["subject"]["digest"] == layout.resolve("one").digest
    assert manifest["annotations"] == {"by": "me"}
    assert manifest["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
        "data": "e30=",
    }
    assert [
        (layer["mediaType"], layer["annotations"]["org.opencontainers.image.title"])
        for layer in manifest["layers"]
    ] == [("application/spdx+json", "out/sbom.json"), ("application/octet-stream", "notes.txt")]
    assert wcbuild("blob", "get", f"{app}@{manifest['layers'][0]['digest']}").out == '{"a": 1}'
    # The same again is the same artifact.
    assert wcbuild(*words, "--format", "{{.digest}}").out.strip() == digest
    (row,) = [
        json.loads(line)
        for line in wcbuild("referrers", f"{app}:one", "--format", "json").out.splitlines()
    ]
    assert (row["Digest"], row["ArtifactType"]) == (digest, "example/sbom")
    assert row["Annotations"] == {"by": "me"}


def test_referrers_are_chosen_by_type_and_platform(wcbuild, app, write, layout):
    file = write("x", "x")
    one = wcbuild("attach", f"{app}:both", file, "--artifact-type", "a/one").out
    two = wcbuild("attach", f"{app}:both", file, "--artifact-type", "a/two").out
    arm = wcbuild(
        "attach", f"{app}:both", file, "--artifact-type", "a/one", "--platform", "linux/arm64"
    ).out
    assert sorted(wcbuild("referrers", "-q", f"{app}:both").out.split()) == sorted(
        [one.strip(), two.strip()]
    )
    assert wcbuild("referrers", "-q", "--artifact-type", "a/two", f"{app}:both").out == two
    assert wcbuild("referrers", "-q", f"{app}:two").out == arm
    assert wcbuild("referrers", "-q", "--platform", "arm64", f"{app}:both").out == arm
    assert wcbuild("referrers", f"{app}:one").out.split() == ["DIGEST", "ARTIFACT", "TYPE", "SIZE"]
    assert "a/one" in wcbuild("referrers", f"{app}:both").out


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        (("nothing",), "a/b", "No such file"),
        (("here", "nothing"), "a/b", "No such file"),
        (("folder",), "a/b", "is a folder"),
        (("here",), "not a type", "is not a media type"),
        (("here:bad/type/",), "a/b", "is not a media type"),
        (("here", "./here"), "a/b", 'two files called "here"'),
    ],
)
def test_attach_refuses_before_anything_is_sent(
    wcbuild, app, simulator, write, tmp_path, monkeypatch, files, kind, said
):
    write("here", "x")
    write("folder/x", "x")
    monkeypatch.chdir(tmp_path)
    before = len(simulator.sent("POST")), len(simulator.sent("PUT"))
    outcome = wcbuild("attach", f"{app}:one", *files, "--artifact-type", kind, status=1)
    assert said in outcome.err
    assert (len(simulator.sent("POST")), len(simulator.sent("PUT"))) == before


def test_files_of_a_path_that_leaves_its_folder_are_called_by_their_name(
    wcbuild, app, write, tmp_path, monkeypatch
):
    write("x", "x")
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    digest = wcbuild("attach", f"{app}:one", "../x", "--artifact-type", "a/b").out.strip()
    (layer,) = wcbuild("manifest", "get", f"{app}@{digest}").json["layers"]
    assert layer["annotations"] == {"org.opencontainers.image.title": "x"}


def test_inspect_shows_a_remote_image_without_its_layers(wcbuild, app, layout, simulator):
    before = len(simulator.requests)
    (shown,) = wcbuild("inspect", "--remote", f"{app}:one").json
    assert shown["Descriptor"]["digest"] == layout.resolve("one").digest
    assert (shown["Os"], shown["Architecture"]) == ("linux", "amd64")
    assert shown["RepoTags"] == [f"{app}:one"]
    assert shown["RepoDigests"] == [f"{app}@{layout.resolve('one').digest}"]
    layers = {layer["digest"] for layer in shown["Layers"]}
    assert layers
    asked = [each.path for each in simulator.requests[before:] if each.method == "GET"]
    assert not [path for path in asked for digest in layers if digest in path]
    assert wcbuild("inspect", f"docker://{app}:one").json == [shown]
    assert wcbuild("images", "-q").out == ""


def test_inspect_shows_an_index_or_what_it_has_for_a_platform(wcbuild, app, place, layout):
    (shown,) = wcbuild("inspect", f"docker://{app}:both").json
    assert len(shown["Manifests"]) == 2
    (chosen,) = wcbuild("inspect", "--platform", "arm64", place("both")).json
    assert chosen["Descriptor"]["digest"] == layout.resolve("two").digest
    wcbuild("copy", place("both"), "store:app:1")
    wcbuild("tag", "app:1", "app:2")
    (local,) = wcbuild("inspect", "app:1").json
    assert local["RepoTags"] == ["app:1", "app:2"]
    assert local["Manifests"] == shown["Manifests"]


def test_inspect_shows_an_artifact_and_images_lists_it(wcbuild, app, write):
    digest = wcbuild("attach", f"{app}:one", write("x", "x"), "--artifact-type", "a/b").out.strip()
    (shown,) = wcbuild("inspect", f"docker://{app}@{digest}").json
    assert shown["ArtifactType"] == "a/b"
    assert shown["Subject"]["digest"].startswith("sha256:")
    wcbuild("copy", f"{app}@{digest}", "store:artifact:1")
    assert "artifact" in wcbuild("images").out
    assert wcbuild("inspect", "artifact:1").json[0]["ArtifactType"] == "a/b"


def test_documents_do_not_act_on_a_terminal(wcbuild, app, simulator, monkeypatch):
    config = json.loads(wcbuild("manifest", "get", f"{app}:one").out)["config"]
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": config,
            "layers": [],
            "annotations": {"x": "\x9b31m"},
        },
        ensure_ascii=False,
    ).encode()
    simulator.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, "evil")
    assert "\x9b" in wcbuild("manifest", "get", f"{app}:evil").out
    import sys

    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _self: True, raising=False)
    assert "\x9b" not in wcbuild("manifest", "get", f"{app}:evil").out
