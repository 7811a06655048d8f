"""`--call`: what a Dockerfile is told to be, as text for people or as JSON, without a build.

Both are what `docker buildx build --call` prints.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from wcbuild import calls
from wcbuild.builder import BuildRequest
from wcbuild.cli.render.text import clean, excerpt, width
from wcbuild.dockerfile.lint import CheckResult
from wcbuild.dockerfile.outline import Outline, OutlineMount, TargetList
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile, Span
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import UsageError, WcbuildError

_METHODS = ("build", "check", "lint", "outline", "targets")
_FORMATS = ("json", "text")
_TRUE, _FALSE = ("1", "true"), ("0", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What `--call` asks for."""

    method: str
    json: bool = False
    ignore_status: bool = False
    """Warnings are no reason for another exit status than 0."""

    @classmethod
    def parse(cls, text: str) -> Call:
        """Read `METHOD[,format=json|text][,ignorestatus=true|false]`.

        Raises:
            UsageError: anything else.
        """
        methods: list[str] = []
        options = {"format": "text", "ignorestatus": "false"}
        for field in text.split(","):
            key, equals, value = field.partition("=")
            if not equals:
                methods.append(field)
            elif key in options:
                options[key] = value.lower()
            else:
                hint = did_you_mean(key, options)
                raise UsageError(f'--call "{text}": unknown option "{key}"{_asked(hint)}')
        if len(methods) != 1 or methods[0] not in _METHODS:
            hint = did_you_mean(methods[0], _METHODS) if methods else ""
            raise UsageError(
                f'--call "{text}": expected one of build, check, outline, targets{_asked(hint)}'
            )
        if options["format"] not in _FORMATS:
            raise UsageError(f'--call "{text}": format is json or text')
        if options["ignorestatus"] not in _TRUE + _FALSE:
            raise UsageError(f'--call "{text}": ignorestatus is true or false')
        return cls(
            method="check" if methods[0] == "lint" else methods[0],
            json=options["format"] == "json",
            ignore_status=options["ignorestatus"] in _TRUE,
        )


def _asked(hint: str) -> str:
    return f" ({hint})" if hint else ""


def run_call(call: Call, request: BuildRequest, stdout: TextIO) -> int:
    """Print what ``call`` asks for and return the exit status: 1 for a check that found something.

    Raises:
        WcbuildError, RegistryError: the Dockerfile would not build; the checks are printed even so.
    """
    match call.method:
        case "outline":
            outline = calls.outline(request)
            stdout.write(_json(outline_json(outline)) if call.json else outline_text(outline))
        case "targets":
            listed = calls.targets(request)
            stdout.write(_json(targets_json(listed)) if call.json else targets_text(listed))
        case _:
            result = calls.check(request)
            stdout.write(_json(check_json(result)) if call.json else _check_report(result))
            stdout.flush()
            if result.error is not None:
                raise result.error
            return int(bool(result.warnings) and not call.ignore_status)
    return 0


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"


def _check_report(result: CheckResult) -> str:
    count = len(result.warnings)
    if result.is_clean:
        return "Check complete, no warnings found.\n"
    if not count:
        return ""
    found = "1 warning has been found" if count == 1 else f"{count} warnings have been found"
    return f"Check complete, {found}!\n{check_text(result)}"


def check_json(result: CheckResult) -> dict[str, Any]:
    """Return what `--call=check,format=json` prints."""
    data: dict[str, Any] = {
        "warnings": [_warning(warning) for warning in result.warnings],
        "sources": [
            {
                "filename": result.source.name,
                "language": "Dockerfile",
                "data": _base64(result.source),
            }
        ],
    }
    if result.error is not None:
        data["buildError"] = {
            "message": _message(result.error),
            "location": _location(result.error.spans[:1]),
        }
    return data


def _warning(warning: LintWarning) -> dict[str, Any]:
    rule = warning.rule
    fields = {
        "ruleName": rule.name,
        "description": rule.description,
        "url": rule.url,
        "detail": warning.message,
        "location": _location((warning.span,)),
    }
    return {key: value for key, value in fields.items() if value}


