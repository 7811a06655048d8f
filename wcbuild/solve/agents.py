"""SSH agents for `RUN --mount=type=ssh`: a socket of our own before the agent, or before keys.

A command may ask which keys there are, and have something signed. Everything else an agent does (adding,
removing and locking keys) is refused, so a Dockerfile cannot change the agent of whoever builds it.
Protocol: https://datatracker.ietf.org/doc/draft-ietf-sshm-ssh-agent/.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wcbuild.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import SSHPrivateKeyTypes

MAX_MESSAGE_BYTES = 256 * 1024
"""As OpenSSH's own agent has it."""
MAX_KEY_BYTES = 64 * 1024
_FAILURE = b"\x05"
_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_RSA_SHA2_256, _RSA_SHA2_512 = 2, 4
_NAME = "agent"


class Agent(Protocol):
    """Answers messages of the protocol, without their lengths."""

    def answer(self, message: bytes) -> bytes:
        """Answer a request for identities or for a signature."""
        ...


def find_agent(paths: Sequence[Path], name: str) -> Agent:
    """Return the agent behind a socket, or one that has the private keys of the files.

    Raises:
        UsageError: something that is neither; the message calls it `--ssh name`.
    """
    if len(paths) == 1 and paths[0].is_socket():
        return SocketAgent(paths[0])
    return KeyAgent([_load(path, name) for path in paths])


class SocketAgent:
    """An agent that listens somewhere."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answer(self, message: bytes) -> bytes:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self._path))
                _send(connection, message)
                return _receive(connection) or _FAILURE
        except OSError:
            return _FAILURE


class KeyAgent:
    """An agent that has keys."""

    def __init__(self, keys: Sequence[SSHPrivateKeyTypes]) -> None:
        self._keys = {_public(key): key for key in keys}

    def answer(self, message: bytes) -> bytes:
        if message[0] == _REQUEST_IDENTITIES:
            parts = [bytes([_IDENTITIES_ANSWER]), struct.pack(">I", len(self._keys))]
            parts += [_string(blob) + _string(b"") for blob in self._keys]
            return b"".join(parts)
        try:
            blob, rest = _take(message[1:])
            data, rest = _take(rest)
            (flags,) = struct.unpack(">I", rest[:4])
            signature = _sign(self._keys[blob], data, flags)
        except (KeyError, ValueError, struct.error):
            return _FAILURE
        return bytes([_SIGN_RESPONSE]) + _string(signature)


@contextlib.contextmanager
def listening(
    agent: Agent, folder: Path, *, mode: int, owner: tuple[int, int] | None
) -> Iterator[Path]:
    """Answer for ``agent`` on a new socket in ``folder``, for the `with` block.

    Args:
        agent: who answers.
        folder: an empty directory that nobody else uses.
        mode: the socket's permissions.
        owner: user and group of the socket; None leaves it to whoever builds.
    """
    path = folder / _NAME
    with socket.socket(socket.AF_UNIX) as listener:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By way of the descriptor: a socket's path may have 107 bytes, and a store's may have more.
            listener.bind(f"/proc/self/fd/{handle}/{_NAME}")
        finally:
            os.close(handle)
        if owner is not None:
            os.chown(path, *owner)
        path.chmod(mode)
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, agent), daemon=True)
        thread.start()
        try:
            yield path
        finally:
            # Wakes the thread, which then finds that there is nothing left to do.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def _accept(listener: socket.socket, agent: Agent) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, agent), daemon=True).start()


def _serve(connection: socket.socket, agent: Agent) -> None:
    with connection, contextlib.suppress(OSError):
        while message := _receive(connection):
            allowed = message[0] in (_REQUEST_IDENTITIES, _SIGN_REQUEST)
            _send(connection, agent.answer(message) if allowed else _FAILURE)


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_string(message))


def _receive(connection: socket.socket) -> bytes:
    """Return the next message; nothing at the end, or if it is too long."""
    head = _exactly(connection, 4)
    if not head:
        return b""
    (length,) = struct.unpack(">I", head)
    return _exactly(connection, length) if length <= MAX_MESSAGE_BYTES else b""


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    """Split a string of the protocol from what follows it."""
    (length,) = struct.unpack(">I", data[:4])
    if length > len(data) - 4:
        raise ValueError(length)
    return data[4 : 4 + length], data[4 + length :]


def _load(path: Path, name: str) -> SSHPrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only keys need it
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f'--ssh {name}: cannot read "{path}": {reason}') from error
    is_openssh = b"BEGIN OPENSSH PRIVATE KEY" in data
    try:
        if is_openssh:
            return serialization.load_ssh_private_key(data, password=None)
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise UsageError(
            f'--ssh {name}: "{path}" is encrypted; give it to an agent with ssh-add'
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # A key of OpenSSH that is encrypted says so with a ValueError.
        encrypted = is_openssh and "ncrypted" in str(error)
        what = (
            "is encrypted; give it to an agent with ssh-add" if encrypted else "is no private key"
        )
        raise UsageError(f'--ssh {name}: "{path}" {what}') from error
    return _checked(key, path, name)


def _checked(key: object, path: Path, name: str) -> SSHPrivateKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415

    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return key
    raise UsageError(f'--ssh {name}: "{path}" is a key of a kind that SSH does not use')


def _public(key: SSHPrivateKeyTypes) -> bytes:
    import base64  # noqa: PLC0415 - only keys need it

    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    text = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return base64.b64decode(text.split()[1])


def _sign(key: SSHPrivateKeyTypes, data: bytes, flags: int) -> bytes:
    """Return a signature with the name of its algorithm.

    Raises:
        ValueError: the algorithm that is asked for is not to be had, or no longer safe.
    """
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - only keys need it
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
        ec,
        ed25519,
        padding,
        rsa,
        utils,
    )

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _string(b"ssh-ed25519") + _string(key.sign(data))
    if isinstance(key, rsa.RSAPrivateKey):
        if not flags & (_RSA_SHA2_512 | _RSA_SHA2_256):
            raise ValueError("ssh-rsa signs with SHA-1")
        wide = flags & _RSA_SHA2_512
        name = b"rsa-sha2-512" if wide else b"rsa-sha2-256"
        hashing = hashes.SHA512() if wide else hashes.SHA256()
        return _string(name) + _string(key.sign(data, padding.PKCS1v15(), hashing))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        bits = key.curve.key_size
        by_size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(by_size[bits])))
        return _string(b"ecdsa-sha2-nistp%d" % bits) + _string(_number(r) + _number(s))
    raise ValueError(key)


def _number(value: int) -> bytes:
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big"))
