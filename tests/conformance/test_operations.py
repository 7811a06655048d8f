"""What whole Dockerfiles do: the copies, directories and commands that BuildKit lowers them to."""

import base64
import stat
from collections import Counter

import pytest
from recordings import edge_cases, integration, lowered

from registry.errors import RegistryError
from wcbuild.errors import WcbuildError
from wcbuild.graph.ops import CopyOp, HttpOp, JoinedCopyOp, MkdirOp, MountKind, RunOp

DEFAULT_SHM_SIZE = 64 << 20


def check_operations(recording):
    """Compare what is done, whatever the order: steps of independent stages have none."""
    try:
        ours = [
            each
            for platform in recording.platforms
            for each in our_operations(lowered(recording, platform).graph)
        ]
    except (WcbuildError, RegistryError) as error:
        return f"{recording.dockerfile!r}\n      refused: {error}"
    # One graph for all platforms: what several do alike stands there once.
    ours, theirs = Counter(set(ours)), Counter(set(their_operations(recording.outcome["llb"])))
    if ours == theirs:
        return None
    missing, extra = list(theirs - ours), list(ours - theirs)
    return f"{recording.name} {recording.dockerfile!r} {recording.attrs}\n      missing {missing}\n      extra   {extra}"


# -- ours


def our_operations(graph):
    for step in graph.steps:
        match step.op:
            case CopyOp() as op if step.label.startswith("load "):
                pass  # what a mount shows; BuildKit mounts the context itself
            case CopyOp() as op:
                yield from our_copies(op)
            case JoinedCopyOp() as op:
                for part in op.parts:
                    yield from our_copies(part)
            case HttpOp() as op:
                yield ("http", op.url, op.name, op.checksum)
            case MkdirOp() as op:
                yield ("mkdir", op.path, "755", our_owner(op.owner))
            case RunOp() as op:
                yield (
                    "run",
                    op.args,
                    op.env,
                    op.cwd,
                    op.user,
                    str(op.network),
                    op.insecure,
                    our_mounts(op),
                )


def our_copies(op):
    owner, mode = our_owner(op.chown), op.chmod.lstrip("0")
    exclude = tuple(op.exclude)
    for source in op.sources:
        base, include = source, ()
        if op.parents:
            base, pivot, pattern = source.partition("/./")
            include = (pattern if pivot else source,)
            base = base if pivot else ""
        yield ("copy", f"/{base}", op.dest, owner, mode, op.unpack, include, exclude)
    for file in op.inline:
        yield ("file", file.name, file.data, op.dest, owner, mode)


def our_owner(text):
    user, _, group = text.partition(":")
    if user == group and user.isdigit():
        group = ""
    return (user.lstrip("0") or ("0" if user else ""), group)


def our_mounts(op):
    found = [
        (str(mount.kind), mount.target, mount.read_only)
        for mount in op.mounts
        if mount.kind in (MountKind.BIND, MountKind.CACHE, MountKind.TMPFS)
    ]
    if op.shm_size != DEFAULT_SHM_SIZE:
        found.append(("tmpfs", "/dev/shm", False))
    if op.inline:
        found.append(("bind", "/dev/pipes", True))
    return tuple(sorted(found))


# -- theirs


def their_operations(llb):
    for group in llb:
        by_digest = {vertex["digest"]: vertex["op"] for vertex in group}
        for vertex in group:
            op = vertex["op"]
            if op.get("source", {}).get("identifier", "").startswith("http"):
                attrs = op["source"].get("attrs", {})
                checksum = attrs.get("http.checksum", "")
                yield ("http", op["source"]["identifier"], attrs["http.filename"], checksum)
            elif "exec" in op:
                yield their_run(op["exec"])
            elif "file" in op and not vertex.get("desc", {}).get("llb.customname", "").startswith(
                "[internal]"
            ):
                yield from their_files(op, by_digest)


def their_run(exec_):
    meta = exec_["meta"]
    mounts = [
        (
            mount.get("mountType", "BIND").lower(),
            mount["dest"].rstrip("/"),
            mount.get("readonly", False),
        )
        for mount in exec_.get("mounts", [])
        if mount["dest"] != "/" and mount.get("mountType", "BIND") in ("BIND", "CACHE", "TMPFS")
    ]
    return (
        "run",
        tuple(meta["args"]),
        tuple(meta.get("env", ())),
        meta["cwd"],
        meta.get("user", ""),
        {"NONE": "none", "HOST": "host"}.get(exec_.get("network"), "default"),
        exec_.get("security") == "INSECURE",
        tuple(sorted(mounts)),
    )


def their_files(op, by_digest):
    for action in op["file"]["actions"]:
        if "mkdir" in action:
            mkdir = action["mkdir"]
            yield ("mkdir", mkdir["path"], f"{mkdir['mode']:o}", their_owner(mkdir.get("owner")))
        elif "copy" in action:
            copy = action["copy"]
            mode = copy.get("modeStr") or (
                "" if copy.get("mode", -1) == -1 else f"{stat.S_IMODE(copy['mode']):o}"
            )
            owner = their_owner(copy.get("owner"))
            made = written(action, op, by_digest)
            if made is not None:
                yield ("file", copy["src"].lstrip("/"), made, copy["dest"], owner, mode)
                continue
            yield (
                "copy",
                copy["src"],
                copy["dest"],
                owner,
                mode,
                copy.get("attemptUnpackDockerCompatibility", False),
                tuple(copy.get("includePatterns", ())),
                tuple(copy.get("excludePatterns", ())),
            )


def written(action, op, by_digest):
    """Return what a heredoc said, if that is what an action copies."""
    index = int(action.get("secondaryInput", 0))
    inputs = op.get("inputs", [])
    if index >= len(inputs):
        made = op["file"]["actions"][index - len(inputs)]
    else:
        below = by_digest[inputs[index]["digest"]].get("file", {"actions": [{}]})
        made = below["actions"][0] if len(below["actions"]) == 1 else {}
    if "mkfile" not in made or made["mkfile"]["path"] != action["copy"]["src"]:
        return None
    return base64.b64decode(made["mkfile"].get("data", "")).decode()


def their_owner(owner):
    def name(part):
        if not part:
            return ""
        return part["byName"]["name"] if "byName" in part else str(part["byID"])

    owner = owner or {}
    user, group = name(owner.get("user")), name(owner.get("group"))
    return (user, "" if user == group and user.isdigit() else group)


@pytest.mark.parametrize(
    ("name", "build_platform", "floor"),
    [
        ("oracle_edge_cases", "linux/amd64", 97),
        ("integration_unix", "linux/amd64", 85),
        ("integration_windows", "windows/amd64", 55),
    ],
)
def test_does_what_was_recorded(tables, measure, name, build_platform, floor):
    if name == "oracle_edge_cases":
        recordings = edge_cases(tables)
    else:
        recordings = integration(tables, name, build_platform)
    builds = [each for each in recordings if each.outcome.get("llb") and not each.error]
    measure(f"{name} (operations)", builds, check_operations, floor=floor)
