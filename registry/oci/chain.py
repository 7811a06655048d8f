"""Chain ids: one name for a stack of layers.

Spec: https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
"""

from __future__ import annotations

from collections.abc import Iterable

from registry.oci.digest import ChainId, DiffId, sha256


def extend(parent: ChainId | None, diff_id: DiffId) -> ChainId:
    """Return the chain id of ``parent`` with one more layer on top; None is the empty stack."""
    if parent is None:
        return ChainId(diff_id)
    return ChainId(sha256(f"{parent} {diff_id}".encode()))


def chain_id(diff_ids: Iterable[DiffId]) -> ChainId | None:
    """Return the chain id of a stack, lowest layer first; None for no layers."""
    chain: ChainId | None = None
    for diff_id in diff_ids:
        chain = extend(chain, diff_id)
    return chain
