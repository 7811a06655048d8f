"""Which command the words of a command line mean."""

import pytest

IMAGE = "127.0.0.1:1/team/app:1"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder that commands run in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    return folder


def test_flags_of_every_command_may_stand_before_its_name(wcbuild, place, tmp_path):
    wcbuild("copy", place("one"), f"store:{IMAGE}")
    assert "team/app" in wcbuild("--root", tmp_path / "store", "images").out
    assert wcbuild(f"--root={tmp_path / 'other'}", "--debug", "images").out.count("\n") == 1
    assert wcbuild("--debug", "manifest", "get", place("one")).out.startswith("{")


def test_a_flag_behind_the_name_counts_more_than_one_before_it(wcbuild, tmp_path):
    out = wcbuild("--root", tmp_path / "store", "images", "--root", tmp_path / "other").out
    assert (out.count("\n"), (tmp_path / "store").exists()) == (1, False)


def test_flags_before_a_folder_are_those_of_a_build(wcbuild, folder, tmp_path):
    (folder / "Dockerfile").write_text("FROM scratch\nCMD x\n")
    with_flags = wcbuild("--root", tmp_path / "store", "-q", ".").out
    assert with_flags == wcbuild("--debug", "build", "-q", ".").out
    assert with_flags.startswith("sha256:")


@pytest.mark.parametrize("words", [("--help",), ("--debug", "-h"), ("--root", "x", "help")])
def test_help_is_given_behind_flags_of_every_command(wcbuild, words):
    assert wcbuild(*words).out.startswith("usage: wcbuild [build]")


@pytest.mark.parametrize(
    "words", [("help", "copy"), ("copy", "--help"), ("--debug", "help", "copy")]
)
def test_help_of_a_command_may_be_asked_for_in_dockers_way(wcbuild, words):
    assert wcbuild(*words).out.startswith("usage: wcbuild copy")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["-q", "images"], 1, "a command comes before its own flags: wcbuild images ...\n"),
        (["-q", "pull", IMAGE], 2, "a command comes before its own flags: wcbuild pull ...\n"),
        (["imags"], 1, 'did you mean "wcbuild images"?\n'),
        (["--debug", "psuh", IMAGE], 2, 'did you mean "wcbuild push"?\n'),
    ],
)
def test_who_meant_another_command_than_build_is_told_so(wcbuild, words, status, said):
    assert wcbuild(*words, status=status).err.endswith(said)


@pytest.mark.parametrize("words", [["nothing-like-it"], ["-"], ["--no-such-flag", "."]])
def test_who_meant_a_build_is_told_of_nothing_else(wcbuild, words):
    status = 2 if len(words) > 1 else 1
    last = wcbuild(*words, status=status).err.splitlines()[-1]
    assert last.startswith("ERROR: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["images", "--formt=json"], 'unknown flag "--formt", did you mean "--format"?'),
        (["registry", "serve", "--listn", "x"], 'unknown flag "--listn", did you mean "--listen"?'),
        (["copy", "a", "b", "c"], 'unexpected argument "c"'),
        (["copy", "a"], "the following arguments are required: DST"),
        (["--network", "foo", "."], "argument --network: invalid choice: 'foo'"),
        (["manifest", "gt", IMAGE], "argument ACTION: invalid choice: 'gt'"),
    ],
)
def test_wrong_words_are_told_in_one_line_that_says_who_knows_more(wcbuild, words, said):
    outcome = wcbuild(*words, status=2)
    assert outcome.out == ""
    assert outcome.err.startswith(f"ERROR: {said}")
    assert outcome.err.endswith(" --help shows what there is)\n")
    assert outcome.err.count("\n") == 1


def test_a_folder_named_like_a_command_is_built_when_the_build_is_named(wcbuild, folder):
    (folder / "images").mkdir()
    (folder / "images" / "Dockerfile").write_text("FROM scratch\nCMD x\n")
    assert wcbuild("build", "-q", "images").out == wcbuild("-q", "./images").out
