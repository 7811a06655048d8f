"""What stands outside a Dockerfile, for tests that care for none of it: any image, and given contexts."""

from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.dockerfile.lower import Options, ResolvedImage, lower
from wcbuild.dockerfile.stages import parse_dockerfile

AMD64 = Platform(os="linux", architecture="amd64")


class AnyImages:
    """Has every image; ``contexts`` are named contexts by name."""

    def __init__(self, contexts=None):
        self.contexts = contexts or {}

    def context(self, name, platform):
        return self.contexts.get(name)

    def image(self, name, platform):
        config = ContainerConfig(env=("PATH=/bin",))
        return ResolvedImage(
            digest=sha256(f"{name} {platform}".encode()),
            config=ImageConfig(platform=platform, config=config),
        )


def lowered(text, contexts=None, *, platform=AMD64, **options):
    """Lower a Dockerfile, given as text or bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    given = Options(platform=platform, build_platform=AMD64, **options)
    return lower(parse_dockerfile(data, file="Dockerfile"), given, AnyImages(contexts))
