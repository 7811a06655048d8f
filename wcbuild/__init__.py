"""Build container images from Dockerfiles: no daemon, no root, no other container tool.

from wcbuild import BuildRequest, build

result = build(BuildRequest(context=".", tags=("registry.local/team/app:1",), push=True))
print(result.image_id)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wcbuild.access import RegistryAccess
    from wcbuild.calls import CheckResult, Outline, TargetList, check, outline, targets
    from wcbuild.dockerfile.rules import LintWarning
    from wcbuild.errors import WcbuildError
    from wcbuild.outputs import Output
    from wcbuild.remotecache.spec import CacheFrom, CacheTo
    from wcbuild.request import BuildRequest, BuildResult
    from wcbuild.worker import build, plan

__version__ = "0.1.0"

__all__ = [
    "BuildRequest",
    "BuildResult",
    "CacheFrom",
    "CacheTo",
    "CheckResult",
    "LintWarning",
    "Outline",
    "Output",
    "RegistryAccess",
    "TargetList",
    "WcbuildError",
    "build",
    "check",
    "outline",
    "plan",
    "targets",
]

_HOMES = {
    "BuildRequest": "wcbuild.request",
    "BuildResult": "wcbuild.request",
    "CacheFrom": "wcbuild.remotecache.spec",
    "CacheTo": "wcbuild.remotecache.spec",
    "CheckResult": "wcbuild.calls",
    "LintWarning": "wcbuild.dockerfile.rules",
    "Outline": "wcbuild.calls",
    "Output": "wcbuild.outputs",
    "RegistryAccess": "wcbuild.access",
    "TargetList": "wcbuild.calls",
    "WcbuildError": "wcbuild.errors",
    "build": "wcbuild.worker",
    "check": "wcbuild.calls",
    "outline": "wcbuild.calls",
    "plan": "wcbuild.worker",
    "targets": "wcbuild.calls",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the command line needs only some of them."""
    import importlib  # noqa: PLC0415 - see above

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
