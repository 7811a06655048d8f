"""Keys that sign and keys that verify, and the files they are kept in.

Private keys: cosign's files (scrypt and secretbox, PEM type `ENCRYPTED SIGSTORE PRIVATE KEY` or the older
`ENCRYPTED COSIGN PRIVATE KEY`), PKCS#8 with or without a password, and SEC1. Public keys: `PUBLIC KEY`.
ECDSA, Ed25519 and RSA; hashed with SHA-256 as cosign and containers/image have it, whatever the key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from registry.sign.errors import KeyFileError, WrongPasswordError
from registry.sign.secretbox import (
    KEY_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    DamagedBoxError,
    open_box,
    seal,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

MAX_KEY_FILE_BYTES = 64 * 1024
"""A file beyond that is no key."""

MAX_SCRYPT_N = 2**20
"""cosign's is 2**16; each step doubles memory and time, and a key file must not cost a machine its own."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 16384

Password = Callable[[], bytes]
"""Asked only if a key needs one."""

_SCRYPT_N, _SCRYPT_R, _SCRYPT_P, _SALT_BYTES = 2**16, 8, 1, 32
_COSIGN_TYPES = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """A public key."""

    der: bytes = field(repr=False)
    """SubjectPublicKeyInfo."""
    name: str = field(default="", compare=False)
    """What messages call it: its file."""

    @classmethod
    def read(cls, raw: bytes, name: str = "") -> VerifyingKey:
        """Read a PEM file.

        Raises:
            KeyFileError: not a public key, or one that nobody should trust.
        """
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow to import
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_public_key,
        )

        kind, _ = _pem(raw, name)
        if kind.endswith("PRIVATE KEY"):
            raise KeyFileError(name, "is a private key; verifying needs the public one")
        try:
            key = load_pem_public_key(raw)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(name, "is not a public key") from error
        _check_kind(key, name)
        return cls(der=_spki(key), name=name)

    @property
    def pem(self) -> bytes:
        """The file's content."""
        return _armour("PUBLIC KEY", self.der)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Say whether ``signature`` is one of ``data`` by this key's owner."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ec,
            ed25519,
            padding,
            rsa,
        )
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_der_public_key,
        )

        try:
            match load_der_public_key(self.der):
                case ec.EllipticCurvePublicKey() as key:
                    key.verify(signature, data, ec.ECDSA(SHA256()))
                case ed25519.Ed25519PublicKey() as key:
                    key.verify(signature, data)
                case rsa.RSAPublicKey() as key:
                    key.verify(signature, data, padding.PKCS1v15(), SHA256())
                case _:
                    return False
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key, open."""

    der: bytes = field(repr=False)
    """PKCS#8."""

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key: ECDSA on P-256, which every verifier knows."""
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

        return cls(der=_pkcs8(ec.generate_private_key(ec.SECP256R1())))

    @classmethod
    def read(cls, raw: bytes, password: Password, name: str = "") -> SigningKey:
        """Read a key file of any of the kinds above; ``password`` is asked if it is encrypted.

        Raises:
            KeyFileError: not a private key, or of a kind that cannot sign here.
            WrongPasswordError
        """
        kind, body = _pem(raw, name)
        if kind == "PUBLIC KEY":
            raise KeyFileError(name, "is a public key; signing needs the private one")
        if kind in _COSIGN_TYPES:
            der = _decrypt(body, password, name)
            key = _load_private(der, None, name)
        else:
            encrypted = kind.startswith("ENCRYPTED") or b"ENCRYPTED" in body
            key = _load_private(raw, password() if encrypted else None, name)
        _check_kind(key.public_key(), name)
        return cls(der=_pkcs8(key))

    @property
    def public(self) -> VerifyingKey:
        """The key that verifies what this one signs."""
        return VerifyingKey(der=_spki(_load_private(self.der, None, "").public_key()))

    def encrypted(self, password: bytes) -> bytes:
        """Return the content of a key file as cosign writes them."""
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(NONCE_BYTES)
        box = seal(self.der, nonce, _derive(password, salt, _SCRYPT_N))
        document = {
            "kdf": {
                "name": "scrypt",
                "params": {"N": _SCRYPT_N, "r": _SCRYPT_R, "p": _SCRYPT_P},
                "salt": base64.b64encode(salt).decode(),
            },
            "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
            "ciphertext": base64.b64encode(box).decode(),
        }
        return _armour(_COSIGN_TYPES[0], json.dumps(document, separators=(",", ":")).encode())

    def sign(self, data: bytes) -> bytes:
        """Return a signature of ``data``: ASN.1 DER for ECDSA, PKCS#1 v1.5 for RSA."""
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415 - as above
            ec,
            ed25519,
            padding,
            rsa,
        )
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        match _load_private(self.der, None, ""):
            case ec.EllipticCurvePrivateKey() as key:
                return key.sign(data, ec.ECDSA(SHA256()))
            case ed25519.Ed25519PrivateKey() as key:
                return key.sign(data)
            case rsa.RSAPrivateKey() as key:
                return key.sign(data, padding.PKCS1v15(), SHA256())
        raise AssertionError("kinds are checked when keys are read")


