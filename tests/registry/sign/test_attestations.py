"""Statements about images, in DSSE envelopes."""

import base64
import json
from datetime import UTC, datetime

import pytest

from registry.errors import InvalidDocumentError
from registry.sign import (
    PREDICATE_TYPES,
    Envelope,
    NotSignedError,
    SignatureError,
    Statement,
    attest,
    read_predicate,
    verify_attestation,
)
from registry.sign.attachments import Attachment, attach, read_attachments
from registry.sign.attestations import ATTESTATIONS, BUNDLES, IN_TOTO, signed_bytes
from registry.sign.strict import StrictError

TYPE = "https://example.com/reviewed/v1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FORMS = pytest.mark.parametrize("form", ["tag", "referrers"])


def put(store, image, raw: bytes) -> None:
    attach(store, image, ATTESTATIONS, Attachment(raw=raw), "tag")


def reason(store, image, reference, key, **wanted) -> str:
    with pytest.raises(SignatureError) as caught:
        verify_attestation(store, image, reference, [key.public], **wanted)
    return caught.value.reason


@FORMS
def test_an_attestation_verifies(store, image, reference, key, form):
    predicate = {"by": "two people", "lines": [1, 2]}
    made = attest(store, image, reference, key, predicate_type=TYPE, predicate=predicate, form=form)
    ((envelope, statement),) = verify_attestation(
        store, image, reference, [key.public], predicate_type=TYPE
    )
    assert statement == made
    assert statement.predicate == predicate
    assert statement.subjects == (image.digest,)
    assert envelope.payload_type == IN_TOTO


def test_is_an_in_toto_statement_under_the_tag_that_cosign_looks_for(store, image, reference, key):
    attest(store, image, reference, key, predicate_type=TYPE, predicate={})
    found = store.resolve(f"sha256-{image.digest.hex}.att")
    (layer,) = json.loads(store.open(found).read())["layers"]
    assert layer["mediaType"] == "application/vnd.dsse.envelope.v1+json"
    assert layer["annotations"] == {
        "dev.cosignproject.cosign/signature": "",
        "predicateType": TYPE,
    }
    (attachment,) = read_attachments(store, image, ATTESTATIONS)
    statement = json.loads(base64.b64decode(json.loads(attachment.raw)["payload"]))
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": reference.name, "digest": {"sha256": image.digest.hex}}],
        "predicateType": TYPE,
        "predicate": {},
    }


def test_signs_the_type_together_with_the_payload():
    """The example of the DSSE specification."""
    assert signed_bytes("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_several_attestations_stand_side_by_side(store, image, reference, key, other_key):
    for form in ("tag", "referrers"):
        for each in (key, other_key):
            said = {"predicate_type": TYPE, "predicate": {form: 1}}
            attest(store, image, reference, each, form=form, **said)
    assert len(verify_attestation(store, image, reference, [key.public])) == 2


def test_saying_the_same_again_adds_nothing(store, image, reference, key):
    put(store, image, b"rubbish")
    for form in ("referrers", "tag", "referrers"):
        attest(store, image, reference, key, predicate_type=TYPE, predicate={"a": 1}, form=form)
    assert len(list(read_attachments(store, image, ATTESTATIONS))) == 1
    assert len(list(read_attachments(store, image, BUNDLES))) == 1


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b'{"messageSignature": {}}', b'{"dsseEnvelope": {}}', b'{"dsseEnvelope": 1}'],
)
def test_a_bundle_that_holds_no_envelope_is_told(store, image, reference, key, raw):
    attach(store, image, BUNDLES, Attachment(raw=raw), "referrers")
    assert reason(store, image, reference, key).startswith("attestation 1 ")


def test_an_image_without_attestations_is_not_attested(store, image, reference, key):
    with pytest.raises(NotSignedError, match=f"{image.digest}: has no attestation"):
        verify_attestation(store, image, reference, [key.public])


def test_refuses_an_attestation_by_another_key(store, image, reference, key, other_key):
    attest(store, image, reference, other_key, predicate_type=TYPE, predicate={})
    assert reason(store, image, reference, key) == "attestation 1 is not by a key that is trusted"


def test_refuses_an_attestation_of_another_type(store, image, reference, key):
    attest(store, image, reference, key, predicate_type=TYPE, predicate={})
    told = reason(store, image, reference, key, predicate_type="https://example.com/other")
    assert told == f'attestation 1 is of the type "{TYPE}"'


def test_refuses_an_attestation_about_another_image(builder, store, image, reference, key):
    other = builder.image(layers=1)
    statement = Statement.build(
        name=reference.name, subject=other.digest, predicate_type=TYPE, predicate={}
    )
    put(store, image, Envelope.seal(IN_TOTO, statement.raw, key).raw)
    assert reason(store, image, reference, key) == "attestation 1 is about another image"


