r"""Variable expansion, quoting and splitting of words, as a shell does it, nearly.

A word is read once, from left to right. Quotes and escapes go, `$name` and the forms of `${...}` are
replaced:

    ${x}                     the value, or nothing
    ${x:-word}  ${x-word}    word if x is unset or empty; if x is unset
    ${x:+word}  ${x+word}    word if x is set and not empty; if x is set
    ${x:?word}  ${x?word}    an error saying word if x is unset or empty; if x is unset
    ${x#pat}    ${x##pat}    without the shortest, the longest beginning that matches
    ${x%pat}    ${x%%pat}    without the shortest, the longest end that matches
    ${x/pat/to} ${x//pat/to} with the first, with every longest match replaced

In a pattern `*` is any text, `?` any character, and `\` takes their meaning away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from wcbuild.errors import WcbuildError

MAX_EXPANSION = 1 << 20
"""Characters a word may grow to: doubling a variable thirty times must not fill the memory."""

MAX_NESTING = 64
"""`${a:-${b:-...}}` within each other."""

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""White space as Go and so the Dockerfile language count it (Python adds four control characters)."""

_MODIFIERS = frozenset("+-?#%:")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+(?![^\x00-\x7f])")
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")


class WordError(WcbuildError):
    """A word that cannot be expanded; ``word`` is the part to blame, if it is one.

    Its place is known to the caller alone.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What a word became."""

    text: str
    pieces: tuple[tuple[str, bool], ...]
    """The text in pieces, and whether each was quoted (so that white space in it does not split)."""
    used: tuple[str, ...] = ()
    """Variables that were looked up and set, in order."""
    unset: tuple[str, ...] = ()
    """Variables that were looked up and are not set, in order."""

    @property
    def words(self) -> list[str]:
        """The text split at white space that was not quoted. Empty words fall away."""
        return _split(self.pieces)


def expand(
    word: str,
    env: Mapping[str, str],
    *,
    escape: str = "\\",
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    skip_quotes: bool = False,
    keep_unset: bool = False,
) -> Expansion:
    """Expand the variables of ``word``, and take its quotes and escapes away.

    Args:
        word: as it stands in the Dockerfile.
        env: the variables.
        escape: the escape character.
        raw_quotes: leave quotes in place (they still quote).
        raw_escapes: leave escape characters in place (they still escape).
        skip_quotes: quotes are ordinary characters.
        keep_unset: leave variables in place that are not set.

    Raises:
        WordError: a quote or brace is not closed, `${...}` has an unknown form, `${x:?word}` of a
            variable that is not set, or too much text.
    """
    if not _has_meaning(word, escape):
        return Expansion(text=word, pieces=((word, False),))
    lexer = _Lexer(
        word,
        env,
        escape=escape,
        raw_quotes=raw_quotes,
        raw_escapes=raw_escapes,
        skip_quotes=skip_quotes,
        keep_unset=keep_unset,
    )
    pieces = lexer.read_until("", raw_escapes=raw_escapes)
    return Expansion(
        text="".join(text for text, _ in pieces),
        pieces=tuple(pieces),
        used=tuple(lexer.used),
        unset=tuple(lexer.unset),
    )


def expand_heredoc(content: str, env: Mapping[str, str]) -> Expansion:
    """Expand the variables of a heredoc's content. Raises as `expand`.

    Quotes are ordinary characters there, and the escape character is always the backslash.
    """
    return expand(content, env, skip_quotes=True)


def _has_meaning(word: str, escape: str) -> bool:
    return "$" in word or "'" in word or '"' in word or escape in word


_Piece = tuple[str, bool]
"""Text, and whether it was quoted (so that white space in it does not split)."""


