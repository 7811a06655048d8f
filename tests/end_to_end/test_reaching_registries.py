"""The command line and registries: settings in files, logging in and out, and one sentence for what is wrong."""

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import DAY, NOW, Authority
from simulator import RegistrySimulator

from registry.oci import mediatypes
from registry.oci.digest import sha256

pytestmark = pytest.mark.slow


class Machine:
    """A user's home, and the commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.root = folder / "store"
        self.home.mkdir()

    def write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __call__(self, *words: str, stdin: str = "", **variables: str):
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home), "WCBUILD_ROOT": str(self.root)}
        return subprocess.run(
            [sys.executable, "-m", "wcbuild", *words],
            env=kept | variables,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def refused(self, *words: str, status: int = 1, **options: str) -> str:
        """Run what has to fail with this status; return its one sentence."""
        before = self.images()
        done = self(*words, **options)
        assert done.returncode == status, done
        assert done.stdout == ""
        assert self.images() == before
        (line,) = done.stderr.strip().splitlines()
        assert "Traceback" not in line
        return line

    def images(self) -> str:
        return self("images").stdout


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def name(simulator):
    """An image on the simulator."""
    config = b'{"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
    add_image(simulator, config)
    return f"{simulator.host}/team/app:1"


def add_image(simulator, config: bytes, tag: str = "1") -> str:
    simulator.add_blob("team/app", config)
    described = {"mediaType": mediatypes.OCI_CONFIG, "digest": sha256(config), "size": len(config)}
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": described,
            "layers": [],
        }
    ).encode()
    return simulator.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, tag)


def test_a_configured_mirror_is_pulled_from(machine, name, simulator, new_simulator):
    mirror = new_simulator()
    simulator.repositories["cache/team/app"] = simulator.repositories["team/app"]
    machine.write(
        ".config/wcbuild/config.toml",
        f'[registry."{mirror.host}"]\nmirrors = ["{simulator.host}/cache"]\n',
    )
    done = machine("pull", f"{mirror.host}/team/app:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{mirror.host}/team/app@sha256:")
    assert mirror.requests == []
    assert f"{mirror.host}/team/app" in machine.images()


def test_when_no_mirror_has_it_each_that_was_asked_is_told(machine, simulator, new_simulator):
    gone = new_simulator()
    gone.stop()
    machine.write(
        ".config/wcbuild/config.toml",
        f'[registry."{simulator.host}"]\nmirrors = ["{gone.host}/cache"]\n',
    )
    machine.write("context/Dockerfile", f"FROM {simulator.host}/team/none:1\n")
    for words in (
        ("pull", f"{simulator.host}/team/none:1"),
        ("build", str(machine.home / "context")),
    ):
        done = machine(*words)
        assert done.returncode == 1
        told = done.stderr.splitlines()
        assert f"{simulator.host}/team/none:1: not found in {simulator.host}" in told[0]
        assert told[-1].startswith(f"  asked too: {gone.host}: connection refused (HEAD ")


def test_a_signature_is_verified_at_a_mirror_where_the_registry_is_gone(
    machine, name, simulator, new_simulator
):
    gone = new_simulator()
    gone.stop()
    machine.write(
        ".config/wcbuild/config.toml",
        f'[registry."{gone.host}"]\nmirrors = ["{simulator.host}"]\n',
    )
    key = str(machine.home / "test")
    assert machine("keygen", "--output-key-prefix", key, COSIGN_PASSWORD="x").returncode == 0
    words = ("sign", "--key", f"{key}.key", "--sign-container-identity", f"{gone.host}/team/app")
    assert machine(*words, name, COSIGN_PASSWORD="x").returncode == 0
    done = machine("verify", "--key", f"{key}.pub", f"{gone.host}/team/app:1")
    assert done.returncode == 0, done.stderr
    assert "1 good signature" in done.stderr


@pytest.fixture
def secure(new_simulator, tmp_path, machine):
    """Start a registry whose authority is known here, by the user's `certs.d`."""

    def start(**options) -> RegistrySimulator:
        authority = Authority(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("127.0.0.1", **options))
        simulator = new_simulator(tls=context)
        folder = f".config/containers/certs.d/{simulator.host}"
        machine.write(f"{folder}/ca.crt", authority.file.read_text())
        return simulator

    return start


