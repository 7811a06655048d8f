"""V86 (as CVE-2021-20206): names of credential helpers that lead to other programs."""

import json

import pytest

from registry.remote.credentials import Credential, Credentials, CredentialsError, Secret

NAMES = ("../../tmp/x", "x y", "-h", "", "/tmp/x", "x;id", "$(id)", "x\n", ".x", "..", "x/../y", 3)


@pytest.fixture
def canary(tmp_path):
    """Programs everywhere that such a name could lead, and the file that they would write."""
    for place in ("bin", "tmp", "."):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        for name in ("docker-credential-x", "x", "docker-credential-"):
            (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
            (folder / name).chmod(0o755)
    yield
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name != ""])
@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_attack_helper_name_that_is_no_name_is_refused(tmp_path, canary, key, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = name if key == "credsStore" else {"a.example": name}
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({key: value}))
    environment = {"HOME": str(tmp_path), "PATH": f".::{tmp_path}/bin/"}
    credentials = Credentials.from_environment(environment)
    with pytest.raises(CredentialsError, match="is no credential helper's name") as caught:
        credentials.find("a.example")
    assert str(caught.value).isprintable()
    with pytest.raises(CredentialsError):
        credentials.save("a.example", Credential(username="ali", password=Secret("x")))


def test_attack_registry_name_with_a_newline_does_not_reach_a_helper(tmp_path):
    """As git's CVE-2020-5260: a second line would be another field."""
    from registry.errors import RegistryError
    from registry.reference import Reference

    with pytest.raises(RegistryError):
        Reference.parse("a.example\nhost=b.example/app")
