"""V73 (CVE-2024-3727): digest strings that nobody checked, used as paths and in URLs."""

import json
import time

import pytest

from registry.blobs import BlobDirectory
from registry.errors import InvalidDigestError, InvalidDocumentError, RegistryError
from registry.oci import mediatypes
from registry.oci.digest import Digest, sha256
from registry.reference import Reference

EVIL = (
    "sha256:../../x",
    "sha256:" + "../" * 21 + "x",
    "sha256:" + "A" * 64,
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "sha256:" + "0" * 63 + "\n",
    "sha256:" + "\u0660" * 64,
    "sha512:" + "0" * 64,
    "md5:" + "0" * 32,
    "sha256",
    ":",
    "",
    "../../etc:passwd",
    "sha256:" + "0" * 1_000_000,
)


@pytest.mark.parametrize("text", EVIL)
def test_attack_text_that_is_no_digest_becomes_none(text):
    begin = time.process_time()
    with pytest.raises(InvalidDigestError) as caught:
        Digest(text)
    assert time.process_time() - begin < 1
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("place", ["config", "layer", "entry"])
def test_attack_such_a_descriptor_is_refused_before_anything_is_asked_for(
    repository, simulator, text, place
):
    evil = {"mediaType": mediatypes.OCI_LAYER, "digest": text, "size": 2}
    good = {"mediaType": mediatypes.OCI_CONFIG, "digest": sha256(b"{}"), "size": 2}
    body = {
        "config": {"config": evil, "layers": []},
        "layer": {"config": good, "layers": [evil]},
        "entry": {"manifests": [evil]},
    }[place]
    kind = mediatypes.OCI_INDEX if place == "entry" else mediatypes.OCI_MANIFEST
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, **body}).encode()
    simulator.add_manifest("team/app", raw, kind, "1")
    with pytest.raises(InvalidDocumentError):
        repository.open(repository.resolve("1"))
    assert not simulator.sent("GET", "/blobs/")


@pytest.mark.parametrize("text", EVIL)
def test_attack_digest_a_registry_states_is_checked(repository, simulator, text):
    value = text.replace("\n", "")[:60_000].encode().decode("latin-1")
    raw = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    simulator.add_manifest("team/app", raw, mediatypes.OCI_INDEX, "1")
    simulator.say_too("HEAD", {"Docker-Content-Digest": value}, at="/manifests/")
    simulator.say_too("GET", {"Docker-Content-Digest": value}, at="/manifests/")
    if not value:
        assert repository.resolve("1").digest == sha256(raw)
        return
    with pytest.raises(RegistryError):
        repository.resolve("1")


@pytest.mark.parametrize("text", [text for text in EVIL if text])
def test_attack_such_a_reference_is_refused(text):
    with pytest.raises(RegistryError):
        Reference.parse(f"registry.example.com/app@{text}")


def test_a_blobs_path_stays_below_its_directory(tmp_path):
    path = BlobDirectory(tmp_path / "blobs").path(sha256(b"x"))
    assert path.parent == tmp_path / "blobs" / "sha256"
