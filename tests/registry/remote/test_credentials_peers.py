"""Files of credentials beside other tools': crane's is written by docker's own library."""

import json
import subprocess

import peers
import pytest

from registry.remote.credentials import Credential, Credentials, Secret

pytestmark = pytest.mark.peers


@pytest.fixture
def call(tmp_path):
    def run(*words: object, given: str = "", **environment: object) -> str:
        path = peers.tool(str(words[0]))
        done = subprocess.run(
            [path, *map(str, words[1:])],
            env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
            | {name: str(value) for name, value in environment.items()},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def ours(tmp_path):
    return Credentials.from_environment(
        {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "ours")}
    )


def login(credentials: Credentials, host: str, username: str, password: str) -> None:
    credentials.save(host, Credential(username=username, password=Secret(password)))


HOSTS = ("z.example:5000", "a.example", "docker.io", "m.example")


@pytest.mark.parametrize("before", ["", '{"psFormat": "table {{.ID}}", "auths": {"q": {}}}'])
def test_docker_and_we_write_the_same_bytes(call, ours, tmp_path, before):
    files = [tmp_path / name / "config.json" for name in ("ours", "theirs")]
    for path in files:
        path.parent.mkdir()
        if before:
            path.write_text(before)
    for host in HOSTS:
        login(ours, host, "ali", "open sesame")
        words = ("auth", "login", host, "-u", "ali", "--password-stdin")
        call("crane", *words, given="open sesame", DOCKER_CONFIG=tmp_path / "theirs")
        written = [json.loads(path.read_text()) for path in files]
        assert written[0] == written[1]
        if not before:  # its own keys docker puts in an order of its own
            assert files[0].read_bytes() == files[1].read_bytes()
    for host in HOSTS:
        assert ours.erase(host)
        call("crane", "auth", "logout", host, DOCKER_CONFIG=tmp_path / "theirs")
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())


def test_docker_finds_what_we_wrote_and_we_what_it_wrote(call, ours, tmp_path):
    login(ours, "a.example", "ali", "open:sesame")
    folder = tmp_path / "ours"
    answer = call("crane", "auth", "get", "a.example", DOCKER_CONFIG=folder)
    assert json.loads(answer) == {"Username": "ali", "Secret": "open:sesame"}
    words = ("auth", "login", "b.example", "-u", "bob", "--password-stdin")
    call("crane", *words, given="x", DOCKER_CONFIG=folder)
    assert ours.find("b.example") == Credential(username="bob", password=Secret("x"))
    assert ours.find("a.example") == Credential(username="ali", password=Secret("open:sesame"))


def test_skopeo_finds_what_we_wrote_and_we_what_it_wrote(call, ours, new_docker_registry, tmp_path):
    host = new_docker_registry(htpasswd=True)
    login(ours, host, "ali", "open sesame")
    found = call(
        "skopeo", "login", "--get-login", host, HOME=tmp_path, DOCKER_CONFIG=tmp_path / "ours"
    )
    assert found == "ali\n"
    runtime = tmp_path / "run"
    (runtime / "containers").mkdir(parents=True)
    words = ("login", "--tls-verify=false", "-u", "ali", "--password-stdin", host)
    call(
        "skopeo",
        *words,
        given="open sesame",
        XDG_RUNTIME_DIR=runtime,
        REGISTRY_AUTH_FILE=runtime / "containers" / "auth.json",
    )
    theirs = Credentials.from_environment({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)})
    assert theirs.find(host, "team/app") == Credential(
        username="ali", password=Secret("open sesame")
    )
