"""V84: words of a registry that would move the terminal."""

import pytest

from registry.errors import RegistryError
from registry.remote.errors import printable, redact

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\n\x9b1m\u202eevil\u2066\x00\x7f"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500])
@pytest.mark.parametrize("field", ["message", "code", "body"])
def test_attack_words_of_an_error_are_one_plain_line(
    repository, simulator, describe, status, field
):
    import json

    text = {"message": "x", "code": "X"} | {field: EVIL}
    body = json.dumps({"errors": [text]}).encode() if field != "body" else EVIL.encode()
    simulator.add_blob("team/app", b"content")
    simulator.fail_next("GET", status, 99, body=body, at="/blobs/")
    with pytest.raises(RegistryError) as caught:
        repository.open(describe(b"content"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("header", ["WWW-Authenticate", "Location", "Docker-Content-Digest"])
def test_attack_headers_are_one_plain_line(repository, simulator, header):
    value = EVIL.replace("\r\n", "").replace("\x00", "").encode().decode("latin-1")
    if header == "WWW-Authenticate":
        value = f'Bearer realm="https://{value}",service="{value}",scope="{value}:pull"'
    status = {"WWW-Authenticate": 401, "Location": 307}.get(header, 200)
    simulator.fail_next("HEAD", status, 9, {header: value})
    simulator.fail_next("GET", status, 9, {header: value}, at="/manifests/")
    with pytest.raises(RegistryError) as caught:
        repository.resolve("1")
    assert str(caught.value).isprintable()


def test_attack_urls_and_texts_are_printable():
    assert printable(EVIL).isprintable()
    assert redact(f"https://{EVIL}/{EVIL}?{EVIL}").isprintable()


def test_attack_tags_that_are_none_are_not_listed(repository, simulator):
    import json

    body = json.dumps({"tags": ["good", EVIL, "a b", "-x", ""]}).encode()
    simulator.fail_next("GET", 200, body=body, at="/tags/")
    assert list(repository.tags()) == ["good"]
