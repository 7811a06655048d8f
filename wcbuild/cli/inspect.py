"""`wcbuild inspect`."""

from __future__ import annotations

import argparse
from typing import Any

from wcbuild.cli.format import documents
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import Shown, opened_store, show
from wcbuild.store import LocalStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("names", nargs="+", metavar="REF", help="names or image ids")
    parser.add_argument("-f", "--format", default="", metavar="TEMPLATE", help="json or a template")


def run(invocation: Invocation) -> int:
    """Print a JSON list with an object for each image."""
    args = invocation.args
    with opened_store(invocation) as store:
        found = [_document(store, show(store, store.find(name))) for name in args.names]
    invocation.stdout.write(documents(found, args.format))
    return 0


def _document(store: LocalStore, shown: Shown) -> dict[str, Any]:
    """Return what `docker image inspect` shows of an image, or an index as it is."""
    record = shown.record
    names = [
        each.reference
        for each in store.images()
        if each.image_id == record.image_id and each.reference is not None
    ]
    document: dict[str, Any] = {
        "Id": record.image_id,
        "RepoTags": [name.familiar for name in names if name.tag],
        "RepoDigests": sorted({f"{name.name}@{record.descriptor.digest}" for name in names}),
        "Descriptor": record.descriptor.to_json(),
        "Size": shown.size,
    }
    if shown.image is None:
        index = store.index(record.descriptor)
        return document | {"Manifests": [entry.to_json() for entry in index.manifests]}
    config = shown.image.config
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
