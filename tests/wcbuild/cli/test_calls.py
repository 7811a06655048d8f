"""`--check` and `--call`: text as it is printed, JSON, and the exit status."""

import base64
import json
import sys

import pytest

from wcbuild.cli.calls import Call
from wcbuild.cli.main import _dispatch
from wcbuild.errors import UsageError

DOCKERFILE = """\
ARG version=1
# base what all stand on
FROM scratch AS base
# version of what is copied
ARG version
COPY a$version /a
# final what is shipped
FROM base AS final
RUN --mount=type=secret,id=token,required --mount=type=ssh x
LABEL v=$nope
CMD a
"""

CHECK = """\
Check complete, 2 warnings have been found!

WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
Usage of undefined variable '$nope'
Dockerfile:10
--------------------
   8 |     FROM base AS final
   9 |     RUN --mount=type=secret,id=token,required --mount=type=ssh x
  10 | >>> LABEL v=$nope
  11 |     CMD a
  12 |    \x20
--------------------

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
Dockerfile:11
--------------------
   9 |     RUN --mount=type=secret,id=token,required --mount=type=ssh x
  10 |     LABEL v=$nope
  11 | >>> CMD a
  12 |    \x20
--------------------
"""

OUTLINE = """\
TARGET:      final
DESCRIPTION: what is shipped

BUILD ARG   VALUE   DESCRIPTION
version     2       of what is copied

SECRET   REQUIRED
token    true

SSH       REQUIRED
default  \x20

"""

TARGETS = """\
TARGET          DESCRIPTION
base            what all stand on
final (default) what is shipped
"""


@pytest.fixture
def wcbuild(tmp_path, capsys, monkeypatch):
    """Give a function that runs the command line on a Dockerfile: status, stdout, stderr."""
    # A test leaves this process's signals alone.
    module = sys.modules[_dispatch.__module__]
    monkeypatch.setattr(module, "interrupt_when_told_to_end", lambda: None)

    def run(*words, text=DOCKERFILE, files=()):
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_bytes(text.encode("utf-8", "surrogateescape"))
        for name, content in dict(files).items():
            (context / name).write_text(content)
        # `main` ends the process where another test has left a thread.
        status = _dispatch(["build", "--root", str(tmp_path / "store"), *words, str(context)])
        return status, *capsys.readouterr()

    return run


def lines(*numbers):
    return {"ranges": [{"start": {"line": each}, "end": {"line": each}} for each in numbers]}


def test_a_check_prints_warnings_with_their_lines_and_is_status_1(wcbuild):
    assert wcbuild("--check") == (1, CHECK, "")
    assert wcbuild("--call=check") == (1, CHECK, "")
    assert wcbuild("--call=lint") == (1, CHECK, "")
    assert wcbuild("--call=check,ignorestatus=true") == (0, CHECK, "")


def test_a_clean_check_says_so_and_is_status_0(wcbuild):
    clean = (0, "Check complete, no warnings found.\n", "")
    assert wcbuild("--check", text="FROM scratch\n") == clean
    assert wcbuild("--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all") == clean


def test_a_check_as_json_has_rules_places_and_the_file(wcbuild):
    status, out, err = wcbuild("--call=check,format=json")
    assert (status, err) == (1, "")
    found = json.loads(out)
    assert found["warnings"][0] == {
        "ruleName": "UndefinedVar",
        "description": "Variables should be defined before their use",
        "url": "https://docs.docker.com/go/dockerfile/rule/undefined-var/",
        "detail": "Usage of undefined variable '$nope'",
        "location": lines(10),
    }
    [source] = found["sources"]
    assert (source["filename"], source["language"]) == ("Dockerfile", "Dockerfile")
    assert base64.b64decode(source["data"]).decode() == DOCKERFILE
    assert "buildError" not in found


def test_an_instruction_of_several_lines_is_marked_whole(wcbuild):
    text = "FROM scratch\nCMD a \\\n  b\n"
    _, out, _ = wcbuild("--check", text=text)
    rule = "-" * 20
    assert out.endswith(
        f"Dockerfile:2\n{rule}\n   1 |     FROM scratch\n   2 | >>> CMD a \\\n   3 | >>>   b\n"
        f"   4 |     \n{rule}\n"
    )
    _, out, _ = wcbuild("--call=check,format=json", text=text)
    assert json.loads(out)["warnings"][0]["location"] == lines(2, 3)


