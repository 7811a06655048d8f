"""The arrows of docs/design.md: a module imports lower floors, or its own folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = (
    # Lowest first. A module belongs to the longest name here that is a prefix of its own;
    # what stands on one floor does not know its neighbours.
    ("registry.errors", "wcbuild.errors"),
    (
        "registry.oci",
        "registry.files",
        "registry.failpoints",
        "registry.tarheaders",
        "registry.streams",
        "registry.threads",
        "wcbuild.kernel",
        "wcbuild.sizes",
        "wcbuild.csvfields",
    ),
    ("registry.reference", "registry.compress", "wcbuild.dockerfile.source", "wcbuild.overlayfs"),
    ("registry.store", "wcbuild.graph"),
    ("registry.blobs", "registry.image", "wcbuild.layer", "wcbuild.dockerfile"),
    ("registry.referrers",),
    ("registry.layout", "registry.memory", "wcbuild.outputs"),
    ("registry.archive", "registry.remote", "registry.sign"),
    ("registry.copy", "registry.index", "wcbuild.sandbox", "wcbuild.tree", "wcbuild.store"),
    ("registry.transfer", "registry.attach"),
    (
        "registry.server",
        "wcbuild.snapshot",
        "wcbuild.context",
        "wcbuild.machine",
        "wcbuild.access",
        "wcbuild.annotations",
        "wcbuild.interrupts",
    ),
    ("wcbuild.dockerfile.lower", "wcbuild.solve", "wcbuild.assemble", "wcbuild.windows_host"),
    (
        "wcbuild.bases",
        "wcbuild.export",
        "wcbuild.images",
        "wcbuild.squash",
        "wcbuild.collect",
        "wcbuild.usage",
        "wcbuild.windowsruns",
        "wcbuild.buildplan",
        "wcbuild.dockerfile.lint",
        "wcbuild.inputs",
    ),
    ("wcbuild.places", "wcbuild.pin", "wcbuild.remotecache"),
    ("wcbuild.difference", "wcbuild.sync"),
    ("wcbuild.request", "wcbuild.dockerfile.outline"),
    ("wcbuild.builder", "wcbuild.calls"),
    ("wcbuild.worker",),
    ("wcbuild",),
    ("wcbuild.cli",),
    ("wcbuild.__main__",),
)
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}

# Each costs a start-up more than a whole cached build may take in Python, so it is imported where
# it is used. What MAY_BE_HEAVY is itself such an import.
HEAVY = {
    *("asyncio", "bcrypt", "cheroot", "concurrent", "cryptography", "dockerfile_parse", "email"),
    *(
        "http",
        "isal",
        "jwt",
        "requests",
        "shutil",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "tqdm",
        "urllib",
        "urllib3",
    ),
    *("yaml", "zstandard"),
}
MAY_BE_HEAVY = ("registry.remote", "registry.server", "wcbuild.worker")


def modules() -> dict[str, Path]:
    paths = [path for name in ("registry", "wcbuild") for path in (ROOT / name).rglob("*.py")]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


MODULES = modules()
TREES = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}


def imports(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    """Yield the full names that a module imports; what only type checkers see is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif not (top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(node, top_level=top_level)


def place(module: str) -> str:
    """Return the name in FLOORS that ``module`` belongs to."""
    parts = module.split(".")
    candidates = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    found = next((name for name in candidates if name in HEIGHT), None)
    if found is None or (found == "wcbuild" and module != "wcbuild"):
        pytest.fail(f"{module} has no floor: give it one in tests/test_imports.py")
    return found


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"registry"}))
def test_imports_only_what_lies_lower(module):
    mine = place(module)
    for imported in imports(TREES[module]):
        if imported.split(".")[0] not in ("registry", "wcbuild") or imported == "registry":
            continue
        theirs = place(imported)
        assert theirs == mine or HEIGHT[theirs] < HEIGHT[mine], f"{module} imports {imported}"


def test_registry_has_never_heard_of_a_dockerfile():
    for module, tree in TREES.items():
        if module.startswith("registry"):
            assert not [name for name in imports(tree) if name.startswith("wcbuild")], module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_starting_stays_cheap(module):
    if not module.startswith(MAY_BE_HEAVY):
        heavy = {name.split(".")[0] for name in imports(TREES[module], top_level=True)} & HEAVY
        assert not heavy, f"import {', '.join(sorted(heavy))} in the function that needs it"


def test_the_tar_code_is_ours():
    for module, tree in TREES.items():
        assert "tarfile" not in set(imports(tree)), module


def test_nobody_prints_but_the_command_line():
    for module, tree in TREES.items():
        if not module.startswith("wcbuild.cli"):
            called = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert "print" not in called, module
