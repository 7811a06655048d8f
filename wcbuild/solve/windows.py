"""What a RUN of a Windows image changed, as its layer says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wcbuild.layer.changes import DIRECTORY, FILE, Change, Meta
from wcbuild.layer.windows import hive, records, sddl
from wcbuild.layer.windows.names import fold
from wcbuild.sandbox.wine.registry import Key, RegistryChanges
from wcbuild.sandbox.wine.sandbox import Outcome
from wcbuild.solve.layers import Layers
from wcbuild.solve.results import FileSystem
from wcbuild.tree.base import FileTree
from wcbuild.tree.windows import drive_as_it_is

_KEPT = (records.ATTRIBUTES, records.DESCRIPTOR, records.JUNCTION, records.CREATED)
_HIVE_SDDL = "O:BAG:SYD:(A;CI;KA;;;BA)(A;CI;KA;;;SY)(A;CI;KR;;;BU)"
_WRITABLE = 0o200
_SHOWN = 3


def with_records(changes: Iterable[Change], below: FileTree) -> Iterator[Change]:
    """Yield ``changes`` with what only Windows knows of files: unpacked trees do not have it.

    What was there before in ``below`` keeps its attributes, descriptor and time of creation; so does the
    drive itself, which every layer has. A name that was replaced by another spelling of itself is no
    deletion.
    """
    listed = list(changes)
    written = {fold(change.path) for change in listed if change.meta is not None}
    if "" not in written:
        yield from drive_as_it_is(below)
    for change in listed:
        if change.meta is None:
            if fold(change.path) not in written:
                yield change
            continue
        yield change._replace(meta=_completed(change.path, change.meta, below))


def _completed(path: str, meta: Meta, below: FileTree) -> Meta:
    node = below.find(path)
    old = node.meta if node is not None and node.meta.kind == meta.kind else None
    own = {name: value for name, value in (old.xattrs if old else ()) if name in _KEPT}
    if meta.kind == FILE and not meta.mode & _WRITABLE:
        attributes = (records.attributes(old) if old else None) or records.ARCHIVE
        own[records.ATTRIBUTES] = b"%d" % (attributes | records.READ_ONLY)
    if meta.kind in (FILE, DIRECTORY):
        return meta._replace(xattrs=tuple(sorted(own.items())))
    return meta


def hives(changes: RegistryChanges) -> dict[str, bytes]:
    """Return the hives that keep what changed in the registry, by their names in a layer."""
    by_hive: dict[str, list[hive.Key]] = {}
    for key in changes.keys:
        by_hive.setdefault(key.hive, []).append(hive.Key(key.path, key.values))
    descriptor = sddl.encode(sddl.parse(_HIVE_SDDL))
    return {name: hive.delta_hive(keys, descriptor) for name, keys in by_hive.items()}


def earlier_keys(layers: Layers, files: FileSystem) -> tuple[Key, ...]:
    """Return what steps below, of this build or another, have put into the registry.

    Hives that Windows wrote are left alone: they are deltas to a registry that is not Wine's.
    """
    found = []
    for name, data in layers.hives(files):
        if hive.is_ours(data):
            found += [Key(name, key.path, key.values) for key in hive.read_keys(data) if key.path]
    return tuple(found)


def what_is_lost(outcome: Outcome, *, registry_kept: bool) -> str:
    """Say what a step did that its layer does not have; empty if there is nothing."""
    told = []
    for one, many, paths in (
        ("file below C:\\Windows", "files below C:\\Windows", outcome.lost),
        ("data stream", "data streams", outcome.streams),
        ("hidden or system attribute", "hidden or system attributes", outcome.hidden),
    ):
        if paths:
            told.append(_listed(one, many, [path.replace("/", "\\") for path in paths]))
    names = list(outcome.registry.lost)
    if not registry_kept:
        names += [f"{key.hive.removesuffix('_Delta')}\\{key.path}" for key in outcome.registry.keys]
    if names:
        told.append(_listed("registry key", "registry keys", names))
    return f"wcbuild: not kept: {'; '.join(told)}\n" if told else ""


def _listed(one: str, many: str, names: list[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {one if len(names) == 1 else many} ({', '.join(names[:_SHOWN])}{more})"
