"""What the golden folders do not show: limits, and the corners of single lines."""

import pytest

from wcbuild.dockerfile.parser import (
    MAX_INSTRUCTION_LENGTH,
    MAX_INSTRUCTIONS,
    MAX_LINE_BYTES,
    MAX_LINES,
    parse,
)
from wcbuild.errors import DockerfileSyntaxError


def nodes(text):
    return parse(text, file="Dockerfile").nodes


def only(text):
    (node,) = nodes(text)
    return node


def refused(text):
    with pytest.raises(DockerfileSyntaxError) as caught:
        parse(text, file="Dockerfile")
    return caught.value


@pytest.mark.parametrize(
    ("line", "flags", "args"),
    [
        ("RUN --a --b=c d --e", ("--a", "--b=c"), ("d --e",)),
        ("RUN --a=\"b c\" --d='e' f", ("--a=b c", "--d=e"), ("f",)),
        (r"RUN --a=b\ c d", ("--a=b c",), ("d",)),
        ("RUN -- --a", (), ("--a",)),
        ("RUN -a", (), ("-a",)),
        ("RUN --a", ("--a",), ()),
        ("RUN --a\\", ("--a",), ()),
    ],
)
def test_flags_stand_before_the_first_word(line, flags, args):
    node = only(line + "\n")
    assert (node.flags, node.args) == (flags, args)


def test_a_lone_carriage_return_separates_words():
    assert only("COPY a\rb\n").args == ("a", "b")


def test_the_keyword_keeps_its_case_and_an_unknown_one_is_no_error_here():
    assert [node.keyword for node in nodes("From a\nfoo bar\n")] == ["From", "foo"]


def test_names_and_values_of_env_come_in_threes():
    assert only("ENV a=b 'c d'=\"e f\"\n").args == ("a", "b", "=", "'c d'", '"e f"', "=")
    assert only("ENV a  b  c\n").args == ("a", "b  c", "")


def test_an_escaped_space_does_not_split_a_pair():
    assert only("ENV a=b\\ c\n").args == ("a", "b\\ c", "=")


@pytest.mark.parametrize("text", ["[1]", "[null]", '["a", ["b"]]', "[" + "1" * 10_000 + "]"])
def test_a_list_of_something_else_than_strings_is_refused(text):
    assert "comprised of strings only" in str(refused(f"CMD {text}\n"))


@pytest.mark.parametrize("text", ["['a']", '["a",]', '["a"', '["a"] #', "[NaN]", "[" * 20_000])
def test_what_is_no_json_is_for_the_shell(text):
    node = only(f"CMD {text}\n")
    assert (node.json, node.args) == (False, (text,))


def test_comments_above_an_instruction_are_kept():
    found = nodes("# check=skip=all\n# one\n#\n# two\n\n#three\nFROM a\n# in\nRUN b\n")
    assert [node.comments for node in found] == [("two", "three"), ("in",)]


def test_a_line_as_long_as_allowed_is_read():
    line = "RUN " + "x" * (MAX_LINE_BYTES - 4)
    assert only(line + "\n").original == line
    assert "greater than max allowed size" in str(refused(line + "x\n"))


def test_the_limit_of_a_line_is_in_bytes():
    assert "greater than max allowed size" in str(refused("RUN " + "é" * 40_000 + "\n"))


def test_a_chain_of_onbuild_ends():
    assert only("ONBUILD " * 5_000 + "RUN a\n").keyword == "ONBUILD"


def test_ten_thousand_instructions_are_read():
    assert len(nodes("RUN echo 'a' \"$b\"\n" * 10_000)) == 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN x\n" * (MAX_INSTRUCTIONS + 1), f"more than {MAX_INSTRUCTIONS} instructions"),
        ("\n" * (MAX_LINES + 1), f"more than {MAX_LINES} lines"),
        (
            "RUN \\\n" + ("x" * 60_000 + "\\\n") * (MAX_INSTRUCTION_LENGTH // 60_000 + 1),
            f"more than {MAX_INSTRUCTION_LENGTH} characters",
        ),
    ],
)
def test_more_than_anybody_writes_is_refused(text, message):
    with pytest.raises(DockerfileSyntaxError, match=message):
        nodes(text)


def test_a_blank_that_only_unicode_knows_does_not_end_a_flag():
    (node,) = nodes("COPY --chown=a\u3000b c d\n")
    assert node.flags == ("--chown=a\u3000b",)


def test_an_unreadable_byte_in_a_comment_does_no_harm():
    assert only("# \udce9\nFROM a\n").args == ("a",)


def test_an_unreadable_byte_in_an_instruction_or_heredoc_is_refused():
    assert "not valid UTF-8" in str(refused("FROM a\nRUN \udce9\n"))
    assert "not valid UTF-8" in str(refused("RUN <<E\n\udce9\nE\n"))
