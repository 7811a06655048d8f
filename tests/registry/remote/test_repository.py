"""What a repository does against a registry that behaves: resolve, open, put, mount, tag, list, delete."""

import io

import pytest

from registry.errors import (
    DigestMismatchError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    ProtocolError,
    SizeMismatchError,
    TooLargeError,
)
from registry.oci import mediatypes
from registry.oci.digest import sha256
from registry.oci.manifest import Index, Manifest
from registry.store import Mounter, Source, StreamSink, Target, verifying


@pytest.fixture
def image(describe):
    config, layer = b"{}", b"layer" * 1000
    manifest = Manifest.build(
        config=describe(config, mediatypes.OCI_CONFIG),
        layers=[describe(layer, mediatypes.OCI_LAYER_GZIP)],
    )
    return manifest, [config, layer]


@pytest.fixture
def pushed(simulator, image):
    manifest, blobs = image
    for raw in blobs:
        simulator.add_blob("team/app", raw)
    simulator.add_manifest("team/app", manifest.raw, manifest.media_type, "1")
    return manifest


def test_is_what_copying_needs(repository):
    source: Source = repository
    target: Target = repository
    sink: StreamSink = repository
    mounter: Mounter = repository
    assert source is target is sink is mounter


def test_resolves_a_tag_with_one_small_request(repository, simulator, pushed):
    assert repository.resolve("1") == pushed.descriptor
    assert [r.method for r in simulator.requests if "manifests" in r.path] == ["HEAD"]


def test_resolves_a_digest(repository, pushed):
    assert repository.resolve(pushed.descriptor.digest) == pushed.descriptor


def test_asks_for_all_kinds_of_manifest_in_one_header_line(repository, simulator, pushed):
    repository.resolve("1")
    (accept,) = simulator.sent("HEAD", "manifests")[0].headers.get_all("Accept")
    assert accept.split(", ") == [*mediatypes.MANIFESTS, *mediatypes.INDEXES]


@pytest.mark.parametrize("status", [404, 405, 400])
def test_resolves_by_get_where_head_is_not_answered(repository, simulator, pushed, status):
    simulator.fail_next("HEAD", status)
    assert repository.resolve("1") == pushed.descriptor


def test_resolves_by_get_where_head_says_no_digest(repository, simulator, pushed):
    simulator.say_too("HEAD", {"Docker-Content-Digest": ""})
    assert repository.resolve("1") == pushed.descriptor


def test_opening_after_resolving_by_get_asks_nothing_more(repository, simulator, pushed):
    simulator.fail_next("HEAD", 405)
    descriptor = repository.resolve("1")
    before = len(simulator.requests)
    assert repository.open(descriptor).read() == pushed.raw
    assert len(simulator.requests) == before


def test_a_missing_tag_is_not_found(repository, simulator):
    with pytest.raises(NotFoundError, match=r"team/app:none: not found in 127\.0\.0\.1"):
        repository.resolve("none")


@pytest.mark.parametrize("tag", ["../../x", "a b", "", "x" * 129, "a\r\nb", "a?b", ".hidden"])
def test_attack_a_tag_that_is_none_never_reaches_a_url(repository, simulator, tag):
    with pytest.raises(InvalidReferenceError):
        repository.resolve(tag)
    assert simulator.requests == []


def test_opens_a_manifest_and_a_blob(repository, pushed, image):
    assert repository.open(pushed.descriptor).read() == pushed.raw
    assert repository.open(pushed.layers[0]).read() == image[1][1]


def test_opens_an_empty_blob(repository, simulator, describe):
    simulator.add_blob("team/app", b"")
    assert repository.open(describe(b"")).read() == b""


def test_a_missing_blob_is_not_found_when_opened(repository, describe):
    with pytest.raises(NotFoundError, match="blob sha256"):
        repository.open(describe(b"none"))


def test_has_what_the_registry_has(repository, pushed, describe):
    assert repository.has(pushed.descriptor)
    assert repository.has(pushed.layers[0])
    assert not repository.has(describe(b"none"))
    assert not repository.has(describe(b"none", mediatypes.OCI_MANIFEST))


