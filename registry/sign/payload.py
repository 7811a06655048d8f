"""What a signature says: `simple signing`, as cosign and containers/image write it.

Spec: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md and
https://github.com/containers/image/blob/main/docs/containers-signature.5.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidDigestError
from registry.oci.digest import Digest
from registry.oci.manifest import encode
from registry.sign.strict import StrictError, load_strict, require_keys

MAX_PAYLOAD_BYTES = 1024 * 1024
"""Real ones have a few hundred; the rest is for annotations."""

TYPE = "cosign container image signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The claim of a signature: this digest is the image of that name."""

    raw: bytes = field(repr=False)
    """The bytes that are signed, exactly as they lie in the registry."""
    docker_reference: str
    """The name that the signer vouches for: `registry.example/team/app`, perhaps with a tag."""
    digest: Digest
    annotations: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The `optional` part: strings that the signer added, and what tools note about themselves."""

    @classmethod
    def build(
        cls, *, docker_reference: str, digest: Digest, annotations: Mapping[str, str] | None = None
    ) -> Payload:
        """Make a payload and its bytes; the same fields give the same bytes."""
        critical = {
            "identity": {"docker-reference": docker_reference},
            "image": {"docker-manifest-digest": str(digest)},
            "type": TYPE,
        }
        optional = dict(sorted(annotations.items())) if annotations else None
        return cls.parse(encode({"critical": critical, "optional": optional}))

    @classmethod
    def parse(cls, raw: bytes) -> Payload:
        """Read a payload; call this only after its signature was verified.

        Raises:
            StrictError: it says more or less than what a signature has to say.
        """
        data = load_strict(raw, MAX_PAYLOAD_BYTES)
        require_keys(data, ("critical",), ("optional",))
        critical = data["critical"]
        # What is critical and not understood must not be passed over.
        require_keys(critical, ("identity", "image", "type"))
        require_keys(critical["identity"], ("docker-reference",))
        require_keys(critical["image"], ("docker-manifest-digest",))
        name = critical["identity"]["docker-reference"]
        digest = critical["image"]["docker-manifest-digest"]
        if critical["type"] != TYPE:
            raise StrictError(f'is of the type "{str(critical["type"])[:100]}"')
        if not isinstance(name, str) or not isinstance(digest, str):
            raise StrictError("names no image")
        try:
            checked = Digest(digest)
        except InvalidDigestError as error:
            raise StrictError(f'is for the impossible digest "{digest[:100]}"') from error
        return cls(raw=raw, docker_reference=name, digest=checked, annotations=_optional(data))

    def to_json(self) -> dict[str, Any]:
        """Return the claim as cosign prints it."""
        return load_strict(self.raw, MAX_PAYLOAD_BYTES)


def _optional(data: Mapping[str, Any]) -> dict[str, Any]:
    optional = data.get("optional")
    if optional is None:
        return {}
    if not isinstance(optional, dict):
        raise StrictError('has an "optional" part that is not an object')
    creator, timestamp = optional.get("creator"), optional.get("timestamp")
    if creator is not None and not isinstance(creator, str):
        raise StrictError("has a creator that is not a text")
    if timestamp is not None and (not isinstance(timestamp, int) or isinstance(timestamp, bool)):
        raise StrictError("has a timestamp that is not a whole number")
    return optional
