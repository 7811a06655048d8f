import _thread
import io
import signal
import threading
import time
from dataclasses import replace

import pytest

from registry.copy import BlobProgress, Foreign, Recompress, copy
from registry.errors import (
    DigestMismatchError,
    InvalidDocumentError,
    NotFoundError,
    RegistryError,
    UnreachableError,
)
from registry.image import check_image, read_image
from registry.layout import OciLayout
from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import Index, Manifest
from registry.oci.platform import Platform

GZIP = Recompress(codec="gzip")


class Recorder(MemoryStore):
    """Notes the order of what is put, read and tagged."""

    def __init__(self):
        super().__init__()
        self.put_order, self.opened, self.tagged = [], [], []

    def put(self, stream, expected):
        super().put(stream, expected)
        self.put_order.append(expected.digest)

    def put_new(self, stream, media_type):
        new = super().put_new(stream, media_type)
        self.put_order.append(new.digest)
        return new

    def open(self, descriptor):
        self.opened.append(descriptor.digest)
        return super().open(descriptor)

    def tag(self, descriptor, tag):
        self.put_order.append(tag)
        super().tag(descriptor, tag)


class Memo(dict):
    def find(self, diff_id, encoder):
        return self.get((diff_id, encoder))

    def remember(self, diff_id, encoder, descriptor):
        self[diff_id, encoder] = descriptor


def notes(events):
    return sorted(event.note for event in events if event.finished)


def test_copies_an_image_whole(builder):
    root, target = builder.image(3), MemoryStore()
    assert copy(builder.store, target, root, tags=("v1", "latest")) == root
    assert target.resolve("v1") == target.resolve("latest") == root
    check_image(read_image(target, root, None), target)


def test_children_come_before_parents_and_tags_last(builder):
    one, two = builder.image(2), builder.image(3, Platform.parse("linux/arm64"))
    inner = builder.index(two)
    root, target = builder.index(one, inner), Recorder()
    copy(builder.store, target, root, tags=("v1",))
    documents = target.put_order[-5:]
    assert documents == [one.digest, two.digest, inner.digest, root.digest, "v1"]
    assert len(target.put_order) == len(set(target.put_order))


def test_a_manifest_listed_twice_is_copied_before_both_parents(builder):
    image = builder.image()
    inner = builder.index(image)
    root, target = builder.index(inner, image), Recorder()
    copy(builder.store, target, root)
    assert target.put_order[-3:] == [image.digest, inner.digest, root.digest]


def test_what_is_there_is_neither_read_nor_sent(builder):
    source, target, events = Recorder(), Recorder(), []
    builder.store = source
    root = builder.image(3)
    copy(source, target, root)
    source.opened.clear()
    target.put_order.clear()
    copy(source, target, root, emit=events.append)
    assert source.opened == [root.digest]
    assert target.put_order == []
    assert notes(events) == ["exists"] * 4


def test_mounts_where_the_target_can(builder):
    class Neighbour(MemoryStore):
        def mount(self, descriptor, source):
            if descriptor.media_type != mediatypes.OCI_LAYER:
                return False
            self.put(source.open(descriptor), descriptor)
            return True

    root, events, target = builder.image(2), [], Neighbour()
    copy(builder.store, target, root, emit=events.append)
    assert notes(events) == ["copying", "mounted", "mounted"]
    check_image(read_image(target, root, None), target)


def test_progress_counts_up_to_the_total(builder):
    root, events = builder.image(1, size=10_000_000), []
    copy(builder.store, MemoryStore(), root, emit=events.append)
    (layer,) = read_image(builder.store, root, None).layers
    mine = [event for event in events if event.digest == layer.descriptor.digest]
    assert all(isinstance(event, BlobProgress) for event in mine)
    assert [event.done for event in mine] == sorted(event.done for event in mine)
    assert mine[-1].finished
    assert mine[-1].done == mine[-1].total == layer.descriptor.size
    assert 5 < len(mine) < 15


def test_events_come_one_at_a_time(builder):
    busy = threading.Lock()

    def emit(event):
        assert busy.acquire(blocking=False)
        busy.release()

    copy(builder.store, MemoryStore(), builder.image(20, size=3_000_000), emit=emit)


