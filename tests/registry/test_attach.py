"""Files as an artifact."""

from pathlib import Path

import pytest

from registry.attach import TITLE, AttachedFile, attach, check_media_type
from registry.errors import DigestMismatchError, InvalidDocumentError, SizeMismatchError
from registry.image import read_document
from registry.memory import MemoryStore
from registry.oci import mediatypes


@pytest.mark.parametrize(
    ("text", "path", "media_type"),
    [
        ("a/b.txt", "a/b.txt", "application/octet-stream"),
        ("a/b.txt:text/plain", "a/b.txt", "text/plain"),
        ("a:b", "a:b", "application/octet-stream"),
        ("a:b:application/vnd.x.y+json", "a:b", "application/vnd.x.y+json"),
    ],
)
def test_reads_a_file_and_its_type(text, path, media_type):
    assert AttachedFile.parse(text) == AttachedFile(path=Path(path), media_type=media_type)


def test_a_file_whose_name_looks_like_a_type_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:text").mkdir()
    (tmp_path / "a:text" / "plain").touch()
    assert AttachedFile.parse("a:text/plain").path == Path("a:text/plain")


@pytest.mark.parametrize(
    ("path", "title"),
    [("a/b", "a/b"), ("./a", "a"), ("/a/b", "b"), ("../a", "a"), ("a/../b", "b")],
)
def test_titles_stay_in_a_folder(path, title):
    assert AttachedFile(path=Path(path)).title == title


@pytest.mark.parametrize("text", ["", "a", "a/", "/b", "a/b/c", "a b/c", "a/b;c", "a/é", "\x1b/a"])
def test_what_is_no_media_type_is_refused(text):
    with pytest.raises(InvalidDocumentError):
        check_media_type(text)


def test_an_artifact_without_files_has_the_empty_layer(builder):
    image = builder.image()
    artifact = attach(builder.store, image, [], artifact_type="example/none")
    manifest = read_document(builder.store, artifact)
    assert [layer.media_type for layer in manifest.layers] == [mediatypes.OCI_EMPTY]
    assert manifest.subject.digest == image.digest
    (found,) = builder.store.referrers(image.digest)
    assert found.digest == artifact.digest


def test_empty_and_large_files_are_layers(builder, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    files = [AttachedFile(path=tmp_path / name) for name in ("empty", "large")]
    artifact = attach(builder.store, builder.image(), files, artifact_type="example/files")
    layers = read_document(builder.store, artifact).layers
    assert [(layer.size, layer.annotations[TITLE]) for layer in layers] == [
        (0, "empty"),
        (3_000_000, "large"),
    ]
    assert builder.store.open(layers[1]).read() == bytes(3_000_000)


def test_a_file_that_changes_meanwhile_is_noticed(builder, tmp_path):
    path = tmp_path / "log"
    path.write_text("one")

    class Slow(MemoryStore):
        def has(self, descriptor):
            path.write_text("another")
            return super().has(descriptor)

    store = Slow()
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        attach(store, builder.image(), [AttachedFile(path=path)], artifact_type="a/b")
    assert list(store.referrers(builder.image().digest)) == []
