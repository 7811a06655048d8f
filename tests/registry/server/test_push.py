"""Writing: uploads of every kind, mounts, manifests, deletion."""

import json

import pytest
from talk import digest_of, manifest

from registry.oci import mediatypes
from registry.oci.manifest import MAX_MANIFEST_BYTES

BLOB = bytes(range(256)) * 40


def chunks(raw: bytes, size: int = 1000):
    return (raw[start : start + size] for start in range(0, len(raw), size))


@pytest.fixture
def has(talk):
    """Say whether a repository has these bytes."""

    def look(name: str, raw: bytes, algorithm: str = "sha256") -> bool:
        reply = talk("GET", f"/v2/{name}/blobs/{digest_of(raw, algorithm)}")
        return reply.status == 200 and reply.body == raw

    return look


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("raw", [BLOB, b""])
def test_a_blob_in_one_request(talk, has, raw, algorithm):
    digest = digest_of(raw, algorithm)
    reply = talk("POST", f"/v2/team/app/blobs/uploads/?digest={digest}", raw)
    assert reply.status == 201
    assert reply.headers["Docker-Content-Digest"] == digest
    assert talk("GET", reply.headers["Location"]).body == raw
    assert has("team/app", raw, algorithm)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_in_two_requests(talk, has, algorithm):
    reply = talk("PUT", f"{talk.start('app')}?digest={digest_of(BLOB, algorithm)}", BLOB)
    assert reply.status == 201
    assert has("app", BLOB, algorithm)


def test_a_blob_whose_algorithm_is_known_beforehand(talk, has):
    reply = talk("POST", "/v2/app/blobs/uploads/?digest-algorithm=sha512")
    place = reply.headers["Location"]
    talk("PATCH", place, BLOB)
    assert talk("PUT", f"{place}?digest={digest_of(BLOB, 'sha512')}").status == 201
    assert talk("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5").status == 400


def test_a_streamed_blob(talk, has):
    place = talk.start("app")
    reply = talk("PATCH", place, chunks(BLOB), chunked=True, Transfer_Encoding="chunked")
    assert (reply.status, reply.headers["Range"]) == (202, f"0-{len(BLOB) - 1}")
    reply = talk("PUT", f"{reply.headers['Location']}?digest={digest_of(BLOB)}")
    assert reply.status == 201
    assert has("app", BLOB)


@pytest.mark.parametrize("last_in_put", [False, True])
def test_a_blob_in_chunks(talk, has, last_in_put):
    place = talk.start("app")
    for start in range(0, 9000, 3000):
        part = BLOB[start : start + 3000]
        reply = talk("PATCH", place, part, Content_Range=f"{start}-{start + len(part) - 1}")
        assert (reply.status, reply.headers["Range"]) == (202, f"0-{start + 2999}")
        place = reply.headers["Location"]
    rest = BLOB[9000:]
    headers = {"Content_Range": f"9000-{len(BLOB) - 1}"}
    if not last_in_put:
        assert talk("PATCH", place, rest, **headers).status == 202
        rest, headers = b"", {}
    reply = talk("PUT", f"{place}?digest={digest_of(BLOB)}", rest, **headers)
    assert reply.status == 201
    assert has("app", BLOB)


@pytest.mark.parametrize("place_of_chunk", ["0-99", "200-299", "50-149"])
def test_a_chunk_in_the_wrong_place_is_refused_and_the_upload_goes_on(talk, has, place_of_chunk):
    place = talk.start("app")
    talk("PATCH", place, BLOB[:100], Content_Range="0-99")
    reply = talk("PATCH", place, BLOB[:100], Content_Range=place_of_chunk)
    assert (reply.status, reply.headers["Range"]) == (416, "0-99")
    status = talk("GET", place)
    assert (status.status, status.headers["Range"]) == (204, "0-99")
    assert talk("PATCH", place, BLOB[100:]).status == 202
    assert talk("PUT", f"{place}?digest={digest_of(BLOB)}").status == 201
    assert has("app", BLOB)


@pytest.mark.parametrize("said", ["0-98", "0-100"])
def test_a_chunk_of_another_length_than_it_says_is_refused(talk, said):
    place = talk.start("app")
    reply = talk("PATCH", place, BLOB[:100], Content_Range=said)
    assert (reply.status, reply.code) == (400, "SIZE_INVALID")


@pytest.mark.parametrize("said", ["5-4", "x-y", "bytes", "-5", "0-99999999999999999999"])
def test_a_content_range_that_is_none_is_refused(talk, said):
    assert talk("PATCH", talk.start("app"), b"x", Content_Range=said).status == 416


