import io
import os
import signal

import pytest

from registry.blobs import BlobDirectory
from registry.errors import (
    DigestMismatchError,
    NotFoundError,
    SizeMismatchError,
    StoreError,
)
from registry.failpoints import VARIABLE
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256


def described(raw: bytes) -> Descriptor:
    return Descriptor(media_type="text/plain", digest=sha256(raw), size=len(raw))


@pytest.fixture(params=[True, False], ids=["durable", "quick"])
def blobs(tmp_path, request) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs", durable=request.param)


def leftovers(blobs: BlobDirectory) -> list[str]:
    ingest = blobs.path(sha256(b"")).parents[2] / "ingest"
    return os.listdir(ingest) if ingest.exists() else []


def test_gives_back_what_was_put(blobs):
    blobs.put(io.BytesIO(b"hello"), described(b"hello"))
    assert blobs.has(sha256(b"hello"))
    assert blobs.open(described(b"hello")).read() == b"hello"
    assert list(blobs) == [sha256(b"hello")]
    assert leftovers(blobs) == []


def test_reading_makes_no_folders(blobs, tmp_path):
    assert not blobs.has(sha256(b"x"))
    assert list(blobs) == []
    assert blobs.sweep() == 0
    blobs.remove(sha256(b"x"))
    with pytest.raises(NotFoundError):
        blobs.open(described(b"x"))
    assert os.listdir(tmp_path) == []


def test_blobs_are_read_only(blobs):
    blobs.put(io.BytesIO(b"x"), described(b"x"))
    assert blobs.path(sha256(b"x")).stat().st_mode & 0o777 == 0o444


def test_what_is_there_is_not_read_again(blobs):
    blobs.put(io.BytesIO(b"x"), described(b"x"))
    stream = io.BytesIO(b"x")
    blobs.put(stream, described(b"x"))
    assert stream.tell() == 0


@pytest.mark.parametrize("raw", [b"evil!", b"hell", b"hello!"])
def test_wrong_bytes_get_no_name(blobs, raw):
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        blobs.put(io.BytesIO(raw), described(b"hello"))
    assert list(blobs) == []
    assert leftovers(blobs) == []


def test_failing_stream_leaves_nothing(blobs):
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.put(Broken(), described(b"hello"))
    with pytest.raises(ConnectionResetError):
        blobs.put_new(Broken(), "text/plain")
    assert leftovers(blobs) == []


def test_names_bytes_of_unknown_digest(blobs):
    with blobs.create() as writer:
        writer.write(b"he")
        writer.write(b"llo")
        assert writer.path.exists()
        assert writer.commit() == (sha256(b"hello"), 5)
        assert not writer.path.exists()
    assert blobs.put_new(io.BytesIO(b"x"), "text/plain") == described(b"x")


def test_believes_a_digest_only_when_it_does_not_hash(blobs):
    with blobs.create(hashing=False) as writer:
        os.write(writer.fileno(), b"hello")
        assert writer.commit(sha256(b"hello"), 5) == (sha256(b"hello"), 5)
    with blobs.create() as writer:
        writer.write(b"hello")
        with pytest.raises(DigestMismatchError):
            writer.commit(sha256(b"other"))
    with blobs.create() as writer:
        writer.write(b"hello")
        with pytest.raises(SizeMismatchError):
            writer.commit(size=4)
    with blobs.create(hashing=False) as writer, pytest.raises(ValueError, match="needs the digest"):
        writer.commit()
    assert leftovers(blobs) == []


def test_leaving_without_commit_aborts(blobs):
    with blobs.create() as writer:
        writer.write(b"x" * 5_000_000)
    writer.abort()
    assert list(blobs) == []
    assert leftovers(blobs) == []


def test_sha512_has_its_own_folder(blobs):
    with blobs.create("sha512") as writer:
        writer.write(b"x")
        digest, _ = writer.commit()
    assert digest.algorithm == "sha512"
    assert list(blobs) == [digest]


