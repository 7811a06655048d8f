"""RUN's `--mount=type=cache,target=/root/.cache` and `--device=vendor.com/class=name`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wcbuild.csvfields import split_fields
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.dockerfile.truth import parse_truth


class MountType(StrEnum):
    """What is mounted."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"  # noqa: S105 - a word, not a secret
    SSH = "ssh"


class Sharing(StrEnum):
    """What happens when two steps want one cache at the same time."""

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSpec:
    """One `--mount`, its variables expanded; empty is not given."""

    type: MountType
    target: str = ""
    from_: str = ""
    """A stage, context or image; bind and cache."""
    source: str = ""
    """A path in it. Of a secret: its id, spelled the old way."""
    read_only: bool = True
    id: str = ""
    """Which cache, secret or agent."""
    sharing: Sharing | None = None
    size: int = 0
    """Limit of a tmpfs in bytes; 0 is none."""
    required: bool = False
    """It is an error when the secret or agent is not there."""
    env: str | None = None
    """The variable that holds the secret, instead of a file or beside it."""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One `--device`, a name of the Container Device Interface."""

    name: str
    required: bool = False


class MountError(ValueError):
    """A mount that makes no sense; ``hint`` may say what was meant, ``word`` which part is to blame."""

    def __init__(self, message: str, hint: str = "", word: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.word = word


_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required"),
    *("size", "mode", "uid", "gid", "env", *_ALIASES),
)
_FIELDS = {"from": "from_", "readonly": "read_only", "readwrite": "read_only"}
"""What `MountSpec` calls them."""
_SIZE = re.compile(r"\+?((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?) ?(?:([kmgtp])(?:i?b)?|b)?")
_LARGEST_SIZE = 1 << 63
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def early_check(value: str) -> None:
    """Refuse what is wrong whatever the variables are: a `from` that has one.

    Raises:
        MountError: it has, or the value is no list of fields.
    """
    if not value:
        raise MountError("--mount says nothing", "as in --mount=type=cache,target=/root/.cache")
    for field in _fields(value):
        key, _, text = field.partition("=")
        if key.lower() == "from" and re.search(r"\$.", text):
            raise MountError(
                "'from' doesn't support variable expansion, define alias stage instead"
            )


def named_source(value: str) -> str:
    """Return what a mount's `from` names, whatever else it says; empty if it has none.

    Raises:
        MountError: the value is no list of fields.
    """
    pairs = (field.partition("=") for field in _fields(value))
    names = [text for key, _, text in pairs if key.lower() == "from"]
    return names[-1] if names else ""


def parse_mounts(values: Iterable[str], expand: Callable[[str], str]) -> tuple[MountSpec, ...]:
    """Read the values of `--mount`; ``expand`` replaces variables and may raise what it likes.

    Raises:
        MountError: an unknown type or key, a value that its key does not take, or keys that do not
            go together.
    """
    return tuple(_parse(value, expand) for value in values)


def _parse(value: str, expand: Callable[[str], str]) -> MountSpec:
    type_ = MountType.BIND
    given: dict[str, Any] = {}
    for field in _fields(value):
        spelled, equals, written = field.partition("=")
        key = spelled.lower()
        name = _ALIASES.get(key, key)
        if not field:
            raise _empty_field(value)
        text = "true"
        if equals:
            text = expand(written)
        elif name not in ("readonly", "readwrite", "required"):
            message = f"invalid field '{field}' must be a key=value pair"
            raise MountError(message, did_you_mean(key, _KEYS), field)
        if name not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise MountError(f"unexpected key '{key}' in '{field}'", hint, spelled)
        if (name == "required" and not _may_miss(type_)) or (
            name == "size" and type_ is not MountType.TMPFS
        ):
            # The type must stand before these two.
            raise MountError(f"unexpected key '{key}' for mount type '{type_}'", word=spelled)
        try:
            if name == "type":
                type_ = _type(text)
            else:
                given[_FIELDS.get(name, name)] = _value(key, name, text)
        except MountError as error:
            error.word = written or field
            raise
    given.setdefault("read_only", type_ not in (MountType.CACHE, MountType.TMPFS))
    mount = MountSpec(type=type_, **given)
    _check(mount)
    return mount


def _empty_field(value: str) -> MountError:
    """Return the error for a comma beside which nothing stands."""
    if value.endswith(","):
        hint, word = "the comma at its end is too much", f"{value.rsplit(',', 2)[-2]},"
    else:
        hint, word = "there is a comma too many", "," if value.startswith(",") else ",,"
    return MountError("invalid field '' must be a key=value pair", hint, word)


def _value(key: str, name: str, text: str) -> object:
    """Read the value of a key, spelled ``key``."""
    match name:
        case "readonly" | "required":
            return _boolean(key, text)
        case "readwrite":
            return not _boolean(key, text)
        case "sharing":
            return _sharing(text)
        case "size":
            return _size(text)
        case "mode":
            return _number(key, text, 8)
        case "uid" | "gid":
            return _number(key, text, 10)
        case _:
            return text


def _may_miss(type_: MountType) -> bool:
    return type_ in (MountType.SECRET, MountType.SSH)


def _check(mount: MountSpec) -> None:
    """Refuse keys that do not go together."""
    if mount.type in (MountType.BIND, MountType.TMPFS):
        for key in ("mode", "uid", "gid"):
            if getattr(mount, key) is not None:
                raise MountError(f'{key} not allowed for "{mount.type}" type mounts')
    if mount.type is MountType.SECRET:
        if mount.from_:
            raise MountError("secret mount should not have a from")
        if mount.sharing:
            raise MountError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise MountError("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise MountError("both source and id can't be set")
    if mount.sharing and mount.type is not MountType.CACHE:
        raise MountError(f"invalid cache sharing set for {mount.type} mount")


def _type(text: str) -> MountType:
    try:
        return MountType(text.lower())
    except ValueError:
        hint = did_you_mean(text, MountType)
        raise MountError(f'unsupported mount type "{text}"', hint) from None


def _sharing(text: str) -> Sharing:
    try:
        return Sharing(text.lower())
    except ValueError:
        hint = did_you_mean(text, Sharing)
        raise MountError(f'unsupported sharing value "{text}"', hint) from None


def _boolean(key: str, text: str) -> bool:
    truth = parse_truth(text)
    if truth is None:
        raise MountError(f"invalid value for {key}: {text}")
    return truth


def _number(key: str, text: str, base: int) -> int:
    digits = "0-7" if base == 8 else "0-9"  # noqa: PLR2004 - octal
    if not re.fullmatch(f"[{digits}]{{1,100}}", text) or int(text, base) >= 1 << 32:
        raise MountError(f"invalid value {text} for {key}")
    return int(text, base)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.lower())
    size = float(match[1]) * (1 << _UNITS[match[2] or ""]) if match else _LARGEST_SIZE
    if size >= _LARGEST_SIZE:
        raise MountError(f"invalid value for size: {text}")
    return int(size)


def parse_device(value: str) -> DeviceSpec:
    """Read the value of `--device`.

    Raises:
        MountError: no name, two of them, or a key that is not known.
    """
    name, required = "", False
    for field in _fields(value):
        key, equals, text = field.partition("=")
        if key.lower() == "required":
            required = _boolean(key, text) if equals else True
        elif key.lower() == "name" and equals:
            name = _only(name, text)
        elif not name or "/" in key:
            name = _only(name, field)
        else:
            hint = did_you_mean(key, ("name", "required"))
            raise MountError(f"unexpected key '{key}' in '{field}'", hint)
    if not name:
        raise MountError("invalid device: a name is required")
    return DeviceSpec(name=name, required=required)


def _only(name: str, text: str) -> str:
    if name:
        raise MountError(f"device name already set to {name}")
    return text


def _fields(value: str) -> list[str]:
    try:
        return split_fields(value)
    except ValueError:
        raise MountError(f"failed to parse csv mounts: misplaced quote in {value}") from None
