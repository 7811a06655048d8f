"""From an image plan and layers to an image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

from registry.oci import mediatypes
from registry.oci.config import History, ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest, sha256
from registry.oci.manifest import Index, Manifest
from registry.store import BlobSink
from wcbuild.graph.plan import ImagePlan, PlannedHistory


def image_config(
    plan: ImagePlan,
    diff_ids: Sequence[DiffId],
    created_by_step: dict[int, str],
    *,
    epoch: str = "",
) -> ImageConfig:
    """Return the config of the planned image.

    ``created_by_step`` says when each step's layer was made (RFC 3339). Lines of history that have no
    step take the time of the layer before them, or of the first new one. Where nothing has a time the
    image has none: the same build gives the same image. ``epoch``, as SOURCE_DATE_EPOCH gives it, is
    the time of all the plan's lines.
    """
    new = [
        History(
            created=epoch or _time_of(line, created_by_step),
            created_by=line.created_by,
            comment=line.comment,
            empty_layer=not line.has_layer,
        )
        for line in plan.history
    ]
    history = _fill_times((*_padded(plan, len(diff_ids)), *new))
    return ImageConfig(
        platform=plan.platform,
        config=plan.config,
        diff_ids=tuple(diff_ids),
        history=history,
        created=history[-1].created if history else epoch,
        author=plan.author,
    )


def _time_of(line: PlannedHistory, created_by_step: dict[int, str]) -> str:
    return "" if line.step is None else created_by_step.get(line.step, "")


def _padded(plan: ImagePlan, layers: int) -> tuple[History, ...]:
    """Return the base's history with a line for each of its layers, as readers of images expect."""
    own = sum(line.has_layer for line in plan.history)
    told = sum(not line.empty_layer for line in plan.base_history)
    missing = max(0, layers - own - told)
    return (*plan.base_history, *[History(comment="buildkit.exporter.image.v0")] * missing)


def _fill_times(history: Sequence[History]) -> tuple[History, ...]:
    times = [line.created for line in history]
    first_gap = next((at for at, time in enumerate(times) if not time), len(times))
    before = next((time for time in reversed(times[:first_gap]) if time), "")
    # The first metadata lines belong to this build, not to the day the base image was made.
    current = next((time for time in times[first_gap:] if time), before)
    filled: list[History] = []
    for line in history:
        if line.created and len(filled) >= first_gap:
            current = line.created
        filled.append(line if line.created else replace(line, created=current))
    return tuple(filled)


def put_index(
    manifests: Sequence[Descriptor], into: BlobSink, annotations: Mapping[str, str] | None = None
) -> Descriptor:
    """Store an index of manifests, whose descriptors say their platforms."""
    index = Index.build(manifests=manifests, annotations=annotations)
    into.put(io.BytesIO(index.raw), index.descriptor)
    return index.descriptor


def put_image(
    config: ImageConfig,
    layers: Sequence[Descriptor],
    into: BlobSink,
    annotations: Mapping[str, str] | None = None,
) -> tuple[Descriptor, Digest]:
    """Store config and manifest; return the manifest's descriptor and the image id."""
    raw = config.encode()
    pointer = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=sha256(raw), size=len(raw))
    into.put(io.BytesIO(raw), pointer)
    manifest = Manifest.build(config=pointer, layers=layers, annotations=annotations)
    into.put(io.BytesIO(manifest.raw), manifest.descriptor)
    return manifest.descriptor, pointer.digest
