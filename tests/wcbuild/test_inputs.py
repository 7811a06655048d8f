"""The main context: its Dockerfile, its ignore file, and what is no context."""

from pathlib import Path

import pytest

from wcbuild import BuildRequest, build
from wcbuild.dockerfile.stages import MAX_DOCKERFILE_BYTES
from wcbuild.errors import ContextError, SourceError, UsageError
from wcbuild.inputs import STDIN, is_fetched, read_folder, read_ignore

TEXT = "FROM scratch\n"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "context"
    (root / "sub").mkdir(parents=True)
    return root


def patterns(rules):
    return rules.patterns if rules else ()


@pytest.mark.parametrize("name", ["Dockerfile", "sub/Dockerfile"])
def test_a_dockerfile_s_name_may_be_in_lower_case(folder, name):
    (folder / name.lower()).write_text(TEXT)
    found = read_folder(folder, None if name == "Dockerfile" else folder / name, None)
    assert found.source.name == "dockerfile"
    (folder / name).write_text("FROM other\n")
    found = read_folder(folder, folder / name, None)
    assert found.source.data == b"FROM other\n"


def test_other_names_are_taken_as_they_are_written(folder):
    (folder / "other").write_text(TEXT)
    with pytest.raises(SourceError, match="there is no Dockerfile"):
        read_folder(folder, folder / "Other", None)


def test_a_folder_is_not_suggested_as_a_dockerfile(folder):
    (folder / "bild").mkdir()
    with pytest.raises(SourceError, match="there is no Dockerfile") as caught:
        read_folder(folder, folder / "build", None)
    assert caught.value.hint == "name it with -f"
    (folder / "buil").write_text(TEXT)
    with pytest.raises(SourceError, match="there is no Dockerfile") as caught:
        read_folder(folder, folder / "build", None)
    assert caught.value.hint == 'did you mean "buil"?'


@pytest.mark.parametrize("link", ["../secret", "{root}/secret", "sub/way/secret"])
def test_a_dockerfile_of_the_context_does_not_lead_out_of_it(folder, tmp_path, link):
    (tmp_path / "secret").write_text("hush\n")
    (folder / "sub/way").symlink_to("../..")
    (folder / "Dockerfile").symlink_to(link.format(root=tmp_path))
    for file in (None, folder / "Dockerfile", folder / "sub/way/secret"):
        with pytest.raises(SourceError, match="is a link that leads out of") as caught:
            read_folder(folder, file, None)
        assert "hush" not in str(caught.value)


def test_a_dockerfile_may_be_a_link_within_the_context_or_lie_elsewhere(folder, tmp_path):
    (folder / "sub/real").write_text(TEXT)
    (folder / "Dockerfile").symlink_to("sub/real")
    assert read_folder(folder, None, None).source.data == TEXT.encode()
    (tmp_path / "link").symlink_to("context/sub/real")
    assert read_folder(folder, tmp_path / "link", None).source.data == TEXT.encode()
    # The context itself may be a link.
    (tmp_path / "other").symlink_to(folder)
    assert read_folder(tmp_path / "other", None, None).source.data == TEXT.encode()


def test_an_ignore_file_belongs_to_the_dockerfile_beside_it(folder, tmp_path):
    (folder / ".dockerignore").write_text("shared\n")
    (folder / "Dockerfile").write_text(TEXT)
    assert patterns(read_folder(folder, None, None).ignore) == ("shared",)
    (folder / "Dockerfile.dockerignore").write_text("own\n")
    assert patterns(read_folder(folder, None, None).ignore) == ("own",)
    (tmp_path / "Elsewhere").write_text(TEXT)
    (tmp_path / "Elsewhere.dockerignore").write_text("")
    assert patterns(read_folder(folder, tmp_path / "Elsewhere", None).ignore) == ()
    # Beside what comes from standard input there is none.
    assert patterns(read_folder(folder, STDIN, TEXT.encode()).ignore) == ("shared",)


def test_a_folder_called_like_an_ignore_file_is_a_folder(folder):
    (folder / ".dockerignore").mkdir()
    assert read_ignore(folder) is None


def test_an_ignore_file_that_is_too_large_is_refused(folder):
    with open(folder / ".dockerignore", "wb") as file:
        file.truncate(MAX_DOCKERFILE_BYTES + 1)
    with pytest.raises(ContextError, match="is larger than"):
        read_ignore(folder)


def test_a_wrong_pattern_is_told_with_the_name_of_its_file(folder):
    (folder / "Dockerfile.dockerignore").write_text("a\n[\n")
    with pytest.raises(SourceError) as caught:
        read_ignore(folder, folder / "Dockerfile")
    [span] = caught.value.spans
    assert (span.file, span.first) == (str(folder / "Dockerfile.dockerignore"), 2)


def test_no_context_is_none():
    with pytest.raises(UsageError, match="the build context is empty text"):
        build(BuildRequest(context=""))


@pytest.mark.parametrize("ref", ["a b", "-x", "main:../..", "main:%00"])
def test_a_git_url_that_makes_no_sense_is_told_before_anything_is_fetched(tmp_path, ref):
    url = f"https://h.example/app.git#{ref}"
    assert is_fetched(url, None)
    with pytest.raises(SourceError, match="git URL "):
        build(BuildRequest(context=url, root=Path(tmp_path)))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("n n", ".", '--build-context "n n": '),
        ("n", "", "--build-context n: expected NAME=VALUE"),
        ("context", ".", "--build-context context: that is the name of the main context"),
        ("n", "{folder}/file", 'build context "{folder}/file": is not a folder'),
        ("n", "{folder}/none", 'build context "{folder}/none": no such file or directory'),
    ],
)
def test_a_named_context_that_is_none_is_told(folder, tmp_path, name, value, told):
    (folder / "file").write_text("x")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY --from=n . /\n")
    contexts = {name: value.format(folder=folder)}
    request = BuildRequest(context=folder, root=tmp_path / "store", build_contexts=contexts)
    with pytest.raises((UsageError, ContextError)) as caught:
        build(request)
    assert str(caught.value).startswith(told.format(folder=folder))


def test_a_named_context_has_no_ignore_file_but_its_own(folder, tmp_path):
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY --from=n kept /\n")
    (folder / "sub/kept").write_text("x")
    (folder / "sub/Dockerfile.dockerignore").write_text("kept\n")
    (folder / "Dockerfile.dockerignore").write_text("kept\n")
    contexts = {"n": str(folder / "sub")}
    build(BuildRequest(context=folder, root=tmp_path / "store", build_contexts=contexts))
