"""containers-policy.json(5): what it says, for which names, and what it lets through."""

import base64
import json
from pathlib import Path

import pytest

from registry.errors import InvalidDocumentError
from registry.reference import Reference
from registry.sign import (
    ExactReference,
    ExactRepository,
    KeyFileError,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    Policy,
    PolicyError,
    RemapIdentity,
    sign,
)
from registry.sign.policy import Accept, Reject, Signed, docker_scopes, layout_scopes

ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}
REPOSITORY = {"type": "matchRepository"}
DIGEST = "sha256:" + "d" * 64


def policy(default=REJECT, **transports) -> Policy:
    document = {"default": [default]}
    if transports:
        document["transports"] = {
            name: {scope: [entry] for scope, entry in scopes.items()}
            for name, scopes in transports.items()
        }
    return Policy.parse(json.dumps(document).encode(), "policy.json")


@pytest.fixture
def signed_by(tmp_path):
    """Make a requirement for signatures by keys, which are written into files."""

    def make(*keys, **fields):
        paths = []
        for number, key in enumerate(keys):
            path = tmp_path / f"{number}.pub"
            path.write_bytes(key.public.pem)
            paths.append(str(path))
        named = {"keyPath": paths[0]} if len(paths) == 1 else {"keyPaths": paths}
        return {"type": "sigstoreSigned", "signedIdentity": REPOSITORY, **named, **fields}

    return make


def nowhere():
    raise AssertionError("nobody is asked for signatures")


# -- scopes


def test_scopes_of_a_name_go_from_narrow_to_wide():
    assert list(docker_scopes(Reference.parse("sub.r.example:5000/team/app/x:1"))) == [
        "sub.r.example:5000/team/app/x:1",
        "sub.r.example:5000/team/app/x",
        "sub.r.example:5000/team/app",
        "sub.r.example:5000/team",
        "sub.r.example:5000",
        "*.r.example",
        "*.example",
    ]


def test_scopes_of_a_short_name_are_those_of_its_canonical_one():
    assert list(docker_scopes(Reference.parse("debian:12"))) == [
        "docker.io/library/debian:12",
        "docker.io/library/debian",
        "docker.io/library",
        "docker.io",
        "*.io",
    ]


def test_scopes_of_a_digest_begin_with_it():
    scopes = docker_scopes(Reference.parse(f"r.example/app:1@{DIGEST}"))
    assert next(scopes) == f"r.example/app@{DIGEST}"


def test_scopes_of_a_layout_are_its_folders(tmp_path):
    folder = tmp_path / "a" / "b"
    assert list(layout_scopes(folder, "1"))[:3] == [
        f"{folder}:1",
        str(folder),
        str(tmp_path / "a"),
    ]
    assert "/" not in layout_scopes(folder, "1")


@pytest.mark.parametrize(
    ("scopes", "name", "where"),
    [
        (
            {"r.example/app:1": ACCEPT, "r.example/app": REJECT},
            "r.example/app:1",
            "r.example/app:1",
        ),
        ({"r.example/app:1": REJECT, "r.example/app": ACCEPT}, "r.example/app:2", "r.example/app"),
        ({"r.example/app": REJECT, "r.example": ACCEPT}, "r.example/apps:2", "r.example"),
        ({"r.example": REJECT, "*.example": ACCEPT}, "q.example/apps:2", "*.example"),
        ({"*.example": REJECT, "": ACCEPT}, "example/apps:2", 'transport "docker"'),
    ],
)
def test_the_narrowest_scope_decides_alone(scopes, name, where):
    found, requirements = policy(docker=scopes).requirements(
        "docker", docker_scopes(Reference.parse(name))
    )
    assert requirements == (Accept(),)
    assert found.strip('"') == where.strip('"')


def test_without_a_scope_the_transport_and_then_the_default_decides():
    other = policy(ACCEPT, atomic={"": REJECT})
    assert other.requirements("docker", ["x"]) == ("default", (Accept(),))
    assert policy(ACCEPT, docker={"": REJECT}).requirements("docker", ["x"])[1] == (Reject(),)