def test_one_failed_blob_does_not_lose_the_others(builder):
    root = builder.image(5)
    bad = read_image(builder.store, root, None).layers[2].descriptor.digest

    class Refusing(Recorder):
        def put(self, stream, expected):
            if expected.digest == bad:
                raise NotFoundError("it", "here")
            super().put(stream, expected)

    target = Refusing()
    with pytest.raises(NotFoundError):
        copy(builder.store, target, root, tags=("v1",))
    assert len(target.put_order) == 5
    assert root.digest not in target.put_order
    with pytest.raises(NotFoundError):
        target.resolve("v1")


def test_all_failures_are_told(builder):
    class Refusing(MemoryStore):
        def put(self, stream, expected):
            raise NotFoundError(f"blob {expected.size}", "here")

    with pytest.raises(NotFoundError) as caught:
        copy(builder.store, Refusing(), builder.image(2))
    assert len(caught.value.__notes__) == 2


def test_attack_wrong_bytes_from_the_source_do_not_arrive(builder):
    root = builder.image(1)
    digest = read_image(builder.store, root, None).layers[0].descriptor.digest
    builder.store._blobs[digest] = bytes(len(builder.store._blobs[digest]))
    target = MemoryStore()
    for recompress in (None, GZIP):
        with pytest.raises(DigestMismatchError):
            copy(builder.store, target, root, recompress=recompress)
    assert not target.has(root)


def test_attack_deep_or_wide_trees_are_refused(builder, monkeypatch):
    root = builder.image(0)
    for _ in range(10):
        root = builder.index(root)
    with pytest.raises(InvalidDocumentError, match="nested"):
        copy(builder.store, MemoryStore(), root)
    monkeypatch.setattr("registry.copy.MAX_DOCUMENTS", 3)
    wide = builder.index(*(builder.image(number) for number in range(5)))
    with pytest.raises(RegistryError, match="number of manifests"):
        copy(builder.store, MemoryStore(), wide)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compresses_plain_layers_and_keeps_the_image_id(builder, codec):
    root, target = builder.image(3, size=100_000), MemoryStore()
    new = copy(builder.store, target, root, tags=("v1",), recompress=Recompress(codec=codec))
    assert new.digest != root.digest
    assert target.resolve("v1") == new
    image = read_image(target, new, None)
    assert image.id == read_image(builder.store, root, None).id
    assert [layer.descriptor.media_type for layer in image.layers] == [mediatypes.layer(codec)] * 3
    check_image(image, target)


def test_compressed_layers_go_as_they_are(builder):
    middle = MemoryStore()
    compressed = copy(builder.store, middle, builder.image(2), recompress=GZIP)
    assert (
        copy(middle, MemoryStore(), compressed, recompress=Recompress(codec="zstd")) == compressed
    )


def test_compressing_twice_gives_the_same_image(builder):
    root = builder.image(3, size=600_000)
    results = {copy(builder.store, MemoryStore(), root, recompress=GZIP).digest for _ in range(3)}
    assert len(results) == 1


def test_an_index_names_the_compressed_images(builder):
    arm = Platform.parse("linux/arm64")
    plain = builder.image(2)
    artifact_config = builder.blob(b"{}", mediatypes.OCI_EMPTY)
    artifact = builder.document(
        Manifest.build(config=artifact_config, layers=[builder.layer(7)], artifact_type="a/b")
    )
    root = builder.index(replace(builder.image(3, arm), platform=arm), plain, artifact)
    target = MemoryStore()
    new = copy(builder.store, target, root, recompress=GZIP)
    index = target.resolve(new.digest)
    assert index.digest == new.digest
    check_image(read_image(target, new, arm), target)
    from registry.oci.manifest import parse_index

    entries = parse_index(target.open(new).read()).manifests
    assert entries[0].platform == arm
    assert entries[1].digest != plain.digest
    assert entries[2].digest == artifact.digest  # an artifact's content is not ours to change


