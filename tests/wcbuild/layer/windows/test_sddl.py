"""Descriptors as others write them, and every descriptor there and back."""

import base64
import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wcbuild.layer.windows import sddl
from wcbuild.layer.windows.accounts import find_sid, owned_by
from wcbuild.layer.windows.records import DIRECTORY_SDDL, FILE_SDDL
from wcbuild.layer.windows.sddl import (
    AccessList,
    Descriptor,
    Entry,
    SecurityDescriptorError,
    check,
    decode,
    encode,
    format_descriptor,
    parse,
)

DIRECTORY = (
    "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgCoAAcAAAAAAxgA/wEfAAECAAAAAAAFIAAAACAC"
    "AAAAAxQA/wEfAAEBAAAAAAAFEgAAAAAAGAD/AR8AAQIAAAAAAAUgAAAAIAIAAAALFAAAAAAQAQEAAAAAAAMAAAAAAAMYAKkAEgABAgAA"
    "AAAABSAAAAAhAgAAAAIYAAQAAAABAgAAAAAABSAAAAAhAgAAAAIYAAIAAAABAgAAAAAABSAAAAAhAgAA"
)
FILE = (
    "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACAC"
    "AAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA=="
)
USERS = "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAhAgAAAQIAAAAAAAUgAAAAIQIAAA=="
ADMINISTRATORS = "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAgAgAAAQIAAAAAAAUgAAAAIAIAAA=="


@pytest.mark.parametrize(
    ("text", "binary"),
    [
        (DIRECTORY_SDDL, DIRECTORY),
        (FILE_SDDL, FILE),
        ("O:BUG:BU", USERS),
        ("O:BAG:BA", ADMINISTRATORS),
    ],
    ids=["directory", "file", "users", "administrators"],
)
def test_writes_and_reads_what_other_builders_write(text, binary):
    data = base64.b64decode(binary)
    assert encode(parse(text)) == data
    assert format_descriptor(decode(data)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D:",
        "O:SYG:S-1-5-21-1-2-3-513",
        "D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)",
        "O:BAD:PAI(A;OICI;FA;;;BA)S:AI(AU;SAFA;FA;;;WD)",
        "S:(ML;;NWNRNX;;;LW)",
        "D:ARAI(D;NP;0x1;;;AN)",
        "D:(A;ID;FR;;;WD)(A;;FW;;;AU)(A;;FX;;;IU)",
        "O:S-1-0x123456789ABC-5-6",
    ],
)
def test_text_that_windows_prints_is_printed_again(text):
    expected = text.replace("0x1;", "CC;")
    assert format_descriptor(decode(encode(parse(text)))) == expected


def test_words_and_numbers_are_the_same_rights():
    assert parse("D:(A;;FA;;;BA)") == parse("D:(A;;0x1f01ff;;;S-1-5-32-544)")
    assert parse("D:(A;;2032127;;;ba)") == parse("D:(A; ;FA;;;BA)")
    assert parse("D:(A;;GRGW;;;WD)").dacl.entries[0].rights == 0xC0000000


def test_no_access_control_is_no_list_and_an_empty_list_is_one():
    assert parse("D:NO_ACCESS_CONTROL").dacl is None
    assert parse("D:").dacl == AccessList(0, ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bob", "does not begin"),
        ("O:bob", '"bob", which is no account'),
        ("O:S-1-5", "no account"),
        ("O:S-1-5-4294967296", "no account"),
        ("O:S-2-5-1", "no account"),
        ("O:BAO:BA", "O: twice"),
        ("D:X", 'flag "X"'),
        ("D:(A;;FA;;BA)", "not of the form"),
        ("D:(A;;FA;guid;;BA)", "not of the form"),
        ("D:(A;;FA;;;BA)x", "between its entries"),
        ("D:(Z;;FA;;;BA)", 'type "Z"'),
        ("D:(OA;;FA;;;BA)", 'type "OA"'),
        ("D:(A;XX;FA;;;BA)", 'word "XX"'),
        ("D:(A;;FAX;;;BA)", 'word "X"'),
        ("D:(A;;0xg;;;BA)", "no number"),
        ("D:(A;;0x1ffffffff;;;BA)", "no number"),
    ],
)
def test_refuses_bad_text_and_says_why(text, reason):
    with pytest.raises(SecurityDescriptorError, match=reason) as caught:
        parse(text)
    assert f'security descriptor "{text}"' in str(caught.value)


