import io
import random
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import DamagedDataError, InvalidDocumentError, RegistryError, TooLargeError
from registry.tarheaders import END, MAX_EXTENDED_BYTES, Member, header_for, padding, read_members

NAME = st.text(st.sampled_from("ab/é ."), min_size=1, max_size=300).map(
    lambda name: "x" + name + "y"
)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "tar"

    def read(raw: bytes) -> dict[str, Member]:
        path.write_bytes(raw)
        with open(path, "rb") as file:
            return dict(read_members(file.fileno(), "it"))

    return read


def python_tar(files, **options) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@settings(max_examples=60)
@given(
    st.dictionaries(NAME, st.binary(max_size=1500), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_finds_what_pythons_tarfile_wrote(members, files, form):
    import posixpath

    raw = python_tar(files, format=form)
    found = {
        name: raw[place.offset : place.offset + place.size] for name, place in members(raw).items()
    }
    assert found == {posixpath.normpath(name): content for name, content in files.items()}


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,20}(/[a-z]{1,20}){0,3}", fullmatch=True), st.binary(max_size=1500)
    )
)
def test_pythons_tarfile_reads_what_was_written(files):
    parts = [header_for(name, len(raw)) + raw + padding(len(raw)) for name, raw in files.items()]
    with tarfile.open(fileobj=io.BytesIO(b"".join([*parts, END]))) as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == files


def test_sizes_beyond_8_gib_are_written_and_read():
    member = tarfile.TarInfo.frombuf(header_for("big", 9 * 1024**3), "utf-8", "strict")
    assert member.size == 9 * 1024**3


def test_a_folder_has_a_header_too():
    member = tarfile.TarInfo.frombuf(header_for("a/", 0, folder=True), "utf-8", "strict")
    assert member.isdir()
    assert (member.mode, member.uid, member.mtime) == (0o755, 0, 0)


def test_links_lead_to_names_in_the_archive(members):
    raw = python_tar({"a/b": "../c", "d": "/etc/passwd", "e": "../../x"})
    assert {name: place.link for name, place in members(raw).items()} == {
        "a/b": "c",
        "d": "/etc/passwd",
        "e": "../../x",
    }


def test_attack_huge_extended_header_is_refused_unread(members):
    """CVE-2023-25153, and Python's tarfile, which reads it whole."""
    raw = bytearray(header_for("x", MAX_EXTENDED_BYTES + 1))
    raw[156:157] = b"x"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    with pytest.raises(TooLargeError):
        members(bytes(raw) + bytes(MAX_EXTENDED_BYTES + 1024))


@pytest.mark.parametrize("cut", [100, 512, 513, 1000])
def test_attack_truncated_archive_is_refused(members, cut):
    with pytest.raises(DamagedDataError, match="truncated"):
        members(python_tar({"a": b"x" * 600})[:cut])


def test_attack_size_beyond_the_file_is_refused(members):
    with pytest.raises(DamagedDataError, match="truncated"):
        members(header_for("a", 2**80) + bytes(2048))


def test_attack_sparse_file_is_refused(members):
    raw = bytearray(header_for("x", 0))
    raw[156:157] = b"S"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    with pytest.raises(InvalidDocumentError, match="sparse"):
        members(bytes(raw) + END)


@pytest.mark.parametrize("raw", [b"hello" * 500, b"\x80" * 512, bytes(range(256)) * 4])
def test_what_is_no_tar_is_told(members, raw):
    with pytest.raises(DamagedDataError, match="not a tar archive"):
        members(raw)


@pytest.mark.parametrize("seed", range(200))
def test_attack_flipped_bits_are_read_or_refused(members, seed):
    chance = random.Random(seed)
    raw = bytearray(python_tar({"a" * 150: b"x" * 600, "b": "a"}, format=tarfile.PAX_FORMAT))
    for _ in range(3):
        raw[chance.randrange(3000)] ^= 1 << chance.randrange(8)
    with suppress(RegistryError):
        members(bytes(raw))
