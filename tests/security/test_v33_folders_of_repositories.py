"""V33, CVE-2026-33748: the folder named after `#` leads out of the repository."""

import pytest

from wcbuild.dockerfile.gitref import GitRefError, parse_git_ref
from wcbuild.errors import RemoteError


@pytest.mark.parametrize("subdir", ["..", "../..", "a/../../b", "/../x"])
def test_dots_are_refused(subdir):
    for text in (f"https://h.example/r.git#main:{subdir}", f"git@h.example:r?subdir={subdir}"):
        with pytest.raises(GitRefError, match="leads out of the repository"):
            parse_git_ref(text)


@pytest.mark.parametrize("subdir", ["d", "d/sub", "up", "up/canary"])
def test_links_are_not_followed(fetch_git, git_repository, canary, subdir):
    git_repository.commit({}, links={"d": str(canary.path), "up": "../../../.."})
    with pytest.raises(RemoteError, match="is not a folder of the repository"):
        fetch_git(subdir=subdir)


@pytest.mark.parametrize("subdir", [":(glob)**", ":/", "*", "s*b", "-x"])
def test_a_folder_is_no_pattern(fetch_git, git_repository, subdir):
    git_repository.commit({"sub/f": "x"})
    with pytest.raises(RemoteError):
        fetch_git(subdir=subdir)
