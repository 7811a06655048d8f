import bz2
import gzip
import lzma

import pytest
import zstandard
from memorytree import OLD, MemoryTree, content, fifo, file, folder, link, listing
from rawtar import CHARACTER, DIRECTORY, HARDLINK, SYMLINK, archive, entry, pax

from wcbuild.errors import UnsafeArchiveError
from wcbuild.graph.ops import CopyOp, InlineFile, MkdirOp
from wcbuild.layer.changes import FILE, BlobRange, HostFile, Meta
from wcbuild.tree import place
from wcbuild.tree.base import Node
from wcbuild.tree.errors import (
    ConflictError,
    InvalidOwnerError,
    InvalidPatternError,
    MissingSourceError,
    PlaceError,
    TooManyLinksError,
)

NOW = 1_700_000_000

SOURCE = MemoryTree(
    {
        "a.txt": file("A"),
        "b.txt": file("B", 0o755, 1, 1),
        "dir": folder(0o750, 3, 4),
        "dir/x": file("x", 0o600, 3, 4),
        "dir/sub": folder(0o700, 5, 6),
        "dir/sub/y.md": file("y"),
        "dir/inner": link("x"),
        "ldir": link("/dir"),
        "README.md": file("readme"),
    }
)
BASE = MemoryTree(
    {
        "usr/lib": folder(),
        "lib": link("usr/lib"),
        "abs": link("/usr/lib"),
        "escape": link("../../../usr"),
        "loop": link("loop"),
        "etc/passwd": file("app:x:1000:1001::/:\n"),
        "etc/motd": file("old", 0o600),
        "lmotd": link("etc/motd"),
        "kept": folder(0o500, 9, 9),
        "kept/old": file("old"),
        "shared": folder(0o2775, 5, 6),
    }
)


def copy(source=SOURCE, base=BASE, *, scratch=None, **fields):
    fields = {"dest": "/"} | fields
    fields["sources"] = tuple(fields.get("sources", ()))
    return place.copy(CopyOp(**fields), base, source, mtime=NOW, scratch=scratch)


def after(*args, base=BASE, **fields):
    return base.applied(copy(*args, base=base, **fields))


def new(tree, base=BASE):
    """Return what is in ``tree`` and was not in ``base``, or differs."""
    before = listing(base)
    return {path: text for path, text in listing(tree).items() if before.get(path) != text}


# -- where things land


def test_a_file_gets_the_destination_s_name():
    assert new(after(sources=["a.txt"], dest="/new/name")) == {
        "new": "d 0755 0:0",
        "new/name": "f 0644 0:0 'A'",
    }


@pytest.mark.parametrize("dest", ["/kept", "/kept/"])
def test_a_file_goes_into_a_directory(dest):
    assert new(after(sources=["a.txt"], dest=dest)) == {"kept/a.txt": "f 0644 0:0 'A'"}


def test_a_directory_s_content_is_copied_and_not_the_directory():
    assert new(after(sources=["dir"], dest="/new", keep_owner=True)) == {
        "new": "d 0755 0:0",
        "new/inner": "l 0777 0:0 -> x",
        "new/sub": "d 0700 5:6",
        "new/sub/y.md": "f 0644 0:0 'y'",
        "new/x": "f 0600 3:4 'x'",
    }


def test_owners_are_root_unless_they_are_kept():
    assert after(sources=["dir/x"], dest="/x").nodes["x"].meta.uid == 0


def test_a_directory_that_is_there_keeps_its_mode_and_owner_but_not_its_time():
    meta = after(sources=["dir"], dest="/kept", keep_owner=True).nodes["kept"].meta
    assert (meta.mode, meta.uid, meta.mtime) == (0o500, 9, OLD)


@pytest.mark.parametrize(
    ("dest", "real"), [("/lib", "usr/lib"), ("/abs/", "usr/lib"), ("/escape/", "usr")]
)
def test_symlinks_at_the_destination_are_followed_inside_the_root(dest, real):
    assert new(after(sources=["a.txt"], dest=dest)) == {f"{real}/a.txt": "f 0644 0:0 'A'"}


