"""V91: reaching another repository's content, or another place on the disk, through our registry."""

import base64
import json
import os

import pytest
from talk import Talk, digest_of, manifest

from registry.oci import mediatypes
from registry.server import ServerSettings, serve

SECRET = b"the other team's layer"
RULES = "ali * *\nbob bob/* pull,push,delete\n"


def basic(user: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{user}".encode()).decode()}


@pytest.fixture(params=["basic", "token"])
def registry(request, tmp_path):
    """A registry where ali may do everything and bob only what is below `bob/`."""
    import bcrypt

    users = tmp_path / "htpasswd"
    users.write_text(
        "".join(
            f"{name}:{bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode()}\n"
            for name in ("ali", "bob")
        )
    )
    (tmp_path / "rules").write_text(RULES)
    settings = ServerSettings(
        htpasswd=users,
        access=tmp_path / "rules",
        tokens=request.param == "token",
        threads=4,
        gc_interval_s=0,
    )
    with serve(tmp_path / "registry", settings) as running:
        yield running


@pytest.fixture
def talk_as(registry):
    """Speak as somebody, with a token for these scopes where tokens are needed."""

    def make(user: str, *scopes: str) -> Talk:
        talk = Talk(registry.url, **basic(user))
        query = "&".join(f"scope={scope}" for scope in scopes)
        reply = talk("GET", f"/token?{query}")
        if reply.status == 200:
            talk.headers = {"Authorization": f"Bearer {reply.json['token']}"}
        return talk

    return make


@pytest.fixture
def bob(talk_as):
    scopes = ("repository:bob/app:pull,push,delete", "repository:secret:pull,push,delete")
    return talk_as("bob", *scopes)


@pytest.fixture
def secret(talk_as):
    """The digest of a blob in the repository `secret`, and of its image."""
    ali = talk_as("ali", "repository:secret:pull,push")
    return digest_of(SECRET), ali.push("secret", "1", SECRET)


def test_attack_mount_from_a_repository_that_one_may_not_read(bob, secret):
    blob, _ = secret
    for source in ("&from=secret", "", "&from=bob/../secret", "&from=secret%00", "&from=*"):
        reply = bob("POST", f"/v2/bob/app/blobs/uploads/?mount={blob}{source}")
        # No sign of whether it is there: an upload begins, as for what nobody has.
        assert reply.status == 202
        assert bob("GET", f"/v2/bob/app/blobs/{blob}").status == 404


def test_attack_manifest_that_names_blobs_of_another_repository(bob, secret):
    blob, _ = secret
    document = manifest(bob.put_blob("bob/app", b"{}"), [(blob, len(SECRET))])
    raw = json.dumps(document).encode()
    reply = bob("PUT", "/v2/bob/app/manifests/1", raw, Content_Type=mediatypes.OCI_MANIFEST)
    assert reply.code == "MANIFEST_BLOB_UNKNOWN"


def test_attack_token_of_another_scope(bob, secret):
    blob, image = secret
    for method, path in (
        ("GET", "/v2/secret/manifests/1"),
        ("HEAD", f"/v2/secret/manifests/{image}"),
        ("GET", f"/v2/secret/blobs/{blob}"),
        ("GET", "/v2/secret/tags/list"),
        ("GET", f"/v2/secret/referrers/{image}"),
        ("POST", "/v2/secret/blobs/uploads/"),
        ("PUT", "/v2/secret/manifests/1"),
        ("DELETE", "/v2/secret/manifests/1"),
        ("DELETE", f"/v2/secret/blobs/{blob}"),
    ):
        assert bob(method, path, b"").status in (401, 403), (method, path)


def test_attack_name_that_looks_like_the_path_of_an_upload(talk_as, secret):
    """Who may push but not delete makes a DELETE look like that of an upload."""
    pusher = talk_as("bob", "repository:bob/app:pull,push")
    _, image = secret
    for path in (
        f"/v2/secret/blobs/uploads/../../manifests/{image}",
        f"/v2/secret/manifests/{image}/blobs/uploads/x",
        f"/v2/bob/app/blobs/uploads/..%2f..%2f..%2fsecret%2fmanifests%2f{image}",
    ):
        assert pusher("DELETE", path).status >= 400
    assert talk_as("ali", "repository:secret:pull").is_whole("secret", "1")


def test_attack_upload_session_of_another_repository(talk_as, bob):
    ali = talk_as("ali", "repository:secret:pull,push")
    place = ali.start("secret")
    upload = place.rpartition("/")[2]
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        path = f"/v2/bob/app/blobs/uploads/{upload}?digest={digest_of(b'x')}"
        assert bob(method, path, b"x").status == 404
    assert ali("GET", place).headers["Range"] == "0-0"


@pytest.mark.parametrize(
    "upload",
    [
        *("..", ".", "../../../version", "..%2f..%2fversion", "%2e%2e%2f%2e%2e%2fversion"),
        *("x" * 32, "0" * 31, "0" * 33, "0" * 32 + "%00", "/etc/passwd", "0" * 5000),
    ],
)
def test_attack_upload_id_that_leads_elsewhere(bob, upload):
    bob.start("bob/app")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        reply = bob(method, f"/v2/bob/app/blobs/uploads/{upload}", b"")
        assert reply.status in (400, 401, 403, 404)


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../..", "bob/..", "bob/../secret", "bob//secret", "/secret", "bob/", "bob/."),
        *("%2e%2e", "bob%2f..%2fsecret", "bob/%2e%2e/secret", "bob\\secret", "bob/se cret"),
        *("bob/_blobs", "_uploads", "bob/_lock", ".bob", "BOB", "bob/\u0430pp", "bob%00"),
        *("bob%0d%0aX:y", "b" * 300, "b/" * 200 + "b"),
    ],
)
def test_attack_repository_name_that_leads_elsewhere(bob, registry, tmp_path, name):
    before = sorted(os.listdir(tmp_path))
    name = name.encode().decode("latin-1").replace(" ", "%20")
    for path in (f"{name}/blobs/uploads/", f"{name}/manifests/1", f"{name}/tags/list"):
        method = "POST" if path.endswith("/") else "GET"
        answer = bob.raw(
            f"{method} /v2/{path} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: 0\r\n"
            f"Authorization: {bob.headers['Authorization']}\r\nConnection: close\r\n\r\n".encode(
                "latin-1"
            )
        )
        assert answer[9:12] in (b"400", b"401", b"403", b"404"), answer[:200]
        assert b"\nX:y" not in answer
    assert sorted(os.listdir(tmp_path)) == before
    assert not (tmp_path / "registry/repositories/secret").exists()