def _pem(raw: bytes, name: str) -> tuple[str, bytes]:
    """Return the type and the decoded body of the only PEM block; of old encrypted keys the text."""
    if len(raw) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(name, f"is larger than {MAX_KEY_FILE_BYTES} bytes")
    blocks = _PEM.findall(raw)
    if len(blocks) != 1:
        raise KeyFileError(name, f"holds {len(blocks)} PEM blocks instead of one key")
    kind, text = blocks[0]
    try:
        body = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        body = text
    return kind.decode(), body


def _armour(kind: str, body: bytes) -> bytes:
    text = base64.b64encode(body).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", "")).encode()


def _decrypt(body: bytes, password: Password, name: str) -> bytes:
    """Open cosign's JSON form."""
    try:
        document: dict[str, Any] = json.loads(body)
        kdf, cipher = document["kdf"], document["cipher"]
        kinds = (kdf["name"], cipher["name"])
        n = _cost(kdf["params"])
        salt, nonce, box = (
            base64.b64decode(text, validate=True)
            for text in (kdf["salt"], cipher["nonce"], document["ciphertext"])
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeyFileError(name, "is not in cosign's format") from error
    if kinds != ("scrypt", "nacl/secretbox"):
        raise KeyFileError(name, "is encrypted in a way that is not cosign's")
    if not n:
        raise KeyFileError(name, f"asks for more work than scrypt with N={MAX_SCRYPT_N}, r=8, p=1")
    if len(nonce) != NONCE_BYTES or len(box) < TAG_BYTES:
        raise KeyFileError(name, "is not in cosign's format")
    try:
        return open_box(box, nonce, _derive(password(), salt, n))
    except DamagedBoxError as error:
        raise WrongPasswordError(name) from error


def _cost(params: Mapping[str, Any]) -> int:
    """Return scrypt's N, 0 if the parameters are not such that we would compute them."""
    n, r, p = params["N"], params["r"], params["p"]
    power = isinstance(n, int) and 1 < n <= MAX_SCRYPT_N and n & (n - 1) == 0
    return n if power and (r, p) == (_SCRYPT_R, _SCRYPT_P) else 0


def _derive(password: bytes, salt: bytes, n: int) -> bytes:
    memory = 128 * n * _SCRYPT_R
    return hashlib.scrypt(
        password,
        salt=salt,
        n=n,
        r=_SCRYPT_R,
        p=_SCRYPT_P,
        maxmem=memory + 2**24,  # what OpenSSL takes besides
        dklen=KEY_BYTES,
    )


def _load_private(raw: bytes, password: bytes | None, name: str) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_der_private_key,
        load_pem_private_key,
    )

    load = load_pem_private_key if raw.lstrip().startswith(b"-----") else load_der_private_key
    try:
        return load(raw, password or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if password is not None:
            raise WrongPasswordError(name) from error
        raise KeyFileError(name, "is not a private key that can be read") from error


def _check_kind(key: PublicKeyTypes, name: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415 - as above

    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return
        case ed25519.Ed25519PublicKey():
            return
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return
        case rsa.RSAPublicKey():
            allowed = f"{MIN_RSA_BITS} to {MAX_RSA_BITS}"
            raise KeyFileError(name, f"is RSA with {key.key_size} bits; it takes {allowed}")
    raise KeyFileError(name, "is neither ECDSA on a NIST curve, nor Ed25519, nor RSA")


def _pkcs8(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - as above
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _spki(key: PublicKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - as above
        Encoding,
        PublicFormat,
    )

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
