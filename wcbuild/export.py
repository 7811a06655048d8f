"""Where an image goes besides the local store: registries, archives, folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from registry.oci.descriptor import Descriptor
from registry.reference import Reference
from registry.store import Source
from wcbuild.errors import UsageError
from wcbuild.layer.changes import DIRECTORY, Change, Meta
from wcbuild.solve.events import Emit, Transfer
from wcbuild.store import LocalStore
from wcbuild.tree.base import FileTree

if TYPE_CHECKING:
    from registry.copy import BlobProgress
    from registry.remote.client import Client

KINDS = ("image", "registry", "oci", "docker", "local", "tar")
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")
_KEYS = ("type", "dest", "tar", "compression", "compression-level", "push", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One `-o`."""

    kind: str
    dest: str = ""
    """A path; `-` is standard output."""
    tar: bool = True
    """For `oci`: one file, or a folder."""
    compression: str = "gzip"
    level: int | None = None

    @classmethod
    def parse(cls, text: str) -> Output:
        """Parse `type=oci,dest=F[,tar=false][,compression=zstd]`, or `DIR`, or `-`.

        Raises:
            UsageError: an unknown key, type or value.
        """
        if "=" not in text:
            return cls(kind="tar", dest="-") if text == "-" else cls(kind="local", dest=text)
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        unknown = sorted(set(fields) - set(_KEYS))
        if unknown:
            raise UsageError(f'--output: unknown key "{unknown[0]}"; there are {", ".join(_KEYS)}')
        kind = fields.get("type", "")
        if kind not in KINDS:
            raise UsageError(f'--output: unknown type "{kind}"; there are {", ".join(KINDS)}')
        compression = fields.get("compression", "gzip")
        if compression not in _COMPRESSIONS:
            raise UsageError(f'--output: unknown compression "{compression}"')
        level = fields.get("compression-level")
        if level is not None and not level.isdecimal():
            raise UsageError(f'--output: compression-level "{level}" is not a number')
        if kind == "image" and fields.get("push", "") == "true":
            kind = "registry"
        if kind == "local" and not fields.get("dest"):
            raise UsageError("--output: type=local needs dest=DIR")
        return cls(
            kind=kind,
            dest=fields.get("dest", "-"),
            tar=fields.get("tar", "true") != "false",
            compression=compression,
            level=None if level is None else int(level),
        )


class Exporter:
    """Moves images between the local store and everywhere else, with progress."""

    def __init__(self, store: LocalStore, emit: Emit, client: Callable[[], Client]) -> None:
        self._store = store
        self._emit = emit
        self._client = client

    def check(
        self, outputs: tuple[Output, ...], tags: tuple[Reference, ...], *, push: bool
    ) -> None:
        """Refuse, before anything is built, what could not be exported afterwards."""
        if (push or any(output.kind == "registry" for output in outputs)) and not tags:
            raise UsageError("--push needs a name: give one with -t")
        for output in outputs:
            if (
                output.dest == "-"
                and output.kind in ("oci", "docker", "tar")
                and sys.stdout.isatty()
            ):
                raise UsageError(
                    f"--output type={output.kind}: refusing to write a tar to a terminal; use dest="
                )

    def fetch(self, source: Source, descriptors: tuple[Descriptor, ...]) -> None:
        """Bring blobs into the local store, several at a time."""
        from registry.copy import copy_blobs  # noqa: PLC0415 - most builds fetch nothing

        copy_blobs(source, self._store, descriptors, emit=self._progress("pull"))

    def pull(self, reference: Reference) -> Descriptor:
        """Bring a whole image, or all of an index, into the local store and give it its name."""
        from registry.copy import copy  # noqa: PLC0415 - as above

        repository = self._client().repository(reference)
        descriptor = repository.resolve(str(reference.digest or reference.tag))
        copy(repository, self._store, descriptor, emit=self._progress("pull"))
        self._store.name_image(descriptor, reference)
        return descriptor

    def push(
        self,
        descriptor: Descriptor,
        references: tuple[Reference, ...],
        *,
        compression: str = "gzip",
        level: int | None = None,
    ) -> Descriptor:
        """Push under each name; return the manifest's descriptor as it is in the registry."""
        from registry.copy import copy  # noqa: PLC0415 - as above

        pushed = descriptor
        client = self._client()
        for reference in references:
            pushed = copy(
                self._store,
                client.repository(reference),
                descriptor,
                tags=(reference.tag,),
                emit=self._progress("push"),
                recompress=self._recompression(compression, level),
            )
        return pushed
