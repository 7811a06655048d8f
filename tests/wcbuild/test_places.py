"""Places as they are written, and the local store as a repository."""

import io
import re
from pathlib import Path

import pytest
from images import Builder

from registry.errors import InvalidDigestError, InvalidReferenceError, NotFoundError
from registry.layout import OciLayout
from registry.oci.digest import Digest
from wcbuild.errors import UsageError
from wcbuild.places import Place, Places
from wcbuild.store import open_store

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "kind", "path", "name"),
    [
        ("debian", "docker://", "docker.io/library/debian", ""),
        ("docker://debian:12", "docker://", "docker.io/library/debian", "12"),
        ("localhost:5000/a/b", "docker://", "localhost:5000/a/b", ""),
        ("localhost:5000/a/b:c", "docker://", "localhost:5000/a/b", "c"),
        ("oci:a/b", "oci:", "a/b", ""),
        ("oci:a/b:c", "oci:", "a/b", "c"),
        ("oci:/a:b/c", "oci:", "/a:b/c", ""),
        ("oci-archive:/a/b.tar:1", "oci-archive:", "/a/b.tar", "1"),
        ("docker-archive:b.tar", "docker-archive:", "b.tar", ""),
        ("docker-archive:b.tar:a/b:1", "docker-archive:", "b.tar", "a/b:1"),
        ("store:a/b:1", "store:", "a/b:1", "1"),
        ("store:a/b", "store:", "a/b", ""),
        (f"store:{DIGEST}", "store:", DIGEST, ""),
    ],
)
def test_reads_places(text, kind, path, name):
    place = Place.parse(text)
    assert (place.kind, place.path, place.name, place.digest) == (kind, path, name, None)
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize("text", [f"a/b@{DIGEST}", f"oci:a/b@{DIGEST}", f"store:a/b:1@{DIGEST}"])
def test_a_digest_is_what_is_wanted_and_cannot_be_written(text):
    place = Place.parse(text)
    assert place.wanted == DIGEST
    with pytest.raises(UsageError, match="a tag, not a digest"):
        _ = place.tag


def test_what_is_meant_without_a_tag():
    assert Place.parse("debian").wanted == "latest"
    assert Place.parse("oci:x").wanted == ""
    assert [Place.parse(text).tag for text in ("debian", "oci:x", "store:x")] == ["latest"] * 3
    assert Place.parse("x", default="store:").kind == "store:"


@pytest.mark.parametrize("text", ["dir:/a", "docker-daemon:app:1", "containers-storage:app"])
def test_places_of_other_tools_are_not_taken_for_names_of_images(text):
    with pytest.raises(InvalidReferenceError, match="places are docker://REF, oci:DIR"):
        Place.parse(text)


@pytest.mark.parametrize("text", ["docker://", "docker://A", "store:A", "a b", "http://a/b"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidReferenceError):
        Place.parse(text)


def test_what_is_no_digest_is_refused():
    with pytest.raises(InvalidDigestError):
        Place.parse("oci:x@sha256:../../etc")


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    yield store
    store.close()


def refuse():
    raise AssertionError("no registry is needed")


def test_the_local_store_is_a_repository_of_each_name(store):
    places = Places(store=lambda: store, client=refuse, policy=refuse)
    place = Place.parse("store:team/app:1")
    repository = places.repository(place)
    builder = Builder(OciLayout(store.root / "tmp" / "x"))
    image = builder.image(1)
    for digest in (image, *_children(builder.store, image)):
        repository.put(io.BytesIO(builder.store.open(digest).read()), digest)
    assert repository.has(image)
    with pytest.raises(NotFoundError):
        repository.resolve("1")
    repository.tag(image, "1")
    repository.tag(image, "2")
    places.repository(Place.parse("store:team/other")).tag(image, "3")
    assert sorted(repository.tags()) == ["1", "2"]
    assert repository.resolve("2") == repository.resolve("") == image
    assert repository.resolve(image.digest) == image
    by_id = places.repository(Place.parse(f"store:{store.find('team/app:1').image_id}"))
    assert by_id.resolve("") == image
    with pytest.raises(NotFoundError):
        repository.find_blob(Digest(DIGEST))


def _children(layout, image):
    from registry.image import read_document

    manifest = read_document(layout, image)
    return (manifest.config, *manifest.layers)


def test_an_archive_cannot_be_changed(store):
    places = Places(store=lambda: store, client=refuse, policy=refuse)
    with pytest.raises(UsageError, match="only be written as a whole"):
        places.repository(Place.parse("oci-archive:x.tar"))


def test_the_documentations_example_runs(tmp_path, monkeypatch, simulator, capsys):
    text = (Path(__file__).parents[2] / "docs" / "registry-tools.md").read_text()
    (block,) = re.findall(
        r"<!-- tests/wcbuild/test_places.py.*?```python\n(.*?)```", text, re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    builder = Builder(OciLayout(Path("layout")))
    builder.store.tag(builder.image(), "both")
    opened = []

    def open_and_remember(root):
        opened.append(open_store(root))
        return opened[-1]

    block = block.replace("from wcbuild.store import open_store\n", "")
    names = {"host": simulator.host, "root": tmp_path / "s", "open_store": open_and_remember}
    exec(block, names)
    digest = capsys.readouterr().out.strip()
    assert simulator.repositories["team/app"].tags == {"1": digest}
    for store in opened:
        store.close()
