"""Base images and named contexts: where each name of a Dockerfile leads, and bringing it here."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import InvalidReferenceError, NotFoundError, RegistryError
from registry.image import Image, read_image
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.store import Source
from wcbuild.dockerfile.lower import SCRATCH, ContextKind, NamedContext, ResolvedImage
from wcbuild.solve.results import BuiltLayer
from wcbuild.store import LocalStore

if TYPE_CHECKING:
    from registry.remote.client import Client
    from registry.sign import Policy

_OCI_LAYOUT = "oci-layout://"
_DOCKER_IMAGE = "docker-image://"
_TARGET = "target:"

Fetch = Callable[[Source, Descriptor], None]
"""Copies what is missing of an image from a source into the local store, with progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    image: Image
    source: Source
    """Where its layers are, if not here."""
    reference: Reference | None = None
    """Its name, if it was found in a registry."""


class Bases:
    """The images that a build stands on or copies from."""

    def __init__(
        self,
        *,
        store: LocalStore,
        named: Mapping[str, str],
        client: Callable[[], Client],
        policy: Callable[[], Policy | None],
        meant_by: Callable[[Reference], Reference],
        fetch: Fetch,
        pull: bool,
    ) -> None:
        """``named`` are named contexts as given on the command line; ``pull`` asks the registry first.

        ``policy`` decides which images may be used; nothing is stored of others. ``meant_by`` says what a
        name is an alias of.
        """
        self._store = store
        self._named = {_context_name(name): value for name, value in named.items()}
        self._contexts = {name: _named_context(name, text) for name, text in self._named.items()}
        self._client = client
        self._policy = policy
        self._meant_by = meant_by
        self._fetch = fetch
        self._pull = pull
        self._bases: dict[str, _Base] = {}
        self._resolved: dict[tuple[str, Platform], ResolvedImage] = {}

    # -- wcbuild.dockerfile.lower.Outside

    def context(self, name: str, platform: Platform) -> NamedContext | None:
        """Return the named context that ``name`` means for a platform, None if none was given."""
        known = self._known_name(name, platform)
        return None if known is None else self._contexts[known]

    def folder(self, name: str) -> Path:
        """Return the folder that a named context is."""
        return Path(self._named[name])

    def image(self, name: str, platform: Platform) -> ResolvedImage:
        """Return the image that ``name`` means: a named context, an image here, a registry's."""
        key = (name, platform)
        if key not in self._resolved:
            base = self._find(name, platform)
            image = base.image
            self._bases[image.descriptor.digest] = base
            self._resolved[key] = ResolvedImage(digest=image.descriptor.digest, config=image.config)
        return self._resolved[key]

    def remember(self) -> None:
        """Store manifests and configs, and where layers come from, of all images that were looked up.

        Whoever does not go on to build has no use for that.
        """
        for base in self._bases.values():
            self._keep_documents(base.image)
            if base.reference is not None:
                self._store.note_origin(base.image.manifest.layers, base.reference)

    # -- wcbuild.solve.executor.BaseImages

    def layers(self, digest: str) -> tuple[BuiltLayer, ...]:
        """Return an image's layers, lowest first, whether their bytes are here or not."""
        return image_layers(self._bases[digest].image)

    def is_here(self, digest: str) -> bool:
        """Say whether all bytes of the image are in the local store."""
        layers = self._bases[digest].image.layers
        return all(self._store.has(layer.descriptor) for layer in layers)

    def may_stay(self, digest: str) -> bool:
        """Say whether the image is in a registry, where later commands find its bytes."""
        return self._bases[digest].reference is not None

    def fetch(self, digest: str) -> None:
        """Bring the image's bytes into the local store."""
        base = self._bases[digest]
        self._fetch(base.source, base.image.descriptor)

    def keep(self, digest: str, *, fetch: bool) -> None:
        """Have the image's bytes here, and a registry's image under its name: the next build finds it.

        Without ``fetch``, bytes that are not here come when somebody asks for them.
        """
        if fetch and not self.is_here(digest):
            self.fetch(digest)
        base = self._bases[digest]
        if base.reference is not None:
            self._store.name_image(base.image.descriptor, base.reference)

    def _keep_documents(self, image: Image) -> None:
        """Store manifest and config: a few kilobytes, exactly as they came."""
        self._store.put(io.BytesIO(image.config_raw), image.manifest.config)
        self._store.put(io.BytesIO(image.manifest.raw), image.descriptor)

    # -- finding

    def _known_name(self, name: str, platform: Platform) -> str | None:
        """Return the context's name as it was given; one for this very platform goes first."""
        name = _context_name(name)
        if name == SCRATCH:
            return None
        own = f"{name}::{platform}"
        return own if own in self._named else name if name in self._named else None

    def _find(self, name: str, platform: Platform) -> _Base:
        known = self._known_name(name, platform)
        value = None if known is None else self._named[known]
        policy = self._policy()
        if value is not None and value.startswith(_OCI_LAYOUT):
            layout, descriptor, path, tag = _in_layout(value.removeprefix(_OCI_LAYOUT))
            image = read_image(layout, descriptor, platform)
            if policy is not None:
                policy.check_layout(path, tag, (descriptor, image.descriptor), lambda: layout)
            return _Base(image=image, source=layout)
        if value is not None and value.startswith(_DOCKER_IMAGE):
            name = value.removeprefix(_DOCKER_IMAGE)
        given = Reference.parse(name)
        meant = self._meant_by(given)
        if meant != given:
            name = str(meant)
        reference = meant.with_default_tag()
        # What has to be signed is looked up where its signatures are.
        signed = policy is not None and policy.needs_signatures(reference)
        here = None if self._pull or signed else self._find_here(name, platform)
        if here is not None and platform.names(here.image.config.platform):
            return here
        try:
            repository = self._client().source(reference)
            descriptor = repository.resolve(str(reference.digest or reference.tag))
            image = read_image(repository, descriptor, platform)
        except RegistryError:
            # Another version of Windows than was asked for, but it will run.
            if here is not None:
                return here
            raise
        if policy is not None:
            policy.check(reference, (descriptor, image.descriptor), lambda: repository)
        return _Base(image=image, source=repository, reference=reference)

    def _find_here(self, name: str, platform: Platform) -> _Base | None:
        """Return the local store's image of a name, if it will run: it keeps one platform's for each."""
        try:
            image = read_image(self._store, self._store.find(name).descriptor, platform)
        except NotFoundError:
            return None
        if not platform.accepts(image.config.platform):
            return None
        return _Base(image=image, source=self._store)