def test_an_upload_can_be_cancelled(talk):
    place = talk.start("app")
    talk("PATCH", place, BLOB)
    assert talk("DELETE", place).status == 204
    for method in ("GET", "DELETE", "PATCH", "PUT"):
        reply = talk(method, f"{place}?digest={digest_of(BLOB)}", b"")
        assert reply.status == 404
        assert reply.code == "BLOB_UPLOAD_UNKNOWN"


def test_wrong_bytes_are_refused_and_not_kept(talk, has):
    wrong = digest_of(b"other")
    replies = [
        talk("POST", f"/v2/app/blobs/uploads/?digest={wrong}", BLOB),
        talk("PUT", f"{talk.start('app')}?digest={wrong}", BLOB),
    ]
    assert [(reply.status, reply.code) for reply in replies] == [(400, "DIGEST_INVALID")] * 2
    assert not has("app", b"other")
    assert not has("app", BLOB)


@pytest.mark.parametrize("text", ["", "x", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"])
def test_an_impossible_digest_is_refused_and_the_upload_goes_on(talk, text):
    place = talk.start("app")
    assert talk("PUT", f"{place}?digest={text}", b"").code == "DIGEST_INVALID"
    assert talk("PUT", place, b"").code == "DIGEST_INVALID"
    assert talk("PUT", f"{place}?digest={digest_of(BLOB)}", BLOB).status == 201


def test_the_same_blob_again_is_no_error_and_takes_no_room(talk, tmp_path):
    for name in ("app", "app", "other"):
        talk.put_blob(name, BLOB)
    place = digest_of(BLOB).replace(":", "/")
    files = list((tmp_path / "registry").rglob(place))
    assert len(files) == 3
    assert len({file.stat().st_ino for file in files}) == 1


def test_a_blob_is_mounted_from_another_repository(talk, has):
    digest = talk.put_blob("base", BLOB)
    reply = talk("POST", f"/v2/team/app/blobs/uploads/?mount={digest}&from=base")
    assert reply.status == 201
    assert reply.headers["Location"] == f"/v2/team/app/blobs/{digest}"
    assert has("team/app", BLOB)


def test_where_everybody_may_read_everything_a_mount_needs_no_source(talk, has):
    digest = talk.put_blob("base", BLOB)
    assert talk("POST", f"/v2/app/blobs/uploads/?mount={digest}").status == 201
    assert has("app", BLOB)


@pytest.mark.parametrize("source", ["none", "../base", "BASE", ""])
def test_a_mount_that_cannot_be_becomes_an_upload(talk, has, source):
    digest = digest_of(BLOB)
    reply = talk("POST", f"/v2/app/blobs/uploads/?mount={digest}&from={source}")
    assert reply.status == 202
    assert talk("PUT", f"{reply.headers['Location']}?digest={digest}", BLOB).status == 201
    assert has("app", BLOB)


def test_a_mount_without_a_source_of_what_nobody_has_becomes_an_upload(talk):
    reply = talk("POST", f"/v2/app/blobs/uploads/?mount={digest_of(BLOB)}")
    assert reply.status == 202


# Manifests


@pytest.mark.parametrize("media_type", [mediatypes.OCI_MANIFEST, mediatypes.DOCKER_MANIFEST])
def test_a_manifest_keeps_its_exact_bytes(talk, media_type):
    config = talk.put_blob("app", b"{}")
    document = manifest(config, mediaType=media_type, custom={"ü": [1, None]})
    raw = json.dumps(document, indent=3, ensure_ascii=False).encode() + b"\n"
    reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=media_type)
    assert (reply.status, reply.headers["Docker-Content-Digest"]) == (201, digest_of(raw))
    got = talk("GET", reply.headers["Location"])
    assert (got.body, got.headers["Content-Type"]) == (raw, media_type)


def test_an_index_of_what_is_here(talk):
    digest = talk.push("app", "1")
    size = len(talk("GET", "/v2/app/manifests/1").body)
    entry = {"mediaType": mediatypes.OCI_MANIFEST, "digest": digest, "size": size}
    for media_type in mediatypes.INDEXES:
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}
        talk.put_manifest("app", "all", index)
        assert talk("GET", "/v2/app/manifests/all").headers["Content-Type"] == media_type


