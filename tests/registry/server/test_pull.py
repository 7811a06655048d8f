"""Reading: manifests and blobs, whole and in parts, lists and their pages."""

import json

import pytest
from talk import OCTETS, digest_of, manifest

from registry.oci import mediatypes
from registry.oci.manifest import MAX_MANIFEST_BYTES

LAYER = bytes(range(256)) * 400


def test_is_a_registry(talk):
    reply = talk("GET", "/v2/")
    assert (reply.status, reply.json) == (200, {})
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_gives_back_an_image_by_tag_and_by_digest(talk):
    digest = talk.push("team/app", "1", LAYER)
    for reference in ("1", digest):
        reply = talk("GET", f"/v2/team/app/manifests/{reference}")
        assert reply.status == 200
        assert digest_of(reply.body) == digest == reply.headers["Docker-Content-Digest"]
        assert reply.headers["Content-Type"] == mediatypes.OCI_MANIFEST
    assert talk.is_whole("team/app", "1")


def test_head_says_the_same_without_the_bytes(talk):
    digest = talk.push("app", "1", LAYER)
    for path in (
        "manifests/1",
        f"manifests/{digest}",
        f"blobs/{digest_of(LAYER)}",
    ):
        get, head = (talk(method, f"/v2/app/{path}") for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "Docker-Content-Digest"):
            assert head.headers[name] == get.headers[name]
        assert int(head.headers["Content-Length"]) == len(get.body)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("manifests/2", "MANIFEST_UNKNOWN"),
        (f"manifests/{digest_of(b'x')}", "MANIFEST_UNKNOWN"),
        (f"blobs/{digest_of(b'x')}", "BLOB_UNKNOWN"),
        (f"blobs/{digest_of(b'x', 'sha512')}", "BLOB_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_not_found(talk, method, path, code):
    talk.push("app", "1")
    for name in ("app", "other/app"):
        reply = talk(method, f"/v2/{name}/{path}")
        assert reply.status == 404
        assert method == "HEAD" or reply.code == code


def test_a_known_etag_is_not_sent_again(talk):
    digest = talk.push("app", "1")
    reply = talk("GET", "/v2/app/manifests/1", If_None_Match=f'"{digest}"')
    assert (reply.status, reply.body) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "part", "said"),
    [
        ("bytes=0-0", 206, LAYER[:1], "bytes 0-0/102400"),
        ("bytes=100-199", 206, LAYER[100:200], "bytes 100-199/102400"),
        ("bytes=102000-", 206, LAYER[102000:], "bytes 102000-102399/102400"),
        ("bytes=102000-999999999", 206, LAYER[102000:], "bytes 102000-102399/102400"),
        ("bytes=-7", 206, LAYER[-7:], "bytes 102393-102399/102400"),
        ("bytes=-999999", 206, LAYER, "bytes 0-102399/102400"),
        ("bytes=102400-", 416, None, "bytes */102400"),
        ("bytes=-0", 416, None, "bytes */102400"),
        # What RFC 9110 lets a server ignore.
        ("bytes=5-4", 200, LAYER, None),
        ("bytes=0-1,5-6", 200, LAYER, None),
        ("bytes=-", 200, LAYER, None),
        ("lines=1-2", 200, LAYER, None),
        ("bytes=1-9999999999999999999999", 200, LAYER, None),
    ],
)
def test_a_range_of_a_blob(talk, asked, status, part, said):
    digest = talk.put_blob("app", LAYER)
    reply = talk("GET", f"/v2/app/blobs/{digest}", Range=asked)
    assert reply.status == status
    assert part is None or reply.body == part
    assert reply.headers["Content-Range"] == said


def test_a_range_of_something_that_has_changed_is_everything(talk):
    digest = talk.put_blob("app", LAYER)
    same = talk("GET", f"/v2/app/blobs/{digest}", Range="bytes=5-", If_Range=f'"{digest}"')
    other = talk("GET", f"/v2/app/blobs/{digest}", Range="bytes=5-", If_Range='"other"')
    assert (same.status, other.status) == (206, 200)


def test_a_range_of_nothing_cannot_be(talk):
    digest = talk.put_blob("app", b"")
    assert talk("GET", f"/v2/app/blobs/{digest}").body == b""
    assert talk("GET", f"/v2/app/blobs/{digest}", Range="bytes=0-").status == 416


def test_tags_come_in_pages(talk):
    digest = talk.push("app", "c")
    raw = talk("GET", f"/v2/app/manifests/{digest}").body
    for tag in ("b", "a", "B", "1.0"):
        talk.put_manifest("app", tag, raw)
    everything = ["1.0", "B", "a", "b", "c"]
    assert talk("GET", "/v2/app/tags/list").json == {"name": "app", "tags": everything}
    found, path = [], "/v2/app/tags/list?n=2"
    for _ in range(3):
        reply = talk("GET", path)
        found.append(reply.json["tags"])
        link = reply.headers["Link"]
        path = link.partition("<")[2].partition(">")[0] if link else None
    assert found == [["1.0", "B"], ["a", "b"], ["c"]]
    assert path is None
    assert talk("GET", "/v2/app/tags/list?n=0").json["tags"] == []
    assert talk("GET", "/v2/app/tags/list?last=B").json["tags"] == ["a", "b", "c"]
    assert talk("GET", "/v2/app/tags/list?n=5").headers["Link"] is None
    assert talk("GET", "/v2/app/tags/list?n=x").code == "PAGINATION_NUMBER_INVALID"
    answer = talk("GET", "/v2/none/tags/list")
    (error,) = answer.json["errors"]
    assert (answer.code, error["message"]) == (
        "NAME_UNKNOWN",
        "repository none is not in this registry",
    )


