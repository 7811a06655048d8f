import pytest

from wcbuild.dockerfile import words
from wcbuild.dockerfile.words import MAX_EXPANSION, MAX_NESTING, WordError, expand

ENV = {"x": "value", "empty": "", "path": "/usr/local/bin:/bin", "two": "a  b", "1": "one"}
ENV |= {"back": "a\\b"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$x-${x}", "value-value"),
        ("$unset|${unset}|$", "||$"),
        ("$12", ""),
        ("$1x", "onex"),
        ("$xé", ""),
        ("${x:-d} ${unset:-d} ${empty:-d} ${empty-d}", "value d d "),
        ("${x:+a} ${unset:+a} ${empty:+a} ${empty+a}", "a   a"),
        ("${unset:-${x}}", "value"),
        ("${unset:-a b}", "a b"),
        ("${path#*/} ${path##*/}", "usr/local/bin:/bin bin"),
        ("${path%/*} ${path%%/*}", "/usr/local/bin: "),
        ("${path#/u?r}", "/local/bin:/bin"),
        ("${path#no}", "/usr/local/bin:/bin"),
        (r"${path/\/bin/X}", "/usr/localX:/bin"),
        (r"${path//\/bin/X}", "/usr/localX:X"),
        ("${path//:*/}", "/usr/local/bin"),
        ("${x//?/-}", "-----"),
        ("${x/[/-}", "value"),
        (r"${path#'\'}", "/usr/local/bin:/bin"),
        (r"${back#a'\'} ${back%'\'b} ${back/'\'/-}", "b a a-b"),
        (r'${back#"a\b"}', ""),
        ("'$x' \"$x\" \\$x", "$x value $x"),
        (r'"a\"b\c\\"', r'a"b\c' + "\\"),
        (r"a\ b\\c", r"a b\c"),
        ("trailing\\", "trailing"),
        ("$x.$x_", "value."),
        ("$$", ""),
    ],
)
def test_expands(word, expected):
    assert expand(word, ENV).text == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("${x", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${x:-a", "syntax error: missing '}'"),
        ("${x/a}", "syntax error: missing '/' in"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${x:=a}", r"unsupported modifier \(:=\) in substitution"),
        ("${x:1:2}", r"unsupported modifier \(:1\) in substitution"),
        ("${unset:1:2}", r"unsupported modifier \(:1\) in substitution"),
        ("${x:#a}", r"unsupported modifier \(:#\) in substitution"),
        (r"${x#\q}", r"invalid escape '\\q'"),
        ("${unset?}", "unset: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${unset:?give me a value}", "unset: give me a value"),
    ],
)
def test_refuses(word, message):
    with pytest.raises(WordError, match=message):
        expand(word, ENV)


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("a ${x:=b} c", "${x:=b}"),
        ("${unset:-${unset?}}", "${unset?}"),
        ("${x\nmore", "${x"),
        ("'", ""),
    ],
)
def test_names_the_part_to_blame(word, part):
    with pytest.raises(WordError) as caught:
        expand(word, ENV)
    assert caught.value.word == part


def test_the_backtick_escapes_instead_of_the_backslash():
    assert expand("C:\\a`$x$x\\", ENV, escape="`").text == "C:\\a$xvalue\\"


def test_splits_after_expansion_but_not_in_quotes():
    assert expand('$two "$two" c\\ d', ENV).words == ["a", "b", "a  b", "c d"]


def test_blanks_behind_the_sign_of_a_heredoc_do_not_split():
    assert expand("a << E <<<\tb <<\n<< 'c d'", {}).words == [
        "a",
        "<< E",
        "<<<",
        "b",
        "<<",
        "<< c d",
    ]


def test_a_form_for_the_shell_is_left_alone_with_what_is_not_set():
    assert expand("${name:1:2}", {}, keep_unset=True).text == "${name:1:2}"


def test_words_without_text_fall_away():
    assert expand("  '' $unset x ", ENV).words == ["x"]


def test_tells_which_variables_were_set_and_which_were_not():
    found = words.expand("$b $x ${a:-${c}} $b", ENV)
    assert (found.used, found.unset) == (("x",), ("b", "c", "a"))


def test_quotes_in_a_heredoc_are_ordinary():
    assert words.expand_heredoc("'$x' \"$x\" \\$x", ENV).text == "'value' \"value\" $x"


def test_expansion_bomb_is_refused():
    env = {"a": "x" * (MAX_EXPANSION // 8)}
    for name, before in ("ba", "cb", "dc"):
        env[name] = expand(f"${before}${before}", env).text
    with pytest.raises(WordError, match="expands to more than"):
        expand("$d$d", env)


def test_replacement_bomb_is_refused():
    env = {"a": "x" * 70_000, "b": "y" * 70_000}
    with pytest.raises(WordError, match="expands to more than"):
        expand("${a//x/$b}", env)


def test_nesting_without_end_is_refused():
    with pytest.raises(WordError, match=f"more than {MAX_NESTING}"):
        expand("${a:-" * 10_000 + "}" * 10_000, {})


def test_pattern_of_many_stars_is_not_slow():
    value = "a" * 20_000
    assert expand("${v%" + "*a" * 200 + "*b}", {"v": value}).text == value
