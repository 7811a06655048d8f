"""A layer tar to files: extraction that cannot leave its root.

Everything is done relative to open directories. Symlinks in the way to an entry are followed by the kernel
inside the root (`openat2` with RESOLVE_IN_ROOT), never at its last component; so nothing that the archive
or another process puts there, before or meanwhile, leads out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from wcbuild.errors import LayerError, UnsafeArchiveError
from wcbuild.kernel import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)
from wcbuild.layer import changes, whiteout
from wcbuild.layer.changes import BLOCK, CHARACTER, DIRECTORY, FIFO, Meta
from wcbuild.layer.tar import RawEntry, read_entries

_T = TypeVar("_T")

_SMALL_BYTES = 1 << 20
_OPEN_PARENTS = 64
"""How many directories are kept open: neighbours in an archive mostly share theirs."""
_ATTEMPTS = 1000
"""How often the kernel may ask to try again because something was renamed meanwhile."""

_PATH = os.O_PATH | os.O_DIRECTORY
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_THROUGH = os.O_RDONLY | os.O_DIRECTORY
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NODE_TYPES: Final = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}

_MACHINE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSYS,
}
"""What is not the archive's fault: these stay OSErrors."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What the kernel says of a path that no longer leads to a directory."""

_IMPLIED = Meta(DIRECTORY, 0o755)


def apply(
    stream: BinaryIO,
    root: Path | int,
    *,
    ownership: bool,
    devices: bool,
    read: Callable[[BinaryIO], Iterator[RawEntry]] = read_entries,
) -> None:
    """Unpack an uncompressed layer tar onto the directory that shows what lies below it.

    Whiteouts delete, and like opaque markers they leave alone what this layer itself has brought. What an
    entry meets in its place is replaced, unless both are directories. Missing parents are made, mode
    0755, owned by root. Times of directories are set last. The stream is read to its end.

    Args:
        stream: the tar; whoever made it checks its digest as it is read.
        root: a directory, by name or open; a mounted overlay or a plain one.
        ownership: whether to set owners; false where there is but one user.
        devices: whether to make device nodes; where not, their place stays empty.
        read: tells entries from bytes, as the layers of the image's system need it.

    Raises:
        UnsafeArchiveError: the archive is damaged or hostile. What came before stays, inside the root.
        LayerError: an owner that does not exist in this user namespace.
        OSError: a full disk and the like.

    Spec: https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
    """
    with contextlib.ExitStack() as stack:
        fd = os.open(root, _PATH | os.O_CLOEXEC) if isinstance(root, Path) else os.dup(root)
        stack.callback(os.close, fd)
        extractor = _Extractor(fd, ownership=ownership, devices=devices)
        stack.callback(extractor.close)
        for entry in read(stream):
            try:
                extractor.add(entry)
            except OSError as error:
                raise _blame(entry.path, error) from error
        extractor.finish()


