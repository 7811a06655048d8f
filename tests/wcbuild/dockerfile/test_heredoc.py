import pytest

from wcbuild.dockerfile.heredoc import HeredocStart, find_starts, parse_start
from wcbuild.dockerfile.words import WordError


def start(name, *, expand=True, chomp=False, fd=0):
    return HeredocStart(name=name, expand=expand, chomp=chomp, fd=fd)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("<<EOF", start("EOF")),
        ("<<-EOF", start("EOF", chomp=True)),
        ("3<<EOF", start("EOF", fd=3)),
        ("<<'E O F'", start("E O F", expand=False)),
        ('<<E"O"F', start("EOF", expand=False)),
        ("<<$NAME", start("$NAME")),
        ("9" * 5000 + "<<EOF", start("EOF", fd=(1 << 64) - 1)),
        ("0" * 5000 + "3<<EOF", start("EOF", fd=3)),
    ],
)
def test_reads_the_beginning_of_a_heredoc(word, expected):
    assert parse_start(word) == expected


@pytest.mark.parametrize(
    "word", ["EOF", "<EOF", "<<", "<<-", "<<<EOF", '"<<EOF"', "x<<EOF", "<<A ''"]
)
def test_other_words_begin_none(word):
    assert parse_start(word) is None


def test_a_name_with_an_open_quote_is_refused():
    with pytest.raises(WordError):
        parse_start("<<'EOF")


def test_finds_all_of_a_line_in_order():
    found = find_starts("RUN cat <<A - '<<B' $((1<<2)) <<  C # <<D")
    assert [each.name for each in found] == ["A", "C", "D"]


def test_finds_one_beside_what_only_a_shell_expands():
    assert [each.name for each in find_starts("RUN cat <<A > ${name:1:2}")] == ["A"]


def test_a_line_with_an_open_quote_begins_none():
    assert find_starts("RUN echo ' <<EOF") == []
