r"""What listings look like: tables, JSON, and the part of Go's templates that docker's users ask for.

    table       columns as docker prints them
    json        one JSON object on each line
    TEMPLATE    `{{.Repository}}:{{.Tag}}\t{{.ID}}` for each row; `\t` and `\n` may be spelled so
    table TEMPLATE      the same in columns, below headers

In a template: fields (`.`, `.Config.Cmd`), `json`, `join .List ","`, `index .List 0`,
`index .Map "key"`, `len`, `upper`, `lower`, `println`, and `range` to `end`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wcbuild.cli.render.text import clean, width
from wcbuild.errors import UsageError

_MIN_COLUMN, _GAP = 10, 3
"""docker's: a column is at least this wide, and keeps this much space after its longest cell."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below headers, in columns; harmless for a terminal whatever the cells hold."""
    lines = [list(headers), *([clean(cell) for cell in row] for row in rows)]
    widths = [
        max(_MIN_COLUMN, _GAP + max(map(width, column))) for column in zip(*lines, strict=True)
    ]
    text = ""
    for line in lines:
        padded = (
            cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True)
        )
        text += "".join(padded).rstrip() + "\n"
    return text


def listing(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], template: str = ""
) -> str:
    """Return ``rows`` as ``template`` (a `--format` argument) asks; empty is a table.

    ``columns`` maps the fields of the plain table, in order, to their headers.

    Raises:
        UsageError: a template that is wrong or asks for more than the subset.
    """
    if template in ("", "table"):
        return table(list(columns.values()), [[str(row[name]) for name in columns] for row in rows])
    if template == "json":
        return "".join(f"{to_json(dict(row))}\n" for row in rows)
    if template.startswith("table "):
        parsed = Template(template.removeprefix("table "))
        cells = [parsed.render(row).split("\t") for row in rows]
        return table(parsed.render(_Headers(columns)).split("\t"), cells)
    parsed = Template(template)
    return "".join(f"{parsed.render(row)}\n" for row in rows)


def documents(values: Sequence[Mapping[str, Any]], template: str = "") -> str:
    """Return what `inspect` prints: an indented JSON list, `json` for a compact one, or a template.

    Raises:
        UsageError: a template that is wrong or asks for more than the subset.
    """
    if not template:
        return json.dumps(values, indent=4) + "\n"
    if template == "json":
        return to_json(list(values)) + "\n"
    parsed = Template(template)
    return "".join(f"{parsed.render(value)}\n" for value in values)


def result(value: Mapping[str, Any], text: str, template: str = "") -> str:
    """Return ``text``, or ``value`` as a `--format` argument asks: `json`, or a template.

    Raises:
        UsageError: a template that is wrong or asks for more than the subset.
    """
    if not template:
        return text
    if template == "json":
        return to_json(value) + "\n"
    return f"{Template(template).render(value)}\n"