def _split(pieces: Iterable[_Piece]) -> list[str]:
    """Split at white space that is not quoted; blanks behind `<<`, as in `<< EOF`, do not split."""
    words: list[str] = []
    word: list[str] = []
    for text, quoted in pieces:
        if quoted:
            word.append(text)
            continue
        end = 0
        for found in _splitting().finditer(text):
            if found[1] is None:  # it is `<<` and blanks
                continue
            words.append("".join((*word, text[end : found.start()])))
            word = []
            end = found.end()
        word.append(text[end:])
    words.append("".join(word))
    return [word for word in words if word]


@lru_cache(maxsize=1)
def _splitting() -> re.Pattern[str]:
    return re.compile(rf"<<[\t\r ]*|([{SPACES}]+)")


class _Lexer:
    """Reads one word; `position` is the next character's index."""

    __slots__ = (
        *("env", "escape", "in_pattern", "keep_unset", "nesting", "position", "raw_escapes"),
        *("raw_quotes", "size", "skip_quotes", "unset", "used", "word"),
    )

    def __init__(
        self,
        word: str,
        env: Mapping[str, str],
        *,
        escape: str,
        raw_quotes: bool,
        raw_escapes: bool,
        skip_quotes: bool,
        keep_unset: bool,
    ) -> None:
        self.word = word
        self.env = env
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.in_pattern = False
        self.skip_quotes = skip_quotes
        self.keep_unset = keep_unset
        self.position = 0
        self.nesting = 0
        self.size = 0
        self.used: dict[str, None] = {}
        self.unset: dict[str, None] = {}

    def peek(self) -> str:
        """Return the next character, or "" at the end."""
        return self.word[self.position : self.position + 1]

    def next(self) -> str:
        character = self.word[self.position : self.position + 1]
        self.position += len(character)
        return character

    def read_until(self, stop: str, *, raw_escapes: bool, in_pattern: bool = False) -> list[_Piece]:
        """Read up to and over the character ``stop``, or to the end if it is "".

        ``in_pattern``: what is read becomes a pattern, so an escape character that quotes make ordinary
        has another one before it.
        """
        kept = self.raw_escapes, self.in_pattern
        self.raw_escapes, self.in_pattern = raw_escapes, in_pattern
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise WordError(f"more than {MAX_NESTING} substitutions within each other")
        try:
            return self._read_until(stop)
        finally:
            self.nesting -= 1
            self.raw_escapes, self.in_pattern = kept

    def _read_until(self, stop: str) -> list[_Piece]:
        pieces: list[_Piece] = []
        quotes = "" if self.skip_quotes else "'\""
        plain = _plain(self.escape + quotes + stop)
        while self.position < len(self.word):
            if run := plain.match(self.word, self.position):
                self.position = run.end()
                pieces.append((run[0], False))
                continue
            character = self.peek()
            if character == stop:
                self.position += 1
                return pieces
            if character == "$":
                pieces.append((self.read_dollar(), False))
            elif character == self.escape:
                self.position += 1
                escaped = self.next()
                pieces.append((character + escaped if self.raw_escapes else escaped, True))
            elif character == "'":
                pieces.append((self.read_single_quoted(), True))
            else:
                pieces.append((self.read_double_quoted(), True))
        if stop:
            raise _UnclosedError(f"unexpected end of statement while looking for matching {stop}")
        return pieces

    def read_single_quoted(self) -> str:
        end = self.word.find("'", self.position + 1)
        if end < 0:
            self.position = len(self.word)
            raise _UnclosedError(
                "unexpected end of statement while looking for matching single-quote"
            )
        inner = self.word[self.position + 1 : end]
        self.position = end + 1
        if self.in_pattern:
            inner = inner.replace(self.escape, self.escape * 2)
        return f"'{inner}'" if self.raw_quotes else inner

    def read_double_quoted(self) -> str:
        self.position += 1
        quote = '"' if self.raw_quotes else ""
        parts = [quote]
        plain = _plain(self.escape + '"')
        while self.position < len(self.word):
            if run := plain.match(self.word, self.position):
                self.position = run.end()
                parts.append(run[0])
                continue
            character = self.peek()
            if character == '"':
                self.position += 1
                parts.append(quote)
                return "".join(parts)
            if character == "$":
                parts.append(self.read_dollar())
                continue
            self.position += 1
            following = self.peek()
            if following and following in f'"${self.escape}':
                parts.append(character * self.raw_escapes + self.next())
            elif following:
                doubled = self.raw_escapes and (self.in_pattern or not self.raw_quotes)
                parts.append(character * (1 + doubled))
        raise _UnclosedError("unexpected end of statement while looking for matching double-quote")

    def read_dollar(self) -> str:
        start = self.position
        try:
            return self._read_dollar()
        except WordError as error:
            # The innermost is to blame.
            error.word = error.word or self.word[start : self.position].partition("\n")[0]
            raise

    def _read_dollar(self) -> str:
        self.position += 1
        if self.peek() != "{":
            name = self.read_name()
            if not name:
                return "$"
            value = self.look_up(name)
            return self.grown(f"${name}" if value is None and self.keep_unset else value or "")
        self.position += 1
        if not self.peek():
            raise _missing("}")
        if self.peek() in "{}:":
            raise WordError("syntax error: bad substitution")
        return self.grown(self.read_braced(self.read_name()))

    def read_braced(self, name: str) -> str:
        """Read what follows the name in `${name...}`."""
        modifier = operator = self.next()
        if operator == "}":
            value = self.look_up(name)
            return f"${{{name}}}" if value is None and self.keep_unset else value or ""
        if operator == "/":
            return self.read_replacement(name)
        if operator == ":":
            operator = self.next()
            modifier += operator
        if not modifier:
            raise _missing("}")
        if modifier[0] not in _MODIFIERS or modifier in (":#", ":%"):
            raise _unsupported(modifier)
        is_pattern = operator in "#%"
        word = self.read_part("}", raw_escapes=is_pattern, in_pattern=is_pattern)
        value = self.look_up(name)
        if value is None and self.keep_unset:
            # Not looked at any closer: `${x:1:2}` in the line of a RUN is for its shell.
            return f"${{{name}{modifier}{word}}}"
        given = value is not None and not (modifier[0] == ":" and value == "")
        match operator:
            case "-":
                return (value or "") if given else word
            case "+":
                return word if given else ""
            case "?":
                if not given:
                    state = "unset" if value is None else "empty"
                    raise WordError(f"{name}: {word or f'is not allowed to be {state}'}")
                return value or ""
            case "#" | "%":
                longest = word[:1] == operator
                pattern = _Pattern.parse(word[1:] if longest else word)
                trim = pattern.without_prefix if operator == "#" else pattern.without_suffix
                return trim(value or "", longest=longest)
            case _:
                raise _unsupported(modifier)

    def read_replacement(self, name: str) -> str:
        """Read what follows the name in `${name/pattern/text}` and `${name//pattern/text}`."""
        every = self.peek() == "/"
        self.position += every
        pattern = self.read_part("/", raw_escapes=True, in_pattern=True)
        text = self.read_part("}", raw_escapes=True)
        value = self.look_up(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{text}}}"
        limit = MAX_EXPANSION - self.size
        return _Pattern.parse(pattern).replaced(value or "", text, every=every, limit=limit)

    def read_part(self, stop: str, *, raw_escapes: bool, in_pattern: bool = False) -> str:
        try:
            pieces = self.read_until(stop, raw_escapes=raw_escapes, in_pattern=in_pattern)
        except _UnclosedError:
            raise _missing(stop) from None
        return "".join(text for text, _ in pieces)

    def read_name(self) -> str:
        """Read a variable's name: letters, digits and `_`; only digits; or one special character."""
        if plain := _PLAIN_NAME.match(self.word, self.position):
            self.position = plain.end()
            return plain[0]
        start = self.position
        first = self.peek()
        if first.isdecimal():
            while self.peek().isdecimal():
                self.position += 1
        elif first in _SPECIAL_PARAMETERS:
            self.position += 1
        else:
            while (c := self.peek()).isalpha() or c.isdecimal() or c == "_":
                self.position += 1
        return self.word[start : self.position]

    def look_up(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unset if value is None else self.used)[name] = None
        return value

    def grown(self, text: str) -> str:
        """Count ``text``, the result of an expansion."""
        self.size += len(text)
        if self.size > MAX_EXPANSION:
            raise _too_much()
        return text


