"""The base that stands on nothing, its hives read by a library that knows hives."""

import io
import tarfile

from dissect.regf import RegistryHive

from wcbuild.layer.windows.hive import empty_hive
from wcbuild.layer.windows.scratch import HIVE_NAMES, scratch_layer
from wcbuild.layer.windows.sddl import encode, parse

CONFIG = "Files/Windows/System32/config"
BOOT = "UtilityVM/Files/EFI/Microsoft/Boot/BCD"


def test_a_base_layer_has_five_hives_and_boot_data_and_no_deltas():
    with tarfile.open(fileobj=io.BytesIO(scratch_layer())) as archive:
        names = archive.getnames()
        hives = [archive.extractfile(f"{CONFIG}/{name}").read() for name in HIVE_NAMES]
        hives.append(archive.extractfile(BOOT).read())
    assert [name for name in names if "/config/" in name] == [f"{CONFIG}/{n}" for n in HIVE_NAMES]
    assert "Hives" not in names
    assert set(map(len, hives)) == {8192}
    for place, name in enumerate(names):
        assert "/" not in name or name.rpartition("/")[0] in names[:place]


def test_another_reader_takes_the_hives():
    hive = RegistryHive(io.BytesIO(empty_hive(encode(parse("O:BAG:SYD:(A;CI;KA;;;BA)")))))
    assert hive.root().name == "ROOT"
    assert list(hive.root().subkeys()) == []
    assert list(hive.root().values()) == []
    assert (hive.header.Major, hive.header.Minor) == (1, 5)


def test_the_checksum_is_right():
    data = empty_hive(b"")
    checksum = 0
    for start in range(0, 508, 4):
        checksum ^= int.from_bytes(data[start : start + 4], "little")
    assert int.from_bytes(data[508:512], "little") == checksum


def test_the_bytes_never_change():
    assert scratch_layer() == scratch_layer()
