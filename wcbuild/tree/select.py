"""Which files of a tree COPY and ADD mean: wildcards, --exclude, --parents, and a digest over them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from wcbuild.dockerfile.ignore import NO_MATCH, IgnoreRules
from wcbuild.dockerfile.suggest import suggest
from wcbuild.dockerfile.wildcard import (
    BadPatternError,
    compile_pattern,
    has_wildcard,
)
from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, STREAM, SYMLINK, TIMES, WITH_CONTENT
from wcbuild.layer.windows.names import fold
from wcbuild.tree.base import CaselessTree, FileTree, Node, RememberingTree
from wcbuild.tree.errors import InvalidPatternError, MissingSourceError
from wcbuild.tree.paths import join, parent, resolve

_PIVOT = "/./"
"""In a source of --parents: what is before it is not repeated at the destination."""

_VERSION = "wcbuild-content-1"
"""Changes when the same key would no longer mean the same files."""


class Item(NamedTuple):
    """Something inside a directory that is copied."""

    path: str
    """Relative to that directory."""
    node: Node
    implied: bool = False
    """A directory that is only needed because something in it is copied."""


class Source(NamedTuple):
    """One file or directory that is copied: what a source path or a match of a wildcard leads to."""

    name: str
    """Its own, which that of a symlink's target is not; empty for the root."""
    path: str
    """Its real path in the tree."""
    node: Node
    items: list[Item]
    """What is in it, if it is a directory; parents before children."""
    streams: tuple[tuple[str, Node], ...] = ()
    """Names and contents of its data streams, if it is a Windows file."""


def select(op: CopyOp, tree: FileTree) -> Iterator[Source]:
    """Yield what ``op`` copies from ``tree``, in order; one file may be meant several times.

    Raises:
        MissingSourceError: a source without wildcards, or what a symlink leads to, is not there.
        InvalidPatternError: a wildcard or pattern that cannot be read.
        TooManyLinksError: symlinks in a circle.
    """
    caseless = isinstance(tree, CaselessTree)
    exclude = _rules(tuple(map(fold, op.exclude)) if caseless else op.exclude)
    for text in op.sources:
        source, include = _split_parents(text) if op.parents else (text, None)
        wanted = None if include is None else _Include(fold(include) if caseless else include)
        for match in _matches(source, tree):
            path = resolve(tree, match)
            node = tree.find(path)
            if node is None:
                raise _missing(match, tree, op.origin)
            if node.meta.kind == DIRECTORY:
                walk = _Walk(tree, wanted, exclude)
                items = walk.run(path)
                if include is not None and not items and not has_wildcard(text):
                    through = _link_above(include, path, tree)
                    raise _missing(join(source, include), tree, op.origin, through)
                yield Source(_real_name(match, tree), path, node, items)
            elif include is not None and not has_wildcard(source):
                # Nothing is below a file; one that a wildcard finds is taken itself.
                raise _missing(join(source, include), tree, op.origin)
            elif match == source or exclude is None or not exclude.excludes(_name(match)):
                yield Source(_real_name(match, tree), path, node, [], _streams(path, tree))


def check_sources(op: CopyOp, tree: FileTree) -> None:
    """Refuse what `select` would, as far as that is seen without looking into a directory.

    Raises:
        MissingSourceError: a source without wildcards is not there; those of --parents are not looked for.
        TooManyLinksError: symlinks in a circle.
    """
    for source in () if op.parents else op.sources:
        if not has_wildcard(source) and tree.find(resolve(tree, source)) is None:
            raise _missing(source, tree, op.origin)


def content_key(op: CopyOp, tree: FileTree) -> str:
    """Return a sha256 over everything of ``tree`` that decides what ``op`` copies from it.

    That is kinds, modes, link targets, names below the source path, and content; owners only where they
    are kept; never times, inodes, or which files are hard links to each other. A tree that remembers
    is asked first, and tells it from stamps alone.

    Raises:
        PlaceError: as `select`.
        ContextError: a file changed or vanished while it was read.
    """
    return _Selection(op, tree).key()


def cheap_content_key(op: CopyOp, tree: FileTree) -> str | None:
    """Return `content_key`, or None if most of the content would have to be read for it.

    Whoever is going to read the files anyway does that first, and the key costs nothing afterwards.
    Not so for archives that ADD unpacks: packing what is in them does not give their own digest.
    """
    selection = _Selection(op, tree)
    return selection.key() if op.unpack or selection.is_mostly_known() else None