@pytest.mark.parametrize(
    "digest",
    [
        *("sha256:../../../version", "sha256:", "sha256", ":", "sha256:" + "A" * 64),
        *("sha256:" + "a" * 63, "sha512:" + "a" * 64, "md5:" + "a" * 32, "sha256:" + "a" * 10000),
        *("../sha256:" + "a" * 64, "sha256:" + "a" * 64 + "%0a", "sha256%3a" + "A" * 64),
    ],
)
def test_v73_attack_digest_that_is_a_path(bob, digest):
    bob.push("bob/app", "1")
    for method, path in (
        ("GET", f"blobs/{digest}"),
        ("DELETE", f"blobs/{digest}"),
        ("GET", f"manifests/{digest}"),
        ("PUT", f"manifests/{digest}"),
        ("GET", f"referrers/{digest}"),
        ("POST", f"blobs/uploads/?digest={digest}"),
        ("POST", f"blobs/uploads/?mount={digest}&from=bob/app"),
        ("PUT", f"{bob.start('bob/app').removeprefix('/v2/bob/app/')}?digest={digest}"),
    ):
        reply = bob(method, f"/v2/bob/app/{path}", b"")
        assert reply.status in (400, 404), (method, path)


def test_attack_digest_confusion(bob):
    """Bytes under the digest of others, and one digest for the algorithm of another."""
    raw = json.dumps(manifest(bob.put_blob("bob/app", b"{}"))).encode()
    for algorithm in ("sha256", "sha512"):
        wrong = digest_of(b"other", algorithm)
        for method, path in (
            ("PUT", f"manifests/{wrong}"),
            ("POST", f"blobs/uploads/?digest={wrong}"),
            ("PUT", f"{bob.start('bob/app').removeprefix('/v2/bob/app/')}?digest={wrong}"),
        ):
            reply = bob(method, f"/v2/bob/app/{path}", raw, Content_Type=mediatypes.OCI_MANIFEST)
            assert reply.code == "DIGEST_INVALID"
        assert bob("GET", f"/v2/bob/app/blobs/{wrong}").status == 404
        assert bob("GET", f"/v2/bob/app/manifests/{wrong}").status == 404


