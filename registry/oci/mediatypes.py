"""Media types, and the questions that the rest of the code asks about them."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCTETS = "application/octet-stream"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN_LAYER_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCTETS = "application/octet-stream"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)


def is_manifest(media_type: str) -> bool:
    """Say whether ``media_type`` is one image's manifest, OCI's or Docker's."""
    return media_type in MANIFESTS


def is_index(media_type: str) -> bool:
    """Say whether ``media_type`` is an index, which Docker calls a manifest list."""
    return media_type in INDEXES


def is_document(media_type: str) -> bool:
    """Say whether ``media_type`` is a manifest or an index."""
    return is_manifest(media_type) or is_index(media_type)


def is_foreign(media_type: str) -> bool:
    """Say whether a layer's blob may have to be fetched from its own URLs, not the registry."""
    return ".nondistributable." in media_type or ".foreign." in media_type


def compression(media_type: str) -> str:
    """Return how a layer of ``media_type`` is compressed: `gzip`, `zstd` or `none`."""
    if media_type.endswith(("+gzip", ".gzip")):
        return "gzip"
    if media_type.endswith(("+zstd", ".zstd")):
        return "zstd"
    return "none"


def layer(compressed: str, *, docker: bool = False) -> str:
    """Return the media type of a layer compressed as `gzip`, `zstd` or `none`."""
    suffix = {"none": "", "gzip": "gzip", "zstd": "zstd"}[compressed]
    if docker:
        return DOCKER_LAYER + (f".{suffix}" if suffix else "")
    return OCI_LAYER + (f"+{suffix}" if suffix else "")
