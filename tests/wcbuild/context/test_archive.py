"""Archives as trees: nothing is unpacked, whatever they are compressed with."""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile

import pytest
import zstandard

from wcbuild.context.archive import open_archive, read_file
from wcbuild.errors import UnsafeArchiveError

COMPRESSIONS = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def tar(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, fields in members:
            member = tarfile.TarInfo(name)
            for key, value in ({"mtime": 100} | fields).items():
                setattr(member, key, value)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def opened(tmp_path):
    made = []

    def scratch():
        made.append(tmp_path / f"scratch{len(made)}")
        return made[-1]

    def open_(data):
        (tmp_path / "archive").write_bytes(data)
        return open_archive(tmp_path / "archive", "archive", scratch)

    return open_


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_reads_every_compression(opened, compression):
    data = tar(("./d/f", b"content", {"uid": 5, "gid": 6, "mode": 0o640, "mtime": 200}))
    found = opened(COMPRESSIONS[compression](data))
    node = found.tree.find("d/f")
    meta = node.meta
    assert (meta.uid, meta.gid, meta.mode, meta.size, meta.mtime) == (5, 6, 0o640, 7, 200)
    assert found.tree.digest("d/f", node) == hashlib.sha256(b"content").hexdigest()
    assert read_file(found.tree, "d/f", 100) == b"content"
    assert found.newest == 200


@pytest.mark.parametrize(
    "data", [b"", b"FROM scratch\n", gzip.compress(b"FROM x\n", mtime=0), bytes(2048)]
)
def test_what_is_no_archive_is_none(opened, data):
    assert opened(data) is None


def test_the_last_of_several_entries_counts_and_whiteouts_are_files(opened):
    found = opened(tar(("f", b"old", {}), ("f", b"new", {}), (".wh.f", b"", {})))
    assert read_file(found.tree, "f", 100) == b"new"
    assert found.tree.find(".wh.f") is not None


def test_links_lead_nowhere_else(opened):
    found = opened(
        tar(
            ("Dockerfile", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
            ("up", b"", {"type": tarfile.SYMTYPE, "linkname": "../../../etc/passwd"}),
            ("etc/passwd", b"inside", {}),
            ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "etc/passwd"}),
        )
    )
    for path in ("Dockerfile", "up", "hard"):
        assert read_file(found.tree, path, 100) == b"inside"
    assert read_file(found.tree, "etc", 100) is None
    assert read_file(found.tree, "nothing", 100) is None


def test_a_damaged_archive_is_refused(opened):
    data = tar(("f", b"x" * 5000, {}), ("g", b"", {}))
    with pytest.raises(UnsafeArchiveError):
        opened(data[:3000])
    with pytest.raises(UnsafeArchiveError):
        opened(gzip.compress(data * 50)[:-20])
