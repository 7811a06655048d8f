"""What steps give: a file system as a stack of layers, or files offered from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from registry.oci import chain
from registry.oci.descriptor import Descriptor
from registry.oci.digest import ChainId, DiffId
from wcbuild.graph.keys import CacheKey, digest
from wcbuild.graph.ops import LINUX
from wcbuild.snapshot.base import Snapshot
from wcbuild.tree.base import FileTree


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    """A layer whose bytes are in the store, or can be fetched (a base image's)."""

    diff_id: DiffId
    descriptor: Descriptor
    """As it lies in the store: compressed as pulled, or the uncompressed tar."""
    created: str = ""
    """RFC 3339; empty for a base image's, whose history tells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileSystem:
    """A layer on top of another file system; without a layer, the empty one.

    ``layer`` may wait: a RUN's layer is packed while the next step runs.
    """

    key: CacheKey
    parent: FileSystem | None = None
    layer: Callable[[], BuiltLayer] | None = None
    snapshot: Snapshot | None = None
    """The unpacked tree, where a RUN made one in this build."""
    os: str = LINUX
    """Whose layers these are."""

    def layers(self) -> tuple[BuiltLayer, ...]:
        """Return the layers, lowest first, waiting for those that are being packed."""
        return tuple(each.layer() for each in self.stack() if each.layer)

    def chain_id(self) -> ChainId | None:
        """Return the name of the stack; None for the empty one."""
        return chain.chain_id(layer.diff_id for layer in self.layers())

    def stack(self) -> tuple[FileSystem, ...]:
        """Return this file system and all below it, the lowest first."""
        below: list[FileSystem] = []
        each: FileSystem | None = self
        while each is not None:
            below.append(each)
            each = each.parent
        return tuple(reversed(below))


def empty() -> FileSystem:
    """Return the empty file system."""
    return FileSystem(key=digest("scratch"))


def stacked(layers: Iterable[BuiltLayer], os: str = LINUX) -> FileSystem:
    """Return the file system that an image's layers make, lowest first; ``os`` is the image's."""
    files, chain_id = empty(), None
    for layer in layers:
        chain_id = chain.extend(chain_id, layer.diff_id)
        key = digest("chain", chain_id)
        files = FileSystem(key=key, parent=files, layer=ready(layer), os=os)
    return files


def ready(layer: BuiltLayer) -> Callable[[], BuiltLayer]:
    """Return what `FileSystem.layer` is for a layer that need not be waited for."""
    return partial(_identity, layer)


def _identity(layer: BuiltLayer) -> BuiltLayer:
    return layer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfferedFiles:
    """Files from outside that are no image: a build context, or what was fetched."""

    tree: FileTree


Result = FileSystem | OfferedFiles


def file_system(result: Result) -> FileSystem:
    """Return a result that can be nothing else than a file system."""
    if not isinstance(result, FileSystem):
        raise TypeError(result)
    return result