def _message(error: WcbuildError) -> str:
    """Return an error's words without its place, which stands beside them."""
    text = str(error)
    return text.removeprefix(f"{error.spans[0]}: ") if error.spans else text


def _location(spans: Iterable[Span]) -> dict[str, Any]:
    """Return the lines one by one, as BuildKit counts them."""
    lines = [line for span in spans for line in range(span.first, span.last + 1)]
    ranges = [{"start": {"line": line}, "end": {"line": line}} for line in lines]
    return {"ranges": ranges} if ranges else {}


def check_text(result: CheckResult) -> str:
    """Return the warnings as `--check` prints them, each with its lines."""
    return "".join(warning_text(warning, result.source) for warning in result.warnings)


def warning_text(warning: LintWarning, source: SourceFile) -> str:
    """Return one warning with its lines."""
    rule = warning.rule
    page = f" - {rule.url}" if rule.url else ""
    head = f"\nWARNING: {rule.name}{page}\n{clean(warning.message)}\n"
    return head + excerpt(source, warning.span)


def outline_json(outline: Outline) -> dict[str, Any]:
    """Return what `--call=outline,format=json` prints."""
    args = [
        {
            "name": arg.name,
            "description": arg.description,
            "value": arg.value,
            "location": _location((arg.span,)),
        }
        for arg in outline.args
    ]
    fields = {
        "name": outline.name,
        "description": outline.description,
        "args": [_without_empty(arg) for arg in args],
        "secrets": _mounts(outline.secrets),
        "ssh": _mounts(outline.ssh),
        "sources": [_base64(outline.source)],
    }
    return _without_empty(fields)


def _mounts(mounts: Iterable[OutlineMount]) -> list[dict[str, Any]]:
    return [
        _without_empty(
            {
                "name": mount.name,
                "required": mount.required,
                "location": _location((mount.span,)),
            }
        )
        for mount in mounts
    ]


def outline_text(outline: Outline) -> str:
    """Return what `--call=outline` prints: a table of each kind that is not empty."""
    parts: list[str] = []
    rows: list[tuple[str, ...]]
    if outline.name or outline.description:
        head = [("TARGET:", outline.name or "(default)")]
        if outline.description:
            head.append(("DESCRIPTION:", outline.description))
        parts.append(_table(head, gap=1))
    if outline.args:
        rows = [(arg.name, arg.value, arg.description) for arg in outline.args]
        parts.append(_table([("BUILD ARG", "VALUE", "DESCRIPTION"), *rows], gap=3))
    for title, mounts in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        if mounts:
            rows = [(mount.name, "true" if mount.required else "") for mount in mounts]
            parts.append(_table([(title, "REQUIRED"), *rows], gap=3))
    return "".join(f"{part}\n" for part in parts)


def targets_json(listed: TargetList) -> dict[str, Any]:
    """Return what `--call=targets,format=json` prints."""
    rows = [
        {
            "name": target.name,
            "default": target.is_default,
            "description": target.description,
            "base": target.base,
            "platform": target.platform,
            "location": _location((target.span,)),
        }
        for target in listed.targets
    ]
    return {
        "targets": [_without_empty(row) for row in rows],
        "sources": [_base64(listed.source)],
    }


def targets_text(listed: TargetList) -> str:
    """Return what `--call=targets` prints."""
    rows = [("TARGET", "DESCRIPTION")]
    for target in listed.targets:
        words = (target.name, "(default)" if target.is_default else "")
        rows.append((" ".join(filter(None, words)), target.description))
    return _table(rows, gap=1)


def _table(rows: Sequence[tuple[str, ...]], *, gap: int) -> str:
    """Return rows of cells in columns ``gap`` blanks apart; the last column has no end."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) + gap for column in list(zip(*cleaned, strict=True))[:-1]]
    lines = []
    for *cells, last in cleaned:
        padded = (
            cell + " " * (size - width(cell)) for cell, size in zip(cells, widths, strict=True)
        )
        lines.append("".join(padded) + last)
    return "".join(f"{line}\n" for line in lines)


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}


def _base64(source: SourceFile) -> str:
    return base64.b64encode(source.data).decode()
