"""Downloads: fetched once, asked for again, verified, and given to nobody who should not ask."""

import base64
import gzip
import hashlib
import threading

import pytest
from processes import until

from registry.remote.settings import Settings
from registry.remote.transport import Transport
from wcbuild.context.http import Downloads, sweep
from wcbuild.errors import CancelledError, RemoteError

DATE = "Sun, 02 Feb 2020 02:02:02 GMT"
QUICK = {"retry_wait_s": 0.01, "retry_budget_s": 300.0}


@pytest.fixture
def downloads(tmp_path):
    def make(secrets=None, **settings):
        settings = Settings(plain=True, **(QUICK | settings))
        return Downloads(tmp_path / "downloads", lambda: Transport(settings), secrets or {})

    return make


def fetch(downloads, url, checksum=""):
    return downloads.fetch(url, checksum, threading.Event())


def sha(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def test_keeps_bytes_digest_and_time(web, downloads):
    url = web.put("/f", b"hello", headers={"Last-Modified": DATE})
    found = fetch(downloads(), url)
    assert (found.path.read_bytes(), found.digest, found.size) == (b"hello", sha(b"hello"), 5)
    assert found.modified == 1580608922


def test_a_file_without_a_date_has_none(web, downloads):
    for date in ({}, {"Last-Modified": "yesterday"}):
        assert fetch(downloads(), web.put("/f", b"x", headers=date)).modified == 0


def test_asks_whether_a_file_has_changed_and_takes_the_old_one_if_not(web, downloads):
    url = web.put("/f", b"hello", headers={"ETag": '"one"', "Last-Modified": DATE})
    first = fetch(downloads(), url)
    assert fetch(downloads(), url) == first
    assert [each.status for each in web.asked] == [200, 304]
    assert web.asked[1].headers["if-none-match"] == '"one"'
    assert web.asked[1].headers["if-modified-since"] == DATE


def test_takes_the_new_file_when_the_tag_has_changed(web, downloads):
    url = web.put("/f", b"old", headers={"ETag": '"one"'})
    fetch(downloads(), url)
    web.put("/f", b"new", headers={"ETag": '"two"'})
    assert fetch(downloads(), url).path.read_bytes() == b"new"


def test_takes_nothing_for_unchanged_that_has_another_tag(web, downloads):
    url = web.put("/f", b"old", headers={"ETag": '"one"'})
    fetch(downloads(), url)
    page = web.put_page("/f", b"new", headers={"ETag": '"two"'})
    page.fail.append(304)
    assert fetch(downloads(), url).path.read_bytes() == b"new"
    assert [each.status for each in web.asked] == [200, 304, 200]
    assert "if-none-match" not in web.asked[2].headers


def test_takes_weak_and_strong_tags_for_the_same(web, downloads):
    url = web.put("/f", b"text", headers={"ETag": 'W/"one"'})
    fetch(downloads(), url)
    web.put_page("/f", b"text", headers={"ETag": '"one"'}).fail.append(304)
    fetch(downloads(), url)
    assert [each.status for each in web.asked] == [200, 304]


def test_takes_the_old_file_from_a_server_that_sends_one_of_the_same_tag_again(web, downloads):
    url = web.put("/f", b"text", headers={"ETag": '"one"'})
    first = fetch(downloads(), url)
    page = web.put_page("/f", b"as long as you like" * 1000, headers={"ETag": '"one"'})
    page.fail += [203, 203]
    assert fetch(downloads(), url) == first
    with pytest.raises(RemoteError, match="expected checksum"):
        fetch(downloads(), url, sha(b"other"))
    assert [each.status for each in web.asked] == [200, 203, 203]


def test_a_file_that_was_compressed_on_the_road_is_what_it_was_before(web, downloads):
    body = gzip.compress(b"text" * 100)
    url = web.put("/f", body, headers={"Content-Encoding": "gzip"})
    found = fetch(downloads(), url, sha(b"text" * 100))
    assert (found.path.read_bytes(), found.size) == (b"text" * 100, 400)
    # Others say of an archive that it is one.
    url = web.put("/f.gz", body, headers={"Content-Encoding": "x-gzip"})
    assert fetch(downloads(), url).path.read_bytes() == body


def test_takes_every_answer_that_is_the_file(web, downloads):
    for status in (200, 201, 203):
        assert fetch(downloads(), web.put(f"/{status}", b"x", status=status)).size == 1
    for status in (206, 300, 302, 304):
        with pytest.raises(RemoteError, match=f"answered {status}"):
            fetch(downloads(), web.put(f"/{status}", b"x", status=status))


def test_fetches_again_what_is_damaged_here(web, downloads):
    url = web.put("/f", b"hello", headers={"ETag": '"one"'})
    path = fetch(downloads(), url).path
    path.chmod(0o600)
    path.write_bytes(b"he")
    assert fetch(downloads(), url).path.read_bytes() == b"hello"
    assert [each.status for each in web.asked] == [200, 200]


def test_a_record_that_cannot_be_read_is_none(web, downloads, tmp_path):
    url = web.put("/f", b"hello", headers={"ETag": '"one"'})
    fetch(downloads(), url)
    [record] = [path for path in (tmp_path / "downloads").iterdir() if path.is_file()]
    record.write_bytes(b"{}")
    assert fetch(downloads(), url).path.read_bytes() == b"hello"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_nobody_is_asked_for_a_file_whose_checksum_is_known(web, downloads, algorithm):
    url = web.put("/f", b"hello")
    checksum = sha(b"hello", algorithm)
    found = fetch(downloads(), url, checksum)
    assert downloads().find(url, checksum) == found
    assert fetch(downloads(), url, checksum) == found
    assert len(web.asked) == 1
    assert downloads().find(url, "") is None


def test_a_checksum_is_computed_of_what_is_here_already(web, downloads):
    url = web.put("/f", b"hello", headers={"ETag": '"one"'})
    fetch(downloads(), url)
    fetch(downloads(), url, sha(b"hello", "sha512"))
    with pytest.raises(RemoteError, match="expected checksum"):
        fetch(downloads(), url, sha(b"other", "sha512"))
    assert [each.status for each in web.asked] == [200, 304, 304]


def test_keeps_nothing_whose_checksum_differs(web, downloads, tmp_path):
    url = web.put("/f", b"hello")
    with pytest.raises(RemoteError) as caught:
        fetch(downloads(), url, sha(b"other"))
    assert caught.value.reason == f"expected checksum {sha(b'other')}, received {sha(b'hello')}"
    assert [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == []


def test_says_what_the_server_answered(web, downloads):
    with pytest.raises(RemoteError) as caught:
        fetch(downloads(), f"{web.url}/missing?token=hush")
    assert str(caught.value).endswith(f"{web.host} answered 404")


@pytest.mark.parametrize("status", [401, 403])
def test_says_which_secret_a_server_that_wants_to_know_who_asks_may_be_told(web, downloads, status):
    url = web.put("/f", b"", status=status)
    secret = f"HTTP_AUTH_TOKEN_{web.host}"
    with pytest.raises(RemoteError) as caught:
        fetch(downloads(), url)
    hint = f" (--secret id={secret},src=FILE gives a bearer token for it)"
    assert caught.value.reason == f"{web.host} answered {status}{hint}"
    # Not where one was told already.
    with pytest.raises(RemoteError) as caught:
        fetch(downloads({secret: b"token"}), url)
    assert caught.value.reason == f"{web.host} answered {status}"


def test_tries_again_after_a_refusal_that_may_pass_and_after_a_break(web, downloads):
    url = web.put("/f", b"hello" * 1000, fail=[503], cut=[100, 2000])
    assert fetch(downloads(), url).size == 5000
    assert [each.status for each in web.asked] == [503, 200, 200, 200]


def test_gives_up_after_some_tries(web, downloads):
    url = web.put("/f", b"hello" * 1000, cut=[100] * 50)
    with pytest.raises(RemoteError, match="3 tries"):
        fetch(downloads(attempts=3), url)


def test_a_server_that_says_nothing_is_not_waited_for(web, downloads):
    url = web.put("/f", b"x" * 100, pause_s=120)
    with pytest.raises(RemoteError, match=r"in time|bytes in"):
        fetch(downloads(attempts=1, stall_timeout_s=0.5), url)


def test_nobody_waits_for_a_download_that_was_cancelled(web, downloads):
    cancel = threading.Event()
    url = web.put("/f", b"x" * 12_000, pause_s=0.05)
    threading.Thread(target=lambda: until(web.paths) and cancel.set()).start()
    with pytest.raises(CancelledError):
        downloads().fetch(url, "", cancel)


def test_follows_redirects_but_not_for_ever(web, downloads):
    web.put("/f", b"hello")
    url = web.redirect("/r", "/f")
    assert fetch(downloads(), url).path.read_bytes() == b"hello"
    with pytest.raises(RemoteError, match="redirects"):
        fetch(downloads(), web.redirect("/loop", "/loop"))


def test_user_and_password_of_a_url_become_a_header_and_are_shown_nowhere(web, downloads, tmp_path):
    web.put("/f", b"hello")
    url = f"http://me:hu%40sh@{web.host}/f"
    fetch(downloads(), url)
    expected = base64.b64encode(b"me:hu@sh").decode()
    assert web.asked[0].headers["authorization"] == f"Basic {expected}"
    with pytest.raises(RemoteError) as caught:
        fetch(downloads(), url.replace("/f", "/missing"))
    assert "sh@" not in str(caught.value)
    written = b"".join(p.read_bytes() for p in (tmp_path / "downloads").rglob("*") if p.is_file())
    assert b"hu%40sh" not in written


@pytest.mark.parametrize(
    ("name", "value", "header"),
    [
        ("HTTP_AUTH_TOKEN_{host}", b"t0ken\n", "Bearer t0ken"),
        ("HTTP_AUTH_TOKEN_127.0.0.1", b"t0ken", "Bearer t0ken"),
        ("HTTP_AUTH_HEADER_{host}", b"Custom t0ken", "Custom t0ken"),
    ],
)
def test_a_secret_is_sent_to_its_host_and_no_other(web, downloads, name, value, header):
    secrets = {name.format(host=web.host): value, "HTTP_AUTH_TOKEN_example.invalid": b"other"}
    fetch(downloads(secrets), web.put("/f", b"hello"))
    assert web.asked[0].headers["authorization"] == header
    fetch(downloads({"HTTP_AUTH_TOKEN_example.invalid": b"other"}), web.put("/g", b"hello"))
    assert "authorization" not in web.asked[1].headers


def test_sweeping_deletes_what_no_url_leads_to_any_more(web, downloads, tmp_path):
    url = web.put("/f", b"old", headers={"ETag": '"one"'})
    old = fetch(downloads(), url).path
    web.put("/f", b"new!", headers={"ETag": '"two"'})
    new = fetch(downloads(), url).path
    assert sweep(tmp_path / "downloads") == 3
    assert not old.exists()
    assert new.exists()
    assert sweep(tmp_path / "nowhere") == 0
