"""What is known of steps without doing them: by what they are made of, and by the bytes that are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Event
from typing import NamedTuple, Protocol, assert_never

from wcbuild.context.local import LocalTree
from wcbuild.dockerfile.wildcard import escape
from wcbuild.graph.keys import CacheKey, digest, step_key
from wcbuild.graph.ops import (
    WINDOWS,
    ContextOp,
    CopyOp,
    GitOp,
    HttpOp,
    ImageOp,
    JoinedCopyOp,
    MkdirOp,
    RunOp,
    ScratchOp,
    Step,
)
from wcbuild.layer.changes import Change, Entry
from wcbuild.solve.cache import Cache, Record
from wcbuild.solve.layers import Layers, uncompressed
from wcbuild.solve.results import (
    BuiltLayer,
    FileSystem,
    OfferedFiles,
    Result,
    empty,
    file_system,
    ready,
    stacked,
)
from wcbuild.tree.base import FileTree
from wcbuild.tree.select import cheap_content_key, content_key

AnyCopyOp = CopyOp | JoinedCopyOp
LayerOp = RunOp | MkdirOp | AnyCopyOp


class Names(NamedTuple):
    """What a result is found by, and what the steps after it take as its key."""

    keys: tuple[CacheKey, ...]
    identity: CacheKey
    """By content where it can be, so that two ways to the same are one."""


class BaseImages(Protocol):
    """The base images that lowering resolved."""

    def layers(self, digest: str) -> tuple[BuiltLayer, ...]:
        """Return an image's layers, lowest first, whether their bytes are here or not."""
        ...

    def is_here(self, digest: str) -> bool:
        """Say whether all bytes of the image are in the local store."""
        ...

    def may_stay(self, digest: str) -> bool:
        """Say whether the image is in a registry, where later commands find its bytes."""
        ...

    def fetch(self, digest: str) -> None:
        """Bring the image's bytes into the local store."""
        ...


class RemoteFiles(Protocol):
    """What is fetched by HTTP and git."""

    def find(self, op: HttpOp | GitOp) -> FileTree | None:
        """Return the files if they are here, and nobody has to be asked whether they still are the same."""
        ...

    def fetch(self, op: HttpOp | GitOp, cancel: Event) -> FileTree:
        """Return the files, bringing them here if need be.

        Raises:
            RemoteError: they cannot be had, or are not what the checksum says.
            CancelledError: ``cancel`` was set.
        """
        ...


