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


@pytest.mark.parametrize(
    ("word", "option"), [("two", "w"), ("b", "e"), ("", "id"), ("cp", "copy"), ("sed", "add")]
)
def test_words_that_share_less_than_half_are_not_alike(word, option):
    assert suggest(word, [option]) == ""


def test_checks_take_short_words_for_slips_as_buildkit_does():
    assert suggest("b", ["e"], loosely=True) == "e"
