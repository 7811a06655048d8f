"""`wcbuild registry`: flags, and what is said about wrong ones."""

import socket
import subprocess
import sys

import pytest
from talk import RegistryProcess

from registry.server import ServerSettings
from wcbuild.cli import registry


def wcbuild(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "wcbuild", "registry", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--listen", "127.0.0.1:x"), "write HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "write HOST:PORT"),
        (("--tls-key", "key"), "--tls-key needs --tls-cert"),
        (("--access", "file"), "need users: --htpasswd FILE"),
        (("--auth", "token"), "need users: --htpasswd FILE"),
        (("--anonymous-pull",), "need users: --htpasswd FILE"),
        (("--threads", "0"), "at least 1"),
        (("--max-blob", "much"), 'invalid size "much"'),
        (("--gc-interval", "1 hour"), "--gc-interval: "),
        (("--grace", "-1h"), "less than nothing"),
        (("--url", "registry.example"), "does not begin with http"),
        (("--proxy", "https://docker.io"), "is not a host"),
    ],
)
def test_wrong_flags_are_refused_in_a_sentence(wcbuild, tmp_path, flags, message):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # A port that is taken: if a flag were accepted, there would be an error, too, and no server.
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("serve", "--root", tmp_path / "r", "--listen", listen, "=".join(flags))
        assert message in wcbuild("registry", *words, status=2).err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("flag", "content", "message"),
    [
        ("--tls-cert", "nonsense", "is not a certificate with its key"),
        ("--htpasswd", "ali:secret", "is not a user with a bcrypt hash"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, flag, content, message):
    path = tmp_path / "file"
    path.write_text(content)
    done = wcbuild("serve", "--root", tmp_path / "r", "--listen", "127.0.0.1:0", flag, path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ERROR: {path}: ")
    assert message in done.stderr
    assert "secret" not in done.stderr


def test_the_flags_do_what_they_say(tmp_path):
    process = RegistryProcess(
        *(tmp_path / "registry", "--max-blob", "1k", "--no-delete", "--idle-timeout", "5s", "-q")
    )
    try:
        assert process.line == f"serving {process.url}\n"
        digest = process.talk.push("app", "1", b"x" * 1000)
        large = process.talk("PATCH", process.talk.start("app"), b"x" * 1025)
        assert large.code == "SIZE_INVALID"
        assert process.talk("DELETE", f"/v2/app/manifests/{digest}").status == 405
    finally:
        status, said = process.stop()
    assert (status, said) == (0, "")


def test_the_folder_is_within_the_store_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WCBUILD_ROOT", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    done = wcbuild("gc")
    assert done.returncode == 2
    assert f'"{tmp_path}/store/registry" holds no registry' in done.stderr


@pytest.mark.parametrize(
    ("address", "url", "private"),
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("0.0.0.0", "", False),
        ("192.0.2.1", "http://registry.example", False),
        ("192.0.2.1", "https://registry.example", True),
    ],
)
def test_passwords_in_the_open_are_noticed(address, url, private):
    """Who serves users in the open is warned; nothing is served here, so that nobody can come."""
    assert registry._is_private(ServerSettings(address=address, url=url)) is private
