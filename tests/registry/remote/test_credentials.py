"""Credentials in docker's and podman's files and in helper programs."""

import base64
import contextlib
import json
import os
import stat
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from registry.remote import credentials as module
from registry.remote.credentials import Credential, Credentials, CredentialsError, Secret


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def password(username: str, text: str) -> Credential:
    return Credential(username=username, password=Secret(text))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def docker(home):
    """Write docker's file."""

    def write(config: object):
        path = home / ".docker" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        return path

    return write


@pytest.fixture
def helper(tmp_path):
    """Install a credential helper that is a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(name: str, script: str):
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return install


@pytest.fixture
def credentials(home, tmp_path):
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    return Credentials.from_environment({"HOME": str(home), "PATH": path})


# Reading


def test_finds_nothing_where_there_is_nothing(credentials):
    assert credentials.find("example.com", "a") is None


@pytest.mark.parametrize(
    "key",
    [
        "example.com",
        "https://example.com",
        "https://example.com/",
        "https://example.com/v1/",
        "http://example.com/v2",
        "example.com/",
    ],
)
def test_reads_docker_file_in_all_spellings_of_a_host(credentials, docker, key):
    docker({"auths": {key: auth("ali:open:sesame")}})
    assert credentials.find("example.com", "a/b") == password("ali", "open:sesame")
    assert credentials.find("other.example.com", "a/b") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_reads_the_old_name_of_docker_io(credentials, docker, key):
    docker({"auths": {key: auth("ali:x")}})
    assert credentials.find("docker.io", "library/debian") == password("ali", "x")


def test_ports_are_part_of_a_host(credentials, docker):
    docker({"auths": {"example.com:5000": auth("ali:x")}})
    assert credentials.find("example.com:5000", "a") == password("ali", "x")
    assert credentials.find("example.com", "a") is None


def test_reads_tokens(credentials, docker):
    docker(
        {
            "auths": {
                "a.example": {**auth("ali:"), "identitytoken": "refresh"},
                "b.example": {"registrytoken": "ready"},
                "c.example": {"username": "u", "password": "p"},
                "d.example": {},
            }
        }
    )
    assert credentials.find("a.example") == Credential(
        username="ali", identity_token=Secret("refresh")
    )
    assert credentials.find("b.example") == Credential(registry_token=Secret("ready"))
    assert credentials.find("c.example") == password("u", "p")
    assert credentials.find("d.example") is None


def test_most_specific_key_wins(credentials, home):
    path = home / ".config" / "containers" / "auth.json"
    path.parent.mkdir(parents=True)
    keys = {"example.com": "host:1", "example.com/team": "team:2", "example.com/team/app": "app:3"}
    path.write_text(json.dumps({"auths": {key: auth(pair) for key, pair in keys.items()}}))
    assert credentials.find("example.com", "team/app") == password("app", "3")
    assert credentials.find("example.com", "team/other") == password("team", "2")
    assert credentials.find("example.com", "teams/app") == password("host", "1")
    assert credentials.find("example.com") == password("host", "1")


def test_files_are_asked_in_order(home, tmp_path):
    places = {
        "docker": tmp_path / "docker" / "config.json",
        "named": tmp_path / "named.json",
        "runtime": tmp_path / "run" / "containers" / "auth.json",
        "config": tmp_path / "xdg" / "containers" / "auth.json",
    }
    for name, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"example.com": auth(f"{name}:x")}}))
    credentials = Credentials.from_environment(
        {
            "HOME": str(home),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
            "REGISTRY_AUTH_FILE": str(places["named"]),
            "XDG_RUNTIME_DIR": str(tmp_path / "run"),
            "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        }
    )
    for name, path in places.items():
        found = credentials.find("example.com")
        assert found is not None
        assert found.username == name
        path.unlink()
    assert credentials.find("example.com") is None


def test_podmans_file_of_a_user_without_a_session_is_read(home, tmp_path):
    path = tmp_path / "run" / "containers" / str(os.getuid()) / "auth.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {"example.com": auth("ali:x")}}))

    def found(**variables: str):
        environment = {"HOME": str(home)} | variables
        return Credentials.from_environment(environment, tmp_path / "run").find("example.com")

    assert found() == password("ali", "x")
    assert found(XDG_RUNTIME_DIR=str(tmp_path)) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("[" * 100_000, "is not JSON"),
        ('{"auths": []}', '"auths" is not an object'),
        ('{"credHelpers": []}', '"credHelpers" is not an object'),
        ('{"auths": {"example.com": {"auth": "%%%"}}}', "is not base64"),
        ('{"auths": {"example.com": {"auth": "/w=="}}}', "is not base64"),
    ],
)
def test_broken_file_is_named_with_what_is_wrong(credentials, docker, config, reason):
    path = docker(config)
    with pytest.raises(CredentialsError, match=reason) as caught:
        credentials.find("example.com")
    assert str(path) in str(caught.value)


def test_empty_file_and_null_are_nothing(credentials, docker):
    for config in ("", "{}", '{"auths": null, "credsStore": "", "credHelpers": null}'):
        docker(config)
        assert credentials.find("example.com") is None


def test_secrets_do_not_show(credentials, docker):
    docker({"auths": {"example.com": auth("ali:topsecret")}})
    found = credentials.find("example.com")
    assert "topsecret" not in f"{found} {found!r} {found.password} {replace(found, username='x')}"
    assert found.password.reveal() == "topsecret"


# Helpers


def test_asks_the_helper_and_gives_it_the_host_on_stdin(credentials, docker, helper, tmp_path):
    docker({"credsStore": "store"})
    seen = tmp_path / "seen"
    helper("store", f'echo "$1" >{seen}; cat >>{seen}; echo \'{{"Username":"u","Secret":"s"}}\'')
    assert credentials.find("example.com:5000", "a") == password("u", "s")
    assert seen.read_text() == "get\nexample.com:5000"
    credentials.find("docker.io", "a")
    assert seen.read_text() == "get\nhttps://index.docker.io/v1/"


def test_helper_for_a_host_goes_before_the_store(credentials, docker, helper):
    docker({"credsStore": "store", "credHelpers": {"example.com": "special"}})
    helper("special", 'echo \'{"Username":"special","Secret":"s"}\'')
    helper("store", 'echo \'{"Username":"store","Secret":"s"}\'')
    assert credentials.find("example.com").username == "special"
    assert credentials.find("other.example").username == "store"


def test_helper_that_has_an_identity_token_says_so_by_the_user(credentials, docker, helper):
    docker({"credsStore": "store"})
    helper("store", 'echo \'{"Username":"<token>","Secret":"refresh"}\'')
    assert credentials.find("example.com") == Credential(identity_token=Secret("refresh"))


def test_helper_that_knows_nothing_leaves_it_to_the_files(credentials, docker, helper):
    docker({"credsStore": "store", "auths": {"example.com": auth("ali:x")}})
    helper("store", "echo credentials not found in native keychain; exit 1")
    assert credentials.find("example.com") == password("ali", "x")
    assert credentials.find("other.example") is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo boom; exit 1", "boom"),
        ("exit 3", "failed with status 3"),
        ("echo rubbish", "not a credential"),
        ("echo '{}'", "not a credential"),
        ('echo \'{"Username":1,"Secret":2}\'', "not a credential"),
        ("printf '\\033[2Jx'; exit 1", r"\[2Jx$"),
        ("head -c 100000 /dev/zero", "more than 65536 bytes"),
        ("yes", "more than 65536 bytes"),
    ],
)
def test_helper_that_fails_is_named_with_what_it_said(
    credentials, docker, helper, monkeypatch, script, reason
):
    if script == "yes":  # which does not end by itself
        monkeypatch.setattr(module, "_HELPER_END_S", 0.5)
    docker({"credsStore": "store"})
    helper("store", script)
    with pytest.raises(CredentialsError, match=reason) as caught:
        credentials.find("example.com")
    assert "docker-credential-store" in str(caught.value)
    assert str(caught.value).isprintable()


def test_helper_that_is_not_installed_is_named(credentials, docker):
    docker({"credsStore": "gone"})
    with pytest.raises(CredentialsError, match=r"docker-credential-gone: .* not installed"):
        credentials.find("example.com")


def test_attack_helper_that_never_answers_is_ended(credentials, docker, helper, monkeypatch):
    monkeypatch.setattr(module, "_HELPER_TIMEOUT_S", 0.3)
    docker({"credsStore": "slow"})
    helper("slow", "exec sleep 200")
    begin = time.monotonic()
    with pytest.raises(CredentialsError, match="no answer within"):
        credentials.find("example.com")
    assert time.monotonic() - begin < 60


def test_helper_that_answers_and_stays_is_ended(credentials, docker, helper, monkeypatch):
    monkeypatch.setattr(module, "_HELPER_END_S", 0.5)
    docker({"credsStore": "slow"})
    helper("slow", "echo boom; exec >&- sleep 200")
    begin = time.monotonic()
    with pytest.raises(CredentialsError):
        credentials.find("example.com")
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("name", ["../../tmp/x", "x y", "-h", "", "a/b", "a\nb", "a;b", ".x", 5])
def test_v86_attack_helper_name_that_leads_elsewhere_is_refused(
    credentials, docker, helper, tmp_path, name
):
    helper("x", f"touch {tmp_path}/ran")
    docker({"credHelpers": {"example.com": name}})
    if name == "":
        assert credentials.find("example.com") is None
    else:
        with pytest.raises(CredentialsError, match="no credential helper's name"):
            credentials.find("example.com")
    assert not (tmp_path / "ran").exists()


def test_attack_helper_in_the_current_folder_is_not_run(home, docker, tmp_path, monkeypatch):
    (tmp_path / "docker-credential-evil").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "docker-credential-evil").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    docker({"credsStore": "evil"})
    for path in (".", "", ":", "bin:."):
        with pytest.raises(CredentialsError, match="not installed"):
            Credentials.from_environment({"HOME": str(home), "PATH": path}).find("example.com")
    assert not (tmp_path / "ran").exists()


# Writing


def test_saves_what_docker_reads(credentials, home):
    credentials.save("example.com", password("ali", "open:sesame"))
    credentials.save("docker.io", password("hub", "x"))
    path = home / ".docker" / "config.json"
    assert json.loads(path.read_text()) == {
        "auths": {
            "example.com": auth("ali:open:sesame"),
            "https://index.docker.io/v1/": auth("hub:x"),
        }
    }
    assert path.read_text().startswith('{\n\t"auths"')
    assert credentials.find("example.com") == password("ali", "open:sesame")
    assert credentials.find("docker.io") == password("hub", "x")


def test_logs_in_and_out_by_a_url_as_well(credentials):
    credentials.save("https://example.com/v2/", password("ali", "x"))
    assert credentials.find("example.com") == password("ali", "x")
    assert credentials.erase("https://example.com/")
    credentials.save("index.docker.io", password("hub", "x"))
    assert credentials.find("docker.io") == password("hub", "x")


def test_v85_the_file_is_for_its_owner_only(credentials, docker, home):
    path = docker({})
    path.chmod(0o644)
    credentials.save("example.com", password("ali", "x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_folder_is_for_its_owner_only(credentials, home):
    credentials.save("example.com", password("ali", "x"))
    assert stat.S_IMODE((home / ".docker").stat().st_mode) == 0o700


def test_keeps_what_it_does_not_know(credentials, docker):
    path = docker({"HttpHeaders": {"a": "b"}, "auths": {"other": {"email": "x"}}, "psFormat": "é"})
    credentials.save("example.com", password("ali", "x"))
    config = json.loads(path.read_text())
    assert config["HttpHeaders"] == {"a": "b"}
    assert config["psFormat"] == "é"
    assert config["auths"]["other"] == {"email": "x"}


def test_saving_replaces_old_spellings(credentials, docker):
    path = docker({"auths": {"https://example.com/v1/": auth("old:x")}})
    credentials.save("example.com", password("new", "x"))
    assert json.loads(path.read_text())["auths"] == {"example.com": auth("new:x")}


def test_writes_through_a_symlink(credentials, home, tmp_path):
    (home / ".docker").mkdir()
    (tmp_path / "real.json").write_text("{}")
    (home / ".docker" / "config.json").symlink_to(tmp_path / "real.json")
    credentials.save("example.com", password("ali", "x"))
    assert (home / ".docker" / "config.json").is_symlink()
    assert "example.com" in (tmp_path / "real.json").read_text()


def test_saves_an_identity_token(credentials):
    token = Credential(username="ali", identity_token=Secret("refresh"))
    credentials.save("example.com", token)
    assert credentials.find("example.com") == token


def test_saves_with_the_helper_and_no_secret_in_the_file(credentials, docker, helper, tmp_path):
    path = docker({"credsStore": "store", "auths": {"example.com": auth("old:x")}})
    helper("store", f'echo "$1" >{tmp_path}/seen; cat >>{tmp_path}/seen')
    credentials.save("example.com", password("ali", "topsecret"))
    verb, _, text = (tmp_path / "seen").read_text().partition("\n")
    assert verb == "store"
    assert json.loads(text) == {
        "ServerURL": "example.com",
        "Username": "ali",
        "Secret": "topsecret",
    }
    assert json.loads(path.read_text())["auths"] == {"example.com": {}}


def test_failing_helper_changes_nothing(credentials, docker, helper):
    path = docker({"credsStore": "store", "auths": {"example.com": auth("old:x")}})
    before = path.read_bytes()
    helper("store", "echo locked; exit 1")
    with pytest.raises(CredentialsError, match="locked"):
        credentials.save("example.com", password("ali", "x"))
    assert path.read_bytes() == before


def test_erases(credentials, docker):
    path = docker({"auths": {"https://example.com/v2/": auth("a:b"), "other": auth("c:d")}})
    assert credentials.erase("example.com")
    assert not credentials.erase("example.com")
    assert json.loads(path.read_text())["auths"] == {"other": auth("c:d")}


def test_erases_with_the_helper(credentials, docker, helper, tmp_path):
    docker({"credsStore": "store"})
    helper("store", f'echo "$1" >{tmp_path}/seen; cat >>{tmp_path}/seen')
    assert credentials.erase("example.com")
    assert (tmp_path / "seen").read_text() == "erase\nexample.com"


def test_erasing_where_there_is_no_file_makes_none(credentials, home):
    assert not credentials.erase("example.com")
    assert not (home / ".docker").exists()


def test_broken_file_is_not_overwritten(credentials, docker):
    path = docker("{ broken")
    with pytest.raises(CredentialsError, match="is not JSON"):
        credentials.save("example.com", password("ali", "x"))
    assert path.read_text() == "{ broken"


def test_two_logins_at_once_both_stay(credentials, home):
    threads = [
        threading.Thread(target=credentials.save, args=(f"h{n}.example", password("u", "p")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((home / ".docker" / "config.json").read_text())["auths"]) == 8


def test_full_disk_or_missing_rights_are_told_with_the_place(home, tmp_path):
    (tmp_path / "file").write_text("")
    credentials = Credentials.from_environment(
        {"HOME": str(home), "DOCKER_CONFIG": str(tmp_path / "file")}
    )
    with pytest.raises(CredentialsError, match=str(tmp_path / "file")):
        credentials.save("example.com", password("ali", "x"))


def test_leaves_no_zombie(credentials, docker, helper):
    docker({"credsStore": "store"})
    helper("store", "echo boom; exit 1")
    with pytest.raises(CredentialsError):
        credentials.find("example.com")
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            assert (state, parent) != ("Z", str(os.getpid()))


# In the environment


def test_what_a_ci_job_sets_goes_before_the_files(home, docker):
    docker({"auths": {"a.example": auth("file:x"), "b.example": auth("file:x")}})
    inline = json.dumps({"auths": {"a.example": auth("inline:y")}})
    credentials = Credentials.from_environment({"HOME": str(home), "DOCKER_AUTH_CONFIG": inline})
    assert credentials.find("a.example") == password("inline", "y")
    assert credentials.find("b.example") == password("file", "x")


def test_broken_text_in_the_environment_is_named_and_not_shown(home):
    for text in ('{"auths": {"a.example": {"auth": "c2VjcmV0', '"c2VjcmV0"'):
        credentials = Credentials.from_environment({"HOME": str(home), "DOCKER_AUTH_CONFIG": text})
        with pytest.raises(CredentialsError, match=r"^DOCKER_AUTH_CONFIG: is not (a )?JSON") as e:
            credentials.find("a.example")
        assert "c2Vj" not in "".join(traceback.format_exception(e.value))
