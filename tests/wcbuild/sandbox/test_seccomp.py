"""Filters, executed in an interpreter of classic BPF."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from wcbuild.sandbox import seccomp, syscalls

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
COLUMNS = {X86_64: 1, I386: 2, AARCH64: 3, ARM: 4}
MACHINES = {X86_64: "x86_64", I386: "x86_64", AARCH64: "aarch64", ARM: "aarch64"}


def numbers(architecture: int) -> dict[str, int]:
    rows = [line.split() for line in syscalls.TABLE.splitlines()[1:]]
    column = COLUMNS[architecture]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def execute(program: bytes, architecture: int, number: int, arguments=()) -> object:
    """Run a filter; return "allow", "kill" or the errno that the call is answered with."""
    arguments = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    instructions = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        operation, if_true, if_false, operand = instructions[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x05:
                position += operand
            case 0x54:
                accumulator &= operand
            case 0x15 | 0x35 | 0x45:
                holds = {
                    0x15: accumulator == operand,
                    0x35: accumulator >= operand,
                    0x45: accumulator & operand != 0,
                }[operation]
                position += if_true if holds else if_false
            case 0x06:
                if operand == 0x7FFF0000:
                    return "allow"
                if operand == 0x80000000:
                    return "kill"
                assert operand & 0xFFFF0000 == 0x00050000
                return operand & 0xFFFF
            case _:
                pytest.fail(f"no such operation: {operation:#x}")


def decide(architecture, name, arguments=(), *, default=True, fake_root=False):
    program = seccomp.compile_filter(MACHINES[architecture], default=default, fake_root=fake_root)
    number = name if isinstance(name, int) else numbers(architecture)[name]
    return execute(program, architecture, number, arguments)


ARCHITECTURES = pytest.mark.parametrize(
    "architecture", COLUMNS, ids=["x86_64", "i386", "aarch64", "arm"]
)


@ARCHITECTURES
def test_every_number_gets_the_decision_of_the_table(architecture):
    table = {number: name for name, number in numbers(architecture).items()}
    special = syscalls.ARGUMENTS_DECIDE | syscalls.ANSWERED_ENOSYS | syscalls.FORBIDDEN
    for number in (*range(700), *range(0xF0000, 0xF0010)):
        name = table.get(number)
        if name is not None and name not in special:
            expected = "allow"
        elif name in syscalls.ANSWERED_ENOSYS or (name is None and number > syscalls.NEWEST):
            expected = errno.ENOSYS
        elif name in syscalls.ARGUMENTS_DECIDE:
            continue
        else:
            expected = errno.EPERM
        assert decide(architecture, number) == expected, (number, name)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("mount", 165),
        ("ptrace", 101),
        ("unshare", 272),
        ("setns", 308),
        ("bpf", 321),
        ("io_uring_setup", 425),
        ("add_key", 248),
        ("request_key", 249),
        ("keyctl", 250),
        ("userfaultfd", 323),
        ("perf_event_open", 298),
        ("open_by_handle_at", 304),
        ("reboot", 169),
        ("init_module", 175),
        ("kexec_load", 246),
        ("swapon", 167),
    ],
)
def test_dangerous_calls_are_refused(name, number):
    assert decide(X86_64, number) == ("allow" if name == "ptrace" else errno.EPERM)


def test_unknown_architectures_are_killed():
    program = seccomp.compile_filter("x86_64", default=True, fake_root=False)
    assert execute(program, AARCH64, 0) == "kill"


@pytest.mark.parametrize("number", [0x40000000, 0x40000000 | 39, 0x40000200, 0xFFFFFFFF])
def test_x32_does_not_exist(number):
    assert decide(X86_64, number) == errno.ENOSYS
    assert decide(X86_64, number, default=False, fake_root=True) == errno.ENOSYS


@ARCHITECTURES
@pytest.mark.parametrize(
    ("persona", "decision"),
    [
        (0, "allow"),
        (8, "allow"),
        (131072, "allow"),
        (131080, "allow"),
        (4294967295, "allow"),
        (262144, errno.EPERM),
        (1, errno.EPERM),
        (4194304, errno.EPERM),
    ],
)
def test_personality(architecture, persona, decision):
    assert decide(architecture, "personality", (persona,)) == decision


@ARCHITECTURES
@pytest.mark.parametrize(
    "flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_clone_makes_no_namespaces(architecture, flag):
    assert decide(architecture, "clone", (flag | 17,)) == errno.EPERM
    threads = 0x3D0F00
    assert decide(architecture, "clone", (threads,)) == "allow"


@ARCHITECTURES
def test_socket_families(architecture):
    refused = {
        family
        for family in range(60)
        if decide(architecture, "socket", (family, 1, 0)) == errno.EPERM
    }
    assert refused == {12, 19, 20, 23, 25, 34, 37, 38, 40, *range(46, 60)}


@ARCHITECTURES
def test_fake_root_answers_ownership_with_success(architecture):
    for name, number in numbers(architecture).items():
        if name in syscalls.OWNERSHIP:
            assert decide(architecture, number, fake_root=True) == 0, name
            assert decide(architecture, number, default=False, fake_root=True) == 0, name
            assert decide(architecture, number) == "allow", name


@ARCHITECTURES
@pytest.mark.parametrize(
    ("mode", "decision"),
    [(0o020666, 0), (0o060600, 0), (0o010644, "allow"), (0o100644, "allow"), (0o644, "allow")],
    ids=["character", "block", "fifo", "file", "plain"],
)
def test_fake_root_makes_no_devices(architecture, mode, decision):
    assert decide(architecture, "mknodat", (0, 0, mode, 0x103), fake_root=True) == decision
    if "mknod" in numbers(architecture):
        assert decide(architecture, "mknod", (0, mode, 0x103), fake_root=True) == decision


def test_fake_root_alone_forbids_nothing():
    for name in ("keyctl", "clone3"):
        assert decide(X86_64, name, default=False, fake_root=True) == "allow"
    assert decide(X86_64, 165, default=False, fake_root=True) == "allow"


def test_jumps_stay_inside_the_program():
    for machine in ("x86_64", "aarch64"):
        program = seccomp.compile_filter(machine, default=True, fake_root=True)
        instructions = list(struct.iter_unpack("=HBBI", program))
        assert len(instructions) < 4096, "the kernel's limit"
        for position, (operation, if_true, if_false, operand) in enumerate(instructions):
            steps = (operand,) if operation == 0x05 else (if_true, if_false)
            assert all(position + 1 + step < len(instructions) for step in steps) or (
                operation == 0x06
            )


@pytest.mark.parametrize(
    ("header", "architecture"),
    [
        ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", X86_64),
        ("/usr/include/x86_64-linux-gnu/asm/unistd_32.h", I386),
    ],
)
def test_numbers_are_the_kernels(header, architecture):
    if not Path(header).exists():
        pytest.skip(f"needs {header}")
    kernels = dict(re.findall(r"#define __NR_(\w+) (\d+)", Path(header).read_text()))
    for name, number in numbers(architecture).items():
        if name in kernels:
            assert int(kernels[name]) == number, name
        else:
            assert number > 448 or name == "uretprobe", name
