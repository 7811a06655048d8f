import pytest

from wcbuild.dockerfile.wildcard import BadPatternError, has_wildcard, match


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*", "abc"),
        ("*", ""),
        ("a*/b", "abc/b"),
        ("a*b?c*x", "abxbbxdbxebxczzx"),
        ("a[b-d]e", "ace"),
        ("[^a-c]", "d"),
        ("[!a]", "!"),
        (r"a\*b", "a*b"),
        (r"[\-]", "-"),
        ("é?", "éü"),
    ],
)
def test_matches(pattern, name):
    assert match(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("*", "a/b"), ("a?b", "a/b"), ("a", "ab"), ("[a]", "b"), ("[z-a]", "m"), ("a*b", "a\nc")],
)
def test_does_not_match(pattern, name):
    assert not match(pattern, name)


@pytest.mark.parametrize("pattern", ["[", "[a", "a[", "[]a]", "[-]", "[a-", "[x-]", "a\\", "[\\"])
def test_refuses(pattern):
    with pytest.raises(BadPatternError):
        match(pattern, "a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a*", True), ("[a]", True), (r"\*", False), (r"\\?", True), ("a", False)],
)
def test_tells_wildcards_from_names(text, expected):
    assert has_wildcard(text) is expected


def test_many_stars_are_not_slow():
    assert not match("*a" * 100 + "b", "a" * 5_000)
