"""What a Dockerfile offers: targets, and what one of them takes."""

import pytest

from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.dockerfile.lower import Options, ResolvedImage
from wcbuild.dockerfile.outline import list_targets, outline
from wcbuild.dockerfile.source import SourceFile
from wcbuild.errors import DockerfileSyntaxError, SourceError

AMD64 = Platform(os="linux", architecture="amd64")


class Images:
    """Any name is an image."""

    def context(self, name, platform):
        return None

    def image(self, name, platform):
        config = ImageConfig(platform=platform, config=ContainerConfig())
        return ResolvedImage(digest=sha256(name.encode()), config=config)


def source(text):
    return SourceFile(name="Dockerfile", data=text.encode())


def outlined(text, **options):
    given = Options(platform=AMD64, build_platform=AMD64, **options)
    return outline(source(text), given, Images(), None)


def args(text, **options):
    return [(arg.name, arg.value, arg.span.first) for arg in outlined(text, **options).args]


def test_targets_are_the_stages_with_what_comments_say_of_them():
    text = (
        "ARG V=1\n# words\n# base what all stand on\nFROM debian:$V AS base\n"
        "FROM --platform=$BUILDPLATFORM base\n"
    )
    first, last = list_targets(source(text)).targets
    assert (first.name, first.description, first.base) == ("base", "what all stand on", "debian:$V")
    assert (first.is_default, last.is_default) == (False, True)
    assert (last.name, last.base, last.platform) == ("", "base", "$BUILDPLATFORM")
    assert last.span.first == 5


def test_targets_of_a_file_that_cannot_be_read_are_an_error():
    with pytest.raises(DockerfileSyntaxError):
        list_targets(source("FROM a\nRNU x\n"))


def test_arguments_are_those_that_the_target_declares_or_its_from_line_uses():
    text = "ARG A=1\nARG B=2\nARG C=3\nFROM debian:$A\nARG B\nARG D=4 E\n"
    assert args(text) == [("A", "1", 1), ("B", "2", 2), ("D", "4", 6), ("E", "", 6)]
    assert args(text, build_args={"D": "5"})[2] == ("D", "5", 6)


def test_arguments_that_a_global_value_is_made_of_count():
    assert args("ARG A=1\nARG B=$A\nARG C=9\nFROM debian:$B\n") == [("A", "1", 1), ("B", "1", 2)]
    assert args("ARG A=1\nARG A=x$A\nFROM debian:$A\n") == [("A", "x1", 2)]


def test_an_argument_of_a_stage_hides_the_global_one():
    assert args("ARG A=1\nARG B=$A\nFROM debian\nARG B=2\n") == [("B", "2", 4)]


def test_predefined_arguments_are_none_unless_given_a_value():
    assert args("FROM debian\nARG TARGETARCH\n") == []
    assert args("FROM debian\nARG TARGETARCH=x\n") == [("TARGETARCH", "x", 2)]


def test_stages_that_the_target_needs_add_theirs():
    text = (
        "FROM debian AS base\nARG A=1 X=base\nFROM debian AS other\nARG B=2\n"
        "FROM debian AS not-needed\nARG C=3\nFROM base\nARG X=own\nCOPY --from=other / /\n"
    )
    assert args(text) == [("A", "1", 2), ("B", "2", 4), ("X", "own", 8)]
    assert args(text, target="base") == [("A", "1", 2), ("X", "base", 2)]


def test_a_stage_that_only_a_trigger_needs_is_not_the_target():
    text = "FROM a AS src\nARG A=1\nFROM b AS base\nONBUILD COPY --from=src / /\nFROM base AS c\n"
    assert outlined(text).name == "c"
    assert args(text) == [("A", "1", 2)]


def test_descriptions_begin_with_the_name():
    found = outlined("# A what a is\n# B what b is\nARG A=1 B=2\n# t words\nFROM a$A$B AS t\n")
    assert [arg.description for arg in found.args] == ["what a is", "what b is"]
    assert (found.name, found.description) == ("t", "words")


def test_secrets_and_agents_are_named_once():
    text = (
        "FROM debian AS a\nRUN --mount=type=secret,id=s --mount=type=ssh x\n"
        "FROM a\nRUN --mount=type=secret,id=s,required y\nRUN --mount=type=secret,id=s z\n"
    )
    found = outlined(text)
    assert [(each.name, each.required, each.span.first) for each in found.secrets] == [
        ("s", True, 4)
    ]
    assert [(each.name, each.required, each.span.first) for each in found.ssh] == [
        ("default", False, 2)
    ]


def test_a_build_that_would_fail_has_no_outline():
    with pytest.raises(SourceError) as caught:
        outlined("FROM debian\nEXPOSE 99999\n")
    assert caught.value.spans[0].first == 2
