"""Policies: which images may be used, by the name they are asked for; containers-policy.json(5).

Of its requirements, `reject`, `insecureAcceptAnything` and `sigstoreSigned` with public keys are checked.
One that cannot be checked here (GPG's `signedBy`, certificates, Rekor) allows nothing.

Spec: https://github.com/containers/image/blob/main/docs/containers-policy.json.5.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InvalidDocumentError, InvalidReferenceError
from registry.files import read_limited
from registry.oci.descriptor import Descriptor
from registry.reference import Reference
from registry.sign.errors import KeyFileError, NotSignedError, PolicyError, SignatureError
from registry.sign.identity import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    SignedIdentity,
)
from registry.sign.strict import StrictError, decode_base64, load_strict, require_keys
from registry.store import Source

if TYPE_CHECKING:
    from registry.sign.keys import VerifyingKey

MAX_POLICY_BYTES = 1024 * 1024
"""Of a policy file; real ones have a few kilobytes."""

DOCKER = "docker"
"""The transport of images in registries."""

OCI = "oci"
"""The transport of images in OCI image layouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """`insecureAcceptAnything`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """`reject`, or a requirement that cannot be checked here."""

    reason: str = "images of that name are rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """`sigstoreSigned`: there must be a signature by one of the keys, for a name that counts."""

    key_files: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """PEM."""
    identity: SignedIdentity = field(default_factory=MatchRepoDigestOrExact)

    def load(self) -> tuple[VerifyingKey, ...]:
        """Return the public keys.

        Raises:
            KeyFileError, TooLargeError, StoreError: a key cannot be had.
        """
        from registry.sign.keys import VerifyingKey  # noqa: PLC0415 - only if signatures are needed

        files = [(path, _read_key(path)) for path in self.key_files]
        given = [(f"keyData {number}", raw) for number, raw in enumerate(self.keys, 1)]
        return tuple(VerifyingKey.read(raw, name) for name, raw in (*files, *given))


Requirement = Accept | Reject | Signed
Requirements = tuple[Requirement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a policy file says."""

    name: str
    """Of its file, for messages."""
    default: Requirements
    transports: Mapping[str, Mapping[str, Requirements]] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, raw: bytes, name: str) -> Policy:
        """Read a policy.

        Raises:
            InvalidDocumentError: it is not one, or it says what is not understood: a policy that is
                half understood protects nobody.
        """
        try:
            return cls(name=name, **_parsed(load_strict(raw, MAX_POLICY_BYTES)))
        except StrictError as error:
            raise InvalidDocumentError(f"policy {name}", str(error)) from error

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file.

        Raises:
            InvalidDocumentError, TooLargeError, StoreError, OSError
        """
        return cls.parse(read_limited(path, MAX_POLICY_BYTES, f"policy {path}"), str(path))

    def requirements(self, transport: str, scopes: Iterable[str]) -> tuple[str, Requirements]:
        """Return what has to hold, all of it, for the first of ``scopes`` that the policy has.

        Before it comes a name of the place that decided: the scope, the transport or the default.
        """
        known = self.transports.get(transport, {})
        for scope in scopes:
            if scope in known:
                return f'"{scope}"', known[scope]
        if "" in known:
            return f'transport "{transport}"', known[""]
        return "default", self.default

    def check(
        self,
        reference: Reference,
        candidates: Sequence[Descriptor],
        source: Callable[[], Source],
    ) -> None:
        """Check that an image of a registry may be used.

        ``candidates`` are the image and what leads to it: with one of them signed, all is. ``source`` is
        asked for signatures, and only if there have to be any.

        Raises:
            PolicyError: it may not.
            KeyFileError: a key of the policy cannot be read. And whatever ``source`` raises.
        """
        reference = _asked(reference)
        decided = self.requirements(DOCKER, docker_scopes(reference))
        self._enforce(decided, str(reference), partial(_unsigned, reference, candidates, source))

    def needs_signatures(self, reference: Reference) -> bool:
        """Say whether `check` will ask for signatures.

        Raises:
            PolicyError: it will refuse, whatever there is.
        """
        reference = _asked(reference)
        decided = self.requirements(DOCKER, docker_scopes(reference))
        self._enforce(decided, str(reference), lambda _: "")
        return any(isinstance(requirement, Signed) for requirement in decided[1])

    def check_layout(
        self, path: Path, tag: str, candidates: Sequence[Descriptor], source: Callable[[], Source]
    ) -> None:
        """Check that an image of an OCI image layout may be used. Raises as `check`."""
        what = f"oci:{path}:{tag}" if tag else f"oci:{path}"
        decided = self.requirements(OCI, layout_scopes(path, tag))
        self._enforce(decided, what, partial(_unsigned, None, candidates, source))

    def _enforce(
        self, decided: tuple[str, Requirements], what: str, unsigned: Callable[[Signed], str]
    ) -> None:
        """Raise unless all requirements hold; ``unsigned`` says why one does not."""
        where, requirements = decided
        for requirement in requirements:
            match requirement:
                case Reject():
                    raise PolicyError(what, self.name, f"{requirement.reason} ({where})")
                case Signed():
                    if reason := unsigned(requirement):
                        raise PolicyError(what, self.name, f"{reason} ({where})")


def _asked(reference: Reference) -> Reference:
    """Return the name that counts: with a digest, the tag beside it says nothing."""
    return replace(reference, tag="") if reference.digest else reference


def _read_key(path: str) -> bytes:
    from registry.sign.keys import MAX_KEY_FILE_BYTES  # noqa: PLC0415 - as above

    try:
        return read_limited(Path(path), MAX_KEY_FILE_BYTES, f"key {path}")
    except OSError as error:
        raise KeyFileError(path, f"cannot be read: {error.strerror or error}".lower()) from error


def _unsigned(
    reference: Reference | None,
    candidates: Sequence[Descriptor],
    source: Callable[[], Source],
    signed: Signed,
) -> str:
    """Say why none of ``candidates`` is signed as it must be; nothing if one is."""
    from registry.sign.signatures import summary, verify  # noqa: PLC0415 - as above

    keys = signed.load()
    reasons = []
    for image in {image.digest: image for image in candidates}.values():
        try:
            verify(source(), image, reference, keys, identity=signed.identity)
        except NotSignedError:
            reasons.append(f"{image.digest} has no signature")
        except SignatureError as error:
            reasons.append(error.reason)
        else:
            return ""
    return summary(reasons)


def docker_scopes(reference: Reference) -> Iterator[str]:
    """Yield the scopes of a registry's image, narrowest first.

    The name with its tag or digest, the repository, the namespaces above it, the host, and `*.domain`
    for the domains above that.
    """
    yield f"{reference.name}@{reference.digest}" if reference.digest else str(reference)
    name = reference.name
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
    domain = name.partition(":")[0]
    while "." in domain:
        domain = domain.partition(".")[2]
        yield f"*.{domain}"


def layout_scopes(path: Path, tag: str) -> Iterator[str]:
    """Yield the scopes of an image in a layout: `PATH:TAG`, its folder, and those above it but the root."""
    resolved = path.resolve()
    if tag:
        yield f"{resolved}:{tag}"
    yield str(resolved)
    yield from (str(parent) for parent in resolved.parents if parent != parent.parent)


# -- reading


def _parsed(data: dict[str, Any]) -> dict[str, Any]:
    """Return a policy's fields."""
    require_keys(data, ("default",), ("transports",))
    transports = data.get("transports", {})
    if not isinstance(transports, dict):
        raise StrictError('has "transports" that is not an object')
    return {
        "default": _requirements(data["default"], "default"),
        "transports": {
            transport: _scopes(scopes, transport) for transport, scopes in transports.items()
        },
    }


