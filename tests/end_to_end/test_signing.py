"""Builds that sign what they push, and builds that stand only on what is signed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from registry.sign import SigningKey
from wcbuild import BuildRequest, RegistryAccess, build
from wcbuild.errors import WcbuildError

from .conftest import Wcbuild, call

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.usefixtures("userns")]

PASSWORD = {"COSIGN_PASSWORD": "secret"}


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Path:
    """A folder with `k.key`, whose password is "secret", and `k.pub`."""
    folder = tmp_path_factory.mktemp("keys")
    key = SigningKey.generate()
    (folder / "k.key").write_bytes(key.encrypted(b"secret"))
    (folder / "k.pub").write_bytes(key.public.pem)
    return folder


@pytest.fixture
def policy(tmp_path, pair) -> Path:
    """A policy that takes from registries only what `k.key` has signed, and any layout."""
    signed = {
        "type": "sigstoreSigned",
        "keyPath": str(pair / "k.pub"),
        "signedIdentity": {"type": "matchRepository"},
    }
    anything = {"type": "insecureAcceptAnything"}
    document = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {"": [signed]}, "oci": {"": [anything]}},
    }
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def pushed(wcbuild, context, simulator, pair):
    """Build a small image and push it, signed or not; returns its name and digest."""

    def make(name: str, *, signed: bool) -> tuple[str, str]:
        reference = f"{simulator.host}/{name}"
        flags = ("--sign-key", pair / "k.key") if signed else ()
        folder = context("FROM scratch\nCOPY file /\n", {"file": name})
        metadata = folder.parent / "metadata.json"
        wcbuild(
            *("build", "-t", reference, "--push", "--metadata-file", metadata),
            *(*flags, folder),
            env=PASSWORD,
        )
        return reference, json.loads(metadata.read_text())["containerimage.digest"]

    return make


def stored(store: Wcbuild) -> list[str]:
    """Return the digests of all blobs in a store."""
    return [path.name for path in (store.root / "blobs").rglob("*") if path.is_file()]


def test_a_build_signs_what_it_pushed(wcbuild, pushed, pair):
    name, digest = pushed("team/app:1", signed=True)
    done = wcbuild("verify", name, "--key", pair / "k.pub")
    (payload,) = json.loads(done.stdout)
    assert payload["critical"]["image"] == {"docker-manifest-digest": digest}


@pytest.mark.slow
def test_a_build_signs_under_each_of_its_names(wcbuild, context, simulator, pair):
    names = [f"{simulator.host}/{name}" for name in ("team/a:1", "team/a:2", "team/b:1")]
    folder = context("FROM scratch\nCOPY file /\n", {"file": "x"})
    tags = [word for name in names for word in ("-t", name)]
    flags = ("-o", "type=registry", "--sign-key", pair / "k.key")
    done = wcbuild("build", "--progress", "plain", *tags, *flags, folder, env=PASSWORD)
    assert f"signed {simulator.host}/team/b@sha256:" in done.stderr
    for name in names:
        assert len(json.loads(wcbuild("verify", name, "--key", pair / "k.pub").stdout)) == 1


@pytest.mark.peers
def test_cosign_accepts_what_a_build_signed(pushed, pair, cache, tmp_path):
    cosign = cache / "signing" / "bin" / "cosign"
    if not cosign.exists():
        pytest.skip("scripts/signing-peers makes cosign")
    name, digest = pushed("team/app:1", signed=True)
    words = ("verify", "--key", pair / "k.pub", "--insecure-ignore-tlog=true", name)
    done = call(cosign, *words, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    assert digest in done.stdout


@pytest.mark.parametrize(
    ("flags", "password", "sentence"),
    [
        (["--push"], "guess", 'k.key": the password is wrong'),
        ([], "secret", "--sign-key signs what is pushed: add --push"),
    ],
)
def test_what_cannot_be_signed_is_not_built(
    wcbuild, context, simulator, pair, flags, password, sentence
):
    folder = context("FROM scratch\nCOPY file /\n", {"file": "x"})
    tag = f"{simulator.host}/team/app:1"
    words = ("build", "-t", tag, *flags, "--sign-key", pair / "k.key", folder)
    done = wcbuild(*words, env={"COSIGN_PASSWORD": password}, check=False)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert wcbuild("images", "-q").stdout == ""
    assert not simulator.repositories["team/app"].manifests


def test_a_build_on_an_unsigned_base_is_refused_with_its_place(tmp_path, context, pushed, policy):
    name, digest = pushed("team/base:1", signed=False)
    other = Wcbuild(tmp_path / "other")
    folder = context(f"# comment\nFROM {name}\nCOPY file /more\n", {"file": "x"})
    words = ("build", "-t", "refused", "--signature-policy", policy, folder)
    done = other(*words, check=False)
    assert done.returncode == 1
    first, second, third = done.stderr.splitlines()
    assert first == (
        f'ERROR: Dockerfile:2: image "{name}": {name}: refused by the policy {policy}: '
        f'{digest} has no signature (transport "docker")'
    )
    assert second == f"    2 | FROM {name}"
    assert third.strip() == "^" * len(name)
    assert stored(other) == []
    assert other("images", "-q").stdout == ""


def test_a_build_on_a_signed_base_goes_through_again_and_again(tmp_path, context, pushed, policy):
    name, _ = pushed("team/base:1", signed=True)
    other = Wcbuild(tmp_path / "other")
    folder = context(f"FROM {name}\nCOPY file /more\n", {"file": "x"})
    words = ("build", "-q", "--signature-policy", policy, folder)
    assert other(*words).stdout == other(*words).stdout


@pytest.mark.slow
def test_a_copied_from_image_has_to_be_signed_too(tmp_path, context, pushed, policy):
    signed, _ = pushed("team/base:1", signed=True)
    unsigned, _ = pushed("team/tools:1", signed=False)
    other = Wcbuild(tmp_path / "other")
    folder = context(f"FROM {signed}\nCOPY --from={unsigned} /file /tool\n")
    done = other("build", "--signature-policy", policy, folder, check=False)
    assert done.returncode == 1
    assert f'Dockerfile:2: image "{unsigned}"' in done.stderr


@pytest.mark.slow
def test_an_image_that_was_pulled_before_is_not_excused(tmp_path, context, pushed, policy):
    name, _ = pushed("team/base:1", signed=False)
    other = Wcbuild(tmp_path / "other")
    other("pull", "-q", name)
    folder = context(f"FROM {name}\nCOPY file /more\n", {"file": "x"})
    other("build", "-q", folder)
    done = other("build", "-q", "--signature-policy", policy, folder, check=False)
    assert done.returncode == 1
    assert "has no signature" in done.stderr


@pytest.mark.slow
def test_a_signed_index_is_enough_for_the_image_in_it(
    tmp_path, wcbuild, context, pushed, policy, simulator, pair
):
    """What is signed names the digest of what is used."""
    name, digest = pushed("team/base:1", signed=False)
    repository = simulator.repositories["team/base"]
    _, raw = repository.manifests[digest]
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": len(raw),
    }
    media_type = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}).encode()
    of_index = f"sha256:{hashlib.sha256(index).hexdigest()}"
    repository.manifests[of_index] = (media_type, index)
    repository.tags["1"] = of_index
    wcbuild("sign", name, "--key", pair / "k.key", env=PASSWORD)
    other = Wcbuild(tmp_path / "other")
    folder = context(f"FROM {name}\nCOPY file /more\n", {"file": "x"})
    for _ in range(2):
        other("build", "-q", "--signature-policy", policy, folder)


def test_a_layout_has_to_meet_the_policy_too(wcbuild, context, tmp_path, policy):
    folder = context("FROM base\nCOPY file /more\n", {"file": "x"})
    wcbuild.build(folder, "--signature-policy", policy)
    strict = tmp_path / "strict.json"
    strict.write_text('{"default": [{"type": "reject"}]}')
    done = wcbuild.build(folder, "--signature-policy", strict, check=False)
    assert done.returncode == 1
    assert f'Dockerfile:1: image "base": oci:{wcbuild.base}: refused by the policy' in done.stderr


@pytest.mark.slow
def test_programs_sign_and_verify_as_the_command_does(tmp_path, context, simulator, pair, policy):
    key = SigningKey.read((pair / "k.key").read_bytes(), lambda: b"secret")
    careful = RegistryAccess(environment=dict(os.environ), signature_policy=policy)
    refusals = []
    for tag, sign_key in (("1", key), ("2", None)):
        name = f"{simulator.host}/team/base:{tag}"
        base = context("FROM scratch\nCOPY file /\n", {"file": tag})
        build(
            BuildRequest(
                context=base, tags=(name,), push=True, sign_key=sign_key, root=tmp_path / "store"
            )
        )
        on_top = context(f"FROM {name}\nCOPY file /more\n")
        try:
            build(BuildRequest(context=on_top, root=tmp_path / "other", registries=careful))
        except WcbuildError as error:
            refusals.append((tag, str(error.spans[0])))
    assert refusals == [("2", "Dockerfile:1")]
