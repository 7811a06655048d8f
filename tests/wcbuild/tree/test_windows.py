"""File steps on Windows images: any spelling finds a path, and what is there stays as it is."""

import base64

import pytest
from memorytree import MemoryTree, content, fifo, folder, link
from memorytree import file as source_file
from rawtar import DIRECTORY as FOLDER
from rawtar import SYMLINK as LINK
from rawtar import archive, entry
from windowslayers import NOW, file, members, packed, tree_of
from windowslayers import folder as drive_folder

from wcbuild.errors import LayerError
from wcbuild.graph.ops import WINDOWS, CopyOp, InlineFile, MkdirOp
from wcbuild.layer.changes import (
    DIRECTORY,
    FILE,
    HARDLINK,
    STREAM,
    SYMLINK,
    Change,
    HostFile,
    Inline,
    Meta,
)
from wcbuild.layer.windows.accounts import owned_by
from wcbuild.layer.windows.records import from_sddl
from wcbuild.layer.windows.sddl import decode
from wcbuild.tree import place
from wcbuild.tree.base import Node
from wcbuild.tree.errors import ConflictError, InvalidOwnerError, MissingSourceError
from wcbuild.tree.layers import EmptyTree
from wcbuild.tree.select import content_key

LATER = NOW + 100
OWN = {
    "LIBARCHIVE.creationtime": b"1619524800.123456",
    "MSWINDOWS.fileattr": b"22",
    "MSWINDOWS.rawsd": from_sddl("O:S-1-5-80"),
    "MSWINDOWS.xattr.$EA": b"AAA=",
    "mtime": f"{NOW}.5".encode(),
}
BASE = [
    drive_folder("Windows", OWN),
    drive_folder("Windows/System32", OWN),
    file("Windows/System32/cmd.exe", b"MZ", OWN),
    file("Windows/System32/other.EXE", b"MZ2"),
    drive_folder("ProgramData"),
    Change("Users", Meta(SYMLINK, 0o777, link="/ProgramData")),
    file("License.txt", b"text"),
    Change("License.txt:zone", Meta(STREAM, 0, size=4), Inline(b"zone")),
    Change("Second.txt", Meta(HARDLINK, 0o644, link="License.txt")),
]
SOURCE = MemoryTree(
    {
        "app.exe": source_file("MZ", 0o755),
        "dir/sub/x": source_file("x", 0o600, 3, 4),
        "dir/l": link("sub"),
        "dir/m": link("sub/x"),
        "windows/new": source_file("new"),
        "windows": folder(0o700, mtime=LATER),
    }
)


@pytest.fixture
def base(tmp_path):
    return tree_of(tmp_path, packed(BASE)[0])


def copy(tree, source=SOURCE, **fields):
    fields = {"dest": "/", "os": WINDOWS} | fields
    changes = place.copy(CopyOp(**fields), tree, *([source] if source else []), mtime=LATER)
    return {change.path: change for change in changes}


def records(change):
    return dict(change.meta.xattrs)


# -- the merged view


def test_any_spelling_finds_a_path_and_children_have_their_own(base):
    assert base.find("windows/SYSTEM32/CMD.exe").meta.kind == FILE
    assert base.find("windows/nothing") is None
    assert [name for name, _ in base.children("WINDOWS/system32")] == ["cmd.exe", "other.EXE"]
    assert base.spelled("WINDOWS") == "Windows"
    assert base.spelled("windows/SYSTEM32") == "System32"
    assert base.spelled("windows/New") == "New"


def test_layers_meet_whatever_they_call_a_directory(tmp_path):
    upper = packed([drive_folder("WINDOWS"), file("WINDOWS/x"), Change("WINDOWS/system32", None)])
    tree = tree_of(tmp_path, packed(BASE)[0], upper[0])
    assert [name for name, _ in tree.children("windows")] == ["x"]
    assert tree.find("Windows/System32/cmd.exe") is None
    assert tree.find("Windows/X").meta.kind == FILE


def test_streams_are_there_for_windows_alone(tmp_path):
    data = packed(BASE)[0]
    for_windows = tree_of(tmp_path, data)
    plain = tree_of(tmp_path, data, for_windows=False)
    assert content(for_windows.find("license.txt:ZONE")) == b"zone"
    assert plain.find("License.txt:zone") is None
    assert "License.txt:zone" in dict(for_windows.children(""))
    assert "License.txt:zone" not in dict(plain.children(""))