def test_the_catalog_lists_repositories_within_others(talk):
    for name in ("b", "a/c/d", "a", "a-b"):
        talk.push(name, "1")
    assert talk("GET", "/v2/_catalog").json == {"repositories": ["a", "a-b", "a/c/d", "b"]}
    reply = talk("GET", "/v2/_catalog?n=2")
    assert reply.json["repositories"] == ["a", "a-b"]
    assert "last=a-b" in reply.headers["Link"]


@pytest.fixture
def referrers(talk):
    """A subject with three referrers of two types; returns their digests."""
    subject = talk.push("app", "1")
    size = len(talk("GET", "/v2/app/manifests/1").body)
    found = []
    for number, artifact_type in enumerate(("a/x", "b/y", "a/x")):
        empty = talk.put_blob("app", b"{}")
        document = manifest(
            empty,
            artifactType=artifact_type,
            annotations={"number": str(number)},
            subject={"mediaType": mediatypes.OCI_MANIFEST, "digest": subject, "size": size},
        )
        raw = json.dumps(document).encode()
        reply = talk(
            "PUT",
            f"/v2/app/manifests/{digest_of(raw)}",
            raw,
            Content_Type=mediatypes.OCI_MANIFEST,
        )
        assert (reply.status, reply.headers["OCI-Subject"]) == (201, subject)
        found.append(digest_of(raw))
    return subject, found


def test_referrers_are_listed_with_type_and_annotations(talk, referrers):
    subject, found = referrers
    reply = talk("GET", f"/v2/app/referrers/{subject}")
    assert reply.headers["Content-Type"] == mediatypes.OCI_INDEX
    entries = {entry["digest"]: entry for entry in reply.json["manifests"]}
    assert sorted(entries) == sorted(found)
    first = entries[found[0]]
    assert (first["artifactType"], first["annotations"]) == ("a/x", {"number": "0"})
    assert first["size"] == len(talk("GET", f"/v2/app/manifests/{found[0]}").body)


def test_referrers_are_filtered_by_type(talk, referrers):
    subject, found = referrers
    reply = talk("GET", f"/v2/app/referrers/{subject}?artifactType=b%2Fy")
    assert [entry["digest"] for entry in reply.json["manifests"]] == [found[1]]
    assert reply.headers["OCI-Filters-Applied"] == "artifactType"


def test_referrers_come_in_pages_that_keep_the_filter(talk, referrers):
    subject, found = referrers
    reply = talk("GET", f"/v2/app/referrers/{subject}?artifactType=a/x&n=1")
    (first,) = reply.json["manifests"]
    path = reply.headers["Link"].partition("<")[2].partition(">")[0]
    (second,) = talk("GET", path).json["manifests"]
    assert sorted((first["digest"], second["digest"])) == sorted((found[0], found[2]))


def test_a_page_of_referrers_is_never_larger_than_a_manifest(talk):
    """Annotations are listed, too, and whoever pushes decides how long they are."""
    subject, config = talk.push("app", "1"), talk.put_blob("app", b"{}")
    about = {"mediaType": mediatypes.OCI_MANIFEST, "digest": subject, "size": 1}
    for number in range(5):
        large = {"n": str(number), "text": "x" * 1_500_000}
        document = manifest(config, subject=about, annotations=large, artifactType="a/b")
        talk.put_manifest("app", f"s{number}", document)
    path, pages, found = f"/v2/app/referrers/{subject}", 0, set()
    while path:
        reply = talk("GET", path)
        assert len(reply.body) <= MAX_MANIFEST_BYTES
        found |= {entry["annotations"]["n"] for entry in reply.json["manifests"]}
        path = (reply.headers["Link"] or "").partition("<")[2].partition(">")[0]
        pages += 1
    assert found == set("01234")
    assert pages == 3


def test_a_deleted_referrer_is_not_listed(talk, referrers):
    subject, found = referrers
    assert talk("DELETE", f"/v2/app/manifests/{found[0]}").status == 202
    listed = talk("GET", f"/v2/app/referrers/{subject}").json["manifests"]
    assert sorted(entry["digest"] for entry in listed) == sorted(found[1:])


def test_nothing_refers_to_what_nobody_knows(talk):
    for path in (f"/v2/none/referrers/{digest_of(b'x')}", f"/v2/a/referrers/{digest_of(b'y')}"):
        reply = talk("GET", path)
        assert (reply.status, reply.json["manifests"]) == (200, [])


def test_an_unknown_place_is_not_found(talk):
    for path in ("/", "/v1/", "/v2/app", "/v2/app/manifests/", "/metrics", "/v2/app/tags"):
        assert talk("GET", path).status == 404


def test_a_wrong_method_says_the_right_ones(talk):
    reply = talk("POST", "/v2/app/manifests/1", b"")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert "PUT" in reply.headers["Allow"]


def test_a_damaged_manifest_is_not_handed_out(talk, tmp_path):
    digest = talk.push("app", "1")
    path = tmp_path / "registry/repositories/app/_manifests" / digest.replace(":", "/")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"schemaVersion", b"schemaversion"))
    assert talk("GET", "/v2/app/manifests/1").status == 500


def test_blobs_are_sent_as_what_they_are(talk):
    digest = talk.put_blob("app", b"<html>")
    assert talk("GET", f"/v2/app/blobs/{digest}").headers["Content-Type"] == OCTETS
