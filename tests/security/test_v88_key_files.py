"""V88: a key file that asks for more memory and time than a machine has."""

from __future__ import annotations

import base64
import json

import pytest

from registry.sign import KeyFileError, SigningKey
from registry.sign.keys import MAX_SCRYPT_N


def key_file(**params) -> bytes:
    document = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": 65536, "r": 8, "p": 1} | params,
            "salt": base64.b64encode(bytes(32)).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(bytes(24)).decode()},
        "ciphertext": base64.b64encode(bytes(150)).decode(),
    }
    kind = b"ENCRYPTED SIGSTORE PRIVATE KEY"
    body = base64.b64encode(json.dumps(document).encode())
    return b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (kind, body, kind)


def never_asked() -> bytes:
    raise AssertionError("the password is asked for a key that is refused anyway")


@pytest.mark.parametrize(
    "params",
    [
        {"N": 2**40},
        {"N": 2 * MAX_SCRYPT_N},
        {"N": 65535},
        {"N": 1},
        {"N": 0},
        {"N": -65536},
        {"N": 65536.0},
        {"N": True},
        {"N": "65536"},
        {"N": 10**400},
        {"r": 2**20},
        {"p": 2**20},
        {"r": 0},
        {"p": None},
    ],
)
def test_work_beyond_the_limit_is_refused_before_it_begins(params):
    with pytest.raises(KeyFileError, match="asks for more work"):
        SigningKey.read(key_file(**params), never_asked, "big.key")