def test_a_symlink_to_a_file_is_written_through():
    assert new(after(sources=["a.txt"], dest="/lmotd")) == {"etc/motd": "f 0644 0:0 'A'"}


def test_destinations_in_a_circle_of_links_are_an_error():
    with pytest.raises(TooManyLinksError):
        copy(sources=["a.txt"], dest="/loop/x")


def test_link_knows_nothing_of_what_is_there():
    tree = MemoryTree()
    assert new(after(sources=["a.txt"], dest="/lib/", base=tree, link=True), tree) == {
        "lib": "d 0755 0:0",
        "lib/a.txt": "f 0644 0:0 'A'",
    }


def test_several_sources_and_inline_files_land_in_order():
    tree = after(sources=["a.txt", "b.txt"], dest="/o", inline=(InlineFile(name="f", data="in\n"),))
    assert new(tree) == {"o": "f 0644 0:0 'in\\n'"}
    assert tree.nodes["o"].meta.mtime == NOW


def test_inline_files_need_no_source():
    tree = after(source=None, dest="/d/", inline=(InlineFile(name="f", data="\u00e4"),))
    assert new(tree) == {"d": "d 0755 0:0", "d/f": "f 0644 0:0 '\u00e4'"}


def test_the_directories_of_what_changed_are_among_the_changes_as_they_are():
    changed = {change.path: change.meta for change in copy(sources=["a.txt"], dest="/kept/")}
    assert set(changed) == {"kept", "kept/a.txt"}
    assert changed["kept"] == BASE.nodes["kept"].meta


def test_new_directories_carry_the_time_given():
    assert after(sources=["a.txt"], dest="/new/").nodes["new"].meta.mtime == NOW


def test_the_last_source_wins():
    tree = after(sources=["a.txt", "b.txt", "a.txt"], dest="/x")
    assert content(tree.nodes["x"]) == b"A"


# -- which sources


def test_symlinks_in_a_source_path_are_followed_inside_its_root():
    source = MemoryTree({"l": link("../../etc"), "etc/x": file("x"), "ll": link("/l")})
    assert new(after(source, sources=["ll/x"], dest="/o")) == {"o": "f 0644 0:0 'x'"}


def test_wildcards_flatten_matching_directories():
    assert sorted(new(after(sources=["d*"], dest="/o/"))) == [
        *("o", "o/inner", "o/sub", "o/sub/y.md", "o/x")
    ]


def test_a_wildcard_that_matches_nothing_copies_nothing():
    assert copy(sources=["*.none", "nodir/*"], dest="/new/") == ()


def test_matching_symlinks_are_copied_as_what_they_lead_to():
    source = MemoryTree({"l1": link("real"), "real": file("r")})
    assert new(after(source, sources=["l*"], dest="/o/")) == {
        "o": "d 0755 0:0",
        "o/l1": "f 0644 0:0 'r'",
    }


def test_excluded_files_are_left_out_wherever_they_are():
    tree = after(sources=[""], dest="/o/", exclude=("**/*.md", "dir/inner"))
    assert [path for path in new(tree) if path.endswith((".md", "inner"))] == []
    assert "o/dir/sub" in new(tree)


def test_excluding_applies_to_matches_of_wildcards():
    assert sorted(new(after(sources=["*.txt"], dest="/o/", exclude=("a*",)))) == ["o", "o/b.txt"]


def test_exceptions_from_excluding_bring_their_directories():
    tree = after(sources=[""], dest="/o/", exclude=("*", "!dir/sub/y.md"), keep_owner=True)
    assert new(tree) == {
        "o": "d 0755 0:0",
        "o/dir": "d 0750 3:4",
        "o/dir/sub": "d 0700 5:6",
        "o/dir/sub/y.md": "f 0644 0:0 'y'",
    }


