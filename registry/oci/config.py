"""The image config: what a container of the image runs, and how its file system came to be.

Spec: https://github.com/opencontainers/image-spec/blob/main/config.md, and for Healthcheck, OnBuild and
Shell https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidDigestError, InvalidDocumentError
from registry.oci.descriptor import string_map
from registry.oci.digest import DiffId, Digest
from registry.oci.manifest import encode, load_object
from registry.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How to ask a container whether it is well. Durations are nanoseconds; 0 means inherit."""

    test: tuple[str, ...] = ()
    """Empty (inherit), `NONE`, or `CMD` or `CMD-SHELL` and what follows."""
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


_HEALTHCHECK_KEYS = (
    ("interval", "Interval"),
    ("timeout", "Timeout"),
    ("start_period", "StartPeriod"),
    ("start_interval", "StartInterval"),
    ("retries", "Retries"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """The inner `config` object: defaults for a container."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    """`80/tcp`, sorted when written."""
    env: tuple[str, ...] = ()
    """`NAME=value`, in order."""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any], what: str = "image config") -> ContainerConfig:
        """Read the object. Raises InvalidDocumentError naming the field that is not as it should be."""
        return cls(
            user=_text(data, "User", what),
            exposed_ports=tuple(sorted(_keys(data, "ExposedPorts", what))),
            env=_strings(data, "Env", what) or (),
            entrypoint=_strings(data, "Entrypoint", what),
            cmd=_strings(data, "Cmd", what),
            volumes=tuple(sorted(_keys(data, "Volumes", what))),
            working_dir=_text(data, "WorkingDir", what),
            labels=string_map(data.get("Labels"), f"{what} Labels"),
            stop_signal=_text(data, "StopSignal", what),
            args_escaped=data.get("ArgsEscaped") is True,
            healthcheck=_healthcheck(data.get("Healthcheck"), what),
            on_build=_strings(data, "OnBuild", what) or (),
            shell=_strings(data, "Shell", what),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object with Go's field order and its `omitempty`."""
        data: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in sorted(self.exposed_ports)},
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint or ()),
            "Cmd": list(self.cmd or ()),
            "Volumes": {volume: {} for volume in sorted(self.volumes)},
            "WorkingDir": self.working_dir,
            "Labels": dict(sorted(self.labels.items())),
            "StopSignal": self.stop_signal,
            "ArgsEscaped": self.args_escaped,
            "Healthcheck": _healthcheck_json(self.healthcheck),
            "OnBuild": list(self.on_build),
            "Shell": list(self.shell or ()),
        }
        return {key: value for key, value in data.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One line of `docker history`. Times are RFC 3339 text, as they stand in the file."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the object, empty fields left out."""
        data: dict[str, Any] = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
        }
        return {key: value for key, value in data.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The whole config document. Its digest is the image id."""

    platform: Platform
    config: ContainerConfig = field(default_factory=ContainerConfig)
    diff_ids: tuple[DiffId, ...] = ()
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""

    @classmethod
    def parse(cls, raw: bytes, what: str = "image config") -> ImageConfig:
        """Read a config document.

        Raises:
            InvalidDocumentError, TooLargeError
        """
        data = load_object(raw, what)
        inner = {} if data.get("config") is None else data["config"]
        rootfs = {} if data.get("rootfs") is None else data["rootfs"]
        if not isinstance(inner, Mapping) or not isinstance(rootfs, Mapping):
            raise InvalidDocumentError(what, "config and rootfs must be objects")
        try:
            diff_ids = tuple(DiffId(Digest(str(text))) for text in rootfs.get("diff_ids") or ())
        except (InvalidDigestError, TypeError) as error:
            raise InvalidDocumentError(f"{what} rootfs", str(error)) from error
        history = [] if data.get("history") is None else data["history"]
        if not isinstance(history, list):
            raise InvalidDocumentError(f"{what} history", "is not a list")
        return cls(
            platform=Platform.from_json(data),
            config=ContainerConfig.from_json(inner, what),
            diff_ids=diff_ids,
            history=tuple(_history(entry, what) for entry in history),
            created=_text(data, "created", what),
            author=_text(data, "author", what),
        )

    def encode(self) -> bytes:
        """Return the document's bytes, keys sorted as BuildKit's exporter writes them."""
        data: dict[str, Any] = self.platform.to_json() | {
            "config": self.config.to_json(),
            "history": [entry.to_json() for entry in self.history],
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]},
        }
        if self.created:
            data["created"] = self.created
        if self.author:
            data["author"] = self.author
        return encode(dict(sorted(data.items())))


def _text(data: Mapping[str, Any], key: str, what: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidDocumentError(f"{what} {key}", "is not a string")
    return value


def _strings(data: Mapping[str, Any], key: str, what: str) -> tuple[str, ...] | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidDocumentError(f"{what} {key}", "is not a list of strings")
    return tuple(value)


def _keys(data: Mapping[str, Any], key: str, what: str) -> tuple[str, ...]:
    value = data.get(key)
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise InvalidDocumentError(f"{what} {key}", "is not an object")
    return tuple(value)


def _healthcheck(value: object, what: str) -> Healthcheck | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidDocumentError(f"{what} Healthcheck", "is not an object")
    numbers = {name: value.get(key) or 0 for name, key in _HEALTHCHECK_KEYS}
    if not all(isinstance(number, int) for number in numbers.values()):
        raise InvalidDocumentError(f"{what} Healthcheck", "has a duration that is not a number")
    return Healthcheck(test=_strings(value, "Test", what) or (), **numbers)


def _healthcheck_json(value: Healthcheck | None) -> dict[str, Any] | None:
    if value is None:
        return None
    data: dict[str, Any] = {"Test": list(value.test)}
    data |= {key: getattr(value, name) for name, key in _HEALTHCHECK_KEYS}
    return {key: item for key, item in data.items() if item}


def _history(entry: object, what: str) -> History:
    if not isinstance(entry, Mapping):
        raise InvalidDocumentError(f"{what} history", "has an entry that is not an object")
    return History(
        created=_text(entry, "created", what),
        created_by=_text(entry, "created_by", what),
        author=_text(entry, "author", what),
        comment=_text(entry, "comment", what),
        empty_layer=entry.get("empty_layer") is True,
    )
