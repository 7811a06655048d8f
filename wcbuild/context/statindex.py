"""What is known about the content of files on this machine without reading them.

A file is told by its stamp: size, modification and change time, inode and device. Its digest is remembered
beside the stamp, and so is the key of a whole set of files beside a fingerprint of all their stamps,
in a file of its own: a build of an unchanged context reads nothing else.

A stamp is believed only if it is older than the moment when reading began, by more than a tick of the
clock: within one tick a file can be written again and look the same (git's racy-clean rule). Only the
change time counts for that, since nobody can set it.

Both files are caches. Each is replaced in one step, damaged ones count as empty, and of two processes
that save at the same time one loses what it learned, which is then learned again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from zlib import crc32

from registry.files import atomic_write

MAX_FILES = 500_000
"""Digests kept; the oldest go first. About 100 bytes each."""
MAX_KEYS = 500
"""Fingerprints kept; the oldest go first."""
_MAX_BYTES = 256 * 1024 * 1024
"""A file larger than this was not written by `save` and is not read."""

_TICK_NS = 20_000_000
"""More than a tick of any kernel's clock (10 ms where it is slowest)."""
_COARSE_TICK_NS = 2_000_000_000
"""For file systems that keep whole seconds, or two of them."""
_SECOND_NS = 1_000_000_000

_MAGIC = b"wcbuild-stat-index-1"


def stamp(status: os.stat_result) -> str:
    """Return a text that changes whenever the file's content does."""
    return (
        f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} "
        f"{status.st_ino} {status.st_dev}"
    )


def has_grown(stamp: str, status: os.stat_result) -> bool:
    """Say whether the file that had this stamp is longer now, as one is that is appended to."""
    size, _, _, inode, device = map(int, stamp.split(" "))
    return status.st_size > size and (status.st_ino, status.st_dev) == (inode, device)


def is_settled(stamp: str, moment: int) -> bool:
    """Say whether a file with this stamp at ``moment`` (ns since 1970) keeps it only while unchanged."""
    changed = int(stamp.split(" ")[2])
    tick = _TICK_NS if changed % _SECOND_NS else _COARSE_TICK_NS
    return changed + tick < moment


class StatIndex:
    """Digests and keys that one build context's files had, kept at ``path`` and beside it."""

    def __init__(self, path: Path) -> None:
        self._digests = _Table(path, MAX_FILES)
        self._keys = _Table(path.with_name(f"{path.name}.keys"), MAX_KEYS)

    def find(self, path: str, stamp: str) -> str | None:
        """Return the sha256 of the file that had this stamp."""
        value = self._digests.get(path)
        return value[:64] if value is not None and value[65:] == stamp else None

    def learn(self, path: str, stamp: str, digest: str) -> None:
        """Remember a digest; the caller has made sure that the stamp is settled."""
        self._digests.put(path, f"{digest} {stamp}")

    def recall(self, fingerprint: str) -> str | None:
        """Return the key of the set of files that had this fingerprint."""
        return self._keys.get(fingerprint)

    def remember(self, fingerprint: str, key: str) -> None:
        """Remember a key; the caller has made sure that all stamps in the fingerprint are settled."""
        self._keys.put(fingerprint, key)

    def save(self) -> None:
        """Write what was learned; a disk that refuses costs time in the next build, and nothing else."""
        self._digests.save()
        self._keys.save()


class _Table:
    """Texts by text, read from a file when first asked: NUL between them, a checksum before them."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._values: dict[str, str] | None = None
        self._changed = False

    def get(self, name: str) -> str | None:
        return self._loaded().get(name)

    def put(self, name: str, value: str) -> None:
        values = self._loaded()
        if values.get(name) != value:
            # Taken out first, so that it moves to the end, among the newest.
            values.pop(name, None)
            values[name] = value
            self._changed = True

    def save(self) -> None:
        if not self._changed:
            return
        values = self._loaded()
        for name in list(values)[: max(0, len(values) - self._limit)]:
            del values[name]
        text = "\0".join(part for pair in values.items() for part in pair)
        data = text.encode("utf-8", "surrogateescape")
        with contextlib.suppress(OSError):
            atomic_write(self._path, b"%b %08x\n%b" % (_MAGIC, crc32(data), data), durable=False)
        self._changed = False

    def _loaded(self) -> dict[str, str]:
        if self._values is None:
            self._values = self._load()
        return self._values

    def _load(self) -> dict[str, str]:
        try:
            with open(self._path, "rb") as file:
                head, _, data = file.read(_MAX_BYTES).partition(b"\n")
        except OSError:
            return {}
        if head != b"%b %08x" % (_MAGIC, crc32(data)):
            return {}
        parts = data.decode("utf-8", "surrogateescape").split("\0")
        return dict(zip(parts[::2], parts[1::2], strict=False))