def test_parents_keeps_the_path_after_the_pivot():
    assert sorted(new(after(sources=["dir/./sub/y.md"], dest="/o/", parents=True))) == [
        *("o", "o/sub", "o/sub/y.md")
    ]


def test_parents_with_wildcards_takes_only_the_directories_it_needs():
    assert sorted(new(after(sources=["**/*.md"], dest="/o/", parents=True))) == [
        *("o", "o/README.md", "o/dir", "o/dir/sub", "o/dir/sub/y.md")
    ]


def test_parents_that_are_there_take_their_sources_mode_and_keep_their_owner():
    base = MemoryTree({"dir": folder(0o500, 9, 9)})
    tree = after(base=base, sources=["dir/x"], parents=True, keep_owner=True)
    assert listing(tree)["dir"] == "d 0750 9:9"


def test_parents_needs_what_is_named_without_wildcards():
    with pytest.raises(MissingSourceError, match=r'"/dir/none": not found'):
        copy(sources=["dir/none"], dest="/o/", parents=True)


@pytest.mark.parametrize("source", ["a.txt/./x", "a.txt/./*", "dir/x/./y"])
def test_parents_finds_nothing_below_a_file(source):
    with pytest.raises(MissingSourceError, match=r"not found"):
        copy(sources=[source], dest="/o/", parents=True)


def test_parents_takes_files_that_a_wildcard_before_the_pivot_finds():
    assert sorted(new(after(sources=["*.txt/./x"], dest="/o/", parents=True))) == [
        *("o", "o/a.txt", "o/b.txt")
    ]


def test_a_missing_source_is_named_with_what_looks_like_it():
    with pytest.raises(MissingSourceError) as caught:
        copy(sources=["dir/sub/y.mdd"], dest="/")
    assert caught.value.source == caught.value.word == "dir/sub/y.mdd"
    assert caught.value.near == ("dir/sub/y.md",)
    assert str(caught.value) == (
        '"/dir/sub/y.mdd": not found in the files copied from (did you mean "/dir/sub/y.md"?)'
    )


def test_a_missing_source_says_where_it_was_looked_for():
    with pytest.raises(MissingSourceError, match=r'^"/none": not found in stage "build"$'):
        copy(sources=["none"], dest="/", origin='stage "build"')


def test_a_source_that_is_empty_is_told_to_be():
    said = r'^"/a": not found in the build context, which is empty$'
    with pytest.raises(MissingSourceError, match=said):
        copy(MemoryTree({}), sources=["a"], origin="the build context")


@pytest.mark.parametrize(
    ("source", "near"),
    [("readme.MD", "README.md"), ("Dir/sub/x", "dir"), ("a.txt/x", ""), ("nothing/like/it", "")],
)
def test_near_matches(source, near):
    with pytest.raises(MissingSourceError) as caught:
        copy(sources=[source])
    assert caught.value.near == ((near,) if near else ())


@pytest.mark.parametrize(
    ("source", "near"),
    [("Src/main.py", "src/main.py"), ("SRC/Main.py", "src/main.py"), ("L/main.py", "l/main.py")],
)
def test_a_path_in_other_capital_letters_is_suggested_as_a_whole(source, near):
    tree = MemoryTree({"src": folder(), "src/main.py": file(), "l": link("src")})
    with pytest.raises(MissingSourceError) as caught:
        copy(tree, sources=[source])
    assert caught.value.near == (near,)


def test_parents_says_that_it_goes_through_no_link():
    tree = MemoryTree({"a/b/f": file(), "l": link("a/b")})
    with pytest.raises(MissingSourceError) as caught:
        copy(tree, sources=["l/f"], dest="/5/", parents=True, origin="the build context")
    assert str(caught.value) == (
        '"/l/f": not found in the build context ("/l" is a symlink, and --parents goes through none)'
    )
    # Before the pivot it does.
    assert "5/f" in new(after(tree, sources=["l/./f"], dest="/5/", parents=True))


