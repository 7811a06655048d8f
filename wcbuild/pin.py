"""Pinning: the images that a Dockerfile names, rewritten to digests where they stand.

Our own parser says which words are images. `dockerfile-parse` holds the lines that are edited, and
gives a second opinion on the result. A file that would read differently in anything but those words
is not written.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.errors import InvalidReferenceError
from registry.files import atomic_write, read_limited, store_errors
from registry.oci.digest import Digest
from registry.reference import Reference
from wcbuild.dockerfile.instructions import Arg, Copy, From, Instruction, OnBuild, Run
from wcbuild.dockerfile.mounts import named_source
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import (
    MAX_DOCKERFILE_BYTES,
    Dockerfile,
    parse_dockerfile,
    parse_trigger,
)
from wcbuild.dockerfile.words import WordError, expand
from wcbuild.errors import SourceError

UNPINNED, OUTDATED, PINNED, UNCLEAR = "unpinned", "outdated", "pinned", "unclear"

_KEYWORDS: dict[type[Instruction], str] = {
    From: "FROM",
    Copy: "COPY",
    Run: "RUN",
    OnBuild: "ONBUILD",
}
_VARIABLE = re.compile(r'"?\$(?:\{(\w+)\}|(\w+))"?', re.ASCII)

Resolve = Callable[[Reference], Digest]
"""Gives the digest that a tag has now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """An image that a Dockerfile names."""

    number: int
    """Which instruction of the file, from 0."""
    span: Span
    keyword: str
    """`FROM`, `COPY`, `RUN`, `ONBUILD`, or `ARG` for the default of one that FROM takes."""
    word: str
    """As it stands there, without quotes."""
    part: int = 0
    """Of RUN, which `--mount`; of ARG, which pair."""
    variable: str = ""
    """Of ARG, the name."""
    reference: Reference | None = None
    """What it is when no ARG is set; None if that is no image's name."""
    reason: str = ""
    """Why the word itself is left alone, if it is."""

    @property
    def is_pinned(self) -> bool:
        """Say whether it has a digest."""
        return self.reference is not None and self.reference.digest is not None

    def __str__(self) -> str:
        flag = {
            "FROM": " ",
            "ARG": f" {self.variable}=",
            "COPY": " --from=",
            "RUN": " --mount from=",
            "ONBUILD": " from=",
        }[self.keyword]
        return f"{self.span}: {self.keyword}{flag}{self.word}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What there is to say of one image."""

    mention: Mention
    state: str
    """`pinned`, `unpinned`, `outdated`, or `unclear` for one that only a build could tell."""
    wanted: str = ""
    """What to write instead, for one that is unpinned or outdated and was looked up."""


def find_mentions(dockerfile: Dockerfile, contexts: Collection[str] = ()) -> Iterator[Mention]:
    """Yield the images that FROM, COPY --from and RUN --mount from= name, in the file's order.

    For a FROM that is a variable and nothing else, it is the default of that ARG where it may be changed.
    Stages, `scratch` and named ``contexts`` are no images.

    Raises:
        SourceError: a word with a quote or brace that is not closed.
    """
    named = {name.lower() for name in contexts}
    defaults = _argument_defaults(dockerfile)
    every = {stage.name for stage in dockerfile.stages if stage.name}
    told: set[str] = set()
    number = len(dockerfile.args)
    for stage in dockerfile.stages:
        earlier = {each.name for each in dockerfile.stages[: stage.index] if each.name}
        for instruction in (stage.from_, *stage.instructions):
            is_from = isinstance(instruction, From)
            for word, part in _words(instruction, dockerfile.escape):
                with _blaming(instruction.span, word):
                    text, image, reason = _read_word(word, is_from, dockerfile.escape, defaults)
                name = image.lower()
                if name == "scratch" or name.removesuffix(":latest") in named or name in named:
                    continue
                if name in (earlier if is_from else every) or (not is_from and name.isdigit()):
                    continue
                default = _default_of(text, dockerfile) if reason else None
                if default is not None:
                    if default.variable not in told:
                        told.add(default.variable)
                        yield _mention(default, default.word)
                    continue
                if isinstance(instruction, OnBuild):
                    reason = "it is in ONBUILD, which is text for another build"
                yield _mention(
                    Mention(
                        number=number,
                        span=instruction.span,
                        keyword=_KEYWORDS[type(instruction)],
                        word=text,
                        part=part,
                        reason=reason,
                    ),
                    image,
                )
            number += 1


