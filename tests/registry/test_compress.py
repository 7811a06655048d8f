import bz2
import contextlib
import functools
import gzip
import io
import lzma
import random
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.compress import (
    SNIFF,
    compressing,
    decompressing,
    encoder,
    read_block,
    sniff,
)
from registry.errors import DamagedDataError

BLOCK = 256 * 1024
TEXT = b"".join(b"line %d of some text\n" % number for number in range(60_000))
NOISE = random.Random(1).randbytes(900_000)
SAMPLES = {
    "empty": b"",
    "byte": b"x",
    "text": TEXT,
    "noise": NOISE,
    "one block": TEXT[:BLOCK],
    "one block and a byte": TEXT[: BLOCK + 1],
    "zeros": bytes(3_000_000),
}
CODECS = ("gzip", "zstd")
COMPRESS = {
    "gzip": functools.cache(gzip.compress),
    "bzip2": functools.cache(bz2.compress),
    "xz": functools.cache(lzma.compress),
    "zstd": functools.cache(zstandard.ZstdCompressor(write_checksum=True).compress),
}
"""With what they have given before kept: compressing takes longer than what is tested."""


def compress(data: bytes, codec: str, **options) -> bytes:
    return compressing(io.BytesIO(data), codec, **options).read()


def decompress(data: bytes, compression: str) -> bytes:
    return decompressing(io.BytesIO(data), compression, "layer x").read()


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("codec", CODECS)
def test_what_was_compressed_comes_back(codec, data):
    compressed = compress(data, codec)
    assert decompress(compressed, codec) == data
    assert decompress(compressed, SNIFF) == data
    if codec == "gzip":
        assert gzip.decompress(compressed) == data
        # One member: some readers stop after the first.
        assert zlib.decompressobj(wbits=31).decompress(compressed) == data
    else:
        assert zstandard.ZstdDecompressor().decompressobj().decompress(compressed) == data


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4, 9])
def test_every_gzip_level_is_valid(level):
    assert gzip.decompress(compress(TEXT + NOISE, "gzip", level=level)) == TEXT + NOISE


class Dripping(io.BytesIO):
    """Gives less than it is asked for, as sockets do."""

    def read(self, size=-1):
        return super().read(min(size, 70_001) if size > 0 else size)


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_do_not_depend_on_threads_or_on_how_the_input_comes(codec):
    data = TEXT + NOISE + TEXT
    expected = compress(data, codec, threads=1)
    assert compress(data, codec, threads=3) == expected
    assert compressing(Dripping(data), codec).read() == expected
    assert compressing(io.BytesIO(data), codec).read(10) == expected[:10]


def test_gzip_header_tells_nothing_of_time_or_place():
    assert compress(b"x", "gzip")[:10] == bytes.fromhex("1f8b0800000000 0000ff".replace(" ", ""))


def test_repetitions_are_found_across_blocks():
    noise, filling = NOISE[:4000], bytes(BLOCK - 4000)
    assert len(compress(filling + noise + noise + filling, "gzip")) < 1.5 * len(noise)


@pytest.mark.parametrize("compression", COMPRESS)
def test_sniffs_what_add_must_know(compression):
    data = COMPRESS[compression](TEXT)
    assert sniff(data[:6]) == compression
    assert decompress(data, SNIFF) == TEXT


@pytest.mark.parametrize("data", [b"", b"x", b"ustar" * 200, b"\x1f\x8b"])
def test_other_data_passes_as_it_is(data):
    assert decompress(data, SNIFF) == data
    assert decompress(data, "none") == data


@pytest.mark.parametrize("compression", COMPRESS)
def test_members_are_joined(compression):
    one = COMPRESS[compression]
    assert decompress(one(TEXT) + one(b"") + one(b"end"), compression) == TEXT + b"end"


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_zeros_after_the_end_are_padding(compression):
    padded = COMPRESS[compression](TEXT) + bytes(3_000_000)
    assert decompress(padded, compression) == TEXT


def test_zstd_skippable_frames_are_skipped():
    skippable = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
    data = skippable + COMPRESS["zstd"](TEXT) + skippable
    assert decompress(data, SNIFF) == TEXT


@pytest.mark.parametrize("cut", [0, 1, 5, 11, 0.5, -5, -1])
@pytest.mark.parametrize("compression", COMPRESS)
def test_attack_truncated_stream_raises(compression, cut):
    data = COMPRESS[compression](TEXT)
    data = data[: int(len(data) * cut) if isinstance(cut, float) else cut]
    with pytest.raises(DamagedDataError, match="layer x: is truncated"):
        decompress(data, compression)


