"""ADD of what has to be fetched, and contexts that have to be: what they are lowered to."""

import pytest
from anyimages import lowered

from wcbuild.dockerfile.lower import ContextKind, NamedContext, remote
from wcbuild.errors import SourceError
from wcbuild.graph.keys import op_json
from wcbuild.graph.ops import ContextOp, CopyOp, GitOp, HttpOp, JoinedCopyOp

REPOSITORY = "https://h.example/r.git"
FILE = "https://h.example/f.tgz"


def add(line):
    """Return the operation of an ADD, and those of its inputs."""
    graph = lowered(f"FROM scratch\n{line}\n").graph
    step = graph.steps[-1]
    return step.op, [graph.steps[each].op for each in step.inputs[1:]]


def test_a_url_is_a_file_that_is_not_unpacked():
    op, inputs = add(f"ADD {FILE} /d/")
    assert inputs == [HttpOp(url=FILE, name="f.tgz")]
    assert (op.sources, op.dest, op.unpack) == (("f.tgz",), "/d/", False)


def test_a_url_is_unpacked_if_it_is_to_be():
    assert add(f"ADD --unpack {FILE} /d/")[0].unpack
    assert not add(f"ADD --unpack=false {FILE} /d/")[0].unpack


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h.example", "__unnamed__"),
        ("http://h.example/", "__unnamed__"),
        ("http://h.example/..", "__unnamed__"),
        ("http://h.example/a/b?c=/d#e", "b"),
        ("http://h.example/a%20b", "a b"),
        ("http://h.example/a/", "a"),
        ("http://h.example/%00", "__unnamed__"),
        ("http://h.example/%2e%2e", "__unnamed__"),
        ("http://h.example/x%2f..%2fy", "y"),
    ],
)
def test_a_file_is_called_by_the_last_part_of_its_path(url, name):
    assert remote.added(url, checksum="", keep_git_dir=None).name == name


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http:///a", "it names no host"),
        ("https://", "it names no host"),
        ("http://:80/a", "it names no host"),
        ("http://u:p@/a", "it names no host"),
        ("http://h.example:x/a", "Port could not be cast"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_at_its_line(url, why):
    with pytest.raises(SourceError, match=why) as caught:
        lowered(f"FROM scratch\nADD {url} /d/\n")
    assert (caught.value.word, caught.value.spans[0].first) == (url, 2)
    assert "u:p" not in str(caught.value)


def test_a_name_is_no_pattern():
    op, _ = add("ADD http://h.example/a%2a[b].txt /d/")
    assert op.sources == ("a[*][[]b].txt",)


def test_a_repository_is_copied_whole():
    op, inputs = add(f"ADD --keep-git-dir {REPOSITORY}#v1:docs /d")
    assert inputs == [GitOp(remote=REPOSITORY, ref="v1", subdir="docs", keep_git_dir=True)]
    assert (op.sources, op.unpack) == (("",), False)


def test_sources_of_every_kind_keep_their_order():
    op, inputs = add(f"ADD --chown=1 a {FILE} b c {REPOSITORY} d /to/")
    assert isinstance(op, JoinedCopyOp)
    context = ContextOp(name="context")
    assert [type(each) for each in inputs] == [ContextOp, HttpOp, ContextOp, GitOp, ContextOp]
    assert inputs[0] == inputs[2] == inputs[4] == context
    assert [part.sources for part in op.parts] == [("a",), ("f.tgz",), ("b", "c"), ("",), ("d",)]
    assert [part.unpack for part in op.parts] == [True, False, True, False, True]
    assert {part.chown for part in op.parts} == {"1"}


def test_a_heredoc_comes_last():
    op, _ = add(f"ADD {FILE} a <<h /to/\ntext\nh")
    assert [len(part.inline) for part in op.parts] == [0, 1]
    op, inputs = add(f"ADD {FILE} <<h /to/\ntext\nh")
    assert isinstance(op, CopyOp)
    assert len(op.inline) == len(inputs) == 1


def test_github_without_a_scheme_is_a_path_for_add():
    op, inputs = add("ADD github.com/a/b /d/")
    assert inputs == [ContextOp(name="context")]
    assert op.sources == ("github.com/a/b",)


def test_the_same_url_is_fetched_once():
    graph = lowered(f"FROM scratch\nADD {FILE} /a\nADD {FILE} /b\n").graph
    assert sum(isinstance(step.op, HttpOp) for step in graph.steps) == 1


SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"COPY {FILE} /d/", "source can't be a URL for COPY"),
        (f"COPY {REPOSITORY} /d/", "source can't be a git ref for COPY"),
        ("COPY git@h.example:a/b /d/", "source can't be a git ref for COPY"),
        (f"ADD --checksum={SHA} a /d/", "checksum requires HTTP(S) or Git sources"),
        (f"ADD --checksum={SHA} {FILE} a /d/", "checksum can't be specified for multiple sources"),
        (f"ADD --checksum=foo {FILE} /d/", "invalid checksum digest format"),
        (f"ADD --checksum=md5:abc {FILE} /d/", "invalid checksum digest format"),
        (f"ADD --checksum=xyz {REPOSITORY} /d/", "invalid checksum digest format"),
        (
            f"ADD --keep-git-dir=false {REPOSITORY}?keep-git-dir=true /d/",
            "inconsistent keep-git-dir configuration",
        ),
        (
            f"ADD --checksum=aaaaaaa {REPOSITORY}?checksum=bbbbbbb /d/",
            'checksum "aaaaaaa" differs from the URL\'s, "bbbbbbb"',
        ),
        (f"ADD {REPOSITORY}?depth=1 /d/", f'git URL "{REPOSITORY}?depth=1": unexpected query'),
        ("ADD http://[::1/x /d/", 'impossible URL "http://[::1/x"'),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_line(line, message):
    with pytest.raises(SourceError) as caught:
        add(line)
    assert caught.value.message.startswith(message)
    assert caught.value.spans[0].first == 2