def test_a_manifest_under_its_sha512(talk):
    raw = json.dumps(manifest(talk.put_blob("app", b"{}"))).encode()
    digest = digest_of(raw, "sha512")
    reply = talk(
        "PUT", f"/v2/app/manifests/{digest}?tag=long", raw, Content_Type=mediatypes.OCI_MANIFEST
    )
    assert (reply.status, reply.headers["Docker-Content-Digest"]) == (201, digest)
    for reference in (digest, "long"):
        got = talk("GET", f"/v2/app/manifests/{reference}")
        assert (got.body, got.headers["Docker-Content-Digest"]) == (raw, digest)
    assert talk("GET", f"/v2/app/manifests/{digest_of(raw)}").status == 404


def test_a_manifest_is_pushed_with_several_tags_at_once(talk):
    raw = json.dumps(manifest(talk.put_blob("app", b"{}"))).encode()
    path = f"/v2/app/manifests/{digest_of(raw)}?tag=a&tag=b"
    reply = talk("PUT", path, raw, Content_Type=mediatypes.OCI_MANIFEST)
    assert (reply.status, reply.headers["OCI-Tag"]) == (201, "a, b")
    assert talk("GET", "/v2/app/tags/list").json["tags"] == ["a", "b"]


def test_a_manifest_whose_children_are_missing_is_refused_with_their_digests(talk):
    config = talk.put_blob("other", b"{}")
    for document in (
        manifest(config),
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [{"mediaType": mediatypes.OCI_MANIFEST, "digest": config, "size": 2}],
        },
    ):
        raw = json.dumps(document).encode()
        reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=document["mediaType"])
        assert (reply.status, reply.code) == (400, "MANIFEST_BLOB_UNKNOWN")
        assert reply.json["errors"][0]["detail"] == [{"digest": config}]
    assert talk("GET", "/v2/app/manifests/1").status == 404


def test_layers_that_may_not_be_distributed_need_not_be_here(talk):
    config = talk.put_blob("app", b"{}")
    foreign = {
        "mediaType": mediatypes.DOCKER_FOREIGN_LAYER_GZIP,
        "digest": digest_of(b"secret"),
        "size": 6,
        "urls": ["https://files.example/layer"],
    }
    talk.put_manifest("app", "1", {**manifest(config), "layers": [foreign]})


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b"", mediatypes.OCI_MANIFEST),
        (b"[]", mediatypes.OCI_MANIFEST),
        (b"{", mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 1}', mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 2, "layers": []}', mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 2, "manifests": []}', "text/plain"),
        (b'{"schemaVersion": 2, "manifests": [], "layers": []}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": [{}]}', mediatypes.OCI_INDEX),
        (b"[" * 100_000, mediatypes.OCI_INDEX),
    ],
)
def test_what_is_no_manifest_is_refused(talk, raw, media_type):
    reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=media_type)
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
    assert talk("GET", "/v2/app/manifests/1").status == 404


def test_a_manifest_sent_as_something_else_than_it_says_is_refused(talk):
    raw = json.dumps(manifest(talk.put_blob("app", b"{}"))).encode()
    reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=mediatypes.DOCKER_MANIFEST)
    assert reply.code == "MANIFEST_INVALID"
    assert "and was sent as" in reply.json["errors"][0]["message"]


def test_a_manifest_without_a_media_type_is_what_it_is_sent_as(talk):
    document = manifest(talk.put_blob("app", b"{}"))
    del document["mediaType"]
    raw = json.dumps(document).encode()
    good = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=mediatypes.OCI_MANIFEST)
    assert good.status == 201
    # Docker's formats always say what they are; nobody could tell later.
    bad = talk("PUT", "/v2/app/manifests/2", raw, Content_Type=mediatypes.DOCKER_MANIFEST)
    assert bad.code == "MANIFEST_INVALID"


def test_a_manifest_of_another_digest_is_refused(talk):
    raw = json.dumps(manifest(talk.put_blob("app", b"{}"))).encode()
    reply = talk(
        "PUT",
        f"/v2/app/manifests/{digest_of(b'other')}",
        raw,
        Content_Type=mediatypes.OCI_MANIFEST,
    )
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


