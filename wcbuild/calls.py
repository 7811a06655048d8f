"""What can be said of a Dockerfile without building it: its checks, its outline, its targets.

Nothing is run, and of base images only manifest and config are looked at, here or in their registry.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from registry.oci.descriptor import Descriptor
from registry.store import Source
from wcbuild.access import meant_by, open_client, open_policy
from wcbuild.bases import Bases
from wcbuild.dockerfile import lint
from wcbuild.dockerfile import outline as outlines
from wcbuild.dockerfile.lint import CheckResult
from wcbuild.dockerfile.lower import Options
from wcbuild.dockerfile.outline import Outline, TargetList
from wcbuild.inputs import Fetcher, MainContext, find_agents, is_fetched, read_folder
from wcbuild.request import BuildRequest, escape_of, make_options, read_platforms
from wcbuild.store import default_root, open_store

__all__ = ["CheckResult", "Outline", "TargetList", "check", "outline", "targets"]


def check(request: BuildRequest) -> CheckResult:
    """Check the target stage and all it needs; without a target, every stage.

    Of several platforms the first counts. docs/checks.md explains the rules.

    Raises:
        WcbuildError, RegistryError: there is no Dockerfile, or no store. What is wrong with the
            Dockerfile is part of the result.
    """
    with _opened(request) as (main, options, bases):
        return lint.check(main.source, options, bases, main.ignore)


def outline(request: BuildRequest) -> Outline:
    """Return what the build of the target takes: arguments, secrets and agents.

    Raises:
        WcbuildError, RegistryError: the build would fail before anything is run.
    """
    with _opened(request) as (main, options, bases):
        return outlines.outline(main.source, options, bases, main.ignore)


def targets(request: BuildRequest) -> TargetList:
    """Return the stages of the Dockerfile, whatever they stand on.

    Raises:
        WcbuildError: there is no Dockerfile, or it cannot be read.
    """
    here = _folder(request)
    if here is not None:
        return outlines.list_targets(here.source, escape=escape_of(request))
    with _opened(request) as (main, _, _):
        return outlines.list_targets(main.source, escape=escape_of(request))


def _folder(request: BuildRequest) -> MainContext | None:
    """Return the main context, if it need not be fetched."""
    if is_fetched(request.context, request.file):
        return None
    return read_folder(Path(request.context), request.file, request.stdin)


@contextlib.contextmanager
def _opened(request: BuildRequest) -> Iterator[tuple[MainContext, Options, Bases]]:
    main = _folder(request)
    store = open_store(request.root or default_root(os.environ))
    fetcher = Fetcher(
        store,
        request.registries,
        secrets=request.secrets,
        agent=find_agents(request.ssh).get("default"),
        keep_git_dir=False,
        cancel=threading.Event(),
    )
    try:
        main = main or fetcher.read(str(request.context), request.file, request.stdin)
        options = make_options(request, read_platforms(request.platform)[0], main)
        bases = Bases(
            store=store,
            named=request.build_contexts,
            client=partial(open_client, request.registries),
            policy=cache(partial(open_policy, request.registries)),
            meant_by=partial(meant_by, request.registries),
            fetch=_no_layers,
            pull=request.pull,
        )
        yield main, options, bases
    finally:
        fetcher.close()
        store.close()


def _no_layers(_source: Source, descriptor: Descriptor) -> None:
    raise AssertionError(f"nobody asked for {descriptor.digest}")
