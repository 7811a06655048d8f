"""Memory stays small whatever the blob's size: measured in a process of its own, against a real registry."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.peers, pytest.mark.slow]

LIMIT_MIB = 64

MEASURE = """
import io, os, sys
from pathlib import Path
from registry.copy import Recompress, copy
from registry.layout import OciLayout
from registry.reference import Reference
from registry.oci import mediatypes
from registry.oci.manifest import Manifest
from wcbuild.access import RegistryAccess, open_client
from wcbuild.store import open_store

def resident(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) // 1024

verb, folder, name, codec = sys.argv[1:]
client = open_client(RegistryAccess())
reference = Reference.parse(name)
begin = resident("VmRSS:")
if verb == "push":
    source = OciLayout(Path(folder))
    recompress = Recompress(codec=codec) if codec != "none" else None
    root = source.resolve("1")
    copy(source, client.repository(reference), root, tags=("1",), recompress=recompress)
elif verb == "copy":
    source, target = client.source(reference), client.repository(Reference.parse(folder))
    copy(source, target, source.resolve("1"), tags=("1",))
else:
    store = open_store(Path(folder))
    source = client.source(reference)
    copy(source, store, source.resolve("1"))
print(resident("VmHWM:") - begin)
"""


@pytest.fixture
def layout(tmp_path, describe):
    """An image with one blob of a gigabyte, which is sparse, and three smaller ones."""
    import hashlib

    from registry.layout import OciLayout
    from registry.oci import mediatypes
    from registry.oci.descriptor import Descriptor
    from registry.oci.digest import Digest
    from registry.oci.manifest import Manifest

    layout = OciLayout(tmp_path / "layout")
    layers = []
    for size in (1 << 30, 1 << 26, (1 << 26) + 1, (1 << 26) + 2):
        path = tmp_path / "sparse"
        with path.open("wb") as file:
            file.truncate(size)
        with path.open("rb") as file:
            digest = Digest("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())
        target = tmp_path / "layout" / "blobs" / "sha256" / digest.hex
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        layers.append(Descriptor(media_type=mediatypes.OCI_LAYER, digest=digest, size=size))
    import io

    config = describe(b"{}", mediatypes.OCI_CONFIG)
    layout.put(io.BytesIO(b"{}"), config)
    manifest = Manifest.build(config=config, layers=layers)
    layout.put(io.BytesIO(manifest.raw), manifest.descriptor)
    layout.tag(manifest.descriptor, "1")
    return tmp_path / "layout"


@pytest.fixture
def measure(tmp_path):
    def do(*words: object) -> int:
        command = [sys.executable, "-c", MEASURE, *map(str, words)]
        done = subprocess.run(command, check=False, capture_output=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        return int(done.stdout)

    return do


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_memory_stays_small_while_pushing(measure, layout, new_docker_registry, codec):
    name = f"{new_docker_registry()}/team/app:1"
    assert measure("push", layout, name, codec) < LIMIT_MIB


def test_memory_stays_small_between_registries(measure, layout, new_docker_registry):
    name, other = (f"{new_docker_registry()}/team/app:1" for _ in range(2))
    measure("push", layout, name, "none")
    assert measure("copy", other, name, "none") < LIMIT_MIB


def test_memory_stays_small_while_pulling(measure, layout, new_docker_registry, tmp_path):
    name = f"{new_docker_registry()}/team/app:1"
    measure("push", layout, name, "none")
    assert measure("pull", tmp_path / "store", name, "none") < LIMIT_MIB
