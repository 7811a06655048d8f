"""Whole images through `registry.copy`, in both directions, over a bad network."""

import random

import pytest

from registry.copy import Recompress, copy
from registry.memory import MemoryStore


@pytest.fixture
def image(new_builder):
    builder = new_builder()
    return builder.store, builder.index(builder.image(3, size=300_000), builder.image(5))


def test_an_index_goes_there_and_back(image, repository):
    store, root = image
    assert copy(store, repository, root, tags=("1", "2")) == root
    back = MemoryStore()
    copy(repository, back, repository.resolve("2"))
    assert back.open(root).read() == store.open(root).read()
    assert sorted(repository.tags()) == ["1", "2"]


def test_a_second_push_sends_no_blob(image, repository, simulator):
    store, root = image
    copy(store, repository, root, tags=("1",))
    before = len(simulator.sent("POST", "uploads"))
    copy(store, repository, root, tags=("2",))
    assert len(simulator.sent("POST", "uploads")) == before


def test_layers_compressed_on_the_way_survive_a_bad_network(image, repository, simulator):
    store, root = image
    simulator.cut_upload_after(100, times=2)
    simulator.fail_next("PATCH", 503)
    simulator.fail_next("PUT", 500, times=2)
    pushed = copy(store, repository, root, tags=("1",), recompress=Recompress(codec="gzip"))
    back = MemoryStore()
    assert copy(repository, back, repository.resolve("1")) == pushed
    assert simulator.uploads == {}


def test_a_neighbours_blobs_are_mounted(image, new_client, at, simulator):
    store, root = image
    client = new_client()
    copy(store, client.repository(at("team/base")), root, tags=("1",))
    before = len(simulator.sent("PUT", "/blobs/"))
    copy(client.repository(at("team/base")), client.repository(at("team/app")), root, tags=("1",))
    assert len(simulator.sent("PUT", "/blobs/")) == before


def test_from_one_registry_to_another_while_both_fail(
    image, repository, simulator, new_simulator, new_client, at
):
    store, root = image
    copy(store, repository, root, tags=("1",))
    other = new_simulator()
    target = new_client().repository(at("x").parse(f"{other.host}/team/app"))
    chance = random.Random(7)
    for _ in range(3):  # one blob may meet them all, and is tried four times
        simulator.cut_after(chance.randrange(300_000), at="/blobs/")
        other.fail_next("PUT", chance.choice((429, 500, 502, 503)))
        other.fail_next("POST", chance.choice((429, 500, 502, 503)))
    assert copy(repository, target, root, tags=("1",)) == root
    assert target.resolve("1") == root
