"""The main build context and the Dockerfile: from a folder, a URL, a git repository or standard input.

`.dockerignore` is for folders of this machine alone, as BuildKit has it: what was fetched is here
already.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from registry.files import store_errors
from wcbuild.access import RegistryAccess, open_transport
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import MAX_DOCKERFILE_BYTES
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import ContextError, SourceError, UnsafeArchiveError, UsageError
from wcbuild.graph.urls import without_secrets
from wcbuild.store import LocalStore
from wcbuild.tree.layers import EmptyTree

if TYPE_CHECKING:
    from wcbuild.context.remote import Remotes
    from wcbuild.graph.ops import GitOp, HttpOp
    from wcbuild.solve.agents import Agent
    from wcbuild.tree.base import FileTree

STDIN = "-"
"""A context, or a Dockerfile, that comes from standard input."""

_NAME = "Dockerfile"
"""Of a Dockerfile if nobody says another; in lower case it will do as well."""
_CALLED_SO = {"dockerfile", "containerfile"}
"""Parts of names, between dots, that Dockerfiles have."""
_MAX_EXAMPLES = 3
_IGNORE = ".dockerignore"
_SHOWN = "stdin"
"""What to call standard input in messages."""
_BLOCK = 1024 * 1024

Stdin = bytes | int | None
"""What standard input holds: bytes, or a file descriptor to read them from; None is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MainContext:
    """What is built, and the files that it may copy."""

    source: SourceFile
    """The Dockerfile, not yet read."""
    folder: Path | None = None
    """The context, if it is a folder of this machine."""
    ignore: IgnoreRules | None = None
    """Of a folder."""
    tree: FileTree | None = None
    """The context, if it is not a folder."""
    owned: bool = False
    """Its files have owners: a tar says whose they are."""
    moment: int | None = None
    """How new it is (seconds since 1970), where that does not depend on this machine: a commit's time."""


def is_fetched(context: str | Path, file: str | Path | None) -> bool:
    """Say whether a context, or its Dockerfile, is not in a folder, but something to read or to fetch."""
    return _is_remote(str(context)) or _is_url(file)


def _is_url(file: str | Path | None) -> bool:
    return isinstance(file, str) and file.startswith(("http://", "https://"))


def _is_remote(text: str) -> bool:
    if text == STDIN:
        return True
    maybe = "://" in text or "@" in text or text.startswith("github.com/")
    if not maybe or os.path.isdir(text):
        return False
    try:
        return _operation(text) is not None
    except SourceError:
        # A URL, but one that makes no sense: whoever fetches it will say so.
        return True


def _operation(text: str, *, keep_git_dir: bool = False) -> HttpOp | GitOp | None:
    from wcbuild.dockerfile.lower import remote  # noqa: PLC0415 - most contexts are folders

    return remote.context(text, keep_git_dir=keep_git_dir)


# -- a folder


def read_folder(context: Path, file: str | Path | None, stdin: Stdin) -> MainContext:
    """Read the Dockerfile of a folder; ``file`` is another one, `-` the one on standard input.

    Raises:
        ContextError: the folder is none.
        SourceError: there is no Dockerfile.
    """
    _check_folder(context)
    if file == STDIN:
        source, ignore = _read_stdin(stdin), read_ignore(context)
    else:
        path, text = _read_dockerfile(context, Path(file or context / _NAME))
        source, ignore = SourceFile(name=path.name, data=text), read_ignore(context, path)
    return MainContext(source=source, folder=context.resolve(), ignore=ignore)


def _check_folder(context: Path) -> None:
    if not context.exists():
        raise ContextError(str(context), "there is no such folder")
    if not context.is_dir():
        raise ContextError(str(context), "is not a folder")


def _read_dockerfile(context: Path, path: Path) -> tuple[Path, bytes]:
    """Read the Dockerfile at ``path``; one that lies in the context may not be a link out of it."""
    if path.name == _NAME and not path.exists() and path.with_name(_NAME.lower()).exists():
        path = path.with_name(_NAME.lower())
    try:
        if path.is_dir():
            raise SourceError(f'"{path}" is a folder, not a Dockerfile')
        with path.open("rb") as stream:
            _check_inside(stream, path, context)
            text = stream.read(MAX_DOCKERFILE_BYTES + 1)
    except FileNotFoundError as error:
        hint = _other_dockerfile(path.name, _files(path.parent))
        raise SourceError(f'there is no Dockerfile "{path}"', hint=hint) from error
    except OSError as error:
        raise SourceError(f'cannot read "{path}": {error.strerror}') from error
    # The parser refuses what is longer.
    return path, text


def _check_inside(stream: BinaryIO, path: Path, context: Path) -> None:
    """Refuse a file of the context that is none: what is wrong with its lines is told with these lines.

    Raises:
        SourceError: ``path`` is written as one in the context, but leads out of it.
    """
    written = Path(os.path.abspath(path))
    real = Path(os.path.realpath(f"/proc/self/fd/{stream.fileno()}"))
    if written.is_relative_to(os.path.abspath(context)) and not real.is_relative_to(
        context.resolve()
    ):
        raise SourceError(f'"{path}" is a link that leads out of "{context}"')


