"""Users, rules, passwords and tokens."""

import base64
import io
import shutil

import pytest
from processes import until
from talk import digest_of

from registry.errors import StoreError, UnauthorizedError
from registry.oci import mediatypes
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.remote.credentials import Credential, Secret
from registry.server.access import Passwords, Rule, allowed, parse_rules


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ALI, BOB = basic("ali", "open sesame"), basic("bob", "swordfish")
RULES = """
# who       what      may do
ali         *         *
bob         team/*    pull,push
*           shared    pull
anonymous   public/*  pull
"""


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "access"
    path.write_text(RULES)
    return path


# Passwords


def test_knows_the_right_password(htpasswd):
    passwords = Passwords(htpasswd)
    for _ in range(2):
        assert passwords.check("ali", "open sesame")
        assert passwords.check("bob", "swordfish")
        assert not passwords.check("ali", "swordfish")
        assert not passwords.check("ali", "")
        assert not passwords.check("eve", "open sesame")


def test_a_changed_file_counts_at_once(htpasswd):
    passwords = Passwords(htpasswd)
    assert passwords.check("ali", "open sesame")
    htpasswd.write_text(htpasswd.read_text().replace("ali:", "carol:"))
    assert not passwords.check("ali", "open sesame")
    assert passwords.check("carol", "open sesame")


def test_a_right_password_is_checked_once(htpasswd, monkeypatch):
    import bcrypt

    passwords = Passwords(htpasswd)
    assert passwords.check("ali", "open sesame")
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: pytest.fail("asked again"))
    assert passwords.check("ali", "open sesame")


def test_a_password_too_long_for_bcrypt_is_no_error(htpasswd):
    assert not Passwords(htpasswd).check("ali", "x" * 1000)


@pytest.mark.parametrize("line", ["ali:$apr1$x$y", "ali:secret", "ali", ":$2b$04$" + "a" * 53])
def test_other_hashes_are_refused_without_being_shown(tmp_path, line):
    path = tmp_path / "htpasswd"
    path.write_text(line)
    with pytest.raises(StoreError, match=r"line 1 .* bcrypt") as caught:
        Passwords(path)
    assert line not in str(caught.value)


