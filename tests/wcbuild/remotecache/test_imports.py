"""Results elsewhere: found after those here, their layers brought here when they are wanted."""

import io
import threading

import pytest

from registry.errors import NotFoundError, UnreachableError
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.reference import Reference
from wcbuild.graph.keys import digest
from wcbuild.remotecache.document import CachedResult
from wcbuild.remotecache.imports import ImportedCache, Place
from wcbuild.solve.cache import Cache, LocalCache, Record
from wcbuild.solve.events import Notice
from wcbuild.store import open_store

TAR = b"t" * 3000


class Elsewhere(MemoryStore):
    """A repository that counts what is opened, and may be dead."""

    def __init__(self):
        super().__init__()
        self.opened = []
        self.dead = False

    def open(self, descriptor):
        self.opened.append(descriptor.digest)
        if self.dead:
            raise UnreachableError("dead.local", "connection refused")
        return super().open(descriptor)

    def has(self, descriptor):
        if self.dead:
            raise UnreachableError("dead.local", "connection refused")
        return super().has(descriptor)


def record_of(tar, name="a"):
    return Record(
        diff_id=sha256(tar), size=len(tar), identity=digest(name), created="2024-01-01T00:00:00Z"
    )


def place_of(*tars, registry="a.local", repository=None):
    """Return a place that knows a result for each tar, under a key of its place."""
    repository = repository or Elsewhere()
    results = []
    for number, tar in enumerate(tars):
        blob = Descriptor(media_type=mediatypes.OCI_LAYER, digest=sha256(tar), size=len(tar))
        repository.put(io.BytesIO(tar), blob)
        results.append(
            CachedResult(keys=(digest(number),), record=record_of(tar, number), layer=blob)
        )
    reference = Reference.parse(f"{registry}/app:cache")
    return Place(
        name=str(reference), repository=repository, reference=reference, results=tuple(results)
    )


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def events():
    return []


@pytest.fixture
def importing(store, events):
    def make(*places, staying=()):
        local = LocalCache(store.root / "cache", store.has)
        cache: Cache = ImportedCache(
            local,
            lambda: places,
            store,
            events.append,
            cancel=threading.Event(),
            staying=frozenset(staying),
        )
        return cache

    return make


def test_what_is_found_is_fetched_only_when_it_is_wanted(importing, store):
    place = place_of(TAR)
    cache = importing(place)
    record = cache.find(digest(0))
    assert record == record_of(TAR, 0)
    assert place.repository.opened == []
    assert cache.obtain([record.layer], dry=True) == set()
    assert place.repository.opened == []
    assert cache.obtain([record.layer, record.layer]) == set()
    assert place.repository.opened == [record.diff_id]
    assert store.open(record.layer).read() == TAR
    assert cache.obtain([record.layer]) == set()
    assert len(place.repository.opened) == 1
    # From now on it is as if it had been built here.
    assert importing().find(digest(0)) == record


def test_what_is_here_is_found_first(importing, store):
    here = record_of(b"here")
    store.put(io.BytesIO(b"here"), here.layer)
    LocalCache(store.root / "cache", store.has).remember(digest(0), here)
    assert importing(place_of(TAR)).find(digest(0)) == here


def test_the_first_place_that_knows_a_key_decides_and_any_may_have_the_layer(importing, store):
    first, second = place_of(TAR, b"old"), place_of(b"other", b"new", TAR, registry="b.local")
    first.repository._blobs.clear()
    cache = importing(first, second)
    assert cache.find(digest(0)).diff_id == sha256(TAR)
    assert cache.find(digest(1)).diff_id == sha256(b"old")
    assert cache.obtain([record_of(TAR).layer]) == set()
    assert store.open(record_of(TAR).layer).read() == TAR


def test_what_nobody_has_is_lost_and_found_no_more(importing, events):
    known = CachedResult(keys=(digest("x"),), record=record_of(b"x"), layer=None)
    place = Place(name="p", repository=Elsewhere(), reference=None, results=(known,))
    cache = importing(place)
    record = cache.find(digest("x"))
    assert cache.obtain([record.layer]) == {record.diff_id}
    assert cache.find(digest("x")) is None
    assert events == []  # it was never promised


def test_layers_stay_where_the_results_go_if_they_are_there(importing, store):
    cache = importing(place_of(TAR), staying=["a.local"])
    layer = cache.find(digest(0)).layer
    assert cache.obtain([layer], may_stay=True) == set()
    assert not store.has(layer)
    assert cache.located(layer) == layer
    assert cache.obtain([layer]) == set()
    assert store.has(layer)


@pytest.mark.parametrize("staying", [(), ("b.local",)])
def test_layers_do_not_stay_elsewhere(importing, store, staying):
    cache = importing(place_of(TAR), staying=staying)
    layer = cache.find(digest(0)).layer
    assert cache.obtain([layer], may_stay=True) == set()
    assert store.has(layer)


def test_a_dead_place_is_asked_once(importing, events):
    tars = [bytes([n]) * 100 for n in range(20)]
    place = place_of(*tars)
    cache = importing(place)
    layers = [cache.find(digest(n)).layer for n in range(20)]
    place.repository.dead = True
    assert cache.obtain(layers) == {layer.digest for layer in layers}
    assert len(place.repository.opened) <= 4  # as many as at once
    assert all(isinstance(each, Notice) and each.level == "warning" for each in events)
    assert cache.obtain(layers[:1], may_stay=True) == {layers[0].digest}


@pytest.mark.parametrize("size", [2999, 3001, 1 << 40])
def test_attack_a_layer_of_another_size_is_not_taken(importing, store, events, size):
    place = place_of(TAR)
    lie = Record(
        diff_id=sha256(TAR), size=size, identity=digest("a"), created="2024-01-01T00:00:00Z"
    )
    result = CachedResult(keys=(digest(0),), record=lie, layer=place.results[0].layer)
    cache = importing(
        Place(name="p", repository=place.repository, reference=None, results=(result,))
    )
    assert cache.obtain([cache.find(digest(0)).layer]) == {sha256(TAR)}
    assert not store.blobs.has(sha256(TAR))
    assert "bytes" in events[0].text


def test_attack_a_layer_of_another_content_is_not_taken(importing, store, events):
    place = place_of(TAR)
    lie = CachedResult(
        keys=(digest(0),), record=record_of(b"x" * 3000), layer=place.results[0].layer
    )
    cache = importing(Place(name="p", repository=place.repository, reference=None, results=(lie,)))
    assert cache.obtain([cache.find(digest(0)).layer]) == {sha256(b"x" * 3000)}
    assert list(store.blobs) == []
    assert "expected digest" in events[0].text


def test_blobs_are_opened_wherever_they_are(importing, store):
    cache = importing(place_of(TAR))
    assert cache.open(cache.find(digest(0)).layer).read() == TAR
    with pytest.raises(NotFoundError):
        cache.open(record_of(b"unknown").layer)
