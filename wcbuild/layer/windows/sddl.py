"""Security descriptors: their text (SDDL) to the binary form that layers hold, and back.

Both ways without loss for what layers have: owner, group, a list of who may do what (the DACL) and the
list of what is recorded (the SACL), with entries that allow, deny, audit or label. Entries for single
attributes of directory objects, or with conditions, are refused: files have none.

Spec: https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format and [MS-DTYP]
2.4.4 (ACE), 2.4.5 (ACL), 2.4.6 (SECURITY_DESCRIPTOR)
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from wcbuild.errors import WcbuildError

MAX_DESCRIPTOR_BYTES = 64 * 1024
"""Windows itself has 16 bits for the size of an access control list."""

_ALIASES = {
    "AN": "S-1-5-7",
    "AO": "S-1-5-32-548",
    "AU": "S-1-5-11",
    "BA": "S-1-5-32-544",
    "BG": "S-1-5-32-546",
    "BO": "S-1-5-32-551",
    "BU": "S-1-5-32-545",
    "CG": "S-1-3-1",
    "CO": "S-1-3-0",
    "IU": "S-1-5-4",
    "LS": "S-1-5-19",
    "LW": "S-1-16-4096",
    "ME": "S-1-16-8192",
    "HI": "S-1-16-12288",
    "SI": "S-1-16-16384",
    "NO": "S-1-5-32-556",
    "NS": "S-1-5-20",
    "NU": "S-1-5-2",
    "OW": "S-1-3-4",
    "PO": "S-1-5-32-550",
    "PS": "S-1-5-10",
    "PU": "S-1-5-32-547",
    "RC": "S-1-5-12",
    "RD": "S-1-5-32-555",
    "RE": "S-1-5-32-552",
    "SO": "S-1-5-32-549",
    "SU": "S-1-5-6",
    "SY": "S-1-5-18",
    "WD": "S-1-1-0",
    "AC": "S-1-15-2-1",
}
_ALIAS_OF = {sid: alias for alias, sid in _ALIASES.items()}

_TYPES = {"A": 0, "D": 1, "AU": 2, "AL": 3, "ML": 0x11}
_TYPE_OF = {number: text for text, number in _TYPES.items()}
_FLAGS = {"OI": 1, "CI": 2, "NP": 4, "IO": 8, "ID": 0x10, "SA": 0x40, "FA": 0x80}
_RIGHTS = {
    "GA": 0x10000000,
    "GX": 0x20000000,
    "GW": 0x40000000,
    "GR": 0x80000000,
    "RC": 0x20000,
    "SD": 0x10000,
    "WD": 0x40000,
    "WO": 0x80000,
    "CC": 0x1,
    "DC": 0x2,
    "LC": 0x4,
    "SW": 0x8,
    "RP": 0x10,
    "WP": 0x20,
    "DT": 0x40,
    "LO": 0x80,
    "CR": 0x100,
    "FA": 0x1F01FF,
    "FR": 0x120089,
    "FW": 0x120116,
    "FX": 0x1200A0,
    "KA": 0xF003F,
    "KR": 0x20019,
    "KW": 0x20006,
    "NR": 0x2,
    "NW": 0x1,
    "NX": 0x4,
}
_RIGHTS_SETS = {_RIGHTS[name]: name for name in ("FA", "FR", "FW", "FX")}
_SINGLE_RIGHTS = tuple(list(_RIGHTS)[:17])
_LABEL_RIGHTS = ("NW", "NR", "NX")
_LABEL = _TYPES["ML"]

# Bits of a descriptor's control word.
_DACL_PRESENT, _SACL_PRESENT, _SELF_RELATIVE = 0x4, 0x10, 0x8000
_CONTROLS = {"P": 0x1000, "AR": 0x100, "AI": 0x400}
"""Of the DACL; those of the SACL are twice as much."""

_HEADER = struct.Struct("<BxHIIII")
_ACL = struct.Struct("<BxHHxx")
_ACE = struct.Struct("<BBHI")
_ACL_REVISION = 2
_MAX_LIST_BYTES = 0xFFFF
_MAX_SUB_AUTHORITIES = 15

_SID = re.compile(r"S-1-(\d{1,15}|0x[0-9A-Fa-f]{1,12})((?:-\d{1,10})+)", re.ASCII | re.IGNORECASE)
_PART = re.compile(r"([OGDS]):")
_ENTRY = re.compile(r"\(([^()]*)\)")


class SecurityDescriptorError(WcbuildError):
    """A security descriptor, in either form, that cannot be read. ``text`` is what it was."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.reason = reason

    def __str__(self) -> str:
        return f'security descriptor "{self.text[:200]}": {self.reason}'


