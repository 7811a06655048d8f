import pytest

from wcbuild.dockerfile.source import MAX_EXCERPT_LINES, Span, blame, excerpt
from wcbuild.errors import SourceError

TEXT = "FROM a\nCOPY --from=biulder /out /app\nRUN \\\n\tmake buidl\n"


def span(first, last=None):
    return Span(file="Dockerfile", first=first, last=last or first)


def test_underlines_the_word_and_puts_the_hint_behind_it():
    shown = excerpt(TEXT, span(2), "biulder", 'did you mean "builder" (line 3)?')
    assert shown == (
        "    2 | COPY --from=biulder /out /app\n"
        '                    ^^^^^^^ did you mean "builder" (line 3)?'
    )


def test_underlines_in_the_line_that_has_the_word_and_keeps_its_tab():
    assert excerpt(TEXT, span(3, 4), "buidl") == (
        "    3 | RUN \\\n    4 | \tmake buidl\n        \t     ^^^^^"
    )


def test_prefers_the_word_where_it_stands_alone():
    assert excerpt("ENV cc=1 c\n", span(1), "c").endswith("\n" + " " * 17 + "^")


def test_shows_the_hint_alone_when_no_line_has_the_word():
    assert excerpt(TEXT, span(1), "zzz", "hint") == "    1 | FROM a\n        hint"


def test_shortens_a_long_instruction():
    lines = excerpt("x\n" * 100, span(1, 100)).split("\n")
    assert len(lines) == MAX_EXCERPT_LINES + 1
    assert lines[-1] == "      | (88 more lines)"


def test_survives_a_span_behind_the_end():
    assert excerpt("", span(7)) == ""


def test_blames_the_span_for_an_error_without_a_place():
    with pytest.raises(SourceError, match=r"^Dockerfile:3: oh$"), blame(span(3)):
        raise SourceError("oh")


def test_leaves_the_place_that_an_error_has():
    with pytest.raises(SourceError, match=r"^Dockerfile:2: oh$"), blame(span(3)):
        raise SourceError("oh", (span(2),))
