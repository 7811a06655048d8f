"""Uploads in parts, in other algorithms, and from local files."""

import hashlib
import io
import random

import pytest

from registry.blobs import BlobDirectory
from registry.copy import Recompress, copy
from registry.errors import DigestMismatchError, ProtocolError, UnreachableError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.store import verifying

MIB = 1024 * 1024
BLOB = random.Random(11).randbytes(5 * MIB + 7)
UPLOAD = "/blobs/uploads/"


class Once(io.RawIOBase):
    """A stream that cannot be read twice."""

    def __init__(self, raw):
        self._stream = io.BytesIO(raw)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._stream.read(size)


@pytest.fixture
def stored(simulator):
    return lambda: simulator.repositories["team/app"].blobs


@pytest.fixture
def local(tmp_path, describe):
    """Open the blob as a store of files does."""
    blobs = BlobDirectory(tmp_path / "blobs")
    blobs.put(io.BytesIO(BLOB), describe(BLOB))
    return blobs


@pytest.mark.parametrize("limit", [MIB, 2 * MIB])
def test_what_a_proxy_finds_too_large_goes_in_parts(repository, simulator, describe, stored, limit):
    simulator.body_limit = limit
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert stored() == {describe(BLOB).digest: BLOB}
    parts = [r for r in simulator.sent("PATCH", UPLOAD) if r.status == 202]
    assert [r.headers["Content-Range"] for r in parts][:2] == ["0-1048575", "1048576-2097151"]
    assert simulator.sent("PUT", UPLOAD)[-1].body == BLOB[-7:]


def test_parts_are_sent_from_a_verifying_stream_too(repository, simulator, describe, stored):
    simulator.body_limit = MIB
    repository.put(verifying(io.BytesIO(BLOB), describe(BLOB)), describe(BLOB))
    assert stored() == {describe(BLOB).digest: BLOB}


def test_parts_are_sent_from_a_local_file_too(repository, simulator, describe, stored, local):
    simulator.body_limit = MIB
    simulator.cut_upload_after(300_000, times=2)
    with local.open(describe(BLOB)) as stream:
        repository.put(stream, describe(BLOB))
    assert stored() == {describe(BLOB).digest: BLOB}


def test_a_part_that_breaks_off_is_continued(repository, simulator, describe, stored):
    simulator.body_limit = MIB
    simulator.fail_next("PATCH", 413, at=UPLOAD)
    simulator.cut_upload_after(300_000)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert stored() == {describe(BLOB).digest: BLOB}


def test_attack_bytes_that_prove_wrong_are_not_finished_in_parts(repository, simulator, describe):
    simulator.body_limit = MIB
    wrong = BLOB[:-1] + b"x"
    with pytest.raises(DigestMismatchError):
        repository.put(verifying(io.BytesIO(wrong), describe(BLOB)), describe(BLOB))
    assert simulator.repositories["team/app"].blobs == {}
    assert simulator.uploads == {}


def test_parts_are_as_large_as_the_registry_wants_them(repository, simulator, describe):
    simulator.body_limit = MIB
    simulator.least_part = 2 * MIB
    with pytest.raises(ProtocolError) as caught:
        repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert caught.value.status == 413
    assert "does not take anything as large" in str(caught.value)
    assert str(describe(BLOB).digest) in str(caught.value)


def test_a_limit_that_nothing_can_be_done_about_is_said_so(repository, simulator, describe):
    simulator.body_limit = 1000
    with pytest.raises(ProtocolError, match="413: it does not take anything as large as this"):
        repository.put(io.BytesIO(BLOB), describe(BLOB))


def test_a_layer_compressed_on_the_way_goes_in_parts_too(repository, simulator, new_builder):
    builder = new_builder()
    root = builder.image(2, size=3 * MIB)
    simulator.body_limit = MIB
    pushed = copy(builder.store, repository, root, tags=("1",), recompress=Recompress(codec="gzip"))
    assert repository.resolve("1") == pushed


