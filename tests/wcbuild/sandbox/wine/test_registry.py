"""What changed in Wine's registry files."""

from __future__ import annotations

import os

import pytest

from wcbuild.errors import SandboxError
from wcbuild.layer.windows.hive import Value
from wcbuild.sandbox.wine import registry
from wcbuild.sandbox.wine.registry import Key, added, changes, machine_environment
from wcbuild.sandbox.wine.sandbox import _read_registry_file, _registry_changes

HEAD = "WINE REGISTRY Version 2\n;; All keys relative to \\\\Machine\n\n#arch=win64\n"
OLD = HEAD + '\n[Software\\\\Old] 5\n#time=1d\n@="x"\n"A"=dword:00000001\n"B"="b"\n'


def machine(after: str, before: str = OLD) -> registry.RegistryChanges:
    return changes({"system.reg": before}, {"system.reg": after})


def text(value: str) -> bytes:
    return f"{value}\0".encode("utf-16-le")


def test_times_are_no_change():
    assert machine(OLD.replace("5\n#time=1d", "6\n#time=1e")) == registry.RegistryChanges()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('"Foo"="bar"', Value("Foo", 1, text("bar"))),
        ('@="x"', Value("", 1, text("x"))),
        ('"D"=dword:0000002a', Value("D", 4, b"\x2a\0\0\0")),
        ('"E"=str(2):"%PATH%;C:\\\\x"', Value("E", 2, text("%PATH%;C:\\x"))),
        ('"M"=str(7):"a\\0b\\0"', Value("M", 7, text("a\0b\0"))),
        ('"H"=hex:01,02,\\\n  03', Value("H", 3, b"\1\2\3")),
        ('"Q"=hex(b):01,00,00,00,00,00,00,00', Value("Q", 11, b"\1" + bytes(7))),
        ('"\\x00e4\\"q"="\\x20ac"', Value('ä"q', 1, text("€"))),
    ],
)
def test_reads_every_kind_of_value(line, value):
    found = machine(f"{OLD}\n[Software\\\\New] 7\n#time=1d\n{line}\n")
    assert found == registry.RegistryChanges((Key("Software_Delta", "New", (value,)),), ())


def test_tells_only_values_that_changed():
    found = machine(OLD.replace("00000001", "00000002"))
    assert found.keys == (Key("Software_Delta", "Old", (Value("A", 4, b"\2\0\0\0"),)),)


def test_deletions_are_told_and_cannot_be_kept():
    assert machine(OLD.replace('"B"="b"\n', "")).lost == ("HKLM\\Software\\Old (deleted)",)
    assert machine(HEAD).lost == ("HKLM\\Software\\Old (deleted)",)


def test_key_that_has_only_others_below_it_is_not_deleted():
    before = HEAD + "\n[Software\\\\Up] 1\n"
    after = HEAD + '\n[Software\\\\Up\\\\Down] 1\n"a"="b"\n'
    assert machine(after, before).lost == ()


def test_current_control_set_is_the_first():
    found = machine(f'{OLD}\n[System\\\\CurrentControlSet\\\\Services\\\\x] 1\n"a"="b"\n')
    assert [(key.hive, key.path) for key in found.keys] == [
        ("System_Delta", "ControlSet001\\Services\\x")
    ]


def test_what_wine_writes_itself_is_left_out():
    lines = "".join(
        f'\n[{path}] 1\n"a"="b"\n'
        for path in (
            "Software\\\\Wine\\\\Fonts",
            "Hardware\\\\x",
            "System\\\\CurrentControlSet\\\\Enum\\\\x",
        )
    )
    assert machine(OLD + lines) == registry.RegistryChanges()


def test_keys_of_the_user_are_lost_and_those_of_the_default_user_kept():
    new = HEAD + '\n[Software\\\\Mine] 1\n"a"="b"\n'
    found = changes({"user.reg": HEAD, "userdef.reg": HEAD}, {"user.reg": new, "userdef.reg": new})
    assert found.lost == ("HKCU\\Software\\Mine",)
    assert found.keys == (Key("DefaultUser_Delta", "Software\\Mine", (Value("a", 1, text("b")),)),)


def test_values_too_long_for_a_hive_are_told():
    data = ",".join(["00"] * 20_000)
    assert machine(f'{OLD}\n[Software\\\\Big] 1\n"a"=hex:{data}\n').lost == (
        "HKLM\\Software\\Big (too long)",
    )


def test_added_keys_are_found_again():
    keys = (
        Key("Software_Delta", "Old", (Value("", 4, b"\1\0\0\0"), Value("B", 1, text("new")))),
        Key("System_Delta", "ControlSet001\\Services\\x[y]", (Value("ä", 3, b"\1\2"),)),
    )
    assert machine(added(OLD, keys)).keys == keys
    assert machine(added(OLD, keys), added(OLD, keys)) == registry.RegistryChanges()


def test_adding_what_is_there_is_no_change():
    keys = (Key("Software_Delta", "OLD", (Value("B", 1, text("b")),)),)
    assert machine(OLD, added(OLD, keys)) == registry.RegistryChanges()


def test_machine_environment_is_read():
    path = "ControlSet001\\Control\\Session Manager\\Environment"
    keys = [Key("System_Delta", path, (Value("Path", 2, text("C:\\x")), Value("n", 4, b"1234")))]
    assert machine_environment(keys) == {"Path": "C:\\x"}


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "nothing"])
def test_files_that_a_command_has_replaced_are_refused(tmp_path, kind):
    # A pipe would keep the build waiting, and a link lead it to files of the machine.
    path = tmp_path / "system.reg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(SandboxError, match=r"read the registry: system\.reg"):
        _read_registry_file(path)


@pytest.mark.parametrize("text", ["\n[no end\n", '\n[Software\\\\a] 1\n"x"=dword:zz\n'])
def test_damaged_files_are_an_error(tmp_path, text):
    (tmp_path / "system.reg").write_text(text)
    with pytest.raises(SandboxError, match="read the registry: it is damaged"):
        _registry_changes(tmp_path, {"system.reg": OLD})
