"""What every registry tool makes of bad names and bad answers: one sentence, and nothing changed."""

import hashlib
import json

import pytest

from registry.oci import mediatypes

NAMES = {
    "scheme": "https://example.com/a:1",
    "capitals": "example.com/Team/app:1",
    "no tag": "example.com/app:",
    "spaces": "example.com/a b:1",
    "dots": "example.com/../app:1",
    "long": f"example.com/{'a' * 300}:1",
    "digest": "example.com/app@sha256:123",
    "algorithm": f"example.com/app@md5:{'0' * 32}",
    "empty": "",
}

# Where NAME stands; the local file `x` is there.
COMMANDS = {
    "copy from": ("copy", "NAME", "oci:out:1"),
    "copy to": ("copy", "GOOD", "NAME"),
    "ls": ("ls", "NAME"),
    "manifest get": ("manifest", "get", "NAME"),
    "manifest put": ("manifest", "put", "NAME", "x"),
    "manifest delete": ("manifest", "delete", "NAME"),
    "index create": ("index", "create", "NAME", "GOOD"),
    "index create of": ("index", "create", "oci:out:1", "NAME"),
    "index add": ("index", "add", "NAME", "GOOD"),
    "blob get": ("blob", "get", "NAME"),
    "referrers": ("referrers", "NAME"),
    "attach": ("attach", "NAME", "x", "--artifact-type", "a/b"),
    "inspect": ("inspect", "--remote", "NAME"),
    "diff": ("diff", "GOOD", "NAME"),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_impossible_names(wcbuild, place, write, tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    write("x", '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}')
    given = [{"NAME": name, "GOOD": place("one")}.get(word, word) for word in words]
    outcome = wcbuild(*given, status=2)
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert "invalid" in outcome.err
    assert not (tmp_path / "out").exists()


READING = {
    name: COMMANDS[name]
    for name in ("copy from", "manifest get", "index create of", "referrers", "inspect", "diff")
}


def manifest(**changes) -> bytes:
    empty = hashlib.sha256(b"{}").hexdigest()
    config = {"mediaType": mediatypes.OCI_CONFIG, "digest": f"sha256:{empty}", "size": 2}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": config, "layers": []}
        | changes
    ).encode()


def nested(depth: int, add) -> bytes:
    raw, media_type = manifest(), mediatypes.OCI_MANIFEST
    for _ in range(depth):
        entry = {"mediaType": media_type, "digest": add(raw, media_type), "size": len(raw)}
        raw = json.dumps(
            {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [entry]}
        ).encode()
        media_type = mediatypes.OCI_INDEX
    return raw


ANSWERS = {
    "html": lambda _: (b"<html>Please log in</html>", "text/html"),
    "5 MiB": lambda _: (
        manifest(annotations={"x": "y" * 5 * 1024 * 1024}),
        mediatypes.OCI_MANIFEST,
    ),
    "both kinds": lambda _: (manifest(manifests=[]), mediatypes.OCI_MANIFEST),
    "another type": lambda _: (manifest(), mediatypes.DOCKER_MANIFEST),
    "not JSON": lambda _: (b"{", mediatypes.OCI_MANIFEST),
    "a size below zero": lambda _: (
        manifest(layers=[{"mediaType": "a/b", "digest": f"sha256:{'0' * 64}", "size": -1}]),
        mediatypes.OCI_MANIFEST,
    ),
    "a digest that is a path": lambda _: (
        manifest(layers=[{"mediaType": "a/b", "digest": "sha256:../../x", "size": 1}]),
        mediatypes.OCI_MANIFEST,
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("words", READING.values(), ids=READING)
def test_answers_that_are_wrong(
    wcbuild, remote, simulator, place, tmp_path, monkeypatch, words, answer
):
    monkeypatch.chdir(tmp_path)
    raw, media_type = answer(None)
    simulator.add_manifest("bad", raw, media_type, "1")
    given = [{"NAME": remote("bad:1"), "GOOD": place("one")}.get(word, word) for word in words]
    status = 2 if words[0] == "diff" else 1
    if words[0] == "referrers" and media_type != "text/html":
        # The digest is all that it needs, and a HEAD says it.
        status = 0
    outcome = wcbuild(*given, status=status)
    if status:
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out" / "index.json").exists()
    assert wcbuild("images", "-q").out == ""


@pytest.mark.parametrize("words", [("copy", "NAME", "oci:out:1"), ("diff", "NAME", "NAME")])
def test_indexes_inside_indexes(wcbuild, remote, simulator, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    raw = nested(6, lambda raw, kind: simulator.add_manifest("deep", raw, kind))
    simulator.add_manifest("deep", raw, mediatypes.OCI_INDEX, "1")
    given = [remote("deep:1") if word == "NAME" else word for word in words]
    outcome = wcbuild(*given, status=2 if words[0] == "diff" else 1)
    assert "nested more than" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_blob_that_is_not_what_its_manifest_says(wcbuild, app, simulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blobs = simulator.repositories["team/app"].blobs
    config = json.loads(wcbuild("manifest", "get", f"{app}:one").out)["config"]["digest"]
    blobs[config] = bytes(len(blobs[config]))
    for words in (("copy", f"{app}:one", "oci:out:1"), ("inspect", "--remote", f"{app}:one")):
        outcome = wcbuild(*words, status=1)
        assert "expected digest" in outcome.err
    assert not (tmp_path / "out" / "index.json").exists()
