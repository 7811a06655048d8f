"""`--secret id=…[,src=…|,env=…]` and `--ssh default|ID[=SOCK]`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wcbuild.csvfields import split_fields
from wcbuild.errors import UsageError

MAX_SECRET_BYTES = 500 * 1024
"""As docker's: a secret is a key or a token; a file beyond that was given by mistake."""

_KEYS = ("id", "type", "src", "source", "env")


def read_secrets(texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return the values of secrets by id.

    Raises:
        UsageError: one makes no sense or is not there; the message never holds a value.
    """
    return dict(_secret(text, environment) for text in texts if text)


def _secret(text: str, environment: Mapping[str, str]) -> tuple[str, bytes]:
    fields: dict[str, str] = {}
    try:
        parts = split_fields(text)
    except ValueError:
        raise UsageError("--secret: misplaced quote") from None
    for field in parts:
        key, equals, value = field.partition("=")
        if not equals or key.lower() not in _KEYS:
            # Not the whole text: people who get this wrong write the secret itself here.
            raise UsageError(
                f'--secret: "{key}" is not understood; write id=ID,src=FILE or id=ID,env=NAME'
            )
        fields[key.lower()] = value
    name, kind = fields.get("id", ""), fields.get("type", "")
    if not name:
        raise UsageError("--secret has no id; write id=ID,src=FILE or id=ID,env=NAME")
    if kind not in ("", "file", "env"):
        raise UsageError(f'--secret id={name}: type "{kind}" is neither file nor env')
    source = fields.get("src", fields.get("source", ""))
    variable = fields.get("env", "")
    if kind == "env" and not variable:
        source, variable = "", source or name
    if not source and not variable:
        # As docker does: the variable of that name, or else the file.
        source, variable = ("", name) if name in environment and kind != "file" else (name, "")
    if variable:
        if variable not in environment:
            raise UsageError(f'--secret id={name}: there is no variable "{variable}"')
        return name, os.fsencode(environment[variable])
    return name, _read(name, source)


def _read(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f'--secret id={name}: cannot read "{path}": {reason}') from error
    if len(data) > MAX_SECRET_BYTES:
        raise UsageError(f'--secret id={name}: "{path}" is larger than {MAX_SECRET_BYTES} bytes')
    return data


def find_agents(
    texts: Sequence[str], environment: Mapping[str, str]
) -> dict[str, tuple[Path, ...]]:
    """Return, by id, the socket of an SSH agent or the files of private keys.

    Raises:
        UsageError: there is no agent.
    """
    agents = {}
    for text in filter(None, texts):
        name, _, value = text.partition("=")
        value = value or environment.get("SSH_AUTH_SOCK", "")
        if not value:
            raise UsageError(
                f"--ssh {text}: SSH_AUTH_SOCK is not set; start an agent, or name its socket or a key"
            )
        agents[name or "default"] = tuple(Path(path).absolute() for path in value.split(","))
    return agents