def test_refuses_a_statement_sent_as_something_else(store, image, reference, key):
    statement = Statement.build(
        name=reference.name, subject=image.digest, predicate_type=TYPE, predicate={}
    )
    put(store, image, Envelope.seal("application/x", statement.raw, key).raw)
    assert "not an in-toto statement" in reason(store, image, reference, key)


def test_changing_the_type_or_the_payload_breaks_the_signature(key):
    envelope = Envelope.seal(IN_TOTO, b"{}", key)
    assert envelope.is_by([key.public])
    document = json.loads(envelope.raw)
    for change in (
        {"payloadType": "application/vnd.in-toto+jsoN"},
        {"payload": base64.b64encode(b"[]").decode()},
        {"signatures": [{"sig": base64.b64encode(b"x" * 70).decode()}]},
    ):
        assert not Envelope.parse(json.dumps(document | change).encode()).is_by([key.public])


def test_one_of_several_signatures_is_enough(key, other_key):
    first, second = (Envelope.seal(IN_TOTO, b"{}", each) for each in (key, other_key))
    document = json.loads(first.raw)
    document["signatures"] += json.loads(second.raw)["signatures"]
    both = Envelope.parse(json.dumps(document).encode())
    assert both.is_by([key.public])
    assert both.is_by([other_key.public])


GOOD = {"payloadType": IN_TOTO, "payload": "e30=", "signatures": [{"keyid": "", "sig": "AAAA"}]}


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"payloadType": None},
        {"payload": "e30"},
        {"payload": "e31="},
        {"payload": "e30=\n"},
        {"signatures": []},
        {"signatures": [{"sig": "AAAA"}] * 17},
        {"signatures": [{"sig": "AAAA", "cert": "x"}]},
        {"signatures": ["AAAA"]},
        {"signatures": "AAAA"},
    ],
)
def test_refuses_what_is_no_envelope(change):
    assert Envelope.parse(json.dumps(GOOD).encode())
    with pytest.raises(StrictError):
        Envelope.parse(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v9"},
        {"subject": {}},
        {"subject": [{}]},
        {"subject": [{"digest": {"sha256": "xyz"}}]},
        {"subject": [{"digest": {"sha256": ["a"]}}]},
        {"predicateType": 7},
    ],
)
def test_refuses_what_is_no_statement(image, change):
    good = json.loads(
        Statement.build(name="x", subject=image.digest, predicate_type=TYPE, predicate={}).raw
    )
    assert Statement.parse(json.dumps(good).encode())
    with pytest.raises(StrictError):
        Statement.parse(json.dumps(good | change).encode())


def test_a_digest_of_an_unknown_kind_names_no_image(image):
    good = json.loads(
        Statement.build(name="x", subject=image.digest, predicate_type=TYPE, predicate={}).raw
    )
    good["subject"] = [{"name": "x", "digest": {"gitCommit": image.digest.hex}}]
    assert Statement.parse(json.dumps(good).encode()).subjects == ()


# -- predicates from files


def test_a_predicate_without_a_type_is_wrapped_as_cosign_does():
    assert read_predicate("custom", b"any text", NOW) == (
        "https://cosign.sigstore.dev/attestation/v1",
        {"Data": "any text", "Timestamp": "2026-01-02T03:04:05Z"},
    )


def test_spdx_is_text_or_json():
    assert read_predicate("spdx", b"SPDXVersion: SPDX-2.3\n", NOW)[1] == "SPDXVersion: SPDX-2.3\n"
    assert read_predicate("spdxjson", b'{"a": 1}', NOW) == ("https://spdx.dev/Document", {"a": 1})


@pytest.mark.parametrize("kind", sorted(set(PREDICATE_TYPES) - {"custom", "spdx"}))
def test_other_predicates_are_json(kind):
    assert read_predicate(kind, b'{"a": 1}', NOW) == (PREDICATE_TYPES[kind], {"a": 1})
    with pytest.raises(InvalidDocumentError, match="is not JSON"):
        read_predicate(kind, b"text", NOW)


def test_a_type_may_be_any_uri():
    assert read_predicate(TYPE, b"{}", NOW) == (TYPE, {})
    with pytest.raises(InvalidDocumentError, match="neither a URI nor one of custom, slsaprov"):
        read_predicate("cyclondx", b"{}", NOW)


def test_refuses_text_that_is_none():
    with pytest.raises(InvalidDocumentError, match="is not UTF-8"):
        read_predicate("custom", b"\xff", NOW)
