"""The files of Windows images: found in any spelling, and changed in the one that is there."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, STREAM, SYMLINK, Change, Content, Entry, Meta
from wcbuild.layer.windows import records
from wcbuild.layer.windows.accounts import owned_by
from wcbuild.layer.windows.names import fold
from wcbuild.layer.windows.read import plain_target
from wcbuild.tree import chmod
from wcbuild.tree.base import CaselessTree, FileTree, Node
from wcbuild.tree.errors import ConflictError, TooManyLinksError
from wcbuild.tree.index import LayerIndex
from wcbuild.tree.layers import LayerTree
from wcbuild.tree.owners import find_account
from wcbuild.tree.paths import join, parent, resolve
from wcbuild.tree.staging import Staging


def drive_as_it_is(tree: FileTree) -> tuple[Change, ...]:
    """Return the entry of the drive itself, which every layer has; none if ``tree`` knows nothing of it."""
    root = tree.find("")
    return (Change("", root.meta),) if root is not None and root.meta.xattrs else ()


class WindowsTree(LayerTree):
    """The files on the system drive of a Windows image. Its indexes are folded by `fold`.

    ``for_windows`` says who looks: another Windows image takes streams and the records of
    `wcbuild.layer.windows.records`; all others see files as Linux has them.
    """

    def __init__(
        self,
        layers: Sequence[tuple[LayerIndex, Path | Callable[[], Path]]],
        *,
        for_windows: bool,
    ) -> None:
        self._for_windows = for_windows
        super().__init__(layers)

    def spelled(self, path: str) -> str:
        """Return the spelling of the last component of ``path`` that is there; as given if nothing is."""
        name = path.rpartition("/")[2]
        for number in self._layers_with(parent(path)):
            found = self._tables[number].look_up(path)
            if found is not None:
                return found[0].path.rpartition("/")[2] if found[0].meta else name
        return name

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        layers = self._layers_with(path)
        uppermost: dict[str, tuple[int, str, Entry, bool]] = {}
        for number in layers:
            for name, entry, implied in self._tables[number].children(path):
                uppermost.setdefault(fold(name), (number, name, entry, implied))
        for number, name, entry, implied in sorted(
            uppermost.values(), key=lambda each: os.fsencode(each[1])
        ):
            node = (
                self._node(join(path, name), layers) if implied else self._entry_node(number, entry)
            )
            if node is None:
                continue
            if node.meta.kind == STREAM:
                # Whoever replaces a file leaves none of its streams.
                file = uppermost.get(fold(name.partition(":")[0]))
                if file is None or file[0] != number:
                    continue
            yield name, node

    def _entry_node(self, number: int, entry: Entry) -> Node | None:
        node = super()._entry_node(number, entry)
        if node is None or self._for_windows:
            return node
        return None if node.meta.kind == STREAM else node._replace(meta=records.as_linux(node.meta))

    def _moved(self, index: LayerIndex) -> dict[str, str]:  # noqa: ARG002 - see below
        # Windows has no layers whose entries lie below another layer's links.
        return {}


class CaselessStaging(Staging):
    """Changes to a Windows image's files: each path is written as it is spelled already.

    Raises:
        ConflictError: two names of one directory differ in capital letters only.
    """

    def __init__(self, tree: FileTree) -> None:
        super().__init__(tree)
        self._spelled = tree.spelled if isinstance(tree, CaselessTree) else None
        self._spellings: dict[str, str] = {"": ""}
        """The real path by folded path."""
        self._wanted: dict[str, str] = {}
        """How the last component of a changed path was spelled by whoever wanted it, by folded path."""

    def find(self, path: str) -> Node | None:
        return super().find(self._spell(path))

    def list_directory(self, path: str) -> None:
        super().list_directory(self._spell(path))

    def put_directory(self, path: str, meta: Meta) -> None:
        super().put_directory(self._claim(path), meta)

    def put(self, path: str, meta: Meta, content: Content | None) -> None:
        if meta.kind == SYMLINK:
            # Whoever made a link on Linux for Windows wrote it as Windows does.
            meta = meta._replace(link=plain_target(meta.link))
        super().put(self._claim(path), meta, content)

    def link(self, path: str, target: str) -> None:
        super().link(self._spell(path), self._spell(target))

    def remove_directory(self, path: str) -> None:
        super().remove_directory(self._spell(path))

    def changes(self) -> tuple[Change, ...]:
        """Return all changes: no directory is opaque, and links to directories say that they are.

        The drive itself is always among them, as it is: every layer has it.
        """
        changes = (*super().changes(), *drive_as_it_is(self._tree))
        return tuple(map(self._marked, _without_opaque(changes, self._tree)))

    def _marked(self, change: Change) -> Change:
        """Return a new symlink with the attributes that its target asks for."""
        meta = change.meta
        if meta is None or meta.kind != SYMLINK or records.attributes(meta) is not None:
            return change
        target = meta.link if meta.link.startswith("/") else join(parent(change.path), meta.link)
        try:
            node = self.find(resolve(self, target))
        except TooManyLinksError:
            node = None
        if node is None or node.meta.kind != DIRECTORY:
            return change
        bits = records.DIRECTORY_BIT | records.REPARSE_POINT
        xattrs = records.with_records(meta.xattrs, {records.ATTRIBUTES: b"%d" % bits})
        return change._replace(meta=meta._replace(xattrs=xattrs))

    def _claim(self, path: str) -> str:
        """Return the real path to write to."""
        key, name = fold(path), path.rpartition("/")[2]
        wanted = self._wanted.setdefault(key, name)
        if wanted != name:
            other = join(parent(path), wanted)
            raise ConflictError(
                path, other, "they differ in capital letters only, which is one file to Windows"
            )
        return self._spell(path)

    def _spell(self, path: str) -> str:
        # Not by recursion: paths may be deeper than our stack.
        unknown = []
        while (real := self._spellings.get(fold(path))) is None:
            unknown.append(path)
            path = parent(path)
        for path in reversed(unknown):
            real = join(real, path.rpartition("/")[2])
            if self._spelled:
                real = join(parent(real), self._spelled(real))
            self._spellings[fold(path)] = real
        return real


class WindowsStamp:
    """For Windows images: security descriptors and attributes. A directory that is there keeps its own.

    --chown gives the descriptor that the classic builder gives; without it files get that of new files,
    or keep another Windows image's. --chmod sets the mode that the layer records, which Windows
    ignores, and the read-only attribute of files that their owner may not write.
    """

    def __init__(self, op: CopyOp) -> None:
        self._chmod = op.chmod
        self._own: dict[str, bytes | None] = {}
        if op.chown:
            descriptor = owned_by(*find_account(op.chown))
            self._own = {records.DESCRIPTOR: base64.b64encode(descriptor)}

    def copied(self, meta: Meta) -> Meta:
        """Return what a source's metadata becomes."""
        meta = self.owned(meta)
        if not self._chmod or meta.kind in (SYMLINK, STREAM):
            return meta
        is_directory = meta.kind == DIRECTORY
        mode = chmod.change(self._chmod, meta.mode, is_directory=is_directory)
        meta = meta._replace(mode=mode)
        if is_directory:
            return meta
        bits = records.attributes(meta) or records.ARCHIVE
        bits = bits & ~records.READ_ONLY if mode & stat.S_IWUSR else bits | records.READ_ONLY
        changed = {records.ATTRIBUTES: b"%d" % bits}
        return meta._replace(xattrs=records.with_records(meta.xattrs, changed))

    def owned(self, meta: Meta) -> Meta:
        """Return metadata with the descriptor that --chown asks for."""
        if not self._own or meta.kind == STREAM:
            return meta
        return meta._replace(xattrs=records.with_records(meta.xattrs, self._own))

    def merged(self, there: Meta, meta: Meta, *, implied: bool) -> Meta:
        """Return the metadata of a directory that is there, as new as its source if that is copied."""
        return there if implied else there._replace(mtime=meta.mtime)


def _without_opaque(changes: Iterable[Change], tree: FileTree) -> Iterator[Change]:
    """Yield changes with opaque directories replaced by plain ones and deletions of what they hide."""
    changes = sorted(changes, key=lambda change: change.path)
    opaque = tuple(f"{change.path}/" for change in changes if change.opaque)
    if not opaque:
        yield from changes
        return
    kept = {fold(change.path) for change in changes}
    for change in changes:
        yield change._replace(opaque=False)
        if change.meta is None or change.meta.kind != DIRECTORY:
            continue
        if f"{change.path}/".startswith(opaque):
            for name, _ in tree.children(change.path):
                hidden = join(change.path, name)
                if fold(hidden) not in kept:
                    yield Change(hidden, None)
