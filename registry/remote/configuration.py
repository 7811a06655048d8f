"""Settings that files hold: our `config.toml`, containers' `registries.conf`, folders of certificates.

Formats: docs/registries.md, and `containers-registries.conf(5)` version 2. Of the latter are read
prefix, location, insecure, blocked and mirrors; what it says of unqualified names is not, because a
name without a registry is docker.io's here as in a Dockerfile everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.errors import (
    ConfigurationError,
    InvalidReferenceError,
    RegistryError,
)
from registry.files import read_limited
from registry.reference import Reference
from registry.remote.mirrors import Mirror, Mirrors, Rule

MAX_FILE_BYTES = 1024 * 1024
"""Of a file of settings; a larger one is none."""

WINDOWS_ALIASES = {
    "windowsservercore": "mcr.microsoft.com/windows/servercore:ltsc2022",
    "nanoserver": "mcr.microsoft.com/windows/nanoserver:ltsc2022",
}
"""What the first Dockerfiles for Windows called their bases, for `windows-aliases = true`."""
_OUR_TABLES = ("registry", "aliases", "windows-aliases")
_OUR_KEYS = ("mirrors", "location", "insecure", "blocked")
_PULLS = {"all": (True, True), "digest-only": (False, True), "tag-only": (True, False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What files say about reaching registries."""

    mirrors: Mirrors
    insecure: frozenset[str]
    """Hosts that may speak plain HTTP or show any certificate."""
    certificate_folders: tuple[Path, ...]
    """Where `certs.d` folders may be, the user's before the machine's."""
    aliases: Mapping[str, Reference]
    """What is meant by names that nobody has (`docker.io/library/name`), by our own file."""

    def meant_by(self, reference: Reference) -> Reference:
        """Return what a reference is an alias of, or itself. A tag or digest of its own goes first."""
        alias = self.aliases.get(reference.name)
        if alias is None:
            return reference
        if reference.digest is not None:
            return replace(alias, tag=reference.tag, digest=reference.digest)
        return replace(alias, tag=reference.tag, digest=None) if reference.tag else alias


def read_configuration(environment: Mapping[str, str], etc: Path = Path("/etc")) -> Configuration:
    """Read the files of the user and then of the machine, ours before containers'; none need exist.

    Raises:
        ConfigurationError: one of them cannot be read or means nothing.
    """
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    user = _user_folder(environment)
    found: list[tuple[Rule, frozenset[str]]] = []
    aliases: dict[str, Reference] = {}
    for path in our_files(environment, etc):
        data = _read(path)
        found += _read_ours(data, path)
        aliases = _read_aliases(data, path) | aliases
    for path in _registries_files(environment, user, etc):
        found += _read_registries(path)
    return Configuration(
        aliases=aliases,
        mirrors=Mirrors(rules=tuple(rule for rule, _ in found)),
        insecure=frozenset[str]().union(*(hosts for _, hosts in found)),
        certificate_folders=(
            user / "containers" / "certs.d",
            home / ".docker" / "certs.d",
            etc / "containers" / "certs.d",
            etc / "docker" / "certs.d",
        ),
    )


def our_files(environment: Mapping[str, str], etc: Path = Path("/etc")) -> tuple[Path, ...]:
    """Return where our own settings may be, the user's first."""
    return (_user_folder(environment) / "wcbuild" / "config.toml", etc / "wcbuild" / "config.toml")


def _user_folder(environment: Mapping[str, str]) -> Path:
    home = environment.get("HOME") or os.path.expanduser("~")
    return Path(environment.get("XDG_CONFIG_HOME") or Path(home) / ".config")


def _read_aliases(data: Mapping[str, Any], path: Path) -> dict[str, Reference]:
    table = dict(WINDOWS_ALIASES) if _flag(data, "windows-aliases", path) else {}
    table |= _table(data.get("aliases"), path, "aliases")
    aliases = {}
    for name, text in table.items():
        try:
            aliases[Reference.parse(name).name] = Reference.parse(str(text))
        except InvalidReferenceError as error:
            raise ConfigurationError(str(path), f'aliases."{name}": {error}') from error
    return aliases


def _registries_files(environment: Mapping[str, str], user: Path, etc: Path) -> list[Path]:
    """Return the `registries.conf` that holds, and what lies beside it, the strongest first."""
    if named := environment.get("CONTAINERS_REGISTRIES_CONF"):
        return [Path(named)]
    places = (user / "containers", etc / "containers")
    drops = [
        path
        for place in places
        for path in sorted((place / "registries.conf.d").glob("*.conf"), reverse=True)
    ]
    whole = [place / "registries.conf" for place in places]
    return drops + ([path for path in whole if path.exists()] or whole)[:1]