def test_rewriting_a_manifest_keeps_its_other_fields(builder):
    layer = replace(builder.layer(), annotations={"a": "b"})
    config = builder.config([layer.digest])
    subject = builder.image(0)
    root = builder.document(
        Manifest.build(config=config, layers=[layer], annotations={"c": "d"}, subject=subject)
    )
    target = MemoryStore()
    new = read_image(target, copy(builder.store, target, root, recompress=GZIP), None).manifest
    assert new.annotations == {"c": "d"}
    assert new.subject == subject
    assert new.layers[0].annotations == {"a": "b"}


def test_docker_manifests_get_dockers_media_types(builder):
    layer = replace(builder.layer(), media_type=mediatypes.DOCKER_LAYER)
    config = replace(builder.config([layer.digest]), media_type=mediatypes.DOCKER_CONFIG)
    root = builder.document(
        Manifest.build(config=config, layers=[layer], media_type=mediatypes.DOCKER_MANIFEST)
    )
    target = MemoryStore()
    new = read_image(target, copy(builder.store, target, root, recompress=GZIP), None).manifest
    assert new.layers[0].media_type == mediatypes.DOCKER_LAYER_GZIP
    assert new.media_type == mediatypes.DOCKER_MANIFEST


def test_a_memo_spares_compressing_again(builder):
    builder.store = Recorder()
    root, target, memo = builder.image(2), MemoryStore(), Memo()
    how = Recompress(codec="gzip", memo=memo)
    new = copy(builder.store, target, root, recompress=how)
    assert len(memo) == 2
    builder.store.opened.clear()
    events = []
    assert copy(builder.store, target, root, recompress=how, emit=events.append) == new
    assert builder.store.opened == [root.digest]
    assert notes(events) == ["exists"] * 3


def test_what_a_memo_knows_is_made_again_for_another_target(builder):
    root, memo, second = builder.image(2), Memo(), Recorder()
    how = Recompress(codec="gzip", memo=memo)
    new = copy(builder.store, MemoryStore(), root, recompress=how)
    assert copy(builder.store, second, root, recompress=how) == new
    check_image(read_image(second, new, None), second)


def test_a_memo_that_is_wrong_is_corrected(builder):
    root, memo = builder.image(2), Memo()
    how = Recompress(codec="gzip", memo=memo)
    new = copy(builder.store, MemoryStore(), root, recompress=how)
    for key in memo:
        memo[key] = replace(memo[key], digest=sha256(b"other"))
    target = MemoryStore()
    assert copy(builder.store, target, root, recompress=how) == new
    check_image(read_image(target, new, None), target)
    assert all(descriptor.digest != sha256(b"other") for descriptor in memo.values())


def foreign_image(builder, media_type=mediatypes.OCI_FOREIGN_LAYER):
    here = replace(builder.layer(1), media_type=media_type, urls=("https://example.com/1",))
    config = builder.config([here.digest])
    return here, builder.document(Manifest.build(config=config, layers=[here]))


@pytest.mark.parametrize("foreign", [Foreign.LEAVE_OUT, Foreign.TAKE_ALONG])
def test_layers_that_may_not_be_distributed_are_left_out_or_taken_along(builder, foreign):
    layer, root = foreign_image(builder)
    target, events = MemoryStore(), []
    copied = copy(builder.store, target, root, foreign=foreign, recompress=GZIP, emit=events.append)
    assert copied == root
    assert target.has(layer) is (foreign is Foreign.TAKE_ALONG)
    assert target.has(root)
    assert ("foreign" in notes(events)) is (foreign is Foreign.LEAVE_OUT)


@pytest.mark.parametrize("in_index", [False, True])
@pytest.mark.parametrize(
    ("foreign", "ordinary"),
    [
        (mediatypes.OCI_FOREIGN_LAYER, mediatypes.OCI_LAYER),
        (mediatypes.DOCKER_FOREIGN_LAYER_GZIP, mediatypes.OCI_LAYER_GZIP),
    ],
)
def test_layers_that_may_not_be_distributed_become_ordinary_ones(
    builder, foreign, ordinary, in_index
):
    layer, root = foreign_image(builder, foreign)
    target = MemoryStore()
    wanted = builder.index(root) if in_index else root
    copied = copy(builder.store, target, wanted, foreign=Foreign.CONVERT)
    image = read_image(target, copied, None)
    (made,) = image.manifest.layers
    assert made == replace(layer, media_type=ordinary, urls=())
    assert target.has(made)
    assert image.config_raw == read_image(builder.store, root, None).config_raw
    assert copied.digest != wanted.digest


