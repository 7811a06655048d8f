"""V85: secrets in files that others can read, in logs, error texts and tracebacks."""

import logging
import os
import stat
import traceback

import pytest

from registry.errors import RegistryError
from registry.reference import Reference
from registry.remote.credentials import Credential, Credentials, Secret

PASSWORD = "open sesame"
SIGNATURE = "topsecretsignature"


def test_attack_credentials_file_that_all_could_read_is_made_private(tmp_path):
    path = tmp_path / ".docker" / "config.json"
    path.parent.mkdir(mode=0o755)
    path.write_text("{}")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        credentials = Credentials.from_environment({"HOME": str(tmp_path)})
        credentials.save("a.example", Credential(username="ali", password=Secret(PASSWORD)))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir() if ".new" in entry.name] == []


@pytest.fixture
def failing(simulator, new_simulator, new_client, at, ali, describe):
    """Ways to fail with secrets in hand."""
    simulator.add_blob("team/app", b"content")
    client = new_client({simulator.host: ali})
    repository = client.repository(at("team/app"))
    blob = describe(b"content")

    def redirected_to_nobody():
        gone = new_simulator()
        gone.stop()
        simulator.redirect_blobs(f"{gone.url}/x?X-Amz-Signature={SIGNATURE}&sig={SIGNATURE}")
        repository.open(blob)

    def redirected_to_a_refusal():
        storage = new_simulator()
        storage.fail_next("GET", 403, 99, at="/x")
        simulator.redirect_blobs(f"{storage.url}/x?X-Amz-Signature={SIGNATURE}")
        repository.open(blob)

    def redirected_to_an_impossible_url():
        simulator.redirect_blobs(f"https://user:{SIGNATURE}@127.0.0.1/x?sig={SIGNATURE}")
        repository.open(blob)

    def wrong_password():
        simulator.require_basic("ali", "other")
        repository.open(blob)

    def wrong_password_for_a_token():
        simulator.require_token("ali", "other")
        repository.open(blob)

    def broken_token():
        simulator.require_token("ali", PASSWORD)
        simulator.fail_next("GET", 200, 9, body=b'{"token": "a\\nb"}', at="/token")
        repository.open(blob)

    def proxy_that_is_gone():
        gone = new_simulator()
        gone.stop()
        environment = {"https_proxy": f"http://ali:{SIGNATURE}@{gone.host}"}
        other = new_client(environment=environment)
        other.repository(Reference.parse("registry.example.com/team/app")).open(blob)

    def upload_location_with_state():
        simulator.cut_upload_after(0, 99)
        simulator.cut_upload_after(0, 99, method="PUT")
        import io

        state = f"/v2/team/app/blobs/uploads/1?_state={SIGNATURE}"
        simulator.fail_next("POST", 202, 99, {"Location": state}, at="/uploads/")
        repository.put(io.BytesIO(b"new"), describe(b"new"))

    return {name: value for name, value in locals().items() if callable(value)}


@pytest.mark.parametrize(
    "way",
    [
        "redirected_to_nobody",
        "redirected_to_a_refusal",
        "redirected_to_an_impossible_url",
        "wrong_password",
        "wrong_password_for_a_token",
        "broken_token",
        "proxy_that_is_gone",
        "upload_location_with_state",
    ],
)
def test_attack_no_secret_is_in_the_text_the_traceback_or_the_log(failing, way, caplog):
    caplog.set_level(logging.DEBUG, logger="registry")
    with pytest.raises(RegistryError) as caught:
        failing[way]()
    told = "".join(traceback.format_exception(caught.value))
    logged = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("registry"))
    for text in (str(caught.value), repr(caught.value), told, logged):
        assert SIGNATURE not in text
        assert PASSWORD not in text
        assert "b3BlbiBzZXNhbWU" not in text
        assert "Basic YWxp" not in text