class _Selection:
    """What is copied, as two fields for each path, and a third that stamps or content fill in."""

    def __init__(self, op: CopyOp, tree: FileTree) -> None:
        self._tree = tree
        self._memory = tree if isinstance(tree, RememberingTree) else None
        self._lines: list[str] = []
        self._files: list[tuple[str, Node]] = []
        """Path and node for each line; no path where there is no content."""
        with_owner = op.keep_owner and not op.chown
        for source in select(op, tree):
            self._lines.append(f"{source.name}\0source")
            self._files.append(("", source.node))
            if source.node.meta.kind != DIRECTORY:
                self._add("", source.path, source.node, with_owner)
            for name, node in source.streams:
                self._add(f":{name}", f"{source.path}:{name}", node, with_owner)
            below = f"{source.path}/" if source.path else ""
            for path, node, _ in source.items:
                self._add(path, below + path, node, with_owner)

    def _add(self, name: str, path: str, node: Node, with_owner: bool) -> None:
        meta = node.meta
        line = f"{name}\0{meta.kind}{meta.mode:o}"
        if with_owner:
            line += f" {meta.uid}:{meta.gid}"
        for xattr, value in meta.xattrs:
            if xattr in TIMES:
                continue
            line += f" {xattr}={value.hex()}"
        if meta.major or meta.minor:
            line += f" {meta.major}:{meta.minor}"
        self._lines.append(line)
        self._files.append((path if meta.kind in WITH_CONTENT else "", node))

    def key(self) -> str:
        memory = self._memory
        if memory is None:
            return self._digest_contents()
        stamps = [str(node.identity) if path else node.meta.link for path, node in self._files]
        fingerprint = self._digest(stamps)
        key = memory.recall(fingerprint)
        if key is None:
            key = self._digest_contents()
            memory.remember(fingerprint, key, [node for path, node in self._files if path])
        return key

    def is_mostly_known(self) -> bool:
        if self._memory is None:
            return True
        unknown = total = 0
        for path, node in self._files:
            if path:
                total += node.meta.size
                if self._memory.known_digest(path, node) is None:
                    unknown += node.meta.size
        return 2 * unknown <= total

    def _digest_contents(self) -> str:
        digest = self._tree.digest
        return self._digest(
            [digest(path, node) if path else node.meta.link for path, node in self._files]
        )

    def _digest(self, contents: list[str]) -> str:
        # No field holds a NUL, so no two selections give the same text.
        fields = [f"{line}\0{content}" for line, content in zip(self._lines, contents, strict=True)]
        text = "\0".join((_VERSION, *fields))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class _Walk:
    """A walk through one directory, with what to leave out."""

    def __init__(
        self, tree: FileTree, include: _Include | None, exclude: IgnoreRules | None
    ) -> None:
        self._tree = tree
        self._include = include
        self._exclude = exclude
        self._caseless = isinstance(tree, CaselessTree)
        self._items: list[Item] = []
        self._waiting: list[Item] = []
        """The directories that lead to the present one and are not among the items yet."""

    def run(self, path: str) -> list[Item]:
        if self._include is None and self._exclude is None:
            self._take_all(path)
        else:
            self._take_some(path)
        return self._items

    # Without recursion, here and below: an image's directories may be nested deeper than our stack.

    def _take_all(self, path: str) -> None:
        append = self._items.append
        open_directories = [(path, "", iter(self._tree.children(path)))]
        while open_directories:
            path, start, children = open_directories[-1]
            for name, node in children:
                append(Item(start + name, node))
                if node.meta.kind == DIRECTORY:
                    path = join(path, name)
                    below = iter(self._tree.children(path))
                    open_directories.append((path, f"{start}{name}/", below))
                    break
            else:
                open_directories.pop()

    def _take_some(self, path: str) -> None:
        top = _Open(path, "", NO_MATCH, self._include is None, self._tree.children(path))
        open_directories = [top]
        while open_directories:
            directory = open_directories[-1]
            for name, node in directory.children:
                below = self._take(directory, name, node)
                if below is not None:
                    open_directories.append(below)
                    break
            else:
                open_directories.pop()
                if self._waiting and f"{self._waiting[-1].path}/" == directory.start:
                    self._waiting.pop()

    def _take(self, directory: _Open, name: str, node: Node) -> _Open | None:
        """Take one child if it is wanted; return it if something below it may be."""
        path = directory.start + name
        asked = fold(path) if self._caseless else path
        state, excluded = directory.state, False
        if self._exclude is not None:
            state = self._exclude.state(asked, state)
            excluded = self._exclude.is_excluded(state)
        included = directory.included or (self._include is not None and self._include.takes(asked))
        item = Item(path, node)
        taken = included and not excluded
        if taken:
            self._items += [waiting._replace(implied=True) for waiting in self._waiting]
            self._waiting.clear()
            self._items.append(item)
        if node.meta.kind != DIRECTORY or not self._may_take_below(
            asked, state, included=included, excluded=excluded
        ):
            return None
        if not taken:
            self._waiting.append(item)
        place = join(directory.path, name)
        return _Open(place, f"{path}/", state, included, self._tree.children(place))

    def _may_take_below(self, path: str, state: int, *, included: bool, excluded: bool) -> bool:
        if excluded and self._exclude is not None:
            return self._exclude.may_include_below(path, state)
        return included or (self._include is not None and self._include.may_take_below(path))


class _Open(NamedTuple):
    """A directory that a walk is in."""

    path: str
    """In the tree."""
    start: str
    """What the paths of items in it begin with."""
    state: int
    """Of the rules that exclude."""
    included: bool
    """Everything in it is wanted, unless it is excluded."""
    children: Iterator[tuple[str, Node]]