def _scopes(value: object, transport: str) -> dict[str, Requirements]:
    if not isinstance(value, dict):
        raise StrictError(f'has a transport "{transport}" that is not an object')
    return {
        scope: _requirements(listed, f'"{scope}" of {transport}') for scope, listed in value.items()
    }


def _requirements(value: object, where: str) -> Requirements:
    if not isinstance(value, list) or not value:
        # No requirement at all would be one that everything meets.
        raise StrictError(f"lists no requirements for {where}")
    try:
        return tuple(_requirement(entry) for entry in value)
    except StrictError as error:
        raise StrictError(f"has, for {where}, a requirement that {error}") from error


def _requirement(value: object) -> Requirement:
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "insecureAcceptAnything":
            require_keys(value, ("type",))
            return Accept()
        case "reject":
            require_keys(value, ("type",))
            return Reject()
        case "signedBy":
            return Reject(reason='it asks for GPG signatures ("signedBy"), which are not supported')
        case "sigstoreSigned":
            return _signed(value)
    raise StrictError(f'is of the unknown type "{str(kind)[:100]}"')


_ONE_KEY = ("keyPath", "keyData")
_SEVERAL_KEYS = ("keyPaths", "keyDatas")
_CERTIFICATES = ("fulcio", "pki")
_LOGS = (
    *("rekorPublicKeyPath", "rekorPublicKeyPaths"),
    *("rekorPublicKeyData", "rekorPublicKeyDatas"),
)