def test_who_replaces_a_file_leaves_none_of_its_streams(tmp_path):
    for change in (file("LICENSE.txt", b"other"), Change("license.txt", None)):
        tree = tree_of(tmp_path, packed(BASE)[0], packed([change])[0])
        assert not [name for name, _ in tree.children("") if ":" in name]


def test_for_others_links_are_as_open_as_all_of_linux(tmp_path):
    data = archive(entry("Files/l", kind=LINK, link="C:/Windows", mode=0o120000))
    (found,) = tree_of(tmp_path, data, for_windows=False).children("")
    assert found[1].meta.mode == 0o777


def test_for_others_files_have_modes_and_no_records(tmp_path):
    bare = Change("a.dll", Meta(FILE, 0, xattrs=tuple(sorted(OWN.items()))))
    tree = tree_of(tmp_path, packed([bare, drive_folder("d", OWN)])[0], for_windows=False)
    assert tree.find("A.DLL").meta == Meta(FILE, 0o644)
    assert tree.find("D").meta == Meta(DIRECTORY, 0o755, mtime=NOW)


def test_hard_links_share_one_identity(base):
    assert base.find("SECOND.txt").identity == base.find("license.TXT").identity


# -- COPY


def test_the_spelling_that_is_there_is_kept_and_so_are_its_records(base):
    found = copy(base, sources=("app.exe",), dest="/WINDOWS/system32/")
    assert set(found) == {"", "Windows", "Windows/System32", "Windows/System32/app.exe"}
    for path in ("Windows", "Windows/System32"):
        assert records(found[path]) == OWN
        assert found[path].meta.mtime == NOW
    written = members(packed(found.values())[0])["Files/Windows/System32"]
    assert written.pax_headers == {name: value.decode() for name, value in OWN.items()}


def test_replacing_a_file_keeps_its_spelling(base):
    found = copy(base, sources=("app.exe",), dest="/windows/system32/CMD.EXE")
    assert "Windows/System32/cmd.exe" in found
    assert records(found["Windows/System32/cmd.exe"]) == {}


def test_a_directory_of_the_base_is_merged_into_and_stays_as_it_is(base):
    found = copy(base, sources=("",), dest="/")
    assert "Windows/new" in found
    assert records(found["Windows"]) == OWN
    assert found["Windows"].meta.mtime == LATER
    assert found["Windows"].meta.mode == 0o755


def test_links_of_the_base_are_followed_on_the_drive(base):
    assert "ProgramData/app.exe" in copy(base, sources=("app.exe",), dest="/users/")


def test_new_links_say_whether_they_lead_to_a_directory(base):
    found = copy(base, sources=("dir",), dest="/d")
    assert records(found["d/l"]) == {"MSWINDOWS.fileattr": b"1040"}
    assert records(found["d/m"]) == {}
    written = members(packed(found.values())[0])
    assert written["Files/d/l"].pax_headers["MSWINDOWS.fileattr"] == "1040"
    assert written["Files/d/m"].pax_headers["MSWINDOWS.fileattr"] == "1056"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("C:\\ProgramData", "C:/ProgramData"),
        ("c:/ProgramData", "C:/ProgramData"),
        ("\\ProgramData", "C:/ProgramData"),
        ("..\\ProgramData", "../ProgramData"),
    ],
)
def test_links_made_for_windows_lead_there(base, text, target):
    found = copy(base, MemoryTree({"l": link(text)}), sources=("",), dest="/d")
    written = members(packed(found.values())[0])["Files/d/l"]
    assert written.linkname == target
    # What lies there is known, so that this is a link to a directory.
    assert written.pax_headers["MSWINDOWS.fileattr"] == "1040"


def test_names_that_differ_in_capitals_only_are_one_file(base):
    clash = MemoryTree({"d/Readme": source_file("1"), "d/README": source_file("2")})
    with pytest.raises(ConflictError, match=r'"/x/Readme" to "/x/README".*capital letters'):
        copy(base, clash, sources=("d",), dest="/x")
    folders = MemoryTree({"d/Lib/a": source_file("1"), "d/lib/b": source_file("2")})
    with pytest.raises(ConflictError, match="capital letters"):
        copy(base, folders, sources=("d",), dest="/x")


