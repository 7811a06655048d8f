from dataclasses import replace

import pytest

from wcbuild.dockerfile.instructions import Copy, Maintainer, OnBuild, Run
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import MAX_DOCKERFILE_BYTES, parse_dockerfile, parse_trigger
from wcbuild.errors import DockerfileSyntaxError, SourceError

SPAN = Span(file="Dockerfile", first=7, last=7)


def test_splits_at_from():
    dockerfile = parse_dockerfile(b"ARG A\nFROM x AS One\nRUN a\nRUN b\nFROM one\n", file="D")
    assert [arg.pairs for arg in dockerfile.args] == [(("A", None),)]
    assert [(stage.index, stage.name) for stage in dockerfile.stages] == [(0, "one"), (1, "")]
    assert [len(stage.instructions) for stage in dockerfile.stages] == [2, 0]
    assert len(dockerfile.nodes) == 5


def test_names_the_file_in_every_span():
    dockerfile = parse_dockerfile(b"FROM x\nRUN a\n", file="sub/app.Dockerfile")
    (run,) = dockerfile.stages[0].instructions
    assert str(run.span) == "sub/app.Dockerfile:2"


def test_a_thousand_stages_are_read():
    text = b"".join(b"FROM s%d AS s%d\nRUN a\n" % (n, n + 1) for n in range(1000))
    assert len(parse_dockerfile(text, file="D").stages) == 1000


def test_a_file_that_is_no_dockerfile_is_measured_before_it_is_read():
    with pytest.raises(DockerfileSyntaxError, match="is larger than"):
        parse_dockerfile(b"\0" * (MAX_DOCKERFILE_BYTES + 1), file="disk.img")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("FROM x\nRUN a && \n    pip install b\n", 'does the line above lack a "\\" at its end?'),
        ("FROM x\nENV a=b\n  other=d\n", 'does the line above lack a "\\" at its end?'),
        (
            "# escape=`\nFROM x\nRUN a `\n b;\n  Exit 1\n",
            'does the line above lack a "`" at its end?',
        ),
        # In lower case, unlike the keywords, what is near one may be a command as well.
        (
            "FROM x\nRUN a &&\n  arc b c\n",
            'did you mean "arg"? or does the line above lack a "\\" at its end?',
        ),
        ("FROM x\nRUN a\nCPOY b c\n", 'did you mean "COPY"?'),
        ("from x\nrun a\ncpoy b c\n", 'did you mean "copy"?'),
        ("FROM x\nRUN a\n\npip install b\n", ""),
        ("FROM\u00a0base\n", "it holds U+00A0 (no-break space), which is no plain blank"),
        ("FROM x\nRUN\u200b a\n", "it holds U+200B (zero width space), which is no plain blank"),
        ("FR\u00d6M x\n", 'did you mean "FROM"?'),
        ("pip install b\n", ""),
    ],
)
def test_a_line_without_a_keyword_may_be_the_rest_of_the_line_above(text, hint):
    with pytest.raises(DockerfileSyntaxError, match="unknown instruction") as caught:
        parse_dockerfile(text.encode(), file="Dockerfile")
    assert caught.value.hint == hint


def test_reads_a_trigger_and_blames_the_from_that_brings_it():
    text = "run echo \\\n a"
    (run,) = parse_trigger(text, span=SPAN, escape="\\")
    assert isinstance(run, Run)
    assert (run.command.args, run.span) == (("echo  a",), replace(SPAN, trigger=text))


def test_a_trigger_is_read_with_the_escape_character_in_force():
    (copy,) = parse_trigger("COPY a C:\\", span=SPAN, escape="`")
    assert isinstance(copy, Copy)
    assert copy.dest == "C:\\"


def test_a_trigger_may_have_heredocs():
    (copy,) = parse_trigger("COPY <<a /b\ntext\na", span=SPAN, escape="\\")
    assert isinstance(copy, Copy)
    assert [heredoc.content for heredoc in copy.heredocs] == ["text\n"]


def test_a_trigger_of_another_tool_may_delay_what_a_dockerfile_may_not():
    (delayed,) = parse_trigger("ONBUILD RUN a", span=SPAN, escape="\\")
    assert isinstance(delayed, OnBuild)
    assert delayed.expression == "RUN a"
    (author,) = parse_trigger("MAINTAINER a", span=SPAN, escape="\\")
    assert isinstance(author, Maintainer)


@pytest.mark.parametrize("text", ["", "FOO", "FROM a", "RUN a\nRUN b", "# c"])
def test_a_trigger_that_is_not_one_instruction_is_refused(text):
    with pytest.raises(SourceError, match=r"^Dockerfile:7: ONBUILD trigger"):
        parse_trigger(text, span=SPAN, escape="\\")