def test_puts_a_whole_image_and_tags_it(repository, simulator, image):
    manifest, blobs = image
    for raw, descriptor in zip(blobs, [manifest.config, *manifest.layers], strict=True):
        repository.put(io.BytesIO(raw), descriptor)
    repository.put(io.BytesIO(manifest.raw), manifest.descriptor)
    repository.tag(manifest.descriptor, "1.2")
    held = simulator.repositories["team/app"]
    assert held.tags == {"1.2": manifest.descriptor.digest}
    assert held.manifests[manifest.descriptor.digest] == (manifest.media_type, manifest.raw)
    assert sorted(held.blobs.values()) == sorted(blobs)
    assert simulator.sent("GET", "manifests") == []


def test_tags_what_it_has_not_seen_by_reading_it(repository, simulator, pushed):
    repository.tag(pushed.descriptor, "2")
    assert simulator.repositories["team/app"].tags["2"] == pushed.descriptor.digest


@pytest.mark.parametrize("size", [0, 1, 255, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_blobs_of_all_sizes_go_up_and_come_down(repository, simulator, describe, size):
    raw = bytes(range(256)) * (size // 256 + 1)
    raw = raw[:size]
    repository.put(io.BytesIO(raw), describe(raw))
    assert repository.open(describe(raw)).read() == raw
    parts = [*simulator.sent("PATCH", "uploads"), *simulator.sent("PUT", "uploads")]
    assert len(parts) == (1 if size <= 1024 * 1024 else 2)
    assert [len(part.body) for part in parts if part.body] == [size][: size or 0]
    assert parts[0].headers["Content-Length"] == str(size)
    assert parts[0].headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_a_blob_of_unknown_digest_is_streamed(repository, simulator, describe, size):
    raw = b"x" * size
    descriptor = repository.put_new(io.BytesIO(raw), "text/plain")
    assert descriptor == describe(raw, "text/plain")
    assert simulator.repositories["team/app"].blobs == {descriptor.digest: raw}


@pytest.mark.parametrize("stream", [b"right byte", b"right bytes too many", b""])
def test_attack_stream_of_another_size_stores_nothing(repository, simulator, describe, stream):
    expected = describe(b"right bytes")
    with pytest.raises(SizeMismatchError):
        repository.put(io.BytesIO(stream), expected)
    assert simulator.repositories["team/app"].blobs == {}
    assert simulator.uploads == {}, "the session is cancelled"


def test_attack_stream_of_other_bytes_stores_nothing(repository, simulator, describe):
    with pytest.raises(DigestMismatchError, match="says the registry"):
        repository.put(io.BytesIO(b"wrong bytes"), describe(b"right bytes"))
    assert simulator.repositories["team/app"].blobs == {}


def test_bytes_found_wrong_while_read_never_reach_the_registry_whole(
    repository, simulator, describe
):
    simulator.checks_digests = False
    expected = describe(b"right" * 100_000)
    with pytest.raises(DigestMismatchError):
        repository.put(verifying(io.BytesIO(b"wrong" * 100_000), expected), expected)
    assert simulator.repositories["team/app"].blobs == {}


def test_an_error_while_reading_is_the_one_that_is_raised(repository, simulator, describe):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        repository.put(Failing(b"12345"), describe(b"12345"))
    with pytest.raises(OSError, match="Input/output error"):
        repository.put_new(Failing(b"12345"), "text/plain")
    assert simulator.uploads == {}


def test_an_interrupt_cancels_the_upload(repository, simulator, describe):
    class Interrupting(io.BytesIO):
        def read(self, size=-1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repository.put(Interrupting(b"12345"), describe(b"12345"))
    assert simulator.uploads == {}


def test_refuses_a_manifest_larger_than_the_limit(repository, simulator, describe):
    raw = b" " * (4 * 1024 * 1024 + 1)
    with pytest.raises(TooLargeError):
        repository.put(io.BytesIO(raw), describe(raw, mediatypes.OCI_MANIFEST))
    digest = simulator.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, "big")
    simulator.fail_next("HEAD", 405)
    with pytest.raises(TooLargeError):
        repository.resolve("big")
    with pytest.raises(TooLargeError):
        repository.open(describe(raw, mediatypes.OCI_MANIFEST))
    assert digest not in repository._kept


def test_mounts_from_a_neighbour(new_client, at, simulator, describe):
    client = new_client()
    simulator.add_blob("team/base", b"shared")
    target, source = client.repository(at("team/app")), client.repository(at("team/base"))
    assert target.mount(describe(b"shared"), source)
    assert target.has(describe(b"shared"))


def test_does_not_mount_from_another_registry(new_client, new_simulator, at, repository, describe):
    other = new_simulator()
    source = new_client().repository(at("x").parse(f"{other.host}/team/base"))
    assert not repository.mount(describe(b"shared"), source)


def test_an_upload_begun_instead_of_a_mount_is_the_one_that_is_used(
    new_client, at, simulator, describe
):
    client = new_client()
    simulator.mounts = False
    target = client.repository(at("team/app"))
    assert not target.mount(describe(b"shared"), client.repository(at("team/base")))
    target.put(io.BytesIO(b"shared"), describe(b"shared"))
    assert len(simulator.sent("POST", "uploads")) == 1
    assert target.has(describe(b"shared"))


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refused_mount_leads_to_an_upload(new_client, at, simulator, describe, status):
    client = new_client()
    simulator.fail_next("POST", status, times=4)
    target = client.repository(at("team/app"))
    assert not target.mount(describe(b"shared"), client.repository(at("team/base")))


def test_lists_tags_over_several_pages(repository, simulator, pushed):
    simulator.page_size = 2
    for tag in ("2", "3", "4", "5"):
        simulator.repositories["team/app"].tags[tag] = pushed.descriptor.digest
    assert list(repository.tags()) == ["1", "2", "3", "4", "5"]
    assert len(simulator.sent("GET", "tags")) == 3


def test_lists_no_tags_where_the_registry_says_null(repository):
    assert list(repository.tags()) == []


def test_attack_tag_pages_that_lead_in_a_circle_end(repository, simulator):
    link = {"Link": '</v2/team/app/tags/list>; rel="next"'}
    simulator.fail_next("GET", 200, 9, link, body=b'{"tags": ["a"]}', at="tags")
    with pytest.raises(ProtocolError, match="pages do not end"):
        list(repository.tags())


def test_attack_tag_page_at_another_host_is_not_fetched(repository, simulator, new_simulator):
    other = new_simulator()
    link = {"Link": f'<{other.url}/v2/team/app/tags/list>; rel="next"'}
    simulator.fail_next("GET", 200, 1, link, body=b'{"tags": ["a"]}', at="tags")
    with pytest.raises(ProtocolError, match="another host"):
        list(repository.tags())
    assert other.requests == []


def test_attack_names_that_are_no_tags_are_left_out(repository, simulator):
    body = b'{"tags": ["good", "\\u001b[2Jevil", "../x"]}'
    simulator.fail_next("GET", 200, 1, body=body, at="tags")
    assert list(repository.tags()) == ["good"]


@pytest.mark.parametrize("body", [b"[]", b'{"tags": 3}', b'{"tags": [1]}', b"[" * 99999])
def test_attack_tag_list_that_is_none_is_refused(repository, simulator, body):
    simulator.fail_next("GET", 200, body=body, at="tags")
    with pytest.raises(ProtocolError, match="not a list of tags"):
        list(repository.tags())


def test_deletes_manifests_and_blobs(repository, simulator, pushed):
    repository.delete(pushed.descriptor)
    repository.delete(pushed.layers[0])
    assert not simulator.repositories["team/app"].manifests
    with pytest.raises(NotFoundError):
        repository.delete(pushed.descriptor)


def test_a_registry_that_does_not_delete_says_so(repository, simulator, pushed):
    simulator.fail_next("DELETE", 405)
    with pytest.raises(ProtocolError, match="405"):
        repository.delete(pushed.descriptor)


def test_remembers_no_more_manifests_than_fit(repository, simulator, describe):
    for number in range(8):
        raw = b'{"schemaVersion":2,"manifests":[],"x":"%s"}' % (b"%d" % number * 3_000_000)
        repository.put(io.BytesIO(raw), describe(raw, mediatypes.OCI_INDEX))
    assert sum(map(len, repository._kept.values())) <= 16 * 1024 * 1024


@pytest.mark.parametrize("content_type", [*mediatypes.MANIFESTS, *mediatypes.INDEXES, "text/plain"])
def test_attack_document_that_is_manifest_and_index_at_once_is_refused(
    repository, simulator, content_type
):
    """CVE-2021-41190: the Content-Type decided what it was, so two readers saw two images."""
    config = (
        b'{"mediaType":"application/vnd.oci.image.config.v1+json",'
        b'"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}'
    )
    raw = b'{"schemaVersion":2,"manifests":[],"config":%s,"layers":[]}' % config
    simulator.add_manifest("team/app", raw, content_type, "both")
    if content_type == "text/plain":
        with pytest.raises(InvalidDocumentError, match="at once"):
            repository.resolve("both")
    else:
        descriptor = repository.resolve("both")
        with pytest.raises(InvalidDocumentError, match="at once"):
            repository.open(descriptor)


@pytest.mark.parametrize("content_type", ["text/html", mediatypes.OCI_MANIFEST, ""])
def test_web_page_of_a_proxy_is_said_to_be_one(repository, simulator, content_type):
    kind = {"Content-Type": content_type}
    page = b"\n<!doctype html><title>Please log in</title>"
    simulator.fail_next("HEAD", 200, 1, {"Content-Type": "text/html"}, at="/manifests/")
    simulator.fail_next("GET", 200, 1, kind, body=page, at="/manifests/")
    with pytest.raises(ProtocolError, match="a web page came instead of an answer") as caught:
        repository.resolve("1")
    assert "Please log in" not in str(caught.value)


def test_attack_media_type_inside_that_is_not_the_one_announced_is_refused(
    repository, simulator, pushed
):
    simulator.add_manifest("team/app", pushed.raw, mediatypes.DOCKER_MANIFEST, "other")
    descriptor = repository.resolve("other")
    with pytest.raises(InvalidDocumentError):
        repository.open(descriptor)


def test_attack_kind_that_changes_between_resolving_and_opening_is_refused(
    repository, simulator, describe
):
    raw = b'{"schemaVersion":2,"manifests":[]}'
    simulator.add_manifest("team/app", raw, mediatypes.DOCKER_INDEX, "1")
    with pytest.raises(InvalidDocumentError):
        repository.open(describe(raw, mediatypes.OCI_INDEX))


def test_attack_other_manifest_than_the_digest_asked_for_is_refused(repository, simulator, pushed):
    other = Index.build(manifests=[])
    digest = pushed.descriptor.digest
    simulator.repositories["team/app"].manifests[digest] = (other.media_type, other.raw)
    with pytest.raises(DigestMismatchError):
        repository.open(pushed.descriptor)


def test_attack_digest_stated_for_a_tag_is_checked(repository, simulator, pushed):
    simulator.fail_next("HEAD", 405)
    simulator.say_too("GET", {"Docker-Content-Digest": sha256(b"another")})
    with pytest.raises(DigestMismatchError):
        repository.resolve("1")


def test_attack_digest_stated_after_a_put_is_checked(repository, simulator):
    index = Index.build(manifests=[])
    simulator.say_too("PUT", {"Docker-Content-Digest": sha256(b"another")})
    with pytest.raises(DigestMismatchError):
        repository.put(io.BytesIO(index.raw), index.descriptor)


@pytest.mark.parametrize(
    "evil",
    [b"evil!", b"goo", b"good?", b"", b"good" * 100],
    ids=["other", "short", "long", "empty", "much"],
)
def test_attack_blob_of_other_bytes_raises(repository, simulator, describe, evil):
    descriptor = describe(b"good!"[:4])
    simulator.repositories["team/app"].blobs[descriptor.digest] = evil
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        repository.open(descriptor).read()