def _context_name(name: str) -> str:
    """Return the one spelling of a context's name: `docker.io/library/debian:latest` is `debian`."""
    base, separator, platform = name.partition("::")
    with contextlib.suppress(InvalidReferenceError):
        base = Reference.parse(base.lower()).familiar.removesuffix(":latest")
    return f"{base.lower()}{separator}{platform}"


def _named_context(name: str, value: str) -> NamedContext:
    """Find out what a named context is.

    Raises:
        SourceError: a URL that makes no sense.
    """
    if value == f"{_DOCKER_IMAGE}{SCRATCH}":
        return NamedContext(name=name, kind=ContextKind.SCRATCH)
    if value.startswith((_OCI_LAYOUT, _DOCKER_IMAGE)):
        return NamedContext(name=name, kind=ContextKind.IMAGE)
    if value.startswith(_TARGET):
        return NamedContext(name=name, kind=ContextKind.STAGE, stage=value.removeprefix(_TARGET))
    if os.path.isdir(value):
        return NamedContext(name=name, kind=ContextKind.FILES)
    from wcbuild.dockerfile.lower.remote import context  # noqa: PLC0415 - few contexts are remote

    op = context(value)
    if op is not None or "/" in value or os.path.exists(value):
        return NamedContext(name=name, kind=ContextKind.FILES, files=op)
    return NamedContext(name=name, kind=ContextKind.STAGE, stage=value)


def image_layers(image: Image) -> tuple[BuiltLayer, ...]:
    """Return an image's layers, lowest first, as the solver takes them."""
    return tuple(
        BuiltLayer(diff_id=layer.diff_id, descriptor=layer.descriptor) for layer in image.layers
    )


def _in_layout(text: str) -> tuple[Source, Descriptor, Path, str]:
    """Find `DIR[:TAG][@DIGEST]` in an OCI image layout; return its folder and the tag, too."""
    from registry.layout import OciLayout  # noqa: PLC0415 - most builds have none

    rest, at, digest = text.partition("@")
    folder, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        folder, tag = rest, ""
    layout = OciLayout(Path(folder))
    return layout, layout.resolve(str(Digest(digest)) if at else tag), Path(folder), tag