def _blame(path: str, error: OSError) -> Exception:
    """Return what to raise when the kernel refuses an entry."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in _MACHINE_ERRORS:
        return OSError(error.errno, reason, path)
    return UnsafeArchiveError(path, f"cannot be unpacked: {reason}")


class _Extractor:
    def __init__(self, root: int, *, ownership: bool, devices: bool) -> None:
        self._root = root
        self._ownership = ownership
        self._devices = devices
        self._open: dict[str, int] = {}
        """Directories by path, the least lately used first."""
        self._stale = False
        """Whether a path of `_open` may by now lead elsewhere."""
        self._brought: set[str] = set()
        """Paths of this layer, and all that is above them."""
        self._directories: dict[str, Meta] = {}
        """What directories shall have in the end; until then we must be able to write to them."""
        self._times: dict[str, int] = {}
        """Times, in nanoseconds, of directories that were there before and had something put into them."""

    def add(self, entry: RawEntry) -> None:
        """Unpack one entry."""
        if self._stale:
            self.close()
        path, meta = entry.path, entry.meta
        if whiteout.is_reserved(path):
            marker = whiteout.read(path)
            if marker is not None:
                self._hide(marker)
            return
        self._remember(path)
        if not path:
            self._directories[""] = meta
            return
        directory, _, name = path.rpartition("/")
        parent = self._parent(directory)
        match meta.kind:
            case changes.FILE:
                self._add_file(parent, name, entry)
            case changes.DIRECTORY:
                self._add_directory(parent, name)
                self._directories[path] = meta
            case changes.SYMLINK:
                self._replace(parent, name, lambda: os.symlink(meta.link, name, dir_fd=parent))
                self._set_owner_and_time(parent, name, path, meta)
            case changes.HARDLINK:
                self._add_hard_link(parent, name, entry)
            case _:
                self._add_node(parent, name, path, meta)

    def finish(self) -> None:
        """Give directories their metadata, children before parents."""
        self.close()
        # The first time that was seen is the true one: a directory can be reached by several paths.
        for path, fd in self._reopened(reversed(self._times), _READ_THROUGH):
            time = self._times[path]
            with contextlib.suppress(PermissionError):  # others may own it
                os.utime(fd, ns=(time, time))
        for path, fd in self._reopened(sorted(self._directories, reverse=True), _READ):
            try:
                self._set_metadata(fd, path, self._directories[path])
            except OSError as error:
                raise _blame(path, error) from error

    def _reopened(self, paths: Iterable[str], flags: int) -> Iterator[tuple[str, int]]:
        for path in paths:
            try:
                fd = self._resolve(path, flags)
            except OSError as error:
                if error.errno in _GONE:
                    continue  # this layer itself has replaced it
                raise _blame(path, error) from error
            try:
                yield path, fd
            finally:
                os.close(fd)

    def close(self) -> None:
        """Let go of open directories, which may no longer be what their paths say."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._stale = False

    # ---------------------------------------------------------------------------- kinds of entries

    def _add_file(self, parent: int, name: str, entry: RawEntry) -> None:
        fd = self._replace(parent, name, lambda: os.open(name, _CREATE, 0o600, dir_fd=parent))
        try:
            if entry.meta.size <= _SMALL_BYTES:
                _write(fd, entry.read())
            else:
                for block in entry.blocks():
                    _write(fd, block)
            self._set_metadata(fd, entry.path, entry.meta)
        finally:
            os.close(fd)

    def _add_directory(self, parent: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(_lstat(parent, name).st_mode):
                self._remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)

    def _add_hard_link(self, parent: int, name: str, entry: RawEntry) -> None:
        target = entry.meta.link
        directory, _, target_name = target.rpartition("/")
        try:
            source = self._directory(directory)
            there = _lstat(source, target_name)
        except (FileNotFoundError, NotADirectoryError):
            reason = f'is a hard link to "{target[:200]}", which is not there'
            raise UnsafeArchiveError(entry.path, reason) from None
        if stat.S_ISDIR(there.st_mode):
            raise UnsafeArchiveError(entry.path, "is a hard link to a directory")
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(there, _lstat(parent, name)):
                return  # else its replacement would delete it
        self._replace(
            parent,
            name,
            lambda: os.link(
                target_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
            ),
        )

    def _add_node(self, parent: int, name: str, path: str, meta: Meta) -> None:
        """Make a fifo or a device node."""
        if meta.kind == CHARACTER and not (meta.major or meta.minor):
            raise UnsafeArchiveError(
                path, "is a device that overlay file systems take for a deletion"
            )
        if meta.kind != FIFO and not self._devices:
            with contextlib.suppress(FileNotFoundError):
                self._remove(parent, name)
            return
        number = os.makedev(meta.major, meta.minor)
        mode = _NODE_TYPES[meta.kind] | 0o600
        self._replace(parent, name, lambda: os.mknod(name, mode, number, dir_fd=parent))
        self._set_owner_and_time(parent, name, path, meta)
        # fchmodat(2) follows symlinks; what an O_PATH handle stands for cannot be exchanged.
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{fd}", meta.mode)
        finally:
            os.close(fd)

    def _hide(self, marker: whiteout.Marker) -> None:
        """Delete what lower layers have at a path, or in a directory."""
        if marker.opaque:
            self._parent(marker.path)
            self._remember(marker.path)
            self._empty(marker.path, _READ_THROUGH)
        elif marker.path in self._brought:
            self._empty(marker.path, _READ)
        else:
            directory, _, name = marker.path.rpartition("/")
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._remove(self._directory(directory), name)

    # ---------------------------------------------------------------------------- metadata

    def _set_metadata(self, fd: int, path: str, meta: Meta) -> None:
        # chown before all else: the kernel clears setuid, setgid and capabilities when an owner changes.
        if self._ownership:
            _chown(fd, path, meta)
        os.fchmod(fd, meta.mode)
        for name, value in meta.xattrs:
            self._set_xattr(fd, name, value)
        os.utime(fd, ns=_both_times(meta))

    def _set_owner_and_time(self, parent: int, name: str, path: str, meta: Meta) -> None:
        """Do so for what cannot be opened; a symlink is not followed."""
        if self._ownership:
            _chown(name, path, meta, dir_fd=parent)
        os.utime(name, ns=_both_times(meta), dir_fd=parent, follow_symlinks=False)

    def _set_xattr(self, fd: int, name: str, value: bytes) -> None:
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # A file system without attributes is no reason to do without the image.
            unprivileged = error.errno == errno.EPERM and not self._ownership
            if error.errno != errno.ENOTSUP and not unprivileged:
                raise

    # ---------------------------------------------------------------------------- places

    def _remember(self, path: str) -> None:
        brought = self._brought
        while path not in brought:
            brought.add(path)
            path = path.rpartition("/")[0]

    def _parent(self, path: str) -> int:
        """Return a directory to put something into, made if it is missing."""
        try:
            return self._directory(path)
        except FileNotFoundError:
            pass
        missing = []
        while True:
            path, _, name = path.rpartition("/")
            missing.append(name)
            try:
                fd = self._directory(path)
                break
            except FileNotFoundError:
                continue
        for name in reversed(missing):
            path = f"{path}/{name}" if path else name
            try:
                os.mkdir(name, 0o700, dir_fd=fd)
            except FileExistsError:
                raise UnsafeArchiveError(path, "is a symlink to nowhere") from None
            self._directories[path] = _IMPLIED
            fd = self._directory(path)
        return fd

    def _directory(self, path: str) -> int:
        """Return an open directory, valid until the next entry or `_OPEN_PARENTS` directories later."""
        fd = self._open.pop(path, None)
        if fd is None:
            if len(self._open) >= _OPEN_PARENTS:
                os.close(self._open.pop(next(iter(self._open))))
            fd = self._resolve(path, _PATH)
            if path not in self._times and path not in self._directories:
                self._times[path] = os.fstat(fd).st_mtime_ns
        self._open[path] = fd
        return fd

    def _resolve(self, path: str, flags: int) -> int:
        """Open a directory; symlinks on the way stay inside the root."""
        for _ in range(_ATTEMPTS):
            try:
                return openat2(
                    self._root, path or ".", flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
                )
            except BlockingIOError:
                continue
        raise OSError(errno.EAGAIN, "somebody else keeps renaming directories", path)

    # ---------------------------------------------------------------------------- making room

    def _replace(self, parent: int, name: str, make: Callable[[], _T]) -> _T:
        """Return what ``make`` gives, having made room for it if something is in its place."""
        try:
            return make()
        except FileExistsError:
            self._remove(parent, name)
            return make()

    def _remove(self, parent: int, name: str) -> None:
        """Delete what is there, whole; no link is followed."""
        if not stat.S_ISREG(_lstat(parent, name).st_mode):
            # Open directories may have been reached through it. They are closed later, because
            # the caller still holds one.
            self._stale = True
        remove_tree(parent, name)

    def _empty(self, path: str, flags: int) -> None:
        """Delete what a directory has, but for what this layer has brought."""
        self._stale = True
        pending = [path]
        while pending:
            path = pending.pop()
            try:
                fd = self._resolve(path, flags)
            except (NotADirectoryError, FileNotFoundError):
                continue  # a file that this layer has brought, in the place of a lower one
            flags = _READ
            try:
                for name in os.listdir(fd):
                    child = f"{path}/{name}" if path else name
                    if child in self._brought:
                        pending.append(child)
                    else:
                        remove_tree(fd, name)
            finally:
                os.close(fd)