def test_a_certificate_that_has_expired_is_told_and_nothing_is_pulled_or_pushed(
    machine, name, secure
):
    assert machine("pull", name).returncode == 0
    expired = secure(expires=NOW - DAY)
    there = f"{expired.host}/team/app:1"
    assert machine("tag", name, there).returncode == 0
    for words in (("pull", there), ("push", there), ("login", expired.host, "-u", "a", "-p", "b")):
        line = machine.refused(*words) if words[0] != "login" else machine(*words).stderr
        assert "its certificate is not trusted: certificate has expired" in line
    assert expired.requests == []
    assert not (machine.home / ".docker").exists()


def test_a_login_page_takes_no_push_and_no_password(machine, name, new_simulator):
    page = new_simulator()
    page.fail_next("*", 200, 99, {"Content-Type": "text/html"}, body=b"<html>Log in", at="/v2/")
    there = f"{page.host}/team/app:1"
    assert machine("pull", name).returncode == 0
    assert machine("tag", name, there).returncode == 0
    for words in (("push", there), ("login", page.host, "-u", "a", "-p", "b")):
        done = machine(*words)
        assert done.returncode == 1
        assert "a web page came instead of an answer" in done.stderr
        assert done.stdout == ""
    assert not (machine.home / ".docker").exists()


def test_certificates_for_registries_are_not_for_what_add_fetches(machine, secure, tmp_path):
    simulator = secure()
    simulator.storage["file"] = b"content"
    add_image(simulator, b"{}")
    machine.write("context/Dockerfile", f"FROM scratch\nADD {simulator.url}/storage/file /\n")
    assert machine("manifest", "get", f"{simulator.host}/team/app:1").returncode == 0
    done = machine("build", str(machine.home / "context"))
    assert done.returncode == 1
    assert "its certificate is not trusted" in done.stderr
    done = machine(
        "build", str(machine.home / "context"), SSL_CERT_FILE=str(tmp_path / "authority.crt")
    )
    assert done.returncode == 0, done.stderr


def test_what_a_registry_warns_of_is_seen_once(machine, name, simulator):
    simulator.say_too("*", {"Warning": '299 - "This registry closes on Friday."'}, times=99)
    done = machine("pull", name)
    assert done.returncode == 0
    warned = [line for line in done.stderr.splitlines() if "Friday" in line]
    assert warned == [f"{simulator.host} warns: This registry closes on Friday."]


def test_a_registries_conf_is_followed(machine, name, simulator):
    machine.write(
        ".config/containers/registries.conf",
        f'[[registry]]\nprefix = "quay.io/old"\nlocation = "{simulator.host}/team"\n',
    )
    assert machine("pull", "quay.io/old/app:1").returncode == 0


def test_logging_in_and_out(machine, name, simulator):
    simulator.require_basic("ali", "open sesame")
    assert f"try `wcbuild login {simulator.host}`" in machine.refused("pull", name)
    words = ("login", simulator.host, "-u", "ali", "--password-stdin")
    assert "wrong user name or password" in machine.refused(*words, stdin="wrong\n")
    assert not (machine.home / ".docker").exists()
    assert machine(*words, stdin="open sesame\n").stdout == "Login Succeeded\n"
    path = machine.home / ".docker" / "config.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert machine("pull", name).returncode == 0
    assert machine("logout", simulator.host).returncode == 0
    assert "wcbuild login" in machine.refused("pull", name)


def test_logging_out_names_what_another_tool_has_left(machine, simulator):
    theirs = json.dumps({"auths": {simulator.host: {"auth": "YWxpOm9wZW4gc2VzYW1l"}}})
    path = machine.write(".config/containers/auth.json", theirs)
    done = machine("logout", f"https://{simulator.host}/v2/")
    assert done.returncode == 0
    assert done.stdout == f"Not logged in to https://{simulator.host}/v2/\n"
    assert done.stderr == f"others are in {path}, and are used; not ours to remove\n"
    assert path.read_text() == theirs


def test_login_says_that_a_password_in_the_arguments_is_seen(machine, simulator):
    simulator.require_basic("ali", "open sesame")
    done = machine("login", simulator.host, "-u", "ali", "-p", "open sesame")
    assert done.returncode == 0
    assert "use --password-stdin" in done.stderr


