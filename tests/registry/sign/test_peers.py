"""cosign and skopeo accept what we sign, we accept what they sign, and both refuse the same."""

import base64
import json
import os
from dataclasses import replace
from functools import partial

import peers
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry.copy import copy
from registry.layout import OciLayout
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.sign import (
    ExactReference,
    MatchRepoDigestOrExact,
    NotSignedError,
    Policy,
    PolicyError,
    SignatureError,
    SigningKey,
    VerifyingKey,
    attest,
    sign,
    verify,
    verify_attestation,
    with_children,
)
from registry.sign.attachments import attach, read_attachments
from registry.sign.signatures import SIGNATURES
from registry.transfer import transfer

pytestmark = pytest.mark.peers

OFFLINE = "--insecure-ignore-tlog=true"


@pytest.fixture
def cosign(peer):
    return lambda *arguments, **options: peer("cosign", *arguments, **options)


@pytest.fixture
def ours(tmp_path, key, key_file):
    """Our key pair in files, encrypted with the password of the peers' environment."""
    (tmp_path / "our.key").write_bytes(key_file)
    (tmp_path / "our.pub").write_bytes(key.public.pem)
    return key


@pytest.fixture
def theirs(tmp_path, cosign):
    """A key pair that cosign made."""
    cosign("generate-key-pair")
    raw = (tmp_path / "cosign.key").read_bytes()
    return SigningKey.read(raw, lambda: b"secret", "cosign.key")


@pytest.fixture
def skopeo(peer, tmp_path):
    """Copy an image away under a policy for it; returns whether skopeo did, and what it said."""
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d" / "all.yaml").write_text(
        "default-docker:\n  use-sigstore-attachments: true\n"
    )

    def copy(reference, key="our.pub", **requirement):
        entry = {"type": "sigstoreSigned", "keyPath": str(tmp_path / key), **requirement}
        policy = {
            "default": [{"type": "reject"}],
            "transports": {"docker": {reference.name: [entry]}},
        }
        (tmp_path / "policy.json").write_text(json.dumps(policy))
        done = peer(
            "skopeo",
            "--policy=policy.json",
            "--registries.d=registries.d",
            "copy",
            "--src-tls-verify=false",
            f"docker://{reference}",
            f"dir:{tmp_path / 'copied'}",
            check=False,
        )
        return done.returncode == 0, done.stderr

    return copy


# -- keys


def test_we_open_keys_of_cosign(theirs, tmp_path):
    assert theirs.public == VerifyingKey.read((tmp_path / "cosign.pub").read_bytes())


def test_cosign_opens_keys_of_ours(ours, cosign):
    assert cosign("public-key", "--key", "our.key").stdout.encode() == ours.public.pem


def test_cosign_refuses_our_key_with_another_password(ours, cosign):
    done = cosign("public-key", "--key", "our.key", check=False, COSIGN_PASSWORD="guess")
    assert done.returncode


# -- signatures


@pytest.mark.parametrize("annotations", [{}, {"env": "prod", "team": "app"}])
def test_cosign_accepts_our_signature(ours, cosign, pushed, annotations):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours, annotations=annotations)
    asked = [f"--annotations={name}={value}" for name, value in annotations.items()]
    seen = json.loads(cosign("verify", "--key=our.pub", OFFLINE, *asked, reference).stdout)
    assert [entry["critical"]["image"] for entry in seen] == [
        {"docker-manifest-digest": image.digest}
    ]
    assert (seen[0]["optional"] or {}) == annotations


def test_cosign_accepts_our_signature_among_referrers(ours, cosign, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours, form="referrers")
    arguments = ("verify", "--key=our.pub", OFFLINE, reference)
    assert cosign(*arguments, check=False).returncode
    cosign(*arguments, "--experimental-oci11", COSIGN_EXPERIMENTAL="1")


def test_cosign_refuses_our_signature_by_another_key(ours, theirs, cosign, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours)
    assert cosign("verify", "--key=cosign.pub", OFFLINE, reference, check=False).returncode


@pytest.mark.parametrize("extra", [[], ["--annotations=env=prod"], ["--recursive"]])
def test_we_accept_the_signature_of_cosign(theirs, cosign, pushed, extra):
    repository, image, reference = pushed()
    cosign(
        "sign", "--key=cosign.key", "--tlog-upload=false", "-y", *extra,
        f"{reference.name}@{image.digest}",
    )  # fmt: skip
    (payload,) = verify(repository, image, reference, [theirs.public])
    assert (payload.digest, payload.docker_reference) == (image.digest, reference.name)
    assert payload.annotations.get("env") == ("prod" if "--annotations=env=prod" in extra else None)


