"""Challenges and tokens, and that credentials reach nobody but who they are for."""

import base64
import io
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ProtocolError, RegistryError, UnauthorizedError, UnreachableError
from registry.reference import Reference
from registry.remote.auth import (
    Challenge,
    format_scopes,
    may_receive,
    parse_challenges,
    parse_scopes,
)
from registry.remote.credentials import Credential, Secret

BASIC = f"Basic {base64.b64encode(b'ali:open sesame').decode()}"


@pytest.fixture
def blob(simulator, describe):
    simulator.add_blob("team/app", b"content")
    return describe(b"content")


# Reading challenges and scopes


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        ('BASIC Realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://t/token",service="s",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://t/token",
                        "service": "s",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            'Basic realm="x", Bearer realm="y", service=z',
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})],
        ),
        ('Bearer realm = "a\\"b\\\\c" , x = y', [("bearer", {"realm": 'a"b\\c', "x": "y"})]),
        (
            'Negotiate, NTLM abc=, Basic realm="r"',
            [("negotiate", {}), ("ntlm", {}), ("basic", {"realm": "r"})],
        ),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ('realm="orphan"', []),
    ],
)
def test_reads_challenges(header, expected):
    assert parse_challenges(header) == tuple(
        Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in expected
    )


@given(st.text(alphabet='Basic Bearer=",\\ \t[]realm;:/', max_size=300))
def test_reads_any_header_without_failing(header):
    parse_challenges(header)


def test_attack_huge_challenge_is_read_quickly():
    begin = time.process_time()
    for text in ('Bearer realm="' + "\\" * 10_000_000, "a" * 10_000_000, " ,=" * 3_000_000):
        parse_challenges(text)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "text",
    [
        "repository:a/b:pull",
        "repository:a/b:pull,push repository:c:pull",
        "repository:host:5000/a:pull",
        "registry:catalog:*",
    ],
)
def test_scopes_are_written_as_they_were_read(text):
    assert " ".join(format_scopes(parse_scopes(text))) == text


def test_scopes_for_one_resource_are_joined():
    scopes = parse_scopes("repository:a:push") | parse_scopes("repository:a:pull")
    assert format_scopes(scopes) == ["repository:a:pull,push"]


# Ways in


def test_sends_nothing_to_a_registry_that_asks_for_nothing(new_client, at, simulator, ali, blob):
    client = new_client({simulator.host: ali})
    assert client.repository(at("team/app")).open(blob).read() == b"content"
    assert not any(request.authorization for request in simulator.requests)
    assert client._credentials.asked == [], "no helper is run for nothing"


