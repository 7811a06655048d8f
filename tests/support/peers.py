"""Other people's registries and tools, started and found."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Running:
    """A registry that runs."""

    host: str
    process: subprocess.Popen[bytes]


def tool(name: str) -> str:
    """Return the path of a peer, or skip the test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def docker_registry(folder: Path, *, port: int = 0, more: str = "") -> Iterator[Running]:
    """Start Debian's registry, an old one, which deletes; it keeps all in ``folder``.

    ``more`` is appended to its configuration. Without ``port`` it takes a free one.
    """
    port = port or free_port()
    config = folder / "config.yml"
    config.write_text(f"""
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{more}""")
    with running(port, tool("docker-registry"), "serve", str(config)) as registry:
        yield registry


@contextlib.contextmanager
def crane_registry(_folder: Path | None = None) -> Iterator[Running]:
    """Start crane's registry, which is of OCI 1.1 and forgets everything at its end."""
    port = free_port()
    with running(
        port, tool("crane"), "registry", "serve", "--address", f"127.0.0.1:{port}"
    ) as registry:
        yield registry


@contextlib.contextmanager
def running(port: int, *command: str) -> Iterator[Running]:
    """Start a registry that listens on ``port`` of 127.0.0.1."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Running(f"127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on.

    Until somebody does, others may take it: the kernel for a connection of another test, if it lay where
    the kernel looks for them (from 32768 on), or a test that draws the same one.
    """
    while True:
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return listener.getsockname()[1]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the registry did not start")
