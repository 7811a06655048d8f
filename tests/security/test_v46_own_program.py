"""CVE-2019-5736, CVE-2016-9962: an image gets hold of the program that starts its commands."""

import pytest

REFUSED = "permission denied"


@pytest.mark.parametrize("path", ["/proc/self/exe", "/proc/1/exe", "/proc/self/fd/3", "/link"])
def test_own_program_is_no_command(sandbox, path):
    root = sandbox.root()
    sandbox.sh("ln -s /proc/self/exe /link", root=root)
    ended = sandbox.run(path, "-c", "print(1)", root=root)
    assert ended.code in {126, 127}
    assert ended.out == ""


@pytest.mark.parametrize("user", ["", "app"])
@pytest.mark.parametrize("mode", ["755", "111"])
@pytest.mark.parametrize("interpreter", ["/proc/self/exe", "/link", "/bin/script2"])
def test_own_program_is_no_interpreter(sandbox, user, mode, interpreter):
    root = sandbox.root()
    sandbox.sh(
        "ln -s /proc/self/exe /link;"
        "printf '#!/proc/self/exe\\n' > /bin/script2; chmod 755 /bin/script2;"
        f"printf '#!{interpreter}\\nprint(open(\"/proc/self/exe\"))\\n' > /bin/script; chmod {mode} /bin/script",
        root=root,
    )
    for command in ("/bin/script", "script"):
        ended = sandbox.run(command, root=root, user=user, env=("PATH=/bin",))
        assert ended.code == 126
        assert REFUSED in ended.err


def test_process_one_is_the_images_program(sandbox):
    assert sandbox.sh("readlink /proc/1/exe").out == "/bin/busybox\n"


def test_nothing_of_the_builder_can_be_traced(sandbox):
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
attach = 16
print(sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()))
print([libc.ptrace(attach, pid, 0, 0) for pid in range(2, 300)].count(0))
"""
    assert sandbox.python(program).out == "[1]\n0\n"