@pytest.mark.parametrize("size", range(len(base64.b64decode(FILE))))
def test_refuses_truncated_bytes(size):
    with pytest.raises(SecurityDescriptorError):
        decode(base64.b64decode(FILE)[:size])
    with pytest.raises(SecurityDescriptorError):
        check(base64.b64decode(FILE)[:size])


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_or_refused(data):
    with contextlib.suppress(SecurityDescriptorError):
        decode(data)


@given(st.integers(0, 123), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place, value):
    data = bytearray(base64.b64decode(FILE))
    data[place] = value
    try:
        again = decode(bytes(data))
    except SecurityDescriptorError:
        return
    assert decode(encode(again)) == again


def test_refuses_a_list_that_no_descriptor_can_hold():
    with pytest.raises(SecurityDescriptorError, match="longer than 65535 bytes"):
        encode(parse("D:" + "(A;;;;;BA)" * 6000))


def test_refuses_entries_it_does_not_know():
    data = bytearray(base64.b64decode(FILE))
    place = data.index(struct.pack("<BBH", 0, 0, 0x18))
    data[place] = 9  # a callback: with a condition behind
    with pytest.raises(SecurityDescriptorError, match="unknown type 9"):
        decode(bytes(data))
    # It is one all the same, and may be handed on.
    check(bytes(data))


SIDS = st.builds(
    lambda authority, parts: f"S-1-{authority}" + "".join(f"-{part}" for part in parts),
    st.integers(0, (1 << 32) - 1),
    st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=15),
)
ENTRIES = st.builds(
    Entry,
    st.sampled_from([0, 1, 2, 3, 0x11]),
    st.sampled_from([0, 3, 0x0B, 0x13, 0xC0]),
    st.integers(0, (1 << 32) - 1),
    SIDS,
)
LISTS = st.builds(
    AccessList,
    st.sampled_from([0, 0x1000, 0x1400, 0x100, 0x1500]),
    st.lists(ENTRIES, max_size=5).map(tuple),
)
DESCRIPTORS = st.builds(
    Descriptor,
    st.just("") | SIDS,
    st.just("") | SIDS,
    st.none() | LISTS,
    st.none() | LISTS,
)


@given(DESCRIPTORS)
def test_bytes_and_text_both_carry_everything(descriptor):
    assert decode(encode(descriptor)) == descriptor
    assert parse(format_descriptor(descriptor)) == descriptor


# -- accounts


@pytest.mark.parametrize(
    ("name", "sid"),
    [
        ("ContainerAdministrator", "S-1-5-93-2-1"),
        ("containeruser", "S-1-5-93-2-2"),
        ("User Manager\\ContainerUser", "S-1-5-93-2-2"),
        ("BUILTIN\\Administrators", "S-1-5-32-544"),
        ("NT AUTHORITY\\SYSTEM", "S-1-5-18"),
        ("Everyone", "S-1-1-0"),
        ("BU", "S-1-5-32-545"),
        ("S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1001"),
        ("s-1-5-18", "S-1-5-18"),
    ],
)
def test_accounts_that_every_windows_has(name, sid):
    assert find_sid(name) == sid


@pytest.mark.parametrize("name", ["", "bob", "DOMAIN\\bob", "root", "0", "S-1", "BA)(A;;FA;;;WD"])
def test_accounts_that_only_a_running_windows_knows(name):
    assert find_sid(name) is None


def test_a_chosen_owner_gets_what_the_classic_builder_gives():
    descriptor = decode(owned_by("S-1-5-93-2-2", "S-1-5-32-545"))
    assert format_descriptor(descriptor) == (
        "O:S-1-5-93-2-2G:BUD:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)(A;OICI;GXGWGRRCSDWD;;;S-1-5-93-2-2)"
    )
    assert sddl.encode(descriptor) == owned_by("S-1-5-93-2-2", "S-1-5-32-545")
