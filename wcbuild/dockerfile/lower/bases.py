"""What stages stand on: images, named contexts and nothing."""

from __future__ import annotations

from dataclasses import replace

from registry.errors import RegistryError
from registry.image import NoPlatformError
from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.platform import Platform
from wcbuild.dockerfile.instructions import From
from wcbuild.dockerfile.lower.observer import Observer
from wcbuild.dockerfile.lower.outside import ContextKind, Options, Outside, ResolvedImage
from wcbuild.dockerfile.lower.paths import in_config
from wcbuild.dockerfile.lower.stage import StageState
from wcbuild.dockerfile.lower.stagegraph import StageGraph
from wcbuild.dockerfile.lower.steps import Steps
from wcbuild.dockerfile.source import Span
from wcbuild.errors import SourceError
from wcbuild.graph.ops import WINDOWS, CopyOp, ImageOp, Step


class Bases:
    """Looks up images, and begins stages on them."""

    def __init__(
        self,
        options: Options,
        outside: Outside,
        observer: Observer,
        stages: StageGraph,
        steps: Steps,
    ) -> None:
        self._options = options
        self._outside = outside
        self._observer = observer
        self._stages = stages
        self._steps = steps

    def start(self, state: StageState, name: str, from_: From) -> None:
        """Begin a stage on what ``name`` means.

        Raises:
            SourceError: it cannot be had (BaseImageError), or is for another system.
        """
        span = from_.span
        named = self._stages.context(name, state.platform)
        if named is not None and named.kind is ContextKind.SCRATCH:
            self.start_from_scratch(state, from_)
            return
        state.position = 1
        if named is not None and named.kind is ContextKind.FILES:
            files = self._steps.context(named, span).step
            op = CopyOp(sources=("",), dest="/", os=state.platform.os)
            inputs = (self._steps.scratch(span, op.os), files)
            state.rootfs = self._steps.add(Step(op=op, inputs=inputs, spans=(span,)))
            state.reference = name
            state.set_config(
                ContainerConfig() if self._stages.replaced(state.stage) else self._no_config(state)
            )
            return
        asked = bool(from_.platform) or self._options.platform_given
        image = self._image(name, state.platform, span, asked=asked)
        state.rootfs = self._step(name, image, span)
        self._check_base(state, name, image.config.platform, from_)
        if not from_.platform or state.is_windows:
            # Windows images keep their base's version of Windows.
            state.platform = self._merged_platform(image.config.platform)
        state.base = image.config
        state.author = image.config.author
        state.reference = name if "@" in name else f"{name}@{image.digest}"
        state.triggers = image.config.config.on_build
        state.set_config(replace(image.config.config, on_build=()))

    def start_from_scratch(self, state: StageState, from_: From) -> None:
        """Begin a stage on nothing."""
        state.rootfs = self._steps.scratch(from_.span, state.platform.os)
        if state.is_windows:
            state.note("FROM scratch # empty registry hives", state.rootfs)
        state.set_config(self._no_config(state))

    def _no_config(self, state: StageState) -> ContainerConfig:
        return ContainerConfig(working_dir=in_config("/", windows=state.is_windows))

    def _merged_platform(self, found: Platform) -> Platform:
        """Return the base's platform; one that says nothing is what was asked for."""
        return found if found.os and found.architecture else self._options.platform

    def _image(self, name: str, platform: Platform, span: Span, *, asked: bool) -> ResolvedImage:
        """Return what ``name`` means for a platform, which somebody may have ``asked`` for."""
        try:
            image = self._find_image(name, platform, asked=asked)
        except RegistryError as error:
            failure = self._stages.no_image(name, error, span)
            if not self._options.without_images:
                raise failure from error
            self._observer.no_image(failure)
            return ResolvedImage(digest="", config=ImageConfig(platform=platform))
        if self._stages.context(name, platform) is None:
            # Whoever names a context has chosen its platform.
            self._observer.image(name, platform, image.config.platform, span)
        return image

    def _find_image(self, name: str, platform: Platform, *, asked: bool) -> ResolvedImage:
        """Return what ``name`` means; if nobody asked for a platform, what it is for may be another."""
        try:
            return self._outside.image(name, platform)
        except NoPlatformError as error:
            only = {replace(each, os_version="", os_features=()) for each in error.offered}
            if asked or len(only) != 1:
                raise
            return self._outside.image(name, only.pop())

    def _check_base(self, state: StageState, name: str, found: Platform, from_: From) -> None:
        """Refuse a base for another system, or another Windows, than was asked for."""
        wanted = state.platform
        asked = bool(from_.platform) or self._options.platform_given
        if not asked or not found.os or not {wanted.os, found.os} & {WINDOWS}:
            return
        if not wanted.accepts(found):
            raise SourceError(
                f'base image "{name}" is for {found}, but the stage is for {wanted}',
                (from_.span,),
                word=name,
                hint="FROM --platform says what a stage is for",
            )

    def step(self, name: str, platform: Platform, span: Span) -> int:
        """Return the step that offers an image's files.

        Raises:
            BaseImageError
        """
        image = self._image(name, platform, span, asked=self._options.platform_given)
        return self._step(name, image, span)

    def _step(self, name: str, image: ResolvedImage, span: Span) -> int:
        platform = self._merged_platform(image.config.platform)
        op = ImageOp(reference=name, digest=image.digest, platform=platform)
        return self._steps.source(op, f"FROM {name}", span)