class _UnclosedError(WordError):
    """The word ended within something."""


def _missing(closing: str) -> _UnclosedError:
    place = " in ${}" if closing == "/" else ""
    return _UnclosedError(f"syntax error: missing '{closing}'{place}")


def _unsupported(modifier: str) -> WordError:
    return WordError(f"unsupported modifier ({modifier}) in substitution")


def _too_much() -> WordError:
    return WordError(f"expands to more than {MAX_EXPANSION} characters")


@lru_cache(maxsize=16)
def _plain(special: str) -> re.Pattern[str]:
    """Return what matches a run of characters without meaning."""
    return re.compile(f"[^${re.escape(special)}]+")


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern of `*` and `?`: pieces of fixed length, any text between them.

    No piece is tried at a place twice, so a pattern of many `*` costs no more than one of few.
    """

    pieces: tuple[tuple[str | None, ...], ...]
    """Characters; None is any."""

    @classmethod
    def parse(cls, text: str) -> _Pattern:
        pieces: list[list[str | None]] = [[]]
        characters = iter(text)
        for character in characters:
            if character == "*":
                pieces.append([])
            elif character == "?":
                pieces[-1].append(None)
            elif character == "\\":
                escaped = next(characters, "")
                if not escaped or escaped not in "*?\\}/":
                    raise WordError(
                        f"invalid pattern ({text}) in substitution: invalid escape '\\{escaped}'"
                    )
                pieces[-1].append(escaped)
            else:
                pieces[-1].append(character)
        return cls(tuple(tuple(piece) for piece in pieces))

    def without_prefix(self, value: str, *, longest: bool) -> str:
        end = self._match_end(_compiled(self.pieces), value, 0, longest=longest)
        return value if end is None else value[end:]

    def without_suffix(self, value: str, *, longest: bool) -> str:
        backwards = tuple(piece[::-1] for piece in self.pieces[::-1])
        end = self._match_end(_compiled(backwards), value[::-1], 0, longest=longest)
        return value if end is None else value[: len(value) - end]

    def replaced(self, value: str, text: str, *, every: bool, limit: int) -> str:
        """Replace the first longest match, or every one from left to right."""
        pieces = _compiled(self.pieces)
        parts: list[str] = []
        position = size = 0
        previous_end = -1
        while position <= len(value):
            first = pieces[0].search(value, position)
            end = None
            if first is not None:
                end = self._match_end(pieces, value, first.start(), longest=True)
            if first is None or end is None:
                break
            start = first.start()
            if not (start == end == previous_end):  # no empty match right behind a match
                parts += (value[position:start], text)
                size += start - position + len(text)
                position = end
                if not every:
                    break
            previous_end = end
            if start == end:
                parts.append(value[end : end + 1])
                position = end + 1
            if size > limit:
                raise _too_much()
        return "".join((*parts, value[position:]))

    @staticmethod
    def _match_end(
        pieces: tuple[re.Pattern[str], ...], value: str, start: int, *, longest: bool
    ) -> int | None:
        """Return where the shortest or longest match that begins at ``start`` ends."""
        first = pieces[0].match(value, start)
        if first is None:
            return None
        end = first.end()
        for piece in pieces[1:]:
            found = piece.search(value, end)
            if found is None:
                return None
            start, end = found.span()
        if not longest or len(pieces) == 1:
            return end
        width = end - start
        last = len(value) - width
        while pieces[-1].match(value, last) is None:
            last -= 1
        return last + width


def _compiled(pieces: tuple[tuple[str | None, ...], ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(
        re.compile("".join("." if c is None else re.escape(c) for c in piece), re.DOTALL)
        for piece in pieces
    )
