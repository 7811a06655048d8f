"""Signing images and verifying signatures, in cosign's format.

Spec: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from registry.errors import InvalidDocumentError, InvalidReferenceError
from registry.image import MAX_DEPTH, read_document
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Index
from registry.reference import Reference
from registry.sign.attachments import Attachment, Form, Kind, Store, attach, read_attachments
from registry.sign.errors import NotSignedError, SignatureError
from registry.sign.identity import MatchRepository, SignedIdentity
from registry.sign.keys import SigningKey, VerifyingKey
from registry.sign.payload import MAX_PAYLOAD_BYTES, Payload
from registry.sign.strict import StrictError, decode_base64
from registry.store import BlobSource, Source

T = TypeVar("T")

SIGNATURES = Kind(
    name="signature",
    suffix="sig",
    media_type="application/vnd.dev.cosign.simplesigning.v1+json",
    artifact_type="application/vnd.dev.cosign.artifact.sig.v1+json",
    limit=MAX_PAYLOAD_BYTES,
)

MAX_IMAGES = 1000
"""Below one index; real ones have some for each platform."""

_SHOWN = 3
"""Reasons that a message tells."""

SIGNATURE = "dev.cosignproject.cosign/signature"
"""The annotation of a layer that holds the signature of its bytes."""


def sign(
    store: Store,
    image: Descriptor,
    reference: Reference,
    key: SigningKey,
    *,
    annotations: Mapping[str, str] | None = None,
    identity: str = "",
    form: Form = "tag",
) -> Payload:
    """Sign ``image``, a manifest or index of ``store``, and put the signature beside it.

    What is signed is the digest and the repository of ``reference``, never its tag, which may point
    elsewhere tomorrow; ``identity`` is written instead of the repository if it is given. Signatures
    that are there already stay, and signing the same again with the same key and form adds nothing.

    Raises:
        InvalidReferenceError: ``identity`` is not a name.
        SignatureError, and whatever ``store`` raises.
    """
    name = str(Reference.parse(identity)) if identity else reference.name
    payload = Payload.build(docker_reference=name, digest=image.digest, annotations=annotations)
    for known in read_attachments(store, image, SIGNATURES, (form,)):
        if known.raw == payload.raw and _is_by(known, key.public):
            return payload
    signature = base64.b64encode(key.sign(payload.raw)).decode()
    attach(
        store,
        image,
        SIGNATURES,
        Attachment(raw=payload.raw, annotations={SIGNATURE: signature}),
        form,
    )
    return payload


def verify(
    source: Source,
    image: Descriptor,
    reference: Reference | None,
    keys: Sequence[VerifyingKey],
    *,
    annotations: Mapping[str, str] | None = None,
    identity: SignedIdentity | None = None,
) -> tuple[Payload, ...]:
    """Return what those signatures of ``image`` say that are good: by one of ``keys``, and for it.

    A good signature is for the digest of ``image`` and for a name that ``identity`` accepts (by default
    the repository of ``reference``), and has all ``annotations``. Others beside it do no harm.

    Raises:
        NotSignedError: there is no signature at all.
        SignatureError: none is good; the message says why.
        And whatever ``source`` raises.
    """
    identity = identity or MatchRepository()

    def check(attachment: Attachment) -> Payload:
        payload = _verified(attachment, keys)
        _check_claim(payload, image, reference, identity, annotations or {})
        return payload

    found = read_attachments(source, image, SIGNATURES)
    return good_ones(SIGNATURES.name, image, reference, (partial(check, each) for each in found))


def good_ones(
    kind: str,
    image: Descriptor,
    reference: Reference | None,
    checks: Iterable[Callable[[], T]],
) -> tuple[T, ...]:
    """Return what those of ``checks`` return that raise no StrictError; each is of one ``kind``.

    Raises:
        NotSignedError: there is none. SignatureError: none is good.
    """
    what = f"{reference.name}@{image.digest}" if reference else f"image {image.digest}"
    good: list[T] = []
    reasons: list[str] = []
    for number, check in enumerate(checks, 1):
        try:
            good.append(check())
        except StrictError as error:
            reasons.append(f"{kind} {number} {error}")
    if good:
        return tuple(good)
    if not reasons:
        raise NotSignedError(what, kind)
    raise SignatureError(what, summary(reasons))


def summary(reasons: Sequence[str]) -> str:
    """Return a few of ``reasons`` as the end of a sentence."""
    hidden = len(reasons) - _SHOWN
    return "; ".join(reasons[:_SHOWN]) + (f"; and {hidden} more" if hidden > 0 else "")


def with_children(source: BlobSource, image: Descriptor) -> tuple[Descriptor, ...]:
    """Return ``image`` and, if it is an index, all that it leads to, each once.

    All of it is known to be there and small enough before the first is signed.

    Raises:
        InvalidDocumentError: indexes are nested too deeply, or lead to more than `MAX_IMAGES`.
        And whatever ``source`` raises.
    """
    found = {image.digest: image}
    level = [image]
    for _ in range(MAX_DEPTH + 1):
        below: dict[Digest, Descriptor] = {}
        for each in level:
            document = read_document(source, each)
            children = document.manifests if isinstance(document, Index) else ()
            below |= {child.digest: child for child in children if child.digest not in found}
            if len(found) + len(below) > MAX_IMAGES:
                reason = f"leads to more than {MAX_IMAGES} images"
                raise InvalidDocumentError(f"index {image.digest}", reason)
        found |= below
        level = list(below.values())
    if level:
        reason = f"is nested more than {MAX_DEPTH} levels deep"
        raise InvalidDocumentError(f"index {image.digest}", reason)
    return tuple(found.values())


def _verified(attachment: Attachment, keys: Sequence[VerifyingKey]) -> Payload:
    """Return what an attachment says, once one of ``keys`` is known to have signed it.

    Raises:
        StrictError
    """
    signature = _signature(attachment)
    if not any(key.verifies(signature, attachment.raw) for key in keys):
        raise StrictError(f"is not by {key_names(keys)}")
    return Payload.parse(attachment.raw)


def _is_by(attachment: Attachment, key: VerifyingKey) -> bool:
    try:
        return key.verifies(_signature(attachment), attachment.raw)
    except StrictError:
        return False


def _signature(attachment: Attachment) -> bytes:
    text = attachment.annotations.get(SIGNATURE, "")
    if not text:
        raise StrictError("holds no signature")
    try:
        return decode_base64(text)
    except StrictError as error:
        raise StrictError("is not in base64") from error


def key_names(keys: Sequence[VerifyingKey]) -> str:
    """Return how a message calls the keys that were tried."""
    names = [f'"{key.name}"' for key in keys if key.name]
    return f"the key {' or '.join(names)}" if names else "a key that is trusted"


def _check_claim(
    payload: Payload,
    image: Descriptor,
    reference: Reference | None,
    identity: SignedIdentity,
    annotations: Mapping[str, str],
) -> None:
    if payload.digest != image.digest:
        raise StrictError(f"is for another image, {payload.digest}")
    try:
        signed = Reference.parse(payload.docker_reference)
    except InvalidReferenceError as error:
        raise StrictError("is for an impossible name") from error
    if not identity.accepts(signed, reference):
        hint = ""
        if reference and not signed.tag and not signed.digest:
            # What cosign signs, and what a policy does not accept that says nothing else.
            tagged = replace(signed, tag=reference.tag, digest=reference.digest)
            if identity.accepts(tagged, reference):
                hint = ", without the tag that is asked for (matchRepository asks for none)"
        raise StrictError(f'is for "{signed}"{hint}')
    for name, value in annotations.items():
        if payload.annotations.get(name) != value:
            raise StrictError(f'has no annotation "{name}={value}"')
