"""Networks and registries that fail on the way; the numbers are those of the fault catalogue."""

import concurrent.futures
import io
import random
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from clients import IMPATIENT, QUICK
from processes import until
from rawserver import RawServer

from registry.copy import copy
from registry.errors import (
    DigestMismatchError,
    ProtocolError,
    SizeMismatchError,
    UnreachableError,
)
from registry.image import check_image, read_image
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.manifest import Index, Manifest
from registry.reference import Reference
from registry.remote import transport
from registry.remote.transport import Backoff
from registry.store import verifying

BLOB = random.Random(1).randbytes(3_000_000)
UPLOAD = "/blobs/uploads/"


@pytest.fixture
def blob(simulator, describe):
    simulator.add_blob("team/app", BLOB)
    return describe(BLOB)


class Once(io.RawIOBase):
    """A stream that cannot be read twice."""

    def __init__(self, raw):
        self._stream = io.BytesIO(raw)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._stream.read(size)


# F21: the connection ends after N bytes


@pytest.mark.parametrize("size", [0, 1, len(BLOB) // 2, len(BLOB) - 1])
def test_f21_download_goes_on_where_it_was_cut(repository, simulator, blob, size):
    simulator.cut_after(size)
    assert repository.open(blob).read() == BLOB
    first, second = simulator.sent("GET", "/blobs/")
    assert "Range" not in first.headers
    begin = second.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
    assert int(begin) == size


def test_f21_many_cuts_are_survived_while_there_is_progress(repository, simulator, describe):
    raw = random.Random(2).randbytes(12_000_000)
    simulator.add_blob("team/app", raw)
    simulator.cut_after(1_100_000, times=10)
    assert repository.open(describe(raw)).read() == raw


def test_f21_gives_up_without_progress_and_says_how_far_it_came(repository, simulator, blob):
    simulator.cut_after(1000, times=100)
    with pytest.raises(UnreachableError) as caught, repository.open(blob) as stream:
        stream.read()
    assert "4000 of 3000000 bytes" in str(caught.value)
    assert "4 tries" in str(caught.value)
    assert str(blob.digest) in str(caught.value)


def test_f21_a_manifest_cut_short_is_asked_for_again(repository, simulator):
    index = Index.build(manifests=[])
    simulator.add_manifest("team/app", index.raw, index.media_type, "1")
    simulator.cut_after(5, at="/manifests/")
    assert repository.open(index.descriptor).read() == index.raw


def test_a_download_can_be_read_again_from_its_start(repository, blob):
    with repository.open(blob) as stream:
        assert stream.read(10) == BLOB[:10]
        stream.seek(0)
        assert stream.read() == BLOB


# F22: ranges that are ignored or wrong


def test_f22_registry_that_ignores_range_is_read_from_the_start(repository, simulator, blob):
    simulator.ranges = False
    simulator.cut_after(2_000_000, times=2)
    assert repository.open(blob).read() == BLOB


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-2999999/3000000",
        "bytes 1000001-2999999/3000000",
        "bytes 1000000-2999999/4000000",
        "bytes 1000000-3999999/*",
        "1000000-2999999/3000000",
        "",
    ],
)
def test_f22_partial_answer_that_does_not_fit_is_never_spliced_in(
    repository, simulator, blob, content_range
):
    simulator.cut_after(1_000_000)
    wrong = {"Content-Range": content_range}
    with repository.open(blob) as stream:
        simulator.fail_next("GET", 206, 1, wrong, body=b"evil" * 500_000, at="/blobs/")
        assert stream.read() == BLOB


def test_f22_refused_range_leads_to_a_whole_download(repository, simulator, blob):
    simulator.cut_after(1_000_000)
    with repository.open(blob) as stream:
        simulator.fail_next("GET", 416, at="/blobs/")
        assert stream.read() == BLOB


def test_f22_partial_answer_to_a_whole_request_is_an_error(repository, simulator, blob):
    simulator.fail_next("GET", 206, 1, {"Content-Range": "bytes 0-1/2"}, body=b"xx", at="/blobs/")
    with pytest.raises(ProtocolError, match="206"):
        repository.open(blob)


# F23: other content after the break


def test_f23_blob_that_changes_between_two_tries_is_refused(repository, simulator, blob):
    simulator.cut_after(1_000_000)
    with repository.open(blob) as stream:
        simulator.repositories["team/app"].blobs[blob.digest] = bytes(len(BLOB))
        with pytest.raises(DigestMismatchError):
            stream.read()


