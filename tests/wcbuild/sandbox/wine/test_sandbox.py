"""Windows commands under Wine, as every identity."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import windowsprograms
from processes import processes_with, until

sys.path.insert(0, str(Path(__file__).parents[4] / "fixtures"))
from tiny_program import program

pytestmark = [pytest.mark.wine, pytest.mark.slow]


def upper(root: dict) -> set[str]:
    top = Path(root["upper"])
    return {str(path.relative_to(top)) for path in top.rglob("*")}


# -- how a command ends


def test_exit_codes_have_all_their_bits(sandbox):
    assert [sandbox.wine(f"exit {code}").code for code in (0, 7, 256)] == [0, 7, 256]
    assert sandbox.wine("exit -1073741819").code == 0xC0000005


def test_output_arrives(sandbox):
    ended = sandbox.wine("echo out& echo err>&2")
    assert (ended.out, ended.err) == ("out\r\n", "err\r\n")


def test_own_program_runs(sandbox):
    root = sandbox.drive({"tools/my tool.exe": program("made by hand", 42)})
    ended = sandbox.wine("", "C:\\tools\\my tool.exe", root=root)
    assert (ended.code, ended.out) == (42, "made by hand\r\n")


def test_missing_program_is_127(sandbox):
    ended = sandbox.wine("", "nosuch.exe")
    assert (ended.code, ended.err) == (127, "wcbuild: the program is not found\r\n")


def test_program_is_found_by_the_path_of_the_step(sandbox):
    root = sandbox.drive({"tools/tiny.exe": program("found", 0)})
    assert sandbox.wine("", "tiny", root=root, env=("PATH=C:\\tools",)).out == "found\r\n"


def test_crash_ends_with_its_code(sandbox, probe):
    ended = sandbox.wine("", "C:\\probe.exe", "crash", root=sandbox.drive({"probe.exe": probe}))
    assert ended.code == 0xC0000005


def test_cancel_kills(sandbox, probe):
    root = sandbox.drive({"probe.exe": probe})
    milliseconds = f"600{os.getpid():07}"
    number = sandbox.start_wine(f"C:\\probe.exe mutex x {milliseconds}", root=root)
    assert until(lambda: processes_with(milliseconds))
    sandbox.cancel(number)
    assert sandbox.wait(number).code == 137
    assert not processes_with(milliseconds)


def test_window_can_be_made_without_a_screen(sandbox, probe):
    ended = sandbox.wine("", "C:\\probe.exe", "window", root=sandbox.drive({"probe.exe": probe}))
    assert (ended.code, ended.out) == (0, "window\r\n")


# -- command lines


def test_quotes_reach_programs_as_they_are(sandbox, probe):
    root = sandbox.drive({"my tools/probe.exe": probe})
    wanted = ["", "a b", 'say "hi"', "back\\", "b c\\\\", "&|<>^%"]
    words = ("C:\\my tools\\probe.exe", "show", *wanted)
    ended = sandbox.wine("", *words, root=root)
    assert ended.out == "".join(f"[{word}]\r\n" for word in ("show", *wanted))


def test_shell_reads_its_line_itself(sandbox, probe):
    root = sandbox.drive({"my tools/probe.exe": probe})
    ended = sandbox.wine('""C:\\my tools\\probe.exe" show "a b" c"', root=root)
    assert ended.out == "[show]\r\n[a b]\r\n[c]\r\n"
    ended = sandbox.wine('mkdir "C:\\foo bar"', root=root)
    assert "foo bar" in upper(root)


@pytest.mark.parametrize(
    ("line", "out", "code"),
    [
        ("nosuch && echo bad", "", 9009),
        ("nosuch || echo good", "good\r\n", 0),
        ("C:\\tiny.exe && echo bad", "tiny\r\n", 42),
        ("C:\\tiny.exe & echo after", "tiny\r\nafter\r\n", 0),
        ("type missing 2>nul & echo after", "after\r\n", 0),
        ("(nosuch && echo bad) || echo good", "good\r\n", 0),
        ("echo a && (nosuch || echo b) && echo c", "a\r\nb\r\nc\r\n", 0),
        ("nosuch || nosuch || exit 5", "", 5),
        ("exit 3 && echo bad", "", 3),
        ("cd C:\\Windows && set X=1&& cd && set X", "C:\\Windows\r\nX=1\r\n", 0),
        ("set A=new&& echo %A% %B%", "%A% b\r\n", 0),
        ("for %i in (1 2) do (echo %i & echo x)", "1\r\nx\r\n2\r\nx\r\n", 0),
        ("echo a && for %i in (1 2) do (echo %i & echo x)", "a\r\n1\r\nx\r\n2\r\nx\r\n", 0),
        ("if exist C:\\nosuch (echo yes) else (echo no)", "no\r\n", 0),
        ('echo "a && b" && echo c', '"a && b" \r\nc\r\n', 0),
        ("echo a ^&^& b && echo 100%", "a && b \r\n100%\r\n", 0),
        ('echo abc|find "b" && echo found', "abc\r\nfound\r\n", 0),
        ("echo one > C:\\f.txt && type C:\\f.txt", "one \r\n", 0),
    ],
)
def test_operators_do_what_they_do_on_windows(sandbox, line, out, code):
    root = sandbox.drive({"tiny.exe": program("tiny", 42)})
    ended = sandbox.wine(line, root=root, env=("B=b",))
    assert ended.out.replace(" \r\n", "\r\n") == out.replace(" \r\n", "\r\n"), ended.err
    assert ended.code == code


def test_batch_files_of_the_image_come_back(sandbox):
    batch = b"@echo off\r\necho %1\r\nif %1==fail exit /b 9\r\n"
    root = sandbox.drive({"my tools/go.cmd": batch})
    line = "go one && go two & C:\\mytool\\x.bat || go fail || echo caught"
    ended = sandbox.wine(line, root=root, env=("PATH=C:\\my tools",))
    assert (ended.code, ended.out) == (0, "one\r\ntwo\r\nfail\r\ncaught\r\n")


# -- what a command sees


def test_environment_is_that_of_a_container(sandbox):
    ended = sandbox.wine("set", env=("Path=C:\\tools", "HOME=/x", "WINEDEBUG=+all", "LD_PRELOAD=x"))
    values = dict(line.split("=", 1) for line in ended.out.splitlines() if "=" in line)
    assert values["Path"] == "C:\\tools"
    assert values["HOME"] == "/x"
    assert values["USERPROFILE"] == "C:\\Users\\ContainerAdministrator"
    assert values["TEMP"].startswith("C:\\Users\\ContainerAdministrator\\")
    assert "root" not in values.values()
    assert ended.err == ""


def test_user_has_a_folder_of_its_own(sandbox):
    root = sandbox.drive()
    ended = sandbox.wine("echo %USERNAME% & mkdir %TEMP%\\x", root=root, user="ContainerUser")
    assert ended.out.split() == ["ContainerUser"]
    assert "Users/ContainerUser/AppData/Local/Temp/x" in upper(root)


def test_odd_users_are_refused(sandbox):
    assert "no name of a Windows account" in sandbox.wine("exit", user="a:x:0:0\nroot").error


def test_working_directory_is_created_in_the_letters_that_are_there(sandbox):
    root = sandbox.drive({"Apps/File": b"x"})
    assert sandbox.wine("cd", root=root, cwd="/APPS/new dir").out.upper() == "C:\\APPS\\NEW DIR\r\n"
    assert "Apps/new dir" in upper(root)


def test_image_shows_through_everywhere_but_in_windows(sandbox):
    root = sandbox.drive({"Program Files/x.txt": b"from the image"})
    ended = sandbox.wine(
        'type "C:\\program files\\X.TXT" & dir /b C:\\Windows\\System32\\real.dll', root=root
    )
    assert ended.out == "from the image"
    assert ended.code == 1


def test_no_drive_leads_to_the_machine(sandbox):
    assert sandbox.wine("dir Z:\\").code != 0


@pytest.mark.parametrize(
    "name",
    [
        *("powershell", "setx", "icacls", "findstr", "where", "certutil", "cscript", "schtasks"),
        *("dism", "fc", "subst", "systeminfo"),
    ],
)
def test_programs_that_lie_are_refused(sandbox, name):
    ended = sandbox.wine(f"{name} x")
    assert ended.code == 1
    assert f"wcbuild: {name}.exe is not available" in ended.err.replace("EXE", "exe")


def test_links_that_would_not_be_made_are_refused(sandbox):
    ended = sandbox.wine("mklink /d C:\\a C:\\b")
    assert "mklink makes no link" in ended.error


def test_mounts_and_secrets_appear(sandbox):
    shared = sandbox.directory / "wine-shared"
    if not shared.exists():
        shared.mkdir()
        (shared / "file").write_text("shared\n")
        sandbox.own(shared)
    root = sandbox.drive({"Cache/own": b""})
    ended = sandbox.wine(
        "type C:\\CACHE\\file & type C:\\run\\secrets\\token",
        root=root,
        mounts=({"target": "/cache", "source": str(shared)},),
        files=(("/run/secrets/token", "secret\n", 0o400),),
    )
    assert ended.out == "shared\nsecret\n"
    assert not {"run", "run/secrets", "cache"} & upper(root)


# -- what is kept


def test_nothing_changes_when_nothing_is_done(sandbox):
    root = sandbox.drive()
    ended = sandbox.wine("echo hi", root=root)
    assert (upper(root), ended.keys, ended.lost, ended.lost_keys) == (set(), [], [], [])


def test_changes_are_in_the_upper_directory(sandbox):
    root = sandbox.drive({"old.txt": b"old", "Dir/keep.txt": b"x"})
    sandbox.wine("del C:\\OLD.TXT && mkdir C:\\new && echo x> C:\\dir\\y.txt", root=root)
    assert upper(root) == {"old.txt", "new", "Dir", "Dir/y.txt"}


def test_folders_of_layers_below_are_renamed(sandbox):
    root = sandbox.drive({"Old/sub/deep/x.txt": b"x", "Old/y.txt": b"y"})
    line = "move C:\\old C:\\new && ren C:\\new\\sub bus && type C:\\new\\bus\\deep\\x.txt C:\\new\\y.txt"
    ended = sandbox.wine(line, root=root)
    assert (ended.code, "x" in ended.out, "y" in ended.out) == (0, True, True), ended
    assert upper(root) == {
        *("Old", "new", "new/y.txt", "new/bus", "new/bus/deep", "new/bus/deep/x.txt")
    }
    assert (Path(root["upper"]) / "Old").is_char_device()


def test_folder_with_a_mount_in_it_stays_as_it_is(sandbox):
    root = sandbox.drive({"Old/a/x.txt": b"x", "Old/m/own": b"", "Old/z.txt": b"z"})
    ended = sandbox.wine(
        "move C:\\Old C:\\new & type C:\\Old\\a\\x.txt & type C:\\Old\\z.txt & dir C:\\new",
        root=root,
        mounts=({"target": "/Old/m"},),
    )
    assert "xz" in "".join(ended.out.split())
    assert ended.code == 1
    assert "new" not in upper(root)


def test_streams_and_hidden_attributes_are_told_and_not_kept(sandbox):
    root = sandbox.drive()
    ended = sandbox.wine(
        "echo a> C:\\a.txt& echo s> C:\\a.txt:s& mkdir C:\\b& attrib +h C:\\b& attrib C:\\b",
        root=root,
    )
    assert (ended.streams, ended.hidden) == (["a.txt:s"], ["b"])
    assert upper(root) == {"a.txt", "b"}
    assert os.listxattr(Path(root["upper"]) / "b") == []


def test_what_is_written_to_windows_is_told_and_not_kept(sandbox):
    root = sandbox.drive()
    ended = sandbox.wine("echo x> C:\\Windows\\System32\\mine.dll", root=root)
    assert ended.lost == ["system32/mine.dll"]
    assert upper(root) == set()


def test_folders_of_windows_can_be_kept(sandbox):
    root = sandbox.drive({"Windows/Fonts/old.ttf": b"font"})
    ended = sandbox.wine(
        "dir /b C:\\Windows\\Fonts & echo x> C:\\WINDOWS\\FONTS\\new.ttf",
        root=root,
        keep=("Fonts",),
    )
    assert ended.out == "old.ttf\r\n"
    assert "Windows/Fonts/new.ttf" in upper(root)
    assert ended.lost == []


def test_kept_folder_behind_a_link_is_refused(sandbox):
    base = sandbox.directory / "linked"
    if not base.exists():
        base.mkdir()
        (base / "Windows").symlink_to("/etc")
        sandbox.own(base)
    ended = sandbox.wine("exit", root=sandbox.root(base=base), keep=("ssl",))
    assert "leads through a symbolic link" in ended.error or "folder" in ended.error


def test_registry_changes_are_told(sandbox):
    ended = sandbox.wine(
        'reg add "HKLM\\Software\\A B" /v Foo /d bar && reg add HKLM\\Software\\N /v D /t REG_DWORD /d 5 '
        "&& reg add HKCU\\Software\\Mine /v x /d y"
    )
    assert ended.keys == [
        ["Software_Delta", "A B", [["Foo", 1, "bar\0".encode("utf-16-le").hex()]]],
        ["Software_Delta", "N", [["D", 4, "05000000"]]],
    ]
    assert ended.lost_keys == ["HKCU\\Software\\Mine"]


def test_later_steps_find_what_earlier_ones_registered(sandbox):
    first = sandbox.wine("reg add HKLM\\Software\\Mine /v Foo /d bär%")
    ended = sandbox.wine("reg query HKLM\\Software\\Mine /v Foo", keys=first.keys)
    assert ended.code == 0
    assert ended.keys == []


def test_installer_installs(sandbox, tmp_path):
    root = sandbox.drive({"demo.msi": windowsprograms.installer(tmp_path / "msi")})
    ended = sandbox.wine("msiexec /i C:\\demo.msi /qn", root=root)
    assert ended.code == 0, ended
    assert "Program Files/Demo/hello.txt" in upper(root)
    assert [
        "Software_Delta",
        "Demo",
        [["Installed", 1, "yes\0".encode("utf-16-le").hex()]],
    ] in ended.keys


def test_works_without_overlays(sandbox):
    root = sandbox.drive({"a.txt": b"a"}, plain=True)
    ended = sandbox.wine(
        "type C:\\a.txt & echo x> C:\\b.txt & echo x> C:\\Windows\\w.txt", root=root, overlay=False
    )
    assert (ended.out, ended.lost) == ("a", ["w.txt"])
    assert (Path(root["upper"]) / "b.txt").exists()


# -- isolation


def test_deleting_the_whole_drive_harms_nobody_else(sandbox):
    root = sandbox.drive({"data.txt": b"data"})
    base = Path(root["lower"][0])
    before = {str(path): path.stat().st_size for path in base.rglob("*")}
    ended = sandbox.wine("rd /s /q C:\\ & del /f /s /q C:\\*", root=root)
    assert not ended.error
    assert {str(path): path.stat().st_size for path in base.rglob("*")} == before
    again = {**sandbox.root(base=base)}
    ended = sandbox.wine(
        "type C:\\data.txt && reg query HKLM\\Software\\Microsoft && ver", root=again
    )
    assert ended.code == 0
    assert ended.out.startswith("data")


TWO = b"""@echo off\r
start /b C:\\probe.exe mutex Global\\wcbuild 600000\r
:again\r
C:\\probe.exe mutex Global\\wcbuild 0\r
if errorlevel 1 exit\r
set /a n=n+1\r
if not %n%==500 goto again\r
"""
"""Two processes that name one object: the second again and again until they have met, or never do."""


def test_named_objects_of_two_steps_do_not_meet(sandbox, probe):
    files = {"probe.exe": probe}
    line = "C:\\probe.exe mutex Global\\wcbuild 4000"
    numbers = [sandbox.start_wine(line, root=sandbox.drive(files)) for _ in range(2)]
    assert [sandbox.wait(number).out for number in numbers] == ["alone\r\n"] * 2
    ended = sandbox.wine("C:\\two.cmd", root=sandbox.drive({**files, "two.cmd": TWO}))
    assert "met" in ended.out


def test_processes_end_with_the_step(sandbox, probe):
    milliseconds = f"601{os.getpid():07}"
    root = sandbox.drive({"probe.exe": probe})
    line = f"start /b C:\\probe.exe mutex x {milliseconds}"
    assert sandbox.wine(line, root=root).code == 0
    assert not processes_with(milliseconds)
