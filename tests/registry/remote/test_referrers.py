"""Referrers of a registry that lists them, and of one that does not."""

import io
import threading

import pytest

from registry.errors import InvalidDocumentError, NotFoundError, ProtocolError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import Index, Manifest, parse_index
from registry.reference import Reference
from registry.referrers import fallback_tag
from registry.store import Referrers

SUBJECT = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256(b"x"), size=1)
LIST = f"sha256-{sha256(b'x').hex}"


EMPTY = Descriptor(media_type=mediatypes.OCI_EMPTY, digest=sha256(b"{}"), size=2)


def refer(repository, name: str, artifact_type: str = "example/sbom", **fields) -> Descriptor:
    if not repository.has(EMPTY):
        repository.put(io.BytesIO(b"{}"), EMPTY)
    manifest = Manifest.build(
        config=EMPTY,
        layers=[EMPTY],
        annotations={"name": name},
        artifact_type=artifact_type,
        subject=SUBJECT,
        **fields,
    )
    repository.put(io.BytesIO(manifest.raw), manifest.descriptor)
    return manifest.descriptor


def names(found) -> list[str]:
    return sorted(each.annotations["name"] for each in found)


@pytest.fixture(params=["api", "fallback"])
def kind(request, simulator):
    simulator.referrers = request.param == "api"
    return request.param


def test_lists_what_was_put_with_type_and_annotations(kind, repository, simulator):
    assert isinstance(repository, Referrers)
    assert list(repository.referrers(SUBJECT.digest)) == []
    one = refer(repository, "one")
    refer(repository, "two", "example/signature")
    found = {each.annotations["name"]: each for each in repository.referrers(SUBJECT.digest)}
    assert sorted(found) == ["one", "two"]
    assert found["one"].digest == one.digest
    assert found["one"].artifact_type == "example/sbom"
    assert (LIST in simulator.repositories["team/app"].tags) == (kind == "fallback")


def test_artifact_type_chooses_also_where_the_registry_does_not(kind, repository, simulator):
    refer(repository, "one")
    refer(repository, "two", "example/signature+json")
    for filters in (True, False):
        simulator.filters_referrers = filters
        found = repository.referrers(SUBJECT.digest, "example/signature+json")
        assert names(found) == ["two"]


def test_a_config_stands_for_a_type_that_is_not_stated(kind, repository):
    refer(repository, "one", "")
    assert [e.artifact_type for e in repository.referrers(SUBJECT.digest)] == [mediatypes.OCI_EMPTY]


def test_follows_pages(repository, simulator):
    simulator.page_size = 2
    for number in range(5):
        refer(repository, f"{number}")
    assert names(repository.referrers(SUBJECT.digest)) == ["0", "1", "2", "3", "4"]
    assert names(repository.referrers(SUBJECT.digest, "example/sbom")) == ["0", "1", "2", "3", "4"]


def test_pages_without_end_are_refused(repository, simulator):
    simulator.say_too(
        "GET", {"Link": f'</v2/team/app/referrers/{SUBJECT.digest}>; rel="next"'}, 9, at="referrers"
    )
    with pytest.raises(ProtocolError, match="do not end"):
        list(repository.referrers(SUBJECT.digest))


def test_a_proxys_page_is_not_a_list_of_referrers(repository, simulator):
    simulator.referrers = False
    refer(repository, "one")
    simulator.fail_next("GET", 200, headers={"Content-Type": "text/html"}, body=b"<p>", at="referr")
    assert names(repository.referrers(SUBJECT.digest)) == ["one"]


def test_failures_are_not_mistaken_for_no_referrers(repository, simulator):
    simulator.fail_next("GET", 403, at="referrers")
    with pytest.raises(Exception, match="refused"):
        list(repository.referrers(SUBJECT.digest))


def test_putting_again_does_not_list_twice(kind, repository, simulator):
    refer(repository, "one")
    before = len(simulator.sent("PUT", LIST))
    refer(repository, "one")
    assert names(repository.referrers(SUBJECT.digest)) == ["one"]
    assert len(simulator.sent("PUT", LIST)) == before


def test_what_another_tool_listed_stays(repository, simulator):
    simulator.referrers = False
    other = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256(b"other"), size=5)
    index = Index.build(manifests=[other], annotations={"by": "somebody"})
    simulator.add_manifest("team/app", index.raw, index.media_type, LIST)
    refer(repository, "one")
    repositories = simulator.repositories["team/app"]
    _, raw = repositories.manifests[repositories.tags[LIST]]
    assert parse_index(raw).manifests[0] == other
    assert parse_index(raw).annotations == {"by": "somebody"}
    assert len(parse_index(raw).manifests) == 2


def test_a_fallback_tag_that_is_no_list_is_left_alone(repository, simulator):
    simulator.referrers = False
    config = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=sha256(b"{}"), size=2)
    raw = Manifest.build(config=config, layers=()).raw
    digest = simulator.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, LIST)
    with pytest.raises(InvalidDocumentError):
        refer(repository, "one")
    assert simulator.repositories["team/app"].tags[LIST] == digest


def test_deleting_takes_a_referrer_off_the_list(kind, repository, simulator):
    one = refer(repository, "one")
    refer(repository, "two")
    repository.delete(one)
    assert names(repository.referrers(SUBJECT.digest)) == ["two"]
    with pytest.raises(NotFoundError):
        repository.resolve(one.digest)


def test_a_refused_deletion_leaves_the_list(repository, simulator):
    simulator.referrers = False
    one = refer(repository, "one")
    simulator.fail_next("DELETE", 405)
    with pytest.raises(ProtocolError, match="405"):
        repository.delete(one)
    assert names(repository.referrers(SUBJECT.digest)) == ["one"]


def test_untagging_leaves_the_manifest(repository, simulator):
    one = refer(repository, "one")
    repository.tag(one, "a")
    repository.tag(one, "b")
    repository.untag("a")
    assert list(repository.tags()) == ["b"]
    with pytest.raises(NotFoundError):
        repository.untag("a")
    simulator.untags = False
    with pytest.raises(ProtocolError):
        repository.untag("b")
    assert repository.resolve("b").digest == one.digest


def test_f35_writers_at_once_lose_no_referrer(new_client, simulator):
    simulator.referrers = False
    write_at_once(new_client, simulator.host)


@pytest.mark.peers
def test_f35_writers_at_once_lose_no_referrer_of_an_old_registry(new_client, new_docker_registry):
    write_at_once(new_client, new_docker_registry())


def write_at_once(new_client, host: str) -> None:
    reference = Reference.parse(f"{host}/team/app")
    # Debian's registry trips over one blob that many upload at once; this is about the list.
    new_client().repository(reference).put(io.BytesIO(b"{}"), EMPTY)
    errors = []

    def write(number: int) -> None:
        try:
            refer(new_client().repository(reference), f"{number}")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = new_client().repository(reference).referrers(SUBJECT.digest)
    assert names(found) == [str(number) for number in range(8)]


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        (f"sha256:{'a' * 64}", f"sha256-{'a' * 64}"),
        (f"sha512:{'b' * 128}", f"sha512-{'b' * 64}"),
    ],
)
def test_fallback_tags_are_digests_cut_to_a_tags_length(digest, tag):
    assert fallback_tag(Digest(digest)) == tag
