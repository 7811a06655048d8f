import pytest
from hypothesis import given
from hypothesis import strategies as st

from wcbuild.layer.windows.names import fold, problem


@pytest.mark.parametrize(
    "name",
    [
        *("aux", "AUX", "con", "nul", "prn", "com1", "LPT9", "aux.txt", "nul.tar.gz", "CON .log"),
        *("conin$", "CONOUT$", "com²"),
        *("a:b", "a?", "a*", "<a", ">a", "a|b", 'a"b', "a\\b"),
        *("a\x01", "a\x1f", "\n", "a."),
        *("a ", "...", ". .", "x" * 256, "\U0001f600" * 128, "caf\udce9"),
    ],
)
def test_names_that_windows_refuses(name):
    assert problem(name)
    assert problem(f"ok/{name}/ok")


@pytest.mark.parametrize(
    "name",
    [
        *("auxiliary", "com", "com0", "com10", "lpt", "console", "xnul", "aux_", "a.aux", ".aux"),
        *("a b", " a", ".a", "a.b.c", "$Recycle.Bin", "ä", "日本語", "x" * 255, "\U0001f600" * 127),
        *("a;b", "a,b", "a=b", "[a]", "~", "%TEMP%", "a'b", "{}", "^&@#!", "\x7f"),
    ],
)
def test_names_that_windows_takes(name):
    assert not problem(name)


def test_says_which_name_of_a_path_it_is_and_why():
    assert problem("a/aux.h/b") == '"aux.h" is the name of a device on Windows'
    assert problem("a:b") == '"a:b" has a colon, which names a data stream on Windows'
    assert problem("a\tb") == '"a\tb" has a control character in it, which no name on Windows has'


def test_a_stream_is_a_file_and_a_name():
    assert not problem("a/b.txt:Zone.Identifier", stream=True)
    assert not problem("a/b.txt:aux", stream=True)
    for path in ("a/b.txt:", "b.txt:a/b", "aux:x", "b.txt:a?b", "a:b:c"):
        assert problem(path, stream=True), path


@pytest.mark.parametrize(
    ("one", "other"), [("Windows", "WINDOWS"), ("é", "É"), ("д", "Д"), ("ÿ", "Ÿ"), ("ﬂoor", "ﬂOOR")]
)
def test_spellings_of_one_name(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ß", "SS"),
        ("\u0131", "I"),
        ("\u017f", "S"),
        ("é", "e\u0301"),
        ("µ", "μ"),
        ("\U00010428", "\U00010400"),
    ],
)
def test_names_that_look_alike_and_are_two_files(one, other):
    assert fold(one) != fold(other)


@given(st.text())
def test_folding_keeps_the_length_and_changes_nothing_twice(text):
    folded = fold(text)
    assert len(folded) == len(text)
    assert fold(folded) == folded