def _signed(value: Any) -> Requirement:
    sources = (*_ONE_KEY, *_SEVERAL_KEYS, *_CERTIFICATES)
    require_keys(value, ("type",), (*sources, *_LOGS, "signedIdentity"))
    given = [name for name in sources if name in value]
    if len(given) != 1:
        raise StrictError(f"has not exactly one of {', '.join(sources)}")
    unsupported = [name for name in (*_CERTIFICATES, *_LOGS) if name in value]
    if unsupported:
        reason = f'it asks for a signature with "{unsupported[0]}", which is not supported'
        return Reject(reason=reason)
    name = given[0]
    texts = [value[name]] if name in _ONE_KEY else value[name]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise StrictError(f'has no "{name}" that names keys')
    identity = _identity(value["signedIdentity"]) if "signedIdentity" in value else None
    return Signed(
        key_files=tuple(texts) if name.startswith("keyPath") else (),
        keys=tuple(decode_base64(text) for text in texts) if name.startswith("keyData") else (),
        identity=identity or MatchRepoDigestOrExact(),
    )


def _identity(value: Any) -> SignedIdentity:
    kind = value.get("type") if isinstance(value, dict) else None
    fields = {
        "matchExact": (),
        "matchRepoDigestOrExact": (),
        "matchRepository": (),
        "exactReference": ("dockerReference",),
        "exactRepository": ("dockerRepository",),
        "remapIdentity": ("prefix", "signedPrefix"),
    }.get(str(kind))
    if fields is None:
        raise StrictError(f'has a signedIdentity of the unknown type "{str(kind)[:100]}"')
    require_keys(value, ("type", *fields))
    match kind:
        case "matchExact":
            return MatchExact()
        case "matchRepoDigestOrExact":
            return MatchRepoDigestOrExact()
        case "matchRepository":
            return MatchRepository()
        case "exactReference":
            reference = _reference(value["dockerReference"])
            if not reference.tag and not reference.digest:
                raise StrictError(f'has a dockerReference "{reference}" without tag or digest')
            return ExactReference(reference=reference)
        case "exactRepository":
            return ExactRepository(name=_reference(value["dockerRepository"]).name)
    return RemapIdentity(
        prefix=_prefix(value["prefix"]), signed_prefix=_prefix(value["signedPrefix"])
    )


def _reference(text: object) -> Reference:
    try:
        return Reference.parse(str(text))
    except InvalidReferenceError as error:
        raise StrictError(f"has an {error}") from error


def _prefix(text: object) -> str:
    """Return a checked prefix: a host, or a canonical name or namespace on one."""
    if _reference(f"{text}/library/any").name != f"{text}/library/any":
        raise StrictError(f'has a prefix "{text}" that does not begin with a host')
    return str(text)
