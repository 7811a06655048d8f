"""V11, CVE-2025-4517 and kin: paths so long that a checker's `realpath` gives up where the kernel does not."""

import subprocess
import sys
from pathlib import Path

from rawtar import DIRECTORY, HARDLINK, SYMLINK, entry, pax

SOURCES = [Path(__file__).parents[2] / package for package in ("wcbuild", "registry")]


def test_deep_directories_and_long_symlinks_do_not_lead_out(root, canary, unpack):
    component = "d" * 247
    parts, path = [], ""
    for step in "abcdefghijklmnop":  # each link is one letter that stands for 247
        parts += [pax(path=f"{path}{component}/"), entry("x", kind=DIRECTORY)]
        parts += [pax(path=f"{path}{step}", linkpath=component), entry("x", kind=SYMLINK)]
        path += f"{step}/"
    long_link = f"{path}{'l' * 254}"
    parts += [pax(path=long_link, linkpath="../" * 16), entry("x", kind=SYMLINK)]
    out = f"{long_link}/../../../../../../..{canary.path}"
    parts += [pax(linkpath=out), entry("escape", kind=SYMLINK)]
    assert "is not there" in unpack(*parts, entry("flag", kind=HARDLINK, link="escape/f"))
    assert "symlink to nowhere" in unpack(*parts, entry("escape/new", b"owned"))


def test_our_code_has_no_use_of_tarfile_and_its_kin():
    found = [
        f"{path}: {line}"
        for package in SOURCES
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if "import tarfile" in line or "extractall(" in line or "unpack_archive(" in line
    ]
    assert found == []


def test_reading_layers_does_not_load_tarfile():
    code = (
        "import sys, wcbuild.layer.apply, wcbuild.layer.scan, wcbuild.layer.pack\n"
        "assert not {'tarfile', 'shutil', 'tempfile'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