# -- reading


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", 'has no "default"'),
        ('{"default": []}', "lists no requirements for default"),
        ('{"default": {}}', "lists no requirements for default"),
        ('{"default": [{}]}', "unknown type"),
        ('{"default": [7]}', "unknown type"),
        ('{"default": [{"type": "allow"}]}', 'is of the unknown type "allow"'),
        ('{"default": [{"type": "reject", "x": 1}]}', 'has "x", which is not understood'),
        ('{"default": [{"type": "reject"}], "x": 1}', 'has "x", which is not understood'),
        ('{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}', "twice"),
        ('{"default": [{"type": "reject"}], "transports": []}', "is not an object"),
        ('{"default": [{"type": "reject"}], "transports": {"docker": []}}', "not an object"),
        (
            '{"default": [{"type": "reject"}], "transports": {"docker": {"r.example": []}}}',
            'lists no requirements for "r.example" of docker',
        ),
        ('{"default": [{"type": "sigstoreSigned"}]}', "has not exactly one of keyPath"),
        (
            '{"default": [{"type": "sigstoreSigned", "keyPath": "a", "keyData": "YQ=="}]}',
            "has not exactly one of keyPath",
        ),
        ('{"default": [{"type": "sigstoreSigned", "keyPaths": []}]}', "names keys"),
        ('{"default": [{"type": "sigstoreSigned", "keyPaths": "a"}]}', "names keys"),
        ('{"default": [{"type": "sigstoreSigned", "keyPath": 7}]}', "names keys"),
        ('{"default": [{"type": "sigstoreSigned", "keyData": "a"}]}', "is not base64"),
        ('{"default": [{"type": "sigstoreSigned", "keyPath": "a", "x": 1}]}', "not understood"),
    ],
)
def test_refuses_a_policy_that_it_does_not_understand(document, reason):
    with pytest.raises(InvalidDocumentError, match=reason) as caught:
        Policy.parse(document.encode(), "policy.json")
    assert str(caught.value).startswith("policy policy.json: ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "matchExact"}, MatchExact()),
        ({"type": "matchRepoDigestOrExact"}, MatchRepoDigestOrExact()),
        ({"type": "matchRepository"}, MatchRepository()),
        (
            {"type": "exactReference", "dockerReference": "debian:12"},
            ExactReference(reference=Reference.parse("debian:12")),
        ),
        (
            {"type": "exactRepository", "dockerRepository": "r.example/app"},
            ExactRepository(name="r.example/app"),
        ),
        (
            {"type": "remapIdentity", "prefix": "m.example:5000", "signedPrefix": "docker.io"},
            RemapIdentity(prefix="m.example:5000", signed_prefix="docker.io"),
        ),
        ({"type": "matchNothing"}, None),
        ({"type": "matchExact", "x": 1}, None),
        ({"type": "exactReference"}, None),
        ({"type": "exactReference", "dockerReference": "r.example/app"}, None),
        ({"type": "exactReference", "dockerReference": "UPPER/case/X"}, None),
        ({"type": "exactRepository", "dockerRepository": ["r.example/app"]}, None),
        ({"type": "remapIdentity", "prefix": "m.example"}, None),
        ({"type": "remapIdentity", "prefix": "debian", "signedPrefix": "r.example"}, None),
        ({"type": "remapIdentity", "prefix": "r.example/x:1", "signedPrefix": "r.example"}, None),
        ("matchExact", None),
    ],
)
def test_reads_identities(value, expected):
    entry = {"type": "sigstoreSigned", "keyPath": "a.pub", "signedIdentity": value}
    if expected is None:
        with pytest.raises(InvalidDocumentError):
            policy(entry)
    else:
        assert policy(entry).default == (Signed(key_files=("a.pub",), identity=expected),)


def test_the_tag_counts_unless_the_policy_says_otherwise():
    (requirement,) = policy({"type": "sigstoreSigned", "keyPath": "a.pub"}).default
    assert requirement.identity == MatchRepoDigestOrExact()


def test_reads_the_policy_that_debian_ships():
    document = {
        "default": [ACCEPT],
        "transports": {"docker-daemon": {"": [ACCEPT]}, "docker": {"": [ACCEPT]}},
    }
    read = Policy.parse(json.dumps(document).encode(), "x")
    read.check(Reference.parse("debian:12"), [], nowhere)


# -- deciding


def test_accepts_anything_without_asking_anybody(image, reference):
    assert not policy(ACCEPT).needs_signatures(reference)
    policy(ACCEPT).check(reference, [image], nowhere)


def test_rejects_without_asking_anybody(image, reference):
    with pytest.raises(PolicyError) as caught:
        policy(docker={"registry.example": REJECT}).check(reference, [image], nowhere)
    assert str(caught.value) == (
        "registry.example/team/app:1: refused by the policy policy.json: "
        'images of that name are rejected ("registry.example")'
    )
    with pytest.raises(PolicyError):
        policy(REJECT).needs_signatures(reference)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/key"},
        {"type": "sigstoreSigned", "fulcio": {"caPath": "a"}, "rekorPublicKeyPath": "b"},
        {"type": "sigstoreSigned", "pki": {"caRootsPath": "a"}},
        {"type": "sigstoreSigned", "keyPath": "a.pub", "rekorPublicKeyPath": "b"},
        {"type": "sigstoreSigned", "keyPath": "a.pub", "rekorPublicKeyDatas": ["YQ=="]},
    ],
)
def test_what_cannot_be_checked_allows_nothing(image, reference, entry):
    with pytest.raises(PolicyError, match="not supported"):
        policy(entry).check(reference, [image], nowhere)


def test_a_signed_image_is_allowed(store, image, reference, key, signed_by):
    sign(store, image, reference, key)
    wanted = policy(signed_by(key))
    assert wanted.needs_signatures(reference)
    wanted.check(reference, [image], lambda: store)


def test_an_unsigned_image_is_refused(store, image, reference, key, signed_by):
    with pytest.raises(PolicyError, match=f"{image.digest} has no signature"):
        policy(signed_by(key)).check(reference, [image], lambda: store)


