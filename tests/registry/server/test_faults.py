"""The registry dies, the disk fills up, connections break: what was acknowledged stays."""

import contextlib
import http.client
import os
import random
import socket
import threading
import time
from functools import partial

import pytest
from processes import until
from talk import digest_of

from registry.oci import mediatypes

BLOB = random.Random(7).randbytes(2_000_000)


def attempt(action):
    """Do something that the registry may die of."""
    with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
        return action()
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    ["blobs.before_rename", "blobs.after_rename", "server.before_referrer", "server.before_tag"],
)
def test_f03_killed_while_storing_it_has_what_it_acknowledged_and_takes_the_rest_again(
    new_process, point
):
    first = new_process()
    first.talk.push("app", "1", b"layer")
    first.kill()
    dying = new_process(WCBUILD_FAILPOINTS=f"{point}=kill")
    if point.startswith("server"):
        # Its blobs are here already.
        raw = first_manifest(dying.talk)
        attempt(lambda: dying.talk.put_manifest("app", "2", raw))
    else:
        attempt(lambda: dying.talk.put_blob("app", BLOB))
    assert dying.process.wait(120) == -9
    talk = new_process().talk
    assert talk.is_whole("app", "1")
    assert talk("GET", "/v2/app/manifests/2").status == 404
    if point.startswith("server"):
        talk.put_manifest("app", "2", first_manifest(talk))
        assert talk.is_whole("app", "2")
    talk.put_blob("app", BLOB)
    assert talk("GET", f"/v2/app/blobs/{digest_of(BLOB)}").body == BLOB


def first_manifest(talk) -> bytes:
    return talk("GET", "/v2/app/manifests/1").body.replace(b'"layers"', b' "layers"')


def test_an_upload_goes_on_after_the_registry_was_killed(new_process):
    first = new_process()
    place = first.talk.start("app")
    assert first.talk("PATCH", place, BLOB[:500_000]).status == 202
    first.kill()
    second = new_process()
    reply = second.talk("GET", place)
    assert (reply.status, reply.headers["Range"]) == (204, "0-499999")
    reply = second.talk("PATCH", place, BLOB[500_000:], Content_Range=f"500000-{len(BLOB) - 1}")
    assert reply.status == 202
    assert second.talk("PUT", f"{place}?digest={digest_of(BLOB)}").status == 201
    assert second.talk("GET", f"/v2/app/blobs/{digest_of(BLOB)}").body == BLOB


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_f26_an_upload_goes_on_after_a_broken_connection(talk, framing):
    place = talk.start("app")
    head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\n"
    with socket.create_connection(talk.address) as connection:
        if framing == "length":
            connection.sendall(f"{head}Content-Length: {len(BLOB)}\r\n\r\n".encode())
        else:
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n1e8480\r\n".encode())
        connection.sendall(BLOB[:700_000])
    assert until(lambda: talk("GET", place).headers["Range"] == "0-699999")
    rest = BLOB[700_000:]
    reply = talk("PATCH", place, rest, Content_Range=f"700000-{len(BLOB) - 1}")
    assert reply.status == 202
    assert talk("PUT", f"{place}?digest={digest_of(BLOB)}").status == 201


def test_who_goes_on_with_an_upload_need_not_wait_for_the_dead_connection(talk):
    """The first client vanished without a word; its request still waits for the rest."""
    place = talk.start("app")
    with socket.create_connection(talk.address) as silent:
        silent.sendall(
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BLOB)}\r\n\r\n".encode()
            + BLOB[:100]
        )
        assert until(lambda: talk("GET", place).headers["Range"] == "0-99")
        reply = talk("PUT", f"{place}?digest={digest_of(BLOB)}", BLOB[100:])
        assert reply.status == 201
        # What it would still send must not get into the blob.
        with contextlib.suppress(OSError):
            silent.sendall(b"x" * 100)
        time.sleep(0.1)
    assert talk("GET", f"/v2/app/blobs/{digest_of(BLOB)}").body == BLOB


