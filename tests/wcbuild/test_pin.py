"""Pinning: which words are images, and that nothing else changes."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.oci.digest import Digest, sha256
from registry.reference import Reference
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import DockerfileSyntaxError, SourceError
from wcbuild.pin import check_text, find_mentions, pin_text, replace_file, rewrite


def resolve(reference: Reference) -> Digest:
    return sha256(str(reference).encode())


def of(name: str) -> str:
    """Return the digest that `resolve` gives for a name."""
    return str(resolve(Reference.parse(name).with_default_tag()))


def pinned(text: str | bytes, **options) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return pin_text(raw, "Dockerfile", resolve, **options)[0]


def images(text: str, contexts=()) -> list[str]:
    dockerfile = parse_dockerfile(text.encode(), file="Dockerfile")
    return [mention.word for mention in find_mentions(dockerfile, contexts)]


def test_keeps_comments_case_and_layout():
    text = (
        "# syntax=docker/dockerfile:1\n"
        "\n"
        "  # debian:12 is what we stand on\n"
        "from   --platform=linux/amd64\tdebian:12   As  Base \n"
        "RUN echo debian:12 \\\n"
        "  # debian:12\n"
        "  && true\n"
        "\n\n"
        "FROM base\n"
        'CMD ["debian:12"]'
    )
    wanted = text.replace("\tdebian:12 ", f"\tdebian:12@{of('debian:12')} ")
    assert pinned(text) == wanted.encode()


def test_line_ends_and_marks_of_other_systems_stay():
    text = "\ufeffFROM debian:12\r\nRUN x\r\n"
    assert pinned(text) == text.replace(":12", f":12@{of('debian:12')}").encode()


def test_bytes_that_are_not_utf8_stay_in_comments():
    raw = b"# caf\xe9 \x85 \xa0\nFROM debian:12\n# \xff\n"
    assert pinned(raw) == raw.replace(b":12", f":12@{of('debian:12')}".encode())


def test_a_name_without_tag_gets_the_one_it_meant():
    assert pinned("FROM debian\n") == f"FROM debian:latest@{of('debian')}\n".encode()
    text = "FROM localhost:5000/debian\n"
    assert pinned(text) == (
        f"FROM localhost:5000/debian:latest@{of('localhost:5000/debian')}\n".encode()
    )


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\n",
        "FROM a:1 AS base\nFROM base\nFROM BASE\nCOPY --from=base / /\nCOPY --from=0 / /\n",
        "ARG S=base\nFROM a:1 AS base\nFROM $S\n",
        "FROM a:1\nRUN --mount=type=cache,target=/x true\n",
        "FROM a:1\nRUN --mount=type=bind,target=/x true\n",
        "FROM a:1\nRUN <<EOF\nFROM b:1\nCOPY --from=b:1 / /\nEOF\n",
        "FROM a:1\nCOPY <<EOF /x\nFROM b:1\nEOF\n",
        "FROM a:1\nRUN echo \\\n FROM b:1\n",
        "# FROM b:1\nFROM a:1\n",
        "FROM a:1\nONBUILD COPY --from=b / /\n",
        "FROM a:1\nONBUILD COPY --from=b:1\n",
    ],
)
def test_stages_scratch_contexts_and_texts_are_no_images(text):
    assert [word for word in images(text) if word != "a:1"] == []


def test_a_stage_that_comes_later_is_an_image_to_from():
    assert images("FROM tool\nFROM a:1 AS tool\n") == ["tool", "a:1"]


def test_named_contexts_are_left_alone():
    text = "FROM base\nCOPY --from=Other:latest / /\nRUN --mount=from=third:2 true\n"
    assert images(text) == ["base", "Other:latest", "third:2"]
    assert images(text, ("base", "other", "third:2")) == []


def test_copy_and_mounts_name_images_too():
    text = (
        "FROM scratch\n"
        "COPY --chown=1 --from=nginx:1 nginx:1 /nginx:1\n"
        'ADD --link "x" /\n'
        "RUN --mount=type=bind,from=tools:2,target=/tools:2 --mount=from=tools:3,target=/a \\\n"
        "    --mount=type=cache,target=/c cp tools:3 tools:2\n"
    )
    wanted = (
        text.replace("from=nginx:1", f"from=nginx:1@{of('nginx:1')}")
        .replace("from=tools:2", f"from=tools:2@{of('tools:2')}")
        .replace("from=tools:3", f"from=tools:3@{of('tools:3')}")
    )
    assert pinned(text) == wanted.encode()


def test_the_right_one_of_several_equal_words_is_changed():
    text = "FROM from AS x\nFROM as AS as2\nCOPY --from=copy copy copy\n"
    assert (
        pinned(text)
        == (
            f"FROM from:latest@{of('from')} AS x\n"
            f"FROM as:latest@{of('as')} AS as2\n"
            f"COPY --from=copy:latest@{of('copy')} copy copy\n"
        ).encode()
    )


def test_an_image_named_like_its_platform_or_comment():
    text = "FROM --platform=linux/arm64 \\\n # linux\n linux\n"
    assert pinned(text) == text.replace("\n linux", f"\n linux:latest@{of('linux')}").encode()


def test_an_escape_directive_is_followed():
    text = "# escape=`\nFROM `\n  mcr.example/windows:1 `\n  AS w\nRUN dir C:\\\n"
    wanted = text.replace("windows:1", f"windows:1@{of('mcr.example/windows:1')}")
    assert pinned(text) == wanted.encode()


def test_quotes_stay():
    assert pinned('FROM "debian:12"\n') == f'FROM "debian:12@{of("debian:12")}"\n'.encode()


def test_variables_are_left_alone_and_said_so():
    text = (
        "ARG TAG=12\nARG BASE=debian:${TAG}\n"
        "FROM $BASE\nFROM debian:${TAG}\nFROM $UNSET\nFROM ${BASE:-x}\nFROM alpine:3\n"
    )
    raw, found = pin_text(text.encode(), "Dockerfile", resolve)
    assert raw == text.replace("alpine:3", f"alpine:3@{of('alpine:3')}").encode()
    assert [(each.mention.word, each.state) for each in found] == [
        ("$BASE", "unclear"),
        ("debian:${TAG}", "unclear"),
        ("$UNSET", "unclear"),
        ("${BASE:-x}", "unclear"),
        ("alpine:3", "unpinned"),
    ]
    assert found[0].mention.reason == "it has a variable"


def test_the_default_of_an_argument_is_pinned_where_it_stands():
    text = (
        "# debian:12\n"
        'ARG ONE=1 BASE="debian:12" \\\n'
        "    TOOLS=tools:2\n"
        "FROM ${BASE} AS one\nFROM $BASE AS two\n"
        'FROM "$TOOLS"\n'
        "RUN echo $BASE debian:12\n"
    )
    wanted = text.replace('"debian:12"', f'"debian:12@{of("debian:12")}"')
    wanted = wanted.replace("tools:2", f"tools:2@{of('tools:2')}")
    raw, found = pin_text(text.encode(), "Dockerfile", resolve)
    assert raw == wanted.encode()
    assert [str(each.mention) for each in found] == [
        "Dockerfile:2: ARG BASE=debian:12",
        "Dockerfile:2: ARG TOOLS=tools:2",
    ]
    assert {each.state for each in check_text(raw, "Dockerfile")} == {"pinned"}
    old = raw.replace(of("debian:12").encode(), b"sha256:" + b"0" * 64)
    assert pinned(old) == old
    assert pinned(old, update=True) == raw


@pytest.mark.parametrize(
    "text",
    [
        "ARG A=debian:12\nFROM $A\nARG A\nLABEL base=$A\n",
        "ARG A=debian:12\nFROM $A\nFROM ${A}-slim\n",
        "ARG A=debian:12\nARG B=$A-slim\nFROM $A\n",
        "ARG A=debian:12\nARG B=$A\nFROM $A\nFROM $B-slim\n",
        "ARG A=debian:12\nFROM --platform=$A $A\n",
        "ARG A=debian:12\nARG A=debian:13\nFROM $A\n",
        "ARG A\nFROM $A\n",
    ],
    ids=[
        "in a stage",
        "part of a name",
        "part of a default",
        "another's default",
        "a platform",
        "given twice",
        "no default",
    ],
)
def test_the_default_of_an_argument_that_is_more_than_an_image_is_left_alone(text):
    raw, found = pin_text(text.encode(), "Dockerfile", resolve)
    assert raw == text.encode()
    assert {each.state for each in found} == {"unclear"}


def test_images_of_triggers_are_told_of_and_left_alone():
    """They stand in the config of the image, for builds that have other stages."""
    text = (
        "FROM scratch\n"
        "ONBUILD COPY --from=nginx:1 / /\n"
        "ONBUILD RUN --mount=from=tools:2,target=/x x\n"
        "ONBUILD COPY --from=builder / /\n"
        f"ONBUILD COPY --from=good@{of('good')} / /\n"
    )
    raw, found = pin_text(text.encode(), "Dockerfile", resolve)
    assert raw == text.encode()
    assert [(str(each.mention), each.state) for each in found[:2]] == [
        ("Dockerfile:2: ONBUILD from=nginx:1", "unclear"),
        ("Dockerfile:3: ONBUILD from=tools:2", "unclear"),
    ]
    assert [each.state for each in found[2:]] == ["pinned"]
    assert found[0].mention.reason == "it is in ONBUILD, which is text for another build"


def test_pinning_again_changes_nothing_and_asks_nobody():
    once = pinned("FROM debian:12\nCOPY --from=nginx / /\n")

    def refuse(reference):
        raise AssertionError(reference)

    assert pin_text(once, "Dockerfile", refuse)[0] == once


def test_update_follows_tags_but_not_bare_digests():
    old = f"sha256:{'0' * 64}"
    text = f"FROM debian:12@{old}\nFROM other@{old}\n"
    assert pinned(text) == text.encode()
    raw, found = pin_text(text.encode(), "Dockerfile", resolve, update=True)
    assert raw == f"FROM debian:12@{of('debian:12')}\nFROM other@{old}\n".encode()
    assert [each.state for each in found] == ["outdated", "pinned"]
    _, again = pin_text(raw, "Dockerfile", resolve, update=True)
    assert [each.state for each in again] == ["pinned", "pinned"]


def test_check_asks_nobody():
    found = check_text(f"FROM a\nFROM b@{of('b')}\nFROM $C\n".encode(), "Dockerfile")
    assert [each.state for each in found] == ["unpinned", "pinned", "unclear"]


def test_a_word_in_two_pieces_is_refused():
    with pytest.raises(SourceError, match="does not stand there in one piece"):
        pinned("FROM deb\\\nian:12\n")


def test_a_wrong_dockerfile_is_refused():
    with pytest.raises(DockerfileSyntaxError):
        pinned("FROM\n")


@pytest.mark.parametrize("text", ["ARG A=${B\nFROM a:1\n", 'FROM "a:1\n', "FROM a:${B\n"])
def test_what_is_not_closed_is_told_with_its_place(text):
    with pytest.raises(SourceError) as caught:
        pinned(text)
    assert str(caught.value.spans[0]).startswith("Dockerfile:1")


def test_other_fields_of_a_mount_may_have_variables():
    text = 'ARG T\nFROM scratch\nRUN --mount=type=$T,"from=a:1",target=$X x\n'
    assert pinned(text) == text.replace("a:1", f"a:1@{of('a:1')}").encode()


def test_what_the_second_parser_does_not_take_is_pinned_all_the_same():
    text = "ARG A=1 B\nFROM debian:12\n"
    assert pinned(text) == text.replace(":12", f":12@{of('debian:12')}").encode()


def test_a_second_parsers_doubts_are_heeded(monkeypatch):
    import dockerfile_parse

    monkeypatch.setattr(
        dockerfile_parse.DockerfileParser,
        "parent_images",
        property(lambda self: ["surprise" + str(len(self.content))]),
    )
    with pytest.raises(SourceError, match="nothing was written"):
        pinned("FROM debian:12\n")


def test_a_file_is_replaced_with_its_mode_and_through_links(tmp_path):
    path, link = tmp_path / "Dockerfile", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to("Dockerfile")
    replace_file(link, b"new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["Dockerfile", "link"]


NAMES = st.sampled_from(["a", "b:1", "x/y:2", "localhost:5000/z", "scratch", "s0", "s1", "$V"])
LINES = st.one_of(
    st.builds("FROM {}".format, NAMES),
    st.builds("FROM --platform=$P {} AS s1".format, NAMES),
    st.builds("COPY --from={} a b:1".format, NAMES),
    st.builds("RUN --mount=from={},target=/a cat b:1".format, NAMES),
    st.builds("RUN <<E\nFROM {}\nE".format, NAMES),
    st.builds("# {}".format, NAMES),
    st.builds("RUN \\\n\n # x\n {}".format, NAMES),
    st.just("ARG V=b:1"),
    st.just(""),
)


ARGUMENTS = st.sampled_from(
    ["# none", "ARG V=b:1", 'ARG U=1 V="x/y:2" W=3', "ARG U=a\nARG V=$U", "ARG V=s0", "ARG V=b V"]
)


@given(ARGUMENTS, st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_only_the_words_change(arguments, lines, end):
    text = end.join([arguments, "FROM b:1 AS s0", *lines]).encode()
    try:
        before = parse_dockerfile(text, file="Dockerfile")
    except SourceError:
        return
    raw, found = pin_text(text, "Dockerfile", resolve)
    restored = raw
    for each in found:
        if each.wanted:
            restored = restored.replace(each.wanted.encode(), each.mention.word.encode())
    assert restored == text
    after = parse_dockerfile(raw, file="Dockerfile")
    assert len(after.nodes) == len(before.nodes)
    assert rewrite(raw, "Dockerfile", ()) == raw
    assert pin_text(raw, "Dockerfile", resolve)[0] == raw
