r"""What goes wrong in stages for Windows alone.

WindowsTrailingBackslash is a path like `bin\Debug\`, read as every Dockerfile parser reads it. A backslash
at the end of a line joins the next one to it, and within a word it takes the next character's meaning
away and is gone. Whoever writes for Windows means neither.

WindowsJsonBackslash is `CMD ["C:\app.exe"]`, which is no JSON.

WindowsPathVariable is `ENV PATH=C:\app;%PATH%`. Windows has PATH in its registry, no base image says it,
and what an image says is neither added to that nor looked into.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from wcbuild.dockerfile.parser import Node
from wcbuild.dockerfile.reader import INSTRUCTION_NAMES
from wcbuild.dockerfile.rules import (
    WINDOWS_JSON_BACKSLASH,
    WINDOWS_TRAILING_BACKSLASH,
    LintWarning,
)
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.words import SPACES, Expansion, WordError, expand

_WITH_PATHS = frozenset(("add", "copy", "env", "volume", "workdir"))
_DRIVE = re.compile(r"(?<!\w)[A-Za-z]:\\$")
_SPACES = re.compile(f"[{SPACES}]+")
_WINDOWS_NAMES = frozenset(("windows", "windowsservercore", "servercore", "nanoserver"))
_SHOWN = 60
_BRACKETS = re.compile(
    r"\s*(?:add|cmd|copy|entrypoint|healthcheck|run|shell|volume)(?:\s+--\S+)*(?:\s+cmd)?"
    r"\s+(?P<list>\[.*\\.*\])\s*",
    re.IGNORECASE | re.DOTALL,
)
_PERCENT = re.compile(r"%[\w()]+%")
_POWERSHELL = re.compile(r"\$env:\w+", re.IGNORECASE)
_PATH = "PATH"
_SYSTEM = "system32"


def backslashes(nodes: Sequence[Node], lines: Sequence[str]) -> Iterator[LintWarning]:
    r"""Yield a warning for each of the ``nodes`` that a Windows path most likely went wrong in.

    Args:
        nodes: the instructions of a Windows stage, in a file whose escape character is `\`.
        lines: the file's.
    """
    for node in nodes:
        joined = _joined(node, lines)
        if joined is not None:
            yield joined
        elif node.keyword.lower() in _WITH_PATHS:
            word = next(filter(_loses_backslash, _operands(node)), None)
            if word is not None:
                text = (
                    f'"\\" is the escape character here, so "{word[:_SHOWN]}"'
                    f' is read as "{_read(word)[:_SHOWN]}"'
                )
                yield WINDOWS_TRAILING_BACKSLASH.at(node.span, text)


def json_lists(nodes: Iterable[Node]) -> Iterator[LintWarning]:
    r"""Yield a warning for each of ``nodes`` with a JSON list in which `\` does not stand for itself.

    Either that makes it no list at all, or it is one by chance: `C:\new` has a line's end in it.
    """
    for node in nodes:
        found = _BRACKETS.fullmatch(node.original)
        if found is None or not _is_list(found["list"].replace("\\", "\\\\")):
            continue
        shown = found["list"][:_SHOWN]
        if not node.json:
            yield WINDOWS_JSON_BACKSLASH.at(node.span, f"{shown} is read as text, brackets and all")
        elif any(character < " " for character in node.args[0]):
            yield WINDOWS_JSON_BACKSLASH.at(
                node.span, f"{shown} is read with a control character in it"
            )


def _is_list(text: str) -> bool:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return all(isinstance(item, str) for item in items)


def path_variable(word: str, value: Expansion, *, complete: bool) -> str:
    """Say why a PATH that `ENV PATH=word` sets is hardly the one that is meant; empty if it may be.

    ``complete`` says that the variables of the base image are known.
    """
    shells = _PERCENT.search(value.text)
    if shells is not None:
        return f'"{shells[0][:_SHOWN]}" stays as it is, since no shell reads it'
    powershell = _POWERSHELL.search(word)
    if powershell is not None:
        return f'"{powershell[0][:_SHOWN]}" is PowerShell\'s, and here "$env" is a variable of the build'
    is_unset = any(name.upper() == _PATH for name in value.unset)
    if is_unset and complete:
        return "$PATH is empty, since the base image has none and Windows keeps its own in the registry"
    if not is_unset and _SYSTEM not in value.text.lower():
        return f'"{value.text[:_SHOWN]}" is without the folders of Windows'
    return ""


def sounds_like_windows(base: str) -> bool:
    """Say whether an image that cannot be looked at is one of Windows', by its name."""
    components = re.split(r"[/:@]", base.lower())
    return not _WINDOWS_NAMES.isdisjoint(components)


def _joined(node: Node, lines: Sequence[str]) -> LintWarning | None:
    """Find a line that ends in a backslash and swallows what looks like the next instruction.

    A command of RUN may well go on with `copy`, so there only a drive's root counts.
    """
    keyword = node.keyword.lower()
    if keyword != "run" and keyword not in _WITH_PATHS:
        return None
    own = [
        (number, line)
        for number, line in enumerate(lines[node.span.first - 1 : _end(node)], node.span.first)
        if line.strip(SPACES) and not line.lstrip(SPACES).startswith("#")
    ]
    for (number, line), following in zip(own, (*own[1:], None), strict=True):
        line = line.rstrip("\r").rstrip(" \t")  # noqa: PLW2901
        if not line.endswith("\\") or line.endswith("\\\\"):
            continue
        if keyword == "run" and not _DRIVE.search(line):
            continue
        if following is None:
            # The file ends here, so nothing is joined: the backslash alone is lost.
            span = Span(file=node.span.file, first=number, last=number)
            return WINDOWS_TRAILING_BACKSLASH.at(span, 'the "\\" at the end of the line is lost')
        last, text = following
        text = text.strip(SPACES)
        if _SPACES.split(text, maxsplit=1)[0].lower() in INSTRUCTION_NAMES:
            span = Span(file=node.span.file, first=number, last=last)
            said = f'the "\\" at the end joins the next line, "{text[:_SHOWN]}", to this {node.keyword}'
            return WINDOWS_TRAILING_BACKSLASH.at(span, said)
    return None


def _end(node: Node) -> int:
    """Return the last line of an instruction without its heredocs."""
    return node.span.last - sum(heredoc.raw.count("\n") + 1 for heredoc in node.heredocs)


def _operands(node: Node) -> Sequence[str]:
    return node.args[1::3] if node.keyword.lower() == "env" else node.args


def _loses_backslash(word: str) -> bool:
    r"""Say whether expanding ``word`` drops a backslash that protects nothing: `\D`, or one at the end."""
    quote = ""
    position = 0
    while position < len(word):
        character = word[position]
        position += 1
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\" and quote != "'":
            following = word[position : position + 1]
            if not quote and (not following or following.isalnum() or following in "_.-%"):
                return True
            position += 1
    return False


def _read(word: str) -> str:
    try:
        return expand(word, {}, keep_unset=True).text
    except WordError:
        return word.replace("\\", "")
