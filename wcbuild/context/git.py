"""Files of git repositories, fetched with the `git` command.

Nothing is ever checked out: `git archive` writes the files of a commit as a tar, which is read as
any other. So no hook, filter or attribute of a repository acts here, and no symlink of it is
followed. Git sees no configuration but ours, asks nobody anything, and speaks four protocols.

Below ``root``: a bare repository a remote, kept because fetching twice is slow; and by what was asked
for, the tars and the tables of their entries.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from registry.files import FileLock, store_errors
from registry.oci.digest import sha256
from wcbuild.context.archive import open_tree, scan_files
from wcbuild.context.command import CommandError, run
from wcbuild.context.local import LocalTree
from wcbuild.dockerfile.gitref import FULL_COMMIT, GitRefError, parse_git_ref
from wcbuild.errors import CancelledError, RemoteError
from wcbuild.graph.ops import GitOp
from wcbuild.graph.urls import without_secrets
from wcbuild.layer.changes import DIRECTORY, Change, Entry, Meta
from wcbuild.tree.base import FileTree
from wcbuild.tree.index import DamagedIndexError, write_index
from wcbuild.tree.paths import join

MAX_SUBMODULES = 500
"""Of one repository, at any depth."""
MAX_SUBMODULE_DEPTH = 10

_VERSION = "wcbuild-git-1"
"""Changes when the same commit would give other files."""
_PROTOCOLS = "http:https:ssh:git"
_POLL_S = 0.05
HALF_WRITTEN = ".new-"
"""What the folders of trees that are being written begin with."""
_INDEX, _TAR, _INFO = "index", "tar", "info.json"
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
class Checkout:
    """The files of a commit."""

    tree: FileTree
    commit: str
    time: int
    """The commit's, in seconds since 1970; every file has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a ref is at the remote now."""

    commit: str
    """In full; of an annotated tag what it points to, once that is known."""
    tag: str = ""
    """An annotated tag's own id."""
    ref: str = ""
    """The ref's full name; empty if a commit was asked for."""