def _other_dockerfile(name: str, names: list[str]) -> str:
    """Ask for the file that is meant where there is no ``name`` among ``names``."""
    others = [
        each
        for each in sorted(names)
        if _CALLED_SO & set(each.lower().split(".")) and not each.endswith("ignore")
    ]
    examples = " or ".join(f'"{each}"' for each in others[:_MAX_EXAMPLES])
    hint = f"name it with -f, as {examples}" if examples else "name it with -f"
    return did_you_mean(name, others or names) or hint


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.is_dir()]
    except OSError:
        return []


def read_ignore(context: Path, dockerfile: Path | None = None) -> IgnoreRules | None:
    """Read the ignore file of a Dockerfile that lies in a folder, or else the context's.

    Raises:
        ContextError: it cannot be read, or is too large.
        SourceError: it has a pattern that makes no sense.
    """
    own = [dockerfile.with_name(f"{dockerfile.name}{_IGNORE}")] if dockerfile else []
    for path in (*own, context / _IGNORE):
        try:
            with path.open("rb") as file:
                _check_inside(file, path, context)
                data = file.read(MAX_DOCKERFILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            raise ContextError(str(path), (error.strerror or str(error)).lower()) from error
        if len(data) > MAX_DOCKERFILE_BYTES:
            raise ContextError(str(path), f"is larger than {MAX_DOCKERFILE_BYTES} bytes")
        return IgnoreRules.parse(data, file=str(path))
    return None


def _open(stdin: Stdin) -> BinaryIO:
    if stdin is None:
        raise UsageError('"-" is standard input, and there is none')
    return io.BytesIO(stdin) if isinstance(stdin, bytes) else open(stdin, "rb", closefd=False)


def _read_stdin(stdin: Stdin) -> SourceFile:
    with _open(stdin) as stream:
        return SourceFile(name=_SHOWN, data=stream.read(MAX_DOCKERFILE_BYTES + 1))


# -- what has to be fetched


def find_agents(given: Mapping[str, tuple[Path, ...]]) -> Mapping[str, Agent]:
    """Return the SSH agents that were given, by id: behind sockets, or with the keys of files.

    Raises:
        UsageError: one is neither.
    """
    if not given:
        return {}
    from wcbuild.solve.agents import find_agent  # noqa: PLC0415 - few builds have any

    return {name: find_agent(paths, name) for name, paths in given.items()}


class Fetcher:
    """Reads contexts that are not folders, and has what fetches files and repositories for one build.

    ``secrets`` and ``agent`` are for those who ask who we are; with ``keep_git_dir`` a main context from
    git has its `.git`.
    """

    def __init__(
        self,
        store: LocalStore,
        registries: RegistryAccess,
        *,
        secrets: Mapping[str, bytes],
        agent: Agent | None,
        keep_git_dir: bool,
        cancel: threading.Event,
    ) -> None:
        self._store = store
        self._registries = registries
        self._secrets = secrets
        self._agent = agent
        self._keep_git_dir = keep_git_dir
        self._cancel = cancel
        self._remotes: Remotes | None = None
        self._scratches: list[Path] = []
        self._lock = threading.Lock()

    def remotes(self) -> Remotes:
        """Return what fetches; always the same."""
        # Imported when asked for: most builds fetch nothing.
        from wcbuild.context.git import Repositories  # noqa: PLC0415
        from wcbuild.context.http import Downloads  # noqa: PLC0415
        from wcbuild.context.remote import Remotes  # noqa: PLC0415

        root = self._store.root
        with self._lock:
            if self._remotes is None:
                downloads = Downloads(
                    root / "downloads", partial(open_transport, self._registries), self._secrets
                )
                repositories = Repositories(
                    root / "git",
                    environment=self._registries.environment,
                    secrets=self._secrets,
                    agent=self._socket,
                )
                self._remotes = Remotes(downloads, repositories, self._scratch)
            return self._remotes

    @contextlib.contextmanager
    def _socket(self) -> Iterator[Path | None]:
        """Have the agent listen for the `with` block."""
        if self._agent is None:
            yield None
            return
        from wcbuild.solve.agents import listening  # noqa: PLC0415 - few builds have any

        folder = self._store.scratch_folder()
        try:
            with listening(self._agent, folder, mode=0o600, owner=None) as path:
                yield path
        finally:
            folder.rmdir()

    def _scratch(self) -> Path:
        """Make a file that stays until `close`."""
        self._scratches.append(self._store.scratch_file())
        return self._scratches[-1]

    def close(self) -> None:
        """Remove what was only for this build."""
        for path in self._scratches:
            path.unlink(missing_ok=True)

    def read(self, context: str, file: str | Path | None, stdin: Stdin) -> MainContext:
        """Fetch a context, and read its Dockerfile; ``file`` is one of its files, `-`, or a URL.

        Of a folder only the Dockerfile is fetched. An absolute path is that of a file of this machine,
        unless the context came from standard input.

        Raises:
            RemoteError: it cannot be had.
            UnsafeArchiveError: it is an archive that is damaged, or would lead out of its root.
            SourceError: it has no Dockerfile.
            CancelledError
        """
        if context == file == STDIN:
            raise UsageError("context and Dockerfile cannot both come from standard input")
        if not _is_remote(context):
            folder = Path(context)
            _check_folder(folder)
            source, ignore = self._dockerfile(str(file)), read_ignore(folder)
            return MainContext(source=source, folder=folder.resolve(), ignore=ignore)
        found = self._from_stdin(stdin) if context == STDIN else self._from_url(context)
        if _is_url(file):
            source = self._dockerfile(str(file))
        elif file == STDIN:
            source = _read_stdin(stdin)
        elif file and context != STDIN and os.path.isabs(file):
            path, text = _read_dockerfile(Path(file).parent, Path(file))
            source = SourceFile(name=path.name, data=text)
        elif found.alone is None:
            source = _find_dockerfile(found, str(file or _NAME))
        elif context == STDIN and file is not None:
            raise UsageError(
                f'standard input is a Dockerfile, and so is "{file}"; give one of them'
            )
        else:
            # It is the Dockerfile, whatever the name.
            source = SourceFile(name=found.where, data=found.alone)
        return MainContext(source=source, tree=found.tree, owned=found.owned, moment=found.moment)

    def _dockerfile(self, url: str) -> SourceFile:
        """Fetch a Dockerfile by itself."""
        download = self.remotes().downloads.fetch(url, "", self._cancel)
        with open(download.path, "rb") as stream:
            data = stream.read(MAX_DOCKERFILE_BYTES + 1)
        return SourceFile(name=without_secrets(url), data=data)

    def _from_stdin(self, stdin: Stdin) -> _Found:
        path = self._scratch()
        with _open(stdin) as stream, store_errors(path), open(path, "wb") as spool:
            while data := stream.read(_BLOCK):
                spool.write(data)
        return self._archive(path, _SHOWN) or _alone(path, _SHOWN, EmptyTree(), None)

    def _from_url(self, url: str) -> _Found:
        from wcbuild.context.remote import single_file  # noqa: PLC0415 - see above
        from wcbuild.graph.ops import GitOp  # noqa: PLC0415 - see above

        op = _operation(url, keep_git_dir=self._keep_git_dir)
        if op is None:
            raise AssertionError(url)
        if isinstance(op, GitOp):
            checkout = self.remotes().repositories.fetch(op, self._cancel)
            where = without_secrets(op.remote)
            return _Found(tree=checkout.tree, where=where, moment=checkout.time)
        download = self.remotes().downloads.fetch(op.url, op.checksum, self._cancel)
        where, moment = without_secrets(op.url), download.modified or None
        found = self._archive(download.path, where)
        if found is None:
            return _alone(download.path, where, single_file(op.name, download), moment)
        return found if moment is None else replace(found, moment=moment)

    def _archive(self, path: Path, where: str) -> _Found | None:
        from wcbuild.context.archive import open_archive  # noqa: PLC0415 - see above

        try:
            archive = open_archive(path, where, self._scratch)
        except UnsafeArchiveError as error:
            error.add_note(f"in the build context from {where}")
            raise
        if archive is None:
            return None
        return _Found(tree=archive.tree, where=where, owned=True, moment=archive.newest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The files of a context; see `MainContext`."""

    tree: FileTree
    where: str
    """What to call it in messages."""
    owned: bool = False
    moment: int | None = None
    alone: bytes | None = None
    """The Dockerfile, if that is all there is."""


def _alone(path: Path, where: str, tree: FileTree, moment: int | None) -> _Found:
    with open(path, "rb") as stream:
        text = stream.read(MAX_DOCKERFILE_BYTES + 1)
    return _Found(tree=tree, where=where, moment=moment, alone=text)


def _find_dockerfile(found: _Found, file: str) -> SourceFile:
    """Read a Dockerfile that is among the files of a context; no symlink leads out of them."""
    from wcbuild.context.archive import read_file  # noqa: PLC0415 - see above

    folder, name = os.path.split(file)
    for each in (name, name.lower()) if name == _NAME else (name,):
        text = read_file(found.tree, os.path.join(folder, each), MAX_DOCKERFILE_BYTES + 1)
        if text is not None:
            return SourceFile(name=each, data=text)
    names = [each for each, _ in found.tree.children(folder.strip("/"))]
    message = f'there is no Dockerfile "{file}" in the context from {found.where}'
    raise SourceError(message, hint=_other_dockerfile(name, names))
