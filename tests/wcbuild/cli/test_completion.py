"""What a shell completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PRESS_TAB = """
. ../completion
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete wcbuild
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def press_tab(wcbuild, place, tmp_path):
    """Complete a line where there are two folders and a store with one image; return the words."""
    wcbuild("copy", place("one"), "store:team/app:1")
    (tmp_path / "completion").write_text(wcbuild("completion", "bash").out)
    for name in ("context", "other"):
        (tmp_path / "here" / name).mkdir(parents=True)
    (tmp_path / "here" / "context" / "Dockerfile").touch()

    def complete(line: str) -> set[str]:
        done = subprocess.run(
            [shutil.which("bash"), "-c", PRESS_TAB, "bash", line],
            cwd=tmp_path / "here",
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "WCBUILD_ROOT": str(tmp_path / "store"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return {word.rstrip() for word in done.stdout.splitlines()}

    return complete


def test_the_first_word_is_a_command_or_a_folder(press_tab):
    assert {"build", "verify-attestation", "context/", "other/"} <= press_tab("wcbuild ")
    assert press_tab("wcbuild pu") == {"pull", "push"}


def test_flags_are_those_of_the_command_that_is_meant(press_tab):
    assert press_tab("wcbuild --debug images --di") == {"--digests"}
    assert press_tab("wcbuild context --tar") == {"--target"}


def test_values_are_what_is_allowed_or_what_is_there(press_tab):
    assert press_tab("wcbuild --network ") == {"default", "host", "none"}
    assert press_tab("wcbuild manifest g") == {"get"}
    assert press_tab("wcbuild -f context/") == {"context/Dockerfile"}
    assert press_tab("wcbuild rmi team/app:1 te") == {"team/app:1"}


def test_completing_makes_no_store(press_tab, tmp_path):
    shutil.rmtree(tmp_path / "store")
    press_tab("wcbuild push ")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(wcbuild, shell):
    assert "wcbuild" in wcbuild("completion", shell).out
