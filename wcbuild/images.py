"""From what the steps of a build gave to its images in the local store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.store import BlobSink
from wcbuild.annotations import Annotation, Level, select
from wcbuild.assemble import image_config, put_image, put_index
from wcbuild.graph.plan import ImagePlan
from wcbuild.solve.results import FileSystem, Result

MoreAnnotations = Callable[[FileSystem, Sequence[Descriptor]], dict[str, str]]
"""Returns annotations of an image's manifest, from its files and the blobs of its layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """One platform's image."""

    platform: Platform
    descriptor: Descriptor
    image_id: Digest
    files: FileSystem


def put_built(
    plan: ImagePlan,
    results: Sequence[Result],
    into: BlobSink,
    annotations: Sequence[Annotation],
    *,
    epoch: str = "",
    located: Callable[[Descriptor], Descriptor | None] | None = None,
    more: MoreAnnotations | None = None,
) -> BuiltImage:
    """Store a planned image, whose steps gave ``results``.

    ``epoch`` is as `image_config` has it. ``located`` says which blob a layer is, if it is
    not as the results say.
    """
    files = results[plan.rootfs]
    if not isinstance(files, FileSystem):
        raise TypeError(files)
    layers = files.layers()
    created = {}
    for line in plan.history:
        made = results[line.step] if line.step is not None else None
        if line.step is not None and isinstance(made, FileSystem) and made.layer is not None:
            created[line.step] = made.layer().created
    config = image_config(plan, [layer.diff_id for layer in layers], created, epoch=epoch)
    blobs = [layer.descriptor for layer in layers]
    if located is not None:
        blobs = [located(blob) or blob for blob in blobs]
    own = select(annotations, Level.MANIFEST, plan.platform)
    if more is not None:
        own |= more(files, blobs)
    descriptor, image_id = put_image(config, blobs, into, own)
    described = replace(
        descriptor,
        platform=plan.platform,
        annotations=select(annotations, Level.MANIFEST_DESCRIPTOR, plan.platform),
    )
    return BuiltImage(platform=plan.platform, descriptor=described, image_id=image_id, files=files)


def put_built_index(
    images: Sequence[BuiltImage], into: BlobSink, annotations: Sequence[Annotation]
) -> Descriptor:
    """Store an index of images."""
    manifests = [image.descriptor for image in images]
    index = put_index(manifests, into, select(annotations, Level.INDEX))
    return replace(index, annotations=select(annotations, Level.INDEX_DESCRIPTOR))