def test_a_missing_file_is_said_so(new_registry, tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        new_registry(htpasswd=tmp_path / "none")


# Rules


def test_reads_rules():
    rules = parse_rules(RULES, "access")
    assert rules[1] == Rule(user="bob", pattern="team/*", actions=frozenset(("pull", "push")))


@pytest.mark.parametrize("line", ["bob team/*", "bob team/* read", "bob team/* pull push", "x y ,"])
def test_refuses_what_is_no_rule(line):
    with pytest.raises(StoreError, match="line 2"):
        parse_rules(f"\n{line}\n", "access")


@pytest.mark.parametrize(
    ("user", "name", "action", "may"),
    [
        ("ali", "anything/at/all", "delete", True),
        ("bob", "team/app", "push", True),
        ("bob", "team/a/b", "pull", True),
        ("bob", "team/app", "delete", False),
        ("bob", "team", "pull", False),
        ("bob", "steam/app", "pull", False),
        ("bob", "shared", "pull", True),
        ("bob", "shared", "push", False),
        ("", "shared", "pull", False),
        ("", "public/app", "pull", True),
        ("", "public/app", "push", False),
        ("bob", "public/app", "pull", True),
        ("anonymous", "team/app", "pull", False),
        ("*", "team/app", "pull", False),
    ],
)
def test_what_no_rule_allows_is_refused(user, name, action, may):
    assert allowed(parse_rules(RULES, ""), user, (f"repository:{name}", action)) is may


# Basic authentication


def test_users_may_do_everything_and_nobody_else_anything(new_registry, htpasswd):
    registry = new_registry(htpasswd=htpasswd)
    registry.talk.headers = {"Authorization": ALI}
    registry.talk.push("app", "1", b"layer")
    assert registry.talk.is_whole("app", "1")
    registry.talk.headers = {}
    for path in ("/v2/", "/v2/app/manifests/1", "/v2/_catalog", "/v2/app/tags/list"):
        reply = registry.talk("GET", path)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        assert reply.headers["WWW-Authenticate"].startswith('Basic realm="')
        for wrong in (basic("ali", "x"), basic("eve", "open sesame"), "Basic !", "Basic", "x"):
            assert registry.talk("GET", path, Authorization=wrong).status == 401


def test_the_log_says_who_it_was(new_registry, htpasswd):
    registry = new_registry(htpasswd=htpasswd)
    registry.talk("GET", "/v2/", Authorization=ALI)
    registry.talk("GET", "/v2/none/manifests/1", Authorization=ALI)
    # Written when an answer is on its way, and by several threads.
    assert until(lambda: len(registry.log) == 2)
    assert {(each.user, each.status) for each in registry.log} == {("ali", 200), ("ali", 404)}


def test_rules_are_kept(new_registry, htpasswd, rules):
    talk = new_registry(htpasswd=htpasswd, access=rules).talk
    talk.headers = {"Authorization": ALI}
    for name in ("public/app", "team/app", "shared", "secret/app"):
        digest = talk.push(name, "1")
    talk.headers = {"Authorization": BOB}
    statuses = {
        name: talk("GET", f"/v2/{name}/manifests/1").status
        for name in ("public/app", "team/app", "shared", "secret/app")
    }
    assert statuses == {"public/app": 200, "team/app": 200, "shared": 200, "secret/app": 403}
    talk.push("team/new", "1")
    assert talk("POST", "/v2/shared/blobs/uploads/").code == "DENIED"
    assert talk("DELETE", f"/v2/team/app/manifests/{digest}").code == "DENIED"
    assert talk("GET", "/v2/_catalog").json["repositories"] == [
        *("public/app", "shared", "team/app", "team/new")
    ]
    talk.headers = {}
    assert talk("GET", "/v2/").status == 200
    assert talk("GET", "/v2/public/app/manifests/1").status == 200
    assert talk("GET", "/v2/shared/manifests/1").status == 401
    assert talk("GET", "/v2/_catalog").json["repositories"] == ["public/app"]


def test_everybody_may_pull_when_told_so(new_registry, htpasswd):
    talk = new_registry(htpasswd=htpasswd, anonymous_pull=True).talk
    talk.headers = {"Authorization": BOB}
    talk.push("app", "1")
    talk.headers = {}
    assert talk.is_whole("app", "1")
    assert talk("POST", "/v2/app/blobs/uploads/").status == 401


@pytest.mark.parametrize("settings", [{"tokens": True}, {"anonymous_pull": True}])
def test_rules_without_users_are_a_mistake(new_registry, settings):
    with pytest.raises(StoreError, match="need an htpasswd file"):
        new_registry(**settings)


# Tokens


@pytest.fixture
def tokens(new_registry, htpasswd, rules):
    """A registry with tokens and rules; its `token` gets one."""
    registry = new_registry(htpasswd=htpasswd, access=rules, tokens=True)

    def token(*scopes: str, who: str = "") -> str:
        query = "&".join(["service=wcbuild", *(f"scope={scope}" for scope in scopes)])
        headers = {"Authorization": who} if who else {}
        reply = registry.talk("GET", f"/token?{query}", **headers)
        assert reply.status == 200, reply
        assert reply.json["token"] == reply.json["access_token"]
        return f"Bearer {reply.json['token']}"

    registry.token = token
    return registry


def test_a_challenge_says_where_tokens_are_and_for_what(tokens):
    reply = tokens.talk("POST", "/v2/team/app/blobs/uploads/")
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == (
        f'Bearer realm="{tokens.url}/token",service="wcbuild",scope="repository:team/app:pull,push"'
    )
    assert "scope" not in tokens.talk("GET", "/v2/").headers["WWW-Authenticate"]
    mount = f"/v2/team/app/blobs/uploads/?mount={digest_of(b'x')}&from=shared"
    challenge = tokens.talk("POST", mount).headers["WWW-Authenticate"]
    assert 'scope="repository:shared:pull repository:team/app:pull,push"' in challenge
    # But who has no token for it just uploads.
    token = tokens.token("repository:team/app:pull,push", who=BOB)
    assert tokens.talk("POST", mount, Authorization=token).status == 202


def test_the_challenge_leads_to_the_outside_address(new_registry, htpasswd):
    talk = new_registry(htpasswd=htpasswd, tokens=True, url="https://registry.example").talk
    challenge = talk("GET", "/v2/").headers["WWW-Authenticate"]
    assert 'realm="https://registry.example/token"' in challenge


def test_a_token_does_what_it_says(tokens):
    talk = tokens.talk
    talk.headers = {"Authorization": tokens.token("repository:team/app:pull,push", who=BOB)}
    assert talk("GET", "/v2/").status == 200
    talk.push("team/app", "1")
    assert talk.is_whole("team/app", "1")
    for method, path in (
        ("GET", "/v2/shared/manifests/1"),
        ("DELETE", "/v2/team/app/manifests/1"),
        ("GET", "/v2/_catalog"),
    ):
        reply = talk(method, path)
        assert reply.status == 401
        assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]