class Entry(NamedTuple):
    """One line of an access control list."""

    kind: int
    flags: int
    rights: int
    sid: str


class AccessList(NamedTuple):
    """A DACL or SACL."""

    control: int
    """`P` (protected), `AR`, `AI` as the DACL has them in the control word."""
    entries: tuple[Entry, ...]


class Descriptor(NamedTuple):
    """A security descriptor. An access list that is None allows everything."""

    owner: str = ""
    """A SID, `S-1-…`; empty is none."""
    group: str = ""
    dacl: AccessList | None = None
    sacl: AccessList | None = None


def parse(text: str) -> Descriptor:
    """Read SDDL. Aliases become SIDs.

    Raises:
        SecurityDescriptorError
    """
    pieces = _PART.split(text.strip())
    # A letter and a colon do not stand inside of entries, whose fields end in semicolons.
    if pieces[0].strip():
        raise SecurityDescriptorError(text, "does not begin with O:, G:, D: or S:")
    parts: dict[str, str] = {}
    for letter, value in zip(pieces[1::2], pieces[2::2], strict=True):
        if letter in parts:
            raise SecurityDescriptorError(text, f"has {letter}: twice")
        parts[letter] = value.strip()
    return Descriptor(
        owner=_sid(parts["O"], text) if parts.get("O") else "",
        group=_sid(parts["G"], text) if parts.get("G") else "",
        dacl=_access_list(parts["D"], text) if "D" in parts else None,
        sacl=_access_list(parts["S"], text) if "S" in parts else None,
    )


def _access_list(value: str, text: str) -> AccessList | None:
    flags, bracket, _ = value.partition("(")
    if flags == "NO_ACCESS_CONTROL":
        return None
    control, rest = 0, flags.strip()
    while rest:
        name = next((name for name in _CONTROLS if rest.startswith(name)), "")
        if not name:
            raise SecurityDescriptorError(text, f'has the unknown flag "{rest}"')
        control |= _CONTROLS[name]
        rest = rest[len(name) :]
    body = value[len(flags) :] if bracket else ""
    if _ENTRY.sub("", body).strip():
        raise SecurityDescriptorError(text, "has something between its entries")
    return AccessList(control, tuple(_entry(found, text) for found in _ENTRY.findall(body)))


def _entry(value: str, text: str) -> Entry:
    fields = [field.strip() for field in value.split(";")]
    if len(fields) != 6 or fields[3] or fields[4]:  # noqa: PLR2004 - the entry's fields
        raise SecurityDescriptorError(
            text, f'has the entry "({value})", which is not of the form "(type;flags;rights;;;sid)"'
        )
    kind, flags, rights, _, _, sid = fields
    if kind not in _TYPES:
        raise SecurityDescriptorError(text, f'has an entry of the unknown type "{kind}"')
    return Entry(_TYPES[kind], _words(flags, _FLAGS, text), _rights(rights, text), _sid(sid, text))


def _rights(value: str, text: str) -> int:
    if value[:1].isdigit():
        try:
            number = int(value, 16 if value[:2].lower() == "0x" else 10)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 32:
            raise SecurityDescriptorError(text, f'has the rights "{value}", which are no number')
        return number
    return _words(value, _RIGHTS, text)


def _words(value: str, known: dict[str, int], text: str) -> int:
    """Add up two-letter words."""
    bits = 0
    for start in range(0, len(value), 2):
        word = value[start : start + 2]
        if word not in known:
            raise SecurityDescriptorError(text, f'has the unknown word "{word}"')
        bits |= known[word]
    return bits


