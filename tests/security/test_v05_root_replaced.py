"""V05, CVE-2021-29136: an entry for the root itself that is no directory."""

import pytest
from rawtar import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, entry, pax


@pytest.mark.parametrize("name", [".", "./", "/", "//", "./.", "", "/./"])
@pytest.mark.parametrize("kind", [FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK, FIFO])
def test_only_a_directory_can_be_the_root(root, canary, unpack, name, kind):
    before = root.stat()
    refusal = unpack(
        entry(name, kind=kind, link=str(canary.path), major=1, minor=3), entry("f", b"owned")
    )
    assert "root" in refusal or "directory's name" in refusal
    assert root.stat().st_ino == before.st_ino
    assert not root.is_symlink()


def test_pax_cannot_do_it_either(root, canary, unpack):
    assert "root" in unpack(
        pax(path="./"), entry("x", kind=SYMLINK, link=str(canary.path)), entry("f", b"owned")
    )


def test_a_directory_entry_sets_metadata_only(root, unpack):
    (root / "kept").write_bytes(b"x")
    before = root.stat().st_ino
    assert unpack(entry("./", kind=DIRECTORY, mode=0o711)) == ""
    assert (root.stat().st_ino, root.stat().st_mode & 0o7777) == (before, 0o711)
    assert (root / "kept").exists()


def test_whiteouts_of_the_root_are_refused(root, unpack):
    (root / "kept").write_bytes(b"x")
    for name in (".wh.", ".wh..", ".wh...", "./.wh.", "/.wh..."):
        assert "whiteout" in unpack(entry(name))
    assert (root / "kept").exists()