def test_a_symlink_to_nothing_is_a_missing_source():
    with pytest.raises(MissingSourceError) as caught:
        copy(MemoryTree({"l": link("none")}), sources=["*"])
    assert caught.value.near == ()


def test_a_symlink_that_leads_out_of_its_source_says_where_to():
    source = MemoryTree({"dir": folder(), "dir/l": link("/etc/passwd")})
    said = r'^"/dir/l": links to "/etc/passwd", not found in the build context$'
    with pytest.raises(MissingSourceError, match=said):
        copy(source, sources=["dir/l"], origin="the build context")


def test_patterns_that_cannot_be_read_are_errors():
    for fields in ({"sources": ["[a"]}, {"sources": [""], "exclude": ("[a",)}):
        with pytest.raises(InvalidPatternError, match="syntax error in pattern"):
            copy(**fields)


# -- owners and modes


def test_chown_is_looked_up_where_it_is_copied_to():
    tree = after(sources=["dir"], dest="/o", chown="app")
    assert {text.split()[2] for text in new(tree).values()} == {"1000:1001"}


def test_chown_with_an_impossible_id_is_an_error():
    with pytest.raises(InvalidOwnerError):
        copy(sources=["a.txt"], chown="4294967296")


def test_an_octal_mode_is_for_files_and_directories_and_new_parents():
    tree = after(sources=["dir"], dest="/p/o/", chmod="4711")
    assert new(tree)["p"] == new(tree)["p/o"] == "d 0711 0:0"
    assert new(tree)["p/o/x"] == "f 4711 0:0 'x'"
    assert new(tree)["p/o/sub"] == "d 4711 0:0"
    assert new(tree)["p/o/inner"] == "l 0777 0:0 -> x"


def test_a_symbolic_mode_leaves_new_parents_alone():
    assert new(after(sources=["a.txt"], dest="/p/", chmod="go=")) == {
        "p": "d 0755 0:0",
        "p/a.txt": "f 0600 0:0 'A'",
    }


def test_directories_made_in_a_setgid_directory_are_of_its_group():
    assert new(after(sources=["a.txt"], dest="/shared/a/b/"))["shared/a/b"] == "d 2755 0:6"
    assert new(after(sources=["a.txt"], dest="/shared/a/", chown="7"))["shared/a"] == "d 2755 7:7"
    assert new(after(sources=["dir"], dest="/shared/"))["shared/sub"] == "d 0700 0:0"


def test_symlinks_have_the_mode_that_linux_gives_them():
    odd = MemoryTree({"l": Node(link("x").meta._replace(mode=0o755))})
    assert new(after(odd, sources=[""], dest="/o"))["o/l"] == "l 0777 0:0 -> x"


def test_a_root_without_a_time_leaves_its_destination_one():
    rootless = MemoryTree({"": Node(Meta(folder().meta.kind, 0o755)), "x": file("x")})
    assert after(rootless, sources=[""], dest="/new").nodes["new"].meta.mtime == NOW


# -- what is in the way


def test_a_file_does_not_replace_a_directory():
    source = MemoryTree({"dir/usr": file("no directory")})
    with pytest.raises(
        ConflictError, match=r'cannot write "/dir/usr" to "/usr": a directory is there'
    ):
        copy(source, sources=["dir"])


def test_a_directory_does_not_replace_a_file_or_a_link():
    source = MemoryTree({"d/lib/x": file(), "e/etc/motd/x": file()})
    for name in ("d", "e"):
        with pytest.raises(ConflictError, match="it is not a directory"):
            copy(source, sources=[name])


