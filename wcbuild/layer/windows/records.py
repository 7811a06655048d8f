"""What a layer says of a file that only Windows knows: PAX records, carried as a `Meta`'s `xattrs`.

They travel as they stand in the tar, so that what is written again is what was read.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Mapping
from functools import lru_cache

from wcbuild.errors import LayerError
from wcbuild.layer.changes import DIRECTORY, SYMLINK, TIMES, Meta
from wcbuild.layer.windows import sddl

ATTRIBUTES = "MSWINDOWS.fileattr"
DESCRIPTOR = "MSWINDOWS.rawsd"
"""Security descriptor in binary form, base64."""
OLD_DESCRIPTOR = "MSWINDOWS.sd"
"""The same as SDDL, in old images."""
JUNCTION = "MSWINDOWS.mountpoint"
EXTENDED = "MSWINDOWS.xattr."
CREATED = "LIBARCHIVE.creationtime"
_MODIFIED = "mtime"

_KEPT = frozenset((ATTRIBUTES, DESCRIPTOR, JUNCTION, *TIMES))

READ_ONLY, DIRECTORY_BIT, ARCHIVE, REPARSE_POINT = 0x1, 0x10, 0x20, 0x400
"""FILE_ATTRIBUTE_*, added up in `ATTRIBUTES`."""

DIRECTORY_SDDL = (
    "O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)"
    "(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)"
)
FILE_SDDL = "O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)"
"""What new directories and files get, as BuildKit writes it: all for administrators and the system,
reading for users, who may also add to directories."""

_SHOWN = 40
_TIME = re.compile(rb"-?\d{1,12}(?:\.\d{1,20})?")

Xattrs = tuple[tuple[str, bytes], ...]


def keep(records: Mapping[bytes, bytes], entry: str) -> Xattrs:
    """Return the records of an entry that mean something to Windows, sorted; old descriptors as new ones.

    Raises:
        LayerError: a descriptor that is none, in text or in bytes.
    """
    found = {}
    for key, value in records.items():
        name = key.decode("utf-8", "replace")
        if name in _KEPT or name.startswith(EXTENDED):
            found[name] = value
    if b"." not in found.get(_MODIFIED, b""):
        found.pop(_MODIFIED, None)  # a `Meta` has whole seconds
    old = records.get(OLD_DESCRIPTOR.encode())
    try:
        if DESCRIPTOR in found:
            _check_descriptor(found[DESCRIPTOR])
        elif old:
            found[DESCRIPTOR] = from_sddl(old.decode("utf-8", "replace"))
    except sddl.SecurityDescriptorError as error:
        raise LayerError(f'"{entry[:200]}"', str(error)) from error
    return tuple(sorted(found.items()))


@lru_cache(maxsize=1024)
def _check_descriptor(value: bytes) -> None:
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError as error:
        shown = value[:_SHOWN].decode("ascii", "replace")
        raise sddl.SecurityDescriptorError(shown, "is not base64") from error
    sddl.check(data)


@lru_cache(maxsize=1024)
def from_sddl(text: str) -> bytes:
    """Return the value of `DESCRIPTOR` for a descriptor in text. Raises SecurityDescriptorError."""
    return base64.b64encode(sddl.encode(sddl.parse(text)))


def told(xattrs: Xattrs) -> dict[str, str]:
    """Return records as people read them: descriptors as SDDL where that is possible."""
    found = {name: value.decode("utf-8", "replace") for name, value in xattrs}
    if DESCRIPTOR in found:
        with contextlib.suppress(ValueError, sddl.SecurityDescriptorError):
            descriptor = sddl.decode(base64.b64decode(found[DESCRIPTOR], validate=True))
            found[OLD_DESCRIPTOR] = sddl.format_descriptor(descriptor)
            del found[DESCRIPTOR]
    return found


def with_records(xattrs: Xattrs, changed: Mapping[str, bytes | None]) -> Xattrs:
    """Return records with some replaced, or taken away where they are None."""
    merged: dict[str, bytes | None] = {**dict(xattrs), **changed}
    return tuple(sorted((name, value) for name, value in merged.items() if value is not None))


_LINUX_MODES = {DIRECTORY: 0o755, SYMLINK: 0o777}


def as_linux(meta: Meta) -> Meta:
    """Return the metadata of a file of a Windows image for use outside of one.

    Its records say nothing to others, and few of its builders set permissions.
    """
    mode = meta.mode or _LINUX_MODES.get(meta.kind, 0o644)
    return meta._replace(mode=mode, uid=0, gid=0, xattrs=())


def attributes(meta: Meta) -> int | None:
    """Return the attributes that an entry has; None if its layer says nothing."""
    text = dict(meta.xattrs).get(ATTRIBUTES, b"")
    return int(text) if text.isdigit() and len(text) <= 10 else None  # noqa: PLR2004 - 32 bits


def complete(meta: Meta, epoch: int | None) -> Meta:
    """Return metadata with every record that Windows needs, and no other; no time is after ``epoch``.

    What has no descriptor gets that of new files or directories.
    """
    own = {name: value for name, value in meta.xattrs if name in _KEPT or name.startswith(EXTENDED)}
    if not own:
        return meta._replace(xattrs=_usual(meta.kind, meta.mtime))
    if attributes(meta) is None:
        own[ATTRIBUTES] = _usual_attributes(meta.kind)
    own.setdefault(DESCRIPTOR, _usual_descriptor(meta.kind))
    for name in TIMES & own.keys():
        seconds = _seconds(own[name])
        if seconds is None or (name == _MODIFIED and seconds != max(0, meta.mtime)):
            del own[name]
        elif epoch is not None and seconds >= epoch:
            own[name] = b"%d" % epoch
    if b"." not in own.get(_MODIFIED, b""):
        own.pop(_MODIFIED, None)
    own.setdefault(CREATED, b"%d" % meta.mtime)
    return meta._replace(xattrs=tuple(sorted(own.items())))


@lru_cache(maxsize=1024)
def _usual(kind: str, mtime: int) -> Xattrs:
    """Return the records of something new."""
    found = {
        ATTRIBUTES: _usual_attributes(kind),
        DESCRIPTOR: _usual_descriptor(kind),
        CREATED: b"%d" % mtime,
    }
    return tuple(sorted(found.items()))


def _usual_attributes(kind: str) -> bytes:
    if kind == DIRECTORY:
        return b"%d" % DIRECTORY_BIT
    return b"%d" % (ARCHIVE | (REPARSE_POINT if kind == SYMLINK else 0))


def _usual_descriptor(kind: str) -> bytes:
    return from_sddl(DIRECTORY_SDDL if kind == DIRECTORY else FILE_SDDL)


def _seconds(value: bytes) -> int | None:
    """Return the whole seconds of a time, rounded towards the past; None if it is none."""
    if not _TIME.fullmatch(value):
        return None
    whole, _, fraction = value.partition(b".")
    return int(whole) - (value.startswith(b"-") and bool(fraction.strip(b"0")))
