"""Any text is read or refused with an error of ours; nothing crashes, nothing hangs."""

import posixpath
import re

from hypothesis import example, given
from hypothesis import strategies as st

from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.dockerfile import words
from wcbuild.dockerfile.directives import detect_syntax
from wcbuild.dockerfile.ignore import NO_MATCH, IgnoreRules
from wcbuild.dockerfile.lower import Entitlement, Options, ResolvedImage, lower
from wcbuild.dockerfile.parser import Node, parse
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.dockerfile.wildcard import BadPatternError, match
from wcbuild.dockerfile.words import WordError
from wcbuild.errors import DockerfileSyntaxError, SourceError, WcbuildError
from wcbuild.graph.keys import step_key

KEYWORDS = (
    *("FROM", "ARG", "RUN", "CMD", "LABEL", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME"),
    *("USER", "WORKDIR", "ONBUILD", "STOPSIGNAL", "HEALTHCHECK", "SHELL", "MAINTAINER"),
)
FRAGMENTS = (
    *("FROM ", "RUN ", "COPY ", "ENV ", "ARG ", "CMD ", "ONBUILD ", "HEALTHCHECK ", "LABEL ", "x"),
    *("--mount=type=cache,", "--from=", "a=b ", "# escape=`", "<<EOF", "<<-'E'", "EOF", "E", "AS "),
    *(
        "\n",
        "\r\n",
        "\\",
        "`",
        "'",
        '"',
        " ",
        "\t",
        "#",
        "[",
        '["a"]',
        ",",
        "{",
        "}",
        "$",
        "${",
        ":-",
    ),
    *(
        "é",
        "\u2028",
        "\x00",
        "/",
        "//",
        "*",
        "?",
        "[^",
        "!",
        "**",
        ".",
        "²",
        "9" * 5000,
        "\x1f",
        "<<",
    ),
)
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)
NAMES = st.text("ab.*[]é", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(TEXTS.map(str.encode) | st.binary(max_size=200))
@example(b"FROM a\n" + b"RUN x \\\n" * 1000)
@example(b"ONBUILD " * 8000)
@example(b"FROM a\nRUN " + b"9" * 5000 + b"<<E\nE\n")
@example(b"FROM a\nCMD " + b"[" * 60_000)
@example(b"FROM a\nRUN <<E \xff\nE\n")
@example(b"FROM a\nRUN <<E\n\xff\nE\n")
@example(b"FROM a\nRUN --x\\")
def test_any_bytes_are_read_or_refused_with_a_place(data):
    try:
        dockerfile = parse_dockerfile(data, file="Dockerfile")
    except DockerfileSyntaxError as error:
        spans = error.spans
    else:
        spans = tuple(node.span for node in dockerfile.nodes)
        for node in dockerfile.nodes:
            "".join((node.original, *(heredoc.raw for heredoc in node.heredocs))).encode()
    assert spans or not data
    lines = data.count(b"\n") + 1
    assert all(1 <= span.first <= span.last <= lines for span in spans)


class Anything:
    """Any name is an image."""

    def context(self, name, platform):
        return None

    def image(self, name, platform):
        config = ImageConfig(platform=platform, config=ContainerConfig(on_build=("RUN $x",)))
        return ResolvedImage(digest=sha256(name.encode()), config=config)


OPERANDS = st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join)
FLAGS = st.sampled_from(
    (
        *("", "--from=a ", "--from=0 ", "--chmod=$x ", "--chown=1:$y ", "--link ", "--parents "),
        *("--mount=type=bind,target=/x,from=a ", "--mount=type=$x,target=$y ", "--exclude=[ "),
        *("--platform=$x ", "--security=insecure ", "--device=a/b=c ", "--network=host "),
    )
)
LINES = st.tuples(st.sampled_from(sorted(KEYWORDS)), FLAGS, OPERANDS).map(
    lambda parts: f"{parts[0]} {parts[1]}{parts[2]}"
)