class _Include:
    """The pattern of --parents: what it matches is taken, with everything below."""

    def __init__(self, pattern: str) -> None:
        self._rules = _rules((pattern,)) or IgnoreRules(())
        self._components = pattern.split("/")

    def takes(self, path: str) -> bool:
        return self._rules.is_excluded(self._rules.state(path))

    def may_take_below(self, path: str) -> bool:
        """Say whether something below directory ``path`` can match; False is certain."""
        names = path.split("/")
        for component, name in zip(self._components, names, strict=False):
            if "**" in component or "[" in component:
                return True
            if not compile_pattern(component).fullmatch(name):
                return False
        return len(self._components) > len(names)


def _rules(patterns: tuple[str, ...]) -> IgnoreRules | None:
    try:
        return IgnoreRules(patterns) if patterns else None
    except BadPatternError as error:
        raise InvalidPatternError(" ".join(patterns)) from error


def _split_parents(source: str) -> tuple[str, str]:
    """Return the directory that --parents copies from, and the pattern to look for in it."""
    base, pivot, pattern = source.partition(_PIVOT)
    return (base, pattern) if pivot else ("", source.removeprefix("./"))


def _matches(source: str, tree: FileTree) -> Iterator[str]:
    """Yield the paths that a source with wildcards stands for, or the source itself."""
    components = source.split("/")
    plain = next((n for n, each in enumerate(components) if has_wildcard(each)), None)
    if plain is None:
        yield source
        return
    caseless = isinstance(tree, CaselessTree)
    try:
        patterns = [
            compile_pattern(fold(component) if caseless else component)
            for component in components[plain:]
        ]
    except BadPatternError as error:
        raise InvalidPatternError(source) from error

    def below(path: str, depth: int) -> Iterator[str]:
        node = tree.find(path)
        if node is None or node.meta.kind != DIRECTORY:
            return
        for name, child in tree.children(path):
            if child.meta.kind != STREAM and patterns[depth].fullmatch(
                fold(name) if caseless else name
            ):
                here = join(path, name)
                if depth + 1 == len(patterns):
                    yield here
                else:
                    yield from below(here, depth + 1)

    yield from below(resolve(tree, "/".join(components[:plain])), 0)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _real_name(path: str, tree: FileTree) -> str:
    """Return the last component of a path as it is spelled in ``tree``."""
    if not isinstance(tree, CaselessTree):
        return _name(path)
    return tree.spelled(join(resolve(tree, parent(path)), _name(path)))


def _streams(path: str, tree: FileTree) -> tuple[tuple[str, Node], ...]:
    """Return the data streams of a Windows file: names and contents."""
    if not isinstance(tree, CaselessTree):
        return ()
    start = fold(f"{_name(path)}:")
    return tuple(
        (name[len(start) :], node)
        for name, node in tree.children(parent(path))
        if node.meta.kind == STREAM and fold(name).startswith(start)
    )


def _link_above(include: str, path: str, tree: FileTree) -> str:
    """Return the symlink below ``path`` that ``include`` would lead through, if it does."""
    for name in include.split("/")[:-1]:
        path = join(path, name)
        node = tree.find(path)
        if node is None:
            return ""
        if node.meta.kind == SYMLINK:
            return path
    return ""


def _in_other_case(source: str, tree: FileTree) -> str:
    """Return the path that differs from ``source`` in capital letters alone, or nothing."""
    found = ""
    for name in source.split("/"):
        folder = resolve(tree, found)
        node = tree.find(folder)
        if node is None or node.meta.kind != DIRECTORY:
            return ""
        names = [child for child, _ in tree.children(folder) if child.lower() == name.lower()]
        if not names:
            return ""
        found = join(found, name if name in names else names[0])
    return found if tree.find(resolve(tree, found)) is not None else ""


def _missing(source: str, tree: FileTree, origin: str, through: str = "") -> MissingSourceError:
    """Say what is missing, and what is there that looks like it.

    ``through`` is a symlink on the way to it, which --parents does not follow.
    """
    where, ignored = origin or "the files copied from", False
    if isinstance(tree, RememberingTree):
        where, ignored = tree.where, tree.ignores(source)
    if not ignored and next(tree.children(""), None) is None:
        where += ", which is empty"
    if through:
        return MissingSourceError(source, where, through=through)
    folder, name = parent(source), _name(source)
    found = tree.find(join(resolve(tree, folder), name))
    link = found.meta.link if found is not None and found.meta.kind == SYMLINK else ""
    if folder and tree.find(resolve(tree, folder)) is None:
        same = _in_other_case(source, tree)
        if same:
            return MissingSourceError(source, where, (same,), ignored=ignored)
    while folder and tree.find(resolve(tree, folder)) is None:
        folder, name = parent(folder), _name(folder)
    # Of the very name is a link that leads to nothing.
    options = [option for option, _ in tree.children(resolve(tree, folder)) if option != name]
    near = [option for option in options if option.lower() == name.lower()]
    if not near and (similar := suggest(name, options)):
        near.append(similar)
    return MissingSourceError(
        source, where, tuple(join(folder, option) for option in near), ignored=ignored, link=link
    )
