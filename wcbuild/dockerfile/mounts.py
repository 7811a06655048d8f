"""RUN's `--mount=type=cache,target=/root/.cache` and `--device=vendor.com/class=name`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from wcbuild.csvfields import split_fields
from wcbuild.dockerfile.suggest import did_you_mean


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
    """A mount that makes no sense; ``hint`` may say what was meant."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


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
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def early_check(value: str) -> None:
    """Refuse what is wrong whatever the variables are: a `from` that has one.

    Raises:
        MountError: it has, or the value is no list of fields.
    """
    for field in _fields(value):
        key, _, text = field.partition("=")
        if key.lower() == "from" and re.search(r"\$.", text):
            raise MountError(
                "'from' doesn't support variable expansion, define alias stage instead"
            )


def source_name(value: str) -> str:
    """Return the stage, context or image that the value of a `--mount` takes files from, or nothing."""
    fields = (field.partition("=") for field in _fields(value))
    return next((text for key, _, text in fields if key.lower() == "from"), "")


def named_source(value: str) -> str:
    """Return what a mount's `from` names, whatever else it says; empty if it has none.

    Raises:
        MountError: the value is no list of fields.
    """
    pairs = (field.partition("=") for field in _fields(value))
    return next((text for key, _, text in pairs if key.lower() == "from"), "")


def parse_mounts(values: Iterable[str], expand: Callable[[str], str]) -> tuple[MountSpec, ...]:
    """Read the values of `--mount`; ``expand`` replaces variables and may raise what it likes.

    Raises:
        MountError: an unknown type or key, a value that its key does not take, or keys that do not
            go together.
    """
    return tuple(_parse(value, expand) for value in values)


def _parse(value: str, expand: Callable[[str], str]) -> MountSpec:
    type_ = MountType.BIND
    given: dict[str, str] = {}
    read_only: bool | None = None
    for field in _fields(value):
        key, equals, text = field.partition("=")
        key = key.lower()
        name = _ALIASES.get(key, key)
        if equals:
            text = expand(text)
        elif name in ("readonly", "readwrite") or (name == "required" and _may_miss(type_)):
            text = "true"
        elif name != "required":
            raise MountError(f"invalid field '{field}' must be a key=value pair")
        if name not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise MountError(f"unexpected key '{key}' in '{field}'", hint)
        if name == "type":
            type_ = _type(text)
        elif (name == "required" and not _may_miss(type_)) or (
            name == "size" and type_ is not MountType.TMPFS
        ):
            # The type must stand before these two.
            raise MountError(f"unexpected key '{key}' for mount type '{type_}'")
        elif name == "readonly":
            read_only = _boolean(key, text)
        elif name == "readwrite":
            read_only = not _boolean(key, text)
        else:
            given[name] = text
    if read_only is None:
        read_only = type_ not in (MountType.CACHE, MountType.TMPFS)
    mount = MountSpec(
        type=type_,
        target=given.get("target", ""),
        from_=given.get("from", ""),
        source=given.get("source", ""),
        read_only=read_only,
        id=given.get("id", ""),
        sharing=_sharing(given["sharing"]) if "sharing" in given else None,
        size=_size(given["size"]) if "size" in given else 0,
        required=_boolean("required", given["required"]) if "required" in given else False,
        env=given.get("env"),
        mode=_number(given, "mode", 8),
        uid=_number(given, "uid", 10),
        gid=_number(given, "gid", 10),
    )
    _check(mount)
    return mount


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
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise MountError(f"invalid value for {key}: {text}")


def _number(given: dict[str, str], key: str, base: int) -> int | None:
    text = given.get(key)
    if text is None:
        return None
    digits = "0-7" if base == 8 else "0-9"  # noqa: PLR2004 - octal
    if not re.fullmatch(f"[{digits}]{{1,11}}", text) or int(text, base) >= 1 << 32:
        raise MountError(f"invalid value {text} for {key}")
    return int(text, base)


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgtp]?)i?b?", text.lower())
    if match is None:
        raise MountError(f"invalid value for size: {text}")
    return int(float(match[1]) * (1 << _UNITS[match[2]]))


def parse_device(value: str) -> DeviceSpec:
    """Read the value of `--device`.

    Raises:
        MountError: no name, two of them, or a key that is not known.
    """
    name, required = "", False
    for field in _fields(value):
        key, equals, text = field.partition("=")
        if field.lower() == "required":
            required = True
        elif equals and key.lower() == "required":
            required = _boolean(key, text)
        elif equals and key.lower() == "name":
            name = _only(name, text)
        elif "/" in key or not equals:
            name = _only(name, field)
        else:
            raise MountError(f"unexpected key '{key}' in '{field}'")
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
