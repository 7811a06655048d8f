import pytest

from wcbuild.dockerfile.directives import detect_syntax, find_directive


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=docker/dockerfile:1\nFROM a\n",
        "#SYNTAX = docker/dockerfile:1  \n",
        "\ufeff# escape=`\r\n# syntax=docker/dockerfile:1\r\n",
        "#!/usr/bin/env build\n# syntax=docker/dockerfile:1 and more",
        "// syntax=docker/dockerfile:1\n",
        '{"syntax": "docker/dockerfile:1", "other": 1}',
    ],
)
def test_detects_the_syntax(text):
    assert detect_syntax(text).first_word == "docker/dockerfile:1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n# syntax=a\n",
        "# comment\n# syntax=a\n",
        "# other=b\n# syntax=a\n",
        " # syntax=a\n",
        "FROM a\n# syntax=a\n",
        "# syntax=\n",
        "# syntax=\r\n",
        '{"syntax": 1}',
        '{"syntax": "a"} FROM',
        "[" * 100_000,
        "{" + '"a":[' * 100_000,
    ],
)
def test_directives_end_with_the_first_line_that_is_none(text):
    assert detect_syntax(text) is None


def test_says_in_which_line_it_stands():
    found = find_directive("#!x\n# escape=`\n# check = skip=all; error=true \n", "check")
    assert (found.value, found.line) == ("skip=all; error=true", 3)


def test_blanks_alone_are_a_value_too():
    assert find_directive("# escape = \t \n", "escape").value == " "


def test_only_the_syntax_may_be_in_another_comment():
    assert find_directive("// check=skip=all\n", "check") is None
