"""XSalsa20-Poly1305 against what NaCl's own tests and libsodium say."""

import pytest

from registry.sign.secretbox import DamagedBoxError, open_box, seal

KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
MESSAGE = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129"
    "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
    "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
)
BOX = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a"
    "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
    "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74"
    "e355a5"
)


def test_seals_as_nacl_does():
    assert seal(MESSAGE, NONCE, KEY) == BOX
    assert open_box(BOX, NONCE, KEY) == MESSAGE


def test_seals_as_libsodium_does():
    message = b"The quick brown fox jumps over the lazy dog, again and again, and then once more."
    expected = (
        "422da373102edefd603d254cbc1dd3550a975d6fb6bfcb73d01ced4c07f824b734ca3effe650529f648208e230b58195"
        "ebbed5b924ca8c22dde287b55a07cc224a2f48fe9df3fc2edb7e4ed33641f69bb8a08b716078e9827a91e4f1a71cfae7"
        "d8"
    )
    assert seal(message, bytes(range(24)), bytes(range(32))).hex() == expected


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64, 65, 200])
def test_opens_what_it_seals(length):
    message = bytes(range(length))
    assert open_box(seal(message, NONCE, KEY), NONCE, KEY) == message


@pytest.mark.parametrize("at", [0, 15, 16, 60, len(BOX) - 1])
def test_one_changed_bit_is_noticed(at):
    box = bytearray(BOX)
    box[at] ^= 4
    with pytest.raises(DamagedBoxError):
        open_box(bytes(box), NONCE, KEY)


def test_another_key_or_nonce_opens_nothing():
    with pytest.raises(DamagedBoxError):
        open_box(BOX, NONCE, bytes(32))
    with pytest.raises(DamagedBoxError):
        open_box(BOX, bytes(24), KEY)


@pytest.mark.parametrize(("nonce", "key"), [(NONCE, b"short"), (b"short", KEY)])
def test_refuses_lengths_that_are_not_secretboxes(nonce, key):
    with pytest.raises(ValueError, match="32 bytes"):
        seal(b"", nonce, key)
