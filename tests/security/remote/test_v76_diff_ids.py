"""V76: a layer whose blob is the right one and whose tar is not what the config says."""

import gzip
import hashlib
import json

import pytest

from registry.copy import copy
from registry.errors import DigestMismatchError
from registry.image import open_layer, read_image
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.manifest import Manifest


@pytest.mark.parametrize("kind", [mediatypes.OCI_LAYER_GZIP, mediatypes.DOCKER_LAYER_GZIP])
def test_attack_layer_that_is_not_its_diff_id_fails_when_it_is_unpacked(
    repository, simulator, describe, kind
):
    blob = gzip.compress(bytes(10_240))
    other = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [other]},
            "config": {},
        }
    ).encode()
    for raw in (blob, config):
        simulator.add_blob("team/app", raw)
    manifest = Manifest.build(
        config=describe(config, mediatypes.OCI_CONFIG), layers=[describe(blob, kind)]
    )
    simulator.add_manifest("team/app", manifest.raw, manifest.media_type, "1")
    pulled = MemoryStore()
    copy(repository, pulled, repository.resolve("1"))
    image = read_image(pulled, manifest.descriptor, None)
    with pytest.raises(DigestMismatchError, match="uncompressed"):
        open_layer(pulled, image.layers[0]).read()
