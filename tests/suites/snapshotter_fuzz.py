"""Random commands: what a snapshotter says that they changed must make the old tree the new one."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import snapshotter_suite as suite

from wcbuild.layer.changes import DIRECTORY, HARDLINK, SYMLINK, Change
from wcbuild.snapshot.base import Snapshotter

STEPS = 4
COMMANDS = 12

Tree = dict[str, tuple[str, int, str]]


def run(snapshots: Snapshotter, seed: int) -> list[dict[str, str]]:
    """Run some steps of random commands; return the changes of each as `describe` tells them."""
    chance = random.Random(seed)
    snapshot = None
    steps = []
    for step in range(STEPS):
        snapshot = snapshots.prepare(snapshot)
        with snapshots.mounted(snapshot) as root:
            before = read(root)
            for _ in range(COMMANDS):
                # Much of what chance proposes is impossible.
                with contextlib.suppress(OSError, shutil.Error):
                    act(root, chance, linking=step == STEPS - 1)
            suite.settle(root)
            after = read(root)
        changes = list(snapshots.changes(snapshot))
        got = applied(before, changes)
        got["."] = after["."]
        assert got == after, f"seed {seed} step {step}: {changes}"
        steps.append(suite.describe(changes))
    return steps


def act(root: Path, chance: random.Random, *, linking: bool) -> None:
    paths = sorted(walk(root))
    at, other = chance.choice(paths), chance.choice(paths)
    new = chance.choice(paths) / chance.choice("abc")
    is_file = at.is_file() and not at.is_symlink()
    match chance.randrange(9):
        case 0:
            suite.write(new, chance.choice("xy"), suite.OLD)
        case 1 if is_file:
            suite.write(at, chance.choice("xy"), suite.OLD)
        case 2 if at != root:
            shutil.rmtree(at) if at.is_dir() and not at.is_symlink() else os.unlink(at)
        case 3:
            new.mkdir()
        case 4 if at != root and not os.path.lexists(new):
            suite.move(at, new)
        case 5 if is_file or at.is_symlink():
            os.replace(at, other)
        case 6 if is_file or at.is_dir():
            os.chmod(at, chance.choice((0o644, 0o755)))
        case 7:
            os.symlink(chance.choice("ab"), new)
        # Overlays have their own idea of a parent's file that has several names.
        case 8 if is_file and linking:
            os.link(at, new)


def walk(root: Path) -> Iterator[Path]:
    yield root
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            yield Path(directory, name)


def read(root: Path) -> Tree:
    tree = {}
    for path in sorted(walk(root)):
        name = str(path.relative_to(root))
        if path.is_symlink():
            tree[name] = (SYMLINK, 0, os.readlink(path))
        else:
            data = "" if path.is_dir() else path.read_text()
            tree[name] = (DIRECTORY if data == "" else "f", path.stat().st_mode & 0o7777, data)
    return tree


def applied(before: Tree, changes: Iterable[Change]) -> Tree:
    tree = dict(before)

    def drop(path: str) -> None:
        for each in [each for each in tree if each == path or each.startswith(f"{path}/")]:
            del tree[each]

    for change in sorted(changes, key=lambda change: (change.meta is not None, change.path)):
        path, meta = change.path or ".", change.meta
        if meta is None:
            drop(path)
            continue
        if meta.kind != DIRECTORY or tree.get(path, DIRECTORY)[0] != DIRECTORY:
            drop(path)
        if meta.kind == HARDLINK:
            tree[path] = tree[meta.link]
        else:
            data = Path(change.content.path).read_text() if change.content else meta.link
            tree[path] = (meta.kind, 0 if meta.kind == SYMLINK else meta.mode, data)
    return tree