def human_age(seconds: float) -> str:
    """Return how long ago something was, in docker's words: `2 weeks ago`."""
    minutes, hours = int(seconds // 60), int(seconds / 3600 + 0.5)
    days = hours // 24
    for limit, count, text in (
        (seconds < 1, 0, "Less than a second"),
        (seconds < 2, 0, "1 second"),  # noqa: PLR2004
        (minutes < 1, int(seconds), "seconds"),
        (minutes < 2, 0, "About a minute"),  # noqa: PLR2004
        (minutes < 60, minutes, "minutes"),  # noqa: PLR2004
        (hours < 2, 0, "About an hour"),  # noqa: PLR2004
        (hours < 48, hours, "hours"),  # noqa: PLR2004
        (days < 14, days, "days"),  # noqa: PLR2004
        (days < 60, days // 7, "weeks"),  # noqa: PLR2004
        (days < 730, days // 30, "months"),  # noqa: PLR2004
    ):
        if limit:
            return f"{count} {text} ago" if count else f"{text} ago"
    return f"{days // 365} years ago"


class _Headers(dict[str, str]):
    """Answers every field with its header, so that a template can print the headers itself."""

    def __missing__(self, name: str) -> str:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).upper()


@dataclass(frozen=True, slots=True)
class _Action:
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    over: _Action
    body: tuple[_Part, ...]


_Part = str | _Action | _Range
_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s"`|()]+|\S')
_FIELD = re.compile(r"\.|(?:\.\w+)+")
_ARGUMENTS = {"json": 1, "join": 2, "index": 2, "len": 1, "upper": 1, "lower": 1, "println": 1}


class Template:
    """A `--format` template, read once.

    Raises:
        UsageError: it is wrong, or asks for more than the subset.
    """

    def __init__(self, text: str) -> None:
        self._text = text.replace("\\t", "\t").replace("\\n", "\n")
        tokens: list[str | _Action] = []
        last, trim = 0, False
        for match in _ACTION.finditer(self._text):
            before = self._text[last : match.start()]
            before = before.lstrip() if trim else before
            tokens.append(before.rstrip() if match[1] else before)
            tokens.append(_Action(tuple(_WORDS.findall(match[2]))))
            last, trim = match.end(), match[3] is not None
        tokens.append(self._text[last:].lstrip() if trim else self._text[last:])
        self._parts = self._block(tokens, 0)

    def render(self, value: Any) -> str:
        """Return the text for ``value``, a JSON-able document."""
        return self._render(self._parts, value)

    def _block(self, tokens: list[str | _Action], depth: int) -> tuple[_Part, ...]:
        parts: list[_Part] = []
        while tokens:
            token = tokens.pop(0)
            if isinstance(token, str):
                if "{{" in token:
                    raise self._wrong("an action is not closed")
                parts.append(token)
            elif token.words == ("end",):
                if not depth:
                    raise self._wrong("end without range")
                return tuple(parts)
            elif token.words[:1] == ("range",):
                over = self._checked(_Action(token.words[1:]))
                parts.append(_Range(over, self._block(tokens, depth + 1)))
            else:
                parts.append(self._checked(token))
        if depth:
            raise self._wrong("range without end")
        return tuple(parts)

    def _checked(self, action: _Action) -> _Action:
        words = action.words
        known = words and (
            len(words) == 1 + _ARGUMENTS[words[0]]
            if words[0] in _ARGUMENTS
            else len(words) == 1 and _FIELD.fullmatch(words[0])
        )
        if not known:
            raise self._wrong(
                f'"{" ".join(words)}" is not a field or one of {", ".join(_ARGUMENTS)}'
            )
        return action

    def _render(self, parts: tuple[_Part, ...], value: Any) -> str:
        text = ""
        for part in parts:
            if isinstance(part, str):
                text += part
            elif isinstance(part, _Action):
                text += _show(self._evaluate(part, value))
            else:
                items = self._evaluate(part.over, value) or ()
                items = items.values() if isinstance(items, Mapping) else items
                if isinstance(items, str) or not isinstance(items, Iterable):
                    raise self._wrong(f'"{" ".join(part.over.words)}" is not a list')
                text += "".join(self._render(part.body, item) for item in items)
        return text

    def _evaluate(self, action: _Action, value: Any) -> Any:
        name, *words = action.words
        if name not in _ARGUMENTS:
            return self._operand(name, value)
        first, *rest = (self._operand(word, value) for word in words)
        try:
            match name:
                case "json":
                    return to_json(first)
                case "join":
                    return str(rest[0]).join(map(_show, first or ()))
                case "index":
                    return (first or {}).get(rest[0], "") if _is_map(first) else first[rest[0]]
                case "len":
                    return len(first or ())
                case "println":
                    return f"{_show(first)}\n"
                case "upper":
                    return _show(first).upper()
                case _:
                    return _show(first).lower()
        except (TypeError, IndexError) as error:
            raise self._wrong(f'"{" ".join(action.words)}": {error}') from error

    def _operand(self, word: str, value: Any) -> Any:
        if word[0] in '"`':
            return json.loads(word) if word[0] == '"' else word[1:-1]
        if word.isdecimal():
            return int(word)
        if not _FIELD.fullmatch(word):
            raise self._wrong(f'"{word}" is not a field, a string or a number')
        for name in filter(None, word.split(".")):
            if not isinstance(value, Mapping):
                raise self._wrong(f'"{word}": there is nothing inside "{_show(value)}"')
            try:
                value = value[name]
            except KeyError:
                known = ", ".join(map(str, value)) or "none"
                raise self._wrong(f'"{word}": no field "{name}" (there are: {known})') from None
        return value

    def _wrong(self, reason: str) -> UsageError:
        return UsageError(f"--format {json.dumps(self._text)}: {reason}")


def _is_map(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _show(value: Any) -> str:
    """Return a value as Go prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case Mapping():
            pairs = (f"{key}:{_show(item)}" for key, item in sorted(value.items()))
            return f"map[{' '.join(pairs)}]"
        case list() | tuple():
            return f"[{' '.join(map(_show, value))}]"
        case _:
            return str(value)


def to_json(value: Any) -> str:
    """Return compact JSON that any stream can take."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # JSON may name halves of surrogate pairs, which only JSON can write.
    return text.encode("utf-8", "backslashreplace").decode()