def test_attack_manifest_read_as_a_blob_of_another_type(bob):
    """V72: what is a manifest and an index at once is neither."""
    config = bob.put_blob("bob/app", b"{}")
    both = {**manifest(config), "manifests": []}
    for media_type in (mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX):
        raw = json.dumps({**both, "mediaType": media_type}).encode()
        reply = bob("PUT", "/v2/bob/app/manifests/1", raw, Content_Type=media_type)
        assert reply.code == "MANIFEST_INVALID"


def test_attack_forged_tokens(registry, tmp_path):
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = tmp_path / "registry/token.key"
    if not key.exists():
        assert Talk(registry.url, Authorization="Bearer x")("GET", "/v2/").status == 401
        return
    ours = serialization.load_pem_private_key(key.read_bytes(), None)
    public = ours.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    access = [{"type": "repository", "name": "secret", "actions": ["pull", "push"]}]
    good = dict(iss="wcbuild", aud="wcbuild", sub="bob", nbf=0, exp=2**33, access=access)  # noqa: C408

    def status(claims, secret, algorithm="ES256", **more):
        token = jwt.encode(claims, secret, algorithm=algorithm, **more)
        talk = Talk(registry.url, Authorization=f"Bearer {token}")
        return talk("POST", "/v2/secret/blobs/uploads/").status

    assert status(good, ours) == 202
    assert status(good, ec.generate_private_key(ec.SECP256R1())) == 401
    assert status(good, "", "none") == 401
    # The public key as a shared secret: the confusion that JWT libraries had.
    monkey = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    head, body, _ = jwt.encode(good, "x" * 32, algorithm="HS256").split(".")
    signature = base64.urlsafe_b64encode(monkey.sign(f"{head}.{body}".encode(), public))
    forged = f"{head}.{body}.{signature.decode().rstrip('=')}"
    talk = Talk(registry.url, Authorization=f"Bearer {forged}")
    assert talk("POST", "/v2/secret/blobs/uploads/").status == 401
    for change in (
        {"exp": 1},
        {"nbf": 2**33},
        {"aud": "other"},
        {"iss": "other"},
        {"access": []},
    ):
        assert status({**good, **change}, ours) == 401
    for missing in good:
        assert status({k: v for k, v in good.items() if k != missing}, ours) == 401


def test_attack_guessing_names_by_time(registry, tmp_path, monkeypatch):
    """A user who does not exist costs what a wrong password costs: one hash, as expensive as theirs."""
    import bcrypt

    hashes = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda _, stored: hashes.append(stored))
    for user in ("bob", "nobody"):
        pair = base64.b64encode(f"{user}:wrong".encode()).decode()
        for path in ("/v2/", "/token"):
            Talk(registry.url, Authorization=f"Basic {pair}")("GET", path)
    assert len(hashes) % 2 == 0
    known, unknown = hashes[0], hashes[-1]
    assert known != unknown
    assert known[:7] == unknown[:7] == b"$2b$04$"
    assert len(known) == len(unknown)
