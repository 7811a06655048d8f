"""Commits of git repositories as trees, from servers of several kinds."""

import base64
import contextlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import peers
import pytest
from processes import children_of, until
from web import COMMIT_TIME, GIT, Repository, clean_environment

from registry.files import FileLock
from wcbuild.context.git import Repositories, submodules
from wcbuild.errors import CancelledError, RemoteError
from wcbuild.graph.ops import GitOp
from wcbuild.tree.content import open_content


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    if GIT is None:
        pytest.skip("not installed: git")
    made = Repository(tmp_path_factory.mktemp("template") / "app.git")
    made.commit({"a.txt": "one", "docs/b.txt": "b", "run.sh": "#!/bin/sh\n"})
    (made.work / "run.sh").chmod(0o755)
    made.commit({}, links={"link": "/etc/passwd"})
    return made


@pytest.fixture
def repository(repositories, template):
    folder, make = repositories
    for path in (template.path, template.work):
        shutil.copytree(path, folder / path.name, symlinks=True)
    return make("app")


@pytest.fixture
def server(new_git_server, repository):
    return new_git_server()


@pytest.fixture
def fetch(tmp_path):
    def run(remote, *, secrets=None, environment=None, cancel=None, **fields):
        repositories = Repositories(
            tmp_path / "store/git",
            environment=environment or {"PATH": clean_environment()["PATH"]},
            secrets=secrets or {},
            agent=contextlib.nullcontext,
        )
        return repositories.fetch(GitOp(remote=remote, **fields), cancel or threading.Event())

    (tmp_path / "store").mkdir()
    return run


def app(server, name="app"):
    return f"{server.url}/git/{name}.git"


def listing(tree, path=""):
    found = {}
    for name, node in tree.children(path):
        place = f"{path}/{name}" if path else name
        found[place] = node
        if node.meta.kind == "d":
            found |= listing(tree, place)
    return found


def text(tree, path):
    with open_content(tree.find(path)) as stream:
        return stream.read().decode()


def test_gives_files_modes_and_links_with_the_time_of_the_commit(fetch, server):
    found = fetch(app(server))
    nodes = listing(found.tree)
    assert list(nodes) == ["a.txt", "docs", "docs/b.txt", "link", "run.sh"]
    assert nodes["run.sh"].meta.mode == 0o755
    assert nodes["a.txt"].meta.mode == 0o644
    assert nodes["link"].meta.link == "/etc/passwd"
    assert text(found.tree, "a.txt") == "one"
    assert {node.meta.mtime for node in nodes.values()} == {COMMIT_TIME} == {found.time}
    assert {(node.meta.uid, node.meta.gid) for node in nodes.values()} == {(0, 0)}


@pytest.mark.parametrize("keep_git_dir", [False, True])
def test_fetches_repositories_with_commits_of_sha256(
    fetch, new_git_server, repositories, keep_git_dir
):
    made = repositories[1]("app", object_format="sha256")
    commit = made.commit({"a.txt": "one", "docs/b.txt": "b"})
    tag = made.tag("v1", annotated=True)
    remote = app(new_git_server())
    for fields in ({}, {"ref": "v1", "checksum": tag}, {"ref": commit}):
        found = fetch(remote, keep_git_dir=keep_git_dir, **fields)
        assert found.commit == commit
        assert text(found.tree, "docs/b.txt") == "b"
        assert (
            ("objectformat = sha256" in text(found.tree, ".git/config")) if keep_git_dir else True
        )


def test_says_what_is_not_a_commit(fetch, server, repository):
    blob, tree = (repository.git("rev-parse", f"HEAD{path}") for path in (":a.txt", "^{tree}"))
    repository.git("tag", "file", blob)
    for ref in (blob, tree, "file"):
        with pytest.raises(RemoteError, match="is not a commit"):
            fetch(app(server), ref=ref)


def test_takes_branches_tags_and_commits(fetch, server, repository):
    first = repository.git("rev-parse", "HEAD~1")
    repository.git("branch", "old", first)
    repository.git("tag", "v1", first)
    repository.git("tag", "-a", "-m", "v2", "v2", first)
    for ref in ("old", "refs/heads/old", "heads/old", "v1", "refs/tags/v1", "v2", first):
        assert fetch(app(server), ref=ref).commit == first, ref
    assert fetch(app(server)).commit == repository.git("rev-parse", "HEAD")


