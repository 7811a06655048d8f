"""Rules that the text alone decides: pure functions from what was read to warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from wcbuild.dockerfile.gotext import quoted
from wcbuild.dockerfile.parser import EmptyContinuation, Node
from wcbuild.dockerfile.rules import (
    CONSISTENT_INSTRUCTION_CASING,
    DUPLICATE_STAGE_NAME,
    FROM_AS_CASING,
    INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED,
    NO_EMPTY_CONTINUATION,
    RESERVED_STAGE_NAME,
    STAGE_NAME_CASING,
    LintWarning,
)
from wcbuild.dockerfile.stages import Dockerfile, Stage

_RESERVED_NAMES = ("context", "scratch")
_NAMED = 3
"""Words of `FROM base AS name`."""


def of_text(
    nodes: Sequence[Node], empty_continuations: Iterable[EmptyContinuation]
) -> Iterator[LintWarning]:
    """Yield what can be said of instructions one by one, even if one of them is no instruction."""
    for empty in empty_continuations:
        yield NO_EMPTY_CONTINUATION.at(empty.span)
    for node in nodes:
        match node.keyword.lower():
            case "maintainer":
                yield MAINTAINER_DEPRECATED.at(node.span)
            case "from":
                yield from _of_from(node)
            case "arg":
                names = [word.partition("=")[0] for word in node.args]
                yield from _description(node, names)


def _of_from(node: Node) -> Iterator[LintWarning]:
    if len(node.args) != _NAMED:
        return
    _, as_, name = node.args
    if name != name.lower():
        yield STAGE_NAME_CASING.at(node.span, name)
    for case in (str.lower, str.upper):
        if node.keyword == case(node.keyword) and as_ != case(as_):
            yield FROM_AS_CASING.at(node.span, as_, node.keyword)
    yield from _description(node, [name.lower()])


def _description(node: Node, names: Sequence[str]) -> Iterator[LintWarning]:
    """Check that the comment right above begins with one of ``names``: then it describes that one."""
    if node.comments and names and node.comments[-1].split(" ")[0] not in names:
        example = names[0] if len(names) == 1 else "<arg_key>"
        yield INVALID_DEFINITION_DESCRIPTION.at(node.span, node.keyword.upper(), example)


def of_stages(dockerfile: Dockerfile) -> Iterator[LintWarning]:
    """Yield what can be said of the stages, which must all have been read for that."""
    yield from _stage_names(dockerfile.stages)
    first = dockerfile.stages[0].from_.span.first
    yield from _casing([node for node in dockerfile.nodes if node.span.first >= first])


def _stage_names(stages: Sequence[Stage]) -> Iterator[LintWarning]:
    seen: set[str] = set()
    for stage in stages:
        span = stage.from_.span
        if stage.name in _RESERVED_NAMES:
            yield RESERVED_STAGE_NAME.at(span, quoted(stage.name))
        if stage.name in seen:
            yield DUPLICATE_STAGE_NAME.at(span, quoted(stage.name))
        if stage.name:
            seen.add(stage.name)


def _casing(nodes: Sequence[Node]) -> Iterator[LintWarning]:
    """Compare each keyword with how most are written; a draw is for upper case."""
    cases = Counter(
        "lowercase" if node.keyword.islower() else "uppercase"
        for node in nodes
        if node.keyword.islower() or node.keyword.isupper()
    )
    lower = cases["lowercase"] > cases["uppercase"]
    for node in nodes:
        wanted = node.keyword.lower() if lower else node.keyword.upper()
        if node.keyword != wanted:
            case = "lowercase" if lower else "uppercase"
            yield CONSISTENT_INSTRUCTION_CASING.at(node.span, node.keyword, case)
