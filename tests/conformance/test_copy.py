"""COPY and ADD: the whole tree afterwards, and modes."""

import gzip
import io
import tarfile

from memorytree import OLD, MemoryTree, content, fifo, file, folder, link

from wcbuild.errors import WcbuildError
from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, FIFO, FILE, SYMLINK, HostFile
from wcbuild.tree import chmod, place
from wcbuild.tree.errors import InvalidModeError

KINDS = {FILE: "file", DIRECTORY: "dir", SYMLINK: "symlink", FIFO: "p---------"}
NOW = 1_700_000_000


def archive(path):
    out = io.BytesIO()
    with tarfile.open(path, "w", fileobj=out, format=tarfile.PAX_FORMAT) as tar:
        for name, kind, mode, data in (
            ("td/", tarfile.DIRTYPE, 0o750, b""),
            ("td/in", tarfile.REGTYPE, 0o640, b"hi"),
            ("td/ln", tarfile.SYMTYPE, 0o777, b""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.mtime = kind, mode, len(data), OLD
            info.uid, info.gid, info.linkname = 7, 8, "in" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def build(spec, folder_path):
    """Return the tree that a table's lines describe; archives lie in real files."""
    nodes = {}
    for line in spec:
        letter, path, *rest = line.split(" ")
        mode = int(rest[0], 8) if rest and letter in "df" else 0o644
        uid, gid = map(int, rest[1].split(":")) if len(rest) > 1 else (0, 0)
        match letter:
            case "d":
                nodes[path] = folder(mode, uid, gid)
            case "f":
                nodes[path] = file(rest[2] if len(rest) > 2 else path, mode, uid, gid)
            case "l":
                nodes[path] = link(rest[0])
            case "h":
                nodes[path] = nodes[rest[0]]
            case "p":
                nodes[path] = fifo()
            case "t" | "z":
                data = archive(path) if letter == "t" else gzip.compress(archive(path), mtime=0)
                (folder_path / path).write_bytes(data)
                node = file(data)
                nodes[path] = node._replace(content=HostFile(folder_path / path))
    return MemoryTree(nodes)


def describe(tree):
    """Return what the tables say of a tree, as far as it does not depend on the machine."""
    found = {}
    for path, node in tree.nodes.items():
        if not path:
            continue
        meta = node.meta
        value = {"type": KINDS[meta.kind], "own": f"{meta.uid}:{meta.gid}", "mtime": meta.mtime}
        if meta.kind == SYMLINK:
            value["link"] = meta.link
        else:
            value["mode"] = f"{meta.mode:04o}"
        if meta.kind == FILE:
            value["content"] = content(node)
        found[path] = value
    return found


def unlike(expected, got):
    """Return the paths on which a table's result and ours differ."""
    paths = {each["path"] for each in expected} ^ set(got)
    return sorted(paths) or [each["path"] for each in expected if differs(each, got[each["path"]])]


def differs(expected, ours):
    same = [ours.get(key) == expected.get(key) for key in ("type", "own", "link")]
    if "mode" in expected:
        same.append(ours["mode"] == expected["mode"])
    if expected.get("mtime") == "source":
        same.append(ours["mtime"] == OLD)
    if "content" in expected and not expected["path"].endswith(
        "arc.bin"
    ):  # which has our own bytes
        same.append(ours["content"].decode() == expected["content"])
    return not all(same)


def test_copy_and_add(tables, measure, tmp_path):
    table = tables("copy_fs_oracle")
    source = build(table["source_tree_spec"], tmp_path)
    below = build(table["dest_tree_spec"], tmp_path)
    numbers = iter(range(1000))

    def check(case):
        include = case.get("parents_include")
        src = case["src"].strip("/")
        parts = src.split("/")
        clean = "/".join(
            p for n, p in enumerate(parts) if p != ".." and ".." not in parts[n + 1 : n + 2]
        )
        op = CopyOp(
            sources=tuple(f"{src}/./{each}" for each in include) if include else (clean,),
            dest=case["dest"],
            chown=case.get("chown", ""),
            chmod=case.get("chmod", ""),
            unpack=case["op"] == "ADD",
            parents=bool(include),
            exclude=tuple(case.get("exclude", ())),
            link=bool(case.get("scratch_dest")),
            keep_owner=True,
        )
        tree = MemoryTree() if op.link else below
        try:
            changes = place.copy(
                op, tree, source, mtime=NOW, scratch=lambda: tmp_path / f"spool{next(numbers)}"
            )
        except WcbuildError as error:
            return None if "err" in case else f"{case['id']}: {error}"
        if "err" in case:
            return f"{case['id']}: expected {case['err']}"
        wrong = unlike(case["result"], describe(tree.applied(changes)))
        return f"{case['id']}: {wrong}" if wrong else None

    measure("copy_fs_oracle", table["cases"], check, floor=54)


def test_symbolic_modes(tables, measure):
    def check(case):
        try:
            mode = chmod.change(case["expr"], int(case.get("mode", "0"), 8), is_directory=False)
            got = f"{mode:04o}"
        except InvalidModeError:
            got = None
        return None if got == case.get("result") else f"{case}: {got}"

    # What was recorded of `=X` and `-X` is not what BuildKit does: docs/adr/0015.
    records = tables("chmod_symbolic")
    measure("chmod_symbolic", records, check, floor=250)