def test_a_dockerfile_that_does_not_build_is_an_error_beside_its_warnings(wcbuild):
    text = "FROM scratch\nCMD a\nEXPOSE 99999\n"
    status, out, err = wcbuild("--check", text=text)
    assert status == 1
    assert out.startswith("Check complete, 1 warning has been found!\n\nWARNING: JSONArgsRec")
    assert err == (
        "ERROR: Dockerfile:3: invalid containerPort: 99999\n"
        "    3 | EXPOSE 99999\n"
        "               ^^^^^\n"
    )
    _, out, _ = wcbuild("--call=check,format=json", text=text)
    assert json.loads(out)["buildError"] == {
        "message": "invalid containerPort: 99999",
        "location": lines(3),
    }


def test_a_dockerfile_that_cannot_be_read_has_no_count_of_warnings(wcbuild):
    status, out, err = wcbuild("--check", text="FROM scratch\nRNU x\n")
    assert (status, out) == (1, "")
    assert "Dockerfile:2: unknown instruction: RNU\n" in err
    assert 'did you mean "RUN"?' in err


def test_the_ignore_file_is_looked_at(wcbuild):
    _, out, _ = wcbuild("--check", text="FROM scratch\nCOPY a /\n", files={".dockerignore": "a\n"})
    assert 'Attempting to Copy file "a" that is excluded by .dockerignore' in out


def test_escapes_of_a_terminal_in_a_dockerfile_are_spelled(wcbuild):
    _, out, _ = wcbuild("--check", text="FROM scratch AS A\nLABEL a=\x1b[2J\x07$nope\n")
    assert "\x1b" not in out
    assert "\\x1b[2J\\x07" in out


def test_bytes_that_are_not_utf_8_come_back_as_they_are(wcbuild):
    text = "# caf\udce9\nFROM scratch\nCMD a\n"
    _, out, _ = wcbuild("--call=check,format=json", text=text)
    assert (
        base64.b64decode(json.loads(out)["sources"][0]["data"])
        == b"# caf\xe9\nFROM scratch\nCMD a\n"
    )
    status, out, _ = wcbuild("--check", text=text)
    assert status == 1
    assert "# caf\\xe9" in out


def test_an_outline_is_tables_of_what_the_target_takes(wcbuild):
    words = ("--build-arg", "version=2")
    assert wcbuild("--call=outline", *words) == (0, OUTLINE, "")
    status, out, _ = wcbuild("--call=outline,format=json", *words)
    found = json.loads(out)
    del found["sources"]
    assert status == 0
    assert found == {
        "name": "final",
        "description": "what is shipped",
        "args": [
            {
                "name": "version",
                "description": "of what is copied",
                "value": "2",
                "location": lines(5),
            }
        ],
        "secrets": [{"name": "token", "required": True, "location": lines(9)}],
        "ssh": [{"name": "default", "location": lines(9)}],
    }


def test_targets_are_listed_without_a_store_or_an_image(wcbuild, tmp_path):
    assert wcbuild("--call=targets") == (0, TARGETS, "")
    assert not (tmp_path / "store").exists()
    _, out, _ = wcbuild("--call=targets,format=json", text="FROM a AS b\nFROM c\n")
    found = json.loads(out)
    assert found["targets"] == [
        {"name": "b", "base": "a", "location": lines(1)},
        {"default": True, "base": "c", "location": lines(2)},
    ]


@pytest.mark.parametrize("call", ["outline", "targets"])
def test_a_call_that_fails_is_an_error_with_its_place(wcbuild, call):
    status, out, err = wcbuild(f"--call={call}", text="FROM scratch\nRNU x\n")
    assert (status, out) == (1, "")
    assert err.startswith("ERROR: Dockerfile:2: unknown instruction: RNU\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chekc", 'expected one of build, check, outline, targets (did you mean "check"?)'),
        ("check,outline", "expected one of build, check, outline, targets"),
        ("format=json", "expected one of build, check, outline, targets"),
        ("check,format=yaml", "format is json or text"),
        ("check,fromat=json", 'unknown option "fromat" (did you mean "format"?)'),
        ("check,ignorestatus=maybe", "ignorestatus is true or false"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(wcbuild, text, message):
    with pytest.raises(UsageError) as caught:
        Call.parse(text)
    assert message in str(caught.value)
    assert wcbuild(f"--call={text}")[0] == 2
