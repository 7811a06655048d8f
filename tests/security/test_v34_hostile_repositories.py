"""V34, CVE-2018-17456, CVE-2022-39253, CVE-2024-32002, CVE-2025-48384: repositories that attack git."""

import pytest

from wcbuild.errors import RemoteError


@pytest.mark.parametrize(
    "url",
    [
        "-u./payload",
        "--upload-pack=touch owned",
        "ext::sh -c touch% owned",
        "ext::sh",
        "file:///etc",
        "/etc",
        "fd::0",
        "ssh://-oProxyCommand=touch/x",
        "git@-oProxyCommand=x:y",
        "ssh://h.example/-x",
        "https://h.example/x\r",
        "https://-h/x",
        "../../../../../../..",
        "./-x/../../../..",
        "ftp://h.example/x",
    ],
)
def test_submodules_whose_url_could_do_something_are_refused(
    fetch_git, git_repository, canary, url, tmp_path
):
    commit = git_repository.commit({"f": "x"})
    quoted = url.replace("\r", "\\r") if "\r" not in url else url
    with open(git_repository.work / ".gitmodules", "w", newline="") as file:
        file.write(f'[submodule "m"]\n\tpath = m\n\turl = "{quoted}"\n')
    git_repository.git("add", ".gitmodules")
    git_repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},m")
    git_repository.git("commit", "--quiet", "-m", "m")
    with pytest.raises(RemoteError, match='submodule "m": '):
        fetch_git()
    assert not list(tmp_path.rglob("owned"))


def test_a_submodules_path_is_the_trees_not_the_files(fetch_git, git_repository, canary):
    """What .gitmodules says of paths decides nothing but which URL is meant."""
    commit = git_repository.commit({"f": "x"})
    with open(git_repository.work / ".gitmodules", "w") as file:
        file.writelines(
            f'[submodule "{path}"]\n\tpath = {path}\n\turl = ../app.git\n'
            for path in ("../../canary", str(canary.path), ".git/hooks")
        )
    git_repository.git("add", ".gitmodules")
    git_repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},m")
    git_repository.git("commit", "--quiet", "-m", "m")
    with pytest.raises(RemoteError, match="no URL for it"):
        fetch_git()


def plant(git_repository, path, *, mode="100644", data=b"#!/bin/sh\n"):
    """Commit a tree that git would not make by itself: ``path`` at its top."""
    blob = git_repository.git("hash-object", "-w", "--stdin", data=data)
    inner = blob
    for name in reversed(path.split("/")):
        line = f"{mode} {'tree' if mode == '40000' else 'blob'} {inner}\t{name}\n"
        inner = git_repository.git("mktree", data=line.encode())
        mode = "40000"
    commit = git_repository.git("commit-tree", "-m", "planted", inner)
    git_repository.git("update-ref", "refs/heads/main", commit)
    return commit


@pytest.mark.parametrize(
    "path", [".git/hooks/post-checkout", ".GIT/config", "a/git~1/x", ".git /x"]
)
def test_trees_that_hold_a_git_folder_are_refused(fetch_git, git_repository, path):
    plant(git_repository, path)
    with pytest.raises(RemoteError, match="invalid path"):
        fetch_git()


def test_hooks_filters_and_attributes_of_a_repository_run_nothing(
    fetch_git, git_repository, tmp_path, monkeypatch
):
    marker = tmp_path / "owned"
    git_repository.commit(
        {
            ".gitattributes": "* filter=evil diff=evil merge=evil export-subst\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {marker}\n',
            "config": f"[core]\n\tfsmonitor = touch {marker}\n\tsshCommand = touch {marker}\n",
            "hooks/post-checkout": f"#!/bin/sh\ntouch {marker}\n",
            "f": "$Format:%H$",
        }
    )
    # Nor do those of the user: they are not read.
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[core]\n\tpager = touch {marker}\n[filter "evil"]\n\tsmudge = touch {marker}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    fetch_git(keep_git_dir=True)
    assert not marker.exists()


def test_two_names_that_some_file_systems_take_for_one_stay_two(fetch_git, git_repository):
    git_repository.commit({"A/f": "upper", "a": "lower"})
    tree = fetch_git().tree
    assert tree.find("A/f") is not None
    assert tree.find("a").meta.kind == "f"


def test_links_of_a_repository_are_links(fetch_git, git_repository, canary):
    git_repository.commit({}, links={"out": str(canary.path)})
    tree = fetch_git().tree
    assert tree.find("out").meta.link == str(canary.path)
    assert tree.find("out/f") is None


def test_a_redirect_leads_to_no_other_protocol(fetch_git, web, canary):
    for number, target in enumerate(("file:///etc/passwd", "ext::sh", "ftp://127.0.0.1/x")):
        web.redirect(f"/{number}.git/info/refs?service=git-upload-pack", target)
        with pytest.raises(RemoteError):
            fetch_git(remote=f"{web.url}/{number}.git")