def test_the_same_name_twice_is_the_later_file(base):
    files = MemoryTree({"a/x": source_file("1"), "b/x": source_file("22")})
    found = copy(base, files, sources=("a/x", "b/x"), dest="/D/")
    assert found["D/x"].meta.size == 2


@pytest.mark.parametrize("name", ["aux.txt", "a:b", "end.", 'q"'])
def test_names_that_windows_refuses_fail_when_the_layer_is_written(base, name):
    found = copy(base, MemoryTree({name: source_file("x")}), sources=("",), dest="/d")
    with pytest.raises(LayerError, match="Windows has no such file"):
        packed(found.values())


def test_pipes_have_no_place_on_windows(base):
    found = copy(base, MemoryTree({"p": fifo()}), sources=("",), dest="/d")
    with pytest.raises(LayerError, match="device or pipe"):
        packed(found.values())


def test_chown_gives_a_descriptor_to_what_is_copied_and_made(base):
    found = copy(base, sources=("dir",), dest="/new/d", chown="ContainerUser:BU")
    expected = base64.b64encode(owned_by("S-1-5-93-2-2", "S-1-5-32-545"))
    for path in ("new", "new/d", "new/d/sub", "new/d/sub/x"):
        assert records(found[path])["MSWINDOWS.rawsd"] == expected, path
    assert decode(base64.b64decode(expected)).owner == "S-1-5-93-2-2"


def test_chown_to_a_group_that_only_windows_knows_gives_the_owner_alone(base):
    found = copy(base, sources=("dir",), dest="/d", chown="ContainerUser:app")
    expected = base64.b64encode(owned_by("S-1-5-93-2-2"))
    assert records(found["d/sub/x"])["MSWINDOWS.rawsd"] == expected


def test_chown_leaves_directories_of_the_base_alone(base):
    found = copy(base, sources=("windows",), dest="/windows", chown="ContainerUser")
    assert records(found["Windows"]) == OWN
    assert "MSWINDOWS.rawsd" in records(found["Windows/new"])


def test_chown_needs_an_owner(base):
    with pytest.raises(InvalidOwnerError, match="no account stands before the colon"):
        copy(base, sources=("app.exe",), chown=":Users")


@pytest.mark.parametrize("owner", ["app", "1000", "app:BU", "root"])
def test_chown_to_an_account_that_only_windows_knows_is_refused(base, owner):
    with pytest.raises(InvalidOwnerError, match="without running Windows"):
        copy(base, sources=("dir",), chown=owner)


@pytest.mark.parametrize(
    ("mode", "attributes"), [("444", b"33"), ("0555", b"33"), ("644", b"32"), ("a-w", b"33")]
)
def test_chmod_makes_files_read_only(base, mode, attributes):
    found = copy(base, sources=("dir",), dest="/d", chmod=mode)
    assert records(found["d/sub/x"])["MSWINDOWS.fileattr"] == attributes
    assert "MSWINDOWS.fileattr" not in records(found["d/sub"])


def test_a_linked_copy_needs_no_base():
    found = copy(EmptyTree(), sources=("app.exe",), dest="/app/bin/", link=True)
    assert set(found) == {"app", "app/bin", "app/bin/app.exe"}
    packed(found.values())


def test_heredocs_are_files(base):
    inline = (InlineFile(name="Run.cmd", data="echo hi\r\n"),)
    found = copy(base, None, sources=(), inline=inline, dest="/windows/")
    assert found["Windows/Run.cmd"].content.data == b"echo hi\r\n"


def test_parents_are_kept_and_spelled_as_they_are(base):
    files = MemoryTree({"windows/system32/x.dll": source_file("x")})
    found = copy(base, files, sources=("windows/system32/x.dll",), dest="/", parents=True)
    assert "Windows/System32/x.dll" in found


# -- COPY --from


def test_sources_of_windows_are_found_in_any_spelling(base):
    found = copy(base, base, sources=("windows/SYSTEM32/CMD.EXE",), dest="/x/")
    assert set(found) == {"", "x", "x/cmd.exe"}
    assert records(found["x/cmd.exe"]) == OWN


