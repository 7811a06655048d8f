"""Attestations: signed statements about an image, in-toto statements in DSSE envelopes.

Spec: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md,
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md and
https://github.com/sigstore/cosign/blob/main/specs/ATTESTATION_SPEC.md and BUNDLE_SPEC.md
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from registry.errors import InvalidDigestError, InvalidDocumentError
from registry.image import put_document
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Manifest, encode
from registry.oci.mediatypes import OCI_EMPTY
from registry.reference import Reference
from registry.sign.attachments import (
    Attachment,
    Form,
    Kind,
    Store,
    attach,
    put_blob,
    read_attachments,
    subject_of,
)
from registry.sign.keys import SigningKey, VerifyingKey
from registry.sign.signatures import SIGNATURE, good_ones, key_names
from registry.sign.strict import StrictError, decode_base64, load_strict, require_keys
from registry.store import Source

MAX_ENVELOPE_BYTES = 64 * 1024 * 1024
"""SBOMs of large images have tens of megabytes, and base64 adds a third."""

ATTESTATIONS = Kind(
    name="attestation",
    suffix="att",
    media_type="application/vnd.dsse.envelope.v1+json",
    artifact_type="",
    limit=MAX_ENVELOPE_BYTES,
)

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLES = Kind(
    name="attestation",
    suffix="",
    media_type=BUNDLE,
    artifact_type=BUNDLE,
    limit=MAX_ENVELOPE_BYTES,
)
"""The form among referrers: an envelope and, in clear, what its verifier may want to know."""

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
_STATEMENTS = (STATEMENT, "https://in-toto.io/Statement/v0.1")

CUSTOM = "https://cosign.sigstore.dev/attestation/v1"
"""cosign's type for predicates without a type of their own: any text, and when it was attached."""

SPDX = "https://spdx.dev/Document"

PREDICATE_TYPES: Mapping[str, str] = {
    "custom": CUSTOM,
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "link": "https://in-toto.io/Link/v1",
    "spdx": SPDX,
    "spdxjson": SPDX,
    "cyclonedx": "https://cyclonedx.org/bom",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns",
}
"""cosign's short names of predicate types."""

_MAX_SIGNATURES = 16