def test_lists_blobs_only(blobs):
    blobs.put(io.BytesIO(b"x"), described(b"x"))
    (blobs.path(sha256(b"x")).parent / "README").write_text("x")
    assert list(blobs) == [sha256(b"x")]


def test_removing_again_is_harmless(blobs):
    blobs.put(io.BytesIO(b"x"), described(b"x"))
    blobs.remove(sha256(b"x"))
    blobs.remove(sha256(b"x"))
    assert not blobs.has(sha256(b"x"))


def test_damaged_blob_is_told_and_repaired_by_putting_it_again(blobs):
    blobs.put(io.BytesIO(b"hello"), described(b"hello"))
    path = blobs.path(sha256(b"hello"))
    path.chmod(0o644)
    path.write_bytes(b"hellO")
    with pytest.raises(DigestMismatchError):
        blobs.open(described(b"hello")).read()
    path.write_bytes(b"hell")
    with pytest.raises(SizeMismatchError):
        blobs.open(described(b"hello"))
    assert not blobs.holds(described(b"hello"))
    blobs.put(io.BytesIO(b"hello"), described(b"hello"))
    assert blobs.open(described(b"hello")).read() == b"hello"


def test_attack_fifo_or_device_in_place_of_a_blob_is_refused_at_once(blobs):
    path = blobs.path(sha256(b"x"))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(StoreError, match="not a regular file"):
        blobs.open(described(b"x"))
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="not a regular file"):
        blobs.open(described(b"x"))
    assert not blobs.has(sha256(b"x"))


def test_attack_digest_cannot_leave_the_folder(blobs):
    with pytest.raises(Exception, match="hexadecimal"):
        blobs.path(Digest("sha256:../../../../etc/passwd"))


@pytest.mark.parametrize("point", ["blobs.before_rename", "blobs.after_rename"])
def test_full_disk_is_told_and_leaves_nothing(blobs, point, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"other=kill,{point}=enospc")
    with pytest.raises(StoreError, match="free some space"):
        blobs.put(io.BytesIO(b"hello"), described(b"hello"))
    assert leftovers(blobs) == []
    monkeypatch.delenv(VARIABLE)
    blobs.put(io.BytesIO(b"hello"), described(b"hello"))
    assert blobs.open(described(b"hello")).read() == b"hello"


def test_disk_that_fills_up_while_writing_is_told(blobs):
    full = os.open("/dev/full", os.O_WRONLY)
    with blobs.create() as writer:
        os.dup2(full, writer.fileno())
        with pytest.raises(StoreError, match="No space left"):
            writer.write(b"x" * 10_000_000)
    os.close(full)
    assert leftovers(blobs) == []


PUT = """
import io, pathlib, sys
from registry.blobs import BlobDirectory
BlobDirectory(pathlib.Path(sys.argv[1])).put_new(io.BytesIO(b"hello" * 100_000), "text/plain")
"""


@pytest.mark.parametrize(
    ("point", "visible"), [("blobs.before_rename", False), ("blobs.after_rename", True)]
)
def test_kill_9_leaves_a_whole_blob_or_something_to_sweep(tmp_path, run_python, point, visible):
    blobs = BlobDirectory(tmp_path / "blobs")
    died = run_python(PUT, tmp_path / "blobs", **{VARIABLE: f"{point}=kill"})
    assert died.returncode == -signal.SIGKILL
    raw = b"hello" * 100_000
    assert blobs.has(sha256(raw)) is visible
    if visible:
        assert blobs.open(described(raw)).read() == raw
        assert blobs.sweep() == 0
    else:
        assert blobs.sweep() == len(raw)
    assert leftovers(blobs) == []


def test_sweeping_spares_files_of_others(blobs, tmp_path):
    with blobs.create():
        (tmp_path / "ingest" / "notes").write_text("x")
        blobs.sweep()
        assert leftovers(blobs) == ["notes"]


def test_quick_blobs_can_be_made_durable_later(blobs):
    blobs.put(io.BytesIO(b"x"), described(b"x"))
    blobs.make_durable([sha256(b"x")])
    with pytest.raises(StoreError):
        blobs.make_durable([sha256(b"y")])
