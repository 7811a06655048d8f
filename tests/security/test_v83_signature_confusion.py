"""V83: signatures that are valid, but not of what, or not in the way, that a reader believes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.sign import (
    Envelope,
    KeyFileError,
    Payload,
    SignatureError,
    SigningKey,
    Statement,
    VerifyingKey,
    verify,
    verify_attestation,
)
from registry.sign.attachments import Attachment, attach
from registry.sign.attestations import ATTESTATIONS, IN_TOTO
from registry.sign.signatures import SIGNATURE, SIGNATURES

REFERENCE = Reference.parse("r.example/app:1")
KEY = SigningKey.generate()
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def stored_image() -> tuple[MemoryStore, Descriptor]:
    """Return a store with an image, always the same, and nothing else."""
    store = MemoryStore()
    config = store.put_new(io.BytesIO(b"{}"), mediatypes.OCI_CONFIG)
    manifest = Manifest.build(config=config, layers=[])
    store.put(io.BytesIO(manifest.raw), manifest.descriptor)
    return store, manifest.descriptor


@pytest.fixture
def image():
    return stored_image()[1]


@pytest.fixture
def refused():
    """Judge an image whose only signature this is; return why it is refused, "" if it is not."""

    def judge(raw: bytes, signature: bytes | str, keys=(KEY.public,)) -> str:
        store, image = stored_image()
        text = signature if isinstance(signature, str) else base64.b64encode(signature).decode()
        attachment = Attachment(raw=raw, annotations={SIGNATURE: text})
        attach(store, image, SIGNATURES, attachment, "referrers")
        try:
            verify(store, image, REFERENCE, keys)
        except SignatureError as error:
            return error.reason
        return ""

    return judge


@pytest.fixture
def payload(image):
    return Payload.build(docker_reference=REFERENCE.name, digest=image.digest).raw


def test_the_plain_case_is_accepted(refused, payload):
    assert refused(payload, KEY.sign(payload)) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r.example/app", "r.example/other"),
        ("r.example/app", "q.example/app"),
        ("r.example/app", "R.EXAMPLE/../app"),
        ("r.example/app", ""),
        ('"type"', '"must-be-checked": true, "type"'),
        ('"type"', '"type": "x", "type"'),
        ('"docker-reference"', '"docker-reference": "r.example/other", "docker-reference"'),
        ("docker-manifest-digest", "Docker-manifest-digest"),
        ("cosign container image signature", "atomic container signature"),
        ("cosign container image signature", "COSIGN CONTAINER IMAGE SIGNATURE"),
        ('"optional":null', '"optional":null,"critical":{}'),
        ('"optional":null', '"Critical":{},"optional":null'),
        ("sha256:", "sha512:"),
    ],
)
def test_a_signed_payload_that_says_something_else_is_refused(refused, payload, old, new):
    raw = payload.replace(old.encode(), new.encode(), 1)
    assert raw != payload
    assert refused(raw, KEY.sign(raw)).startswith("signature 1 ")


def test_a_payload_signed_for_another_purpose_is_refused(refused, image, payload):
    """A DSSE envelope's bytes, or a text of anybody's, are no payload."""
    for raw in (b"DSSEv1 1 a " + payload, image.digest.encode(), payload + payload):
        assert refused(raw, KEY.sign(raw)) == "signature 1 is not JSON"


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.rstrip("=") + "====",
        lambda text: text[:10] + "!" + text[10:],
        lambda text: "_-" + text,
        lambda text: base64.b64decode(text).hex(),
    ],
)
def test_a_signature_in_another_spelling_is_refused(refused, payload, spell):
    text = base64.b64encode(KEY.sign(payload)).decode()
    assert refused(payload, spell(text)) != ""


def test_base64_with_bits_left_over_is_refused(refused, payload):
    signature = KEY.sign(payload)
    while len(signature) % 3 != 1:  # the length differs from one signature to the next
        signature = KEY.sign(payload)
    text = base64.b64encode(signature).decode()
    assert text.endswith("==")
    last = text[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(last) | 1]
    assert base64.b64decode(text[:-3] + other + "==") == signature
    assert refused(payload, text[:-3] + other + "==") == "signature 1 is not in base64"


def test_a_signature_in_ber_or_with_bytes_behind_it_is_refused(refused, payload):
    signature = KEY.sign(payload)
    assert signature[0] == 0x30
    long_form = b"\x30\x81" + signature[1:]
    indefinite = b"\x30\x80" + signature[2:] + b"\0\0"
    for changed in (long_form, indefinite, signature + b"\0", signature[:-1]):
        assert refused(payload, changed) != ""


def test_r_and_s_that_are_nothing_are_refused(refused, payload):
    for r, s in ((0, 0), (1, 0), (0, 1), (ORDER_P256, ORDER_P256), (ORDER_P256, 1)):
        assert refused(payload, encode_dss_signature(r, s)) != ""


def test_both_forms_of_an_ecdsa_signature_are_the_same_signature(refused, payload):
    """cosign does not choose the low one; a second spelling says no more than the first."""
    r, s = decode_dss_signature(KEY.sign(payload))
    assert refused(payload, encode_dss_signature(r, ORDER_P256 - s)) == ""


def test_a_weak_key_is_no_key():
    weak = rsa.generate_private_key(65537, 1024).public_key()
    numbers = rsa.RSAPublicNumbers(65537, (1 << 511) + 111)
    for key in (weak, numbers.public_key()):
        with pytest.raises(KeyFileError, match="is RSA with"):
            VerifyingKey.read(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_a_signature_of_one_kind_is_not_taken_for_another(refused, payload):
    """A key fixes how its signatures are made; nothing in a registry chooses."""
    other = SigningKey.read(_pem_of(rsa.generate_private_key(65537, 2048)), bytes)
    assert refused(payload, other.sign(payload)) != ""
    assert refused(payload, KEY.sign(payload), keys=(other.public,)) != ""
    # The public key's own bytes as if they were a shared secret.
    assert refused(payload, hmac.digest(KEY.public.der, payload, hashlib.sha256)) != ""


def _pem_of(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# -- attestations


@pytest.fixture
def statement(image):
    return Statement.build(
        name=REFERENCE.name,
        subject=image.digest,
        predicate_type="https://x.example/1",
        predicate={},
    )


@pytest.fixture
def unattested():
    def judge(raw: bytes) -> str:
        store, image = stored_image()
        attach(store, image, ATTESTATIONS, Attachment(raw=raw), "tag")
        try:
            verify_attestation(store, image, REFERENCE, [KEY.public])
        except SignatureError as error:
            return error.reason
        return ""

    return judge


def test_an_envelope_signed_without_its_type_is_refused(unattested, statement):
    document = json.loads(Envelope.seal(IN_TOTO, statement.raw, KEY).raw)
    document["signatures"] = [{"sig": base64.b64encode(KEY.sign(statement.raw)).decode()}]
    assert unattested(json.dumps(document).encode()) != ""


def test_an_envelope_with_two_payloads_is_refused(unattested, statement):
    raw = Envelope.seal(IN_TOTO, statement.raw, KEY).raw
    twice = raw.replace(b'"payload":', b'"payload": "e30=", "payload":', 1)
    assert unattested(twice) == 'attestation 1 has "payload" twice'


def test_a_signature_payload_is_no_statement(unattested, payload):
    raw = Envelope.seal(IN_TOTO, payload, KEY).raw
    assert unattested(raw) == "attestation 1 is not an in-toto statement"


def test_a_statement_with_two_subjects_lists_is_refused(unattested, statement):
    raw = statement.raw.replace(b'"subject":', b'"subject": [], "subject":', 1)
    assert unattested(Envelope.seal(IN_TOTO, raw, KEY).raw) == 'attestation 1 has "subject" twice'