def test_answers_a_basic_challenge_and_then_stays_logged_in(new_client, at, simulator, ali, blob):
    simulator.require_basic("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    assert repository.has(blob)
    assert repository.has(blob)
    assert [r.authorization for r in simulator.sent("HEAD")] == ["", BASIC, BASIC]


def test_answers_a_bearer_challenge_with_a_token(new_client, at, simulator, ali, blob):
    simulator.require_token("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    assert repository.has(blob)
    assert repository.open(blob).read() == b"content"
    (asked,) = simulator.sent("GET", "/token")
    assert asked.authorization == BASIC
    query = parse_qs(urlsplit(asked.path).query)
    assert query["service"] == ["simulator"]
    assert query["scope"] == ["repository:team/app:pull"]
    assert query["account"] == ["ali"]
    assert all(
        r.authorization.startswith(("Bearer ", "")) and r.authorization != BASIC
        for r in simulator.requests
        if r is not asked
    )


def test_pulls_anonymously_with_a_token(new_client, at, simulator, blob):
    simulator.require_token("ali", "open sesame", anonymous_pull=True)
    assert new_client().repository(at("team/app")).open(blob).read() == b"content"
    (asked,) = simulator.sent("GET", "/token")
    assert asked.authorization == ""


def test_pushing_asks_for_a_wider_token_once(new_client, at, simulator, ali, describe):
    simulator.require_token("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    assert not repository.has(describe(b"new"))
    repository.put(io.BytesIO(b"new"), describe(b"new"))
    assert repository.has(describe(b"new"))
    scopes = [parse_qs(urlsplit(r.path).query)["scope"] for r in simulator.sent("GET", "/token")]
    assert scopes == [["repository:team/app:pull"], ["repository:team/app:pull,push"]]


def test_mounting_asks_for_both_repositories(new_client, at, simulator, ali, describe):
    simulator.require_token("ali", "open sesame")
    simulator.add_blob("team/base", b"shared")
    client = new_client({simulator.host: ali})
    target, source = client.repository(at("team/app")), client.repository(at("team/base"))
    assert target.mount(describe(b"shared"), source)
    (asked,) = simulator.sent("GET", "/token")
    assert parse_qs(urlsplit(asked.path).query)["scope"] == [
        "repository:team/app:pull,push",
        "repository:team/base:pull",
    ]


def test_identity_token_is_posted_and_never_sent_as_a_password(new_client, at, simulator, blob):
    simulator.require_token(identity_token="refresh-me")
    credential = Credential(username="ali", identity_token=Secret("refresh-me"))
    assert new_client({simulator.host: credential}).repository(at("team/app")).has(blob)
    (asked,) = simulator.sent("POST", "/token")
    assert b"grant_type=refresh_token" in asked.body
    assert asked.authorization == ""
    assert simulator.sent("GET", "/token") == []


def test_registry_token_is_sent_as_it_is(new_client, at, simulator, blob):
    simulator.require_token()
    credential = Credential(registry_token=Secret("ready-made"))
    with pytest.raises(UnauthorizedError):
        new_client({simulator.host: credential}).repository(at("team/app")).has(blob)
    assert simulator.sent("HEAD")[-1].authorization == "Bearer ready-made"


def test_both_spellings_of_a_token_are_read(new_client, at, simulator, blob):
    simulator.require_token(anonymous_pull=True)
    repository = new_client().repository(at("team/app"))
    simulator.fail_next("GET", 200, body=b'{"access_token": "abc", "expires_in": 9}', at="/token")
    with pytest.raises(UnauthorizedError):
        repository.has(blob)
    assert simulator.sent("HEAD")[-1].authorization == "Bearer abc"


def test_expired_token_is_renewed_before_it_is_refused(
    new_client, at, simulator, blob, monkeypatch
):
    simulator.require_token(anonymous_pull=True, expires_in=3600)
    repository = new_client().repository(at("team/app"))
    assert repository.has(blob)
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 3595)
    monkeypatch.setattr("registry.remote.auth.time", later)
    assert repository.has(blob)
    assert [r.status for r in simulator.sent("HEAD")] == [401, 200, 200]
    assert len(simulator.sent("GET", "/token")) == 2


def test_token_revoked_early_is_renewed(new_client, at, simulator, blob):
    simulator.require_token(anonymous_pull=True)
    repository = new_client().repository(at("team/app"))
    assert repository.has(blob)
    simulator.expire_tokens()
    assert repository.has(blob)


def test_many_threads_fetch_one_token(new_client, at, simulator, blob):
    simulator.require_token(anonymous_pull=True)
    repository = new_client().repository(at("team/app"))
    threads = [threading.Thread(target=repository.has, args=(blob,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(simulator.sent("GET", "/token")) == 1


# Being refused


def test_wrong_password_is_said_so(new_client, at, simulator, blob):
    wrong = Credential(username="ali", password=Secret("wrong"))
    for require in (simulator.require_token, simulator.require_basic):
        require("ali", "open sesame")
        with pytest.raises(UnauthorizedError, match="wrong user name or password") as caught:
            new_client({simulator.host: wrong}).repository(at("team/app")).has(blob)
        assert "repository:team/app:pull" in str(caught.value)


def test_no_credentials_is_said_with_what_may_help(new_client, at, simulator, blob):
    for require in (simulator.require_token, simulator.require_basic):
        require("ali", "open sesame")
        with pytest.raises(UnauthorizedError, match=f"wcbuild login {simulator.host}"):
            new_client().repository(at("team/app")).has(blob)


def test_anonymous_token_that_does_not_suffice_is_said_with_what_may_help(
    new_client, at, simulator, describe
):
    simulator.require_token("ali", "open sesame", anonymous_pull=True)
    with pytest.raises(UnauthorizedError, match="wcbuild login"):
        new_client().repository(at("team/app")).put(io.BytesIO(b"x"), describe(b"x"))


def test_token_that_grants_too_little_is_asked_for_once_more_and_no_more(
    new_client, at, simulator, ali, describe
):
    simulator.require_token("ali", "open sesame", grant={"pull"})
    with pytest.raises(UnauthorizedError):
        new_client({simulator.host: ali}).repository(at("team/app")).put(
            io.BytesIO(b"x"), describe(b"x")
        )
    assert len(simulator.sent("GET", "/token")) == 1
    assert len(simulator.sent("POST", "uploads")) == 2


def test_unknown_scheme_is_said_so(new_client, at, simulator, ali, blob):
    simulator.fail_next("HEAD", 401, headers={"WWW-Authenticate": "Negotiate"})
    with pytest.raises(UnauthorizedError, match="not supported"):
        new_client({simulator.host: ali}).repository(at("team/app")).has(blob)


def test_forbidden_is_told_in_the_registrys_words(repository, simulator, blob):
    body = b'{"errors":[{"code":"DENIED","message":"not for you"}]}'
    simulator.fail_next("GET", 403, body=body, at="/blobs/")
    with pytest.raises(UnauthorizedError, match="DENIED: not for you"):
        repository.open(blob)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"token": ""}',
        b'{"token": 3}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "a b"}',
        b'{"token": "\\u00e9"}',
        b'{"token": "a", "expires_in": [1]}',
    ],
)
def test_attack_token_that_is_none_is_refused(new_client, at, simulator, blob, body):
    simulator.require_token(anonymous_pull=True)
    simulator.fail_next("GET", 200, body=body, at="/token")
    with pytest.raises(ProtocolError, match="there is no token in it"):
        new_client().repository(at("team/app")).has(blob)


def test_attack_endless_token_is_refused(new_client, at, simulator, blob):
    simulator.require_token(anonymous_pull=True)
    simulator.fail_next("GET", 200, body=b" " * 1_100_000, at="/token")
    with pytest.raises(RegistryError, match="larger than the limit"):
        new_client().repository(at("team/app")).has(blob)


# Realms


@pytest.mark.parametrize(
    ("realm", "registry", "allowed"),
    [
        ("auth.docker.io", "registry-1.docker.io", True),
        ("ghcr.io", "ghcr.io", True),
        ("GHCR.io", "ghcr.io", True),
        ("gitlab.com", "registry.gitlab.com", True),
        ("auth.example.co.uk", "registry.example.co.uk", True),
        ("evil.co.uk", "example.co.uk", False),
        ("evil.com", "registry.example.com", False),
        ("example.com.evil.com", "example.com", False),
        ("notexample.com", "example.com", False),
        ("com", "example.com", False),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "registry.example.com", False),
        ("registry.example.com", "127.0.0.1", False),
        ("10.9.9.1", "10.0.0.1", False),
        ("10.1.0.1", "10.0.0.1", False),
        ("auth", "registry", False),
        ("", "registry", False),
    ],
)
def test_credentials_go_to_realms_of_the_same_owner_only(realm, registry, allowed):
    assert may_receive(realm, registry) is allowed


def test_attack_realm_at_another_host_gets_no_credentials(
    new_client, at, simulator, new_simulator, ali, blob, monkeypatch
):
    """A stranger's token server is asked anonymously, and the refusal says why."""
    thief = new_simulator()
    thief.require_token("ali", "open sesame")
    simulator.require_token("ali", "open sesame", realm=f"{thief.url}/token")
    # Both are on this machine; only the judgement about owners is under test.
    monkeypatch.setattr("registry.remote.auth.may_receive", lambda _realm, _registry: False)
    with pytest.raises(UnauthorizedError, match="the credentials were not sent there"):
        new_client({simulator.host: ali}).repository(at("team/app")).has(blob)
    assert [r.authorization for r in thief.requests] == [""]
    assert "account" not in thief.requests[0].path


@pytest.mark.parametrize(
    ("realm", "reason"),
    [
        ("http://registry.example.com/token", "plain HTTP"),
        ("http://169.254.169.254/latest/meta-data", "plain HTTP"),
        ("https://169.254.169.254/latest/meta-data", "link-local"),
        ("https://[fe80::1]/", "link-local"),
        ("file:///etc/passwd", "not an HTTP URL"),
        ("https://user:pass@127.0.0.1/", "not allowed there"),
        ("https://127.0.0.1\\\\@evil.com/", "not allowed there"),
        ("token", "not an HTTP URL"),
    ],
)
def test_attack_realm_that_must_not_be_asked_is_refused(
    new_client, at, simulator, ali, blob, realm, reason
):
    simulator.require_token("ali", "open sesame", realm=realm)
    with pytest.raises(UnreachableError, match=reason):
        new_client({simulator.host: ali}).repository(at("team/app")).has(blob)


def test_attack_redirect_of_a_token_request_is_not_followed(
    new_client, at, simulator, new_simulator, ali, blob
):
    thief = new_simulator()
    simulator.require_token("ali", "open sesame")
    simulator.fail_next("GET", 307, 1, {"Location": f"{thief.url}/token"}, at="/token")
    with pytest.raises(ProtocolError, match="307"):
        new_client({simulator.host: ali}).repository(at("team/app")).has(blob)
    assert thief.requests == []


def test_attack_challenge_of_a_storage_host_gets_no_credentials(
    new_client, at, simulator, new_simulator, ali, blob
):
    """CVE-2020-15157: the other host asked, and got the registry's credentials."""
    thief = new_simulator()
    thief.require_basic("ali", "open sesame")
    simulator.require_basic("ali", "open sesame")
    simulator.redirect_blobs(f"{thief.url}/v2/team/app/blobs/{blob.digest}")
    client = new_client({simulator.host: ali, thief.host: ali})
    with pytest.raises(UnreachableError, match="401"):
        client.repository(at("team/app")).open(blob)
    assert thief.requests
    assert not any(r.authorization for r in thief.requests)


# Logging in


def test_login_accepts_the_right_password_only(new_client, simulator):
    for require in (simulator.require_token, simulator.require_basic):
        require("ali", "open sesame")
        client = new_client()
        client.login(simulator.host, "ali", Secret("open sesame"))
        client.login(f"http://{simulator.host}/v2/", "ali", Secret("open sesame"))
        with pytest.raises(UnauthorizedError, match="wrong user name or password"):
            client.login(simulator.host, "ali", Secret("wrong"))


def test_login_keeps_an_identity_token_instead_of_the_password(new_client, simulator, at, blob):
    simulator.require_token("ali", "open sesame", gives_identity="for-later")
    kept = new_client().login(simulator.host, "ali", Secret("open sesame"))
    assert kept == Credential(username="ali", identity_token=Secret("for-later"))
    assert new_client({simulator.host: kept}).repository(at("team/app")).has(blob)
    assert b"refresh_token=for-later" in simulator.sent("POST", "/token")[-1].body


def test_login_keeps_the_password_where_there_is_nothing_better(new_client, simulator):
    for require in (simulator.require_token, simulator.require_basic):
        require("ali", "open sesame")
        kept = new_client().login(simulator.host, "ali", Secret("open sesame"))
        assert kept == Credential(username="ali", password=Secret("open sesame"))


def test_an_identity_token_that_is_good_once_is_followed_by_the_next(
    new_client, simulator, at, describe
):
    simulator.require_token(identity_token="first", rotates=True)
    credential = Credential(username="ali", identity_token=Secret("first"))
    repository = new_client({simulator.host: credential}).repository(at("team/app"))
    assert not repository.has(describe(b"new"))
    repository.put(io.BytesIO(b"new"), describe(b"new"))
    assert len(simulator.sent("POST", "/token")) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 405])
