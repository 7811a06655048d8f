"""Credentials where docker and podman keep them: their files and docker's helper programs.

Formats: docker's `config.json`, `containers-auth.json(5)`, and the protocol of
https://github.com/docker/docker-credential-helpers
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from registry.errors import RegistryError
from registry.files import FileLock, atomic_write
from registry.remote.errors import printable

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Of a credentials file; a larger one is not a credentials file."""

MAX_HELPER_BYTES = 64 * 1024
"""Of a helper's answer."""

_INLINE = "DOCKER_AUTH_CONFIG"
_HELPER_TIMEOUT_S = 30.0
_HELPER_END_S = 5.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_NOT_FOUND = "credentials not found in native keychain"
_IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - a word of the helper protocol
_DOCKER_HUB = "docker.io"
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB_NAMES = frozenset(("index.docker.io", "registry-1.docker.io", _DOCKER_HUB))


class CredentialsError(RegistryError):
    """Credentials could not be read or written."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Secret:
    """A text that shows itself only when asked by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __str__(self) -> str:
        return "***"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What proves to a registry who is asking; one of the three secrets is there."""

    username: str = ""
    password: Secret | None = None
    identity_token: Secret | None = None
    """An OAuth2 refresh token, good for access tokens."""
    registry_token: Secret | None = None
    """An access token, ready to be sent."""


class CredentialSource(Protocol):
    """Where a client looks for credentials."""

    def find(self, registry: str, repository: str) -> Credential | None:
        """Return the credential for a repository, if there is one.

        Raises:
            CredentialsError: a file or helper is broken.
        """
        ...


class Credentials:
    """The files of a user, asked in order; the first is docker's, where logging in writes.

    Before them comes what `$DOCKER_AUTH_CONFIG` holds: the text of such a file, for CI jobs.
    """

    def __init__(
        self, docker: Path, others: tuple[Path, ...], environment: Mapping[str, str]
    ) -> None:
        self._docker = docker
        self._others = others
        self._environment = environment
        self._inline = environment.get(_INLINE, "")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], run: Path = Path("/run")
    ) -> Credentials:
        """Find docker's file, then `$REGISTRY_AUTH_FILE`, then podman's; none need exist."""
        home = Path(environment.get("HOME") or os.path.expanduser("~"))
        docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
        others = []
        if named := environment.get("REGISTRY_AUTH_FILE"):
            others.append(Path(named))
        if runtime := environment.get("XDG_RUNTIME_DIR"):
            others.append(Path(runtime, "containers", "auth.json"))
        elif os.access(path := run / f"containers/{os.getuid()}/auth.json", os.R_OK):
            # Where podman's family logs in without a session, as in most CI jobs.
            others.append(path)
        config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        others.append(config / "containers" / "auth.json")
        return cls(docker, tuple(others), environment)

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the first credential for ``repository``: of a helper, else written in the file.

        Raises:
            CredentialsError: a file or helper is broken.
        """
        return next((found for _, found in self._found(registry, repository)), None)

    def find_place(self, registry: str) -> str:
        """Return the file or variable that `find` takes the credential for ``registry`` from, or nothing.

        Raises: as `find`.
        """
        return next((str(path) for path, _ in self._found(registry_name(registry), "")), "")

    def _found(self, registry: str, repository: str) -> Iterator[tuple[Path, Credential]]:
        """Yield every credential for a repository and where it is, the first to be used first."""
        inline = _parse(self._inline.encode(), _INLINE)
        if found := _written(inline, registry, repository, Path(_INLINE)):
            yield Path(_INLINE), found
        for path in (self._docker, *self._others):
            config = _read(path)
            helper = _helper_for(config, registry, path)
            if helper and (found := self._ask_helper(helper, registry)):
                yield path, found
            if found := _written(config, registry, repository, path):
                yield path, found

    def save(self, registry: str, credential: Credential) -> None:
        """Remember ``credential`` where docker would: with its helper if one is set, else in its file.

        Raises:
            CredentialsError: nothing was changed.
        """
        registry = registry_name(registry)
        with self._changing() as config:
            entry: dict[str, Any] = {}
            secret = credential.identity_token or credential.password or Secret("")
            if helper := _helper_for(config, registry, self._docker):
                is_token = credential.identity_token is not None
                self._run_helper(
                    helper,
                    "store",
                    json.dumps(
                        {
                            "ServerURL": _docker_key(registry),
                            "Username": _IDENTITY_TOKEN_USER if is_token else credential.username,
                            "Secret": secret.reveal(),
                        }
                    ),
                )
            else:
                password = credential.password.reveal() if credential.password else ""
                pair = f"{credential.username}:{password}"
                entry["auth"] = base64.b64encode(pair.encode()).decode()
                if credential.identity_token is not None:
                    entry["identitytoken"] = credential.identity_token.reveal()
            _drop(config, registry)
            auths = _object(config, "auths", self._docker)
            # In docker's order, so that it and we leave the same bytes.
            config["auths"] = dict(sorted((auths | {_docker_key(registry): entry}).items()))

    def erase(self, registry: str) -> bool:
        """Forget docker's credential for ``registry``; False if there was none.

        Raises:
            CredentialsError: nothing was changed.
        """
        registry = registry_name(registry)
        if not self._docker.exists():
            return False
        with self._changing() as config:
            found = _drop(config, registry)
            if helper := _helper_for(config, registry, self._docker):
                found |= self._run_helper(helper, "erase", _docker_key(registry)) is not None
        return found

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Lend docker's file as a dict and write it back; unknown keys stay, an error changes nothing."""
        # A configuration folder under version control is often a symlink: write through it.
        path = Path(os.path.realpath(self._docker))
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire(shared=False, wait=True)
            config = _read(path)
            yield config
            atomic_write(path, json.dumps(config, indent="\t", ensure_ascii=False).encode())
        except OSError as error:
            raise CredentialsError(str(path), error.strerror or str(error)) from error
        finally:
            lock.release()

    def _ask_helper(self, helper: str, registry: str) -> Credential | None:
        answer = self._run_helper(helper, "get", _docker_key(registry))
        if answer is None:
            return None
        try:
            fields = json.loads(answer)
            username, secret = fields["Username"], fields["Secret"]
        except (ValueError, KeyError, TypeError, RecursionError):
            username, secret = None, None
        if not isinstance(username, str) or not isinstance(secret, str):
            raise CredentialsError(helper, "its answer is not a credential")
        if not secret:
            return None
        if username == _IDENTITY_TOKEN_USER:
            return Credential(identity_token=Secret(secret))
        return Credential(username=username, password=Secret(secret))

    def _run_helper(self, program: str, verb: str, text: str) -> bytes | None:
        """Run a helper and return what it says; None means that it does not know the registry.

        What it says is shown to nobody, unless it is an error.

        Raises:
            CredentialsError: it is missing, fails, takes too long or says too much.
        """
        # Only absolute folders: a `docker-credential-x` in a cloned folder must not be run.
        folders = self._environment.get("PATH", os.defpath).split(os.pathsep)
        path = os.pathsep.join(folder for folder in folders if os.path.isabs(folder))
        found = shutil.which(program, path=path)
        if found is None:
            raise CredentialsError(program, "this credential helper is not installed")
        try:
            process = subprocess.Popen(
                [found, verb],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self._environment),
            )
        except OSError as error:
            raise CredentialsError(program, error.strerror or str(error)) from error
        with process:
            try:
                output = _converse(process, text.encode())
            except TimeoutError as error:
                process.kill()
                reason = f"no answer within {_HELPER_TIMEOUT_S:.0f} s"
                raise CredentialsError(program, reason) from error
            finally:
                # Also after an answer: a helper that closed its output and stays must not hold us.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_HELPER_END_S)
                process.kill()
        if len(output) > MAX_HELPER_BYTES:
            raise CredentialsError(program, f"it said more than {MAX_HELPER_BYTES} bytes")
        if process.returncode == 0:
            return output
        said = printable(output.decode(errors="replace"))
        if _NOT_FOUND in said:
            return None
        raise CredentialsError(program, said or f"it failed with status {process.returncode}")