def remove_tree(parent: int, name: str) -> None:
    """Delete ``name`` in the open directory ``parent``, whole; no link is followed.

    Raises:
        OSError: something remains.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        pass
    else:
        return
    directories = [name]
    for path in directories:  # it grows
        with _beneath(parent, path) as fd:
            with os.scandir(fd) as listing:
                children = [(child.name, child.is_dir(follow_symlinks=False)) for child in listing]
            for child, is_directory in children:
                if is_directory:
                    directories.append(f"{path}/{child}")
                else:
                    os.unlink(child, dir_fd=fd)
    for path in reversed(directories):
        above, _, last = path.rpartition("/")
        with _beneath(parent, above or ".") as fd:
            os.rmdir(last, dir_fd=fd)


@contextlib.contextmanager
def _beneath(parent: int, path: str) -> Iterator[int]:
    fd = openat2(parent, path, _READ, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    try:
        yield fd
    finally:
        os.close(fd)


def _lstat(parent: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _both_times(meta: Meta) -> tuple[int, int]:
    time = meta.mtime * 1_000_000_000
    return time, time


def _chown(target: int | str, path: str, meta: Meta, *, dir_fd: int | None = None) -> None:
    try:
        if isinstance(target, int):
            os.fchown(target, meta.uid, meta.gid)
        else:
            os.chown(target, meta.uid, meta.gid, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise LayerError(
            f'"{path}"',
            f"is owned by {meta.uid}:{meta.gid}, which this user namespace does not have; "
            "a larger range in /etc/subuid and /etc/subgid would help",
        ) from error
