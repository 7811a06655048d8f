"""An image from one store to another with what belongs to it: chosen platforms, referrers, signatures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence

from registry.copy import MAX_DOCUMENTS, Emit, Foreign, Recompress, copy, read_tree
from registry.errors import NotFoundError, TooLargeError
from registry.image import choose, put_document, read_document, read_image
from registry.index import ATTESTED
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Index, Manifest, encode, parse_index
from registry.oci.platform import Platform
from registry.referrers import fallback_tag, subject_of
from registry.store import Referrers, Source, Target

SIGNATURE_SUFFIXES = (".sig", ".att", ".sbom")
"""Of the tags under which cosign keeps signatures, attestations and SBOMs: `sha256-<hex>.sig`."""

SIGNATURE_TYPES = (
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.cncf.notary.signature",
)
"""Artifact types of signatures and attestations that lie among the referrers."""


def transfer(
    source: Source,
    target: Target,
    root: Descriptor,
    *,
    tags: Iterable[str] = (),
    platforms: Sequence[Platform] = (),
    missing_ok: bool = False,
    referrers: bool = False,
    signatures: bool = False,
    emit: Emit | None = None,
    recompress: Recompress | None = None,
    foreign: Foreign = Foreign.LEAVE_OUT,
) -> Descriptor:
    """Copy ``root`` as `registry.copy.copy` does; return what ``target`` now calls it.

    Without ``platforms`` all that an index names comes along and its digest stays. One platform
    means its manifest alone, as the index names it. Several mean a new index of those entries,
    with the digests that they had. All of them must be there, or one if ``missing_ok``.

    ``referrers`` brings what refers to the image and to each manifest below it, and what refers to
    that; ``signatures`` the tags that cosign derives from their digests, and those referrers that are
    signatures. With either of them nothing is recompressed, because signatures are about bytes.
    Tags are set last. ``foreign`` is that of `registry.copy.copy`.

    Raises:
        NotFoundError: the image has nothing for one of ``platforms``; nothing was copied.
        InvalidDocumentError, TooLargeError, and whatever ``source`` and ``target`` raise.
    """
    if referrers or signatures:
        recompress = None
    chosen = choose_platforms(source, root, platforms, missing_ok=missing_ok)
    if isinstance(chosen, Descriptor):
        copied = copy(source, target, chosen, emit=emit, recompress=recompress, foreign=foreign)
        roots = [chosen]
    else:
        roots = [entry for entry in chosen.manifests if mediatypes.is_document(entry.media_type)]
        renamed = {
            entry.digest: copy(
                source, target, entry, emit=emit, recompress=recompress, foreign=foreign
            )
            for entry in roots
        }
        copied = put_document(target, _renamed(chosen, renamed))
    if referrers or signatures:
        family = {digest: None for each in roots for digest in read_tree(source, each)}
        _copy_referrers(source, target, family, emit, types=() if referrers else SIGNATURE_TYPES)
        if signatures:
            for digest in family:
                for tag, signature in signature_tags(source, digest):
                    copy(source, target, signature, tags=(tag,), emit=emit)
    for tag in tags:
        target.tag(copied, tag)
    return copied


def choose_platforms(
    source: Source,
    root: Descriptor,
    platforms: Sequence[Platform],
    *,
    missing_ok: bool = False,
) -> Descriptor | Index:
    """Return what of ``root`` is for ``platforms``: a manifest, or a new index of several.

    Of a version of Windows that is the entry that a build would take. BuildKit's attestations stay with
    the entries that they are about. Platforms that are all the index has leave it as it is. With
    ``missing_ok`` it is enough that there is something for one of them. Artifacts are for every platform.

    Raises:
        NotFoundError: nothing for one of them; the message lists what there is.
        InvalidDocumentError, TooLargeError, and whatever ``source`` raises.
    """
    if not platforms:
        return root
    document = read_document(source, root)
    if isinstance(document, Manifest):
        _check_platform(source, document, platforms)
        return root
    if len(platforms) == 1:
        return read_image(source, root, platforms[0]).descriptor
    kept: set[Digest] = set()
    missing: list[str] = []
    for platform in platforms:
        found = {
            entry.digest
            for entry in document.manifests
            if entry.platform is not None and platform.accepts(entry.platform)
        }
        if found and platform.os_version:
            # A machine with that version runs others, too; the one is meant that suits it best.
            found = {choose(document, platform).digest}
        kept |= found
        missing += [] if found else [str(platform)]
    if missing and not (missing_ok and kept):
        offered = dict.fromkeys(str(each.platform) for each in document.manifests if each.platform)
        where = f"index {root.digest}, which has {', '.join(offered) or 'no platforms'}"
        raise NotFoundError(f"image for {', '.join(missing)}", where)
    wanted = [
        entry.digest in kept or entry.annotations.get(ATTESTED) in kept
        for entry in document.manifests
    ]
    if all(wanted):
        return root
    data = json.loads(document.raw)
    data["manifests"] = [item for item, keep in zip(data["manifests"], wanted, strict=True) if keep]
    return parse_index(encode(data), document.media_type)


def _check_platform(source: Source, manifest: Manifest, platforms: Sequence[Platform]) -> None:
    """Refuse an image that is not for one of ``platforms``, if it says what it is for."""
    if manifest.config.media_type not in mediatypes.CONFIGS:
        return
    theirs = read_image(source, manifest.descriptor, None).config.platform
    if theirs.os and not any(platform.accepts(theirs) for platform in platforms):
        names = ", ".join(map(str, platforms))
        where = f"{manifest.descriptor.digest}, which is for {theirs}"
        raise NotFoundError(f"image for {names}", where)


def signature_tags(source: Source, digest: Digest) -> Iterator[tuple[str, Descriptor]]:
    """Yield the tags that cosign derives from ``digest`` and that are there, with what they name."""
    for suffix in SIGNATURE_SUFFIXES:
        tag = fallback_tag(digest) + suffix
        try:
            yield tag, source.resolve(tag)
        except NotFoundError:
            continue


def _copy_referrers(
    source: Source,
    target: Target,
    subjects: Iterable[Digest],
    emit: Emit | None,
    *,
    types: Collection[str] = (),
) -> None:
    """Copy what refers to ``subjects``, and what refers to that; with ``types`` only what is of one.

    A list is what somebody wrote: it may name what is gone, or what is about something else.
    """
    if not isinstance(source, Referrers):
        return
    todo, seen = list(subjects), set(subjects)
    while todo:
        subject = todo.pop()
        for entry in source.referrers(subject):
            if entry.digest in seen or (types and entry.artifact_type not in types):
                continue
            seen.add(entry.digest)
            if len(seen) > MAX_DOCUMENTS:
                raise TooLargeError("number of referrers", MAX_DOCUMENTS)
            with contextlib.suppress(NotFoundError):
                found = subject_of(source, entry)
                if found is None or found[0] != subject:
                    continue
                copy(source, target, entry, emit=emit)
                todo.append(entry.digest)


def _renamed(index: Index, renamed: dict[Digest, Descriptor]) -> Index:
    """Return ``index`` with the digests that its entries have now."""
    data = json.loads(index.raw)
    for item, entry in zip(data["manifests"], index.manifests, strict=True):
        new = renamed.get(entry.digest, entry)
        if new.digest != entry.digest:
            item.pop("data", None)
            item |= {"digest": new.digest, "size": new.size}
    return parse_index(encode(data), index.media_type)