@pytest.mark.parametrize(
    "make",
    [Ed25519PrivateKey.generate, partial(rsa.generate_private_key, 65537, 2048)],
    ids=["Ed25519", "RSA"],
)
def test_cosign_and_we_accept_each_others_signatures_by_other_kinds_of_keys(
    cosign, pushed, tmp_path, make
):
    pem = make().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = SigningKey.read(pem, lambda: b"")
    (tmp_path / "own.key").write_bytes(key.encrypted(b"secret"))
    (tmp_path / "own.pub").write_bytes(key.public.pem)
    repository, image, reference = pushed()
    sign(repository, image, reference, key, annotations={"by": "us"})
    cosign("verify", "--key=own.pub", OFFLINE, "--annotations=by=us", reference)
    cosign(
        "sign", "--key=own.key", "--tlog-upload=false", "-y", "--annotations=by=cosign",
        f"{reference.name}@{image.digest}",
    )  # fmt: skip
    assert len(verify(repository, image, reference, [key.public])) == 2


def test_we_accept_the_signature_of_cosign_among_referrers(theirs, cosign, pushed):
    repository, image, reference = pushed()
    cosign(
        "sign", "--key=cosign.key", "--tlog-upload=false", "-y",
        "--registry-referrers-mode=oci-1-1", f"{reference.name}@{image.digest}",
        COSIGN_EXPERIMENTAL="1",
    )  # fmt: skip
    assert verify(repository, image, reference, [theirs.public])


def test_signatures_of_both_stand_side_by_side(ours, theirs, cosign, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours)
    cosign(
        "sign", "--key=cosign.key", "--tlog-upload=false", "-y", f"{reference.name}@{image.digest}"
    )
    sign(repository, image, reference, ours, annotations={"again": "yes"})
    assert len(list(read_attachments(repository, image, SIGNATURES))) == 3
    for name in ("our.pub", "cosign.pub"):
        cosign("verify", f"--key={name}", OFFLINE, reference)
    assert len(verify(repository, image, reference, [ours.public])) == 2
    assert len(verify(repository, image, reference, [theirs.public])) == 1


def test_cosign_and_we_refuse_an_image_without_signatures(theirs, cosign, pushed):
    repository, image, reference = pushed()
    assert cosign("verify", "--key=cosign.pub", OFFLINE, reference, check=False).returncode
    with pytest.raises(NotSignedError):
        verify(repository, image, reference, [theirs.public])


def test_we_refuse_the_signature_of_cosign_for_another_repository(theirs, cosign, pushed, at):
    """cosign itself does not look at the name."""
    repository, image, reference = pushed()
    cosign(
        "sign", "--key=cosign.key", "--tlog-upload=false", "-y",
        f"--sign-container-identity={at('team/other')}", f"{reference.name}@{image.digest}",
    )  # fmt: skip
    with pytest.raises(SignatureError, match="team/other"):
        verify(repository, image, reference, [theirs.public])


@pytest.fixture(params=[peers.docker_registry, peers.crane_registry], ids=["docker", "crane"])
def host(request, tmp_path):
    """An old registry, without an API for referrers, and one of OCI 1.1."""
    (tmp_path / "registry").mkdir()
    with request.param(tmp_path / "registry") as registry:
        yield registry.host


@pytest.mark.parametrize("form", ["tag", "referrers"])
def test_real_registries_keep_signatures_and_attestations(ours, client, host, builder, form):
    reference = Reference.parse(f"{host}/team/app:1")
    repository, image = client.repository(reference), builder.image()
    copy(builder.store, repository, image, tags=("1",))
    sign(repository, image, reference, ours, form=form)
    sign(repository, image, reference, ours, form=form, annotations={"again": "yes"})
    said = {"predicate_type": "https://x.example/1", "predicate": {"a": 1}}
    attest(repository, image, reference, ours, form=form, **said)
    moved = client.repository(Reference.parse(f"{host}/moved/app"))
    transfer(repository, moved, image, signatures=True)
    for each in (repository, moved):
        assert len(verify(each, image, reference, [ours.public])) == 2
        assert len(verify_attestation(each, image, reference, [ours.public])) == 1


# -- attestations


