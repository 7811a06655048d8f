"""`wcbuild sync`: which tags go where, and what is told of each."""

import json

import pytest


@pytest.fixture
def releases(wcbuild, app, remote):
    """`team/app` with versions beside the tags that `app` has."""
    for tag in ("1.0", "1.1", "1.1-rc1", "2.0"):
        wcbuild("copy", f"{app}:one", f"{app}:{tag}")
    return app


@pytest.fixture
def config(write):
    def make(**rule) -> str:
        return write("sync.yaml", json.dumps({"sync": [rule]}))

    return make


def tags(simulator, name="mirror") -> list[str]:
    return sorted(simulator.repositories[name].tags)


def test_copies_the_tags_that_patterns_choose(wcbuild, releases, remote, simulator, write, layout):
    file = write(
        "sync.yaml",
        f"""
sync:
  - source: {releases}          # a comment
    target: docker://{remote("mirror")}
    tags: ["1.*", both]
    exclude: ["*-rc*"]
""",
    )
    out = wcbuild("sync", file).out
    assert out.splitlines() == [
        f"copied {releases}:{tag} -> {remote('mirror')}:{tag}" for tag in ("1.0", "1.1", "both")
    ]
    assert tags(simulator) == ["1.0", "1.1", "both"]
    assert simulator.repositories["mirror"].tags["both"] == layout.resolve("both").digest


def test_what_is_there_already_is_not_touched(wcbuild, releases, remote, simulator, config):
    file = config(source=releases, target=remote("mirror"), tags=["1.0"])
    wcbuild("sync", file)
    before = len(simulator.sent("PUT"))
    assert wcbuild("sync", file).out.startswith("exists ")
    assert len(simulator.sent("PUT")) == before
    wcbuild("copy", f"{releases}:two", f"{releases}:1.0")
    assert wcbuild("sync", file).out.startswith("copied ")


def test_a_layout_with_whole_names_has_their_tags(
    wcbuild, layout, tmp_path, remote, simulator, config
):
    layout.tag(layout.resolve("one"), "docker.io/team/app:1.0")
    file = config(source=f"oci:{tmp_path / 'layout'}", target=remote("mirror"), tags=["1.*"])
    wcbuild("sync", file)
    assert tags(simulator) == ["1.0"]


def test_a_dry_run_sends_nothing(wcbuild, releases, remote, simulator, config):
    file = config(source=releases, target=remote("mirror"), tags=["1.*"])
    before = len(simulator.sent("PUT")), len(simulator.sent("POST"))
    out = wcbuild("sync", "--dry-run", file).out
    assert [line.split(" -> ")[0] for line in out.splitlines()] == [
        f"would copy {releases}:{tag}" for tag in ("1.0", "1.1", "1.1-rc1")
    ]
    assert (len(simulator.sent("PUT")), len(simulator.sent("POST"))) == before
    assert tags(simulator) == []


def test_no_pattern_is_all_tags_but_not_those_derived_from_digests(
    wcbuild, app, remote, simulator, config, layout
):
    wcbuild("copy", f"{app}:one", f"{app}:sha256-{layout.resolve('one').digest.hex}.sig")
    wcbuild("sync", config(source=app, target=remote("mirror")))
    assert tags(simulator) == ["both", "one", "two"]
    wcbuild("sync", config(source=app, target=remote("mirror"), signatures=True))
    assert len(tags(simulator)) == 4


def test_a_source_may_name_one_tag(wcbuild, app, remote, simulator, config):
    wcbuild("sync", config(source=f"{app}:one", target=remote("mirror")))
    assert tags(simulator) == ["one"]


def test_platforms_are_chosen_and_known_again(wcbuild, app, remote, simulator, config, layout):
    file = config(source=app, target=remote("mirror"), tags=["both"], platforms=["linux/arm64"])
    wcbuild("sync", file)
    assert simulator.repositories["mirror"].tags["both"] == layout.resolve("two").digest
    assert wcbuild("sync", file).out.startswith("exists ")


def test_referrers_of_what_is_there_already_are_brought_too(
    wcbuild, app, remote, config, write, layout
):
    file = config(source=app, target=remote("mirror"), tags=["one"], referrers=True)
    wcbuild("sync", file)
    wcbuild("attach", f"{app}:one", write("x", "x"), "--artifact-type", "a/b")
    assert wcbuild("sync", file).out.startswith("exists ")
    assert len(list(remote.repository("mirror").referrers(layout.resolve("one").digest))) == 1


