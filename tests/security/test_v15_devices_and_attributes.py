"""V15: device nodes, sockets, and extended attributes that file systems act on."""

import os
import stat

import pytest
from rawtar import BLOCK, CHARACTER, entry, pax

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs real root")


def test_devices_are_not_made_where_they_are_not_wanted(root, unpack):
    assert (
        unpack(
            entry("sda", kind=BLOCK, major=8, minor=0, mode=0o666),
            entry("mem", kind=CHARACTER, major=1, minor=1, mode=0o666),
        )
        == ""
    )
    assert os.listdir(root) == []


@pytest.mark.root
@needs_root
def test_a_device_has_the_mode_it_was_given_and_no_more(root, unpack):
    assert unpack(entry("mem", kind=CHARACTER, major=1, minor=1, mode=0o640), devices=True) == ""
    found = os.lstat(root / "mem")
    assert stat.S_ISCHR(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o640


@pytest.mark.parametrize("devices", [True, False])
def test_the_device_that_overlay_takes_for_a_whiteout_is_refused(root, unpack, devices):
    """It would delete files of lower layers, past our whiteout rules."""
    refusal = unpack(entry("passwd", kind=CHARACTER, major=0, minor=0), devices=devices)
    assert "deletion" in refusal
    assert os.listdir(root) == []


@pytest.mark.parametrize(
    "name",
    [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "user.overlay.redirect",
        "user.overlay.whiteout",
        "security.selinux",
        "security.ima",
        "system.posix_acl_access",
        "trusted.any",
    ],
)
def test_attributes_that_file_systems_act_on_are_dropped(root, unpack, name):
    record = {f"SCHILY__xattr__{name.replace('.', '__')}": "y"}
    assert unpack(pax(**record), entry("d/", kind=b"5"), pax(**record), entry("f", b"x")) == ""
    assert name not in os.listxattr(root / "d") + os.listxattr(root / "f")


def test_a_socket_is_no_kind_of_entry(root, unpack):
    """Sockets have no type in tar; what some tools write is refused as unknown."""
    assert "unknown type" in unpack(entry("s", kind=b"s"))


@pytest.mark.root
@needs_root
def test_attributes_that_are_no_capabilities_are_refused(unpack):
    assert "cannot be unpacked" in unpack(
        pax(SCHILY__xattr__security__capability="nonsense"), entry("f", b"x"), ownership=True
    )
