"""Registries of ours, in this process or in one of their own."""

from __future__ import annotations

import contextlib
import os
import time

import pytest
from clients import ali, describe, new_client, new_docker_registry  # noqa: F401 - fixtures
from talk import RegistryProcess, Talk

from registry.server import ServerSettings, serve

# bcrypt with the lowest cost of "open sesame" and of "swordfish"
ALI = "ali:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"


@pytest.fixture
def new_registry(tmp_path):
    """Serve a folder; returns the `Registry`, with `talk` to speak to it and `log` of exchanges."""
    with contextlib.ExitStack() as stack:

        def make(root=None, *, client=None, **settings):
            log = []
            options = {"threads": 8, "max_uploads": 4, "gc_interval_s": 0, "grace_s": 2, **settings}
            registry = stack.enter_context(
                serve(
                    root or tmp_path / "registry",
                    ServerSettings(**options),
                    emit=log.append,
                    client=client,
                )
            )
            registry.talk, registry.log = Talk(registry._server.url), log
            return registry

        yield make


@pytest.fixture
def talk(new_registry):
    """Speak to a registry where everybody may do everything."""
    return new_registry().talk


@pytest.fixture
def htpasswd(tmp_path):
    """A file of two users, ali and bob, whose passwords are `open sesame` and `swordfish`."""
    import bcrypt

    path = tmp_path / "htpasswd"
    bob = bcrypt.hashpw(b"swordfish", bcrypt.gensalt(4)).decode()
    path.write_text(f"# users\n\n{ALI}\nbob:{bob}\n")
    return path


@pytest.fixture
def new_process(tmp_path):
    """Start `wcbuild registry serve`, on the same folder unless told otherwise."""
    made = []

    def start(*flags, root=None, port=0, **environment):
        made.append(
            RegistryProcess(root or tmp_path / "registry", *flags, port=port, **environment)
        )
        return made[-1]

    yield start
    for process in made:
        process.stop()


@pytest.fixture
def age():
    """Make everything below a folder look older, as if it had lain there for hours."""

    def make(root, seconds=24 * 3600):
        moment = time.time() - seconds
        for path, _, names in os.walk(root):
            for name in names:
                os.utime(os.path.join(path, name), (moment, moment))

    return make