@given(st.lists(LINES, max_size=8).map("\n".join), st.sampled_from(("linux", "windows")), OPERANDS)
@example("RUN --mount=type=$x,target=$y a", "linux", "wrong")
@example("RUN --mount=type=cache,target=/y,uid=$x a", "linux", "²")
@example(f"STOPSIGNAL {'9' * 5000}", "linux", "")
@example(f"COPY --from={'9' * 5000} a b", "linux", "")
@example("COPY --chown=$x --chmod=$x a b", "linux", "9" * 5000)
@example("EXPOSE $x", "linux", "9" * 5000)
@example("FROM --platform=$x a", "linux", "a(b+c)/d")
def test_whatever_can_be_read_is_lowered_or_refused_with_a_place(lines, os, value):
    platform = Platform(os=os, architecture="amd64")
    options = Options(
        platform=platform,
        build_platform=platform,
        build_args={"x": value},
        allow=frozenset(Entitlement),
    )
    text = f"ARG x=1\nFROM scratch AS a\n{lines}\n"
    try:
        dockerfile = parse_dockerfile(text.encode(), file="Dockerfile")
    except DockerfileSyntaxError:
        return
    refusal = None
    try:
        lowered = lower(dockerfile, options, Anything())
    except WcbuildError as error:
        refusal = error
    if refusal is not None:
        assert refusal.spans
        assert str(refusal)
        return
    for number, step in enumerate(lowered.graph.steps):
        assert all(each < number for each in step.inputs)
        step_key(step.op, ())
    assert lowered.plan.rootfs < len(lowered.graph.steps)


DIRECTIVES = st.lists(
    st.sampled_from(
        ("# syntax=a\n", "#check=b c\r\n", "// syntax=d\n", '{"syntax":"e"}', "#!\n", "# ")
    )
).map("".join)


@given(TEXTS | DIRECTIVES)
@example("# check=a\n# check=b\n")
@example("{" + '"a":[' * 60_000)
def test_detecting_the_syntax_never_fails(text):
    found = detect_syntax(text)
    assert found is None or "syntax" in text


@given(
    st.lists(st.from_regex(r"--[a-z=/,]{1,9}", fullmatch=True), max_size=4),
    st.lists(st.from_regex(r"[a-z/.]{1,5}", fullmatch=True), min_size=2, max_size=4),
    st.sampled_from((" ", "\t", "  ", " \\\n ", " \\\n# c\n ")),
)
def test_flags_and_words_are_found_as_they_are_written(flags, args, blank):
    text = blank.join(("COPY", *flags, *args))
    (node,) = parse(f"{text}\n", file="Dockerfile").nodes
    assert (list(node.flags), list(node.args)) == (flags, args)


@given(TEXTS)
def test_nodes_keep_all_words_of_a_line(text):
    """Only the last blank and the continuation fall away from what is written."""
    line = re.sub(r"[\n\r\\`#]", "", text)
    try:
        (node,) = parse(f"RUN {line} x\n", file="Dockerfile").nodes
    except DockerfileSyntaxError:
        return
    assert isinstance(node, Node)
    assert node.original == f"RUN {line} x"


@given(TEXTS, st.dictionaries(st.sampled_from("abx"), TEXTS), st.sampled_from("\\`"))
@example("${a:-" * 2000 + "}" * 2000, {}, "`")
def test_any_word_is_expanded_or_refused(text, env, escape):
    try:
        found = words.expand(text, env, escape=escape)
    except WordError:
        return
    assert set(found.unset).isdisjoint(env)
    assert set(found.used) <= set(env)
    assert all(word for word in found.words)


@given(st.text("abc \t.:/-", max_size=30))
def test_a_word_without_meaning_stays(text):
    assert words.expand(text, {}).text == text
    assert words.expand(text, {}).words == text.split()


