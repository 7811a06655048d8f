"""Command lines are what Windows would read."""

from __future__ import annotations

import pytest

from wcbuild.errors import SandboxError
from wcbuild.sandbox.wine.commandline import plan, quoted

ENVIRONMENT = {"OS": "Windows_NT", "PATH": "C:\\a;C:\\b", "EMPTY": "", "X": "a b"}


def batch(line: str, environment=ENVIRONMENT) -> list[str]:
    """Return the lines of the batch file that do the work."""
    planned = plan(f"cmd /S /C {line}", environment)
    assert planned.line == "cmd /S /C"
    lines = planned.batch.decode("cp437").split("\r\n")
    assert lines[0] == "@echo off"
    assert lines[-2:] == ["exit %ERRORLEVEL%", ""]
    return [each for each in lines[1:-2] if each != "set OS=%OS%"]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["a", "b c"], 'a "b c"'),
        (["a", ""], 'a ""'),
        (["a", 'say "x"'], 'a "say \\"x\\""'),
        (["C:\\a b\\", "x"], '"C:\\a b\\\\" x'),
        (["a\\b", 'c\\"d'], 'a\\b "c\\\\\\"d"'),
        (["a\tb"], '"a\tb"'),
    ],
)
def test_quotes_arguments_as_programs_take_them_apart(args, line):
    assert quoted(args) == line


@pytest.mark.parametrize(
    "line",
    [
        "C:\\tool.exe a && b",
        "cmd /S /C dir C:\\",
        'cmd /S /C ""C:\\a b\\x.exe" "a && b""',
        "cmd /C echo ^&^& x",
        "cmd /S /C if exist a (del a) else (echo b)",
        "cmd /S /C (echo a)",
        "mycmd /C a && b",
        "cmd /S",
    ],
)
def test_leaves_lines_without_operators_alone(line):
    planned = plan(line, ENVIRONMENT)
    assert (planned.line, planned.batch) == (line, b"")


def test_batch_files_come_back():
    line = 'x.bat a && "C:\\b c\\y.CMD" && z.exe && @npm i && tool && copy'
    found = plan(f"cmd /C {line}", ENVIRONMENT, lambda name: name in {"npm", "copy"})
    called = [each for each in found.batch.decode().split("\r\n") if each[:5] == "call "]
    assert called == ["call x.bat a", 'call "C:\\b c\\y.CMD"', "call npm i"]


def test_a_command_that_asks_for_the_status_finds_it():
    lines = plan("cmd /V:ON /C a & echo !ErrorLevel!", ENVIRONMENT).batch.decode().split("\r\n")
    assert lines == [
        *("@echo off", "set OS=%OS%", "a", "echo !ErrorLevel!", "exit %ERRORLEVEL%", "")
    ]


def test_turns_operators_into_jumps():
    assert batch("a && b || c & d") == [
        "a",
        "if not %ERRORLEVEL%==0 goto wcb2",
        "b",
        "if %ERRORLEVEL%==0 goto wcb1",
        ":wcb2",
        "c",
        ":wcb1",
        "d",
    ]


def test_groups_are_read_like_lines():
    assert batch("(a && b) && c") == [
        "a",
        "if not %ERRORLEVEL%==0 goto wcb2",
        "b",
        ":wcb2",
        "if not %ERRORLEVEL%==0 goto wcb1",
        "c",
        ":wcb1",
    ]


def test_quotes_and_carets_hide_operators():
    assert batch('echo "a && b" ^&^& c & d') == ['echo "a && b" ^&^& c', "d"]


def test_redirections_are_no_operators():
    assert batch("a > x 2>&1 & b") == ["a > x 2>&1", "b"]


def test_lines_of_a_heredoc_run_one_after_the_other():
    assert batch("a\nb && c\n") == ["a", "b", "if not %ERRORLEVEL%==0 goto wcb2", "c", ":wcb2"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%PATH%", "C:\\a;C:\\b"),
        ("%path%", "C:\\a;C:\\b"),
        ("%NOSUCH%", "%%NOSUCH%%"),
        ("[%EMPTY%]", "[]"),
        ("100%", "100%%"),
        ("%%i %X%", "%%%%i a b"),
        ("%i and %X%", "%%i and a b"),
        ("%PATH:~0,2%", "C:"),
        ("%PATH:~3%", "a;C:\\b"),
        ("%PATH:~-1%", "b"),
        ("%PATH:C:=D:%", "D:\\a;D:\\b"),
        ("%PATH:;= %", "C:\\a C:\\b"),
        ("%X:* =%", "b"),
        ("%ERRORLEVEL%", "0"),
        ("%DATE%", "%DATE%"),
    ],
)
def test_puts_in_variables_once_as_cmd_does(text, value):
    assert batch(f"echo {text}& x") == [f"echo {value}", "x"]


def test_flags_of_the_shell_are_kept():
    planned = plan("C:\\Windows\\System32\\CMD.EXE /V:ON /c a & b", ENVIRONMENT)
    assert planned.line == "C:\\Windows\\System32\\CMD.EXE /V:ON /c"


def test_outer_quotes_are_taken_away_as_cmd_does():
    assert batch('"a && b"') == batch("a && b")
    assert plan('cmd /C "C:\\a b.exe"', {}).batch == b""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("if exist a b && c", 'cannot stand in or behind the body of "if"'),
        ("for %i in (a) do x & y", 'cannot stand in or behind the body of "for"'),
        ("if exist a (b && c)", 'cannot stand in the body of "if" or "for"'),
        ("(a && b) > c", "cannot stand in a group"),
        ("a &&", 'nothing stands behind "&&"'),
        ("&& a", 'nothing stands before "&&"'),
        ("(a && b", "a parenthesis is not closed"),
        ("echo \u20ac && b", "cannot stand in a line with several commands"),
        ("mklink a b", "mklink makes no link"),
        ("a & mklink /j a b", "mklink makes no link"),
        ("if exist a mklink a b", "mklink makes no link"),
    ],
)
def test_refuses_what_wine_would_do_wrong(line, reason):
    with pytest.raises(SandboxError, match="read the command line") as caught:
        plan(f"cmd /S /C {line}", ENVIRONMENT)
    assert reason in caught.value.reason


def test_words_that_look_like_mklink_are_fine():
    for line in ("echo mklink", "C:\\tools\\mklink-new.exe a", 'tool "mklink"'):
        plan(f"cmd /S /C {line}", ENVIRONMENT)
