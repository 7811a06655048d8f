"""The programs of Wine steps are what their sources say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from windowsprograms import COMPILER

from wcbuild.sandbox.wine import launcher
from wcbuild.sandbox.wine.environment import environment, folders

ROOT = Path(__file__).parents[4]


def test_committed_programs_are_compiled_from_their_sources(tmp_path):
    for compiler in (COMPILER, "x86_64-linux-gnu-gcc"):
        if not shutil.which(compiler):
            pytest.skip("needs gcc-mingw-w64-x86-64 and gcc")
        version = subprocess.run(
            [compiler, "-dumpversion"], capture_output=True, text=True, check=True
        )
        if not version.stdout.startswith("12"):
            pytest.skip("other compilers give other bytes")
    subprocess.run([ROOT / "scripts/wine-programs", tmp_path], check=True)
    assert (tmp_path / "launcher.exe").read_bytes() == launcher.program()
    assert (tmp_path / "renames.so").read_bytes() == launcher.renames()


def test_job_is_three_texts():
    job = launcher.encode_job("C:\\x", "cmd /C ä", {"b": "2", "A": "1"}).decode("utf-16-le")
    assert job == "C:\\x\0cmd /C ä\0A=1\0b=2\0\0"


def test_environment_has_one_variable_whatever_the_case():
    values = environment(
        "Me",
        ["PATH=C:\\x", "path=C:\\y", "New=1", "NEW=2", "WINEDEBUG=+all", "odd"],
        {"TEMP": "C:\\t"},
    )
    assert (values["Path"], values["New"], values["TEMP"]) == ("C:\\y", "2", "C:\\t")
    assert not {"PATH", "path", "NEW", "WINEDEBUG", "odd"} & values.keys()
    assert values["USERPROFILE"] == "C:\\Users\\Me"


def test_folders_of_a_user_are_those_that_the_environment_names():
    values = environment("Me", [], {})
    for name in ("ProgramData", "PUBLIC", "APPDATA", "TEMP", "CommonProgramFiles"):
        assert values[name].removeprefix("C:\\") in folders("Me")
