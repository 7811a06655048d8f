import pytest

from registry.oci import mediatypes


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layers_media_type_tells_its_compression(compression, docker):
    media_type = mediatypes.layer(compression, docker=docker)
    assert mediatypes.compression(media_type) == compression
    assert not mediatypes.is_foreign(media_type)
    assert ("docker" in media_type) is docker


def test_knows_layers_that_may_not_be_distributed():
    assert mediatypes.is_foreign(mediatypes.DOCKER_FOREIGN_LAYER_GZIP)
    assert mediatypes.is_foreign(mediatypes.OCI_FOREIGN_LAYER)
