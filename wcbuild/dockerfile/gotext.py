"""Text as Go's fmt prints it, because history lines are compared with what BuildKit writes."""

from __future__ import annotations

from collections.abc import Iterable

from registry.oci.config import Healthcheck

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_SECOND = 1_000_000_000
_UNITS = ((3600 * _SECOND, "h"), (60 * _SECOND, "m"))
_SMALL_UNITS = ((1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


def quoted(text: str) -> str:
    """Return ``text`` as `%q` does."""
    return '"' + "".join(_quoted_character(character) for character in text) + '"'


def _quoted_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:  # noqa: PLR2004 - ASCII
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - one plane


def quoted_list(items: Iterable[str]) -> str:
    """Return a list of strings as `%q` does: `["a" "b"]`."""
    return "[" + " ".join(quoted(item) for item in items) + "]"


def plain_list(items: Iterable[str]) -> str:
    """Return a list of strings as `%v` does: `[a b]`."""
    return "[" + " ".join(items) + "]"


def duration(nanoseconds: int) -> str:
    """Return nanoseconds as Go's Duration prints itself: `1h0m0s`, `1.5s`, `250ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < _SECOND:
        unit, name = next(unit for unit in _SMALL_UNITS if nanoseconds >= unit[0])
        return _decimal(nanoseconds, unit) + name
    text, rest = "", nanoseconds
    for unit, name in _UNITS:
        if text or rest >= unit:
            text += f"{rest // unit}{name}"
            rest %= unit
    return text + _decimal(rest, _SECOND) + "s"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    return f"{whole}.{str(part).zfill(len(str(unit)) - 1).rstrip('0')}"


def healthcheck(check: Healthcheck) -> str:
    """Return a health check as `%+v` does."""
    return (
        f"{{Test:{plain_list(check.test)} Interval:{duration(check.interval)}"
        f" Timeout:{duration(check.timeout)} StartPeriod:{duration(check.start_period)}"
        f" StartInterval:{duration(check.start_interval)} Retries:{check.retries}}}"
    )
