"""Archives as an attacker would write them: raw header blocks, nothing checked.

>>> archive(entry("a", kind=SYMLINK, link="/etc"), entry("a/passwd", b"owned"))
"""

FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)
CONTIGUOUS, SPARSE, LONG_NAME, LONG_LINK, PAX, GLOBAL = b"7", b"S", b"L", b"K", b"x", b"g"

USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def octal(value, length):
    """Return a number field; bytes stay as they are."""
    if isinstance(value, bytes):
        return value.ljust(length, b"\0")
    return b"%0*o\0" % (length - 1, value)


def base256(value, length):
    """Return a number field as GNU tar writes large or negative numbers."""
    return bytes([0x80 if value >= 0 else 0xFF]) + (value % (1 << 8 * (length - 1))).to_bytes(
        length - 1, "big"
    )


def header(
    name,
    *,
    kind=FILE,
    mode=0o644,
    uid=0,
    gid=0,
    size=0,
    mtime=0,
    link="",
    magic=USTAR,
    major=0,
    minor=0,
    prefix="",
    checksum=None,
):
    """Return one block. Numbers may be given as the bytes of their field."""
    block = bytearray(512)
    block[0:100] = _bytes(name)[:100].ljust(100, b"\0")
    block[100:108] = octal(mode, 8)
    block[108:116] = octal(uid, 8)
    block[116:124] = octal(gid, 8)
    block[124:136] = octal(size, 12)
    block[136:148] = octal(mtime, 12)
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157:257] = _bytes(link)[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[329:337] = octal(major, 8)
    block[337:345] = octal(minor, 8)
    block[345:500] = _bytes(prefix).ljust(155, b"\0")
    assert len(block) == 512
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block)


def padded(data):
    """Return data and the zeros up to the next block."""
    return data + bytes(-len(data) % 512)


def entry(name, data=b"", **fields):
    """Return header and content; ``size`` may lie."""
    fields.setdefault("size", len(data))
    if fields.get("kind") == DIRECTORY:
        fields.setdefault("mode", 0o755)
    return header(name, **fields) + padded(data)


def record(key, value):
    """Return one PAX record of the right length."""
    rest = len(_bytes(key)) + len(_bytes(value)) + 3
    size = rest + len(str(rest + len(str(rest))))
    return b"%d %s=%s\n" % (size, _bytes(key), _bytes(value))


def pax(kind=PAX, **records):
    """Return an extended header entry; keys may use `__` for a dot."""
    data = b"".join(record(key.replace("__", "."), value) for key, value in records.items())
    return raw_pax(data, kind)


def raw_pax(data, kind=PAX):
    """Return an extended header entry of any bytes."""
    return entry("PaxHeaders.0/x", data, kind=kind)


def long_name(name, kind=LONG_NAME):
    """Return the GNU entry that gives the next one a long name, or link's target."""
    return entry("././@LongLink", _bytes(name) + b"\0", kind=kind, magic=GNU)


def archive(*entries, end=bytes(1024)):
    """Return the entries and the end of the archive."""
    return b"".join(entries) + end
