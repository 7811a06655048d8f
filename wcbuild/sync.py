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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from registry.copy import Emit
from registry.errors import InvalidDocumentError, NotFoundError, RegistryError, TooLargeError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.referrers import is_derived_tag
from registry.store import Repository
from registry.transfer import choose_platforms, transfer
from wcbuild.errors import WcbuildError
from wcbuild.places import Place, Places

MAX_FILE_BYTES = 1024 * 1024
"""Of a sync file; thousands of repositories fit."""

COPIED, EXISTS, WOULD_COPY, FAILED = "copied", "exists", "would copy", "failed"

_KEYS = ("source", "target", "tags", "exclude", "platforms", "referrers", "signatures")


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

    def chooses(self, tag: str) -> bool:
        """Say whether a tag of the source is meant."""
        if self.source.name:
            return tag == self.source.name
        patterns = self.tags or ("*",)
        if is_derived_tag(tag):
            # It comes with what it is about, or not at all.
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


def read_rules(raw: bytes, file: str) -> tuple[Rule, ...]:
    """Read a sync file, which messages call ``file``.

    Raises:
        InvalidDocumentError: not YAML, or not such a file; the message names the line.
        TooLargeError: more than ``MAX_FILE_BYTES``.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise TooLargeError(file, MAX_FILE_BYTES)
    return tuple(map(_read_rule, _read_items(raw, file)))


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


# -- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """An item of the list, which knows where its keys stand."""

    file: str
    line: int
    values: Mapping[str, object]
    lines: Mapping[str, int]

    def error(self, reason: str, key: str = "") -> InvalidDocumentError:
        """Return what is wrong with it, or with one of its values."""
        place = f"{self.file}:{self.lines.get(key, self.line)}"
        return InvalidDocumentError(f"{place}: {key}" if key else place, reason)


def _read_items(raw: bytes, file: str) -> Iterator[_Item]:
    import yaml  # noqa: PLC0415 - only this command needs it

    try:
        loader = yaml.SafeLoader(raw)
        root = loader.get_single_node()
        data = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        place = f"{file}:{error.problem_mark.line + 1}" if error.problem_mark else file
        raise InvalidDocumentError(place, f"is not YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # Most of these are what PyYAML raises on `!!int ''`, `!!bool x` and `!!timestamp x`.
        reason = " ".join(str(error).split())
        raise InvalidDocumentError(file, f"is not YAML ({reason})") from error
    listed = data.get("sync") if isinstance(data, dict) and len(data) == 1 else None
    if root is None or not isinstance(listed, list):
        raise InvalidDocumentError(file, "is not a mapping of sync to a list")
    for node, values in zip(root.value[0][1].value, listed, strict=True):
        line = node.start_mark.line + 1
        if not isinstance(values, dict):
            reason = "is not a mapping with source and target"
            raise InvalidDocumentError(f"{file}:{line}", reason)
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
        item = _Item(file=file, line=line, values=values, lines=lines)
        # YAML's own reader would take the last one without a word. Those that `<<` brings stand
        # elsewhere, and are there to be replaced.
        here = range(node.start_mark.index, node.end_mark.index)
        keys = [key.value for key, _ in node.value if key.start_mark.index in here]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise item.error("is there twice", twice[0])
        yield item


def _read_rule(item: _Item) -> Rule:
    unknown = [str(key) for key in item.values if key not in _KEYS]
    if unknown:
        raise item.error(f"is not one of the keys {', '.join(_KEYS)}", unknown[0])
    source, target = _place(item, "source"), _place(item, "target")
    if target.name or target.digest:
        raise item.error("names one image; give a repository", "target")
    tags = _texts(item, "tags")
    if source.digest or (source.name and tags):
        raise item.error("names one image and tags are given too", "source")
    return Rule(
        source=source,
        target=target,
        tags=tags,
        exclude=_texts(item, "exclude"),
        platforms=_platforms(item),
        referrers=_switch(item, "referrers"),
        signatures=_switch(item, "signatures"),
    )


def _place(item: _Item, key: str) -> Place:
    text = item.values.get(key)
    if not isinstance(text, str) or not text:
        raise item.error(f"has no {key} that is a text")
    try:
        place = Place.parse(text)
    except RegistryError as error:
        raise item.error(str(error), key) from error
    if not place.is_repository:
        raise item.error(f'"{text}" is an archive, not a repository', key)
    return place


def _platforms(item: _Item) -> tuple[Platform, ...]:
    try:
        return tuple(map(Platform.parse, _texts(item, "platforms")))
    except RegistryError as error:
        raise item.error(str(error), "platforms") from error


def _texts(item: _Item, key: str) -> tuple[str, ...]:
    texts = item.values.get(key) or []
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list):
        raise item.error("is not a list", key)
    for text in texts:
        if isinstance(text, list | dict):
            raise item.error("is not a list of texts", key)
        if not isinstance(text, str):
            # YAML reads 3.10 as the number 3.1, which is another tag.
            raise item.error(f"{text} is no text; put it in quotes", key)
    return tuple(texts)


def _switch(item: _Item, key: str) -> bool:
    value = item.values.get(key, False)
    if not isinstance(value, bool):
        raise item.error("is neither true nor false", key)
    return value