def test_attack_announced_length_that_is_not_the_size_is_refused_at_once(
    repository, simulator, blob
):
    simulator.repositories["team/app"].blobs[blob.digest] = BLOB + b"x"
    with pytest.raises(SizeMismatchError):
        repository.open(blob)


# F24: too many requests, server errors


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_f24_short_trouble_is_waited_for(repository, simulator, blob, status):
    simulator.fail_next("GET", status, times=2, at="/blobs/")
    simulator.fail_next("HEAD", status, times=2)
    assert repository.has(blob)
    assert repository.open(blob).read() == BLOB


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_f24_short_trouble_while_uploading_is_waited_for(
    repository, simulator, describe, method, status
):
    simulator.fail_next(method, status, times=2, at=UPLOAD)
    repository.put(io.BytesIO(b"uploaded"), describe(b"uploaded"))
    assert simulator.repositories["team/app"].blobs == {describe(b"uploaded").digest: b"uploaded"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_f24_short_trouble_amid_an_upload_is_waited_for_and_what_is_there_stays(
    repository, simulator, describe, status
):
    simulator.cut_upload_after(1_000_000)
    simulator.fail_next("GET", status, times=2, at=UPLOAD)
    simulator.fail_next("PATCH", status, at=UPLOAD)
    raw = random.Random(24).randbytes(4_000_000)
    repository.put(io.BytesIO(raw), describe(raw))
    assert simulator.repositories["team/app"].blobs == {describe(raw).digest: raw}
    last = simulator.sent("PATCH", UPLOAD)[-1]
    assert last.headers["Content-Range"] == "1000000-3999999"


def test_f24_lasting_trouble_is_told_in_the_registrys_words(repository, simulator, blob):
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your limit"}]}'
    simulator.fail_next("GET", 429, times=100, body=body, at="/blobs/")
    with pytest.raises(UnreachableError, match="429 TOOMANYREQUESTS: you have reached your limit"):
        repository.open(blob)
    assert len(simulator.sent("GET", "/blobs/")) <= 16


NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def pauses(monkeypatch):
    """Have all waits between tries noted, and over at once; the day is `NOW`."""
    noted: list[float] = []
    clock = SimpleNamespace(sleep=noted.append, monotonic=time.monotonic, time=NOW.timestamp)
    monkeypatch.setattr(transport, "time", clock)
    return noted


@pytest.mark.parametrize(
    "retry_after", ["7", format_datetime(NOW + timedelta(seconds=7), usegmt=True)]
)
def test_f24_waits_as_long_as_it_is_asked_to(repository, simulator, blob, pauses, retry_after):
    simulator.fail_next("HEAD", 429, headers={"Retry-After": retry_after})
    assert repository.has(blob)
    assert pauses == [7]


@pytest.mark.parametrize(
    "retry_after",
    ["soon", "-5", "0", "\u0665", "Fri, 01 Mar 2024 12:00:00 GMT"],
)
def test_f24_nonsense_in_retry_after_is_ignored(repository, simulator, blob, pauses, retry_after):
    value = retry_after.encode().decode("latin-1")
    simulator.fail_next("HEAD", 503, headers={"Retry-After": value})
    assert repository.has(blob)
    (pause,) = pauses
    assert pause <= QUICK.retry_wait_s


def test_f24_attack_retry_after_beyond_the_budget_is_not_waited_for(
    simulator, new_client, at, blob, pauses
):
    repository = new_client(retry_budget_s=20).repository(at("team/app"))
    simulator.fail_next("HEAD", 503, headers={"Retry-After": "999999999999999"}, times=9)
    with pytest.raises(ProtocolError, match="503"):
        repository.has(blob)
    assert pauses == []


# F25: tokens that end too soon


def test_f25_token_that_ends_during_a_download_is_renewed(new_client, simulator, at, ali, blob):
    simulator.require_token("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    assert repository.has(blob)
    simulator.cut_after(1_000_000)
    with repository.open(blob) as stream:
        simulator.expire_tokens()
        assert stream.read() == BLOB
    assert [r.headers.get("Range") for r in simulator.sent("GET", "/blobs/")][
        -1
    ] == "bytes=1000000-"


def test_f25_token_that_ends_during_an_upload_is_renewed(
    new_client, simulator, at, ali, describe, monkeypatch
):
    simulator.require_token("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    wait = Backoff.wait

    def expire_and_wait(self, retry_after=None):
        simulator.expire_tokens()
        return wait(self, retry_after)

    monkeypatch.setattr(Backoff, "wait", expire_and_wait)
    simulator.cut_upload_after(1_500_000)
    raw = random.Random(5).randbytes(2_000_000)
    repository.put(io.BytesIO(raw), describe(raw))
    assert repository.open(describe(raw)).read() == raw
    last = simulator.sent("PUT", UPLOAD)[-1]
    assert last.headers["Content-Range"] == "1500000-1999999", "what was there is not sent again"


def test_f25_token_refused_amid_an_upload_is_renewed(new_client, simulator, at, ali, describe):
    simulator.require_token("ali", "open sesame")
    repository = new_client({simulator.host: ali}).repository(at("team/app"))
    challenge = f'Bearer realm="{simulator.url}/token",service="simulator",error="invalid_token"'
    simulator.cut_upload_after(1_000_000)
    simulator.fail_next("PATCH", 401, 1, {"WWW-Authenticate": challenge}, at=UPLOAD)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert simulator.repositories["team/app"].blobs == {describe(BLOB).digest: BLOB}
    first, refused, last = simulator.sent("PATCH", UPLOAD)
    assert refused.headers["Content-Range"] == last.headers["Content-Range"] == "1000000-2999999"
    assert first.authorization == refused.authorization != last.authorization


# F26: uploads that break


@pytest.mark.parametrize("stored", [0, 1, 700_000, 1_900_000])
@pytest.mark.parametrize("wrapped", [False, True])
def test_f26_upload_goes_on_after_what_the_registry_has(
    repository, simulator, describe, stored, wrapped
):
    expected = describe(BLOB)
    simulator.cut_upload_after(stored)
    stream = io.BytesIO(BLOB)
    repository.put(verifying(stream, expected) if wrapped else stream, expected)
    assert simulator.repositories["team/app"].blobs == {expected.digest: BLOB}
    last = simulator.sent("PATCH", UPLOAD)[-1]
    sent = int(last.headers["Content-Length"])
    if stored > 1:
        assert sent == len(BLOB) - stored
        assert last.headers["Content-Range"] == f"{stored}-{len(BLOB) - 1}"


def test_f26_little_that_is_left_goes_with_the_put(repository, simulator, describe):
    simulator.cut_upload_after(len(BLOB) - 1)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert simulator.sent("PUT", UPLOAD)[-1].body == BLOB[-1:]


def test_f26_upload_that_ended_with_its_put_is_begun_again(repository, simulator, describe):
    simulator.cut_upload_after(700, method="PUT")
    repository.put(io.BytesIO(BLOB[:1000]), describe(BLOB[:1000]))
    assert repository.open(describe(BLOB[:1000])).read() == BLOB[:1000]


def test_f26_registry_that_claims_too_much_is_not_believed(repository, simulator, describe):
    simulator.cut_upload_after(700_000)
    simulator.say_too("GET", {"Range": "0-99999999"}, at=UPLOAD)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert repository.open(describe(BLOB)).read() == BLOB


def test_f26_begins_where_the_stream_was(repository, describe):
    stream = io.BytesIO(b"header" + BLOB)
    stream.seek(6)
    repository.put(stream, describe(BLOB))
    assert repository.open(describe(BLOB)).read() == BLOB


def test_f26_many_breaks_are_survived_while_there_is_progress(repository, simulator, describe):
    raw = random.Random(3).randbytes(12_000_000)
    simulator.cut_upload_after(1_100_000, times=10)
    repository.put(io.BytesIO(raw), describe(raw))
    assert repository.open(describe(raw)).read() == raw


def test_f26_stream_that_cannot_go_back_fails_and_leaves_no_session(
    repository, simulator, describe
):
    simulator.cut_upload_after(700_000)
    with pytest.raises(UnreachableError, match="connection"):
        repository.put(Once(BLOB), describe(BLOB))
    assert until(lambda: simulator.uploads == {})
    assert simulator.repositories["team/app"].blobs == {}


def test_f26_answer_that_is_lost_after_all_was_stored_is_success(repository, simulator, describe):
    simulator.lose_answer("PUT", at=UPLOAD)
    repository.put(Once(BLOB), describe(BLOB))
    assert len(simulator.sent("PUT", UPLOAD)) == 1


def test_f26_lost_answer_to_the_last_put_of_a_streamed_blob_is_success(
    repository, simulator, describe
):
    simulator.lose_answer("PUT", at=UPLOAD)
    assert repository.put_new(Once(BLOB), "text/plain").digest == describe(BLOB).digest


def test_f26_streamed_blob_is_sent_again_after_a_broken_connection(repository, simulator, describe):
    simulator.cut_upload_after(700_000, times=2)
    simulator.fail_next("PATCH", 503, at=UPLOAD)
    stream = io.BytesIO(b"header" + BLOB)
    stream.seek(6)
    assert repository.put_new(stream, "text/plain") == describe(BLOB, "text/plain")
    assert simulator.repositories["team/app"].blobs == {describe(BLOB).digest: BLOB}
    assert simulator.uploads == {}


def test_f26_stream_of_unknown_digest_that_cannot_go_back_fails(repository, simulator):
    simulator.cut_upload_after(700_000)
    with pytest.raises(UnreachableError):
        repository.put_new(Once(BLOB), "text/plain")
    assert until(lambda: simulator.uploads == {})
    assert simulator.repositories["team/app"].blobs == {}


def test_f26_range_refused_leads_to_asking_where_to_go_on(repository, simulator, describe):
    simulator.cut_upload_after(700_000)
    simulator.say_too("GET", {"Range": "0-99"}, at=UPLOAD)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert repository.open(describe(BLOB)).read() == BLOB


# F27: sessions that vanish


def test_f27_vanished_session_is_begun_again(repository, simulator, describe):
    simulator.fail_next("PUT", 404, at=UPLOAD)
    simulator.fail_next("GET", 404, at=UPLOAD)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert len(simulator.sent("POST", UPLOAD)) == 2


def test_f27_sessions_that_go_on_vanishing_are_given_up(repository, simulator, describe):
    body = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'
    simulator.fail_next("PATCH", 404, times=99, body=body, at=UPLOAD)
    simulator.fail_next("GET", 404, times=99, at=UPLOAD)
    with pytest.raises(ProtocolError, match="404 BLOB_UPLOAD_UNKNOWN"):
        repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert len(simulator.sent("POST", UPLOAD)) == 4


def test_f27_session_dropped_during_a_break_is_begun_again(repository, simulator, describe):
    simulator.cut_upload_after(700_000)

    class Dropping(io.BytesIO):
        dropped = False

        def read(self, size=-1):
            if self.tell() > 2_000_000 and not self.dropped:
                self.dropped = True
                simulator.drop_uploads()
            return super().read(size)

    repository.put(Dropping(BLOB), describe(BLOB))
    assert repository.open(describe(BLOB)).read() == BLOB


# F28: blobs that the registry has forgotten


def test_f28_forgotten_blob_is_told_by_its_code(repository, describe):
    manifest = Manifest.build(config=describe(b"{}", mediatypes.OCI_CONFIG), layers=[])
    with pytest.raises(ProtocolError) as caught:
        repository.put(io.BytesIO(manifest.raw), manifest.descriptor)
    assert caught.value.codes == ("MANIFEST_BLOB_UNKNOWN",)


# F30, F31, F32: storage hosts, nobody there, stalls


def test_f30_expired_redirect_is_asked_for_anew_at_the_registry(
    repository, simulator, new_simulator, blob
):
    storage = new_simulator()
    storage.storage[blob.digest] = BLOB
    simulator.redirect_blobs(f"{storage.url}/storage/{blob.digest}?X-Amz-Signature=abc")
    storage.cut_after(1_000_000, at="/storage/")
    storage.fail_next("GET", 403, times=2, at="/storage/")
    assert repository.open(blob).read() == BLOB
    assert len(simulator.sent("GET", "/blobs/")) == 4


def test_f30_storage_that_is_down_is_asked_for_anew_at_the_registry(
    repository, simulator, new_simulator, blob
):
    gone = new_simulator()
    gone.stop()
    there = {"Location": f"{gone.url}/storage/x"}
    simulator.fail_next("GET", 307, 2, there, at="/blobs/")
    assert repository.open(blob).read() == BLOB


def test_f30_storage_that_stays_down_is_named(repository, simulator, new_simulator, blob):
    gone = new_simulator()
    gone.stop()
    simulator.redirect_blobs(f"{gone.url}/storage/x?sig=secret")
    with pytest.raises(UnreachableError) as caught:
        repository.open(blob)
    assert f"{gone.host}: connection refused" in str(caught.value)
    assert str(blob.digest) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_f31_nobody_there_is_said_in_a_word(new_client, new_simulator):
    gone = new_simulator()
    reference = Reference.parse(f"{gone.host}/team/app")
    gone.stop()
    with pytest.raises(UnreachableError) as caught:
        new_client().repository(reference).resolve("1")
    assert str(caught.value) == (
        f"{gone.host}: connection refused"
        f" (HEAD http://{gone.host}/v2/team/app/manifests/1), 4 tries"
    )


def test_f31_unknown_host_is_said_in_a_word_and_not_tried_again(new_client, pauses):
    with pytest.raises(UnreachableError, match="no such host"):
        new_client().repository(Reference.parse("no.such.host.invalid/x")).resolve("1")
    assert pauses == []


def test_f31_tls_handshake_that_does_not_come_ends(new_client, monkeypatch):
    """Somebody takes the connection, and never says a word: not before he hangs up, far too late."""
    silent = RawServer(())
    host = silent.host
    monkeypatch.setattr("registry.remote.api.Endpoint._find_scheme", lambda _: "https")
    client = new_client(connect_timeout_s=0.3, attempts=2)
    with pytest.raises(UnreachableError) as caught:
        client.repository(Reference.parse(f"{host}/team/app")).resolve("1")
    silent.stop()
    url = f"https://{host}/v2/team/app/manifests/1"
    assert str(caught.value) == f"{host}: no answer in time (HEAD {url}), 2 tries"


@pytest.fixture
def impatient(new_client, at):
    return new_client(**IMPATIENT, attempts=20).repository(at("team/app"))


def test_f32_stall_in_the_middle_is_a_broken_connection(impatient, simulator, blob):
    simulator.stall(120, after=1_000_000)
    assert impatient.open(blob).read() == BLOB
    assert len(simulator.sent("GET", "/blobs/")) > 1


def test_f32_silence_before_the_answer_ends(new_client, at, simulator, blob):
    simulator.stall(120, times=9)
    impatient = new_client(**IMPATIENT, attempts=2).repository(at("team/app"))
    with pytest.raises(UnreachableError, match="no answer in time"):
        impatient.open(blob).read()


def test_v79_attack_trickle_is_cut_off(new_client, at, simulator, describe):
    """A byte now and then keeps every single wait short, and the whole would come in two minutes."""
    raw = b"slowly" * 100
    simulator.add_blob("team/app", raw)
    simulator.trickle(0.2, times=9)
    impatient = new_client(**IMPATIENT, attempts=2).repository(at("team/app"))
    with pytest.raises(UnreachableError, match=r"only \d+ bytes in"):
        impatient.open(describe(raw)).read()


# F31: several addresses


def test_f31_address_that_does_not_answer_is_passed_over_for_the_next(
    simulator, new_client, blob, monkeypatch
):
    """As with IPv6 that leads nowhere: each address has its own time to answer."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for each in filling:
            each.settimeout(0)
            each.connect_ex(hole.getsockname())
        port = int(simulator.host.partition(":")[2])

        def addresses(host, *arguments, **keywords):
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, hole.getsockname()), (*kind, ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", addresses)
        repository = new_client(connect_timeout_s=0.5).repository(
            Reference.parse(f"localhost:{port}/team/app")
        )
        begin = time.monotonic()
        assert repository.has(blob)
        assert 0.4 < time.monotonic() - begin < 60, "the kernel would try for two minutes"
        for each in filling:
            each.close()


# F35: at once


def test_f35_eight_pushes_to_one_tag_all_succeed_and_one_of_them_stands(
    simulator, new_client, at, new_builder
):
    images = [new_builder() for _ in range(8)]
    roots = [builder.image(number) for number, builder in enumerate(images, 1)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pushes = [
            pool.submit(
                copy, builder.store, new_client().repository(at("team/app")), root, tags=("1",)
            )
            for builder, root in zip(images, roots, strict=True)
        ]
        assert [push.result() for push in pushes] == roots
    repository = new_client().repository(at("team/app"))
    assert repository.resolve("1") in roots
    for root in roots:
        back = MemoryStore()
        copy(repository, back, root)
        check_image(read_image(back, root, None), back)
