"""Keys and their files."""

import base64
import hashlib
import json
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from registry.sign import KeyFileError, SigningKey, VerifyingKey, WrongPasswordError
from registry.sign.secretbox import seal

# Made by cosign 2.5.0, for tests: `COSIGN_PASSWORD=secret cosign generate-key-pair`.
COSIGN_KEY = b"""\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiIvMVdiblR2azlSQ3ZjdUhrcXVXMnpEaE1raEdyaDg0
WmZjRXZhUFFEUVk4PSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJqUFhFS3l6a1g2dUp0VEd5ZnZDTVVwNTV6TGlMaERScSJ9LCJj
aXBoZXJ0ZXh0IjoiazkrNGFjWnZwd2tSUlA0RC83SXFGV00yZGRwaGN6QzhHWkVV
MEs2SDNuSmgycDRoRXFybXQwQ25NNW5wMThtT2NUSVJXYnlhUWd1ZHJuWEp3UWRo
cWdXTUlnS1haOFNCNnp4UFdFSHp0N1l3VEdYVE5JcENHUjBRanRCM0tSU1lYRk1Q
OHNwQlZrSVhiS3ExWXBxR1AzN2lITkozUVhuQXdPQmIvRHUvbU1JNE82TitzQXJP
NHhHRll5eVdsaDZGaHN2bXZWWHpoMFdMNlE9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
"""
COSIGN_PUB = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEhbaycM9WK3gA/OrHeAto8Uz17tKZ
6xWXHY9EbrgO0oS2g4eZkpPCLelF7zC/0JubzxpY2sO/065GoJZGIDF3sg==
-----END PUBLIC KEY-----
"""


def secret() -> bytes:
    return b"secret"


def nobody() -> bytes:
    raise AssertionError("no password is needed")


def pem(key, form=PrivateFormat.PKCS8, password=None) -> bytes:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, hidden)


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def rewritten(raw: bytes, change) -> bytes:
    """Return a cosign key file whose JSON was changed."""
    lines = raw.decode().split("\n")
    document = json.loads(base64.b64decode("".join(lines[1:-2])))
    change(document)
    body = base64.b64encode(json.dumps(document).encode()).decode()
    return "\n".join([lines[0], body, *lines[-2:]]).encode()


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


def test_opens_a_key_of_cosign():
    key = SigningKey.read(COSIGN_KEY, secret)
    assert key.public.pem == COSIGN_PUB
    assert key.public == VerifyingKey.read(COSIGN_PUB)


def test_opens_a_key_of_an_older_cosign():
    """It had another PEM type and half the work for scrypt."""
    der = SigningKey.read(COSIGN_KEY, secret).der
    salt, nonce = bytes(32), bytes(24)
    derived = hashlib.scrypt(b"old", salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    document = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": 2**15, "r": 8, "p": 1},
            "salt": base64.b64encode(salt).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(seal(der, nonce, derived)).decode(),
    }
    body = base64.b64encode(json.dumps(document).encode())
    kind = b"ENCRYPTED COSIGN PRIVATE KEY"
    raw = b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (kind, body, kind)
    assert SigningKey.read(raw, lambda: b"old").der == der


def test_writes_a_key_that_only_its_password_opens():
    key = SigningKey.generate()
    raw = key.encrypted(b"right")
    assert raw.startswith(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    assert SigningKey.read(raw, lambda: b"right") == key
    with pytest.raises(WrongPasswordError, match=r'key "my\.key": the password is wrong'):
        SigningKey.read(raw, lambda: b"wrong", "my.key")


def test_two_files_of_one_key_have_nothing_in_common():
    key = SigningKey.generate()
    first, second = (set(key.encrypted(b"").split(b"\n")[1:-2]) for _ in range(2))
    # But for the first line, which says how it is encrypted.
    assert len(first & second) <= 2


def test_one_changed_bit_of_the_ciphertext_is_noticed():
    def flip(document):
        box = bytearray(base64.b64decode(document["ciphertext"]))
        box[40] ^= 1
        document["ciphertext"] = base64.b64encode(box).decode()

    with pytest.raises(WrongPasswordError):
        SigningKey.read(rewritten(COSIGN_KEY, flip), secret)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["kdf"].update(name="pbkdf2"), "in a way that is not cosign's"),
        (lambda d: d["cipher"].update(name="none"), "in a way that is not cosign's"),
        (lambda d: d["cipher"].update(nonce="AAAA"), "not in cosign's format"),
        (lambda d: d.update(ciphertext="AAAA"), "not in cosign's format"),
        (lambda d: d.update(ciphertext="*"), "not in cosign's format"),
        (lambda d: d.pop("kdf"), "not in cosign's format"),
        (lambda d: d.update(kdf=[]), "not in cosign's format"),
    ],
)
def test_refuses_a_damaged_key_file(change, reason):
    with pytest.raises(KeyFileError, match=reason):
        SigningKey.read(rewritten(COSIGN_KEY, change), secret)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("password", [None, b"secret"])
def test_reads_pem_with_and_without_a_password(form, password):
    made = ec.generate_private_key(ec.SECP256R1())
    raw = pem(made, form, password)
    key = SigningKey.read(raw, secret if password else nobody)
    assert key.public.pem == public_pem(made)
    if password:
        with pytest.raises(WrongPasswordError):
            SigningKey.read(raw, lambda: b"guess")
        with pytest.raises(WrongPasswordError):
            SigningKey.read(raw, lambda: b"")


def test_every_kind_of_key_signs_and_verifies(rsa_key):
    made = [
        *(ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
        ed25519.Ed25519PrivateKey.generate(),
        rsa_key,
    ]
    keys = [SigningKey.read(pem(key), nobody) for key in made]
    for number, key in enumerate(keys):
        signature = key.sign(b"data")
        assert [other.public.verifies(signature, b"data") for other in keys] == [
            number == n for n in range(len(keys))
        ]
        assert not key.public.verifies(signature, b"Data")
        assert not key.public.verifies(signature + b"\0", b"data")
        assert not key.public.verifies(b"", b"data")


def test_rsa_signatures_are_pkcs1_with_sha256(rsa_key):
    signature = SigningKey.read(pem(rsa_key), nobody).sign(b"data")
    rsa_key.public_key().verify(signature, b"data", padding.PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "is RSA with 1024 bits"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "neither ECDSA on a NIST curve"),
        (lambda: dsa.generate_private_key(2048), "neither ECDSA on a NIST curve"),
        (x25519.X25519PrivateKey.generate, "neither ECDSA on a NIST curve"),
    ],
)
def test_refuses_keys_of_other_kinds(make, reason):
    key = make()
    with pytest.raises(KeyFileError, match=reason):
        SigningKey.read(pem(key), nobody)
    with pytest.raises(KeyFileError, match=reason):
        VerifyingKey.read(public_pem(key))


def test_says_which_half_of_a_pair_is_needed():
    with pytest.raises(KeyFileError, match="is a private key; verifying needs the public one"):
        VerifyingKey.read(COSIGN_KEY)
    with pytest.raises(KeyFileError, match="is a public key; signing needs the private one"):
        SigningKey.read(COSIGN_PUB, nobody)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"ssh-ed25519 AAAA somebody",
        b"\0" * 100,
        COSIGN_PUB * 2,
        b"-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        COSIGN_PUB + b" " * 70_000,
    ],
)
def test_refuses_what_is_no_key(raw):
    with pytest.raises(KeyFileError, match=r'key "some\.file"'):
        VerifyingKey.read(raw, "some.file")
    with pytest.raises(KeyFileError, match=r'key "some\.file"'):
        SigningKey.read(raw, nobody, "some.file")


def test_a_private_key_is_not_shown_and_survives_another_process():
    key = SigningKey.generate()
    assert repr(key) == "SigningKey()"
    assert pickle.loads(pickle.dumps(key)) == key
    error = pickle.loads(pickle.dumps(WrongPasswordError("a.key")))
    assert str(error) == str(WrongPasswordError("a.key"))
