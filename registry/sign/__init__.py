"""Signatures and attestations of images, and policies that ask for them.

from registry.sign import SigningKey, VerifyingKey, sign, verify

key = SigningKey.read(open("wcbuild.key", "rb").read(), password=lambda: b"...")
sign(repository, repository.resolve("1"), reference, key)
verify(repository, repository.resolve("1"), reference, [key.public])

``repository`` is a `registry.remote` repository or any other store. The formats are cosign's, with keys of
one's own: no certificates, no transparency log.
"""

from registry.sign.attestations import (
    PREDICATE_TYPES,
    Envelope,
    Statement,
    attest,
    read_predicate,
    verify_attestation,
)
from registry.sign.errors import (
    KeyFileError,
    NotSignedError,
    PolicyError,
    SignatureError,
    WrongPasswordError,
)
from registry.sign.identity import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    SignedIdentity,
)
from registry.sign.keys import SigningKey, VerifyingKey
from registry.sign.payload import Payload
from registry.sign.policy import Policy
from registry.sign.signatures import sign, verify, with_children

__all__ = [
    "PREDICATE_TYPES",
    "Envelope",
    "ExactReference",
    "ExactRepository",
    "KeyFileError",
    "MatchExact",
    "MatchRepoDigestOrExact",
    "MatchRepository",
    "NotSignedError",
    "Payload",
    "Policy",
    "PolicyError",
    "RemapIdentity",
    "SignatureError",
    "SignedIdentity",
    "SigningKey",
    "Statement",
    "VerifyingKey",
    "WrongPasswordError",
    "attest",
    "read_predicate",
    "sign",
    "verify",
    "verify_attestation",
    "with_children",
]