def test_a_checksum_may_come_from_an_argument():
    text = f"FROM scratch\nARG SUM={SHA}\nADD --checksum=$SUM {FILE} /d/\n"
    ops = [step.op for step in lowered(text).graph.steps]
    assert HttpOp(url=FILE, name="f.tgz", checksum=SHA) in ops


def test_passwords_are_in_no_history_label_key_or_repr():
    text = (
        "FROM scratch\nADD https://me:hush@h.example/f /d/\n"
        "ADD https://me:hush@h.example/r.git#main /e/\n"
    )
    made = lowered(text)
    shown = [line.created_by for line in made.plan.history]
    assert shown[0] == "ADD https://xxxxx:xxxxx@h.example/f /d/ # buildkit"
    for step in made.graph.steps:
        shown += [step.label, repr(step), str(op_json(step.op))]
    assert "hush" not in " ".join(shown)


# -- contexts


def test_a_named_context_may_be_fetched():
    op = remote.context(f"{REPOSITORY}#v1")
    named = {"src": NamedContext(name="src", kind=ContextKind.FILES, files=op)}
    text = "FROM scratch\nCOPY --from=src a /a\nRUN --mount=type=bind,from=src,target=/m x\n"
    ops = [step.op for step in lowered(text, named).graph.steps]
    assert GitOp(remote=REPOSITORY, ref="v1") in ops
    assert not any(isinstance(each, ContextOp) for each in ops)


def test_a_named_context_that_is_a_number_goes_before_the_stage():
    named = {"0": NamedContext(name="0", kind=ContextKind.FILES)}
    text = "FROM scratch\nCOPY a /a\nFROM scratch\nCOPY --from=0 a /a\n"
    ops = [step.op for step in lowered(text, named).graph.steps]
    assert [each.name for each in ops if isinstance(each, ContextOp)] == ["0"]
    assert sum(isinstance(each, CopyOp) for each in ops) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://h.example/x.tar", HttpOp),
        ("git@h.example:a/b", GitOp),
        ("ssh://h.example/b", GitOp),
        ("github.com/a/b", GitOp),
        ("folder", type(None)),
        ("file:///etc", type(None)),
    ],
)
def test_says_what_a_context_is(value, expected):
    assert isinstance(remote.context(value), expected)


def test_a_context_may_keep_its_git_folder():
    assert remote.context(REPOSITORY, keep_git_dir=True).keep_git_dir
    assert remote.context(f"{REPOSITORY}?keep-git-dir=1").keep_git_dir
    assert not remote.context(REPOSITORY).keep_git_dir


def test_files_of_a_tar_keep_their_owners():
    graph = lowered("FROM scratch\nCOPY a /a\n", owned_context=True).graph
    assert graph.steps[-1].op.keep_owner
    assert not lowered("FROM scratch\nCOPY a /a\n").graph.steps[-1].op.keep_owner


def as_stage(name):
    return NamedContext(name="x", kind=ContextKind.STAGE, stage=name)


def test_a_named_context_may_be_another_stage():
    text = (
        "FROM debian AS one\nRUN one\nFROM debian AS two\nRUN two\n"
        "FROM scratch\nCOPY --from=two / /\n"
    )
    ops = [step.op for step in lowered(text, {"two": as_stage("one")}).graph.steps]
    assert [op.args[-1] for op in ops if hasattr(op, "args")] == ["one"]
    ops = [step.op for step in lowered(text, {"two": as_stage("ONE")}, target="two").graph.steps]
    assert [op.args[-1] for op in ops if hasattr(op, "args")] == ["one"]


def test_a_named_context_that_is_nothing_is_an_error():
    with pytest.raises(SourceError, match='neither a folder nor a stage "nothing"'):
        lowered("FROM x\n", {"x": as_stage("nothing")})