def test_sha512_is_announced(repository, simulator, stored):
    digest = Digest("sha512:" + hashlib.sha512(b"long").hexdigest())
    descriptor = Descriptor(media_type="x/y", digest=digest, size=4)
    repository.put(io.BytesIO(b"long"), descriptor)
    assert stored() == {digest: b"long"}
    assert simulator.sent("POST", UPLOAD)[0].path.endswith("?digest-algorithm=sha512")
    assert repository.open(descriptor).read() == b"long"


def test_a_local_file_is_sent_without_being_read_here(repository, describe, stored, local):
    with local.open(describe(BLOB)) as stream:
        repository.put(stream, describe(BLOB))
        assert stream.raw._hash.hexdigest() == hashlib.sha256().hexdigest()
    assert stored() == {describe(BLOB).digest: BLOB}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_local_file_is_sent_from_where_the_stream_stands(
    repository, describe, stored, tmp_path, wrapped
):
    path = tmp_path / "with-a-header"
    path.write_bytes(b"header" + BLOB)
    with path.open("rb", buffering=0) as file:
        file.seek(6)
        stream = verifying(file, describe(BLOB)) if wrapped else file
        repository.put(stream, describe(BLOB))
    assert stored() == {describe(BLOB).digest: BLOB}


@pytest.mark.parametrize("cut", [0, 1, 300_000, 4 * MIB])
def test_a_local_file_is_continued_after_a_break(
    repository, simulator, describe, stored, local, cut
):
    simulator.cut_upload_after(cut)
    with local.open(describe(BLOB)) as stream:
        repository.put(stream, describe(BLOB))
    assert stored() == {describe(BLOB).digest: BLOB}
    if cut > 1:
        assert int(simulator.sent("PATCH", UPLOAD)[-1].headers["Content-Length"]) == len(BLOB) - cut


def test_f13_bit_that_flipped_in_a_local_file_is_found_by_the_registry(
    repository, simulator, describe, stored, local
):
    path = local.path(describe(BLOB).digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes((BLOB[1000] ^ 1,)))
    with local.open(describe(BLOB)) as stream, pytest.raises(DigestMismatchError):
        repository.put(stream, describe(BLOB))
    assert stored() == {}


def test_progress_is_told_while_a_local_file_is_sent(new_client, at, new_builder, tmp_path):
    from registry.layout import OciLayout

    builder = new_builder(OciLayout(tmp_path / "layout"))
    root = builder.image(1, size=5 * MIB)
    events = []
    copy(builder.store, new_client().repository(at("team/new")), root, emit=events.append)
    largest = max(event.total for event in events)
    done = [event.done for event in events if event.total == largest]
    assert done == sorted(done)
    assert len(done) >= 5
    assert done[-1] == largest


def test_the_last_word_names_blob_request_tries_and_answer(repository, simulator, describe):
    body = b'{"errors":[{"code":"UNKNOWN","message":"disk is full"}]}'
    simulator.fail_next("PATCH", 500, times=99, body=body, at=UPLOAD)
    with pytest.raises(ProtocolError) as caught:
        repository.put(io.BytesIO(BLOB), describe(BLOB))
    text = str(caught.value)
    assert text.startswith(
        f"blob {describe(BLOB).digest}: PATCH http://{simulator.host}/v2/team/app"
    )
    assert text.endswith("the registry answered 500 UNKNOWN: disk is full, 4 tries")


def test_the_last_word_after_broken_connections_names_the_blob(repository, simulator, describe):
    simulator.cut_upload_after(10, times=99)
    with pytest.raises(UnreachableError) as caught:
        repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert f"blob {describe(BLOB).digest}, 4 tries" in str(caught.value)


def test_stream_that_cannot_go_back_is_not_asked_to_after_a_413(repository, simulator, describe):
    simulator.body_limit = MIB
    with pytest.raises(ProtocolError, match="413"):
        repository.put(Once(BLOB), describe(BLOB))
    assert simulator.uploads == {}
