"""Keeping repositories equal to others: many of them, their tags chosen by patterns.

sync:
  - source: docker.io/library/alpine
    target: registry.example.com/mirror/alpine
    tags: ["3.*", latest]
    exclude: ["*_rc*"]
    platforms: [linux/amd64, linux/arm64]
    referrers: true
    signatures: true
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Self

from registry.copy import Emit
from registry.errors import InvalidDocumentError, NotFoundError, RegistryError, TooLargeError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.store import Repository
from registry.transfer import choose_platforms, transfer
from wcbuild.errors import WcbuildError
from wcbuild.places import Place, Places

MAX_FILE_BYTES = 1024 * 1024
"""Of a sync file; thousands of repositories fit."""

COPIED, EXISTS, WOULD_COPY, FAILED = "copied", "exists", "would copy", "failed"

_KEYS = ("source", "target", "tags", "exclude", "platforms", "referrers", "signatures")
_DERIVED = re.compile(r"sha(?:256|512)-[0-9a-f]{64}(?:\..*)?", re.ASCII)
"""Tags that tools derive from digests: they come with what they are about, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which tags of one repository go to which other."""

    source: Place
    target: Place
    tags: tuple[str, ...] = ()
    """Patterns of the shell's kind (`*`, `?`, `[...]`); none is the source's tag, or all tags."""
    exclude: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    """Those of them that a tag has are copied; it must have one."""
    referrers: bool = False
    signatures: bool = False

    @classmethod
    def from_yaml(cls, data: object, what: str) -> Self:
        """Read one item of the list.

        Raises:
            InvalidDocumentError: a key is missing, unknown, or of the wrong kind.
        """
        if not isinstance(data, Mapping):
            raise InvalidDocumentError(what, "is not a mapping with source and target")
        unknown = [str(key) for key in data if key not in _KEYS]
        if unknown:
            reason = f'has the unknown key "{unknown[0]}"; there are {", ".join(_KEYS)}'
            raise InvalidDocumentError(what, reason)
        source, target = _place(data, "source", what), _place(data, "target", what)
        if target.name or target.digest:
            raise InvalidDocumentError(f"{what}: target", "names one image; give a repository")
        tags = _texts(data, "tags", what)
        if source.digest or (source.name and tags):
            raise InvalidDocumentError(f"{what}: source", "names one image and tags are given too")
        return cls(
            source=source,
            target=target,
            tags=tags,
            exclude=_texts(data, "exclude", what),
            platforms=tuple(Platform.parse(text) for text in _texts(data, "platforms", what)),
            referrers=_switch(data, "referrers", what),
            signatures=_switch(data, "signatures", what),
        )

    def chooses(self, tag: str) -> bool:
        """Say whether a tag of the source is meant."""
        if self.source.name:
            return tag == self.source.name
        patterns = self.tags or ("*",)
        if _DERIVED.fullmatch(tag):
            patterns = tuple(pattern for pattern in patterns if pattern.startswith("sha"))
        return any(fnmatchcase(tag, pattern) for pattern in patterns) and not any(
            fnmatchcase(tag, pattern) for pattern in self.exclude
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one tag."""

    state: str
    """`copied`, `exists`, `would copy` or `failed`."""
    source: Place
    target: Place
    digest: Digest | None = None
    reason: str = ""
    """Why it failed."""


def read_rules(raw: bytes, what: str) -> tuple[Rule, ...]:
    """Read a sync file.

    Raises:
        InvalidDocumentError: not YAML, or not such a file; the message names the place.
        TooLargeError: more than ``MAX_FILE_BYTES``.
    """
    import yaml  # noqa: PLC0415 - only this command needs it

    if len(raw) > MAX_FILE_BYTES:
        raise TooLargeError(what, MAX_FILE_BYTES)
    try:
        data = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDocumentError(what, f"is not YAML ({reason})") from error
    if not isinstance(data, dict) or set(data) != {"sync"} or not isinstance(data["sync"], list):
        raise InvalidDocumentError(what, "is not a mapping of sync to a list")
    return tuple(
        Rule.from_yaml(item, f"{what}: item {number}")
        for number, item in enumerate(data["sync"], 1)
    )


def sync(
    rules: Sequence[Rule], places: Places, *, dry_run: bool = False, emit: Emit | None = None
) -> Iterator[Outcome]:
    """Copy what ``rules`` choose and the targets do not have; yield what became of each tag.

    A failure is an outcome, and the others go on. A target's tag that already names the right digest
    is not touched, except that referrers and signatures are looked after where they are wanted.
    """
    for rule in rules:
        try:
            source, target = places.repository(rule.source), places.repository(rule.target)
            tags = [rule.source.name] if rule.source.name else sorted(set(source.tags()))
        except (RegistryError, WcbuildError, OSError) as error:
            yield _failed(rule.source, rule.target, error)
            continue
        for tag in filter(rule.chooses, tags):
            from_, to = replace(rule.source, name=tag), replace(rule.target, name=tag)
            try:
                found = places.find(source, from_)
                yield _sync_tag(
                    rule, from_, to, source, target, found=found, dry_run=dry_run, emit=emit
                )
            except (RegistryError, WcbuildError, OSError) as error:
                yield _failed(from_, to, error)


def _sync_tag(
    rule: Rule,
    from_: Place,
    to: Place,
    source: Repository,
    target: Repository,
    *,
    found: Descriptor,
    dry_run: bool,
    emit: Emit | None,
) -> Outcome:
    # Repositories change what they are built for; each tag has what there is.
    chosen = choose_platforms(source, found, rule.platforms, missing_ok=True)
    wanted = chosen if isinstance(chosen, Descriptor) else chosen.descriptor
    has = _has(target, to.name, wanted.digest)
    state = EXISTS if has else WOULD_COPY if dry_run else COPIED
    if not dry_run and (not has or rule.referrers or rule.signatures):
        transfer(
            source,
            target,
            found,
            tags=() if has else (to.name,),
            platforms=rule.platforms,
            missing_ok=True,
            referrers=rule.referrers,
            signatures=rule.signatures,
            emit=emit,
        )
    return Outcome(state=state, source=from_, target=to, digest=wanted.digest)


def _has(target: Repository, tag: str, digest: Digest) -> bool:
    try:
        return target.resolve(tag).digest == digest
    except NotFoundError:
        return False


def _failed(source: Place, target: Place, error: Exception) -> Outcome:
    return Outcome(state=FAILED, source=source, target=target, reason=str(error))


def _place(data: Mapping[str, Any], key: str, what: str) -> Place:
    text = data.get(key)
    if not isinstance(text, str) or not text:
        raise InvalidDocumentError(what, f"has no {key} that is a text")
    try:
        place = Place.parse(text)
    except RegistryError as error:
        raise InvalidDocumentError(f"{what}: {key}", str(error)) from error
    if not place.is_repository:
        raise InvalidDocumentError(f"{what}: {key}", f'"{text}" is an archive, not a repository')
    return place


def _texts(data: Mapping[str, Any], key: str, what: str) -> tuple[str, ...]:
    items = data.get(key) or []
    items = [items] if isinstance(items, str) else items
    if not isinstance(items, list):
        raise InvalidDocumentError(f"{what}: {key}", "is not a list")
    for item in items:
        if not isinstance(item, str):
            # YAML reads 3.10 as the number 3.1, which is another tag.
            raise InvalidDocumentError(f"{what}: {key}", f"{item} is no text; put it in quotes")
    return tuple(items)


def _switch(data: Mapping[str, Any], key: str, what: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise InvalidDocumentError(f"{what}: {key}", "is neither true nor false")
    return value
