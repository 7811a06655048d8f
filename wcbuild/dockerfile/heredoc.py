"""Here-documents: finding `<<NAME` in a line, and what the word says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wcbuild.dockerfile.words import WordError, expand

_WORD = re.compile(r"(\d*)<<(-?)\s*([^<]*)", re.ASCII)
_LARGEST_DESCRIPTOR = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeredocStart:
    """The word that begins a heredoc."""

    name: str
    expand: bool
    chomp: bool
    fd: int


def parse_start(word: str) -> HeredocStart | None:
    """Read `<<NAME`, `<<-NAME`, `<<"NAME"` or `3<<NAME`; anything else is None.

    Quotes anywhere in the name mean that the content is not expanded (a backslash alone does not
    mean that). They, and the backslash that escapes one, are not part of the name.

    Raises:
        WordError: a quote is not closed.
    """
    if "<<" not in word:
        return None
    match = _WORD.fullmatch(word)
    if match is None or not match[3]:
        return None
    names = expand(match[3], {}, keep_unset=True).words
    raw = expand(match[3], {}, keep_unset=True, raw_quotes=True).words
    if len(names) != 1 or len(raw) != 1:
        return None
    # More digits than any number has are as good as the largest.
    fd = min(int(match[1].lstrip("0")[:20] or "0"), _LARGEST_DESCRIPTOR)
    return HeredocStart(name=names[0], expand=names == raw, chomp=match[2] == "-", fd=fd)


def find_starts(line: str) -> list[HeredocStart]:
    """Return the heredocs that a line begins, in order. A line with a quote left open begins none.

    Raises:
        WordError: the name of a heredoc is not readable.
    """
    if "<<" not in line:
        return []
    try:
        words = expand(line, {}, keep_unset=True, raw_quotes=True, raw_escapes=True).words
    except WordError:
        return []
    return [start for word in words if (start := parse_start(word))]
