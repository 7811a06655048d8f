"""`wcbuild inspect`."""

from __future__ import annotations

import argparse
from typing import Any

from registry.image import read_document, read_image
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Index, Manifest
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.store import Source
from wcbuild.cli.format import documents
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_places
from wcbuild.places import DOCKER, STORE, Place, Places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="REF",
        help="names or image ids of the local store, or docker://REF, oci:DIR[:TAG], ...",
    )
    parser.add_argument(
        "--remote", action="store_true", help="ask registries; no layer is downloaded"
    )
    parser.add_argument(
        "--platform", default="", metavar="OS/ARCH", help="of an index, show this image"
    )
    parser.add_argument("-f", "--format", default="", metavar="TEMPLATE", help="json or a template")


def run(invocation: Invocation) -> int:
    """Print a JSON list with an object for each image."""
    args = invocation.args
    platform = Platform.parse(args.platform) if args.platform else None
    found = []
    with opened_places(invocation) as places:
        for name in args.names:
            place = Place.parse(name, default=DOCKER if args.remote else STORE)
            with places.reading(place) as source:
                found.append(_document(source, place, platform, places))
    invocation.stdout.write(documents(found, args.format))
    return 0


def _document(
    source: Source, place: Place, platform: Platform | None, places: Places
) -> dict[str, Any]:
    """Return what `docker image inspect` shows of an image, or an index or artifact as it is."""
    descriptor = source.resolve(place.wanted)
    if platform is not None:
        descriptor = read_image(source, descriptor, platform).descriptor
    inside = read_document(source, descriptor)
    is_image = isinstance(inside, Manifest) and inside.config.media_type in mediatypes.CONFIGS
    image = read_image(source, descriptor, None) if is_image else None
    image_id = image.id if image else descriptor.digest
    parts = inside.manifests if isinstance(inside, Index) else inside.layers
    tags, digests = _names(place, descriptor, image_id, places)
    document: dict[str, Any] = {
        "Id": image_id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Descriptor": descriptor.to_json(),
        "Size": sum(part.size for part in parts),
    }
    if isinstance(inside, Index):
        return document | {"Manifests": [part.to_json() for part in parts]}
    document["Layers"] = [part.to_json() for part in parts]
    if image is None:
        kind = inside.artifact_type or inside.config.media_type
        subject = inside.subject.to_json() if inside.subject else None
        annotations = dict(inside.annotations)
        return document | {"ArtifactType": kind, "Subject": subject, "Annotations": annotations}
    config = image.config
    return document | {
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "OsVersion": config.platform.os_version,
        "Config": _whole_config(config.config.to_json()),
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
    }


def _names(
    place: Place, descriptor: Descriptor, image_id: Digest, places: Places
) -> tuple[list[str], list[str]]:
    """Return an image's tags and digests: all of the local store's names, else the one asked for."""
    if place.kind == STORE:
        names = [
            record.reference
            for record in places.store.images()
            if record.image_id == image_id and record.reference is not None
        ]
    elif place.kind == DOCKER:
        names = [Reference.parse(str(place)).with_default_tag()]
    else:
        return [place.name] if place.name else [], []
    tags = [name.familiar for name in names if name.tag]
    return tags, sorted({f"{name.name}@{descriptor.digest}" for name in names})


def _whole_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with the fields that templates ask for most, even if they are empty."""
    empty: dict[str, Any] = {
        "User": "",
        "ExposedPorts": None,
        "Env": None,
        "Entrypoint": None,
        "Cmd": None,
        "Volumes": None,
        "WorkingDir": "",
        "Labels": None,
        "OnBuild": None,
    }
    return empty | config