def _sid(value: str, text: str) -> str:
    sid = _ALIASES.get(value.upper(), value)
    try:
        return _sid_text(encode_sid(sid))
    except ValueError:
        raise SecurityDescriptorError(text, f'has "{value}", which is no account') from None


def format_descriptor(descriptor: Descriptor) -> str:
    """Return SDDL, with aliases and words where there are any."""
    text = ""
    if descriptor.owner:
        text += f"O:{_short(descriptor.owner)}"
    if descriptor.group:
        text += f"G:{_short(descriptor.group)}"
    for letter, access in (("D", descriptor.dacl), ("S", descriptor.sacl)):
        if access is not None:
            flags = "".join(name for name, bit in _CONTROLS.items() if access.control & bit)
            text += f"{letter}:{flags}" + "".join(map(_format_entry, access.entries))
    return text


def _format_entry(entry: Entry) -> str:
    flags = "".join(name for name, bit in _FLAGS.items() if entry.flags & bit)
    names = _LABEL_RIGHTS if entry.kind == _LABEL else _SINGLE_RIGHTS
    return (
        f"({_TYPE_OF[entry.kind]};{flags};{_format_rights(entry.rights, names)};;;"
        f"{_short(entry.sid)})"
    )


def _format_rights(rights: int, names: tuple[str, ...]) -> str:
    if rights in _RIGHTS_SETS and names is _SINGLE_RIGHTS:
        return _RIGHTS_SETS[rights]
    words = [name for name in names if rights & _RIGHTS[name]]
    spelled = 0
    for word in words:
        spelled |= _RIGHTS[word]
    # As Windows prints it: bits of files that have no word of their own make it a number.
    plain = spelled != rights or rights & _RIGHTS_SYNCHRONIZE
    return f"0x{rights:x}" if plain else "".join(words)


_RIGHTS_SYNCHRONIZE = 0x100000


def _short(sid: str) -> str:
    return _ALIAS_OF.get(sid, sid)


def encode(descriptor: Descriptor) -> bytes:
    """Return the self-relative binary form, its parts in the order in which Windows writes them.

    Raises:
        ValueError: a SID that is none.
        SecurityDescriptorError: a list of more than 64 KiB.
    """
    control = _SELF_RELATIVE
    data = b""
    offsets: list[int] = []

    def place(part: bytes) -> int:
        nonlocal data
        data += part
        return _HEADER.size + len(data) - len(part)

    offsets += [
        place(encode_sid(sid)) if sid else 0 for sid in (descriptor.owner, descriptor.group)
    ]
    # The SACL's bits are twice the DACL's, and it comes before it.
    lists = ((descriptor.sacl, _SACL_PRESENT, 1), (descriptor.dacl, _DACL_PRESENT, 0))
    for access, present, shift in lists:
        if access is None:
            offsets.append(0)
            continue
        control |= present | access.control << shift
        offsets.append(place(_encode_list(access)))
    return _HEADER.pack(1, control, *offsets) + data


def _encode_list(access: AccessList) -> bytes:
    body = b""
    for entry in access.entries:
        sid = encode_sid(entry.sid)
        body += _ACE.pack(entry.kind, entry.flags, _ACE.size + len(sid), entry.rights) + sid
    size = _ACL.size + len(body)
    if size > _MAX_LIST_BYTES:
        raise SecurityDescriptorError(
            f"a list of {len(access.entries)} entries", f"is longer than {_MAX_LIST_BYTES} bytes"
        )
    return _ACL.pack(_ACL_REVISION, size, len(access.entries)) + body


def encode_sid(text: str) -> bytes:
    """Return the binary form of `S-1-…`. Raises ValueError if it is none."""
    found = _SID.fullmatch(text)
    if found is None:
        raise ValueError(text)
    authority = int(found[1], 16 if found[1][:2].lower() == "0x" else 10)
    parts = [int(part) for part in found[2].split("-")[1:]]
    if authority >= 1 << 48 or max(parts) >= 1 << 32 or len(parts) > _MAX_SUB_AUTHORITIES:
        raise ValueError(text)
    head = struct.pack("<BB", 1, len(parts)) + authority.to_bytes(6, "big")
    return head + struct.pack(f"<{len(parts)}I", *parts)


