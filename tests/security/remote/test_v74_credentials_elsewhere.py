"""V74 (CVE-2020-15157): credentials that reach another host than the one they are for."""

import contextlib
import io
from urllib.parse import urlsplit

import pytest

from registry.errors import RegistryError, UnreachableError
from registry.reference import Reference
from registry.remote.settings import Settings
from registry.remote.transport import check_url, origin


@pytest.fixture
def blob(simulator, describe):
    simulator.add_blob("team/app", b"content")
    return describe(b"content")


@pytest.fixture(params=["basic", "token"])
def asking(request, simulator):
    """A registry that asks for ali's password, in each way."""
    if request.param == "basic":
        simulator.require_basic("ali", "open sesame")
    else:
        simulator.require_token("ali", "open sesame")
    return simulator


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("wants", ["nothing", "basic", "token"])
def test_attack_redirected_download_carries_nothing(
    asking, new_simulator, new_client, at, ali, blob, status, wants
):
    thief = new_simulator()
    thief.storage["x"] = b"content"
    if wants == "basic":
        thief.fail_next("GET", 401, 9, {"WWW-Authenticate": 'Basic realm="x"'})
    elif wants == "token":
        challenge = f'Bearer realm="{thief.url}/token",service="x"'
        thief.fail_next("GET", 401, 9, {"WWW-Authenticate": challenge}, at="/storage/")
    client = new_client({asking.host: ali, thief.host: ali})
    repository = client.repository(at("team/app"))
    assert repository.has(blob)
    asking.fail_next("GET", status, 9, {"Location": f"{thief.url}/storage/x"}, at="/blobs/")
    if wants == "nothing":
        assert repository.open(blob).read() == b"content"
    else:
        with pytest.raises(RegistryError):
            repository.open(blob)
    assert thief.requests
    assert not any(request.authorization for request in thief.requests)
    assert not thief.sent("GET", "/token")
    assert not any("Cookie" in request.headers for request in thief.requests)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_attack_redirected_upload_carries_nothing(
    asking, new_simulator, new_client, at, ali, describe, method
):
    thief = new_simulator()
    asking.fail_next(
        method, 307, 1, {"Location": f"{thief.url}/v2/x/blobs/uploads/"}, at="/uploads/"
    )
    repository = new_client({asking.host: ali, thief.host: ali}).repository(at("team/app"))
    raw = b"x" * 2_000_000
    with contextlib.suppress(RegistryError):  # the registry may have its blobs stored elsewhere
        repository.put(io.BytesIO(raw), describe(raw))
    assert thief.requests
    assert not any(request.authorization for request in thief.requests)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://a.example:443/y", True),
        ("https://a.example", "https://A.EXAMPLE", True),
        ("http://a.example", "http://a.example:80", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:444", False),
        ("https://a.example", "https://b.a.example", False),
        ("https://b.a.example", "https://a.example", False),
        ("https://a.example", "https://a.example.evil.example", False),
    ],
)
def test_what_counts_as_the_same_place(one, other, same):
    assert (origin(urlsplit(one)) == origin(urlsplit(other))) is same


@pytest.mark.parametrize(
    "url",
    [
        "https://user@evil.example/",
        "https://registry.example.com@evil.example/",
        "https://evil.example\\@registry.example.com/",
        "https://registry.example.com\t.evil.example/",
        "//evil.example/x",
    ],
)
def test_attack_urls_that_parsers_disagree_about_are_refused(url):
    with pytest.raises(UnreachableError):
        check_url(url, Settings(), sender=urlsplit("https://registry.example.com/v2/"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "https://localhost/", "https://[::1]/"])
def test_attack_another_machine_cannot_send_us_to_our_own(url):
    """Programs that listen on this machine alone trust whoever gets there."""
    with pytest.raises(UnreachableError, match=r"is this machine|leave HTTPS"):
        check_url(url, Settings(), sender=urlsplit("https://registry.example.com/v2/"))
    here = urlsplit("http://127.0.0.1:5000/v2/")
    assert check_url(url, Settings(), sender=here)


def test_credentials_of_one_registry_are_not_sent_to_another(
    asking, new_simulator, new_client, ali, describe
):
    other = new_simulator()
    other.require_basic("ali", "open sesame")
    client = new_client({asking.host: ali})
    with pytest.raises(RegistryError):
        client.repository(Reference.parse(f"{other.host}/team/app")).has(describe(b"x"))
    assert not any(request.authorization for request in other.requests)