def test_an_image_signed_by_somebody_else_is_refused(
    store, image, reference, key, other_key, signed_by
):
    sign(store, image, reference, other_key)
    with pytest.raises(PolicyError, match="signature 1 is not by the key"):
        policy(signed_by(key)).check(reference, [image], lambda: store)


def test_an_image_signed_under_another_name_is_refused(store, image, reference, key, signed_by):
    sign(store, image, Reference.parse("registry.example/team/other"), key)
    with pytest.raises(PolicyError, match=r'is for "registry\.example/team/other"'):
        policy(signed_by(key)).check(reference, [image], lambda: store)


def test_a_signature_without_a_tag_does_not_count_for_a_tag(
    store, image, reference, key, signed_by
):
    sign(store, image, reference, key)
    entry = signed_by(key)
    del entry["signedIdentity"]
    with pytest.raises(PolicyError):
        policy(entry).check(reference, [image], lambda: store)
    sign(store, image, reference, key, identity=str(reference))
    policy(entry).check(reference, [image], lambda: store)


def test_beside_a_digest_a_tag_says_nothing(store, image, reference, key, signed_by):
    sign(store, image, reference, key, identity=str(reference))
    entry = signed_by(key, signedIdentity={"type": "matchRepoDigestOrExact"})
    pinned = Reference.parse(f"{reference.name}:other@{image.digest}")
    policy(entry).check(pinned, [image], lambda: store)


def test_one_of_several_keys_is_enough(store, image, reference, key, other_key, signed_by):
    sign(store, image, reference, other_key)
    policy(signed_by(key, other_key)).check(reference, [image], lambda: store)


def test_keys_may_stand_in_the_policy(store, image, reference, key, other_key):
    entry = {"type": "sigstoreSigned", "signedIdentity": REPOSITORY}
    data = [base64.b64encode(each.public.pem).decode() for each in (key, other_key)]
    sign(store, image, reference, key)
    policy(entry | {"keyData": data[0]}).check(reference, [image], lambda: store)
    policy(entry | {"keyDatas": data}).check(reference, [image], lambda: store)
    with pytest.raises(PolicyError, match="keyData 1"):
        policy(entry | {"keyData": data[1]}).check(reference, [image], lambda: store)


def test_all_requirements_have_to_hold(
    store, image, reference, key, other_key, signed_by, tmp_path
):
    first = signed_by(key)
    (tmp_path / "other.pub").write_bytes(other_key.public.pem)
    second = first | {"keyPath": str(tmp_path / "other.pub")}
    both = Policy.parse(json.dumps({"default": [first, ACCEPT, second]}).encode(), "p")
    sign(store, image, reference, key)
    with pytest.raises(PolicyError, match=r"other\.pub"):
        both.check(reference, [image], lambda: store)
    sign(store, image, reference, other_key)
    both.check(reference, [image], lambda: store)


def test_a_signed_index_or_a_signed_image_of_it_is_enough(
    builder, store, reference, key, signed_by
):
    images = [builder.image(), builder.image(layers=1)]
    for number in (0, 1):
        index = builder.index(images[number])
        sign(store, (index, images[number])[number], reference, key)
        policy(signed_by(key)).check(reference, [index, images[number]], lambda: store)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\n"])
def test_a_key_that_cannot_be_read_allows_nothing(
    store, image, reference, key, signed_by, tmp_path, content
):
    sign(store, image, reference, key)
    wanted = policy(signed_by(key))
    (tmp_path / "0.pub").unlink()
    if content is not None:
        (tmp_path / "0.pub").write_bytes(content)
    with pytest.raises(KeyFileError, match=r'key ".*0\.pub"'):
        wanted.check(reference, [image], lambda: store)


def test_an_image_of_a_layout_has_the_scopes_of_its_folder(store, image, key, tmp_path):
    folder = tmp_path / "layouts" / "base"
    allowed = policy(oci={str(tmp_path / "layouts"): ACCEPT})
    allowed.check_layout(folder, "1", [image], nowhere)
    with pytest.raises(PolicyError, match=f"^oci:{tmp_path}/elsewhere:1: refused"):
        allowed.check_layout(tmp_path / "elsewhere", "1", [image], nowhere)
    # A folder above must not be left by a detour.
    with pytest.raises(PolicyError):
        allowed.check_layout(tmp_path / "layouts" / ".." / "elsewhere", "1", [image], nowhere)


def test_an_image_of_a_layout_has_no_name_that_a_signature_could_match(
    store, image, reference, key, signed_by
):
    sign(store, image, reference, key)
    with pytest.raises(PolicyError):
        policy(signed_by(key)).check_layout(Path("/layout"), "", [image], lambda: store)
    named = {"type": "exactRepository", "dockerRepository": reference.name}
    policy(signed_by(key, signedIdentity=named)).check_layout(
        Path("/layout"), "", [image], lambda: store
    )


def test_a_policy_file_is_read_within_bounds(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text('{"default": [{"type": "reject"}]}')
    assert Policy.load(path).name == str(path)
    path.write_bytes(b" " * 2_000_000)
    with pytest.raises(Exception, match="larger than the limit"):
        Policy.load(path)
    with pytest.raises(FileNotFoundError):
        Policy.load(tmp_path / "none.json")