def test_one_failure_does_not_stop_the_others(wcbuild, app, remote, simulator, write):
    rules = [
        {"source": remote("nothing:1"), "target": remote("mirror")},
        {"source": "oci:nowhere", "target": remote("mirror")},
        {"source": app, "target": remote("mirror"), "tags": ["one", "two"]},
    ]
    file = write("sync.yaml", json.dumps({"sync": rules}))
    broken = json.loads(wcbuild("manifest", "get", f"{app}:one").out)["config"]["digest"]
    del simulator.repositories["team/app"].blobs[broken]
    outcome = wcbuild("sync", "--format", "json", file, status=1)
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["state"] for row in rows] == ["failed", "failed", "failed", "copied"]
    assert "not found" in rows[0]["reason"]
    assert outcome.err.endswith("ERROR: 3 of 4 failed\n")
    assert tags(simulator) == ["two"]


def test_what_many_repositories_share_is_written_once(wcbuild, app, remote, simulator, write):
    rules = f"- &all {{source: '{app}', target: '{remote('mirror')}', tags: [one, two]}}"
    more = f"- {{<<: *all, target: '{remote('other')}', exclude: [two]}}"
    wcbuild("sync", write("sync.yaml", f"sync:\n{rules}\n{more}\n"))
    assert (tags(simulator), tags(simulator, "other")) == (["one", "two"], ["one"])


# Lists of lists that are small in the file and would be endless in a message.
BOMB = "sync:\n- tags:\n  - &l0 [x]\n"
BOMB += "".join(f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 17))
BOMB = f"{BOMB}  source: a\n  target: b\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sync: [", "is not YAML"),
        ("- a", "is not a mapping of sync to a list"),
        ("sync: {a: b}", "is not a mapping of sync to a list"),
        ("sync: [1]", "sync.yaml:1: is not a mapping"),
        ("sync: [{source: a}]", "sync.yaml:1: has no target"),
        (
            "sync: [{source: a, target: b, tag: [c]}]",
            "sync.yaml:1: tag: is not one of the keys source, target",
        ),
        ("sync: [{source: a, target: b, tags: [3.10]}]", "3.1 is no text; put it in quotes"),
        ("sync: [{source: a, target: b, tags: 5}]", "is not a list"),
        ("sync: [{source: a, target: b:1}]", "give a repository"),
        ("sync: [{source: a:1, target: b, tags: [c]}]", "names one image and tags are given"),
        ("sync: [{source: A, target: b}]", "sync.yaml:1: source: invalid reference"),
        ("sync: [{source: a, target: 'oci-archive:x.tar'}]", "is an archive"),
        ("sync: [{source: a, target: b, platforms: ['a/b/c/d']}]", "platform"),
        ("sync: [{source: a, target: b, referrers: maybe}]", "neither true nor false"),
        ("sync:\n- source: a\n  target: b\n  tags: [x\n", "sync.yaml:5: is not YAML (expected"),
        ("sync:\n- source: a\n  target: b\n  tags:\n  - 3.10\n", "sync.yaml:4: tags: 3.1 is no"),
        ("sync:\n- {source: a, target: b}\n- source: c\n", "sync.yaml:3: has no target"),
        ("sync:\n- source: a\n  target: b\n  source: c\n", "sync.yaml:4: source: is there twice"),
        (BOMB, "sync.yaml:2: tags: is not a list of texts"),
        ("sync: \0", "is not YAML"),
        ("sync: [!!bool x]", "is not YAML"),
        ("sync: [!!int '']", "is not YAML"),
        ("sync: [!!timestamp x]", "is not YAML"),
        ("sync: !!omap [a: b]", "sync.yaml:1: is not a mapping"),
        ("sync: [{[a]: b}]", "sync.yaml:1: is not YAML (found unhashable key)"),
        ("", "is not a mapping of sync to a list"),
        ("sync: [!!python/object/apply:os.system ['touch pwned']]", "is not YAML"),
        ("&a [*a]", "is not a mapping"),
        ("[" * 100_000, "is not YAML"),
        ("x" * (1024 * 1024 + 1), "larger than the limit"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_sentence(wcbuild, write, simulator, text, said):
    outcome = wcbuild("sync", write("sync.yaml", text), status=1)
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert simulator.requests == []


def test_a_file_that_is_not_there(wcbuild, tmp_path):
    assert "No such file" in wcbuild("sync", tmp_path / "nothing.yaml", status=1).err