class Repositories:
    """Fetches commits into ``root``; safe to use from several threads and processes.

    ``environment`` says where git, certificates and proxies are. ``secrets`` are, by id,
    `GIT_AUTH_TOKEN[.HOST]` and `GIT_AUTH_HEADER[.HOST]`; one without a host is for that of the
    repository that was named. ``agent`` opens the socket of the SSH agent, if there is one.
    """

    def __init__(
        self,
        root: Path,
        *,
        environment: Mapping[str, str],
        secrets: Mapping[str, bytes],
        agent: Callable[[], AbstractContextManager[Path | None]],
    ) -> None:
        self._root = root
        self._environment = environment
        self._secrets = secrets
        self._agent = agent

    def find(self, op: GitOp) -> Checkout | None:
        """Return the files if they are here and the commit is given: then nobody need be asked."""
        commit = _given_commit(op)
        return self._open(op, commit) if commit.startswith(op.checksum) and commit else None

    def fetch(self, op: GitOp, cancel: threading.Event) -> Checkout:
        """Return the files of the commit that ``op`` means now.

        Raises:
            RemoteError: they cannot be had, or the commit is not the one that was expected.
            CancelledError: ``cancel`` was set.
            StoreError: the disk refused.
        """
        found = self.find(op)
        if found is not None:
            return found
        try:
            return self._fetch(op, cancel)
        except CommandError as error:
            raise RemoteError(without_secrets(op.remote), error.reason) from error

    def _fetch(self, op: GitOp, cancel: threading.Event) -> Checkout:
        with store_errors(self._root):
            for name in ("trees", "home"):
                (self._root / name).mkdir(parents=True, exist_ok=True)
        with self._agent() as socket:
            environment = self._variables(op.remote, socket)
            remote = _Remote(self._root, _without_user(op.remote), environment, cancel)
            return self._fetch_from(remote, op)

    def _fetch_from(self, remote: _Remote, op: GitOp) -> Checkout:
        given = _given_commit(op)
        at = _Found(commit=given) if given else remote.resolve(op.ref)
        # A tag's own id will do as well as the commit's.
        if not at.commit.startswith(op.checksum) and not at.tag.startswith(op.checksum):
            reason = f"expected checksum {op.checksum}, received {at.commit}"
            raise RemoteError(without_secrets(op.remote), reason)
        found = self._open(op, at.commit)
        if found is not None:
            return found
        at = remote.bring(at)
        return self._open(op, at.commit) or self._make(op, at, remote)

    def _make(self, op: GitOp, at: _Found, remote: _Remote) -> Checkout:
        """Write what `_open` reads, into a folder that gets its name when it is whole."""
        from shutil import rmtree  # noqa: PLC0415 - a cached build makes nothing
        from tempfile import mkdtemp  # noqa: PLC0415 - see above

        with store_errors(self._root):
            folder = Path(mkdtemp(prefix=HALF_WRITTEN, dir=self._root / "trees"))
        try:
            maker = _Maker(folder, op.subdir, remote.commit_time(at.commit))
            maker.add(remote, at.commit, "")
            if op.submodules:
                maker.add_submodules(remote, at.commit)
            if op.keep_git_dir and not op.subdir:
                maker.add_git_dir(remote, at, without_secrets(op.remote))
            maker.finish()
            # If another build was faster, its files are the same.
            with store_errors(folder), contextlib.suppress(FileExistsError):
                _rename_new(folder, self._place(op, at.commit))
        finally:
            rmtree(folder, ignore_errors=True)
        found = self._open(op, at.commit)
        if found is None:
            raise CommandError("git", "what it wrote cannot be read again")
        return found

    def _place(self, op: GitOp, commit: str) -> Path:
        key = [
            _VERSION,
            without_secrets(op.remote),
            commit,
            op.subdir,
            op.submodules,
            # The tag or branch is part of a .git folder.
            [op.ref] if op.keep_git_dir else None,
        ]
        return self._root / "trees" / sha256(json.dumps(key).encode("utf-8", "surrogateescape")).hex

    def _open(self, op: GitOp, commit: str) -> Checkout | None:
        folder = self._place(op, commit)
        try:
            info = json.loads((folder / _INFO).read_bytes())
            tars = [
                (folder / f"{number}.{_INDEX}", folder / f"{number}.{_TAR}")
                for number in range(int(info["tars"]))
            ]
            return Checkout(tree=open_tree(tars), commit=commit, time=int(info["time"]))
        except (OSError, ValueError, KeyError, TypeError, DamagedIndexError):
            return None

    # -- running git

    def _variables(self, remote: str, socket: Path | None) -> dict[str, str]:
        """Return the variables that git sees when it works for ``remote`` and its submodules."""
        home = self._root / "home"
        known = (self._root / "known_hosts", f"{self._environment.get('HOME')}/.ssh/known_hosts")
        hosts = shlex.quote(" ".join(f'"{path}"' for path in known))
        variables = {
            **{name: self._environment[name] for name in _PASSED_ON if name in self._environment},
            "PATH": self._environment.get("PATH") or os.defpath,
            "LC_ALL": "C",
            "HOME": str(home),
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
            variables["SSH_AUTH_SOCK"] = str(socket)
        config = [*_CONFIG.items(), *self._headers(remote)]
        variables["GIT_CONFIG_COUNT"] = str(len(config))
        for number, (name, value) in enumerate(config):
            variables[f"GIT_CONFIG_KEY_{number}"] = name
            variables[f"GIT_CONFIG_VALUE_{number}"] = value
        return variables

    def _headers(self, remote: str) -> Iterator[tuple[str, str]]:
        """Yield the settings that send credentials; each is for one origin alone."""
        from urllib.parse import unquote_to_bytes, urlsplit  # noqa: PLC0415 - only git needs it

        parts = urlsplit(remote)
        is_http = parts.scheme in ("http", "https")
        user, at, host = parts.netloc.rpartition("@") if is_http else ("", "", "")
        named = {name.partition(".")[2] for name in self._secrets if name.startswith("GIT_AUTH_")}
        for each in sorted({host, *named} - {""}):
            own = each == host
            header = b"basic " + base64.b64encode(unquote_to_bytes(user)) if at and own else b""
            for suffix in (*([""] if own else []), f".{each}"):
                if token := self._secrets.get(f"GIT_AUTH_TOKEN{suffix}"):
                    header = b"basic " + base64.b64encode(b"x-access-token:" + token.strip())
                if value := self._secrets.get(f"GIT_AUTH_HEADER{suffix}"):
                    header = value.strip()
            if header:
                scheme = parts.scheme if own else "https"
                text = f"Authorization: {header.decode('latin-1')}"
                yield f"http.{scheme}://{each}/.extraheader", text


class _Remote:
    """One remote repository, and ours of it."""

    def __init__(
        self, root: Path, url: str, environment: Mapping[str, str], cancel: threading.Event
    ) -> None:
        self.url = url
        self._root = root
        self._environment = environment
        self._cancel = cancel
        self._folder = root / sha256(url.encode("utf-8", "surrogateescape")).hex
        self._begun = self._folder.with_suffix(".begun")
        """There while something comes, and behind a fetch that was killed or failed."""
        self._lock = FileLock(self._folder.with_suffix(".lock"))
        self._locks: tuple[int, ...] = ()

    def other(self, url: str) -> _Remote:
        """Return another remote, asked in the same way."""
        return _Remote(self._root, url, self._environment, self._cancel)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other builds out of our repository for the `with` block; make it, if it is not there."""
        from shutil import rmtree  # noqa: PLC0415 - a cached build locks nothing

        try:
            while not self._lock.acquire(shared=False, wait=False):
                if self._cancel.wait(_POLL_S):
                    raise CancelledError
            # If this process is killed, its git goes on; two would write into the same files.
            self._locks = (self._lock.fileno(),)
            if self._begun.exists():
                # Nobody knows what is whole of it: commits come before their files.
                rmtree(self._folder, ignore_errors=True)
            if not (self._folder / "info/attributes").exists():
                self._initialize()
            yield
        finally:
            self._locks = ()
            self._lock.release()

    def _initialize(self) -> None:
        self.git("init", "--quiet", "--bare", "--template=")
        with store_errors(self._folder):
            (self._folder / "info").mkdir(exist_ok=True)
            # Stronger than what the repository itself says: an archive is all of a commit.
            attributes = "* -export-ignore -export-subst -filter\n"
            (self._folder / "info/attributes").write_text(attributes)

    def resolve(self, ref: str) -> _Found:
        """Ask the remote what a ref is now; empty is the default branch.

        A branch is preferred to a tag of the same name, as `git checkout` does.
        """
        patterns = (ref, f"{ref}^{{}}") if ref else ("HEAD",)
        output = self.git("ls-remote", "--symref", "--", self.url, *patterns)
        found: dict[str, str] = {}
        branch = ""
        for line in output.decode("utf-8", "surrogateescape").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                branch = value.removeprefix("ref: ")
            elif FULL_COMMIT.fullmatch(value):
                found[name] = value
        if not ref and "HEAD" in found:
            return _Found(commit=found["HEAD"], ref=branch or "HEAD")
        bare = ref.removeprefix("refs/")
        for name in (ref, f"refs/{bare}", f"refs/heads/{bare}", f"refs/tags/{bare}"):
            if name in found:
                peeled = found.get(f"{name}^{{}}", "")
                tag = found[name] if peeled else ""
                return _Found(commit=peeled or found[name], tag=tag, ref=name)
        what = f'there is no ref "{ref}"' if ref else "it has no default branch"
        raise CommandError("git", what)

    def bring(self, at: _Found) -> _Found:
        """Have a commit here; return it with what a tag points to."""
        wanted = at.tag or at.commit
        with self._locked():
            if not self.has(wanted):
                with store_errors(self._begun):
                    self._begun.touch()
                self._fetch(wanted, at.ref)
                self._begun.unlink()
        commit = self.say("rev-parse", "--verify", "--end-of-options", f"{wanted}^{{commit}}")
        return replace(at, commit=commit, tag=wanted if commit != wanted else "")

    def _fetch(self, wanted: str, ref: str) -> None:
        error = CommandError("git", f"commit {wanted} is not in it")
        for attempt in self._attempts(wanted, ref):
            try:
                self.git("fetch", "--quiet", "--force", "--no-write-fetch-head", *attempt)
                if self.has(wanted):
                    return
            except CommandError as failure:
                # Some other ref may be at fault. The commit alone says nothing: it comes first.
                if self.has(wanted) and self._has_all_of(wanted):
                    return
                error = failure
        raise error

    def _has_all_of(self, name: str) -> bool:
        """Say whether all files of a commit are here."""
        return self._succeeds("rev-list", "--objects", "--no-walk", "--quiet", name)

    def _attempts(self, wanted: str, ref: str) -> Iterator[tuple[str, ...]]:
        """Yield the arguments of fetch: what brings least first, then what every server understands."""
        own = f"refs/wcbuild/{wanted}"
        yield ("--no-tags", "--depth=1", "--", self.url, f"{wanted}:{own}")
        if ref:
            yield ("--no-tags", "--depth=1", "--", self.url, f"{ref}:{own}")
        whole = ("refs/heads/*:refs/wcbuild/heads/*", "refs/tags/*:refs/wcbuild/tags/*")
        shallow = ("--unshallow",) if (self._folder / "shallow").exists() else ()
        yield ("--no-tags", *shallow, "--", self.url, *whole)

    def has(self, name: str) -> bool:
        """Say whether an object, such as a commit or a path in one (`COMMIT:PATH`), is here."""
        return self._succeeds("cat-file", "-e", name)

    def _succeeds(self, *words: str) -> bool:
        try:
            self.git(*words)
        except CommandError:
            return False
        return True

    def commit_time(self, commit: str) -> int:
        """Return when a commit was made, in seconds since 1970."""
        return max(
            0, int(self.say("log", "-1", "--no-show-signature", "--format=%ct", commit, "--"))
        )

    def say(self, *words: str) -> str:
        """Run git in our repository, and return the line that it says."""
        return self.git(*words).decode("utf-8", "surrogateescape").strip()

    def git(self, *words: str, folder: Path | None = None, stdin: bytes = b"") -> bytes:
        """Run git in our repository, or in another folder's, and return what it says.

        Raises:
            CommandError: it failed, or is not installed.
            CancelledError: cancelled, and ended.
        """
        place = self._folder if folder is None else folder
        command = ("git", f"--git-dir={place}", *words)
        return run(
            command, self._environment, self._root, stdin, self._cancel, inherited=self._locks
        )


class _Maker:
    """Writes the tars of a commit, and the tables of their entries, into ``folder``.

    Of the repository's files only those below ``subdir`` are in the tables.
    """

    def __init__(self, folder: Path, subdir: str, moment: int) -> None:
        self._folder = folder
        self._subdir = subdir
        self._moment = moment
        self._tars = 0
        self._entries = 0
        self._submodules = 0

    def add(self, remote: _Remote, commit: str, prefix: str) -> None:
        """Add the files of a commit below ``prefix``."""
        tar = self._folder / f"{self._tars}.{_TAR}"
        words = ["archive", "--format=tar", f"--output={tar}"]
        if prefix:
            remote.git(*words, f"--prefix={prefix}/", commit)
        elif not self._subdir:
            remote.git(*words, commit)
        elif remote.has(f"{commit}:{self._subdir}"):
            remote.git(*words, commit, "--", self._subdir)
        else:
            # Perhaps it is in a submodule.
            return
        with store_errors(tar), open(tar, "rb") as stream:
            self._index(self._within(scan_files(stream)))

    def _index(self, entries: Iterable[Entry]) -> None:
        """Write the table of the newest tar."""
        write_index(self._folder / f"{self._tars}.{_INDEX}", entries)
        self._tars += 1

    def _within(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries that are wanted, their paths relative to the folder that is."""
        yield Entry("", Meta(DIRECTORY, 0o755, mtime=self._moment))
        for entry in entries:
            if not self._subdir or entry.path.startswith(f"{self._subdir}/"):
                self._entries += 1
                yield entry._replace(path=entry.path[len(self._subdir) :].lstrip("/"))
            elif entry.path == self._subdir and entry.meta and entry.meta.kind != DIRECTORY:
                raise CommandError("git", f'"{self._subdir}" is not a folder of the repository')

    def add_submodules(
        self, remote: _Remote, commit: str, prefix: str = "", depth: int = 0
    ) -> None:
        """Add the files of submodules, and of theirs."""
        if not remote.has(f"{commit}:.gitmodules"):
            return
        if depth == MAX_SUBMODULE_DEPTH:
            raise CommandError("git", f"submodules are nested deeper than {depth}")
        modules = _read_modules(remote, commit)
        for path, wanted in _links(remote, commit):
            place = join(prefix, path)
            if not _meet(place, self._subdir):
                continue
            self._submodules += 1
            if self._submodules > MAX_SUBMODULES:
                raise CommandError("git", f"more than {MAX_SUBMODULES} submodules")
            module = modules.get(path, {})
            if module.get("update") == "none":
                continue
            try:
                below = remote.other(_submodule_url(remote.url, module.get("url", "")))
                below.bring(_Found(commit=wanted))
            except CommandError as error:
                raise CommandError("git", f'submodule "{place}": {error.reason}') from error
            self.add(below, wanted, place)
            self.add_submodules(below, wanted, place, depth + 1)

    def add_git_dir(self, remote: _Remote, at: _Found, url: str) -> None:
        """Add a `.git` that holds this commit alone, for programs that ask git what they are."""
        from wcbuild.layer.pack import pack  # noqa: PLC0415 - few keep the folder

        work = self._folder / "work"
        git_dir = work / ".git"
        with store_errors(work):
            work.mkdir()
        remote.git("init", "--quiet", "--template=", folder=git_dir)
        objects = remote.git("rev-list", "--objects", "--no-object-names", "-n1", at.commit)
        pack_name = str(git_dir / "objects/pack/pack")
        tag = f"{at.tag}\n".encode() if at.tag else b""
        # One thread: which objects are written as differences of which must not depend on chance.
        words = ("pack-objects", "--quiet", "--threads=1", pack_name)
        remote.git(*words, stdin=objects + tag)
        with store_errors(git_dir):
            (git_dir / "shallow").write_text(f"{at.commit}\n")
        if at.ref.startswith(("refs/heads/", "refs/tags/")):
            remote.git("update-ref", at.ref, at.tag or at.commit, folder=git_dir)
        remote.git("update-ref", "--no-deref", "HEAD", at.commit, folder=git_dir)
        remote.git("config", "remote.origin.url", url, folder=git_dir)
        refspec = "+refs/heads/*:refs/remotes/origin/*"
        remote.git("config", "remote.origin.fetch", refspec, folder=git_dir)
        remote.git("read-tree", at.commit, folder=git_dir)
        tar = self._folder / f"{self._tars}.{_TAR}"
        with store_errors(tar), open(tar, "wb") as file:
            packed = pack(_changes(LocalTree(work), ".git", self._moment), file, epoch=None)
        self._index(packed.entries)

    def finish(self) -> None:
        """Write what `Repositories` looks for."""
        if self._subdir and not self._entries:
            raise CommandError("git", f'"{self._subdir}" is not a folder of the repository')
        with store_errors(self._folder):
            info = {"tars": self._tars, "time": self._moment}
            (self._folder / _INFO).write_text(json.dumps(info))


def _changes(tree: LocalTree, path: str, moment: int) -> Iterator[Change]:
    """Yield a directory and everything in it, all with one time."""
    node = tree.find(path)
    if node is not None:
        yield Change(path, node.meta._replace(mtime=moment), node.content)
        for name, _ in tree.children(path):
            yield from _changes(tree, join(path, name), moment)


def _rename_new(folder: Path, target: Path) -> None:
    """Rename a folder. Raises FileExistsError if ``target`` is there."""
    try:
        os.rename(folder, target)
    except OSError as error:
        if target.exists():
            raise FileExistsError from error
        raise


def _given_commit(op: GitOp) -> str:
    """Return the commit that is asked for in full; empty if the remote has to be asked which it is."""
    if FULL_COMMIT.fullmatch(op.ref):
        return op.ref
    return op.checksum if op.fetch_by_commit and FULL_COMMIT.fullmatch(op.checksum) else ""


def _without_user(remote: str) -> str:
    """Return a URL as git may be told it: what an argument says, everybody on the machine can read."""
    scheme, found, rest = remote.partition("://")
    if not found or scheme not in ("http", "https"):
        return remote
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


# -- submodules


def _read_modules(remote: _Remote, commit: str) -> dict[str, dict[str, str]]:
    """Return what a commit's .gitmodules says, by path."""
    output = remote.git("config", f"--blob={commit}:.gitmodules", "--null", "--list")
    sections: dict[str, dict[str, str]] = {}
    for line in output.decode("utf-8", "surrogateescape").split("\0"):
        name, _, value = line.partition("\n")
        section, _, key = name.rpartition(".")
        if section.startswith("submodule."):
            sections.setdefault(section, {})[key] = value
    return {each["path"]: each for each in sections.values() if "path" in each}


def _links(remote: _Remote, commit: str) -> Iterator[tuple[str, str]]:
    """Yield path and commit of each submodule. The path is the tree's own, which git has checked."""
    output = remote.git("ls-tree", "-r", "-z", "--full-tree", commit)
    for line in output.decode("utf-8", "surrogateescape").split("\0"):
        facts, _, path = line.partition("\t")
        fields = facts.split(" ")
        if fields[0] == "160000":
            yield path, fields[2]


def _meet(place: str, subdir: str) -> bool:
    """Say whether one of two folders lies in the other, or is it."""
    first, second = f"{place}/", f"{subdir}/" if subdir else ""
    return first.startswith(second) or second.startswith(first)


def _submodule_url(parent: str, url: str) -> str:
    """Return the URL of a submodule, which may be relative to its parent's.

    Raises:
        CommandError: it is none, or of a kind that could reach into this machine.
    """
    if not url:
        raise CommandError("git", "no URL for it in .gitmodules")
    if url.startswith("-") or any(letter <= " " or letter == "\x7f" for letter in url):
        raise CommandError("git", f"its URL {url!r} is not allowed")
    if url.startswith(("./", "../")):
        return _relative_url(parent, url)
    try:
        scheme = url.partition("://")[0].lower()
        # An HTTP URL of a submodule is git's, whatever it ends in.
        found = parse_git_ref(f"{url.rstrip('/')}.git" if scheme in ("http", "https") else url)
    except GitRefError as error:
        raise CommandError("git", f'its URL "{without_secrets(url)}": {error}') from error
    if found is None or found.may_be_path:
        raise CommandError(
            "git", f'its URL "{without_secrets(url)}" is of a kind that is not allowed'
        )
    return _without_user(url)


def _relative_url(parent: str, url: str) -> str:
    """Resolve a relative URL as git does: each `../` takes a part, at a slash or a colon, away."""
    base = parent.rstrip("/")
    scheme = len(base.partition("://")[0]) + 3 if "://" in base else 0
    while url.startswith(("./", "../")):
        up, _, url = url.partition("/")
        if up == "..":
            cut = max(base.rfind("/", scheme), base.rfind(":", scheme))
            if cut < 0:
                raise CommandError("git", "its URL leads out of its parent's")
            base, separator = base[:cut], base[cut]
        else:
            separator = "/"
    return f"{base}{separator}{url.rstrip('/')}"
