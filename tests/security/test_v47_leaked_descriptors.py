"""CVE-2024-21626: a working directory that is a descriptor of the host's."""

from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(16))
def test_working_directory_is_no_descriptor(sandbox, number):
    root = sandbox.root()
    for cwd in (f"/proc/self/fd/{number}", f"/proc/1/fd/{number}/.."):
        ended = sandbox.sh("ls; pwd", cwd=cwd, root=root)
        assert 'working directory "/proc' in ended.error
    # Not even the name of a directory of the host got in.
    assert [path.name for path in Path(root["upper"]).rglob("*")] in ([], ["etc"])


@pytest.mark.parametrize("link", ["root", "cwd"])
def test_working_directory_is_no_link_of_proc(sandbox, link):
    assert "too many levels" in sandbox.run("true", cwd=f"/proc/self/{link}/tmp").error


def test_link_in_the_image_makes_no_difference(sandbox):
    root = sandbox.root()
    sandbox.sh("ln -s /proc/self/fd /work", root=root)
    for number in range(16):
        assert sandbox.run("true", cwd=f"/work/{number}", root=root).error


def test_every_descriptor_is_closed(sandbox):
    program = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
    # The fourth is the listing itself.
    assert sandbox.python(program).out == "[0, 1, 2, 3]\n"


def test_going_up_ends_at_the_root(sandbox):
    program = """
import os
os.chdir("/" + "../" * 50)
print(os.getcwd(), os.path.samefile("/", "."))
"""
    assert sandbox.python(program).out == "/ True\n"


def test_chroot_does_not_lead_out(sandbox):
    # The classic: change root below, stay above, climb.
    program = """
import os
os.mkdir("/jail")
handle = os.open("/", os.O_RDONLY)
os.chroot("/jail")
os.fchdir(handle)
for _ in range(50):
    os.chdir("..")
os.chroot(".")
print(open("/proc/1/mountinfo").read().split()[4], os.path.exists("/boot"))
"""
    assert sandbox.python(program).out == "/ False\n"