@given(st.text(max_size=30))
def test_a_quoted_word_is_itself(text):
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert words.expand(quoted, {}).text == text


PATTERNS = st.tuples(
    st.sampled_from(("", "!")),
    st.lists(
        st.sampled_from(("a", "b", "c", "/", "*", "**/", "**", "?", "[ab]", "[^a]")), max_size=7
    ).map("".join),
).map("".join)


@given(
    st.lists(PATTERNS | TEXTS.map(lambda text: text[:12]), max_size=6),
    st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=4).map("/".join) | PATHS,
)
@example(["!\\/a"], "[/b")
@example(["a", "!a/b/c"], "a/b/c")
@example(["a", "!a/*/c"], "a/b/c")
@example(["a", "!a/*"], "a/b")
@example(["a", "!**/b"], "a/b")
def test_ignore_rules_say_the_same_in_a_walk(patterns, path):
    try:
        rules = IgnoreRules(patterns)
    except BadPatternError:
        return
    state = NO_MATCH
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        may_include = rules.may_include_below("/".join(parts[: depth - 1]), state)
        if depth > 1 and rules.is_excluded(state) and not may_include:
            assert rules.excludes(path)
        state = rules.state("/".join(parts[:depth]), state)
    assert rules.is_excluded(state) == rules.excludes(path)


def clean(path):
    """Return a path as ignore files are read: unlike POSIX, Go gives two slashes at the beginning no meaning."""
    return re.sub("^//", "/", posixpath.normpath(path))


def plainly(pattern):
    """Translate a pattern in the way that anybody would, to be tried in every way."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern)
    last = parts[-1] or parts[-2:-1] != ["**"]
    meaning = {"**": "(?:.*/)?", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    texts = [
        meaning.get(part) or (part if part[:1] == "[" else re.escape(part))
        for part in parts
        if part
    ]
    return re.compile("".join(texts if last else (*texts[:-1], ".*")), re.DOTALL)


@given(
    st.lists(st.sampled_from(("a", "b", "/", "*", "**/", "**", "?", "[ab]", "[^a]")), max_size=9),
    st.text("ab/c", min_size=1, max_size=12),
)
@example(["a", "*", "b", "**", "c"], "abcbc")
@example(["a", "*", "[^a]", "*", "b"], "ab/b")
@example(["*", "/", "a", "**"], "b/abc")
@example(["a", "**/", "b", "**/", "c"], "ab/b/c")
@example(["**/", "c"], "c")
@example(["/", "/"], "/")
@example(["**/", "b", "**/", "**/", "a"], "baa/ba")
@example(["**/", "b", "**/", "**", "a"], "baa/ba")
def test_an_ignore_pattern_matches_whatever_can_be_tried(parts, path):
    pattern = clean("".join(parts))
    if re.match(r"\*\*[^/]", pattern):
        return  # at the very beginning the first two stand for any text
    path = clean(f"/{path}")[1:] or "a"
    try:
        rules = IgnoreRules((pattern,))
    except BadPatternError:
        return
    folders = [path, *(path[: slash.start()] for slash in re.finditer("/", path))]
    assert rules.excludes(path) == any(map(plainly(pattern).fullmatch, folders))


@given(st.binary(max_size=100))
def test_any_ignore_file_is_read_or_refused_with_its_line(data):
    spans = ()
    try:
        IgnoreRules.parse(data).excludes("a/b")
    except SourceError as error:
        spans = error.spans
    assert all(span.last <= data.count(b"\n") + 1 for span in spans)


@given(st.text("ab*?[]^-\\/", max_size=12), PATHS)
def test_any_wildcard_matches_or_is_refused(pattern, name):
    try:
        match(pattern, name)
    except BadPatternError:
        return


@given(PATHS)
def test_an_escaped_name_matches_itself_alone(name):
    assert match(re.sub(r"([*?\[\\])", r"\\\1", name), name)