def _read_ours(data: Mapping[str, Any], path: Path) -> Iterable[tuple[Rule, frozenset[str]]]:
    if unknown := sorted(set(data) - set(_OUR_TABLES)):
        known = ", ".join(_OUR_TABLES)
        raise ConfigurationError(str(path), f'unknown key "{unknown[0]}"; there are {known}')
    for prefix, entry in _table(data.get("registry"), path, "registry").items():
        where = f'registry."{prefix}"'
        fields = _table(entry, path, where)
        if unknown := sorted(set(fields) - set(_OUR_KEYS)):
            known = ", ".join(_OUR_KEYS)
            raise ConfigurationError(
                str(path), f'{where}: unknown key "{unknown[0]}"; there are {known}'
            )
        mirrors = fields.get("mirrors", [])
        if not isinstance(mirrors, list):
            raise ConfigurationError(str(path), f"{where}: mirrors is not a list")
        rule = Rule(
            prefix=_place(prefix, path),
            location=_place(fields.get("location", prefix), path),
            mirrors=tuple(Mirror(location=_place(mirror, path)) for mirror in mirrors),
            blocked=_flag(fields, "blocked", path),
        )
        yield rule, _hosts([rule.location] if _flag(fields, "insecure", path) else [])


def _read_registries(path: Path) -> Iterable[tuple[Rule, frozenset[str]]]:
    data = _read(path)
    if isinstance(data.get("registries"), dict):
        reason = "is in version 1 of its format, which is not read; write [[registry]] tables"
        raise ConfigurationError(str(path), reason)
    for entry in _list(data.get("registry"), path):
        prefix = entry.get("prefix") or entry.get("location") or ""
        location = entry.get("location") or prefix
        insecure = [location] if _flag(entry, "insecure", path) else []
        mirrors = []
        by_digest = _flag(entry, "mirror-by-digest-only", path)
        for item in _list(entry.get("mirror"), path):
            kind = item.get("pull-from-mirror") or ("digest-only" if by_digest else "all")
            if kind not in _PULLS:
                raise ConfigurationError(str(path), f'pull-from-mirror = "{kind}" means nothing')
            tags, digests = _PULLS[kind]
            place = _place(item.get("location"), path)
            mirrors.append(Mirror(location=place, tags=tags, digests=digests))
            insecure += [place] if _flag(item, "insecure", path) else []
        rule = Rule(
            prefix=_place(prefix, path),
            location=_place(location, path),
            mirrors=tuple(mirrors),
            blocked=_flag(entry, "blocked", path),
        )
        yield rule, _hosts(insecure)


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most machines have no such file

    try:
        return tomllib.loads(read_limited(path, MAX_FILE_BYTES, str(path)).decode())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(str(path), error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(str(path), f"is not TOML ({error})") from error
    except RegistryError as error:
        raise ConfigurationError(str(path), str(error)) from error


def _table(value: object, path: Path, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(str(path), f"{where} is not a table")
    return value


def _list(value: object, path: Path) -> list[dict[str, Any]]:
    if not isinstance(value or [], list):
        raise ConfigurationError(str(path), "registry and mirror are lists of tables")
    return [_table(item, path, "an entry") for item in value or []]  # type: ignore[attr-defined]  # a list, as seen


def _flag(fields: Mapping[str, Any], key: str, path: Path) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise ConfigurationError(str(path), f"{key} is neither true nor false")
    return value


def _place(text: object, path: Path) -> str:
    """Return a checked `HOST[:PORT][/PATH]`, docker's hub under its one name."""
    place = str(text or "").rstrip("/").removeprefix("*.")
    try:
        name = Reference.parse(f"{place}/x/y")
    except InvalidReferenceError as error:
        raise ConfigurationError(str(path), f'"{text}" is not a place: {error.reason}') from error
    host, _, rest = place.partition("/")
    if name.registry != host and name.repository == f"{place}/x/y":
        reason = f'"{text}" does not begin with a host: give it a dot or a port'
        raise ConfigurationError(str(path), reason)
    if str(text).startswith("*."):
        return str(text)
    return f"{name.registry}/{rest}" if rest else name.registry


def _hosts(places: Iterable[str]) -> frozenset[str]:
    return frozenset(place.partition("/")[0] for place in places)