def test_wildcards_take_any_spelling(base):
    found = copy(base, base, sources=("WINDOWS/sys*/*.EXE",), dest="/x/")
    assert {"x/cmd.exe", "x/other.EXE"} < set(found)
    excluded = copy(base, base, sources=("windows",), dest="/x/", exclude=("SYSTEM32/CMD.*",))
    assert "x/System32/other.EXE" in excluded
    assert "x/System32/cmd.exe" not in excluded


def test_missing_sources_are_told_with_what_looks_like_them(base):
    with pytest.raises(MissingSourceError, match='did you mean "/Windows"'):
        copy(base, base, sources=("Wimdows",))


def test_streams_come_with_their_file_under_its_new_name(base):
    found = copy(base, base, sources=("LICENSE.TXT",), dest="/Eula.txt")
    assert found["Eula.txt:zone"].meta.kind == STREAM
    written = members(packed(found.values())[0])
    assert list(written)[-2:] == ["Files/Eula.txt", "Files/Eula.txt:zone"]


def test_streams_come_with_a_directory(base):
    found = copy(base, base, sources=("",), dest="/all")
    assert "all/License.txt:zone" in found
    assert found["all/Second.txt"].meta.kind == HARDLINK
    packed(found.values())


def test_linux_takes_files_and_nothing_else(tmp_path):
    windows = tree_of(tmp_path, packed(BASE)[0], for_windows=False)
    op = CopyOp(sources=("WINDOWS/system32", "license.*"), dest="/out/", keep_owner=True)
    changes = place.copy(op, MemoryTree(), windows, mtime=LATER)
    assert {change.path for change in changes} == {
        *("out", "out/cmd.exe", "out/other.EXE", "out/License.txt")
    }
    assert all(change.meta.xattrs == () for change in changes)
    assert {change.meta.mode for change in changes} == {0o755, 0o644}


def test_keys_see_records_but_no_times(tmp_path):
    def key(**changed):
        own = {name.replace("_", "."): value for name, value in changed.items()}
        place_of = tmp_path / str(len(list(tmp_path.iterdir())))
        place_of.mkdir()
        tree = tree_of(place_of, packed([file("a", b"x", OWN | own)])[0])
        return content_key(CopyOp(sources=("a",), dest="/", os=WINDOWS), tree)

    assert key() == key(LIBARCHIVE_creationtime=b"5.5", atime=b"7")
    assert key() != key(MSWINDOWS_rawsd=from_sddl("O:SY"))
    assert key() != key(MSWINDOWS_fileattr=b"1")


# -- WORKDIR, ADD


def test_workdir_makes_what_is_missing_as_it_is_spelled_there(base):
    op = MkdirOp(path="/WINDOWS/Temp/x", owner="bob", os=WINDOWS)
    changes = {change.path: change for change in place.mkdir(op, base, mtime=LATER)}
    assert set(changes) == {"", "Windows", "Windows/Temp", "Windows/Temp/x"}
    assert records(changes["Windows"]) == OWN
    (drive,) = place.mkdir(MkdirOp(path="/windows/system32", os=WINDOWS), base, mtime=LATER)
    assert drive == Change("", base.find("").meta)


def unpacked(base, place_of, *parts):
    """ADD an archive to the root of the drive."""
    data = archive(*parts)
    place_of.write_bytes(data)
    node = Node(Meta(FILE, 0o644, size=len(data)), HostFile(place_of))
    return copy(base, MemoryTree({"a.tar": node}), sources=("a.tar",), unpack=True)


def test_what_an_archive_hides_is_deleted_name_by_name(base, tmp_path):
    found = unpacked(
        base,
        tmp_path / "a.tar",
        entry("windows", b"a file"),
        entry("windows", kind=FOLDER),
        entry("windows/System32", kind=FOLDER),
        entry("windows/System32/keep", b"k"),
    )
    assert not any(change.opaque for change in found.values())
    gone = {path for path, change in found.items() if change.meta is None}
    assert gone == {"Windows/System32/cmd.exe", "Windows/System32/other.EXE"}
    packed(found.values())


def test_an_archive_with_two_spellings_of_one_name_is_refused(base, tmp_path):
    with pytest.raises(ConflictError, match="capital letters"):
        unpacked(base, tmp_path / "a.tar", entry("new/x", b"1"), entry("NEW", kind=FOLDER))
