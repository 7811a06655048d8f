"""What the golden folders do not show: flags, and arguments that must be refused."""

import pytest

from wcbuild.dockerfile.instructions import Copy, Heredoc, Run
from wcbuild.dockerfile.parser import parse
from wcbuild.dockerfile.reader import parse_instruction
from wcbuild.errors import DockerfileSyntaxError


def read(text):
    (node,) = parse(text, file="Dockerfile").nodes
    return parse_instruction(node)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --checksum=x a b", "unknown flag: --checksum"),
        ("ADD --from=x a b", "unknown flag: --from"),
        ("ENV --x a=b", "unknown flag: --x"),
        ("FROM --platfrom=x a", "unknown flag: --platfrom"),
        ("RUN --security=none a", 'security "none" is not valid'),
        ("RUN --device= a", "a name is required"),
        ("ENV =b", "ENV names can not be blank"),
        ("LABEL =b", "LABEL names can not be blank"),
        ("ARG =b", "ARG names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME ["a", " "]', "VOLUME specified can not be an empty string"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=1.5 CMD a", '--retries: "1.5" is not a number'),
        ("HEALTHCHECK --timeout=1ns CMD a", 'Interval "timeout" cannot be less than 1ms'),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD maintainer me", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("RUN --mount= a", "--mount says nothing"),
        ("RUN --device=x,y=z a", "unexpected key 'y' in 'y=z'"),
    ],
)
def test_refuses(line, message):
    with pytest.raises(DockerfileSyntaxError) as caught:
        read(line + "\n")
    assert message in caught.value.message


def test_a_switch_may_be_turned_off():
    copy = read("COPY --link=FALSE --parents=true a b\n")
    assert isinstance(copy, Copy)
    assert (copy.link, copy.parents) == (False, True)


def test_flags_of_arg_and_stopsignal_are_swallowed():
    assert read("ARG --x a\n").pairs == (("a", None),)
    assert read("STOPSIGNAL --x 9\n").signal == "9"


def test_a_word_after_the_first_operand_is_no_flag():
    assert read("COPY a --from=b\n").dest == "--from=b"


def test_a_command_without_words_is_empty_text_for_the_shell():
    command = read("RUN\n").command
    assert (command.shell, command.args) == (True, ("",))


def test_a_trigger_is_kept_as_it_is_written():
    assert read("onBuild  run  a  b\n").expression == "run  a  b"
    assert read("ONBUILD \x1f\n").expression == "\x1f"


def test_a_word_with_an_open_quote_is_no_heredoc():
    assert read("COPY <<'E b c\n").sources == ("<<'E", "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("RUN <<E\na\nE\n", True), ("RUN <<E sh\na\nE\n", False), ("RUN sh <<E\na\nE\n", False)],
)
def test_says_whether_a_heredoc_is_the_whole_command(text, expected):
    run = read(text)
    assert isinstance(run, Run)
    assert run.heredoc_only is expected


def test_a_chomped_heredoc_loses_leading_tabs_alone():
    heredoc = Heredoc(name="E", raw="\t\ta\tb\n\n c\n", chomp=True)
    assert heredoc.content == "a\tb\n\n c\n"
    assert Heredoc(name="E", raw="\ta\n").content == "\ta\n"
