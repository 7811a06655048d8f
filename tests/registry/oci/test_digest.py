import contextlib
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidDigestError
from registry.oci.digest import Digest, sha256

HEX = st.sampled_from("0123456789abcdef")
DIGESTS = st.one_of(
    st.text(HEX, min_size=64, max_size=64).map("sha256:".__add__),
    st.text(HEX, min_size=128, max_size=128).map("sha512:".__add__),
)


@given(DIGESTS)
def test_parsing_is_the_inverse_of_printing(text):
    digest = Digest(text)
    assert str(digest) == text
    assert f"{digest.algorithm}:{digest.hex}" == text
    assert pickle.loads(pickle.dumps(digest)) == digest


@given(st.text())
def test_any_other_text_is_refused_or_is_itself(text):
    with contextlib.suppress(InvalidDigestError):
        assert Digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:../../../../etc/passwd",
        "sha256:" + "../" * 21 + "x",
        "sha256:" + "AB" * 32,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 60 + "/../",
        "sha256:" + "\u0661" * 64,  # digits, but not ASCII ones
        "sha256:" + "a" * 1_000_000,
        "sha512:" + "a" * 64,
        "md5:" + "a" * 32,
        "SHA256:" + "a" * 64,
        "sha256+b64:" + "a" * 64,
        "../sha256:" + "a" * 64,
        " sha256:" + "a" * 64,
    ],
)
def test_attack_digest_that_would_become_a_path_is_refused(text):
    """CVE-2024-3727: a digest becomes a path and a URL."""
    with pytest.raises(InvalidDigestError) as caught:
        Digest(text)
    assert len(str(caught.value)) < 300


def test_digests_bytes():
    assert sha256(b"x") == "sha256:" + hashlib.sha256(b"x").hexdigest()