def _converse(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Give ``text`` to a helper and return what it says, up to a little more than is allowed.

    Raises:
        TimeoutError
    """
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101 - pipes
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(text)
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    deadline = time.monotonic() + _HELPER_TIMEOUT_S
    output = b""
    while len(output) <= MAX_HELPER_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            process.kill()
            raise TimeoutError
        data = os.read(process.stdout.fileno(), MAX_HELPER_BYTES)
        if not data:
            break
        output += data
    return output


def _read(path: Path) -> dict[str, Any]:
    """Return a credentials file's object; empty if there is no file.

    Raises:
        CredentialsError: it cannot be read or is not a JSON object.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CredentialsError(str(path), error.strerror or str(error)) from error
    if len(raw) > MAX_FILE_BYTES:
        raise CredentialsError(str(path), f"is larger than {MAX_FILE_BYTES} bytes")
    return _parse(raw, str(path))


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    try:
        config = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        # Without the cause: a decoding error carries the whole text.
        raise CredentialsError(where, "is not JSON") from None
    if not isinstance(config, dict):
        raise CredentialsError(where, "is not a JSON object")
    return config


def _object(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = config.setdefault(key, {})
    if value is None:
        value = config[key] = {}
    if not isinstance(value, dict):
        raise CredentialsError(str(path), f'"{key}" is not an object')
    return value


def _helper_for(config: dict[str, Any], registry: str, path: Path) -> str:
    """Return the program that a file says keeps the credentials of ``registry``, or nothing.

    Raises:
        CredentialsError: its name would lead elsewhere.
    """
    helpers = _object(dict(config), "credHelpers", path)
    chosen = {_place(key): name for key, name in helpers.items()}.get(registry)
    name = chosen or config.get("credsStore") or ""
    if name and (not isinstance(name, str) or not _HELPER_NAME.fullmatch(name)):
        raise CredentialsError(
            str(path), f'"{printable(str(name))}" is no credential helper\'s name'
        )
    return f"docker-credential-{name}" if name else ""


def _written(
    config: dict[str, Any], registry: str, repository: str, path: Path
) -> Credential | None:
    """Return the credential in the file itself; the longest key that is a prefix wins, as podman has it."""
    entries = {_place(key): value for key, value in _object(dict(config), "auths", path).items()}
    name = f"{registry}/{repository}" if repository else registry
    while name:
        entry = entries.get(name)
        if isinstance(entry, dict) and (found := _credential(entry, name, path)):
            return found
        name = name.rpartition("/")[0]
    return None


def _credential(entry: dict[str, Any], name: str, path: Path) -> Credential | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            text = base64.b64decode(str(auth), validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise CredentialsError(
                str(path), f'"auth" of {printable(name)} is not base64'
            ) from error
        username, _, password = text.partition(":")
        password = password.rstrip("\x00")
    if token := entry.get("identitytoken"):
        return Credential(username=username, identity_token=Secret(str(token)))
    if token := entry.get("registrytoken"):
        return Credential(username=username, registry_token=Secret(str(token)))
    if not username and not password:
        return None
    return Credential(username=username, password=Secret(password))


def _place(key: str) -> str:
    """Return what a file's key stands for: a host, or podman's host and path.

    Docker once wrote URLs: `https://index.docker.io/v1/`, `https://host/v2/`.
    """
    scheme, separator, rest = key.partition("://")
    host, _, path = (rest if separator else scheme).partition("/")
    if host in _DOCKER_HUB_NAMES:
        host = _DOCKER_HUB
    path = "" if path.rstrip("/") in ("v1", "v2") else path.rstrip("/")
    return f"{host}/{path}" if path and not separator else host


def registry_name(text: str) -> str:
    """Return the registry that a person means by ``text``: a host, or a URL as docker once had them."""
    return _place(text).partition("/")[0]


def _docker_key(registry: str) -> str:
    return _DOCKER_HUB_KEY if registry == _DOCKER_HUB else registry


def _drop(config: dict[str, Any], registry: str) -> bool:
    """Remove every key that stands for ``registry`` itself; say whether there was one."""
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return False
    keys = [key for key in auths if _place(key) == registry]
    for key in keys:
        del auths[key]
    return bool(keys)
