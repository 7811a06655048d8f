"""CVE-2022-24769 and others: capabilities that a command has or can inherit."""

import pytest

DEFAULT = 0xA80425FB


def capabilities(sandbox, **options):
    ended = sandbox.run("grep", "Cap", "/proc/self/status", **options)
    return {line.split(":")[0]: int(line.split()[1], 16) for line in ended.out.splitlines()}


def test_root_has_fourteen_and_passes_none_on(sandbox):
    assert capabilities(sandbox) == {
        "CapInh": 0,
        "CapPrm": DEFAULT,
        "CapEff": DEFAULT,
        "CapBnd": DEFAULT,
        "CapAmb": 0,
    }
    assert DEFAULT.bit_count() == 14


@pytest.mark.parametrize("user", ["app", "2000:2000"])
def test_others_have_none(sandbox, user):
    found = capabilities(sandbox, user=user)
    assert (found["CapInh"], found["CapPrm"], found["CapEff"], found["CapAmb"]) == (0, 0, 0, 0)
    assert found["CapBnd"] == DEFAULT


def test_setuid_programs_work_as_in_docker(sandbox):
    assert sandbox.run("grep", "NoNewPrivs", "/proc/self/status").out.split() == [
        "NoNewPrivs:",
        "0",
    ]


def test_no_capability_comes_back(sandbox):
    program = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
ambient, raise_one = 47, 2
print(libc.prctl(ambient, raise_one, 21, 0, 0), libc.unshare(0x10000000), libc.unshare(0x20000))
"""
    assert sandbox.python(program).out == "-1 -1 -1\n"