@pytest.mark.parametrize(
    ("dest", "message"),
    [
        ("/etc/motd/x", '"/etc/motd" is a file, where a directory is needed'),
        ("/etc/motd/", '"/etc/motd" is a file, where a directory is needed'),
        ("/etc/motd/x/", '"/etc/motd" is a file, so "/etc/motd/x" cannot be made'),
    ],
)
def test_a_file_in_the_path_is_an_error(dest, message):
    with pytest.raises(ConflictError) as caught:
        copy(sources=["a.txt"], dest=dest)
    assert str(caught.value) == message
    assert caught.value.word == dest[: dest.rindex("/")]


def test_a_working_directory_cannot_be_made_below_a_file():
    with pytest.raises(ConflictError) as caught:
        place.mkdir(MkdirOp(path="/etc/motd/x/y"), BASE, mtime=NOW)
    assert str(caught.value) == '"/etc/motd" is a file, so "/etc/motd/x/y" cannot be made'


def test_a_directory_onto_a_file_is_an_error():
    with pytest.raises(PlaceError):
        copy(sources=["dir"], dest="/etc/motd")


# -- kinds of files


def test_hard_links_within_one_source_stay_links():
    one = file("same")
    source = MemoryTree({"d/a": one, "d/b": one, "d/c": file("same")})
    nodes = after(source, sources=["d"], dest="/o").nodes
    assert nodes["o/a"] is nodes["o/b"]
    assert nodes["o/a"].identity != nodes["o/c"].identity


def test_hard_links_whose_file_is_replaced_keep_their_content():
    one = file("same")
    source = MemoryTree({"d/a": one, "d/b": one, "d/c": one, "e/a": file("new")})
    nodes = after(source, sources=["d", "e"], dest="/o/").nodes
    assert [content(nodes[f"o/{name}"]) for name in "abc"] == [b"new", b"same", b"same"]
    assert nodes["o/b"] is nodes["o/c"]


def test_pipes_and_capabilities_are_copied():
    capable = file("x")
    meta = capable.meta._replace(xattrs=(("security.capability", b"\1"),))
    source = MemoryTree({"d/p": fifo(), "d/f": capable._replace(meta=meta)})
    nodes = after(source, sources=["d"], dest="/o").nodes
    assert nodes["o/p"].meta.kind == "p"
    assert nodes["o/f"].meta.xattrs == (("security.capability", b"\1"),)


# -- WORKDIR


def mkdir(path, owner="", base=BASE):
    return place.mkdir(MkdirOp(path=path, owner=owner), base, mtime=NOW)


def test_workdir_makes_what_is_missing():
    tree = BASE.applied(mkdir("/lib/a/b", "app:7"))
    assert new(tree) == {"usr/lib/a": "d 0755 1000:7", "usr/lib/a/b": "d 0755 1000:7"}
    assert tree.nodes["usr/lib/a"].meta.mtime == NOW


def test_workdir_is_of_the_group_of_a_setgid_directory_unless_a_user_is_set():
    assert new(BASE.applied(mkdir("/shared/a"))) == {"shared/a": "d 2755 0:6"}
    assert new(BASE.applied(mkdir("/shared/a", "app"))) == {"shared/a": "d 2755 1000:1001"}


def test_workdir_changes_nothing_where_it_is_there():
    assert mkdir("/kept", "app") == mkdir("/lib") == mkdir("/") == ()


def test_workdir_does_not_replace_a_file():
    with pytest.raises(ConflictError):
        mkdir("/etc/motd/x")


# -- ADD of archives


@pytest.fixture
def add(tmp_path):
    """Return a function that unpacks the bytes of a tar into a tree and returns the tree."""
    spools = iter(range(100))

    def run(data, *, base=BASE, dest="/", **fields):
        (tmp_path / "archive").write_bytes(data)
        node = Node(Meta(FILE, 0o644, size=len(data)), HostFile(tmp_path / "archive"), 1)
        return after(
            MemoryTree({"archive": node}),
            base=base,
            sources=["archive"],
            dest=dest,
            unpack=True,
            scratch=lambda: tmp_path / f"spool{next(spools)}",
            **fields,
        )

    return run


