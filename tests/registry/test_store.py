import io

import pytest

from registry.errors import DigestMismatchError, SizeMismatchError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.store import check_bytes, describe, read_all, verifying, verifying_digest


def described(raw: bytes, size: int | None = None) -> Descriptor:
    size = len(raw) if size is None else size
    return Descriptor(media_type="text/plain", digest=sha256(raw), size=size)


@pytest.mark.parametrize("raw", [b"", b"x", b"x" * 3_000_000])
def test_right_bytes_come_through(raw):
    assert verifying(io.BytesIO(raw), described(raw)).read() == raw


def test_attack_other_bytes_of_the_same_length_raise():
    with pytest.raises(DigestMismatchError):
        verifying(io.BytesIO(b"evil"), described(b"good")).read()


@pytest.mark.parametrize("size", [3, 5])
def test_attack_size_that_is_off_by_one_raises(size):
    with pytest.raises(SizeMismatchError):
        verifying(io.BytesIO(b"1234"), described(b"1234", size)).read()


def test_attack_endless_stream_is_cut_at_the_first_byte_too_many():
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            self.given += size
            return b"x" * size

    stream = Endless()
    with pytest.raises(SizeMismatchError):
        verifying(stream, described(b"x" * 10)).read()
    assert stream.given <= 4 * 1024 * 1024


def test_a_digest_alone_can_be_checked():
    assert verifying_digest(io.BytesIO(b"x"), sha256(b"x"), "it").read() == b"x"
    with pytest.raises(DigestMismatchError, match="it"):
        verifying_digest(io.BytesIO(b"y"), sha256(b"x"), "it").read()


def test_sha512_is_verified_too():
    import hashlib

    digest = Digest("sha512:" + hashlib.sha512(b"x").hexdigest())
    descriptor = Descriptor(media_type="text/plain", digest=digest, size=1)
    assert verifying(io.BytesIO(b"x"), descriptor).read() == b"x"
    with pytest.raises(DigestMismatchError):
        verifying(io.BytesIO(b"y"), descriptor).read()


def test_closing_closes_the_stream_below():
    below = io.BytesIO(b"x")
    verifying(below, described(b"x")).close()
    assert below.closed


def test_small_helpers(builder):
    descriptor = builder.blob(b"abc", "text/plain")
    assert read_all(builder.store, descriptor) == b"abc"
    assert describe(io.BytesIO(b"abc"), "text/plain") == descriptor
    assert check_bytes(b"abc", descriptor.digest, "it") == b"abc"
    with pytest.raises(DigestMismatchError):
        check_bytes(b"abd", descriptor.digest, "it")


def test_a_verified_stream_can_be_read_a_second_time():
    raw = b"x" * 3_000_000
    stream = verifying(io.BytesIO(raw), described(raw))
    stream.read(2_000_000)
    stream.seek(0)
    assert stream.read() == raw
    stream.seek(0)
    assert stream.read() == raw


def test_a_stream_that_cannot_go_back_says_so():
    class Once(io.BytesIO):
        def seekable(self):
            return False

    assert not verifying(Once(b"x"), described(b"x")).seekable()
