"""Checking a Dockerfile that stands on a few known images."""

import pytest

from registry.errors import NotFoundError
from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lint import check
from wcbuild.dockerfile.lower import ContextKind, NamedContext, Options, ResolvedImage
from wcbuild.dockerfile.source import SourceFile

AMD64 = Platform(os="linux", architecture="amd64")


class Images:
    """``named`` are those that a `--build-context` stands for."""

    def __init__(self, configs, platforms, named):
        self.configs = {"debian": ContainerConfig(env=("PATH=/bin",))} | configs
        self.platforms = platforms
        self.named = named

    def context(self, name, platform):
        return NamedContext(name=name, kind=ContextKind.IMAGE) if name in self.named else None

    def image(self, name, platform):
        if name not in self.configs:
            raise NotFoundError(name, "these tests")
        found = self.platforms.get(name, platform)
        config = ImageConfig(platform=found, config=self.configs[name])
        return ResolvedImage(digest=sha256(name.encode()), config=config)


@pytest.fixture
def checked():
    """Give a function from a Dockerfile's text to what its check says."""

    def run(
        text,
        *,
        ignore="",
        platform="linux/amd64",
        images=None,
        platforms=None,
        named=(),
        **options,
    ):
        given = Options(platform=Platform.parse(platform), build_platform=AMD64, **options)
        rules = IgnoreRules.parse(ignore.encode()) if ignore else None
        source = SourceFile(name="Dockerfile", data=text.encode("utf-8", "surrogateescape"))
        return check(source, given, Images(images or {}, platforms or {}, named), rules)

    return run


@pytest.fixture
def found(checked):
    """Give a function from a Dockerfile's text to the warnings: `Rule: message (line N)`."""

    def run(text, **options):
        result = checked(text, **options)
        assert result.error is None, result.error
        return [str(warning) for warning in result.warnings]

    return run
