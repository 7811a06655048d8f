from registry.oci.chain import chain_id, extend
from registry.oci.digest import DiffId, sha256

A, B, C = (DiffId(sha256(letter)) for letter in (b"a", b"b", b"c"))


def test_one_layer_is_its_own_chain():
    assert chain_id([A]) == A


def test_no_layers_have_no_chain():
    assert chain_id([]) is None


def test_each_layer_extends_the_chain_below():
    """ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln))."""
    two = sha256(f"{A} {B}".encode())
    assert chain_id([A, B]) == two
    assert chain_id([A, B, C]) == extend(two, C) == sha256(f"{two} {C}".encode())
