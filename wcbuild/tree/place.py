"""COPY, ADD and WORKDIR computed on trees: which paths of the next layer they change, and to what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wcbuild.errors import UnsafeArchiveError
from wcbuild.graph.ops import WINDOWS, CopyOp, InlineFile, JoinedCopyOp, MkdirOp
from wcbuild.layer.changes import (
    DIRECTORY,
    FILE,
    HARDLINK,
    SYMLINK,
    Change,
    Content,
    Inline,
    Meta,
)
from wcbuild.tree import chmod
from wcbuild.tree.base import FileTree, Node
from wcbuild.tree.errors import ConflictError, PlaceError
from wcbuild.tree.owners import find_owner
from wcbuild.tree.paths import join, parent, resolve
from wcbuild.tree.select import Source, cheap_content_key, content_key, select
from wcbuild.tree.staging import Staging
from wcbuild.tree.stamp import LINK_MODE, LinuxStamp, Stamp
from wcbuild.tree.unpack import Archive, find_archive

__all__ = ["PlaceError", "cheap_content_key", "content_key", "copy", "mkdir"]

_DIRECTORY_MODE = 0o755
_PERMISSIONS = 0o777


def mkdir(op: MkdirOp, dest_tree: FileTree, *, mtime: int) -> tuple[Change, ...]:
    """Return what WORKDIR changes in ``dest_tree``: nothing where the directory is already there.

    Symlinks are followed inside the root; missing parents are made alike. ``mtime`` (seconds since 1970)
    is for what is new.

    Raises:
        PlaceError: something else is in the way, or the owner makes no sense.
    """
    meta = Meta(DIRECTORY, _DIRECTORY_MODE, mtime=mtime)
    staging = _staging(op, dest_tree)
    if op.owner and op.os != WINDOWS:
        uid, gid = find_owner(op.owner, dest_tree)
        meta = meta._replace(uid=uid, gid=gid)
    staging.make_directories(resolve(staging, op.path), meta, owned=bool(op.owner))
    return staging.changes()


def _staging(op: MkdirOp | CopyOp, tree: FileTree) -> Staging:
    if op.os != WINDOWS:
        return Staging(tree)
    from wcbuild.tree.windows import CaselessStaging  # noqa: PLC0415 - most images are Linux's

    return CaselessStaging(tree)


def copy(
    op: CopyOp | JoinedCopyOp,
    dest_tree: FileTree,
    *source_trees: FileTree,
    mtime: int,
    scratch: Callable[[], Path] | None = None,
) -> tuple[Change, ...]:
    """Return what COPY or ADD changes in ``dest_tree``, each path once, in no order.

    The directories that changed paths lie in are among the changes, as they are. Everything that a symlink
    of ``dest_tree`` leads to stays inside its root. Content is referred to, not read, except
    for archives that ADD unpacks.

    Args:
        op: what to copy.
        dest_tree: the file system copied into; an empty one for --link.
        source_trees: the files copied from, one for ``op``, or for each of its parts, that has sources.
        mtime: seconds since 1970, for what no source gives a time.
        scratch: gives the path of a new temporary file, into which a compressed archive is decompressed.
            It must stay until the changes are packed.

    Raises:
        PlaceError: a source is missing, or what is there is of another kind than what is to be written.
        UnsafeArchiveError: an archive that leads out of its root, or is damaged.
        ContextError: a part of the build context cannot be read.
    """
    parts = op.parts if isinstance(op, JoinedCopyOp) else (op,)
    staging = _staging(parts[0], dest_tree)
    trees = iter(source_trees)
    for part in parts:
        copying = _Copying(part, staging, dest_tree, mtime, scratch)
        if part.sources:
            for source in select(part, next(trees)):
                copying.add(source)
        for file in part.inline:
            copying.add(_inline(file, mtime))
    return staging.changes()


def _inline(file: InlineFile, mtime: int) -> Source:
    data = file.data.encode("utf-8", "surrogateescape")
    node = Node(Meta(FILE, file.mode, size=len(data), mtime=mtime), Inline(data))
    return Source(file.name, file.name, node, [])


def _stamp(op: CopyOp, tree: FileTree) -> Stamp:
    if op.os != WINDOWS:
        return LinuxStamp(op, tree)
    from wcbuild.tree.windows import WindowsStamp  # noqa: PLC0415 - most images are Linux's

    return WindowsStamp(op)


class _Copying:
    """One COPY or ADD at work: each source lands on what those before it left in ``staging``.

    Owners are looked up in ``tree``, which is what ``staging`` began with.
    """

    def __init__(
        self,
        op: CopyOp,
        staging: Staging,
        tree: FileTree,
        mtime: int,
        scratch: Callable[[], Path] | None,
    ) -> None:
        self._op = op
        self._staging = staging
        self._scratch = scratch
        self._stamp = _stamp(op, tree)
        mode = chmod.octal(op.chmod) if op.chmod else None
        parent_mode = _DIRECTORY_MODE if mode is None else mode & _PERMISSIONS
        folder = self._stamp.owned(Meta(DIRECTORY, _DIRECTORY_MODE, mtime=mtime))
        self._folder = folder
        """Of directories that what ADD unpacks needs."""
        self._parent = folder._replace(mode=parent_mode)
        """Of other missing directories."""

    def add(self, source: Source) -> None:
        """Copy or unpack one source."""
        kind = source.node.meta.kind
        if self._op.unpack and kind == FILE:
            try:
                archive = find_archive(source.node, source.path, self._scratch)
                if archive is not None:
                    self._unpack(archive)
                    return
            except (UnsafeArchiveError, PlaceError) as error:
                error.add_note(f'in the archive "{source.path}"')
                raise
        self._make_directories(
            resolve(self._staging, self._op.dest.rpartition("/")[0]), self._parent
        )
        target = resolve(self._staging, self._op.dest)
        if kind == DIRECTORY:
            self._merge(source, target)
            return
        there = self._staging.find(target)
        if there is not None and there.meta.kind == DIRECTORY:
            target = join(target, source.name)
            there = self._staging.find(target)
        if there is not None and there.meta.kind == DIRECTORY:
            raise ConflictError(source.path, target, "a directory is there")
        self._make_directories(parent(target), self._parent)
        self._staging.put(target, self._stamp.copied(source.node.meta), source.node.content)
        for name, node in source.streams:
            self._staging.put(f"{target}:{name}", node.meta, node.content)

    def _merge(self, source: Source, target: str) -> None:
        """Copy what is in a directory into ``target``, whose own mode and owner stay."""
        staging = self._staging
        there = staging.find(target)
        if there is not None and there.meta.kind != DIRECTORY:
            raise ConflictError(source.path, target, "it is not a directory")
        self._make_directories(target, self._parent)
        staging.list_directory(target)
        start = f"{target}/" if target else ""
        linked: dict[object, str] = {}
        for name, node, implied in source.items:
            path = start + name
            there = staging.find(path)
            if node.meta.kind == DIRECTORY:
                self._merge_directory(source, name, path, node, there, implied=implied)
                continue
            if there is not None and there.meta.kind == DIRECTORY:
                raise ConflictError(join(source.path, name), path, "a directory is there")
            if node.identity is not None:
                first = linked.setdefault(node.identity, path)
                if first is not path:
                    staging.link(path, first)
                    continue
            staging.put(path, self._stamp.copied(node.meta), node.content)
        top = staging.find(target)
        mtime = source.node.meta.mtime
        # An image's root mostly has no time.
        if target and top is not None and not self._op.parents and (source.path or mtime):
            staging.put_directory(target, top.meta._replace(mtime=mtime))

    def _merge_directory(
        self, source: Source, name: str, path: str, node: Node, there: Node | None, *, implied: bool
    ) -> None:
        if there is not None and there.meta.kind != DIRECTORY:
            raise ConflictError(join(source.path, name), path, "it is not a directory")
        if there is None:
            meta = self._stamp.copied(node.meta)
        else:
            meta = self._stamp.merged(there.meta, node.meta, implied=implied)
        self._staging.put_directory(path, meta)
        self._staging.list_directory(path)

    def _unpack(self, archive: Archive) -> None:
        """Unpack a tar into the destination, which is a directory with or without a slash."""
        target = resolve(self._staging, self._op.dest)
        self._make_directories(target, self._folder)
        for path, meta, content in archive.entries():
            if path:
                self._unpack_entry(target, path, meta, content)

    def _unpack_entry(self, top: str, path: str, meta: Meta, content: Content | None) -> None:
        staging = self._staging
        # No symlink, of the archive or of what was there, leads out of the destination.
        folder = resolve(staging, parent(path), root=top)
        if staging.find(folder) is None:
            self._check_links(top, path)
        staging.make_directories(folder, self._folder, owned=True)
        place = join(folder, path.rpartition("/")[2])
        meta = self._stamp.owned(meta)
        if meta.kind == SYMLINK:
            meta = meta._replace(mode=LINK_MODE)
        if meta.kind == DIRECTORY:
            staging.put_directory(place, meta)
            return
        if meta.kind == HARDLINK:
            linked = resolve(staging, meta.link, root=top, follow_last=False)
            node = staging.find(linked)
            if node is None or node.meta.kind == DIRECTORY:
                raise UnsafeArchiveError(path, f'is a hard link to "{meta.link}", which is no file')
        there = staging.find(place)
        if there is not None and there.meta.kind == DIRECTORY:
            staging.remove_directory(place)
        if meta.kind == HARDLINK:
            staging.link(place, linked)
        else:
            staging.put(place, meta, content)

    def _check_links(self, top: str, path: str) -> None:
        """Refuse an entry that would make what a symlink leads to: only what it is called is made."""
        real = top
        for name in parent(path).split("/"):
            link = join(real, name)
            node = self._staging.find(link)
            if node is None:
                return
            if node.meta.kind == SYMLINK:
                real = resolve(self._staging, link.removeprefix(top), root=top)
                if self._staging.find(real) is None:
                    reason = (
                        f'lies below "/{link}", a symlink to "{node.meta.link}", leading to nothing in '
                        f'"/{top}": symlinks there are followed within it'
                    )
                    raise UnsafeArchiveError(path, reason)
            else:
                real = link

    def _make_directories(self, path: str, meta: Meta) -> None:
        self._staging.make_directories(path, meta, owned=bool(self._op.chown))
