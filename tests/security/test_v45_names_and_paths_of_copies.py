"""V45: what COPY copies from and to, named by paths, numbers and links that lead elsewhere."""

import pytest
from memorytree import MemoryTree, file, link

from registry.errors import InvalidReferenceError
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.context.local import LocalTree
from wcbuild.dockerfile.lower import Options, lower
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import SourceError, WcbuildError
from wcbuild.graph.ops import CopyOp
from wcbuild.tree import place
from wcbuild.tree.errors import MissingSourceError
from wcbuild.tree.layers import EmptyTree


class NoImages:
    def context(self, name, platform):
        return None

    def image(self, name, platform):
        Reference.parse(name)
        raise AssertionError(name)


@pytest.mark.parametrize("name", ["../../x", "/etc", "1", "99", "-1", "0x0", "a b", "."])
def test_from_takes_no_path_and_no_stage_that_is_not_there(name):
    text = (
        f'FROM scratch\nCOPY --from="{name}" a /\n'
        if " " in name
        else f"FROM scratch\nCOPY --from={name} a /\n"
    )
    platform = Platform(os="linux", architecture="amd64")
    with pytest.raises((SourceError, InvalidReferenceError, AssertionError)) as caught:
        lower(
            parse_dockerfile(text.encode(), file="Dockerfile"),
            Options(platform=platform, build_platform=platform),
            NoImages(),
        )
    # What is a name of an image is looked for in a registry, and nowhere on this machine.
    assert caught.type is not AssertionError or name in ("-1", "0x0")


HEREDOCS = ("COPY <<{0} /d/\ntext\n{0}\n", "ADD <<{0} /d\n{0}\n", "RUN <<{0}\n#!/bin/sh\n{0}\n")


def inline(text):
    """Return the name of the one heredoc of a Dockerfile as the step has it."""
    platform = Platform(os="linux", architecture="amd64")
    lowered = lower(
        parse_dockerfile(f"FROM scratch\n{text}".encode(), file="Dockerfile"),
        Options(platform=platform, build_platform=platform),
        NoImages(),
    )
    (file,) = lowered.graph.steps[-1].op.inline
    return file.name


@pytest.mark.parametrize("text", HEREDOCS)
@pytest.mark.parametrize("name", ["a/b", "../a/b", "/etc/passwd", ".", "..", "../..", "/"])
def test_heredocs_in_directories_are_refused(text, name):
    with pytest.raises(WcbuildError, match="cannot be the name of a heredoc's file") as caught:
        inline(text.format(name))
    assert caught.value.word == name
    assert caught.value.spans


@pytest.mark.parametrize("text", HEREDOCS)
@pytest.mark.parametrize("name", ["x", "/x", "../x", "../../x", "./x", "a/../x"])
def test_heredocs_stay_where_they_are_written(text, name):
    assert inline(text.format(name)) == "x"


@pytest.mark.parametrize(
    ("source", "parents"),
    [("../../f", False), ("/../f", False), ("d/../../f", False), ("../canary/./f", True)],
)
def test_sources_stop_at_the_root(tmp_path, canary, source, parents):
    root = tmp_path / "root"
    root.mkdir()
    op = CopyOp(sources=(source,), dest="/to/", parents=parents)
    with pytest.raises(MissingSourceError):
        place.copy(op, EmptyTree(), LocalTree(root), mtime=0)


@pytest.mark.parametrize("target", ["/canary", "../../../canary", "/"])
@pytest.mark.parametrize("linked", [False, True])
def test_destinations_that_are_links_stay_inside(target, linked):
    dest = MemoryTree({"a": link(target)})
    below = EmptyTree() if linked else dest
    op = CopyOp(sources=("f",), dest="/a/b/", link=linked)
    changes = place.copy(op, below, MemoryTree({"f": file("x")}), mtime=0)
    paths = {change.path for change in changes if change.content is not None}
    expected = "a/b/f" if linked else f"{target.strip('./')}/b/f".lstrip("/")
    assert paths == {expected}
    assert not any(".." in path.split("/") or path.startswith("/") for path in paths)