def test_f09_a_full_disk_is_said_so_and_leaves_everything_as_it_was(new_process):
    process = new_process(WCBUILD_FAILPOINTS="blobs.before_rename=enospc")
    reply = process.talk("POST", f"/v2/app/blobs/uploads/?digest={digest_of(BLOB)}", BLOB)
    assert (reply.status, reply.json["errors"][0]["message"]) == (507, "the disk is full")
    process.kill()
    talk = new_process().talk
    assert talk("HEAD", f"/v2/app/blobs/{digest_of(BLOB)}").status == 404
    talk.put_blob("app", BLOB)


def push_steadily(process, number: int, stop: threading.Event, acknowledged: list) -> None:
    count = 0
    while not stop.is_set():
        count += 1
        name, tag = f"app{number}", f"{process.port}-{count}"
        content = random.Random(f"{name}{tag}").randbytes(200_000)
        if attempt(partial(process.talk.push, name, tag, content, b"shared")) is None:
            return
        acknowledged.append((name, tag))


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_f44_killed_again_and_again_it_keeps_every_acknowledged_image(
    new_process, tmp_path, rounds
):
    chance = random.Random(44)
    acknowledged: list = []
    for _ in range(rounds):
        process = new_process("-q", "--gc-interval", "200ms", "--grace", "5s")
        stop = threading.Event()
        threads = [
            threading.Thread(target=push_steadily, args=(process, number, stop, acknowledged))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        enough = len(acknowledged) + 1
        assert until(lambda enough=enough: len(acknowledged) >= enough)
        time.sleep(chance.uniform(0.0, 1.0))
        process.kill()
        stop.set()
        for thread in threads:
            thread.join()
    process = new_process("-q")
    for name, tag in acknowledged:
        assert process.talk.is_whole(name, tag), (name, tag)
    for name in {name for name, _ in acknowledged}:
        for tag in process.talk("GET", f"/v2/{name}/tags/list").json["tags"]:
            assert process.talk.is_whole(name, tag), "also what nobody was told of"


def test_f35_concurrent_pushes_to_one_tag_and_subject_lose_nothing(new_registry):
    talk = new_registry(max_uploads=8).talk
    subject = talk.push("app", "subject")
    found: list[str] = []

    def push(number: int) -> None:
        found.append(
            talk.push(
                "app",
                "latest",
                b"%d" % number,
                artifactType="a/b",
                subject={
                    "mediaType": mediatypes.OCI_MANIFEST,
                    "digest": subject,
                    "size": 1,
                },
            )
        )

    threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = talk("GET", f"/v2/app/referrers/{subject}").json["manifests"]
    assert sorted(entry["digest"] for entry in entries) == sorted(found)
    assert talk("GET", "/v2/app/manifests/latest").headers["Docker-Content-Digest"] in found


def test_more_uploads_than_allowed_are_told_to_come_back(new_registry):
    talk = new_registry(threads=8, max_uploads=1, idle_timeout_s=600).talk
    place = talk.start("app")
    with socket.create_connection(talk.address) as silent:
        silent.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nxx".encode())
        assert until(lambda: talk("GET", place).headers["Range"] == "0-1")
        reply = talk("POST", f"/v2/app/blobs/uploads/?digest={digest_of(b'x')}", b"x")
        assert (reply.status, reply.code) == (429, "TOOMANYREQUESTS")
        assert talk("GET", "/v2/").status == 200
    target = f"/v2/app/blobs/uploads/?digest={digest_of(b'x')}"
    assert until(lambda: talk("POST", target, b"x").status == 201), "the place is free again"


def test_f12_a_folder_that_cannot_be_written_is_said_so(new_process, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    process = new_process(root=blocked / "registry")
    status, said = process.stop()
    assert status == 1
    assert said.startswith("ERROR: ")
    assert os.fspath(blocked) in said
    assert "Traceback" not in said


def test_an_address_in_use_is_said_so(new_process, tmp_path):
    first = new_process()
    second = new_process(root=tmp_path / "other", port=first.port)
    status, said = second.stop()
    assert status == 1
    assert f"127.0.0.1:{first.port}: cannot listen there: address already in use\n" in said
