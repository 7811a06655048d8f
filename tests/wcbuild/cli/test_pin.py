"""`wcbuild pin`: what is printed, and the exit status."""

import json

import pytest


@pytest.fixture
def dockerfile(app, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(
        "Dockerfile", f"FROM {app}:both AS x\nRUN true  # {app}:both\nCOPY --from={app}:one / /\n"
    )


def test_rewrites_to_the_registrys_digests(wcbuild, app, dockerfile, layout):
    dockerfile.chmod(0o600)
    before = dockerfile.read_text()
    both, one = (f"{app}:{tag}@{layout.resolve(tag).digest}" for tag in ("both", "one"))
    out = wcbuild("pin").out
    assert out.splitlines() == [
        f"Dockerfile:1: FROM {app}:both -> {both}",
        f"Dockerfile:3: COPY --from={app}:one -> {one}",
    ]
    assert dockerfile.read_text() == before.replace(f"FROM {app}:both", f"FROM {both}").replace(
        f"from={app}:one", f"from={one}"
    )
    assert dockerfile.stat().st_mode & 0o777 == 0o600
    assert wcbuild("pin").out == ""


def test_check_lists_and_changes_nothing(wcbuild, app, dockerfile, simulator):
    before, asked = dockerfile.read_text(), len(simulator.requests)
    outcome = wcbuild("pin", "--check", status=1)
    assert outcome.out.splitlines() == [
        f"Dockerfile:1: FROM {app}:both: unpinned",
        f"Dockerfile:3: COPY --from={app}:one: unpinned",
    ]
    assert dockerfile.read_text() == before
    assert len(simulator.requests) == asked
    wcbuild("pin")
    assert wcbuild("pin", "--check").out == ""


def test_update_and_check_say_what_moved(wcbuild, app, dockerfile, layout):
    wcbuild("pin")
    wcbuild("copy", f"{app}:two", f"{app}:one")
    assert wcbuild("pin", "--check").out == ""
    two = layout.resolve("two").digest
    outcome = wcbuild("pin", "--check", "--update", status=1)
    assert outcome.out.endswith(f": outdated (now {two})\n")
    assert wcbuild("pin").out == ""
    assert wcbuild("pin", "--update").out.endswith(f"-> {app}:one@{two}\n")
    assert wcbuild("pin", "--check", "--update").out == ""


def test_json_tells_of_every_image(wcbuild, app, dockerfile, write):
    write("other", f"ARG X\nFROM $X\nFROM {app}@sha256:{'0' * 64}\n")
    out = wcbuild("pin", "-f", "Dockerfile", "-f", "other", "--format", "json").out
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["file"], row["line"], row["state"]) for row in rows] == [
        ("Dockerfile", 1, "unpinned"),
        ("Dockerfile", 3, "unpinned"),
        ("other", 2, "unclear"),
        ("other", 3, "pinned"),
    ]


def test_what_is_left_alone_is_told(wcbuild, app, write):
    file = write("x", f"ARG TAG\nFROM {app}:$TAG\n")
    outcome = wcbuild("pin", "-f", file)
    assert outcome.out == ""
    assert outcome.err == f"{file}:2: FROM {app}:$TAG: left alone: it has a variable\n"
    assert wcbuild("pin", "--check", "-f", file, status=1).out.endswith("unclear\n")


def test_nothing_is_written_when_one_image_is_not_there(wcbuild, app, dockerfile, write):
    other = write("other", f"FROM {app}:nothing\n")
    before = dockerfile.read_text()
    outcome = wcbuild("pin", "-f", "Dockerfile", "-f", other, status=1)
    assert "not found" in outcome.err
    assert dockerfile.read_text() == before


def test_build_contexts_are_left_alone(wcbuild, app, dockerfile):
    wcbuild("pin", "--build-context", f"{app}:both=.", "--build-context", f"{app}:one")
    assert "@sha256" not in dockerfile.read_text()


@pytest.mark.parametrize(
    ("content", "said"), [("", "cannot be empty"), ("FORM x\n", "unknown instruction: FORM")]
)
def test_a_file_that_is_no_dockerfile(wcbuild, write, content, said):
    file = write("x", content)
    assert said in wcbuild("pin", "-f", file, status=1).err
    assert file.read_text() == content


def test_a_file_that_is_not_there(wcbuild, tmp_path):
    assert "No such file" in wcbuild("pin", "-f", tmp_path / "x", status=1).err
    assert "not a regular file" in wcbuild("pin", "-f", tmp_path, status=1).err
