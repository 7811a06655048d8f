"""`-o`: what is made of an image besides its place in the local store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wcbuild.csvfields import split_fields
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import UsageError

KINDS = ("image", "registry", "oci", "docker", "local", "tar", "cacheonly")
_LEVELS = {"gzip": range(10), "zstd": range(1, 23), "uncompressed": range(1)}
_KEYS = (
    *("type", "dest", "tar", "compression", "compression-level", "push", "push-by-digest", "name"),
    "platform-split",
)
_AS_ALWAYS = {
    "oci-mediatypes": "true",
    "rewrite-timestamp": "true",
    "name-canonical": "",
    "store": "",
    "unpack": "",
}
"""Keys of docker's for what is always so here, with the only value that can be had."""
_HINTS = {
    "annotation": "annotations are given with --annotation",
    "force-compression": "layers of a base that are compressed stay as they are",
    "mode": "files that are there already are kept",
    "source-date-epoch": "times are given with --build-arg SOURCE_DATE_EPOCH=TIME",
    "registry.insecure": "--insecure-registry names registries without TLS",
}
_TRUE, _FALSE = ("1", "true"), ("0", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One `-o`."""

    kind: str
    """One of ``KINDS``."""
    dest: str = ""
    """A path; `-` is standard output."""
    tar: bool = True
    """For `oci`: one file, or a folder."""
    compression: str = "gzip"
    level: int | None = None
    names: tuple[str, ...] = ()
    """What to call the image if nothing else does."""
    by_digest: bool = False
    """For `registry`: without a tag."""
    platform_split: bool | None = None
    """For `local` and `tar`: a folder for each platform; None is if there are several."""

    @classmethod
    def parse(cls, text: str) -> Output:
        """Parse `type=oci,dest=F[,tar=false][,compression=zstd]`, or `DIR`, or `-`.

        Raises:
            UsageError: an unknown key, type or value, or one that does not go with the type.
        """
        if not text:
            raise UsageError('--output: is empty; this folder is "."')
        if "=" not in text:
            return cls(kind="tar", dest="-") if text == "-" else cls(kind="local", dest=text)
        fields = _read(text)
        kind = fields.get("type", "")
        if kind not in KINDS:
            raise UsageError(f'--output: unknown type "{kind}"; there are {", ".join(KINDS)}')
        if kind == "image" and read_switch("--output", fields, "push"):
            kind = "registry"
        dest = fields.get("dest", "-")
        tar = read_switch("--output", fields, "tar", default=True)
        if kind == "docker" and not tar:
            raise UsageError(
                "--output type=docker: is an archive; a folder is type=oci,tar=false,dest=DIR"
            )
        if dest in ("", "-") and (kind == "local" or (kind == "oci" and not tar)):
            raise UsageError(f"--output: type={kind}{'' if tar else ',tar=false'} needs dest=DIR")
        compression = fields.get("compression", "gzip")
        return cls(
            kind=kind,
            dest=dest,
            tar=tar,
            compression=compression,
            level=read_level("--output", compression, fields.get("compression-level")),
            names=tuple(filter(None, fields.get("name", "").split(","))),
            by_digest=read_switch("--output", fields, "push-by-digest"),
            platform_split=(
                read_switch("--output", fields, "platform-split")
                if "platform-split" in fields
                else None
            ),
        )


def _read(text: str) -> dict[str, str]:
    """Return the values by key, without those that say what is so anyway."""
    fields = read_fields("--output", text)
    for key, only in _AS_ALWAYS.items():
        value = fields.pop(key, only)
        if only and value.lower() not in (*_TRUE, ""):
            raise UsageError(f"--output: {key}={value}: wcbuild has only {key}={only}")
    unknown = next((key for key in fields if key not in _KEYS), None)
    if unknown is not None:
        meant = unknown if unknown in _HINTS else unknown.partition(".")[0].partition("-")[0]
        near = did_you_mean(unknown, _KEYS) or f"there are {', '.join(_KEYS)}"
        raise UsageError(f'--output: unknown key "{unknown}" ({_HINTS.get(meant, near)})')
    return fields


def read_fields(flag: str, text: str) -> dict[str, str]:
    """Read `KEY=VALUE,…`, as docker's flags have it; keys are in lower case.

    Raises:
        UsageError: quotes that make no sense.
    """
    try:
        pairs = [field.partition("=") for field in split_fields(text)]
    except ValueError:
        raise UsageError(f"{flag}: misplaced quote in {text}") from None
    return {key.strip().lower(): value for key, _, value in pairs}


def read_switch(flag: str, fields: Mapping[str, str], key: str, *, default: bool = False) -> bool:
    """Read a field that is true or false.

    Raises:
        UsageError: it is neither.
    """
    if key not in fields:
        return default
    value = fields[key].lower()
    if value not in _TRUE + _FALSE:
        raise UsageError(f'{flag}: {key} is true or false, not "{fields[key]}"')
    return value in _TRUE


def read_level(flag: str, compression: str, text: str | None) -> int | None:
    """Read the level of a compression; None is the usual one.

    Raises:
        UsageError: no such compression, or no such level.
    """
    if compression not in _LEVELS:
        raise UsageError(
            f'{flag}: unknown compression "{compression}"; there are {", ".join(_LEVELS)}'
        )
    if text is None:
        return None
    levels = _LEVELS[compression]
    if not text.isdecimal() or int(text) not in levels:
        raise UsageError(
            f'{flag}: compression-level "{text}" of {compression} is not within '
            f"{levels[0]} to {levels[-1]}"
        )
    return int(text)
