"""What attacks are made of: a root to unpack into, and a canary beside it that must not notice."""

import contextlib
import io
import os
import subprocess
import threading

import pytest
from canary import Canary
from rawtar import archive

from wcbuild.context.git import Repositories
from wcbuild.errors import UnsafeArchiveError
from wcbuild.graph.ops import GitOp
from wcbuild.layer.apply import apply


@pytest.fixture
def canary(tmp_path):
    """A tree outside; checked when the test has ended."""
    canary = Canary(tmp_path / "canary")
    yield canary
    canary.check()


@pytest.fixture
def root(tmp_path):
    """An empty directory that images are unpacked into."""
    path = tmp_path / "store/root"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def unpack(root, canary):
    """Unpack entries; return the refusal's text, or "" if they were taken."""

    def unpack(*parts, into=root, ownership=False, devices=False):
        try:
            apply(io.BytesIO(archive(*parts)), into, ownership=ownership, devices=devices)
        except UnsafeArchiveError as error:
            canary.check()
            return str(error)
        canary.check()
        return ""

    return unpack


@pytest.fixture
def git_repository(repositories):
    made = repositories[1]("app")
    made.commit({"README": "x"})
    return made


@pytest.fixture
def fetch_git(tmp_path, new_git_server):
    """Fetch the repository `app`, or another remote, as a build would."""

    def run(remote=None, **fields):
        store = tmp_path / "store"
        store.mkdir(exist_ok=True)
        made = Repositories(
            store / "git",
            environment={"PATH": os.environ["PATH"]},
            secrets={},
            agent=contextlib.nullcontext,
        )
        remote = remote or f"{new_git_server().url}/git/app.git"
        return made.fetch(GitOp(remote=remote, **fields), threading.Event())

    return run


@pytest.fixture(scope="session")
def userns():
    """Skip where nobody may become root of anything."""
    if os.geteuid():
        done = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this kernel lets this user create no user namespace")