def test_cosign_accepts_our_attestation(ours, cosign, pushed):
    repository, image, reference = pushed()
    kind = "https://slsa.dev/provenance/v1"
    predicate = {"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "y"}}}
    attest(repository, image, reference, ours, predicate_type=kind, predicate=predicate)
    done = cosign(
        "verify-attestation", "--key=our.pub", OFFLINE, "--type=slsaprovenance1", reference
    )
    statement = json.loads(base64.b64decode(json.loads(done.stdout)["payload"]))
    assert statement["subject"][0]["digest"] == {"sha256": image.digest.hex}
    assert statement["predicate"]["buildDefinition"] == {"buildType": "x"}


def test_cosign_refuses_our_attestation_by_another_key(ours, theirs, cosign, pushed):
    repository, image, reference = pushed()
    attest(repository, image, reference, ours, predicate_type="https://x.example/1", predicate={})
    arguments = ("verify-attestation", OFFLINE, "--type=https://x.example/1", reference)
    cosign(*arguments, "--key=our.pub")
    assert cosign(*arguments, "--key=cosign.pub", check=False).returncode


NO_ROOTS = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}


def test_cosign_accepts_our_attestation_among_referrers(ours, theirs, cosign, pushed, tmp_path):
    (tmp_path / "roots.json").write_text(json.dumps(NO_ROOTS))
    repository, image, reference = pushed()
    said = {"predicate_type": "https://x.example/1", "predicate": {"a": 1}}
    attest(repository, image, reference, ours, form="referrers", **said)
    arguments = (
        *("verify-attestation", OFFLINE, "--type=https://x.example/1", reference),
        *("--new-bundle-format", "--trusted-root=roots.json"),
    )
    done = cosign(*arguments, "--key=our.pub")
    statement = json.loads(base64.b64decode(json.loads(done.stdout)["payload"]))
    assert statement["predicate"] == {"a": 1}
    assert cosign(*arguments, "--key=cosign.pub", check=False).returncode


def test_we_accept_the_attestation_of_cosign_among_referrers(theirs, cosign, pushed, tmp_path):
    repository, image, reference = pushed()
    (tmp_path / "predicate.json").write_text('{"a": [1, 2]}')
    cosign(
        *("attest", "--key=cosign.key", "--tlog-upload=false", "-y", "--new-bundle-format"),
        *("--predicate=predicate.json", "--type=https://x.example/1"),
        f"{reference.name}@{image.digest}",
    )
    ((_, statement),) = verify_attestation(
        repository, image, reference, [theirs.public], predicate_type="https://x.example/1"
    )
    assert statement.predicate == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("custom", "https://cosign.sigstore.dev/attestation/v1"),
        ("cyclonedx", "https://cyclonedx.org/bom"),
        ("https://x.example/1", "https://x.example/1"),
    ],
)
def test_we_accept_the_attestation_of_cosign(theirs, cosign, pushed, tmp_path, kind, expected):
    repository, image, reference = pushed()
    (tmp_path / "predicate.json").write_text('{"a": [1, 2]}')
    cosign(
        "attest", "--key=cosign.key", "--tlog-upload=false", "-y", "--predicate=predicate.json",
        f"--type={kind}", f"{reference.name}@{image.digest}",
    )  # fmt: skip
    ((_, statement),) = verify_attestation(
        repository, image, reference, [theirs.public], predicate_type=expected
    )
    if kind == "custom":
        assert statement.predicate["Data"] == '{"a": [1, 2]}'
    else:
        assert statement.predicate == {"a": [1, 2]}


# -- skopeo and its policies


def test_skopeo_accepts_our_signature_for_the_repository(ours, skopeo, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours)
    assert skopeo(reference, signedIdentity={"type": "matchRepository"}) == (True, "")


def test_skopeo_accepts_our_signature_for_a_name_with_a_tag(ours, skopeo, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours, identity=str(reference))
    assert skopeo(reference)[0]


def test_skopeo_refuses_our_signature_by_another_key(ours, theirs, skopeo, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours)
    done, said = skopeo(reference, "cosign.pub", signedIdentity={"type": "matchRepository"})
    assert not done
    assert "cryptographic signature verification failed" in said


