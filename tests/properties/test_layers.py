"""What goes into a layer comes out of it, whatever it is."""

import hashlib
import io
import os
import stat
import tarfile
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from wcbuild.layer.apply import apply
from wcbuild.layer.changes import (
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Change,
    HostFile,
    Inline,
    Meta,
)
from wcbuild.layer.pack import pack
from wcbuild.layer.scan import scan

IS_ROOT = os.geteuid() == 0

LETTERS = st.one_of(st.sampled_from("abcé-. \n\\"), st.characters(exclude_characters="/\0"))
NAMES = (
    st.one_of(
        st.text(LETTERS, min_size=1, max_size=8),
        st.binary(min_size=1, max_size=6).map(os.fsdecode),
        st.sampled_from(["x" * 101, "y" * 255]),
    )
    .filter(lambda name: name not in {".", ".."} and not name.startswith(".wh."))
    .filter(lambda name: not {"/", "\0"} & set(name))
    .filter(lambda name: encodable(name) and len(os.fsencode(name)) <= 255)
)
MODES = st.integers(0, 0o7777)
IDS = st.one_of(st.integers(0, 70000), st.sampled_from([0o7777777, 0o10000000, 0xFFFFFFFE]))
TIMES = st.integers(-(1 << 31), 1 << 33)  # what ext4 can hold


def encodable(name):
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return os.fsdecode(os.fsencode(name)) == name


@st.composite
def leaves(draw):
    """A change without its path."""
    kind = draw(st.sampled_from([FILE, FILE, SYMLINK, FIFO]))
    fields = {"uid": draw(IDS), "gid": draw(IDS), "mtime": draw(TIMES)}
    if kind == SYMLINK:
        return Change("", Meta(SYMLINK, 0o777, link=draw(NAMES), **fields))
    mode = draw(MODES) | 0o400
    if kind == FIFO:
        return Change("", Meta(FIFO, mode, **fields))
    data = draw(st.binary(max_size=1100))
    return Change("", Meta(FILE, mode, size=len(data), **fields), Inline(data))


@st.composite
def trees(draw):
    """Changes that make a tree: the parents of everything are in it."""
    changes = {}
    folders = [""]
    for _ in range(draw(st.integers(0, 12))):
        path = "/".join(filter(None, [draw(st.sampled_from(folders)), draw(NAMES)]))
        if path in changes:
            continue
        if draw(st.booleans()):
            meta = Meta(DIRECTORY, draw(MODES) | 0o700, draw(IDS), draw(IDS), mtime=draw(TIMES))
            changes[path] = Change(path, meta)
            folders.append(path)
        else:
            changes[path] = draw(leaves())._replace(path=path)
    files = [c for c in changes.values() if c.meta.kind != DIRECTORY]
    if files:
        for number in range(draw(st.integers(0, 3))):
            path = f"{draw(st.sampled_from('!mz'))}hard{number}"
            target = draw(st.sampled_from(files)).path
            changes[path] = Change(path, Meta(HARDLINK, 0o644, link=target))
    return draw(st.permutations(list(changes.values())))


def packed(changes):
    out = io.BytesIO()
    return pack(changes, out, epoch=None), out.getvalue()


@settings(max_examples=150)
@given(trees())
def test_scanning_finds_what_was_packed(changes):
    result, data = packed(changes)
    assert tuple(scan(io.BytesIO(data))) == result.entries
    assert {e.path for e in result.entries} == {c.path for c in changes}
    by_path = {change.path: change for change in changes}
    for entry in result.entries:
        if entry.meta.kind == FILE:
            content = data[entry.offset : entry.offset + entry.meta.size]
            assert hashlib.sha256(content).hexdigest() == entry.digest
        if entry.meta.kind == by_path[entry.path].meta.kind != HARDLINK:
            assert entry.meta == by_path[entry.path].meta


@settings(max_examples=100)
@given(trees())
def test_tarfile_reads_the_same(changes):
    result, data = packed(changes)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as archive:
        found = [
            (m.name.rstrip("/"), m.mode, m.uid, m.gid, m.size, int(m.mtime))
            for m in archive.getmembers()
        ]
    assert found == [(e.path.rstrip("/"), *e.meta[1:6]) for e in result.entries]


@settings(max_examples=60)
@given(trees())
def test_unpacking_and_packing_again_gives_the_same_bytes(changes):
    _, data = packed(changes)
    with tempfile.TemporaryDirectory() as place:
        root = os.path.join(place, "root")
        os.mkdir(root)
        fd = os.open(root, os.O_RDONLY)
        try:
            apply(io.BytesIO(data), fd, ownership=IS_ROOT, devices=False)
        finally:
            os.close(fd)
        _, again = packed(walk(root))
        if not IS_ROOT:
            again, data = without_owners(again), without_owners(data)
        assert again == data


def walk(root):
    """Return a directory as changes."""
    seen = {}
    for base, folders, files in os.walk(root):
        for name in folders + files:
            place = os.path.join(base, name)
            found = os.lstat(place)
            path = os.path.relpath(place, root)
            kind = {
                stat.S_IFREG: FILE,
                stat.S_IFDIR: DIRECTORY,
                stat.S_IFLNK: SYMLINK,
                stat.S_IFIFO: FIFO,
            }[stat.S_IFMT(found.st_mode)]
            first = seen.setdefault((found.st_ino, found.st_dev), path)
            if first != path:
                yield Change(path, Meta(HARDLINK, 0, link=first))
                continue
            meta = Meta(
                kind,
                stat.S_IMODE(found.st_mode),
                found.st_uid,
                found.st_gid,
                found.st_size if kind == FILE else 0,
                found.st_mtime_ns // 10**9,
                os.readlink(place) if kind == SYMLINK else "",
            )
            yield Change(path, meta, HostFile(place) if kind == FILE else None)


def without_owners(data):
    return [(e.path, e.meta._replace(uid=0, gid=0), e.digest) for e in scan(io.BytesIO(data))]
