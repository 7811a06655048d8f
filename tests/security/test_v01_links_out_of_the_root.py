"""V01, CVE-2014-6407: entries written through links that an earlier entry made."""

import os

from rawtar import DIRECTORY, FIFO, HARDLINK, SYMLINK, entry


def test_symlink_parent_cannot_leave_root(root, canary, unpack):
    (root / str(canary.path)[1:]).mkdir(parents=True)
    assert unpack(entry("a", kind=SYMLINK, link=str(canary.path)), entry("a/f", b"owned")) == ""
    assert (root / str(canary.path)[1:] / "f").read_bytes() == b"owned"


def test_symlink_to_nowhere_in_the_root_is_no_way_out(root, canary, unpack):
    refusal = unpack(entry("a", kind=SYMLINK, link=str(canary.path)), entry("a/f", b"owned"))
    assert "is a symlink to nowhere" in refusal


def test_relative_symlinks_stop_at_the_root(root, canary, unpack):
    assert unpack(entry("a", kind=SYMLINK, link="../" * 50), entry("a/f", b"owned")) == ""
    assert (root / "f").read_bytes() == b"owned"


def test_chains_of_symlinks_stop_at_the_root(root, canary, unpack):
    parts = [entry("d/", kind=DIRECTORY), entry("l0", kind=SYMLINK, link="d/../..")]
    parts += [entry(f"l{n}", kind=SYMLINK, link=f"l{n - 1}/../../..") for n in range(1, 20)]
    assert unpack(*parts, entry("l19/f", b"owned")) == ""
    assert (root / "f").read_bytes() == b"owned"


def test_hardlink_target_outside_root_is_refused(root, canary, unpack):
    refusal = unpack(entry("b", kind=HARDLINK, link="../../canary/f"), entry("b", b"owned"))
    assert '".."' in refusal
    assert os.listdir(root) == []


def test_absolute_hardlink_target_is_looked_for_inside(canary, unpack):
    assert "is not there" in unpack(entry("b", kind=HARDLINK, link=str(canary.path / "f")))


def test_hardlink_through_a_symlink_stays_inside(canary, unpack):
    refusal = unpack(
        entry("out", kind=SYMLINK, link=str(canary.path)),
        entry("b", kind=HARDLINK, link="out/f"),
        entry("b", b"owned"),
    )
    assert "is not there" in refusal


def test_hardlink_to_a_symlink_is_not_the_file_behind_it(root, canary, unpack):
    assert (
        unpack(
            entry("s", kind=SYMLINK, link=str(canary.path / "f")),
            entry("h", kind=HARDLINK, link="s", mode=0o777),
            entry("h", b"owned"),
        )
        == ""
    )
    assert (root / "h").read_bytes() == b"owned"
    assert not (root / "h").is_symlink()


def test_writing_to_a_symlink_replaces_it(root, canary, unpack):
    for kind, content in ((None, b"owned"), (FIFO, b""), (DIRECTORY, b"")):
        fields = {} if kind is None else {"kind": kind}
        assert (
            unpack(
                entry("x", kind=SYMLINK, link=str(canary.path / "f")), entry("x", content, **fields)
            )
            == ""
        )
        assert not (root / "x").is_symlink()


def test_magic_links_of_proc_are_not_followed(root, canary, unpack):
    """Where /proc is mounted in a root, its links lead to open directories anywhere."""
    refusal = unpack(
        entry("p", kind=SYMLINK, link=f"/proc/{os.getpid()}/root"),
        entry(f"p/{canary.path}/f", b"owned"),
    )
    assert refusal