def test_prefers_a_branch_to_a_tag_of_the_same_name(fetch, server, repository):
    repository.git("tag", "both", "HEAD~1")
    repository.git("branch", "both")
    assert fetch(app(server), ref="both").commit == repository.git("rev-parse", "HEAD")
    tagged = fetch(app(server), ref="refs/tags/both")
    assert tagged.commit == repository.git("rev-parse", "HEAD~1")


def test_a_branch_whose_name_only_ends_alike_is_not_taken(fetch, server, repository):
    repository.git("branch", "feature/v9")
    with pytest.raises(RemoteError, match='there is no ref "v9"'):
        fetch(app(server), ref="v9")


def test_the_first_digits_of_a_commit_are_no_ref(fetch, server, repository):
    short = repository.git("rev-parse", "HEAD")[:7]
    said = rf'there is no ref "{short}" \(of a commit, give all digits\)$'
    with pytest.raises(RemoteError, match=said):
        fetch(app(server), ref=short)


def test_sees_new_commits_of_a_branch(fetch, server, repository):
    fetch(app(server), ref="main")
    repository.commit({"a.txt": "two"})
    assert text(fetch(app(server), ref="main").tree, "a.txt") == "two"


def test_asks_nobody_for_a_full_commit_that_is_here(fetch, server, repository):
    commit = repository.git("rev-parse", "HEAD")
    first = fetch(app(server), ref=commit)
    asked = len(server.asked)
    assert fetch(app(server), ref=commit).commit == first.commit
    assert len(server.asked) == asked


def test_fetches_no_history(fetch, server, repository, tmp_path):
    fetch(app(server))
    [bare] = (tmp_path / "store/git").glob("?" * 64)
    command = ["git", "-c", "safe.directory=*", f"--git-dir={bare}", "rev-list", "--all", "--count"]
    assert subprocess.check_output(command, text=True).strip() == "1"


def test_fetches_nothing_twice(fetch, server):
    fetch(app(server))
    asked = len(server.asked)
    fetch(app(server))
    assert {each.path for each in server.asked[asked:]} == {
        "/git/app.git/info/refs?service=git-upload-pack",
        "/git/app.git/git-upload-pack",
    }
    fetches = [each for each in server.asked[asked:] if each.method == "POST"]
    assert len(fetches) == 1, "ls-remote alone"


def test_gives_a_folder_of_the_repository(fetch, server):
    assert list(listing(fetch(app(server), subdir="docs").tree)) == ["b.txt"]


@pytest.mark.parametrize("subdir", ["none", "a.txt", "link", "docs/b.txt"])
def test_refuses_what_is_no_folder_of_the_repository(fetch, server, subdir):
    with pytest.raises(RemoteError, match=f'"{subdir}" is not a folder of the repository'):
        fetch(app(server), subdir=subdir)


def test_the_checksum_may_be_of_the_commit_or_of_the_tag(fetch, server, repository):
    tag = repository.tag("v1", annotated=True)
    commit = repository.git("rev-parse", "HEAD")
    for checksum in (commit, commit[:9], tag):
        assert fetch(app(server), ref="v1", checksum=checksum).commit == commit


def test_refuses_a_commit_whose_checksum_differs(fetch, server, repository, tmp_path):
    wrong = repository.git("rev-parse", "HEAD~1")
    commit = repository.git("rev-parse", "HEAD")
    for ref in ("main", commit):
        with pytest.raises(RemoteError, match=f"expected checksum {wrong}, received {commit}"):
            fetch(app(server), ref=ref, checksum=wrong)
    assert not list((tmp_path / "store/git").glob("?" * 64))


def test_fetches_by_commit_without_asking_for_the_ref(fetch, server, repository):
    old = repository.git("rev-parse", "HEAD~1")
    found = fetch(app(server), ref="main", checksum=old, fetch_by_commit=True)
    assert found.commit == old


def test_attributes_of_a_repository_leave_nothing_out(fetch, server, repository):
    repository.commit(
        {".gitattributes": "a.txt export-ignore\ns export-subst\n", "s": "$Format:%H$"}
    )
    tree = fetch(app(server)).tree
    assert text(tree, "a.txt") == "one"
    assert text(tree, "s") == "$Format:%H$"


