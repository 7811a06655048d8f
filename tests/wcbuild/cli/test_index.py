"""`wcbuild index create|add|remove|annotate`."""

import json

import pytest
from images import Builder

from registry.oci.platform import Platform

S390X = Platform(os="linux", architecture="s390x")


@pytest.fixture
def three(layout, place):
    """A third image of the layout, for s390x."""
    layout.tag(Builder(layout).image(3, S390X), "three")
    return place("three")


def platforms(index: dict) -> list[str]:
    return [entry["platform"]["architecture"] for entry in index["manifests"]]


def test_create_reads_platforms_from_configs(wcbuild, app, layout, simulator):
    answer = wcbuild(
        "index",
        "create",
        f"{app}:new",
        f"{app}:one",
        f"{app}@{layout.resolve('two').digest}",
        "--annotation",
        "a=b",
        "--format",
        "json",
    ).json
    index = wcbuild("manifest", "get", f"{app}:new").json
    assert platforms(index) == ["amd64", "arm64"]
    assert index["annotations"] == {"a": "b"}
    assert answer["manifests"] == index["manifests"]
    assert simulator.repositories["team/app"].tags["new"] == answer["digest"]


def test_create_copies_what_is_elsewhere(wcbuild, place, remote, layout, simulator):
    wcbuild("copy", place("two"), remote("other:1"))
    wcbuild("index", "create", remote("a:1"), place("one"), remote("other:1"))
    index = wcbuild("manifest", "get", remote("a:1")).json
    assert [entry["digest"] for entry in index["manifests"]] == [
        layout.resolve("one").digest,
        layout.resolve("two").digest,
    ]
    wcbuild("copy", remote("a:1"), "store:whole")


def test_create_takes_the_entries_of_an_index(wcbuild, place, remote, three):
    wcbuild("index", "create", remote("a:1"), place("both"), three, place("one"))
    assert platforms(wcbuild("manifest", "get", remote("a:1")).json) == ["amd64", "arm64", "s390x"]


def test_create_refuses_two_images_for_one_platform(wcbuild, layout, place, remote, simulator):
    layout.tag(Builder(layout).image(4), "other")
    outcome = wcbuild("index", "create", remote("a:1"), place("one"), place("other"), status=1)
    assert "two images for linux/amd64" in outcome.err
    assert simulator.repositories["a"].tags == {}


def test_add_appends_or_takes_the_place_of_its_platform(wcbuild, layout, app, three, place):
    wcbuild("index", "add", f"{app}:both", three)
    assert platforms(wcbuild("manifest", "get", f"{app}:both").json) == ["amd64", "arm64", "s390x"]
    newer = Builder(layout).image(5)
    layout.tag(newer, "newer")
    outcome = wcbuild("index", "add", f"{app}:both", place("newer"))
    assert outcome.err.endswith(f"replaced {layout.resolve('one').digest}\n")
    index = wcbuild("manifest", "get", f"{app}:both").json
    assert platforms(index) == ["arm64", "s390x", "amd64"]
    assert index["manifests"][-1]["digest"] == newer.digest
    again = wcbuild("index", "add", f"{app}:both", place("newer"))
    assert again.out == outcome.out


def test_remove_takes_entries_with_their_attestations(wcbuild, layout, app, write):
    index = wcbuild("manifest", "get", f"{app}:both").json
    one, two = index["manifests"]
    index["manifests"].append(
        {
            **two,
            "annotations": {"vnd.docker.reference.digest": one["digest"]},
            "platform": {"os": "unknown", "architecture": "unknown"},
        }
    )
    index["example"] = 1
    wcbuild("manifest", "put", f"{app}:attested", write("x.json", json.dumps(index)))
    wcbuild("index", "remove", f"{app}:attested", "linux/amd64")
    left = wcbuild("manifest", "get", f"{app}:attested").json
    assert left["manifests"] == [two]
    assert left["example"] == 1
    wcbuild("index", "remove", f"{app}:attested", two["digest"])
    assert wcbuild("manifest", "get", f"{app}:attested").json["manifests"] == []


def test_annotate_changes_the_index_or_one_entry(wcbuild, app):
    wcbuild("index", "annotate", f"{app}:both", "--annotation", "a=1", "--annotation", "b=2")
    wcbuild("index", "annotate", f"{app}:both", "--remove-annotation", "a")
    wcbuild(
        "index",
        "annotate",
        f"{app}:both",
        "--entry",
        "linux/arm64",
        "--annotation",
        "c=3",
        "--set-platform",
        "linux/arm64/v9",
    )
    index = wcbuild("manifest", "get", f"{app}:both").json
    assert index["annotations"] == {"b": "2"}
    assert index["manifests"][1]["annotations"] == {"c": "3"}
    assert index["manifests"][1]["platform"]["variant"] == "v9"
    assert "annotations" not in index["manifests"][0]


def test_annotate_wants_to_be_told_what_to_change(wcbuild, app):
    assert "give --annotation" in wcbuild("index", "annotate", f"{app}:both", status=2).err


def test_layouts_and_the_local_store_have_indexes_too(wcbuild, place, three, tmp_path):
    wcbuild("index", "add", place("both"), three)
    assert platforms(wcbuild("manifest", "get", place("both")).json)[-1] == "s390x"
    wcbuild("index", "create", "store:app:1", place("one"), place("two"))
    assert platforms(wcbuild("manifest", "get", "store:app:1").json) == ["amd64", "arm64"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("add", "{app}:one", "{app}:two"), 1, "is one image's manifest, not an index"),
        (("add", "{app}:nothing", "{app}:two"), 1, "not found"),
        (("create", "{app}@sha256:" + "0" * 64, "{app}:two"), 2, "a tag, not a digest"),
        (("create", "{app}:x", "{app}:nothing"), 1, "not found"),
        (("remove", "{app}:both", "s390x"), 1, "which has linux/amd64, linux/arm64"),
        (("annotate", "{app}:both", "--annotation", "a"), 2, "expected NAME=TEXT"),
        (("annotate", "{app}:both", "--set-platform", "arm64"), 2, "needs --entry"),
        (("create", "oci-archive:x.tar:1", "{app}:two"), 2, "is an archive"),
    ],
)
def test_refusals_leave_the_index_as_it_was(wcbuild, app, simulator, words, status, said):
    before = dict(simulator.repositories["team/app"].tags)
    outcome = wcbuild("index", *(word.format(app=app) for word in words), status=status)
    assert said in outcome.err
    assert simulator.repositories["team/app"].tags == before
