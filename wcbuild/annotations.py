"""Annotations of what a build makes, and the words that say where each goes.

`index,manifest[linux/arm64]:org.opencontainers.image.title=app`: which documents or descriptors, for which
platform, then key and value. Without such words it is the manifest's, of every platform.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.oci.platform import Platform
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import UsageError


class Level(StrEnum):
    """What an annotation is written into."""

    MANIFEST = "manifest"
    INDEX = "index"
    MANIFEST_DESCRIPTOR = "manifest-descriptor"
    """The manifest's entry in the index."""
    INDEX_DESCRIPTOR = "index-descriptor"
    """The index's entry in an OCI layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotation in one place."""

    level: Level
    platform: Platform | None
    """None is every one."""
    key: str
    value: str


_PLACE = re.compile(r"([a-z-]+)(?:\[([^\]]*)\])?")


def parse_annotations(given: Mapping[str, str]) -> tuple[Annotation, ...]:
    """Read keys as they are written on the command line, `[PLACE[,PLACE]:]KEY`, with their values.

    Raises:
        UsageError: a place that is none, an empty key, or an index that has a platform.
        InvalidDocumentError: not a platform.
    """
    return tuple(annotation for key, value in given.items() for annotation in _parse(key, value))


def _parse(text: str, value: str) -> Iterable[Annotation]:
    places, colon, key = text.partition(":") if ":" in text else ("", "", text)
    if not key or (colon and not places):
        raise UsageError(f'--annotation "{text}": has no key')
    for place in places.split(",") if places else (Level.MANIFEST,):
        match = _PLACE.fullmatch(place.strip())
        if match is None or match[1] not in tuple(Level):
            near = did_you_mean(place, tuple(Level))
            hint = near or f"there are {', '.join(Level)}"
            raise UsageError(f'--annotation "{text}": unknown place "{place}" ({hint})')
        level = Level(match[1])
        platform = Platform.parse(match[2]) if match[2] else None
        if platform is not None and level in (Level.INDEX, Level.INDEX_DESCRIPTOR):
            raise UsageError(f'--annotation "{text}": an index has no platform')
        yield Annotation(level=level, platform=platform, key=key, value=value)


def select(
    annotations: Iterable[Annotation], level: Level, platform: Platform | None = None
) -> dict[str, str]:
    """Return what goes into one document or descriptor."""
    return {
        each.key: each.value
        for each in annotations
        if each.level is level and each.platform in (None, platform)
    }
