import pytest

from wcbuild.dockerfile.suggest import did_you_mean, suggest

KEYWORDS = ["add", "copy", "env", "expose", "from", "run"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("CPY", "COPY"), ("copi", "copy"), ("FORM", "FROM"), ("Rnu", "run"), ("volume", "")],
)
def test_suggests_in_the_case_of_the_word(word, expected):
    assert suggest(word, KEYWORDS, ignore_case=True) == expected


def test_says_nothing_about_a_word_that_is_right():
    assert suggest("run", KEYWORDS) == ""


def test_asks_a_question():
    assert did_you_mean("rum", KEYWORDS) == 'did you mean "run"?'
    assert did_you_mean("nothing-like-it", KEYWORDS) == ""