def test_an_identity_token_that_is_not_accepted_is_said_so(new_client, simulator, at, blob, status):
    simulator.require_token(identity_token="x")
    simulator.fail_next("POST", status, body=b'{"error": "invalid_grant"}', at="/token")
    credential = Credential(username="ali", identity_token=Secret("x"))
    with pytest.raises(UnauthorizedError, match="does not accept the identity token") as caught:
        new_client({simulator.host: credential}).repository(at("team/app")).has(blob)
    assert f"wcbuild login {simulator.host}" in str(caught.value)
    assert not any(r.authorization.startswith("Basic") for r in simulator.requests)


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_knows_oauth2_alone_gets_the_password_posted(
    new_client, simulator, at, ali, blob, status
):
    simulator.require_token("ali", "open sesame")
    simulator.fail_next("GET", status, at="/token")
    assert new_client({simulator.host: ali}).repository(at("team/app")).has(blob)
    (posted,) = simulator.sent("POST", "/token")
    assert b"grant_type=password" in posted.body
    assert posted.authorization == ""


def test_login_at_a_web_page_fails(new_client, simulator):
    """A guest network's login page answers every request with 200."""
    simulator.fail_next("GET", 200, 9, body=b"\n<!DOCTYPE html><p>Log in", at="/v2/")
    with pytest.raises(ProtocolError, match="a web page came instead of an answer"):
        new_client().login(simulator.host, "ali", Secret("open sesame"))


def test_a_web_page_in_the_place_of_a_token_is_said_to_be_one(new_client, at, simulator, ali, blob):
    simulator.require_token("ali", "open sesame")
    simulator.fail_next("GET", 200, 9, body=b"<html>", at="/token")
    with pytest.raises(ProtocolError, match="a web page came instead of an answer"):
        new_client({simulator.host: ali}).repository(at("team/app")).has(blob)


def test_login_at_something_that_is_no_registry_fails(new_client, simulator):
    simulator.fail_next("GET", 404, times=9, at="/v2/")
    with pytest.raises(RegistryError, match="not found"):
        new_client().login(simulator.host, "ali", Secret("open sesame"))


def test_repositories_of_one_registry_have_their_own_credentials(new_client, simulator, at):
    class ByRepository:
        def find(self, registry, repository):
            return Credential(username=repository, password=Secret("x"))

    client = new_client()
    client._credentials = ByRepository()
    simulator.require_basic("team/one", "x")
    assert list(client.repository(at("team/one")).tags()) == []
    with pytest.raises(UnauthorizedError):
        list(client.repository(Reference.parse(f"{simulator.host}/team/two")).tags())
