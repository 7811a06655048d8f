"""References: the names people type, `ghcr.io/team/app:1.2@sha256:...`.

Grammar: https://github.com/distribution/reference; the familiar spelling (`debian` for
`docker.io/library/debian:latest`) is docker's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from registry.errors import InvalidDigestError, InvalidReferenceError
from registry.oci.digest import Digest

_DEFAULT_REGISTRY = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?",
    re.ASCII,
)
_MAX_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A repository on a registry, and a tag, a digest, both or neither."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a familiar or canonical reference; no tag is added.

        Raises:
            InvalidReferenceError: not a reference; the reason names the part.
        """
        scheme, separator, bare = text.partition("://")
        if separator:
            reason = f'it begins with a scheme, "{scheme}://"; a reference has none: "{bare}"'
            raise InvalidReferenceError(text, reason)
        rest, at, digest_text = text.partition("@")
        try:
            digest = Digest(digest_text) if at else None
        except InvalidDigestError as error:
            raise InvalidReferenceError(text, error.reason) from error
        slash, colon = rest.rfind("/"), rest.rfind(":")
        name, tag = (rest[:colon], rest[colon + 1 :]) if colon > slash else (rest, "")
        if colon > slash and not _TAG.fullmatch(tag):
            raise InvalidReferenceError(text, f'"{tag}" is not a tag')
        registry, repository = _split_registry(name)
        if not is_host(registry):
            raise InvalidReferenceError(text, f'"{registry}" is not a host')
        if not _REPOSITORY.fullmatch(repository):
            reason = "must be lower case" if repository != repository.lower() else "is not a name"
            raise InvalidReferenceError(text, f'repository "{repository}" {reason}')
        if len(registry) + 1 + len(repository) > _MAX_NAME:
            raise InvalidReferenceError(text, f"longer than {_MAX_NAME} characters")
        return cls(registry=registry, repository=repository, tag=tag, digest=digest)

    def with_default_tag(self) -> Reference:
        """Return the reference with `latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    @property
    def name(self) -> str:
        """Registry and repository, canonical: `docker.io/library/debian`."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short spelling that docker prints: `debian:12`."""
        # `library/x` is `x` to docker's hub, but a name that would be read otherwise stays whole.
        for name in (self.repository.removeprefix("library/"), self.repository):
            if _split_registry(name) == (self.registry, self.repository):
                return self._suffixed(name)
        return str(self)

    def _suffixed(self, name: str) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return name + tag + digest

    def __str__(self) -> str:
        return self._suffixed(self.name)


def is_host(text: str) -> bool:
    """Say whether ``text`` is a host as references have it: a name or an address, perhaps a port."""
    return bool(_HOST.fullmatch(text))


def _split_registry(name: str) -> tuple[str, str]:
    """Split as docker does: the first part is a host if it has a dot, a colon or is localhost."""
    first, slash, rest = name.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        registry, repository = _DEFAULT_REGISTRY, name
    else:
        registry, repository = first, rest
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = _DEFAULT_REGISTRY
    if registry == _DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository
