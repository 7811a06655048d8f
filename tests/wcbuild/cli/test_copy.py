"""`wcbuild copy`: places, platforms, and what comes along."""

import itertools
import json
from dataclasses import replace

import pytest
from images import Builder

from registry.archive import open_archive
from registry.layout import OciLayout
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.referrers import fallback_tag


def digest_of(simulator, name: str, tag: str) -> str:
    return simulator.repositories[name].tags[tag]


def attach(wcbuild, place, tmp_path, name="sbom.json", kind="example/sbom") -> str:
    (tmp_path / name).write_text(name)
    return wcbuild("attach", place, tmp_path / name, "--artifact-type", kind).out.strip()


def test_all_platforms_come_and_digests_stay(wcbuild, place, layout, remote, simulator):
    printed = wcbuild("copy", place("both"), remote("a/b:x")).out.strip()
    assert printed == layout.resolve("both").digest == digest_of(simulator, "a/b", "x")
    assert len(simulator.repositories["a/b"].manifests) == 3
    wcbuild("copy", remote("a/b:x"), f"docker://{remote('c/d:y')}")
    assert digest_of(simulator, "c/d", "y") == printed


def test_each_kind_of_place_gives_the_same_image(wcbuild, place, layout, remote, tmp_path):
    wanted = layout.resolve("one").digest
    chain = [
        place("one"),
        f"oci-archive:{tmp_path / 'a.tar'}:1",
        remote("app:1"),
        f"oci:{tmp_path / 'other'}:1",
    ]
    for source, target in itertools.pairwise(chain):
        assert wcbuild("copy", source, target).out.strip() == wanted
    assert wcbuild("copy", chain[-1], "store:app:1").out.strip() == wanted
    docker = f"docker-archive:{tmp_path / 'docker.tar'}:team/app:1"
    wcbuild("copy", chain[-1], docker)
    assert wcbuild("ls", f"docker-archive:{tmp_path / 'docker.tar'}").out == (
        "docker.io/team/app:1\n"
    )
    wcbuild("copy", docker, "store:again")
    assert len(wcbuild("images", "-q").out.split()) == 2


def test_plain_layers_of_the_local_store_are_compressed_on_their_way_out(
    wcbuild, place, layout, remote, simulator
):
    wcbuild("copy", place("one"), "store:app:1")
    wcbuild("copy", "store:app:1", remote("a:1"))
    (layer,) = wcbuild("manifest", "get", remote("a:1")).json["layers"]
    assert layer["mediaType"].endswith("+gzip")
    wcbuild("copy", "--referrers", "store:app:1", remote("a:2"))
    assert digest_of(simulator, "a", "2") == layout.resolve("one").digest


def test_plain_layers_of_a_registry_stay_plain(wcbuild, place, layout, remote, simulator):
    raw = layout.open(layout.resolve("one")).read()
    wcbuild("copy", place("one"), remote("a:1"))
    wcbuild("copy", remote("a:1"), remote("b:1"))
    digest = digest_of(simulator, "b", "1")
    assert simulator.repositories["b"].manifests[digest][1] == raw


def test_one_platform_is_its_manifest(wcbuild, place, layout, remote, simulator):
    wcbuild("copy", "--platform", "linux/arm64", place("both"), remote("a:1"))
    assert digest_of(simulator, "a", "1") == layout.resolve("two").digest


def test_several_platforms_are_a_new_index_of_the_same_manifests(wcbuild, tmp_path, layout, remote):
    index = json.loads(layout.open(layout.resolve("both")).read())
    s390x = Platform(os="linux", architecture="s390x")
    image = replace(Builder(layout).image(3, s390x), platform=s390x)
    third = image.to_json()
    attestation = {
        **index["manifests"][1],
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.digest": index["manifests"][1]["digest"]},
    }
    index["manifests"] += [third, attestation]
    index["example"] = {"kept": True}
    (tmp_path / "index.json").write_text(json.dumps(index))
    place = f"oci:{tmp_path / 'layout'}:three"
    wcbuild("manifest", "put", place, tmp_path / "index.json")
    printed = wcbuild("copy", "--platform", "s390x,linux/arm64", place, remote("a:1")).out.strip()
    got = wcbuild("manifest", "get", remote("a:1")).json
    assert got["manifests"] == [index["manifests"][1], third, attestation]
    assert got["example"] == {"kept": True}
    assert printed != layout.resolve("three").digest
    all_of_them = wcbuild(
        *("copy", place, remote("a:2"), "--platform", "linux/amd64"),
        *("--platform", "arm64", "--platform", "s390x"),
    ).out.strip()
    assert all_of_them == layout.resolve("three").digest


def test_a_platform_that_is_not_there_is_refused(wcbuild, place, remote, simulator):
    outcome = wcbuild("copy", "--platform", "riscv64,amd64", place("both"), remote("a:1"), status=1)
    assert "linux/riscv64" in outcome.err
    assert "linux/amd64, linux/arm64" in outcome.err
    assert simulator.repositories["a"].tags == {}
    assert simulator.repositories["a"].manifests == {}


@pytest.mark.parametrize("api", [True, False])
def test_referrers_come_along_when_asked(wcbuild, place, layout, remote, simulator, tmp_path, api):
    simulator.referrers = api
    about_both = attach(wcbuild, place("both"), tmp_path)
    about_one = attach(wcbuild, place("one"), tmp_path, "signature", "example/signature")
    about_sbom = attach(wcbuild, place(f"both@{about_both}"), tmp_path, "note", "example/note")
    wcbuild("copy", place("both"), remote("a:1"))
    assert list(remote.repository("a").referrers(layout.resolve("both").digest)) == []
    wcbuild("copy", "--referrers", place("both"), remote("a:1"))
    repository = remote.repository("a")
    for subject, wanted in (
        (layout.resolve("both").digest, about_both),
        (layout.resolve("one").digest, about_one),
        (Digest(about_both), about_sbom),
    ):
        assert [each.digest for each in repository.referrers(subject)] == [wanted]
    # And back, by way of every other kind of place.
    wcbuild("copy", "--referrers", remote("a:1"), "store:app:1")
    wcbuild("copy", "--referrers", "store:app:1", f"oci-archive:{tmp_path / 'x.tar'}:1")
    with open_archive(open(tmp_path / "x.tar", "rb"), "x.tar") as archive:
        found = archive.referrers(layout.resolve("both").digest)
        assert [each.digest for each in found] == [about_both]
    wcbuild("copy", "--referrers", f"oci-archive:{tmp_path / 'x.tar'}", f"oci:{tmp_path / 'y'}:1")
    other = OciLayout(tmp_path / "y")
    assert [e.digest for e in other.referrers(Digest(about_both), "example/note")] == [about_sbom]
    assert other.resolve("").digest == layout.resolve("both").digest


def test_a_referrer_that_an_interrupted_copy_left_unlisted_is_listed(
    wcbuild, place, layout, remote, simulator, tmp_path
):
    simulator.referrers = False
    attach(wcbuild, place("one"), tmp_path)
    wcbuild("copy", "--referrers", place("one"), remote("a:1"))
    subject = layout.resolve("one").digest
    del simulator.repositories["a"].tags[fallback_tag(subject)]
    wcbuild("copy", "--referrers", place("one"), remote("a:1"))
    assert len(list(remote.repository("a").referrers(subject))) == 1


def test_signatures_come_along_when_asked(wcbuild, place, layout, remote, simulator):
    tags = [
        f"{fallback_tag(layout.resolve(n).digest)}.{s}"
        for n, s in (("both", "sig"), ("one", "att"))
    ]
    for tag in tags:
        layout.tag(layout.resolve("two"), tag)
    wcbuild("copy", place("both"), remote("a:1"))
    assert sorted(simulator.repositories["a"].tags) == ["1"]
    wcbuild("copy", "--signatures", place("both"), remote("a:1"))
    assert sorted(simulator.repositories["a"].tags) == ["1", *sorted(tags)]
    wcbuild("copy", "--signatures", remote("a:1"), "store:kept/app:1")
    assert sorted(wcbuild("ls", "store:kept/app").out.split()) == ["1", *sorted(tags)]


def test_the_tag_moves_last(wcbuild, place, remote, simulator, tmp_path):
    attach(wcbuild, place("one"), tmp_path)
    wcbuild("copy", "--referrers", place("one"), remote("a:1"))
    assert simulator.sent("PUT", "/manifests/")[-1].path == "/v2/a/manifests/1"


def test_json_says_what_the_target_has(wcbuild, place, layout, remote):
    answer = wcbuild("copy", "--format", "json", place("both"), remote("a:1")).json
    both = layout.resolve("both")
    assert answer == {"digest": both.digest, "mediaType": both.media_type, "size": both.size}
    assert wcbuild("copy", "--format", "{{.size}}", place("one"), remote("a:2")).out.strip()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("copy", "{one}", "a/b@sha256:" + "0" * 64), 2, "a tag, not a digest"),
        (("copy", "{one}", "store:sha256:" + "0" * 64), 2, "a name, not an id"),
        (("copy", "{both}", "docker-archive:{tmp}/x.tar"), 1, "choose a platform"),
        (("copy", "--referrers", "{one}", "docker-archive:{tmp}/x.tar"), 2, "no place for referr"),
        (("copy", "{one}", "https://example.com/a"), 2, "invalid reference"),
        (("copy", "oci:{tmp}/nothing", "store:a"), 1, "not found"),
        (("copy", "oci-archive:{tmp}/nothing.tar", "store:a"), 1, "No such file"),
        (("copy", "{one}", "upper/Case:1"), 2, "must be lower case"),
    ],
)
def test_bad_words_are_told_in_one_sentence(wcbuild, place, tmp_path, words, status, said):
    known = {"one": place("one"), "both": place("both"), "tmp": tmp_path}
    outcome = wcbuild(*(word.format(**known) for word in words), status=status)
    assert said in outcome.err
    assert outcome.out == ""
    assert outcome.err.count("\n") <= 1
    assert not (tmp_path / "x.tar").exists()
    assert wcbuild("images", "-q").out == ""


def test_an_index_is_not_mistaken_for_an_image_by_images(wcbuild, place):
    wcbuild("copy", place("both"), "store:app")
    assert "app" in wcbuild("images").out
