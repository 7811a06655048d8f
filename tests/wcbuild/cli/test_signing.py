"""`keygen`, `sign`, `verify`, `attest`, `verify-attestation` and `pull` under a policy, word by word."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import stat
import subprocess
import sys

import pytest

from registry.oci import mediatypes
from registry.sign import SigningKey, VerifyingKey


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder to work in that is the home, too, and the password of all keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def refused(wcbuild):
    """Run a command that fails; return the one sentence that it fails with."""

    def run(*words: object) -> str:
        outcome = wcbuild(*words, status=1)
        assert outcome.out == ""
        (line,) = outcome.err.splitlines()
        assert line.startswith("ERROR: ")
        return line.removeprefix("ERROR: ")

    return run


@pytest.fixture
def keys(tmp_path):
    """`k.key` and `k.pub`, and `other.pub` of somebody else. Without a password, which takes a while."""
    key = SigningKey.generate()
    body = base64.encodebytes(key.der)
    pem = b"-----BEGIN PRIVATE KEY-----\n%s-----END PRIVATE KEY-----\n" % body
    (tmp_path / "k.key").write_bytes(pem)
    (tmp_path / "k.pub").write_bytes(key.public.pem)
    (tmp_path / "other.pub").write_bytes(SigningKey.generate().public.pem)
    return key


@pytest.fixture
def push(wcbuild, place, remote):
    """Push an image of the layout, or its index; returns its name and its digest."""

    def make(name: str = "team/app:1", image: str = "one") -> tuple[str, str]:
        digest = wcbuild("copy", "-q", place(image), remote(name)).out.strip()
        return remote(name), digest

    return make


@pytest.fixture
def image(push):
    return push()


def write_policy(path, requirement, scope="") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"default": [{"type": "reject"}], "transports": {"docker": {scope: [requirement]}}}
    path.write_text(json.dumps(document))


# -- keygen


def test_keygen_writes_a_pair_for_its_owner_alone(wcbuild, tmp_path):
    assert wcbuild("keygen").out == "wcbuild.key\nwcbuild.pub\n"
    raw = (tmp_path / "wcbuild.key").read_bytes()
    key = SigningKey.read(raw, lambda: b"secret")
    assert key.public == VerifyingKey.read((tmp_path / "wcbuild.pub").read_bytes())
    assert stat.S_IMODE((tmp_path / "wcbuild.key").stat().st_mode) == 0o600


def test_keygen_overwrites_nothing(refused, tmp_path):
    (tmp_path / "my.pub").write_text("mine")
    assert refused("keygen", "--output-key-prefix", "my") == (
        "my.pub: is there already; remove it, or choose another --output-key-prefix"
    )
    assert not (tmp_path / "my.key").exists()
    assert (tmp_path / "my.pub").read_text() == "mine"


def test_keygen_says_so_when_the_password_is_empty(wcbuild, monkeypatch):
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    assert "has no password: whoever reads it can sign" in wcbuild("keygen").err


def test_a_password_comes_from_a_file_descriptor(wcbuild, tmp_path, image, monkeypatch):
    monkeypatch.delenv("COSIGN_PASSWORD")

    def piped(text: bytes) -> int:
        reading, writing = os.pipe()
        os.write(writing, text)
        os.close(writing)
        return reading

    for text in (b"from a pipe\n", b"from a pipe"):
        prefix = tmp_path / f"key{len(text)}"
        fd = piped(text)
        wcbuild("keygen", "--output-key-prefix", prefix, "--key-password-fd", fd)
        os.close(fd)
        raw = prefix.with_suffix(".key").read_bytes()
        assert SigningKey.read(raw, lambda: b"from a pipe")
    fd = piped(b"from a pipe")
    wcbuild("sign", image[0], "--key", f"{prefix}.key", "--key-password-fd", fd)
    os.close(fd)
    words = ("sign", image[0], "--key", f"{prefix}.key", "--key-password-fd", 999)
    assert "--key-password-fd 999: bad file descriptor" in wcbuild(*words, status=2).err


def test_without_a_terminal_nobody_is_asked_for_a_password(
    wcbuild, keys, image, tmp_path, monkeypatch
):
    (tmp_path / "k.key").write_bytes(keys.encrypted(b"secret"))
    monkeypatch.delenv("COSIGN_PASSWORD")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    done = wcbuild("sign", image[0], "--key", "k.key", status=2)
    assert "set COSIGN_PASSWORD or give --key-password-fd" in done.err


@pytest.mark.parametrize(("second", "status"), [("typed", 0), ("mistyped", 2)])
def test_on_a_terminal_the_password_is_asked_twice_and_not_shown(tmp_path, second, status):
    master, slave = os.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "COSIGN_PASSWORD"}
    process = subprocess.Popen(
        [sys.executable, "-m", "wcbuild", "keygen"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        with contextlib.suppress(OSError):  # the other side has closed
            while text not in shown:
                shown += os.read(master, 1024)

    read_until(b"Password for the private key: ")
    os.write(master, b"typed\n")
    read_until(b"Again: ")
    os.write(master, f"{second}\n".encode())
    read_until(b"nothing more")
    assert process.wait(timeout=120) == status
    os.close(master)
    assert b"typed" not in shown
    if status == 0:
        SigningKey.read((tmp_path / "wcbuild.key").read_bytes(), lambda: b"typed")
    else:
        assert b"the two passwords are not the same" in shown
        assert not (tmp_path / "wcbuild.key").exists()


# -- sign and verify


def test_sign_says_which_digest_it_signed(wcbuild, keys, image):
    name, digest = image
    done = wcbuild("sign", name, "--key", "k.key")
    assert done.out == f"{name.removesuffix(':1')}@{digest}\n"


def test_an_image_is_named_as_for_other_registry_tools(wcbuild, keys, image, place):
    name, digest = image
    assert digest in wcbuild("sign", "--key", "k.key", f"docker://{name}").out
    assert wcbuild("verify", "--key", "k.pub", f"docker://{name}").err.startswith("verified ")
    for words in (["sign", "--key", "k.key"], ["verify", "--key", "k.pub"]):
        outcome = wcbuild(*words, place("one"), status=2)
        assert "are signed and verified in registries; copy it to one" in outcome.err


def test_verify_prints_what_was_signed_as_cosign_does(wcbuild, keys, image):
    name, digest = image
    wcbuild("sign", name, "--key", "k.key", "-a", "env=prod", "--annotations", "team=app")
    done = wcbuild("verify", name, "--key", "k.pub", "-a", "env=prod")
    assert json.loads(done.out) == [
        {
            "critical": {
                "identity": {"docker-reference": name.removesuffix(":1")},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": {"env": "prod", "team": "app"},
        }
    ]
    assert done.err == f"verified {name.removesuffix(':1')}@{digest}: 1 good signature\n"


def test_verify_refuses_with_one_sentence(wcbuild, refused, keys, image, push):
    name, digest = image
    where = f"{name.removesuffix(':1')}@{digest}"
    assert refused("verify", name, "--key", "k.pub") == f"{where}: has no signature"
    wcbuild("sign", name, "--key", "k.key")
    assert refused("verify", name, "--key", "other.pub") == (
        f'{where}: signature 1 is not by the key "other.pub"'
    )
    assert refused("verify", name, "--key", "k.pub", "-a", "env=prod") == (
        f'{where}: signature 1 has no annotation "env=prod"'
    )
    other, _ = push("team/other:1")
    assert refused("verify", name, "--key", "k.pub", "--signed-identity", other) == (
        f'{where}: signature 1 is for "{name.removesuffix(":1")}"'
    )


def test_one_of_several_keys_verifies(wcbuild, keys, image):
    wcbuild("sign", image[0], "--key", "k.key")
    wcbuild("verify", image[0], "--key", "other.pub", "--key", "k.pub")


def test_a_signature_moves_with_its_image_only_when_its_name_is_given(wcbuild, refused, keys, push):
    name, _ = push("team/app:1")
    mirror, _ = push("mirror/app:1")
    wcbuild("sign", mirror, "--key", "k.key", "--sign-container-identity", name)
    assert f'is for "{name}"' in refused("verify", mirror, "--key", "k.pub")
    for identity in (name, name.removesuffix(":1")):
        arguments = ("verify", mirror, "--key", "k.pub", "--signed-identity", identity)
        wcbuild(*arguments)


def test_recursive_signs_an_index_and_all_in_it(wcbuild, keys, push, simulator):
    name, digest = push(image="both")
    assert wcbuild("sign", name, "--key", "k.key").out.count("\n") == 1
    signed = wcbuild("sign", name, "--key", "k.key", "--recursive").out.splitlines()
    assert len(signed) == 3
    assert signed[0].endswith(digest)
    for each in signed:
        wcbuild("verify", each, "--key", "k.pub")


def test_recursive_signs_nothing_of_an_index_that_it_cannot_sign_whole(
    wcbuild, refused, keys, push, simulator, write
):
    name, digest = push("team/app:1")
    for _ in range(6):
        raw = wcbuild("manifest", "get", name).out
        entry = {"digest": digest, "size": len(raw), "mediaType": json.loads(raw)["mediaType"]}
        index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [entry]}
        file = write("index.json", json.dumps(index))
        digest = wcbuild("manifest", "put", name, file).out.strip()
    before = set(simulator.repositories["team/app"].tags)
    said = refused("sign", "--recursive", "--key", "k.key", name)
    assert "nested more than 4 levels deep" in said
    assert set(simulator.repositories["team/app"].tags) == before


@pytest.mark.parametrize("referrers", [True, False])
def test_signatures_go_among_the_referrers_when_asked(wcbuild, keys, image, simulator, referrers):
    simulator.referrers = referrers
    name, digest = image
    wcbuild("sign", name, "--key", "k.key", "--registry-referrers-mode", "oci-1-1")
    repository = simulator.repositories["team/app"]
    assert f"sha256-{digest.removeprefix('sha256:')}.sig" not in repository.tags
    wcbuild("verify", name, "--key", "k.pub")


def test_keys_may_stand_in_the_environment(wcbuild, keys, image, tmp_path, monkeypatch):
    for variable, file in (("PRIVATE", "k.key"), ("PUBLIC", "k.pub")):
        monkeypatch.setenv(variable, (tmp_path / file).read_text())
    wcbuild("sign", image[0], "--key", "env://PRIVATE")
    wcbuild("verify", image[0], "--key", "env://PUBLIC")
    assert (
        'there is no variable "NONE"'
        in wcbuild("sign", image[0], "--key", "env://NONE", status=2).err
    )


def test_a_wrong_password_changes_nothing(
    wcbuild, refused, keys, image, simulator, tmp_path, monkeypatch
):
    (tmp_path / "k.key").write_bytes(keys.encrypted(b"secret"))
    monkeypatch.setenv("COSIGN_PASSWORD", "guess")
    before = dict(simulator.repositories["team/app"].tags)
    assert refused("sign", image[0], "--key", "k.key") == (
        'key "k.key": the password is wrong, or the file is damaged'
    )
    assert simulator.repositories["team/app"].tags == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sign", "IMAGE", "--key", "none.key"], "none.key: No such file or directory"),
        (["sign", "IMAGE", "--key", "k.pub"], "signing needs the private one"),
        (["verify", "IMAGE", "--key", "k.key"], "verifying needs the public one"),
        (["verify", "IMAGE", "--key", "."], "is not a regular file"),
        (["attest", "IMAGE", "--key", "k.key", "--predicate", "none"], "none: No such file"),
        (
            ["attest", "IMAGE", "--key", "k.key", "--predicate", "k.pub", "--type", "vuln"],
            "predicate of type vuln: is not JSON",
        ),
        (
            ["attest", "IMAGE", "--key", "k.key", "--predicate", "k.pub", "--type", "slsa"],
            "the type is neither a URI nor one of custom,",
        ),
    ],
)
def test_bad_input_is_one_sentence(wcbuild, refused, keys, image, words, sentence):
    assert sentence in refused(*(word.replace("IMAGE", image[0]) for word in words))


def test_names_that_nothing_could_have_are_wrong_usage(wcbuild, keys, image):
    for words in (
        ("verify", f"{image[0]}:no", "--key", "k.pub"),
        ("sign", "https://r.example/x", "--key", "k.key"),
    ):
        assert "invalid reference" in wcbuild(*words, status=2).err


@pytest.mark.parametrize("annotation", ["x", "=x"])
def test_annotations_have_a_name_and_a_value(wcbuild, keys, image, annotation):
    done = wcbuild("sign", image[0], "--key", "k.key", "-a", annotation, status=2)
    assert "expected NAME=VALUE" in done.err


# -- attest and verify-attestation


@pytest.mark.parametrize("mode", ["legacy", "oci-1-1"])
def test_an_attestation_comes_back_as_cosign_prints_it(wcbuild, keys, image, tmp_path, mode):
    name, digest = image
    (tmp_path / "sbom.json").write_text('{"bomFormat": "CycloneDX"}')
    words = ("attest", name, "--key", "k.key", "--predicate", "sbom.json", "--type", "cyclonedx")
    done = wcbuild(*words, "--registry-referrers-mode", mode)
    assert done.out == f"{name.removesuffix(':1')}@{digest}\n"
    done = wcbuild("verify-attestation", name, "--key", "k.pub", "--type", "cyclonedx")
    (line,) = done.out.splitlines()
    statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
    assert statement["predicate"] == {"bomFormat": "CycloneDX"}
    assert statement["predicateType"] == "https://cyclonedx.org/bom"
    assert done.err.endswith(": 1 good attestation\n")


def test_a_predicate_comes_from_stdin(wcbuild, keys, image, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"looked at it"))
    monkeypatch.setattr("sys.stdin", stdin)
    wcbuild("attest", image[0], "--key", "k.key", "--predicate", "-")
    (line,) = wcbuild("verify-attestation", image[0], "--key", "k.pub").out.splitlines()
    statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
    assert statement["predicate"]["Data"] == "looked at it"


def test_verify_attestation_refuses_with_one_sentence(wcbuild, refused, keys, image, tmp_path):
    name, digest = image
    where = f"{name.removesuffix(':1')}@{digest}"
    words = ("verify-attestation", name, "--key")
    assert refused(*words, "k.pub") == f"{where}: has no attestation"
    (tmp_path / "p.json").write_text("{}")
    wcbuild("attest", name, "--key", "k.key", "--predicate", "p.json", "--type", "vuln")
    assert "attestation 1 is not by the key" in refused(*words, "other.pub")
    assert "attestation 1 is of the type" in refused(*words, "k.pub")
    wcbuild(*words, "k.pub", "--type", "vuln")


# -- pull under a policy


@pytest.fixture
def requirement(tmp_path, keys):
    return {
        "type": "sigstoreSigned",
        "keyPath": str(tmp_path / "k.pub"),
        "signedIdentity": {"type": "matchRepository"},
    }


def blobs(tmp_path) -> list:
    return [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]


def test_pull_brings_only_what_is_signed(wcbuild, refused, tmp_path, image, requirement):
    name, digest = image
    write_policy(tmp_path / "policy.json", requirement)
    words = ("pull", "-q", "--signature-policy", "policy.json", name)
    assert refused(*words) == (
        f'{name}: refused by the policy policy.json: {digest} has no signature (transport "docker")'
    )
    assert blobs(tmp_path) == []
    assert wcbuild("images", "-q").out == ""
    wcbuild("sign", name, "--key", "k.key")
    assert wcbuild(*words).out == f"{name.removesuffix(':1')}@{digest}\n"
    assert blobs(tmp_path)


def test_pull_asks_no_registry_for_what_is_rejected(wcbuild, refused, tmp_path, image, simulator):
    write_policy(tmp_path / "policy.json", {"type": "insecureAcceptAnything"}, "r.example")
    before = len(simulator.requests)
    said = refused("pull", "-q", "--signature-policy", "policy.json", image[0])
    assert said.endswith("images of that name are rejected (default)")
    assert len(simulator.requests) == before


def test_the_users_own_policy_is_obeyed_unless_another_is_named(wcbuild, refused, tmp_path, image):
    write_policy(tmp_path / ".config" / "containers" / "policy.json", {"type": "reject"})
    assert "refused by the policy" in refused("pull", "-q", image[0])
    write_policy(tmp_path / "open.json", {"type": "insecureAcceptAnything"})
    wcbuild("pull", "-q", "--signature-policy", "open.json", image[0])


def test_xdg_config_home_says_where_the_users_policy_is(
    wcbuild, refused, tmp_path, image, monkeypatch
):
    write_policy(tmp_path / "xdg" / "containers" / "policy.json", {"type": "reject"})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert "refused by the policy" in refused("pull", "-q", image[0])


def test_without_a_policy_of_ones_own_the_machines_is_obeyed(
    wcbuild, refused, tmp_path, image, monkeypatch
):
    path = tmp_path / "etc" / "policy.json"
    write_policy(path, {"type": "reject"})
    monkeypatch.setattr("wcbuild.access._MACHINE_POLICY", path)
    assert f"refused by the policy {path}" in refused("pull", "-q", image[0])
    path.unlink()
    wcbuild("pull", "-q", image[0])


@pytest.mark.parametrize("content", [None, "", "{}", '{"default": []}'])
def test_a_policy_that_cannot_be_read_allows_nothing(wcbuild, refused, tmp_path, image, content):
    if content is not None:
        (tmp_path / "policy.json").write_text(content)
    assert "policy.json" in refused("pull", "-q", "--signature-policy", "policy.json", image[0])
    assert blobs(tmp_path) == []


# -- copy and sync under a policy


def test_copy_brings_only_what_is_signed(
    wcbuild, refused, tmp_path, image, remote, requirement, simulator
):
    name, digest = image
    write_policy(tmp_path / "policy.json", requirement)
    for target in (remote("team/copied:1"), f"oci:{tmp_path / 'copied'}:1", "store:copied"):
        words = ("copy", "-q", "--signature-policy", "policy.json", name, target)
        assert f"{digest} has no signature" in refused(*words)
    assert not simulator.repositories["team/copied"].manifests
    assert not (tmp_path / "copied").exists()
    wcbuild("sign", name, "--key", "k.key")
    wcbuild("copy", "-q", "--signature-policy", "policy.json", name, f"oci:{tmp_path / 'copied'}:1")


def test_copy_from_a_layout_has_to_meet_the_policy(wcbuild, refused, tmp_path, place, remote):
    write_policy(tmp_path / "policy.json", {"type": "insecureAcceptAnything"})
    words = ("copy", "-q", "--signature-policy", "policy.json", place("one"), remote("team/app:2"))
    assert "refused by the policy policy.json: images of that name are rejected" in refused(*words)


def test_sync_leaves_out_what_is_not_signed(wcbuild, tmp_path, push, remote, requirement, write):
    signed, _ = push("team/app:signed", "one")
    push("team/app:unsigned", "two")
    wcbuild("sign", signed, "--key", "k.key")
    write_policy(tmp_path / "policy.json", requirement)
    source, target = remote("team/app"), remote("mirror/app")
    rules = write(
        "sync.yaml", f"sync:\n  - source: {source}\n    target: {target}\n    tags: ['*signed']\n"
    )
    done = wcbuild("sync", "-q", "--signature-policy", "policy.json", rules, status=1)
    copied, failed = sorted(done.out.splitlines())
    assert copied.startswith("copied ")
    assert "has no signature" in failed
    assert list(remote.repository("mirror/app").tags()) == ["signed"]