def test_the_largest_manifest_is_taken_and_a_larger_one_is_not(talk):
    config = talk.put_blob("app", b"{}")
    empty = len(json.dumps(manifest(config, filling="")))
    for more, status in ((0, 201), (1, 413)):
        document = manifest(config, filling="x" * (MAX_MANIFEST_BYTES - empty + more))
        raw = json.dumps(document).encode()
        reply = talk("PUT", "/v2/app/manifests/1", raw, Content_Type=mediatypes.OCI_MANIFEST)
        assert reply.status == status
        streamed = talk(
            "PUT",
            "/v2/app/manifests/2",
            chunks(raw, 100_000),
            chunked=True,
            Content_Type=mediatypes.OCI_MANIFEST,
            Transfer_Encoding="chunked",
        )
        assert streamed.status == status


# Deletion


def test_deleting_a_tag_leaves_the_manifest(talk):
    digest = talk.push("app", "1")
    assert talk("DELETE", "/v2/app/manifests/1").status == 202
    assert talk("GET", "/v2/app/manifests/1").status == 404
    assert talk("GET", f"/v2/app/manifests/{digest}").status == 200
    assert talk("DELETE", "/v2/app/manifests/1").code == "MANIFEST_UNKNOWN"


def test_deleting_a_manifest_takes_its_tags_along(talk):
    digest = talk.push("app", "1")
    raw = talk("GET", "/v2/app/manifests/1").body
    talk.put_manifest("app", "also", raw)
    other = talk.push("app", "2")
    assert talk("DELETE", f"/v2/app/manifests/{digest}").status == 202
    assert talk("GET", "/v2/app/tags/list").json["tags"] == ["2"]
    assert talk("DELETE", f"/v2/app/manifests/{digest}").status == 404
    assert talk("GET", f"/v2/app/manifests/{other}").status == 200


def test_deleting_a_blob_leaves_it_in_other_repositories(talk, has):
    digest = talk.put_blob("app", BLOB)
    talk.put_blob("other", BLOB)
    assert talk("DELETE", f"/v2/app/blobs/{digest}").status == 202
    assert not has("app", BLOB)
    assert has("other", BLOB)
    assert talk("DELETE", f"/v2/app/blobs/{digest}").code == "BLOB_UNKNOWN"


def test_a_registry_that_deletes_nothing(new_registry):
    talk = new_registry(deletes=False).talk
    digest = talk.push("app", "1")
    for path in ("1", digest):
        assert talk("DELETE", f"/v2/app/manifests/{path}").status == 405
    assert talk("DELETE", talk.start("app")).status == 204
    assert talk.is_whole("app", "1")


# Limits and modes


def test_a_read_only_registry_changes_nothing(new_registry, tmp_path):
    with_content = new_registry()
    digest = with_content.talk.push("app", "1", BLOB)
    before = sorted(path for path in (tmp_path / "registry").rglob("*"))
    talk = new_registry(read_only=True).talk
    assert talk.is_whole("app", "1")
    assert talk("POST", "/v2/app/blobs/uploads/").status == 405
    assert talk("PUT", "/v2/app/manifests/2", b"{}").status == 405
    assert talk("DELETE", f"/v2/app/manifests/{digest}").status == 405
    assert talk("POST", f"/v2/x/blobs/uploads/?mount={digest}&from=app").status == 405
    assert sorted(path for path in (tmp_path / "registry").rglob("*")) == before


def test_a_blob_beyond_the_quota_is_refused_however_it_comes(new_registry, tmp_path):
    talk = new_registry(max_blob_bytes=len(BLOB)).talk
    talk.put_blob("app", BLOB)
    large = BLOB + b"x"
    digest = digest_of(large)
    replies = [
        talk("POST", f"/v2/app/blobs/uploads/?digest={digest}", large),
        talk("PUT", f"{talk.start('app')}?digest={digest}", large),
        talk("PATCH", talk.start("app"), large),
        talk("PATCH", talk.start("app"), chunks(large), chunked=True, Transfer_Encoding="chunked"),
    ]
    place = talk.start("app")
    talk("PATCH", place, BLOB)
    replies.append(talk("PATCH", place, b"x", Content_Range=f"{len(BLOB)}-{len(BLOB)}"))
    assert [(reply.status, reply.code) for reply in replies] == [(413, "SIZE_INVALID")] * 5
    assert talk("HEAD", f"/v2/app/blobs/{digest}").status == 404


def test_too_many_open_uploads_of_one_repository_are_refused(talk, monkeypatch):
    monkeypatch.setattr("registry.server.uploads.MAX_SESSIONS", 3)
    for _ in range(3):
        talk.start("app")
    reply = talk("POST", "/v2/app/blobs/uploads/")
    assert (reply.status, reply.code) == (429, "TOOMANYREQUESTS")
    assert reply.headers["Retry-After"]
    talk.start("other")
