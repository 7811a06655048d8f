"""Which names a signature may be for: `signedIdentity` of containers-policy.json(5).

A signature says for which name its image was signed. Without a check, an old image, or one of another
repository, could be served under any name with its signature beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchExact:
    """The name that the image was asked for by, with its tag."""

    def accepts(self, signed: Reference, image: Reference | None) -> bool:
        """Say whether a signature for ``signed`` counts for ``image``, which may have no name."""
        return image is not None and _has_suffix(image) and _has_suffix(signed) and signed == image


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRepoDigestOrExact:
    """As `MatchExact`; for an image asked for by digest alone, any tag of its repository."""

    def accepts(self, signed: Reference, image: Reference | None) -> bool:
        """Say whether a signature for ``signed`` counts for ``image``."""
        if image is None or not _has_suffix(signed):
            return False
        if image.tag:
            return signed == image
        return image.digest is not None and signed.name == image.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRepository:
    """The repository that the image was asked for by."""

    def accepts(self, signed: Reference, image: Reference | None) -> bool:
        """Say whether a signature for ``signed`` counts for ``image``."""
        return image is not None and signed.name == image.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactReference:
    """One name with its tag, whatever the image was asked for by."""

    reference: Reference

    def accepts(self, signed: Reference, image: Reference | None) -> bool:  # noqa: ARG002 - see above
        """Say whether a signature for ``signed`` counts."""
        return _has_suffix(signed) and signed == self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRepository:
    """One repository, whatever the image was asked for by."""

    name: str
    """Canonical: `docker.io/library/debian`."""

    def accepts(self, signed: Reference, image: Reference | None) -> bool:  # noqa: ARG002 - see above
        """Say whether a signature for ``signed`` counts."""
        return signed.name == self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RemapIdentity:
    """As `MatchRepoDigestOrExact`, for mirrors: what has one prefix was signed with another."""

    prefix: str
    signed_prefix: str

    def accepts(self, signed: Reference, image: Reference | None) -> bool:
        """Say whether a signature for ``signed`` counts for ``image``."""
        if image is not None and f"{image.name}/".startswith(f"{self.prefix}/"):
            name = self.signed_prefix + image.name.removeprefix(self.prefix)
            original = Reference.parse(name)
            if original.name != name:
                return False  # a host alone, which would be read as a repository of docker's hub
            image = replace(original, tag=image.tag, digest=image.digest)
        return MatchRepoDigestOrExact().accepts(signed, image)


SignedIdentity = (
    MatchExact
    | MatchRepoDigestOrExact
    | MatchRepository
    | ExactReference
    | ExactRepository
    | RemapIdentity
)


def _has_suffix(reference: Reference) -> bool:
    return bool(reference.tag or reference.digest)
