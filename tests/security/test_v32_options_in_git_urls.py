"""V32, CVE-2019-13139, CVE-2017-1000117: git URLs that carry options or commands."""

import pytest

from wcbuild.dockerfile.gitref import GitRefError, parse_git_ref
from wcbuild.dockerfile.lower import remote
from wcbuild.errors import RemoteError


@pytest.mark.parametrize(
    "text",
    [
        "https://h.example/r.git#--upload-pack=touch /x",
        "https://h.example/r.git#--upload-pack=x",
        "https://h.example/r.git#-q",
        "https://h.example/r.git?ref=--exec=x",
        "https://h.example/r.git#a..b",
        "https://h.example/r.git#refs/heads/*",
        "https://h.example/r.git#a\nb",
        "https://-x.example/r.git",
        "ssh://-oProxyCommand=x/r",
        "ssh://-oProxyCommand=x@h.example/r",
        "ssh://h.example/-x",
        "git://-x/r",
        "git@-x.example:r",
        "git@h.example:-x",
        "git@h.example:a b",
    ],
)
def test_what_git_or_ssh_would_take_for_an_option_is_refused(text):
    with pytest.raises(GitRefError):
        parse_git_ref(text)


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c touch% /x",
        "file:///etc",
        "fd::17/x",
        "--upload-pack=x",
        "-oProxyCommand=x@h.example:r",
        "git@-oProxyCommand=x:r",
        "/etc/.git",
        "transport::address",
    ],
)
def test_other_transports_and_options_are_no_repositories(text):
    assert parse_git_ref(text) is None
    assert remote.context(text) is None
    assert remote.added(text, checksum="", keep_git_dir=None) is None


@pytest.mark.parametrize(
    "url", ["file://{path}", "{path}", "ext::sh -c touch% {path}/owned", "fd::0", "--help"]
)
def test_git_itself_is_told_to_refuse_them(fetch_git, git_repository, url):
    """As if one of them had come by."""
    with pytest.raises(RemoteError):
        fetch_git(remote=url.format(path=git_repository.path))
    assert not (git_repository.path / "owned").exists()


def test_a_ref_of_the_remote_is_not_an_option_either(fetch_git, git_repository, tmp_path):
    """The name of its default branch is the remote's to choose."""
    commit = git_repository.git("rev-parse", "HEAD")
    for name in ("refs/heads/--upload-pack=touch x", "refs/heads/../../../x", "--exec=touch x"):
        (git_repository.path / "packed-refs").write_text(f"{commit} {name}\n")
        (git_repository.path / "HEAD").write_text(f"ref: {name}\n")
        with pytest.raises(RemoteError):
            fetch_git(keep_git_dir=True)
    assert not list(tmp_path.rglob("x"))