PLAIN = archive(
    entry("td/", kind=DIRECTORY, mode=0o750, uid=7, gid=8),
    entry("td/in", b"hi", mode=0o640, uid=7, gid=8),
    entry("td/ln", kind=SYMLINK, link="in", mode=0o700),
    entry("td/hard", kind=HARDLINK, link="td/in"),
)
COMPRESSORS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
def test_archives_are_unpacked_whatever_compresses_them(add, compress):
    tree = add(compress(PLAIN), dest="/o")
    assert new(tree) == {
        "o": "d 0755 0:0",
        "o/td": "d 0750 7:8",
        "o/td/hard": "f 0640 7:8 'hi'",
        "o/td/in": "f 0640 7:8 'hi'",
        "o/td/ln": "l 0777 0:0 -> in",
    }
    assert tree.nodes["o/td/in"] is tree.nodes["o/td/hard"]


def test_plain_archives_are_not_written_again(add, tmp_path):
    node = add(PLAIN).nodes["td/in"]
    assert node.content == BlobRange(tmp_path / "archive", 1024)


@pytest.mark.parametrize(
    "data",
    [b"", b"text", bytes(10240), gzip.compress(b"text"), gzip.compress(PLAIN)[:20], PLAIN[:511]],
    ids=["empty", "text", "zeros", "compressed text", "cut off", "short"],
)
def test_what_is_no_archive_is_copied(add, data):
    assert content(add(data, dest="/o/").nodes["o/archive"]) == data


def test_chown_is_for_everything_in_an_archive_and_chmod_for_nothing(add):
    tree = add(PLAIN, dest="/o", chown="300:400", chmod="0777")
    assert {text.split()[2] for text in new(tree).values()} == {"300:400"}
    assert new(tree)["o/td"] == "d 0750 300:400"
    assert new(tree)["o"] == "d 0755 300:400"


def test_directories_that_an_archive_does_not_name_are_of_root_or_chown(add):
    data = archive(entry("made/x", b"x"))
    assert new(add(data, dest="/shared"))["shared/made"] == "d 2755 0:0"
    assert new(add(data, dest="/shared", chown="7"))["shared/made"] == "d 2755 7:7"


def test_archives_change_directories_that_are_there(add):
    assert add(archive(entry("kept/", kind=DIRECTORY, mode=0o711))).nodes["kept"].meta.mode == 0o711


def test_archives_replace_what_is_of_another_kind(add):
    tree = add(
        archive(
            entry("kept", b"now a file"),
            entry("etc/motd/", kind=DIRECTORY),
            entry("etc/motd/x", b"x"),
            entry("etc/passwd", kind=SYMLINK, link="shadow"),
        )
    )
    assert "kept/old" not in tree.nodes
    assert content(tree.nodes["kept"]) == b"now a file"
    assert content(tree.nodes["etc/motd/x"]) == b"x"
    assert tree.nodes["etc/passwd"].meta.link == "shadow"


def test_a_directory_that_was_a_file_in_between_is_empty(add):
    tree = add(archive(entry("kept", b""), entry("kept/", kind=DIRECTORY), entry("kept/new", b"n")))
    assert sorted(path for path in tree.nodes if path.startswith("kept")) == ["kept", "kept/new"]


def test_later_entries_replace_files_that_others_are_linked_to(add):
    tree = add(
        archive(
            entry("a/f", b"one"),
            entry("b", kind=HARDLINK, link="a/f"),
            entry("a", b"two"),
        )
    )
    assert content(tree.nodes["b"]) == b"one"
    assert content(tree.nodes["a"]) == b"two"


def test_hard_links_to_files_of_the_image_take_them_along(add):
    tree = add(archive(entry("copy", kind=HARDLINK, link="etc/motd")))
    assert content(tree.nodes["copy"]) == b"old"
    assert tree.nodes["copy"] is tree.nodes["etc/motd"]


