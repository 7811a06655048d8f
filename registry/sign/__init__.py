"""Signatures and attestations of images, and policies that ask for them.

from registry.sign import SigningKey, VerifyingKey, sign, verify

key = SigningKey.read(open("wcbuild.key", "rb").read(), password=lambda: b"...")
sign(repository, repository.resolve("1"), reference, key)
verify(repository, repository.resolve("1"), reference, [key.public])

``repository`` is a `registry.remote` repository or any other store. The formats are cosign's, with keys of
one's own: no certificates, no transparency log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "Envelope": "registry.sign.attestations",
    "ExactReference": "registry.sign.identity",
    "ExactRepository": "registry.sign.identity",
    "KeyFileError": "registry.sign.errors",
    "MatchExact": "registry.sign.identity",
    "MatchRepoDigestOrExact": "registry.sign.identity",
    "MatchRepository": "registry.sign.identity",
    "NotSignedError": "registry.sign.errors",
    "PREDICATE_TYPES": "registry.sign.attestations",
    "Payload": "registry.sign.payload",
    "Policy": "registry.sign.policy",
    "PolicyError": "registry.sign.errors",
    "RemapIdentity": "registry.sign.identity",
    "SignatureError": "registry.sign.errors",
    "SignedIdentity": "registry.sign.identity",
    "SigningKey": "registry.sign.keys",
    "Statement": "registry.sign.attestations",
    "VerifyingKey": "registry.sign.keys",
    "WrongPasswordError": "registry.sign.errors",
    "attest": "registry.sign.attestations",
    "read_predicate": "registry.sign.attestations",
    "sign": "registry.sign.signatures",
    "verify": "registry.sign.signatures",
    "verify_attestation": "registry.sign.attestations",
    "with_children": "registry.sign.signatures",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a build reads a policy, and mostly no signature."""
    import importlib  # noqa: PLC0415 - see above

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
