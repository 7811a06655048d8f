"""The `git` command: which variables and settings it sees, and running it."""

from __future__ import annotations

import base64
import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wcbuild.context.command import run

_PROTOCOLS = "http:https:ssh:git"
_CONFIG = {
    # A repository that we fetched ourselves is not somebody else's, whoever we are in a namespace.
    "safe.directory": "*",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.logAllRefUpdates": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "false",
    "http.lowSpeedLimit": "1024",
    "http.lowSpeedTime": "60",
    "init.defaultBranch": "main",
    "protocol.version": "2",
    "tar.umask": "0022",
}
_PASSED_ON = (
    *("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Runs git in ``folder``, with these variables and no others."""

    folder: Path
    environment: Mapping[str, str]
    cancel: threading.Event
    inherited: tuple[int, ...] = ()
    """Descriptors that it gets."""

    def run(self, git_dir: Path, *words: str, stdin: bytes = b"") -> bytes:
        """Run git on a repository, which need not be there, and return what it says.

        Raises:
            CommandError: it failed, or is not installed.
            CancelledError: cancelled, and ended.
        """
        command = ("git", f"--git-dir={git_dir}", *words)
        return run(
            command, self.environment, self.folder, stdin, self.cancel, inherited=self.inherited
        )


def variables(
    root: Path,
    environment: Mapping[str, str],
    remote: str,
    secrets: Mapping[str, bytes],
    socket: Path | None,
) -> dict[str, str]:
    """Return the variables that git sees when it works for ``remote`` and its submodules.

    ``root`` holds the keys of hosts seen, and a home without anything; ``socket`` is the SSH agent's.
    ``environment`` and ``secrets`` are as `Repositories` has them.
    """
    known = (root / "known_hosts", f"{environment.get('HOME')}/.ssh/known_hosts")
    hosts = shlex.quote(" ".join(f'"{path}"' for path in known))
    found = {
        **{name: environment[name] for name in _PASSED_ON if name in environment},
        "PATH": environment.get("PATH") or os.defpath,
        "LC_ALL": "C",
        "HOME": str(root / "home"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_PAGER": "cat",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
        "GIT_SSH_VARIANT": "ssh",
        "GIT_SSH_COMMAND": (
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new"
            f" -o ConnectTimeout=15 -o UserKnownHostsFile={hosts}"
        ),
    }
    if socket is not None:
        found["SSH_AUTH_SOCK"] = str(socket)
    config = [*_CONFIG.items(), *_headers(remote, secrets)]
    found["GIT_CONFIG_COUNT"] = str(len(config))
    for number, (name, value) in enumerate(config):
        found[f"GIT_CONFIG_KEY_{number}"] = name
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


def _headers(remote: str, secrets: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield the settings that send credentials; each is for one origin alone."""
    from urllib.parse import unquote_to_bytes, urlsplit  # noqa: PLC0415 - only git needs it

    parts = urlsplit(remote)
    is_http = parts.scheme in ("http", "https")
    user, at, host = parts.netloc.rpartition("@") if is_http else ("", "", "")
    named = {name.partition(".")[2] for name in secrets if name.startswith("GIT_AUTH_")}
    for each in sorted({host, *named} - {""}):
        own = each == host
        header = b"basic " + base64.b64encode(unquote_to_bytes(user)) if at and own else b""
        for suffix in (*([""] if own else []), f".{each}"):
            if token := secrets.get(f"GIT_AUTH_TOKEN{suffix}"):
                header = b"basic " + base64.b64encode(b"x-access-token:" + token.strip())
            if value := secrets.get(f"GIT_AUTH_HEADER{suffix}"):
                header = value.strip()
        if header:
            scheme = parts.scheme if own else "https"
            text = f"Authorization: {header.decode('latin-1')}"
            yield f"http.{scheme}://{each}/.extraheader", text
