"""Command lines of containerd's `ctr`, the way to run a container on Windows without code in between.

Each function returns what is to be started; nothing is. A RUN would be

    import_image    once for each base image; containerd unpacks it
    prepare         a scratch snapshot on top of the chain id that the step stands on
    mounts          where its layers are: `read_mounts`
    run             with the document of `wcbuild.windows_host.spec.runtime_spec`
    diff            the step's layer, on standard output
    remove          container and snapshot
"""

from __future__ import annotations

import json
import re

from registry.oci import mediatypes
from wcbuild.errors import SandboxError

NAMESPACE = "wcbuild"
_CTR = ("ctr", "--namespace", NAMESPACE)
_SNAPSHOTS = (*_CTR, "snapshots", "--snapshotter", "windows")
_MOUNT = re.compile(r"mount -t windows-layer (?P<rest>.*)")
_OPTIONS = re.compile(r" -o (?P<options>.*)\Z")
_PARENTS = re.compile(r"parentLayerPaths=(?P<paths>\[.*?\])")


def import_image(archive: str, name: str) -> list[str]:
    """Bring an image into containerd from an archive that `wcbuild save --format oci` wrote."""
    words = ("images", "import", "--snapshotter", "windows", "--index-name", name, archive)
    return [*_CTR, *words]


def prepare(key: str, parent: str) -> list[str]:
    """Make a writable snapshot on top of a chain id."""
    return [*_SNAPSHOTS, "prepare", key, parent]


def mounts(key: str, target: str) -> list[str]:
    """Print how a snapshot would be mounted on ``target``, a word without blanks."""
    return [*_SNAPSHOTS, "mounts", target, key]


def read_mounts(text: str, target: str) -> tuple[str, ...]:
    """Return the folders of a snapshot's layers from what `mounts` printed: scratch is the last.

    Raises:
        SandboxError: it printed something else.
    """
    found = _MOUNT.fullmatch(text.strip())
    options = _OPTIONS.search(found["rest"]) if found else None
    parents = _PARENTS.search(options["options"]) if options else None
    if not found or not options or not parents:
        raise SandboxError("read the mounts of a snapshot", f'ctr printed "{text.strip()[:200]}"')
    places = found["rest"][: options.start()]
    scratch = places.removesuffix(f" {target}")
    return (*map(str, json.loads(parents["paths"])), scratch)


def run(container: str, document: str) -> list[str]:
    """Run a container to its end with the runtime spec in the file ``document``."""
    return [*_CTR, "run", "--config", document, container]


def diff(key: str) -> list[str]:
    """Print a snapshot's changes as an uncompressed layer."""
    return [*_SNAPSHOTS, "diff", "--media-type", mediatypes.OCI_LAYER, key]


def remove(container: str, key: str) -> list[list[str]]:
    """Delete a container and the snapshot that it ran on."""
    return [[*_CTR, "containers", "rm", container], [*_SNAPSHOTS, "rm", key]]
