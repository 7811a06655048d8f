"""Hives that add to the registry below them, read by a reader that is not ours, and damaged."""

from __future__ import annotations

import contextlib
import io
import struct

import pytest
from dissect.regf import RegistryHive
from hypothesis import given
from hypothesis import strategies as st

from wcbuild.errors import LayerError
from wcbuild.layer.windows import sddl
from wcbuild.layer.windows.hive import (
    MAX_VALUE_BYTES,
    Key,
    Value,
    delta_hive,
    empty_hive,
    is_ours,
    read_keys,
)

DESCRIPTOR = sddl.encode(sddl.parse("O:BAG:SYD:(A;CI;KA;;;BA)(A;CI;KA;;;SY)"))
TEXT = "bar\0".encode("utf-16-le")


def with_values(hive: bytes) -> dict[str, set[Value]]:
    return {key.path: set(key.values) for key in read_keys(hive) if key.values}


def test_another_reader_finds_what_was_written():
    keys = [
        Key("Demo", (Value("Foo", 1, TEXT), Value("", 4, b"\1\0\0\0"))),
        Key("A\\B c\\Ü\u20ac", (Value("\u20ac", 3, b"x" * 9000),)),
        *(Key(f"Many\\{n}", (Value("n", 4, struct.pack("<I", n)),)) for n in range(700)),
    ]
    hive = RegistryHive(io.BytesIO(delta_hive(keys, DESCRIPTOR)))
    assert hive.open("demo").value("foo").value == "bar"
    assert hive.open("Demo").value("(Default)").value == 1
    assert hive.open("A\\B c\\Ü\u20ac").value("\u20ac").value == b"x" * 9000
    assert len(list(hive.open("Many").subkeys())) == 700
    assert hive.open("Many\\699").value("n").value == 699


def test_has_the_marks_of_a_delta():
    hive = delta_hive([Key("A")], DESCRIPTOR)
    assert struct.unpack_from("<II", hive, 20) == (1, 6)
    assert struct.unpack_from("<I", hive, 144) == (2,)
    checksum = 0
    for (word,) in struct.iter_unpack("<I", hive[:508]):
        checksum ^= word
    assert struct.unpack_from("<I", hive, 508) == (checksum,)
    assert len(hive) % 4096 == 0
    assert is_ours(hive)
    assert not is_ours(empty_hive(DESCRIPTOR))


def test_is_the_same_whatever_the_order():
    keys = [Key("a", (Value("x", 1, TEXT),)), Key("B"), Key("c\\d")]
    assert delta_hive(keys, DESCRIPTOR) == delta_hive(reversed(keys), DESCRIPTOR)


def test_names_that_differ_in_case_are_one_and_the_last_value_counts():
    keys = [Key("Demo", (Value("Foo", 4, b"old!"),)), Key("DEMO", (Value("FOO", 4, b"new!"),))]
    assert with_values(delta_hive(keys, DESCRIPTOR)) == {"Demo": {Value("FOO", 4, b"new!")}}


def test_refuses_values_that_no_cell_holds():
    with pytest.raises(LayerError, match="too long"):
        delta_hive([Key("a", (Value("v", 3, bytes(MAX_VALUE_BYTES + 1)),))], DESCRIPTOR)


NAMES = st.text(
    st.characters(exclude_characters="\\\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, st.binary(max_size=50), min_size=1), max_size=8)
)
def test_reads_what_it_writes(tree):
    names = {name.upper(): name for name in tree}
    wanted = {}
    for name in names.values():
        values = {each.upper(): Value(each, 3, data) for each, data in tree[name].items()}
        wanted[name] = set(values.values())
    keys = [Key(path, tuple(values)) for path, values in wanted.items()]
    assert with_values(delta_hive(keys, DESCRIPTOR)) == wanted


@pytest.mark.parametrize("hive", [b"", b"regf", bytes(8192), b"regf" + b"\xff" * 9000])
def test_refuses_what_is_no_hive(hive):
    with pytest.raises(LayerError, match="registry hive"):
        read_keys(hive)


def test_a_key_below_itself_is_refused():
    hive = bytearray(delta_hive([Key("A\\B")], DESCRIPTOR))
    root = struct.unpack_from("<I", hive, 36)[0]
    lists = [at for at in range(4096, len(hive)) if hive[at : at + 2] == b"lh"]
    for at in lists:
        struct.pack_into("<I", hive, at + 4, root)
    with pytest.raises(LayerError, match="too many keys"):
        read_keys(bytes(hive))


@given(st.data())
def test_damage_is_told_or_harmless(data):
    hive = bytearray(delta_hive([Key("A\\B", (Value("v", 3, b"12345678"),))], DESCRIPTOR))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4096, len(hive) - 1))
        hive[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(LayerError):
        read_keys(bytes(hive))