def read_predicate(kind: str, raw: bytes, now: datetime) -> tuple[str, object]:
    """Return the type and the value of a predicate from a file, as cosign would.

    ``kind`` is one of `PREDICATE_TYPES` or a URI. `custom` wraps any text, `spdx` is text, and all
    others are JSON.

    Raises:
        InvalidDocumentError: the file does not hold that.
    """
    what = f"predicate of type {kind}"
    predicate_type = PREDICATE_TYPES.get(kind, kind)
    if predicate_type == kind and ":" not in kind:
        known = ", ".join(PREDICATE_TYPES)
        raise InvalidDocumentError(what, f"the type is neither a URI nor one of {known}")
    try:
        if kind == "custom":
            timestamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return predicate_type, {"Data": raw.decode(), "Timestamp": timestamp}
        if kind == "spdx":
            return predicate_type, raw.decode()
        return predicate_type, load_strict(raw, MAX_ENVELOPE_BYTES)
    except UnicodeDecodeError as error:
        raise InvalidDocumentError(what, "is not UTF-8") from error
    except StrictError as error:
        raise InvalidDocumentError(what, str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What somebody says about images: a predicate of some type, about some digests."""

    raw: bytes = field(repr=False)
    """The bytes that are signed."""
    subjects: tuple[Digest, ...]
    predicate_type: str
    predicate: Any = field(hash=False, repr=False)

    @classmethod
    def build(
        cls, *, name: str, subject: Digest, predicate_type: str, predicate: object
    ) -> Statement:
        """Make a statement about one image; ``name`` is for people."""
        return cls.parse(
            encode(
                {
                    "_type": STATEMENT,
                    "subject": [{"name": name, "digest": {subject.algorithm: subject.hex}}],
                    "predicateType": predicate_type,
                    "predicate": predicate,
                }
            )
        )

    @classmethod
    def parse(cls, raw: bytes) -> Statement:
        """Read a statement; call this only after its envelope was verified.

        Raises:
            StrictError: it is not one.
        """
        data = load_strict(raw, MAX_ENVELOPE_BYTES)
        if data.get("_type") not in _STATEMENTS:
            raise StrictError("is not an in-toto statement")
        subjects, predicate_type = data.get("subject"), data.get("predicateType")
        if not isinstance(predicate_type, str) or not isinstance(subjects, list):
            raise StrictError("is not an in-toto statement")
        return cls(
            raw=raw,
            subjects=tuple(digest for entry in subjects for digest in _digests(entry)),
            predicate_type=predicate_type,
            predicate=data.get("predicate"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A DSSE envelope: bytes, what they are, and signatures of both."""

    raw: bytes = field(repr=False)
    """The JSON document."""
    payload_type: str
    payload: bytes = field(repr=False)
    signatures: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def seal(cls, payload_type: str, payload: bytes, key: SigningKey) -> Envelope:
        """Sign ``payload``."""
        signature = key.sign(signed_bytes(payload_type, payload))
        document = {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
        }
        return cls(
            raw=encode(document),
            payload_type=payload_type,
            payload=payload,
            signatures=(signature,),
        )

    @classmethod
    def parse(cls, raw: bytes) -> Envelope:
        """Read an envelope, unverified.

        Raises:
            StrictError: it is not one.
        """
        data = load_strict(raw, MAX_ENVELOPE_BYTES)
        require_keys(data, ("payloadType", "payload", "signatures"))
        payload_type, listed = data["payloadType"], data["signatures"]
        if not isinstance(payload_type, str):
            raise StrictError("does not say what it holds")
        if not isinstance(listed, list) or not 0 < len(listed) <= _MAX_SIGNATURES:
            raise StrictError(f"has not between 1 and {_MAX_SIGNATURES} signatures")
        for entry in listed:
            require_keys(entry, ("sig",), ("keyid",))
        return cls(
            raw=raw,
            payload_type=payload_type,
            payload=decode_base64(data["payload"]),
            signatures=tuple(decode_base64(entry["sig"]) for entry in listed),
        )

    def is_by(self, keys: Sequence[VerifyingKey]) -> bool:
        """Say whether one of ``keys`` made one of the signatures."""
        data = signed_bytes(self.payload_type, self.payload)
        return any(key.verifies(one, data) for key in keys for one in self.signatures)


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: no type can be taken for part of a payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def attest(
    store: Store,
    image: Descriptor,
    reference: Reference,
    key: SigningKey,
    *,
    predicate_type: str,
    predicate: object,
    form: Form = "tag",
) -> Statement:
    """Sign a statement about ``image``, a manifest or index of ``store``, and put it beside it.

    ``predicate`` is anything that JSON can hold. Attestations that are there already stay, and
    saying the same again with the same key adds nothing.

    Raises:
        SignatureError, and whatever ``store`` raises.
    """
    statement = Statement.build(
        name=reference.name,
        subject=image.digest,
        predicate_type=predicate_type,
        predicate=predicate,
    )
    for read in _envelopes(store, image):
        if _repeats(read, statement, key.public):
            return statement
    envelope = Envelope.seal(IN_TOTO, statement.raw, key)
    if form == "tag":
        annotations = {SIGNATURE: "", "predicateType": predicate_type}
        attach(
            store, image, ATTESTATIONS, Attachment(raw=envelope.raw, annotations=annotations), "tag"
        )
    else:
        _attach_bundle(store, image, envelope, key.public, predicate_type)
    return statement


def verify_attestation(
    source: Source,
    image: Descriptor,
    reference: Reference | None,
    keys: Sequence[VerifyingKey],
    *,
    predicate_type: str = "",
) -> tuple[tuple[Envelope, Statement], ...]:
    """Return the good attestations of ``image``: by one of ``keys``, about its digest, and of the type.

    An empty ``predicate_type`` is any. ``reference`` is for messages.

    Raises:
        NotSignedError: there is no attestation at all.
        SignatureError: none is good; the message says why.
        And whatever ``source`` raises.
    """

    def check(read: Callable[[], Envelope]) -> tuple[Envelope, Statement]:
        envelope = read()
        return envelope, _verified(envelope, image, keys, predicate_type)

    found = _envelopes(source, image)
    return good_ones(ATTESTATIONS.name, image, reference, (partial(check, each) for each in found))


def _verified(
    envelope: Envelope, image: Descriptor, keys: Sequence[VerifyingKey], predicate_type: str
) -> Statement:
    if not envelope.is_by(keys):
        raise StrictError(f"is not by {key_names(keys)}")
    if envelope.payload_type != IN_TOTO:
        raise StrictError(f'holds "{envelope.payload_type[:100]}", not an in-toto statement')
    statement = Statement.parse(envelope.payload)
    if image.digest not in statement.subjects:
        raise StrictError("is about another image")
    if predicate_type not in ("", statement.predicate_type):
        raise StrictError(f'is of the type "{statement.predicate_type[:200]}"')
    return statement


def _envelopes(source: Source, image: Descriptor) -> Iterator[Callable[[], Envelope]]:
    """Yield a reader of each attestation, in both forms; it raises a StrictError."""
    for attachment in read_attachments(source, image, ATTESTATIONS):
        yield partial(Envelope.parse, attachment.raw)
    for attachment in read_attachments(source, image, BUNDLES):
        yield partial(_bundled, attachment.raw)


def _bundled(raw: bytes) -> Envelope:
    document = load_strict(raw, MAX_ENVELOPE_BYTES)
    if not isinstance(document.get("dsseEnvelope"), dict):
        raise StrictError("is a bundle without an envelope")
    return Envelope.parse(encode(document["dsseEnvelope"]))


def _attach_bundle(
    store: Store, image: Descriptor, envelope: Envelope, key: VerifyingKey, predicate_type: str
) -> None:
    hint = base64.b64encode(hashlib.sha256(key.der).digest()).decode()
    document = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": json.loads(envelope.raw),
    }
    manifest = Manifest.build(
        artifact_type=BUNDLE,
        config=put_blob(store, b"{}", OCI_EMPTY),
        layers=(put_blob(store, encode(document), BUNDLE),),
        subject=subject_of(image),
        annotations={
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": predicate_type,
        },
    )
    put_document(store, manifest)


def _repeats(read: Callable[[], Envelope], statement: Statement, key: VerifyingKey) -> bool:
    try:
        envelope = read()
    except StrictError:
        return False
    return envelope.payload == statement.raw and envelope.is_by((key,))


def _digests(subject: object) -> list[Digest]:
    if not isinstance(subject, dict) or not isinstance(subject.get("digest"), dict):
        raise StrictError("has a subject without a digest")
    known = [
        (name, text) for name, text in subject["digest"].items() if name in ("sha256", "sha512")
    ]
    try:
        return [Digest(f"{name}:{text}") for name, text in known]
    except InvalidDigestError as error:
        raise StrictError("has a subject with an impossible digest") from error
