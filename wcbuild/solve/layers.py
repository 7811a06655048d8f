"""Layers of the store as trees of headers and as unpacked snapshots, each made when first needed."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from registry.blobs import CHUNK
from registry.compress import decompressing
from registry.oci import chain, mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import ChainId, DiffId, sha256
from registry.store import verifying_digest
from wcbuild.errors import LayerError
from wcbuild.graph.ops import LINUX, WINDOWS
from wcbuild.layer.changes import Change, Entry
from wcbuild.layer.windows.names import fold as windows_fold
from wcbuild.snapshot.base import Snapshot, Snapshotter
from wcbuild.solve.results import BuiltLayer, FileSystem
from wcbuild.store import LocalStore
from wcbuild.tree.base import FileTree
from wcbuild.tree.index import LayerIndex, write_index
from wcbuild.tree.indexes import load_index
from wcbuild.tree.layers import EmptyTree, LayerTree

_NO_HIVES: Mapping[str, bytes] = MappingProxyType({})


class Layers:
    """The layers of one store, for one build; safe to use from several threads."""

    def __init__(
        self, store: LocalStore, snapshotter: Snapshotter, *, ownership: bool, devices: bool
    ) -> None:
        self._store = store
        self.snapshotter = snapshotter
        self._ownership = ownership
        self._devices = devices
        # One thread at a time decompresses or unpacks: a second one that wants the same layer waits
        # for it, and two different ones would only share the same disk.
        self._lock = threading.RLock()
        self._indexes: dict[tuple[DiffId, str], LayerIndex] = {}

    def pack(
        self,
        changes: Iterable[Change],
        *,
        created: str,
        epoch: int | None,
        for_os: str = LINUX,
        hives: Mapping[str, bytes] = _NO_HIVES,
    ) -> tuple[BuiltLayer, tuple[Entry, ...]]:
        """Write changes as a layer of a system's images into the store, uncompressed, with its index.

        ``hives`` are a Windows layer's changes to the registry, by their names in it.
        """
        from wcbuild.layer.pack import pack  # noqa: PLC0415 - a cached build packs nothing

        codec, fold = None, None
        if for_os == WINDOWS:
            from wcbuild.layer.windows.write import WindowsCodec  # noqa: PLC0415 - see above

            codec, fold = WindowsCodec(epoch, hives), windows_fold
        with self._store.blobs.create(hashing=False) as writer:
            packed = pack(changes, writer, epoch=epoch, codec=codec)
            writer.commit(packed.diff_id, packed.size)
        path = self._store.layer_index_path(packed.diff_id, for_os)
        write_index(path, packed.entries, fold=fold)
        return uncompressed(packed.diff_id, packed.size, created), packed.entries

    def squash(self, base: FileSystem, own: Sequence[BuiltLayer]) -> BuiltLayer:
        """Write the layer that does to ``base`` what ``own``, the lowest first, do together.

        The base is read only if something of it is hidden. The result depends on the layers alone.

        Raises:
            LayerError: the content of a layer is not what it was when the layer was made, or a layer
                changes the registry of Windows.
        """
        from wcbuild.tree.squash import SquashedLayer, squash  # noqa: PLC0415 - few builds want it

        for layer in own if base.os == WINDOWS else ():
            if next(self._hives(layer), None):
                raise LayerError(
                    f"layer {layer.diff_id}", "changes the registry, so it cannot be squashed"
                )
        layers = [SquashedLayer(self._index(layer, base.os), self.tar(layer)) for layer in own]
        fold = windows_fold if base.os == WINDOWS else str
        changes = squash(layers, lambda: self.tree(base), fold=fold)
        # No time is later than those of the layers, which are as late as they may be.
        return self.pack(changes, created=own[-1].created, epoch=None, for_os=base.os)[0]

    def hives(self, files: FileSystem) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the registry changes of Windows layers, the lowest layer's first.

        Only of layers that begin with them, as those written here do.
        """
        for layer in files.layers():
            yield from self._hives(layer)

    def _hives(self, layer: BuiltLayer) -> Iterator[tuple[str, bytes]]:
        from wcbuild.layer.windows.read import read_hives  # noqa: PLC0415 - few want them

        with self._open_tar(layer) as stream:
            yield from read_hives(stream)

    def windows_scratch(self) -> BuiltLayer:
        """Return the layer that a Windows image stands on which stands on nothing, made if need be."""
        from wcbuild.layer.windows.scratch import scratch_layer  # noqa: PLC0415 - few want it

        data = scratch_layer()
        layer = uncompressed(DiffId(sha256(data)), len(data))
        self._store.put(io.BytesIO(data), layer.descriptor)
        return layer

    def are_here(self, files: FileSystem) -> bool:
        """Say whether the bytes of all layers are in the store, compressed or not."""
        return all(
            self._store.has(layer.descriptor) or self._store.blobs.has(layer.diff_id)
            for layer in files.layers()
        )

    def tree(self, files: FileSystem, *, for_os: str = LINUX) -> FileTree:
        """Return the merged view of a file system, from its layers' headers.

        ``for_os`` is whose image it is looked at for: a Windows image takes more of another one than a
        Linux image does.
        """
        layers = files.layers()
        if not layers:
            return EmptyTree()
        tables = [(self._index(layer, files.os), partial(self.tar, layer)) for layer in layers]
        if files.os != WINDOWS:
            return LayerTree(tables)
        from wcbuild.tree.windows import WindowsTree  # noqa: PLC0415 - most images are Linux's

        return WindowsTree(tables, for_windows=for_os == WINDOWS)

    def tar(self, layer: BuiltLayer) -> Path:
        """Return the path of a layer's uncompressed tar, decompressing it now if need be."""
        with self._lock:
            path = self._store.blobs.path(layer.diff_id)
            if not path.exists():
                self._decompress(layer)
            return path

    def snapshot(self, files: FileSystem) -> Snapshot | None:
        """Return the unpacked tree of a file system, unpacking what is not; None is an empty one."""
        if files.snapshot is not None:
            return files.snapshot
        with self._lock:
            snapshot: Snapshot | None = None
            chain_id: ChainId | None = None
            for each in files.stack():
                if each.layer is None:
                    continue
                layer = each.layer()
                chain_id = chain.extend(chain_id, layer.diff_id)
                found = each.snapshot or self.snapshotter.find(chain_id)
                snapshot = found or self._unpack(layer, snapshot, chain_id, files.os)
            return snapshot

    def _unpack(
        self, layer: BuiltLayer, parent: Snapshot | None, chain_id: ChainId, os: str
    ) -> Snapshot:
        from wcbuild.layer.apply import apply  # noqa: PLC0415 - a cached build unpacks nothing
        from wcbuild.layer.tar import read_entries  # noqa: PLC0415 - as in `pack`
        from wcbuild.layer.windows.read import read_as_linux  # noqa: PLC0415

        read = read_as_linux if os == WINDOWS else read_entries
        snapshot = self.snapshotter.prepare(parent)
        try:
            with self.snapshotter.mounted(snapshot) as root, self._open_tar(layer) as stream:
                apply(stream, root, ownership=self._ownership, devices=self._devices, read=read)
            self.snapshotter.commit(snapshot, chain_id)
        except BaseException:
            self.snapshotter.remove(snapshot)
            raise
        return snapshot

    def _index(self, layer: BuiltLayer, os: str) -> LayerIndex:
        key = layer.diff_id, os
        with self._lock:
            if key not in self._indexes:
                path = self._store.layer_index_path(layer.diff_id, os)
                open_tar = partial(self._open_tar, layer)
                try:
                    self._indexes[key] = load_index(path, open_tar, os=os)
                except LayerError as error:
                    what = f"layer {layer.descriptor.digest}"
                    raise LayerError(what, str(error)) from error
            return self._indexes[key]

    def _open_tar(self, layer: BuiltLayer) -> BinaryIO:
        """Return a layer's tar, verified against its diff_id while it is read."""
        what = f"layer {layer.descriptor.digest}"
        path = self._store.blobs.path(layer.diff_id)
        if path.exists():
            return verifying_digest(open(path, "rb", buffering=0), layer.diff_id, what)
        compression = mediatypes.compression(layer.descriptor.media_type)
        stream = decompressing(self._store.open(layer.descriptor), compression, what)
        return verifying_digest(stream, layer.diff_id, f"{what}, uncompressed")

    def _decompress(self, layer: BuiltLayer) -> None:
        with self._open_tar(layer) as stream, self._store.blobs.create(hashing=False) as writer:
            size = 0
            while data := stream.read(CHUNK):
                size += writer.write(data)
            writer.commit(layer.diff_id, size)


def uncompressed(diff_id: DiffId, size: int, created: str = "") -> BuiltLayer:
    """Describe a layer whose tar lies in the store as it is; ``size`` in bytes."""
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER, digest=diff_id, size=size)
    return BuiltLayer(diff_id=diff_id, descriptor=descriptor, created=created)
