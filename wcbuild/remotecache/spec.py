"""Where caches are and what goes into them, as `--cache-from` and `--cache-to` say it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.oci.digest import Digest
from registry.reference import Reference
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import UsageError
from wcbuild.outputs import read_fields, read_level, read_switch

FROM_KINDS = ("registry", "local")
TO_KINDS = ("registry", "local", "inline")
MODES = ("min", "max")
_ALWAYS = ("oci-mediatypes", "image-manifest")
"""What buildx has to be asked for, and is always so here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFrom:
    """One `--cache-from`: what an earlier build left in a registry or in a folder."""

    kind: str = "registry"
    """`registry` or `local`."""
    ref: str = ""
    """Of a registry: what `--cache-to` wrote, or an image that has its cache in it."""
    src: str = ""
    """A folder."""
    tag: str = "latest"
    digest: str = ""
    """Of the manifest in the folder, instead of its tag."""

    @classmethod
    def parse(cls, text: str) -> CacheFrom:
        """Parse `type=registry,ref=REF`, `REF` or `type=local,src=DIR[,tag=TAG][,digest=DIGEST]`.

        Raises:
            UsageError: an unknown key, kind or value, or a missing one.
            InvalidReferenceError, InvalidDigestError
        """
        flag = "--cache-from"
        fields = {"ref": text} if "=" not in text else read_fields(flag, text)
        kind = fields.get("type", "registry")
        if kind == "inline":
            raise UsageError(
                f"{flag}: type=inline is a --cache-to; such an image is read with {flag} REF"
            )
        _check_kind(flag, kind, FROM_KINDS)
        keys = ("ref",) if kind == "registry" else ("src", "tag", "digest")
        _check_keys(flag, fields, keys)
        parsed = cls(
            kind=kind,
            ref=fields.get("ref", ""),
            src=fields.get("src", ""),
            tag=fields.get("tag", "latest"),
            digest=fields.get("digest", ""),
        )
        parsed.check()
        return parsed

    def check(self) -> None:
        """Refuse what names no place.

        Raises:
            UsageError, InvalidReferenceError, InvalidDigestError
        """
        _check_kind("--cache-from", self.kind, FROM_KINDS)
        if self.kind == "registry":
            _check_reference("--cache-from", self.ref)
        elif not self.src:
            raise UsageError("--cache-from: type=local needs src=DIR")
        if self.digest:
            Digest(self.digest)

    @property
    def reference(self) -> Reference | None:
        """The registry's; None for a folder."""
        return Reference.parse(self.ref).with_default_tag() if self.kind == "registry" else None

    def __str__(self) -> str:
        return self.ref if self.kind == "registry" else f"{Path(self.src)}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTo:
    """One `--cache-to`: where the cache of this build goes."""

    kind: str = "registry"
    """`registry`, `local`, or `inline`: into the image itself."""
    ref: str = ""
    dest: str = ""
    """A folder, which becomes an OCI image layout."""
    tag: str = "latest"
    """In the folder."""
    mode: str = "min"
    """`min`: the layers of the image that is built; `max`: those of all stages."""
    compression: str = "gzip"
    level: int | None = None
    ignore_error: bool = False
    """The build does not fail where the cache cannot be written."""

    @classmethod
    def parse(cls, text: str) -> CacheTo:
        """Parse `type=registry,ref=REF[,mode=max]`, `REF`, `type=local,dest=DIR` or `type=inline`.

        Raises:
            UsageError: an unknown key, kind or value, or a missing one.
            InvalidReferenceError
        """
        flag = "--cache-to"
        short = {"type": "inline"} if text == "inline" else {"ref": text}
        fields = read_fields(flag, text) if "=" in text else short
        kind = fields.get("type", "registry")
        _check_kind(flag, kind, TO_KINDS)
        place = {"registry": ("ref",), "local": ("dest", "tag"), "inline": ()}[kind]
        how = ("mode", "compression", "compression-level", "ignore-error", *_ALWAYS)
        _check_keys(flag, fields, place if kind == "inline" else (*place, *how))
        compression = fields.get("compression", "gzip")
        for name in _ALWAYS:
            if not read_switch(flag, fields, name, default=True):
                raise UsageError(f"{flag}: {name}=false: caches are OCI manifests here")
        parsed = cls(
            kind=kind,
            ref=fields.get("ref", ""),
            dest=fields.get("dest", ""),
            tag=fields.get("tag", "latest"),
            mode=fields.get("mode", "min"),
            compression=compression,
            level=read_level(flag, compression, fields.get("compression-level")),
            ignore_error=read_switch(flag, fields, "ignore-error"),
        )
        parsed.check()
        return parsed

    def check(self) -> None:
        """Refuse what names no place, or a way to write it that there is not.

        Raises:
            UsageError, InvalidReferenceError
        """
        flag = "--cache-to"
        _check_kind(flag, self.kind, TO_KINDS)
        read_level(flag, self.compression, None if self.level is None else str(self.level))
        if self.mode not in MODES:
            raise UsageError(f'{flag}: unknown mode "{self.mode}"; there are {", ".join(MODES)}')
        if self.kind == "registry":
            if _check_reference(flag, self.ref).digest is not None:
                raise UsageError(f'{flag} "{self.ref}": is written under a tag, not a digest')
        elif self.kind == "local" and not self.dest:
            raise UsageError(f"{flag}: type=local needs dest=DIR")

    def __str__(self) -> str:
        return self.ref if self.kind == "registry" else f"{Path(self.dest)}:{self.tag}"


def _check_kind(flag: str, kind: str, kinds: Collection[str]) -> None:
    if kind not in kinds:
        raise UsageError(
            f'{flag}: there is no type "{kind}", only {", ".join(kinds)}; a CI system can keep the '
            "folder of a local one from job to job"
        )


def _check_keys(flag: str, fields: Mapping[str, str], keys: Collection[str]) -> None:
    for name in fields:
        if name not in ("type", *keys):
            hint = did_you_mean(name, tuple(keys)) or f"there are {', '.join(('type', *keys))}"
            raise UsageError(f'{flag}: unknown key "{name}" ({hint})')


def _check_reference(flag: str, ref: str) -> Reference:
    if not ref:
        raise UsageError(f"{flag}: type=registry needs ref=REF")
    return Reference.parse(ref)