def test_keeps_a_git_folder_that_git_understands(fetch, server, repository, tmp_path):
    repository.tag("v1", annotated=True)
    commit = repository.git("rev-parse", "HEAD")
    found = fetch(app(server).replace("://", "://me:hush@"), ref="v1", keep_git_dir=True)
    copy = tmp_path / "copy"
    for path, node in listing(found.tree).items():
        if node.meta.kind == "d":
            (copy / path).mkdir(parents=True)
        elif node.meta.kind == "f":
            (copy / path).write_text("")
            with open_content(node) as stream:
                (copy / path).write_bytes(stream.read())
            (copy / path).chmod(node.meta.mode)
        else:
            (copy / path).symlink_to(node.meta.link)

    def git(*words):
        command = ["git", "-c", "safe.directory=*", "-C", str(copy), *words]
        return subprocess.check_output(command, text=True, env=clean_environment()).strip()

    assert git("rev-parse", "HEAD") == commit
    assert git("describe", "--tags") == "v1"
    assert git("status", "--porcelain") == ""
    assert git("rev-list", "--count", "HEAD") == "1"
    assert "hush" not in (copy / ".git/config").read_text()
    assert {node.meta.mtime for node in listing(found.tree).values()} == {COMMIT_TIME}


def test_the_git_folder_is_the_same_wherever_it_is_made(server, repository, tmp_path):
    trees = []
    for store in ("one", "two"):
        (tmp_path / store).mkdir()
        environment = {"PATH": clean_environment()["PATH"]}
        root = tmp_path / store / "git"
        made = Repositories(root, environment=environment, secrets={}, agent=contextlib.nullcontext)
        op = GitOp(remote=app(server), keep_git_dir=True)
        tree = made.fetch(op, threading.Event()).tree
        trees.append(
            {
                path: tree.digest(path, node)
                for path, node in listing(tree).items()
                if node.meta.kind == "f"
            }
        )
    assert trees[0] == trees[1]
    assert ".git/HEAD" in trees[0]


# -- submodules


@pytest.fixture
def below(repositories):
    made = repositories[1]("lib")
    made.commit({"lib.txt": "lib"})
    return made


@pytest.mark.parametrize("url", ["../lib.git", "./../lib.git"])
def test_brings_submodules_and_theirs(fetch, server, repository, below, repositories, url):
    inner = repositories[1]("inner")
    below.add_submodule("deep", f"{server.url}/git/inner.git", inner.commit({"x": "x"}))
    repository.add_submodule("vendor/lib", url, below.git("rev-parse", "HEAD"))
    found = listing(fetch(app(server)).tree)
    assert {"vendor/lib/lib.txt", "vendor/lib/deep/x", "a.txt"} <= set(found)
    within = fetch(app(server), subdir="vendor/lib/deep").tree
    assert text(within, "x") == "x"
    assert "vendor/lib/lib.txt" not in listing(fetch(app(server), submodules=False).tree)


def test_leaves_submodules_out_that_say_so(fetch, server, repository, below):
    commit = below.git("rev-parse", "HEAD")
    repository.add_submodule("vendor", "../lib.git", commit, update="none")
    assert "vendor/lib.txt" not in listing(fetch(app(server)).tree)


def test_links_without_any_gitmodules_stay_empty(fetch, server, repository, below):
    commit = below.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor")
    repository.git("commit", "--quiet", "-m", "a link")
    assert fetch(app(server)).tree.find("vendor").meta.kind == "d"


def test_a_submodule_without_url_or_commit_is_an_error_that_names_it(
    fetch, server, repository, below
):
    repository.add_submodule("vendor", "../lib.git", "1" * 40)
    with pytest.raises(RemoteError, match='submodule "vendor": '):
        fetch(app(server))
    (repository.work / ".gitmodules").write_text("")
    repository.git("add", ".gitmodules")
    repository.git("commit", "--quiet", "-m", "no URL")
    with pytest.raises(RemoteError, match=r"no URL for it in \.gitmodules"):
        fetch(app(server))


def test_submodules_of_submodules_end_somewhere(fetch, server, repository, monkeypatch):
    monkeypatch.setattr(submodules, "MAX_SUBMODULE_DEPTH", 2)
    commit = repository.git("rev-parse", "HEAD")
    chain = commit
    for _ in range(3):
        repository.git("rm", "--quiet", "--cached", "again", ".gitmodules", "--ignore-unmatch")
        (repository.work / ".gitmodules").unlink(missing_ok=True)
        chain = repository.add_submodule("again", "../app.git", chain)
    with pytest.raises(RemoteError, match="nested deeper than 2"):
        fetch(app(server), ref=chain)