class Known:
    """Finds results of steps, and remembers new ones. Safe to use from several threads.

    ``remotes`` is asked when something has to be fetched. ``unread`` are base images (digests) whose files
    no step looks into: they need not be here. With ``thorough``, `find` reads a context's files rather
    than leave open whether a COPY is known. ``salt`` is what else decides results, such as whether
    owners can be kept, and ``wine_salt`` what decides those of RUNs of Windows images.
    """

    def __init__(
        self,
        *,
        layers: Layers,
        cache: Cache,
        images: BaseImages,
        contexts: Mapping[str, FileTree],
        remotes: Callable[[], RemoteFiles],
        salt: str,
        wine_salt: str,
        unread: frozenset[str],
        thorough: bool,
    ) -> None:
        self._layers = layers
        self._cache = cache
        self._images = images
        self._contexts = contexts
        self._remotes = remotes
        self._salt = salt
        self._wine_salt = wine_salt
        self._unread_images = unread
        self._thorough = thorough
        self._contents: dict[tuple[CopyOp, Result], str] = {}
        self._unread: set[tuple[CopyOp, Result]] = set()
        self.noted: dict[CacheKey, Record] = {}
        """What was found and what was made in this build."""

    def find(self, step: Step, inputs: tuple[Result, ...], *, late: bool = False) -> Result | None:
        """Return the step's result if it can be had without doing it.

        ``late``, when others run already, a layer counts only if it is here.
        """
        op = step.op
        match op:
            case ScratchOp():
                if op.os == WINDOWS:
                    return stacked((self._layers.windows_scratch(),), WINDOWS)
                return empty()
            case ContextOp():
                return OfferedFiles(tree=self._contexts[op.name])
            case HttpOp() | GitOp():
                tree = self._remotes().find(op)
                return None if tree is None else OfferedFiles(tree=tree)
            case ImageOp():
                if op.digest not in self._unread_images and not self._images.is_here(op.digest):
                    return None
                return stacked(self._images.layers(op.digest), op.platform.os)
            case RunOp() | MkdirOp() | CopyOp() | JoinedCopyOp():
                return None if step.no_cache else self.find_layer(op, inputs, late=late)
            case _:
                assert_never(op)

    def find_layer(
        self, op: LayerOp, inputs: tuple[Result, ...], *, late: bool
    ) -> FileSystem | None:
        """Return what the cache knows of a step; ``late`` is as in `find`."""
        for key in self.keys(op, inputs):
            record = self._cache.find(key)
            if record is None or (late and self._cache.obtain((record.layer,))):
                continue
            self.noted[key] = record
            return self._from_record(record, file_system(inputs[0]))
        return None

    def keys(self, op: LayerOp, inputs: tuple[Result, ...]) -> Iterator[CacheKey]:
        """Yield the keys under which the result may be known, the cheapest to compute first."""
        if not isinstance(op, AnyCopyOp) or len(inputs) == 1:
            salt = self._salt
            if isinstance(op, RunOp) and op.os == WINDOWS:
                salt += self._wine_salt
            yield step_key(op, [file_system(each).key for each in inputs], salt)
            if isinstance(op, RunOp) and len(inputs) > 1:
                below = step_key(op, [file_system(inputs[0]).key], salt)
                if all(map(self._is_here, inputs[1:])):
                    yield digest("content", below, self._mounted_content(op, inputs))
            return
        parent, *sources = inputs
        below = file_system(parent).key
        if all(isinstance(source, FileSystem) for source in sources):
            keys = [file_system(source).key for source in sources]
            yield step_key(op, [below, *keys], self._salt)
        contents = [self._copied_content(part, source) for part, source in _sources(op, sources)]
        if None not in contents:
            content = contents if isinstance(op, JoinedCopyOp) else contents[0]
            yield digest("content", step_key(op, [below], self._salt), content)

    def _copied_content(self, op: CopyOp, source: Result) -> str | None:
        """Return a key of what is copied; None if most of it would have to be read for that."""
        memo = (op, source)
        if memo not in self._contents and memo not in self._unread:
            if not self._is_here(source):
                return None
            key_of = content_key if self._thorough else cheap_content_key
            content = key_of(op, self.source_tree(source, op.os))
            if content is None:
                # Most files are unknown: `_copy` packs them first, so that each is read once.
                self._unread.add(memo)
            else:
                self._contents[memo] = content
        return self._contents.get(memo)

    def _mounted_content(self, op: RunOp, inputs: tuple[Result, ...]) -> list[str]:
        """Return keys of what a RUN's mounts show, whatever lies beside it."""
        keys = []
        for mount in op.mounts:
            if mount.input is not None:
                files = inputs[mount.input]
                selection = CopyOp(
                    sources=(escape(mount.source),),
                    dest="/",
                    keep_owner=True,
                    origin=mount.origin,
                )
                memo = (selection, files)
                if memo not in self._contents:
                    self._contents[memo] = content_key(selection, self.source_tree(files, op.os))
                keys.append(self._contents[memo])
        return keys

    def _from_record(self, record: Record, parent: FileSystem) -> FileSystem:
        layer = uncompressed(record.diff_id, record.size, record.created)
        return FileSystem(key=record.identity, parent=parent, layer=ready(layer), os=parent.os)

    def _is_here(self, source: Result) -> bool:
        """Say whether files can be looked at without being fetched first."""
        return isinstance(source, OfferedFiles) or self._layers.are_here(source)

    def source_tree(self, source: Result, for_os: str) -> FileTree:
        """Return the files that a COPY takes from a result, as a step of an image ``for_os`` sees them."""
        if isinstance(source, OfferedFiles):
            return source.tree
        return self._layers.tree(source, for_os=for_os)

    def learn(
        self,
        op: AnyCopyOp,
        sources: tuple[Result, ...],
        changes: Iterable[Change],
        entries: tuple[Entry, ...],
    ) -> None:
        """Take over what packing a copy has read of its sources: each file, so the keys cost nothing."""
        for part, source in _sources(op, sources):
            tree = self.source_tree(source, part.os)
            if isinstance(tree, LocalTree):
                tree.learn(changes, entries)
                self._contents[part, source] = content_key(part, tree)

    def names(self, op: LayerOp, inputs: tuple[Result, ...]) -> Names:
        """Name the result of a step that was done.

        A command that ran again may have given something else, so what was built on its result of before
        is not to be found on this one.
        """
        keys = tuple(self.keys(op, inputs))
        if isinstance(op, RunOp) and any(map(self._cache.knew, keys)):
            return Names(keys, digest("again", keys[-1], os.urandom(16).hex()))
        return Names(keys, keys[-1])

    def remember(self, names: Names, parent: FileSystem, layer: BuiltLayer) -> FileSystem:
        """Keep a result under all its keys."""
        record = Record(
            diff_id=layer.diff_id,
            size=layer.descriptor.size,
            identity=names.identity,
            created=layer.created,
        )
        for key in names.keys:
            self._cache.remember(key, record)
            self.noted[key] = record
        return FileSystem(key=names.identity, parent=parent, layer=ready(layer), os=parent.os)


def _sources(op: AnyCopyOp, sources: Iterable[Result]) -> Iterator[tuple[CopyOp, Result]]:
    """Yield each part of a copy that has sources, and what it copies from."""
    parts = op.parts if isinstance(op, JoinedCopyOp) else (op,)
    return zip((part for part in parts if part.sources), sources, strict=True)
