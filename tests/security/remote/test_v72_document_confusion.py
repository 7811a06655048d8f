"""V72 (CVE-2021-41190): a document that is manifest and index at once; the Content-Type decides which."""

import json

import pytest

from registry.errors import InvalidDocumentError, RegistryError
from registry.oci import mediatypes
from registry.oci.digest import sha256

CONFIG = {"mediaType": mediatypes.OCI_CONFIG, "digest": sha256(b"{}"), "size": 2}
TYPES = (*mediatypes.MANIFESTS, *mediatypes.INDEXES)
BODIES = {
    "both": {"config": CONFIG, "layers": [], "manifests": []},
    "index with a config": {"config": CONFIG, "manifests": []},
    "index with layers": {"layers": [], "manifests": []},
    "manifest with manifests": {"config": CONFIG, "layers": [], "manifests": [CONFIG]},
    "first format and second": {"config": CONFIG, "layers": [], "fsLayers": [], "history": []},
}


@pytest.fixture
def serve(simulator):
    def do(body: dict, sent_as: str) -> str:
        raw = json.dumps(body).encode()
        return simulator.add_manifest("team/app", raw, sent_as, "1")

    return do


@pytest.mark.parametrize("sent_as", [*TYPES, mediatypes.DOCKER_SCHEMA1, "application/json"])
@pytest.mark.parametrize("body", [name for name in BODIES if name != "first format and second"])
def test_attack_ambiguous_document_is_refused_under_each_type(repository, serve, sent_as, body):
    digest = serve({"schemaVersion": 2, **BODIES[body]}, sent_as)
    for name in ("1", digest):
        with pytest.raises(InvalidDocumentError, match="manifest and an index at once"):
            repository.open(repository.resolve(name))


@pytest.mark.parametrize("sent_as", TYPES)
def test_attack_first_format_inside_the_second_is_no_first_format(repository, serve, sent_as):
    digest = serve({"schemaVersion": 1, **BODIES["first format and second"]}, sent_as)
    with pytest.raises(InvalidDocumentError):
        repository.open(repository.resolve(digest))


@pytest.mark.parametrize("inside", TYPES)
@pytest.mark.parametrize("sent_as", TYPES)
def test_attack_type_inside_that_is_not_the_one_sent_is_refused(repository, serve, inside, sent_as):
    is_index = mediatypes.is_index(inside)
    body = {"manifests": []} if is_index else {"config": CONFIG, "layers": []}
    serve({"schemaVersion": 2, "mediaType": inside, **body}, sent_as)
    if inside == sent_as:
        assert repository.open(repository.resolve("1")).read()
    else:
        with pytest.raises(RegistryError):
            repository.open(repository.resolve("1"))
