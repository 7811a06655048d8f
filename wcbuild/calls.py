"""What can be said of a Dockerfile without building it: its checks, its outline, its targets.

Nothing is run, and of base images only manifest and config are looked at, here or in their registry.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial

from registry.oci.descriptor import Descriptor
from registry.store import Source
from wcbuild.access import open_client
from wcbuild.bases import Bases
from wcbuild.builder import BuildRequest, make_options, read_platforms, read_source
from wcbuild.dockerfile import lint
from wcbuild.dockerfile import outline as outlines
from wcbuild.dockerfile.lint import CheckResult
from wcbuild.dockerfile.outline import Outline, TargetList
from wcbuild.store import default_root, open_store

__all__ = ["CheckResult", "Outline", "TargetList", "check", "outline", "targets"]


def check(request: BuildRequest) -> CheckResult:
    """Check the target stage and all it needs; without a target, every stage.

    Of several platforms the first counts. docs/checks.md explains the rules.

    Raises:
        WcbuildError, RegistryError: there is no Dockerfile, or no store. What is wrong with the
            Dockerfile is part of the result.
    """
    _, source, ignore = read_source(request)
    options = make_options(request, read_platforms(request.platform)[0])
    with _bases(request) as bases:
        return lint.check(source, options, bases, ignore)


def outline(request: BuildRequest) -> Outline:
    """Return what the build of the target takes: arguments, secrets and agents.

    Raises:
        WcbuildError, RegistryError: the build would fail before anything is run.
    """
    _, source, _ = read_source(request)
    options = make_options(request, read_platforms(request.platform)[0])
    with _bases(request) as bases:
        return outlines.outline(source, options, bases)


def targets(request: BuildRequest) -> TargetList:
    """Return the stages of the Dockerfile, whatever they stand on.

    Raises:
        WcbuildError: there is no Dockerfile, or it cannot be read.
    """
    _, source, _ = read_source(request)
    return outlines.list_targets(source)


@contextlib.contextmanager
def _bases(request: BuildRequest) -> Iterator[Bases]:
    store = open_store(request.root or default_root(os.environ))
    try:
        yield Bases(
            store=store,
            named=request.build_contexts,
            client=partial(open_client, request.registries),
            fetch=_no_layers,
            pull=request.pull,
        )
    finally:
        store.close()


def _no_layers(_source: Source, descriptor: Descriptor) -> None:
    raise AssertionError(f"nobody asked for {descriptor.digest}")