def test_credentials_of_a_ci_job_are_used(machine, name, simulator):
    simulator.require_basic("ali", "open sesame")
    inline = json.dumps({"auths": {simulator.host: {"username": "ali", "password": "open sesame"}}})
    assert machine("pull", name, DOCKER_AUTH_CONFIG=inline).returncode == 0


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("https://registry.example.com/app", "a reference has none"),
        ("a b", "is not a name"),
        ("app:" + "t" * 129, "is not a tag"),
        ("app@sha256:beef", "expected 64"),
        ("registry.example.com:port/app", "is not a host"),
        ("../../etc", "is not a"),
        ("", "is not a name"),
    ],
)
def test_impossible_references_are_refused(machine, reference, message):
    assert message in machine.refused("pull", reference, status=2)


def test_a_manifest_of_five_megabytes_is_refused(machine, simulator):
    raw = json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"x": "y" * 5_000_000}})
    simulator.add_manifest("team/app", raw.encode(), mediatypes.OCI_INDEX, "big")
    line = machine.refused("pull", f"{simulator.host}/team/app:big")
    assert "larger than the limit of 4194304 bytes" in line


def test_a_web_page_is_said_to_be_one(machine, simulator):
    page = b"<html>Please log in</html>"
    simulator.fail_next("HEAD", 200, 9, {"Content-Type": "text/html"}, at="/manifests/")
    simulator.fail_next("GET", 200, 9, {"Content-Type": "text/html"}, body=page, at="/manifests/")
    assert "a web page came instead" in machine.refused("pull", f"{simulator.host}/team/app:1")


def test_a_descriptor_that_lies_is_found_out(machine, name, simulator):
    blobs = simulator.repositories["team/app"].blobs
    for digest in blobs:
        blobs[digest] = blobs[digest][:-1] + b" "
    assert "expected digest" in machine.refused("pull", name)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"credsStore": "nope"}', "docker-credential-nope: this credential helper is not"),
        ('{"credsStore": "../x"}', "is no credential helper's name"),
        ('{"credsStore":', "config.json: is not JSON"),
        ('{"auths": []}', '"auths" is not an object'),
    ],
)
def test_broken_credentials_are_named(machine, name, simulator, config, message):
    simulator.require_basic("ali", "open sesame")
    machine.write(".docker/config.json", config)
    assert message in machine.refused("pull", name)


def test_a_helper_that_prints_rubbish_is_named(machine, name, simulator, tmp_path):
    simulator.require_basic("ali", "open sesame")
    helper = tmp_path / "bin" / "docker-credential-odd"
    helper.parent.mkdir()
    helper.write_text("#!/bin/sh\necho rubbish\n")
    helper.chmod(0o755)
    machine.write(".docker/config.json", '{"credsStore": "odd"}')
    line = machine.refused("pull", name, PATH=f"{helper.parent}:{os.environ['PATH']}")
    assert "docker-credential-odd: its answer is not a credential" in line


def test_broken_settings_are_named(machine, name):
    path = machine.write(".config/wcbuild/config.toml", "[registry")
    assert f"{path}: is not TOML" in machine.refused("pull", name)


def test_what_is_blocked_is_neither_pulled_nor_pushed(machine, name, simulator):
    assert machine("pull", name).returncode == 0
    text = f'[registry."{simulator.host}/team"]\nblocked = true\n'
    machine.write(".config/wcbuild/config.toml", text)
    before = len(simulator.requests)
    for words in (("pull", name), ("push", name)):
        assert "is blocked by the configuration" in machine.refused(*words)
    assert len(simulator.requests) == before


def test_tracebacks_hold_no_secrets(machine, name, simulator, new_simulator):
    gone = new_simulator()
    gone.stop()
    simulator.redirect_blobs(f"{gone.url}/x?X-Amz-Signature=topsecret")
    simulator.require_basic("ali", "open sesame")
    inline = json.dumps({"auths": {simulator.host: {"username": "ali", "password": "open sesame"}}})
    done = machine("pull", "--debug", name, DOCKER_AUTH_CONFIG=inline)
    assert "Traceback" in done.stderr
    assert "topsecret" not in done.stderr
    assert "open sesame" not in done.stderr
    assert "YWxpOm9wZW4gc2VzYW1l" not in done.stderr