def test_a_token_has_no_more_than_the_rules_allow(tokens):
    reply = tokens.talk(
        "GET",
        "/token?scope=repository:team/app:pull,push,delete&scope=repository:secret:pull",
        Authorization=BOB,
    )
    assert reply.json["scope"] == "repository:team/app:pull,push"


def test_nobody_gets_a_token_for_what_everybody_may(tokens):
    reply = tokens.talk("GET", "/token?scope=repository:public/a:pull,push")
    assert reply.json["scope"] == "repository:public/a:pull"


def test_the_catalog_shows_what_its_reader_may_pull(tokens):
    talk = tokens.talk
    for name in ("team/app", "secret"):
        talk.headers = {"Authorization": tokens.token(f"repository:{name}:pull,push", who=ALI)}
        talk.push(name, "1")
    talk.headers = {"Authorization": tokens.token("registry:catalog:*", who=BOB)}
    assert talk("GET", "/v2/_catalog").json["repositories"] == ["team/app"]


def test_tokens_are_given_to_forms(tokens):
    form = (
        "grant_type=password&service=wcbuild&client_id=x&username=bob&password=swordfish"
        "&scope=repository:team/app:pull"
    )
    reply = tokens.talk("POST", "/token", form)
    assert reply.json["scope"] == "repository:team/app:pull"
    assert tokens.talk("POST", "/token", form.replace("swordfish", "x")).status == 401
    assert tokens.talk("POST", "/token", form.replace("=password", "=x", 1)).status == 400
    assert tokens.talk("POST", "/token", form.replace("wcbuild", "x")).status == 400
    assert tokens.talk("POST", "/token", "x" * 100_000).status == 413


def test_a_wrong_password_gets_no_token(tokens):
    for wrong in (basic("bob", "x"), "Basic x", "Bearer x"):
        assert tokens.talk("GET", "/token", Authorization=wrong).status == 401


def test_tokens_outlive_a_restart(new_registry, htpasswd, tmp_path):
    first = new_registry(htpasswd=htpasswd, tokens=True)
    token = first.talk("GET", "/token?scope=repository:a:pull,push", Authorization=BOB).json[
        "token"
    ]
    key = tmp_path / "registry/token.key"
    assert key.stat().st_mode & 0o777 == 0o600
    shutil.copytree(tmp_path / "registry", tmp_path / "copy")
    second = new_registry(root=tmp_path / "copy", htpasswd=htpasswd, tokens=True)
    second.talk.headers = {"Authorization": f"Bearer {token}"}
    second.talk.push("a", "1")


def test_a_read_only_registry_has_tokens_without_writing_a_key(new_registry, htpasswd, tmp_path):
    new_registry().talk.push("a", "1")
    registry = new_registry(htpasswd=htpasswd, tokens=True, read_only=True)
    reply = registry.talk("GET", "/token?scope=repository:a:pull", Authorization=BOB)
    registry.talk.headers = {"Authorization": f"Bearer {reply.json['token']}"}
    assert registry.talk.is_whole("a", "1")
    assert not (tmp_path / "registry/token.key").exists()


@pytest.mark.parametrize("is_token", [False, True])
def test_our_own_client_logs_in_pushes_and_pulls(new_registry, new_client, htpasswd, is_token):
    registry = new_registry(htpasswd=htpasswd, tokens=is_token)
    client = new_client({registry.host: Credential(username="ali", password=Secret("open sesame"))})
    client.login(registry.host, "ali", Secret("open sesame"))
    base, app = (
        client.repository(Reference.parse(f"{registry.host}/team/{name}"))
        for name in ("base", "app")
    )
    layer = base.put_new(io.BytesIO(b"layer"), mediatypes.OCI_LAYER)
    config = app.put_new(io.BytesIO(b"{}"), mediatypes.OCI_CONFIG)
    assert app.mount(layer, base)
    document = Manifest.build(config=config, layers=[layer])
    app.put(io.BytesIO(document.raw), document.descriptor)
    app.tag(document.descriptor, "1")
    assert app.resolve("1") == document.descriptor
    assert app.open(layer).read() == b"layer"
    assert list(app.tags()) == ["1"]
    with pytest.raises(UnauthorizedError, match="wrong user name or password"):
        client.login(registry.host, "ali", Secret("wrong"))