# -- servers


def test_understands_servers_that_only_serve_files(fetch, repository, repositories):
    handler = partial(QuietFiles, directory=str(repositories[0]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        repository.git("update-server-info")
        remote = f"http://127.0.0.1:{server.server_address[1]}/app.git"
        old = repository.git("rev-parse", "HEAD~1")
        assert text(fetch(remote, ref=old).tree, "a.txt") == "one"
        assert fetch(remote).commit == repository.git("rev-parse", "HEAD")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_understands_the_git_protocol(fetch, repository, repositories):
    command = ["git", "daemon", "--export-all", f"--base-path={repositories[0]}", "--reuseaddr"]
    port = peers.free_port()
    process = subprocess.Popen(
        [*command, "--listen=127.0.0.1", f"--port={port}"], start_new_session=True
    )
    try:
        wait_for(port)
        assert text(fetch(f"git://127.0.0.1:{port}/app.git").tree, "a.txt") == "one"
    finally:
        end_group(process)


def wait_for(port):
    def is_there() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    assert until(is_there), "nobody listens"


def end_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_speaks_ssh_with_the_agent_it_is_given_and_with_no_settings_of_the_user(
    repository, tmp_path
):
    """A program in place of ssh notes how it is called, and runs what ssh would run there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = (
        '#!/bin/sh\necho "$SSH_AUTH_SOCK $*" >> "$0.called"\nfor last; do :; done\neval "$last"\n'
    )
    (folder / "ssh").write_text(script)
    (folder / "ssh").chmod(0o755)
    (tmp_path / "store").mkdir()
    made = Repositories(
        tmp_path / "store/git",
        environment={"PATH": f"{folder}:{clean_environment()['PATH']}", "HOME": "/home/me"},
        secrets={"GIT_AUTH_TOKEN": b"hush"},
        agent=lambda: contextlib.nullcontext(tmp_path / "agent"),
    )
    for remote in (
        f"ssh://git@h.example:2222{repository.path}",
        f"git@h.example:{repository.path}",
    ):
        found = made.fetch(GitOp(remote=remote), threading.Event())
        assert text(found.tree, "a.txt") == "one"
    calls = (folder / "ssh.called").read_text().splitlines()
    for call in calls:
        assert call.startswith(f"{tmp_path}/agent -F /dev/null -o BatchMode=yes ")
        assert "-o StrictHostKeyChecking=accept-new" in call
        assert f'UserKnownHostsFile="{tmp_path}/store/git/known_hosts" "/home/me/.ssh/' in call
        assert "hush" not in call
    assert "-p 2222 git@h.example git-upload-pack" in calls[0]


# -- credentials


def basic(text):
    return "basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("user", "secrets", "header"),
    [
        ("", {"GIT_AUTH_TOKEN": b"t0ken\n"}, basic("x-access-token:t0ken")),
        ("", {"GIT_AUTH_TOKEN.{host}": b"t0ken"}, basic("x-access-token:t0ken")),
        ("", {"GIT_AUTH_HEADER": b"Custom t0ken"}, "Custom t0ken"),
        ("me:hu%40sh@", {}, basic("me:hu@sh")),
    ],
)
def test_speaks_for_the_user(fetch, repository, new_git_server, user, secrets, header):
    server = new_git_server(password=header)
    given = {name.format(host=server.host): value for name, value in secrets.items()}
    fetch(app(server).replace("://", f"://{user}"), secrets=given)
    with pytest.raises(RemoteError) as caught:
        fetch(app(server), ref="v1", secrets={"GIT_AUTH_TOKEN.example.invalid": b"hush"})
    assert "hush" not in str(caught.value)


def test_a_token_is_not_for_the_hosts_of_submodules(fetch, repository, below, new_git_server):
    own, other = new_git_server(password=basic("x-access-token:t0ken")), new_git_server()
    commit = below.git("rev-parse", "HEAD")
    repository.add_submodule("vendor", f"{other.url}/git/lib.git", commit)
    fetch(app(own), secrets={"GIT_AUTH_TOKEN": b"t0ken"})
    assert other.asked
    assert all("authorization" not in each.headers for each in other.asked)


# -- ends


def test_says_what_git_said(fetch, server):
    with pytest.raises(RemoteError) as caught:
        fetch(app(server, "missing"))
    assert "missing.git" in str(caught.value)
    assert "not found" in str(caught.value)


def test_says_that_git_is_missing(fetch, server):
    with pytest.raises(RemoteError, match='there is no "git" on this machine'):
        fetch(app(server), environment={"PATH": "/nonexistent"})


def test_a_cancelled_fetch_ends_at_once(fetch, web):
    web.put("/slow.git/info/refs?service=git-upload-pack", b"x" * 12_000, pause_s=0.05)
    cancel = threading.Event()
    threading.Thread(target=lambda: until(web.paths) and cancel.set()).start()
    with pytest.raises(CancelledError):
        fetch(f"{web.url}/slow.git", cancel=cancel)


def test_locks_of_a_git_that_was_killed_are_no_hindrance(fetch, server, repository, tmp_path):
    fetch(app(server))
    [bare] = (path for path in (tmp_path / "store/git").glob("?" * 64))
    bare.with_suffix(".begun").touch()
    (bare / "shallow.lock").write_text("")
    commit = repository.commit({"a.txt": "two"})
    (bare / f"refs/wcbuild/{commit}.lock").write_text("")
    assert fetch(app(server)).commit == commit


@pytest.mark.parametrize("left", ["the commit without its files", "a file that is cut off"])
def test_what_a_killed_fetch_has_left_is_no_hindrance(fetch, server, repository, tmp_path, left):
    fetch(app(server))
    (ours,) = (tmp_path / "store/git").glob("?" * 64)
    ours.with_suffix(".begun").touch()
    commit = repository.commit({"new.txt": "new"})
    tree, file = repository.git("rev-parse", "HEAD^{tree}", "HEAD:new.txt").split()
    for name in (commit, tree, file):
        path = Path("objects", name[:2], name[2:])
        data = (repository.path / path).read_bytes()
        (ours / path).parent.mkdir(exist_ok=True)
        if name != file:
            (ours / path).write_bytes(data)
        elif left == "a file that is cut off":
            (ours / path).write_bytes(data[:5])
    assert text(fetch(app(server)).tree, "new.txt") == "new"


def test_a_git_that_outlives_its_build_keeps_the_repository_to_itself(tmp_path):
    lock = tmp_path / "lock"
    script = (
        "import sys, threading; from registry.files import FileLock; from pathlib import Path\n"
        "from wcbuild.context.command import run\n"
        "lock = FileLock(Path(sys.argv[1])); lock.acquire(shared=False, wait=True)\n"
        "print('held', flush=True)\n"
        "run(['sleep', '600'], {'PATH': sys.argv[2]}, Path('/'), b'', threading.Event(),"
        " inherited=(lock.fileno(),))\n"
    )
    words = [sys.executable, "-c", script, str(lock), os.environ["PATH"]]
    other = FileLock(lock)
    with subprocess.Popen(words, stdout=subprocess.PIPE) as build:
        assert build.stdout.readline() == b"held\n"
        assert until(lambda: children_of(build.pid))
        (sleeper,) = children_of(build.pid)
        build.kill()
    assert not other.acquire(shared=False, wait=False)
    os.kill(sleeper, signal.SIGKILL)
    assert until(lambda: other.acquire(shared=False, wait=False))
    other.release()


def test_a_submodule_elsewhere_has_a_token_of_its_own(fetch, below, repositories, new_git_server):
    server = new_git_server(password=basic("x-access-token:t0ken"))
    outer = repositories[1]("outer")
    outer.commit({"a.txt": "one"})
    commit = below.git("rev-parse", "HEAD")
    outer.add_submodule("vendor", f"{server.url}/git/lib.git", commit)
    other = new_git_server()
    token = {f"GIT_AUTH_TOKEN.{server.host}": b"t0ken"}
    with pytest.raises(RemoteError, match='submodule "vendor"'):
        # The secret is for HTTPS, where it is not the repository itself that is asked for.
        fetch(app(other, "outer"), secrets=token)
    assert all("authorization" not in each.headers for each in (*other.asked, *server.asked))


def test_two_builds_that_want_the_same_do_not_disturb_each_other(fetch, server):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(app(server)).commit)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
