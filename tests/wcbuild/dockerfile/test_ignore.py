import pytest

from wcbuild.dockerfile.ignore import (
    MAX_CHANGES,
    MAX_WILDCARDS,
    NO_MATCH,
    IgnoreRules,
    read_patterns,
)
from wcbuild.dockerfile.wildcard import BadPatternError
from wcbuild.errors import SourceError


def excluded(rules, *paths):
    return [path for path in paths if IgnoreRules(rules).excludes(path)]


def test_reads_patterns_with_their_lines():
    data = b"\xef\xbb\xbf# comment\n\n /a//b/ \n! ./c\n #not-a-comment\r\n"
    assert read_patterns(data) == [(3, "a/b"), (4, "!c"), (5, "#not-a-comment")]


def test_no_rules_exclude_nothing():
    rules = IgnoreRules.parse(b"# only a comment\n")
    assert not rules
    assert not rules.excludes("a/b")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a", "a"),
        ("a", "a/b/c"),
        ("./a/", "a"),
        ("*.log", "x.log"),
        ("*/b", "a/b/c"),
        ("a?", "ab"),
        ("[ab]", "b"),
        ("**", "a/b"),
        ("**/c", "c"),
        ("**/c", "a/b/c/d"),
        ("**/*.py", "a/b.py"),
        ("**/*.py", ".py"),
        ("**.py", "a.py"),
        ("**.py", "a/b.py"),
        ("**a/b", "xa/b"),
        ("a/**", "a/b"),
        ("a/**/c", "a/c"),
        ("a/**/c", "a/b/b/c"),
        ("a**", "ab/c"),
        (r"\*", "*"),
        ("a.b", "a.b"),
        ("dir with space", "dir with space/x"),
    ],
)
def test_excludes(pattern, path):
    assert excluded([pattern], path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a", "b/a"),
        ("*.log", "a/x.log"),
        ("a/**", "a"),
        ("**/c", "ac"),
        ("**.py", "a.pyc"),
        (r"\*", "a"),
        ("a.b", "axb"),
        ("a", "A"),
    ],
)
def test_does_not_exclude(pattern, path):
    assert not excluded([pattern], path)


@pytest.mark.parametrize(
    "pattern", ["*a" * 100, "**/*a*/" * 20 + "b", "**/a/" * 50 + "b", "***a*a*a*a*a*a*b"]
)
def test_no_pattern_is_slow(pattern):
    assert not excluded([pattern], "a/" * 100 + "a" * 200 + "c")


@pytest.mark.parametrize("pattern", ["x**a**a**a**a**b", "[^b]*[^b]*[^b]*[^b]*[^b]*b"])
def test_a_pattern_to_be_tried_in_every_way_has_few_stars(pattern):
    with pytest.raises(SourceError, match=r"ignore:2: more than 4 stars"):
        IgnoreRules.parse(f"a\n{pattern}\n".encode(), file="ignore")


def test_thousands_of_wildcards_are_refused_and_of_paths_are_not():
    rules = IgnoreRules(["*", *(f"!a{n}/b/c" for n in range(100_000))])
    assert not rules.excludes("a7/b/c")
    assert rules.may_include_below("a7/b", rules.state("a7/b"))
    assert not rules.may_include_below("a7/c", rules.state("a7/c"))
    with pytest.raises(SourceError, match=f"more than {MAX_WILDCARDS} patterns"):
        IgnoreRules.parse(b"a*b\n" * (MAX_WILDCARDS + 1))
    with pytest.raises(SourceError, match=f"more than {MAX_CHANGES} changes"):
        IgnoreRules.parse(b"a\n!a\n" * MAX_CHANGES)


def test_the_last_pattern_that_matches_decides():
    rules = ["*.md", "!README*.md", "README-secret.md"]
    assert excluded(rules, "a.md", "README.md", "README-secret.md") == ["a.md", "README-secret.md"]


def test_an_exception_takes_back_what_lies_in_an_excluded_folder():
    assert excluded(["a", "!a/b"], "a/x", "a/b", "a/b/c") == ["a/x"]


def test_a_walk_says_the_same_as_a_single_path():
    rules = IgnoreRules(["**/x", "a/*", "!a/b", "a/b/*.o", "!**/keep.o"])
    for path in ("x", "a", "a/b", "a/b/c.o", "a/b/keep.o", "a/c/d", "q/x/y", "a/b/x"):
        state = NO_MATCH
        for end in [index for index, c in enumerate(path) if c == "/"] + [len(path)]:
            state = rules.state(path[:end], state)
        assert rules.is_excluded(state) == rules.excludes(path), path


@pytest.mark.parametrize(
    ("rules", "folder", "expected"),
    [
        (["a"], "a", False),
        (["a", "!b"], "a", False),
        (["a", "!a/b/c"], "a", True),
        (["a", "!a/b/c"], "a/b", True),
        (["a", "!a/b/c"], "a/x", False),
        (["a", "!*/b"], "a", True),
        (["a", "!**/*.txt"], "a", True),
        (["!a/b", "a"], "a", False),
        (["a", "!a"], "a/b", False),
    ],
)
def test_says_whether_something_below_could_be_taken_back(rules, folder, expected):
    rules = IgnoreRules(rules)
    state = NO_MATCH
    for end in [index for index, c in enumerate(folder) if c == "/"] + [len(folder)]:
        state = rules.state(folder[:end], state)
    assert rules.may_include_below(folder, state) is expected


def test_names_the_line_of_a_bad_pattern():
    with pytest.raises(SourceError, match=r"^\.dockerignore:3: syntax error in pattern$"):
        IgnoreRules.parse(b"a\nb\n[\n")
    with pytest.raises(SourceError, match=r'^x:1: illegal exclusion pattern: "!"$'):
        IgnoreRules.parse(b"!\n", file="x")
    with pytest.raises(BadPatternError):
        IgnoreRules(["[a"])


def test_knows_names_that_are_not_text():
    assert IgnoreRules.parse(b"caf\xe9\n").excludes("caf\udce9")