def test_one_changed_bit_is_refused_by_all(ours, cosign, skopeo, pushed):
    repository, image, reference = pushed()
    sign(repository, image, reference, ours)
    (good,) = read_attachments(repository, image, SIGNATURES)
    other, other_image, other_reference = pushed(name="team/changed:1")
    raw = good.raw.replace(b'"optional":null', b'"optional":  {}')
    attach(other, other_image, SIGNATURES, replace(good, raw=raw), "tag")
    name = {"type": "exactRepository", "dockerRepository": reference.name}
    assert skopeo(reference, signedIdentity=name)[0]
    done, said = skopeo(other_reference, signedIdentity=name)
    assert not done
    assert "cryptographic signature verification failed" in said
    assert cosign("verify", "--key=our.pub", OFFLINE, other_reference, check=False).returncode
    with pytest.raises(SignatureError, match="signature 1 is not by"):
        verify(other, other_image, reference, [ours.public])


def test_skopeo_wants_the_image_of_an_index_signed_as_well(ours, skopeo, cosign, pushed, builder):
    platform = Platform(os="linux", architecture=os.uname().machine).normalized()
    entry = replace(builder.image(platform=platform), platform=platform)
    repository, index, reference = pushed(builder.index(entry))
    identity = {"type": "matchRepository"}
    sign(repository, index, reference, ours)
    cosign("verify", "--key=our.pub", OFFLINE, reference)
    assert not skopeo(reference, signedIdentity=identity)[0]
    for image in with_children(repository, index):
        sign(repository, image, reference, ours)
    assert skopeo(reference, signedIdentity=identity)[0]


def test_we_accept_the_signature_of_skopeo(theirs, peer, pushed, at, builder, client, tmp_path):
    layout = OciLayout(tmp_path / "layout")
    copy(builder.store, layout, builder.image(), tags=("1",))
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d" / "all.yaml").write_text(
        "default-docker:\n  use-sigstore-attachments: true\n"
    )
    (tmp_path / "passphrase").write_text("secret")
    (tmp_path / "any.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    reference = at("team/signed:1")
    peer(
        "skopeo", "--policy=any.json", "--registries.d=registries.d", "copy",
        "--dest-tls-verify=false", "--sign-by-sigstore-private-key=cosign.key",
        "--sign-passphrase-file=passphrase", "oci:layout:1", f"docker://{reference}",
    )  # fmt: skip
    repository = client.repository(reference)
    image = repository.resolve("1")
    (payload,) = verify(
        repository, image, reference, [theirs.public], identity=MatchRepoDigestOrExact()
    )
    assert payload.docker_reference == str(reference)
    assert payload.annotations["creator"].startswith("containers/image")
    other = ExactReference(reference=at("team/signed:2"))
    with pytest.raises(SignatureError):
        verify(repository, image, reference, [theirs.public], identity=other)


IDENTITIES = [
    {"type": "matchExact"},
    {"type": "matchRepoDigestOrExact"},
    {"type": "matchRepository"},
    {"type": "exactReference", "dockerReference": "HOST/team/app:1"},
    {"type": "exactReference", "dockerReference": "HOST/team/app:2"},
    {"type": "exactRepository", "dockerRepository": "HOST/team/app"},
    {"type": "exactRepository", "dockerRepository": "HOST/team/other"},
    {"type": "remapIdentity", "prefix": "HOST/team", "signedPrefix": "HOST/vendor"},
    {"type": "remapIdentity", "prefix": "HOST", "signedPrefix": "HOST/vendor"},
]
SIGNED_AS = ["", "HOST/team/app:1", "HOST/team/app:2", "HOST/vendor/app:1", "HOST/team/other"]


CASES = [(identity, signed_as, False) for identity in IDENTITIES for signed_as in SIGNED_AS]
CASES += [
    (identity, signed_as, True)
    for identity in IDENTITIES
    for signed_as in SIGNED_AS
    if not identity["type"].startswith("exact")
]


@pytest.mark.slow
@pytest.mark.parametrize(("identity", "signed_as", "by_digest"), CASES)
def test_skopeo_and_we_decide_alike(
    ours, skopeo, pushed, at, tmp_path, identity, signed_as, by_digest
):
    repository, image, reference = pushed()
    host = reference.registry
    identity = {name: text.replace("HOST", host) for name, text in identity.items()}
    sign(repository, image, reference, ours, identity=signed_as.replace("HOST", host))
    asked = at(f"team/app@{image.digest}") if by_digest else reference
    theirs, _ = skopeo(asked, signedIdentity=identity)
    policy = Policy.load(tmp_path / "policy.json")
    if theirs:
        policy.check(asked, [image], lambda: repository)
    else:
        with pytest.raises(PolicyError):
            policy.check(asked, [image], lambda: repository)