def examine(mentions: Iterable[Mention], resolve: Resolve, *, update: bool) -> Iterator[Finding]:
    """Yield what is to be done about each image.

    Those without a digest are looked up; with ``update`` also those that have a tag beside it, whose
    digest may have moved.

    Raises:
        Whatever ``resolve`` raises.
    """
    for mention in mentions:
        found = _as_it_is(mention)
        if found.state == UNPINNED or (update and found.state == PINNED and _may_move(mention)):
            wanted = _pinned(mention, resolve)
            if wanted != mention.word:
                state = UNPINNED if found.state == UNPINNED else OUTDATED
                found = replace(found, state=state, wanted=wanted)
        yield found


def _as_it_is(mention: Mention) -> Finding:
    state = PINNED if mention.is_pinned else UNCLEAR if mention.reason else UNPINNED
    return Finding(mention=mention, state=state)


def _may_move(mention: Mention) -> bool:
    """Say whether there is a tag beside the digest, which may name another by now."""
    return not mention.reason and mention.reference is not None and bool(mention.reference.tag)


def _pinned(mention: Mention, resolve: Resolve) -> str:
    """Return the word with the digest that its tag has now; the tag stays, for the next update."""
    assert mention.reference is not None  # noqa: S101 - who has none has a reason
    tagged = replace(mention.reference, digest=None).with_default_tag()
    name = mention.word.partition("@")[0]
    if not mention.reference.tag:
        name += f":{tagged.tag}"
    return f"{name}@{resolve(tagged)}"


def pin_text(
    raw: bytes,
    file: str,
    resolve: Resolve,
    *,
    contexts: Collection[str] = (),
    update: bool = False,
) -> tuple[bytes, tuple[Finding, ...]]:
    """Return a Dockerfile's bytes with its images pinned, and what was found.

    ``file`` is what to call it in messages.

    Raises:
        SourceError: it cannot be read, or not be rewritten safely. And whatever ``resolve`` raises.
    """
    mentions = find_mentions(parse_dockerfile(raw, file=file), contexts)
    findings = tuple(examine(mentions, resolve, update=update))
    return rewrite(raw, file, findings), findings


def check_text(raw: bytes, file: str, *, contexts: Collection[str] = ()) -> tuple[Finding, ...]:
    """Return whether each image of a Dockerfile is pinned; no registry is asked.

    Raises:
        SourceError: it cannot be read.
    """
    return tuple(map(_as_it_is, find_mentions(parse_dockerfile(raw, file=file), contexts)))


def rewrite(raw: bytes, file: str, findings: Iterable[Finding]) -> bytes:
    """Return a Dockerfile's bytes with the wanted words in place of those that are there.

    Everything else stays byte by byte.

    Raises:
        SourceError: a word does not stand there in one piece, or the result would read differently
            in something else.
    """
    from dockerfile_parse import DockerfileParser  # noqa: PLC0415 - only this command needs it

    # Each byte a character, so that what is not UTF-8, in comments, goes through unharmed.
    buffer = io.BytesIO(raw.decode("latin-1").encode())
    editor = DockerfileParser(fileobj=buffer)
    before = _opinion(editor)
    lines = list(editor.lines)
    current = parse_dockerfile(raw, file=file)
    edits: dict[str, str] = {}
    touched: set[int] = set()
    for finding in findings:
        mention = finding.mention
        if not finding.wanted:
            continue
        expected = _with_word(current, mention, finding.wanted)
        for line, changed in _candidates(lines, mention, finding.wanted):
            tried = [*lines[:line], changed, *lines[line + 1 :]]
            again = _parse(tried, file)
            if again is not None and _reads_as(again, current, expected, mention.number):
                lines, current = tried, again
                edits[mention.word] = finding.wanted
                touched.add(line)
                break
        else:
            raise SourceError(
                f'"{mention.word}" does not stand there in one piece; write it so, or pin it by hand',
                (mention.span,),
            )
    editor.lines = lines
    if not _agrees(before, _opinion(editor), touched, edits):
        raise SourceError(
            f"{file}: dockerfile-parse reads the pinned file differently; nothing was written"
        )
    return editor.content.encode("latin-1")  # type: ignore[no-any-return]  # it has no types


