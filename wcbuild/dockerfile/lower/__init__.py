"""Lowering: stages become a graph of steps and an image plan.

The outside world is seen through one value, `Outside`; everything else is pure. Only stages that the
target needs are lowered, each when it is first referred to, so the steps come out in an order in which
they can be executed.
"""

from wcbuild.dockerfile.lower.arguments import declared_args
from wcbuild.dockerfile.lower.epoch import find_epoch
from wcbuild.dockerfile.lower.lowering import lower
from wcbuild.dockerfile.lower.outside import (
    MAIN_CONTEXT,
    SCRATCH,
    BaseImageError,
    ContextKind,
    Entitlement,
    Lowered,
    NamedContext,
    Options,
    Outside,
    ResolvedImage,
)
from wcbuild.dockerfile.lower.stage import DEFAULT_PATH
from wcbuild.dockerfile.lower.stagegraph import find_target

__all__ = [
    "DEFAULT_PATH",
    "MAIN_CONTEXT",
    "SCRATCH",
    "BaseImageError",
    "ContextKind",
    "Entitlement",
    "Lowered",
    "NamedContext",
    "Options",
    "Outside",
    "ResolvedImage",
    "declared_args",
    "find_epoch",
    "find_target",
    "lower",
]
