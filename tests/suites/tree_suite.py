"""What every tree of files must do. `CASES` are run for each kind, made from the same nodes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping

from memorytree import OLD, content, fifo, file, folder, link

from wcbuild.layer.changes import DIRECTORY, FIFO, FILE, SYMLINK, Meta
from wcbuild.tree.base import FileTree, Node

Make = Callable[[Mapping[str, Node]], FileTree]

CASES: dict[str, Callable[[Make], None]] = {}


def case(function: Callable[[Make], None]) -> Callable[[Make], None]:
    CASES[function.__name__.replace("_", " ")] = function
    return function


def names(tree: FileTree, path: str) -> list[str]:
    return [name for name, _ in tree.children(path)]


def walk(tree: FileTree, path: str = "") -> Iterator[tuple[str, Node]]:
    for name, node in tree.children(path):
        here = f"{path}/{name}" if path else name
        yield here, node
        yield from walk(tree, here)


@case
def says_what_a_file_is(make: Make) -> None:
    node = make({"a/b.txt": file("text", 0o640)}).find("a/b.txt")
    assert node is not None
    assert node.meta == Meta(FILE, 0o640, size=4, mtime=OLD)
    assert content(node) == b"text"


@case
def says_what_a_directory_is(make: Make) -> None:
    node = make({"a": folder(0o2750)}).find("a")
    assert node is not None
    assert node.meta == Meta(DIRECTORY, 0o2750, mtime=OLD)
    assert node.content is None


@case
def keeps_a_symlink_as_it_stands(make: Make) -> None:
    node = make({"l": link("/../a//b/.")}).find("l")
    assert node is not None
    assert (node.meta.kind, node.meta.mode, node.meta.link) == (SYMLINK, 0o777, "/../a//b/.")


@case
def knows_pipes(make: Make) -> None:
    node = make({"p": fifo(0o600)}).find("p")
    assert node is not None
    assert (node.meta.kind, node.meta.mode) == (FIFO, 0o600)


@case
def the_root_is_always_a_directory(make: Make) -> None:
    node = make({}).find("")
    assert node is not None
    assert node.meta.kind == DIRECTORY
    assert names(make({}), "") == []


@case
def nothing_is_found_where_nothing_is(make: Make) -> None:
    tree = make({"a/b": file("x"), "ab": file("y")})
    for path in ("b", "a/c", "a/b/c", "a/b/c/d", "abc", "A"):
        assert tree.find(path) is None, path
    for path in ("b", "a/b", "a/b/c"):
        assert names(tree, path) == [], path


@case
def children_come_in_byte_order(make: Make) -> None:
    listed = ["-", "10", "9", "A", "a", "a b", "a-b", "a.b", "aa", "\u00e4", "\uffff", "\U0001f600"]
    tree = make({name: file() for name in reversed(listed)} | {"a/x": file(), "a": folder()})
    assert names(tree, "") == sorted(listed, key=os.fsencode)


@case
def children_are_what_find_finds(make: Make) -> None:
    tree = make(
        {"a/b/c": file("1"), "a/d": link("b"), "a!x": file("2"), "a0": folder(), "e": folder()}
    )
    found = dict(walk(tree))
    assert set(found) == {"a", "a/b", "a/b/c", "a/d", "a!x", "a0", "e"}
    assert all(tree.find(path) == node for path, node in found.items())


@case
def symlinks_are_not_followed(make: Make) -> None:
    tree = make({"real/x": file("x"), "l": link("real")})
    assert tree.find("l/x") is None
    assert names(tree, "l") == []


@case
def names_may_be_any_bytes(make: Make) -> None:
    odd = ["new\nline", "tab\t", "quote\"'", "\udcff\udcfe", "\x01", " ", "back\\slash", "*"]
    tree = make({f"d {name}/{name}": file(name.encode(errors="surrogateescape")) for name in odd})
    for name in odd:
        node = tree.find(f"d {name}/{name}")
        assert node is not None
        assert content(node) == name.encode(errors="surrogateescape")
    assert names(tree, "") == sorted((f"d {name}" for name in odd), key=os.fsencode)


@case
def digests_are_those_of_the_content(make: Make) -> None:
    data = os.urandom(300_000)
    tree = make({"small": file("text"), "empty": file(), "big": file(data)})
    for name, expected in (("small", b"text"), ("empty", b""), ("big", data)):
        node = tree.find(name)
        assert node is not None
        assert tree.digest(name, node) == hashlib.sha256(expected).hexdigest()


@case
def hard_links_have_one_identity(make: Make) -> None:
    one = file("same")
    tree = make({"a": one, "b/c": one, "other": file("same")})
    found = {path: tree.find(path) for path in ("a", "b/c", "other")}
    first, second, other = found.values()
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.identity == second.identity
    assert first.identity != other.identity
    assert content(first) == content(second) == b"same"
    assert first.meta.kind == second.meta.kind == FILE
