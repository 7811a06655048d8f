import os
import shutil
import socket
import stat
import struct
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from wcbuild.errors import UsageError
from wcbuild.solve.agents import KeyAgent, find_agent, listening

FAILURE, IDENTITIES, SIGNATURE = 5, 12, 14


def write_key(path, key, form=serialization.PrivateFormat.OpenSSH, password=None):
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    path.chmod(0o600)
    return path


def connect(connection, path):
    """Connect to a socket whose name may be longer than such names may be."""
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{handle}/{path.name}")
    finally:
        os.close(handle)


def ask(path, *messages):
    """Send messages to a socket and return the answers."""
    answers = []
    with socket.socket(socket.AF_UNIX) as connection:
        connect(connection, path)
        for message in messages:
            connection.sendall(struct.pack(">I", len(message)) + message)
            (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
            answers.append(connection.recv(length, socket.MSG_WAITALL))
    return answers


@pytest.fixture
def folder(tmp_path):
    # Deeper than the name of a socket may be.
    path = tmp_path / ("d" * 120)
    path.mkdir()
    return path


@pytest.fixture
def agent(tmp_path):
    return find_agent(
        [write_key(tmp_path / "key", ed25519.Ed25519PrivateKey.generate())], "default"
    )


def test_a_socket_has_the_mode_asked_for_and_goes_again(folder, agent):
    with listening(agent, folder, mode=0o660, owner=None) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert os.listdir(folder) == []


def test_keys_are_listed(folder, agent):
    with listening(agent, folder, mode=0o600, owner=None) as path:
        [answer] = ask(path, b"\x0b")
    assert answer[:5] == bytes([IDENTITIES]) + struct.pack(">I", 1)


@pytest.mark.parametrize("request_type", [17, 18, 19, 20, 22, 23, 25, 27])
def test_attack_a_command_cannot_change_the_agent(folder, request_type):
    asked = []

    class Recorder:
        def answer(self, message):
            asked.append(message)
            return b"\x06"

    with listening(Recorder(), folder, mode=0o600, owner=None) as path:
        assert ask(path, bytes([request_type])) == [bytes([FAILURE])]
    assert asked == []


def test_attack_a_message_too_long_ends_the_connection(folder, agent):
    with listening(agent, folder, mode=0o600, owner=None) as path:
        with socket.socket(socket.AF_UNIX) as connection:
            connect(connection, path)
            connection.sendall(struct.pack(">I", 1 << 30))
            assert connection.recv(1) == b""
        assert ask(path, b"\x0b")[0][0] == IDENTITIES


@pytest.mark.parametrize("message", [b"\x0d", b"\x0d\xff\xff\xff\xff", b"\x0d" + bytes(12)])
def test_attack_a_broken_request_is_a_failure(agent, message):
    assert agent.answer(message) == bytes([FAILURE])


def test_requests_are_handed_to_the_agent_behind_a_socket(folder, agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    with listening(agent, tmp_path / "real", mode=0o600, owner=None) as real:
        before = find_agent([real.relative_to(tmp_path)], "default")
        with listening(before, folder, mode=0o600, owner=None) as path:
            assert ask(path, b"\x0b", b"\x0b") == [agent.answer(b"\x0b")] * 2


def test_an_agent_that_has_gone_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind("s")
    from pathlib import Path

    assert find_agent([Path("s")], "default").answer(b"\x0b") == bytes([FAILURE])


def test_several_commands_ask_at_once(folder, agent):
    answers = []
    with listening(agent, folder, mode=0o600, owner=None) as path:
        threads = [
            threading.Thread(target=lambda: answers.extend(ask(path, b"\x0b"))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answer[0] for answer in answers] == [IDENTITIES] * 8


def test_rsa_does_not_sign_with_sha1():
    agent = KeyAgent([rsa.generate_private_key(65537, 2048)])
    answer = agent.answer(b"\x0b")
    (length,) = struct.unpack(">I", answer[5:9])
    blob = answer[5 : 9 + length]
    request = b"\x0d" + blob + struct.pack(">I", 1) + b"x"
    assert agent.answer(request + struct.pack(">I", 0)) == bytes([FAILURE])
    assert agent.answer(request + struct.pack(">I", 4))[0] == SIGNATURE


@pytest.mark.parametrize(
    "make",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["ed25519", "rsa", "p256", "p521"],
)
def test_opensshs_own_tool_accepts_our_signatures(folder, tmp_path, make):
    if not shutil.which("ssh-keygen"):
        pytest.skip("not installed: ssh-keygen")
    key = make()
    agent = find_agent([write_key(tmp_path / "key", key)], "default")
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    (tmp_path / "key.pub").write_bytes(public)
    (tmp_path / "signers").write_bytes(b"me " + public)
    with listening(agent, folder, mode=0o600, owner=None):
        # From within, for ssh-keygen takes no long names either.
        signed = subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-f", tmp_path / "key.pub", "-n", "test"],
            input=b"text",
            capture_output=True,
            cwd=folder,
            env={"SSH_AUTH_SOCK": "agent", "PATH": os.environ["PATH"]},
            check=True,
        ).stdout
    (tmp_path / "signature").write_bytes(signed)
    words = ["ssh-keygen", "-Y", "verify", "-f", tmp_path / "signers", "-I", "me", "-n", "test"]
    subprocess.run(
        [*words, "-s", tmp_path / "signature"], input=b"text", capture_output=True, check=True
    )


def test_an_encrypted_key_is_for_an_agent(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    path = write_key(tmp_path / "key", key, serialization.PrivateFormat.PKCS8, password=b"secret")
    with pytest.raises(UsageError, match="is encrypted; give it to an agent"):
        find_agent([path], "default")


def test_opensshs_encrypted_key_is_for_an_agent(tmp_path):
    if not shutil.which("ssh-keygen"):
        pytest.skip("not installed: ssh-keygen")
    path = tmp_path / "key"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path]
    subprocess.run(words, check=True)
    with pytest.raises(UsageError, match="is encrypted; give it to an agent"):
        find_agent([path], "default")


@pytest.mark.parametrize(("data", "message"), [(b"x", "is no private key"), (None, "cannot read")])
def test_what_is_neither_socket_nor_key_is_refused(tmp_path, data, message):
    path = tmp_path / "key"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        find_agent([path], "default")


def test_a_key_that_ssh_does_not_use_is_refused(tmp_path):
    key = dsa.generate_private_key(2048)
    path = write_key(tmp_path / "key", key, serialization.PrivateFormat.PKCS8)
    with pytest.raises(UsageError, match="of a kind that SSH does not use"):
        find_agent([path], "default")