def read_dockerfile(path: Path) -> bytes:
    """Return the bytes of a Dockerfile.

    Raises:
        TooLargeError, StoreError: it is no ordinary file, or not there.
    """
    with store_errors(path):
        return read_limited(path, MAX_DOCKERFILE_BYTES, str(path))


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, with the mode and, where we may, the owner that it had.

    A symlink stays one; what it leads to is replaced.

    Raises:
        StoreError: nothing was changed.
    """
    with store_errors(path):
        place = path.resolve()
        status = place.stat()
        atomic_write(place, data, mode=stat.S_IMODE(status.st_mode))
        with contextlib.suppress(PermissionError):
            os.chown(place, status.st_uid, status.st_gid)


# -- reading


def _words(instruction: Instruction, escape: str) -> Iterator[tuple[str, int]]:
    """Yield the words that may be images, and, of RUN, which mount they are in."""
    match instruction:
        case From():
            yield instruction.base, 0
        case Copy() if instruction.from_:
            yield instruction.from_, 0
        case Run():
            for number, value in enumerate(instruction.mounts):
                name = named_source(value)
                if name:
                    yield name, number
        case OnBuild():
            for name, number in _words_of_trigger(instruction, escape):
                # A name alone is a stage of the build that the trigger is for.
                if not {":", "/", "@"}.isdisjoint(name):
                    yield name, number


def _words_of_trigger(trigger: OnBuild, escape: str) -> list[tuple[str, int]]:
    try:
        (delayed,) = parse_trigger(trigger.expression, span=trigger.span, escape=escape)
    except SourceError:
        return []  # nobody can build with it
    return list(_words(delayed, escape))


def _default_of(word: str, dockerfile: Dockerfile) -> Mention | None:
    """Return the default of an ARG if ``word`` is that variable alone, and it is for nothing else.

    None if the default has variables itself, is part of other words, or goes on into stages: what is
    made of it there would change, too.
    """
    name = _variable(word)
    given = [
        (number, part, arg, value)
        for number, arg in enumerate(dockerfile.args)
        for part, (key, value) in enumerate(arg.pairs)
        if key == name
    ]
    if len(given) != 1:
        return None
    number, part, arg, value = given[0]
    if not value:
        return None
    uses = re.compile(rf"\${{?{name}(?!\w)", re.ASCII)
    texts = [text or "" for each in dockerfile.args for _, text in each.pairs]
    for stage in dockerfile.stages:
        texts.append(stage.from_.platform)
        if _variable(stage.from_.base) != name:
            texts.append(stage.from_.base)
        if any(name in dict(each.pairs) for each in stage.instructions if isinstance(each, Arg)):
            return None
    if any(map(uses.search, texts)):
        return None
    default = expand(value, {}, escape=dockerfile.escape)
    if default.used or default.unset:
        return None
    return Mention(
        number=number,
        span=arg.span,
        keyword="ARG",
        word=default.text,
        part=part,
        variable=name,
    )


def _variable(word: str) -> str:
    """Return the variable that a word is, if it is nothing else."""
    match = _VARIABLE.fullmatch(word)
    return match.group(1) or match.group(2) if match else ""


@contextlib.contextmanager
def _blaming(span: Span, word: str) -> Iterator[None]:
    try:
        yield
    except WordError as error:
        raise SourceError(str(error), (span,), word=word) from error


def _read_word(
    word: str, is_from: bool, escape: str, defaults: Mapping[str, str]
) -> tuple[str, str, str]:
    """Return a word without quotes, what it is when no ARG is set, and why to leave it alone."""
    if not is_from:
        return word, word, ""  # nothing is expanded there
    bare = expand(word, {}, escape=escape)
    if bare.used or bare.unset:
        return word, expand(word, defaults, escape=escape).text, "it has a variable"
    return bare.text, bare.text, ""


def _mention(found: Mention, image: str) -> Mention:
    try:
        return replace(found, reference=Reference.parse(image))
    except InvalidReferenceError as error:
        return replace(found, reason=found.reason or error.reason)


def _argument_defaults(dockerfile: Dockerfile) -> dict[str, str]:
    """Return what the ARGs before the first FROM are when nobody sets them."""
    defaults: dict[str, str] = {}
    for arg in dockerfile.args:
        for name, value in arg.pairs:
            if value is not None:
                with _blaming(arg.span, value):
                    defaults[name] = expand(value, defaults, escape=dockerfile.escape).text
    return defaults


# -- writing


def _candidates(lines: Sequence[str], mention: Mention, wanted: str) -> Iterator[tuple[int, str]]:
    """Yield ways to put the wanted word in the place of the old one: a line and what it becomes."""
    for line in range(mention.span.first - 1, mention.span.last):
        at = lines[line].find(mention.word)
        while at >= 0:
            end = at + len(mention.word)
            yield line, lines[line][:at] + wanted + lines[line][end:]
            at = lines[line].find(mention.word, at + 1)


def _with_word(dockerfile: Dockerfile, mention: Mention, wanted: str) -> Instruction:
    """Return the instruction as it should read afterwards."""
    instruction = _instructions(dockerfile)[mention.number]
    match instruction:
        case From():
            return replace(instruction, base=instruction.base.replace(mention.word, wanted, 1))
        case Arg():
            pairs = list(instruction.pairs)
            name, value = pairs[mention.part]
            pairs[mention.part] = (name, (value or "").replace(mention.word, wanted, 1))
            return replace(instruction, pairs=tuple(pairs))
        case Copy():
            return replace(instruction, from_=wanted)
        case Run():
            mounts = list(instruction.mounts)
            mounts[mention.part] = mounts[mention.part].replace(
                f"from={mention.word}", f"from={wanted}", 1
            )
            return replace(instruction, mounts=tuple(mounts))
        case _:
            raise AssertionError(instruction)  # no mention comes from any other


def _reads_as(again: Dockerfile, before: Dockerfile, expected: Instruction, number: int) -> bool:
    """Say whether a file reads as it did before, but for one instruction that is as expected."""
    news, olds = _instructions(again), _instructions(before)
    if (len(news), again.directives, again.escape) != (len(olds), before.directives, before.escape):
        return False
    if replace(news[number], original="") != replace(expected, original=""):
        return False
    if [node.comments for node in again.nodes] != [node.comments for node in before.nodes]:
        return False
    return all(
        new == old
        for place, (new, old) in enumerate(zip(news, olds, strict=True))
        if place != number
    )


def _instructions(dockerfile: Dockerfile) -> list[Instruction]:
    """Return all instructions, in the order of the file's nodes."""
    found: list[Instruction] = list(dockerfile.args)
    for stage in dockerfile.stages:
        found += [stage.from_, *stage.instructions]
    return found


def _parse(lines: Sequence[str], file: str) -> Dockerfile | None:
    try:
        return parse_dockerfile("".join(lines).encode("latin-1"), file=file)
    except SourceError:
        return None


def _opinion(editor: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what `dockerfile-parse` makes of the file: instructions and base images."""
    try:
        images = editor.parent_images
    except ValueError:
        images = []  # there are things that it does not take, `ARG A=1 B` among them
    return editor.structure, images


def _agrees(
    before: tuple[list[dict[str, Any]], list[str]],
    after: tuple[list[dict[str, Any]], list[str]],
    touched: set[int],
    edits: Mapping[str, str],
) -> bool:
    """Say whether another parser, too, sees nothing changed but what was to be."""
    olds, news = before[0], after[0]
    if len(olds) != len(news) or len(before[1]) != len(after[1]):
        return False
    for old, new in zip(olds, news, strict=True):
        lines = range(old["startline"], old["endline"] + 1)
        places = [(each["instruction"], each["startline"], each["endline"]) for each in (old, new)]
        if places[0] != places[1] or (old != new and touched.isdisjoint(lines)):
            return False
    return all(
        old == new or edits.get(old) == new for old, new in zip(before[1], after[1], strict=True)
    )
