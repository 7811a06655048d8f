"""CVE-2022-0185 and others: system calls that slip past a filter."""

import errno
import platform

import pytest

CALL = """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    print(ctypes.get_errno() if result < 0 else "done")
"""

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers are of x86_64")


def answers(sandbox, *calls):
    program = CALL + "".join(f"call({', '.join(map(str, call))})\n" for call in calls)
    return [int(word) if word.isdecimal() else word for word in sandbox.python(program).out.split()]


def test_x32_calls_do_not_exist(sandbox):
    x32 = 0x40000000
    assert (
        answers(sandbox, (x32 | 39,), (x32 | 272, 0x10000000), (x32 | 165,)) == [errno.ENOSYS] * 3
    )


def test_clone3_and_calls_from_the_future_do_not_exist(sandbox):
    assert answers(sandbox, (435, 0, 0), (467,), (500,), (100000,)) == [errno.ENOSYS] * 4


@pytest.mark.parametrize(
    ("name", "call"),
    {
        "io_uring_setup": (425, 1, 0),
        "unshare": (272, 0x10000000),
        "setns": (308, 0, 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "umount2": (166, 0, 0),
        "pivot_root": (155, 0, 0),
        "open_tree": (428, -100, 0, 1),
        "fsopen": (430, 0, 0),
        "bpf": (321, 0, 0, 0),
        "userfaultfd": (323, 0),
        "perf_event_open": (298, 0, 0, 0, 0, 0),
        "open_by_handle_at": (304, -100, 0, 0),
        "kexec_load": (246, 0, 0, 0, 0),
        "reboot": (169, 0, 0, 0, 0),
        "init_module": (175, 0, 0, 0),
        "clone with a user namespace": (56, 0x10000011, 0, 0, 0, 0),
        "personality without randomization": (135, 0x0040000),
        "socket of AF_ALG": (41, 38, 5, 0),
        "socket of AF_VSOCK": (41, 40, 1, 0),
        "swapon": (167, 0, 0),
        "iopl": (172, 3),
        "quotactl": (179, 0, 0, 0, 0),
    }.items(),
)
def test_refused(sandbox, name, call):
    assert answers(sandbox, call) == [errno.EPERM]


I386 = """
import ctypes, mmap
# push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; pop rbx; ret
code = bytes.fromhex("5389f889f389d1cd805bc3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)
print(call(20, 0, 0))
for number, *arguments in (310, 0x10000000, 0), (288, 0, 0), (21, 0, 0), (359, 40, 1), (435, 0, 0):
    print(-call(number, *arguments))
"""


def test_calls_of_the_32_bit_table_are_filtered_too(sandbox):
    ended = sandbox.python(I386)
    if ended.signal or ended.code == 139:
        pytest.skip("this kernel has no 32-bit calls")
    getpid, unshare, keyctl, mount, socket, clone3 = map(int, ended.out.split())
    assert getpid == 1
    assert (unshare, keyctl, mount, socket) == (errno.EPERM,) * 4
    assert clone3 == errno.ENOSYS


def test_filter_cannot_be_taken_off(sandbox):
    ended = sandbox.run("grep", "Seccomp:", "/proc/self/status", user="app")
    assert ended.out.split() == ["Seccomp:", "2"]