def test_an_index_may_list_plain_blobs(builder):
    blob = builder.blob(b"anything", "application/x-thing")
    root, target = builder.index(blob), MemoryStore()
    copy(builder.store, target, root)
    assert target.open(blob).read() == b"anything"


def test_an_empty_index_is_copied(builder):
    root, target = builder.index(), MemoryStore()
    copy(builder.store, target, root, tags=("v1",))
    assert target.resolve("v1") == root


def test_missing_manifest_is_told_before_anything_is_written(builder):
    gone = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=sha256(b"x"), size=1)
    root, target = builder.index(builder.image(), gone), Recorder()
    with pytest.raises(NotFoundError):
        copy(builder.store, target, root)
    assert target.put_order == []


def test_an_interrupt_stops_the_others(builder):
    class Endless(MemoryStore):
        def open(self, descriptor):
            if descriptor.media_type != mediatypes.OCI_LAYER:
                return super().open(descriptor)
            # Nothing wakes the one who waits, as after a signal whose instant was just before that.
            time.sleep(0.1)
            _thread.interrupt_main()
            return Zeros()

    class Zeros(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    class Swallowing(MemoryStore):
        ended = threading.Event()

        def put(self, stream, expected):
            try:
                while stream.read(1 << 20):
                    pass
            finally:
                self.ended.set()

    source, target = Endless(), Swallowing()
    builder.store = source
    root = builder.image(1)
    with pytest.raises(KeyboardInterrupt):
        copy(source, target, root)
    assert target.ended.wait(120)


PUSH = """
import pathlib, resource, sys
from registry.copy import Recompress, copy
from registry.layout import OciLayout
source, target = (OciLayout(pathlib.Path(path)) for path in sys.argv[1:])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
copy(source, target, source.resolve(""), tags=("v1",), recompress=Recompress(codec="gzip"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


def test_memory_stays_small_whatever_the_size(tmp_path, new_builder, run_python):
    builder = new_builder(OciLayout(tmp_path / "source"))
    builder.store.tag(builder.image(4, size=50_000_000), "v1")
    out = run_python(PUSH, tmp_path / "source", tmp_path / "target")
    assert int(out.stdout) < 64 * 1024


def test_documents_keep_their_exact_bytes(builder):
    import json

    pretty = json.dumps(json.loads(Index.build(manifests=[builder.image()]).raw), indent=2).encode()
    root = builder.blob(pretty, mediatypes.OCI_INDEX)
    target = MemoryStore()
    copy(builder.store, target, root)
    assert target.open(root).read() == pretty


@pytest.mark.parametrize("recompress", [None, GZIP], ids=["plain", "gzip"])
def test_a_broken_upload_can_read_its_stream_again(builder, recompress):
    class Broken(MemoryStore):
        def put(self, stream, expected):
            stream.read(2_500_000)
            stream.seek(0)
            super().put(stream, expected)

        def put_new(self, stream, media_type):
            stream.read(2_500_000)
            raise UnreachableError("here", "the connection broke")

    root, target = builder.image(2, size=6_000_000), Broken()
    new = copy(builder.store, target, root, recompress=recompress)
    check_image(read_image(target, new, None), target)


def test_kill_9_in_the_middle_is_made_good_by_the_next_copy(tmp_path, new_builder, run_python):
    builder = new_builder(OciLayout(tmp_path / "source"))
    builder.store.tag(builder.image(4), "v1")
    target = OciLayout(tmp_path / "target")
    killed = run_python(
        PUSH, tmp_path / "source", tmp_path / "target", WCBUILD_FAILPOINTS="blobs.after_rename=kill"
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(NotFoundError):
        target.resolve("v1")
    done = run_python(PUSH, tmp_path / "source", tmp_path / "target")
    assert done.returncode == 0
    check_image(read_image(target, target.resolve("v1"), None), target)
