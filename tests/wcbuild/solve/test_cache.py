from registry.oci.digest import sha256
from wcbuild.graph.keys import digest
from wcbuild.solve.cache import LocalCache, Record, timestamp

RECORD = Record(
    diff_id=sha256(b"layer"),
    size=5,
    identity=digest("identity"),
    created="2024-01-01T00:00:00Z",
)


def test_finds_what_it_remembered(tmp_path):
    cache = LocalCache(tmp_path, lambda _: True)
    assert cache.find(digest("a")) is None
    cache.remember(digest("a"), RECORD)
    assert cache.find(digest("a")) == RECORD
    assert list(cache.records()) == [(digest("a"), RECORD)]


def test_a_record_whose_layer_is_gone_is_no_record(tmp_path):
    LocalCache(tmp_path, lambda _: True).remember(digest("a"), RECORD)
    cache = LocalCache(tmp_path, lambda _: False)
    assert cache.find(digest("a")) is None
    assert cache.knew(digest("a"))
    assert not cache.knew(digest("b"))


def test_a_damaged_record_is_no_record(tmp_path):
    cache = LocalCache(tmp_path, lambda _: True)
    for text in (b"", b"{", b"[]", b'{"diffId": "sha256:../../x"}'):
        (tmp_path / digest("a")).write_bytes(text)
        assert cache.find(digest("a")) is None


def test_clear_forgets_everything(tmp_path):
    cache = LocalCache(tmp_path, lambda _: True)
    cache.remember(digest("a"), RECORD)
    assert cache.clear() == 1
    assert cache.find(digest("a")) is None


def test_timestamps_are_utc_without_needless_zeros():
    assert timestamp(0) == "1970-01-01T00:00:00Z"
    assert timestamp(1700000000.25) == "2023-11-14T22:13:20.25Z"