def test_entries_follow_links_of_the_image_inside_its_root(add):
    tree = add(archive(entry("lib/x", b"1"), entry("escape/y", b"2"), entry("abs/d/z", b"3")))
    assert sorted(new(tree)) == ["usr/lib/d", "usr/lib/d/z", "usr/lib/x", "usr/y"]


@pytest.mark.parametrize("link", ["../../../..", "/"])
def test_entries_cannot_leave_the_destination_through_links_of_their_own(add, link):
    tree = add(archive(entry("out", kind=SYMLINK, link=link), entry("out/evil", b"!")), dest="/o")
    assert new(tree)["o/evil"] == "f 0644 0:0 '!'"
    assert new(tree)["o/out"].startswith("l 0777")


@pytest.mark.parametrize("name", ["out/x", "out/a/b/x", "in/out/x"])
@pytest.mark.parametrize("link", ["gone", "../../gone", "/gone/too", "next"])
def test_entries_below_a_link_to_nowhere_are_refused(add, name, link):
    data = archive(
        entry("in", kind=SYMLINK, link="."),
        entry("next", kind=SYMLINK, link="/gone"),
        entry("out", kind=SYMLINK, link=link),
        entry(name, b"!"),
    )
    said = (
        f'entry "{name}" lies below "/o/out", a symlink to "{link}", leading to nothing in "/o": '
        "symlinks there are followed within it"
    )
    with pytest.raises(UnsafeArchiveError, match=said):
        add(data, dest="/o")


def test_entries_make_directories_below_links_to_directories(add):
    data = archive(
        entry("real/", kind=DIRECTORY),
        entry("out", kind=SYMLINK, link="/real"),
        entry("out/a/b/x", b"x"),
    )
    assert content(add(data, dest="/o").nodes["o/real/a/b/x"]) == b"x"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/../evil"])
def test_entries_that_climb_out_are_refused(add, name):
    with pytest.raises(UnsafeArchiveError):
        add(archive(entry(name, b"!")))


@pytest.mark.parametrize("target", ["../../etc/passwd", "missing", "usr"])
def test_hard_links_to_what_is_no_file_are_refused(add, target):
    with pytest.raises(UnsafeArchiveError):
        add(archive(entry("x", kind=HARDLINK, link=target)))


def test_devices_are_kept_as_what_they_are(add):
    meta = add(archive(entry("null", kind=CHARACTER, major=1, minor=3))).nodes["null"].meta
    assert (meta.kind, meta.major, meta.minor) == ("c", 1, 3)


@pytest.mark.parametrize("cut", [700, 1030, 1100])
def test_truncated_archives_are_refused(add, cut):
    with pytest.raises(UnsafeArchiveError):
        add(PLAIN[:cut])


def test_damage_behind_a_good_beginning_is_an_error(add):
    data = archive(entry("big", bytes(range(256)) * 4000))
    with pytest.raises(UnsafeArchiveError):
        add(gzip.compress(data)[:-20])


@pytest.mark.parametrize(
    "data",
    [PLAIN[:700], archive(entry("../x")), archive(entry("x", b"1"), entry("x/y", b"2"))],
    ids=["truncated", "climbing", "below a file"],
)
def test_what_is_wrong_with_an_archive_names_it(add, data):
    with pytest.raises((UnsafeArchiveError, ConflictError)) as caught:
        add(data)
    assert caught.value.__notes__ == ['in the archive "archive"']


def test_unpacking_into_a_file_is_an_error(add):
    with pytest.raises(ConflictError):
        add(PLAIN, dest="/etc/motd")


def test_entries_below_a_file_are_an_error(add):
    with pytest.raises(ConflictError, match="is a file, where a directory is needed"):
        add(archive(entry("x", b"1"), entry("x/y", b"2")))


def test_long_names_are_read(add):
    name = "d/" * 80 + "file"
    tree = add(archive(pax(path=name), entry("short", b"long")))
    assert content(tree.nodes[name]) == b"long"