@pytest.mark.parametrize("compression", COMPRESS)
def test_attack_flipped_bit_raises(compression):
    data = bytearray(COMPRESS[compression](NOISE))
    data[-6 if compression == "gzip" else -3 if compression == "zstd" else len(data) // 2] ^= 1
    with pytest.raises(DamagedDataError):
        decompress(bytes(data), compression)


@pytest.mark.parametrize("compression", COMPRESS)
def test_attack_bytes_after_the_end_raise(compression):
    with pytest.raises(DamagedDataError):
        decompress(COMPRESS[compression](TEXT) + b"and now for something", compression)


@pytest.mark.parametrize("compression", COMPRESS)
def test_attack_data_of_another_kind_raises(compression):
    with pytest.raises(DamagedDataError):
        decompress(b"this is not compressed at all", compression)


def test_attack_zstd_window_that_would_fill_memory_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=29, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(TEXT) + packer.flush()
    with pytest.raises(DamagedDataError, match="damaged"):
        decompress(data, "zstd")


def test_attack_xz_dictionary_that_would_fill_memory_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 * 1024 * 1024}]
    data = lzma.compress(b"x", filters=filters)
    with pytest.raises(DamagedDataError, match="emory"):
        decompress(data, "xz")


BOMB = """
import io, resource, sys
from registry.compress import decompressing
data = open(sys.argv[1], "rb").read()
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with decompressing(io.BytesIO(data), sys.argv[2]) as stream:
    count = 0
    while chunk := stream.read(1 << 20):
        count += len(chunk)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("compression", COMPRESS)
def test_attack_bomb_is_unpacked_in_little_memory(compression, tmp_path, run_python):
    size = 300_000_000 if compression != "bzip2" else 100_000_000
    if compression == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        chunks = [packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]
        data = b"".join([*chunks, packer.flush()])
    else:
        new = {"gzip": lambda: zlib.compressobj(wbits=31), "bzip2": bz2.BZ2Compressor}
        packer = new.get(compression, lambda: lzma.LZMACompressor(preset=0))()
        chunks = [packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]
        data = b"".join([*chunks, packer.flush()])
    (tmp_path / "bomb").write_bytes(data)
    out = run_python(BOMB, tmp_path / "bomb", compression).stdout.split()
    assert int(out[0]) == size
    assert int(out[1]) < 32 * 1024


@settings(max_examples=200)
@given(st.sampled_from(sorted(COMPRESS)), st.binary(max_size=200), st.integers(0, 300))
def test_attack_any_bytes_are_read_or_refused(compression, noise, at):
    data = bytearray(COMPRESS[compression](b"some text " * 20))
    data[at:at] = noise
    with contextlib.suppress(DamagedDataError):
        decompress(bytes(data), compression)


@pytest.mark.parametrize("codec", CODECS)
def test_an_error_below_comes_through(codec):
    class Failing(io.RawIOBase):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            if self.reads > 20:
                raise ConnectionResetError
            return NOISE[:size]

    with compressing(Failing(), codec) as stream, pytest.raises(ConnectionResetError):
        stream.read()


@pytest.mark.parametrize("codec", CODECS)
def test_closing_early_closes_the_stream_below(codec):
    below = io.BytesIO(NOISE * 5)
    with compressing(below, codec) as stream:
        stream.read(10)
    assert below.closed
    below = io.BytesIO(compress(NOISE, codec))
    decompressing(below, codec).close()
    assert below.closed


def test_encoder_names_all_that_decides_the_bytes():
    names = {
        encoder("gzip"),
        encoder("gzip", 2),
        encoder("zstd"),
        encoder("zstd", 9),
        encoder("none"),
    }
    assert len(names) == 5
    assert encoder("gzip") == encoder("gzip", 1)


def test_a_block_is_short_only_at_the_end():
    stream = Dripping(bytes(200_000))
    assert [len(read_block(stream, 150_000)) for _ in range(3)] == [150_000, 50_000, 0]


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_can_be_read_a_second_time(codec):
    with compressing(io.BytesIO(NOISE * 4), codec) as stream:
        first = stream.read(2_000_000)
        stream.seek(0)
        assert stream.read(2_000_000) == first
        stream.seek(0)
        compressed = stream.read()
    for compression in (codec, SNIFF):
        with decompressing(io.BytesIO(compressed), compression) as stream:
            stream.read(2_000_000)
            stream.seek(0)
            assert stream.read() == NOISE * 4
            with pytest.raises(io.UnsupportedOperation):
                stream.seek(10_000_000)