def _sid_text(data: bytes) -> str:
    authority = int.from_bytes(data[2:8], "big")
    shown = str(authority) if authority < 1 << 32 else f"0x{authority:012X}"
    parts = struct.unpack_from(f"<{data[1]}I", data, 8)
    return f"S-1-{shown}" + "".join(f"-{part}" for part in parts)


def decode(data: bytes) -> Descriptor:
    """Read the self-relative binary form.

    Raises:
        SecurityDescriptorError: it is damaged, too large, or has entries that this module does not know.
    """
    with _not_truncated(data):
        control, (owner, group), (sacl, dacl) = _head(data)
        return Descriptor(
            owner=owner,
            group=group,
            dacl=_decode_list(data, dacl, control) if dacl else None,
            sacl=_decode_list(data, sacl, control >> 1) if sacl else None,
        )


def check(data: bytes) -> None:
    """Refuse what is no descriptor; the entries of its lists, which Windows has more kinds of, may be any.

    Raises:
        SecurityDescriptorError: it is damaged or too large.
    """
    with _not_truncated(data):
        _, _, lists = _head(data)
        for start in filter(None, lists):
            _list_at(data, start)


@contextlib.contextmanager
def _not_truncated(data: bytes) -> Iterator[None]:
    try:
        yield
    except struct.error as error:
        raise _damaged(data, "is truncated") from error


def _head(data: bytes) -> tuple[int, tuple[str, str], tuple[int, int]]:
    """Return the control word, the SIDs of owner and group, and where SACL and DACL begin, 0 for none."""
    if len(data) > MAX_DESCRIPTOR_BYTES:
        raise _damaged(data, f"is longer than {MAX_DESCRIPTOR_BYTES} bytes")
    revision, control, owner, group, sacl, dacl = _HEADER.unpack_from(data)
    if revision != 1 or not control & _SELF_RELATIVE:
        raise _damaged(data, "is not self-relative")
    accounts = (
        _sid_text(_sid_at(data, owner, len(data))) if owner else "",
        _sid_text(_sid_at(data, group, len(data))) if group else "",
    )
    lists = (sacl if control & _SACL_PRESENT else 0, dacl if control & _DACL_PRESENT else 0)
    return control, accounts, lists


def _list_at(data: bytes, start: int) -> tuple[int, int]:
    """Return how many entries a list has, and where it ends."""
    _, size, count = _ACL.unpack_from(data, start)
    end = start + size
    if end > len(data):
        raise _damaged(data, "is truncated")
    return count, end


def _decode_list(data: bytes, start: int, control: int) -> AccessList:
    count, end = _list_at(data, start)
    entries = []
    position = start + _ACL.size
    for _ in range(count):
        kind, flags, length, rights = _ACE.unpack_from(data, position)
        if kind not in _TYPE_OF:
            raise _damaged(data, f"has an entry of the unknown type {kind}")
        if length < _ACE.size or position + length > end:
            raise _damaged(data, "has an entry of a wrong size")
        sid = _sid_at(data, position + _ACE.size, position + length)
        if len(sid) != length - _ACE.size:
            raise _damaged(data, "has an entry with something behind it")
        entries.append(Entry(kind, flags, rights, _sid_text(sid)))
        position += length
    known = 0
    for bit in _CONTROLS.values():
        known |= bit
    return AccessList(control & known, tuple(entries))


def _sid_at(data: bytes, start: int, end: int) -> bytes:
    head = data[start : start + 2]
    size = 8 + 4 * head[1] if len(head) == 2 else 0  # noqa: PLR2004 - revision and count
    if not size or head[0] != 1 or not 0 < head[1] <= _MAX_SUB_AUTHORITIES or start + size > end:
        raise _damaged(data, "has an account that is none")
    return data[start : start + size]


def _damaged(data: bytes, reason: str) -> SecurityDescriptorError:
    return SecurityDescriptorError(data[:32].hex(), reason)
