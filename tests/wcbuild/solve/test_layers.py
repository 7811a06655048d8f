import pytest
from windowslayers import file

from wcbuild.errors import LayerError
from wcbuild.graph.ops import WINDOWS
from wcbuild.layer.changes import Change
from wcbuild.snapshot.copying import CopyingSnapshotter
from wcbuild.solve.layers import Layers
from wcbuild.solve.results import empty, stacked
from wcbuild.store import open_store


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def layers(store):
    return opened(store)


def opened(store):
    return Layers(store, CopyingSnapshotter(store.root), ownership=False, devices=False)


def pack(layers, *changes, **options):
    return layers.pack(changes, created="2024-01-01T00:00:00Z", epoch=None, **options)[0]


def test_squashing_changes_to_the_registry_is_refused(layers):
    base = stacked((layers.windows_scratch(),), WINDOWS)
    one = pack(layers, file("a"), for_os=WINDOWS)
    two = pack(layers, file("b"), for_os=WINDOWS, hives={"Software_Delta": b"regf"})
    assert layers.squash(base, (one, one)).diff_id
    with pytest.raises(LayerError, match=f"{two.diff_id}: changes the registry"):
        layers.squash(base, (one, two))


def test_a_squashed_layer_is_as_new_as_the_last_of_its_layers(layers):
    one = pack(layers, file("a", b"1"), Change("gone", None))
    two = layers.pack([file("b")], created="2025-01-01T00:00:00Z", epoch=None)[0]
    assert layers.squash(empty(), (one, two)).created == two.created


def test_what_is_squashed_needs_no_index(layers, store):
    one, two = pack(layers, file("a", b"1")), pack(layers, file("a", b"2"), file("b"))
    first = layers.squash(empty(), (one, two))
    for path in (store.root / "indexes").iterdir():
        path.unlink()
    assert opened(store).squash(empty(), (one, two)) == first
