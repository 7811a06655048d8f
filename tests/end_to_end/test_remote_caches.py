"""`--cache-to` and `--cache-from`: a job on a fresh machine finds what an earlier one built."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import tarfile
import time
from pathlib import Path

import peers
import pytest

from registry.oci import mediatypes
from registry.oci.digest import sha256
from wcbuild import BuildRequest, CacheFrom, CacheTo, Output, RegistryAccess, build

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

CONFIG = "application/vnd.wcbuild.cache.config.v1+json"

STAGES = """\
FROM base AS build
COPY dep.txt /
RUN cat /dep.txt > /dep && cat /proc/sys/kernel/random/uuid > /random
COPY . /src/
RUN cat /src/main.txt > /out
FROM base
RUN echo hello > /hello
COPY --from=build /out /out
RUN cat /out > /copied
"""
FILES = {"dep.txt": "dep", "main.txt": "main"}


class Jobs:
    """Builds on machines of their own, and one registry that they share."""

    def __init__(self, folder: Path, stores: list[Path], wcbuild, simulator, base: Path) -> None:
        self.folder = folder
        self.stores = stores
        self.wcbuild = wcbuild
        self.registry = simulator
        self.app = f"{simulator.host}/app"
        self.base = f"{simulator.host}/base:1"
        self.count = 0
        [entry] = json.loads((base / "index.json").read_text())["manifests"]
        for blob in (base / "blobs/sha256").iterdir():
            simulator.add_blob("base", blob.read_bytes())
        raw = simulator.repositories["base"].blobs.pop(entry["digest"])
        simulator.add_manifest("base", raw, entry["mediaType"], "1")

    def machine(self):
        """Return a command with an empty store."""
        self.count += 1
        self.stores.append(self.folder / f"store{self.count}")
        return dataclasses.replace(self.wcbuild, root=self.stores[-1])

    def context(self, dockerfile: str = STAGES, files: dict[str, str] | None = None) -> Path:
        """Write a build context at a place of its own."""
        self.count += 1
        folder = self.folder / f"context{self.count}"
        for name, text in ({"Dockerfile": dockerfile} | FILES | (files or {})).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    def build(self, context: Path, *words: str, machine=None, check=True):
        """Build on a fresh machine; what the registry was asked before is forgotten."""
        self.registry.requests.clear()
        base = f"base=docker-image://{self.base}"
        machine = machine or self.machine()
        return machine(
            "build", "--progress=plain", "--build-context", base, *words, context, check=check
        )

    def first(self, *words: str, dockerfile: str = STAGES) -> None:
        self.build(self.context(dockerfile), "-t", f"{self.app}:1", "--push", *words)

    def fetched(self) -> set[str]:
        """Return the layers that were fetched: blobs that are no JSON."""
        digests = {r.path.rpartition("/")[2] for r in self.registry.sent("GET", "/blobs/")}
        return {each for each in digests if self.blob(each)[:1] != b"{"}

    def blob(self, digest: str) -> bytes:
        found = (each.blobs.get(digest) for each in self.registry.repositories.values())
        return next(filter(None, found), b"")

    def manifest(self, tag: str) -> dict:
        repository = self.registry.repositories["app"]
        return json.loads(repository.manifests[repository.tags[tag]][1])

    def document(self, tag: str) -> dict:
        return json.loads(self.blob(self.manifest(tag)["config"]["digest"]))

    def put(self, tag: str, config: object, layers: list[dict], config_type: str = CONFIG) -> str:
        """Write an artifact as somebody else might; return its reference."""
        raw = config if isinstance(config, bytes) else json.dumps(config).encode()
        digest = self.registry.add_blob("app", raw)
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": {"mediaType": config_type, "digest": digest, "size": len(raw)},
            "layers": layers,
        }
        self.registry.add_manifest(
            "app", json.dumps(document).encode(), mediatypes.OCI_MANIFEST, tag
        )
        return f"{self.app}:{tag}"


@pytest.fixture(scope="session")
def packed_base(machine_base, tmp_path_factory) -> Path:
    """Return the base as registries have bases: compressed."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "Dockerfile").write_text("FROM base\n")
    layout = folder / "layout"
    build(
        BuildRequest(
            context=folder,
            build_contexts={"base": f"oci-layout://{machine_base}"},
            outputs=(Output(kind="oci", dest=str(layout), tar=False),),
            root=folder / "store",
        )
    )
    return layout


@pytest.fixture
def jobs(tmp_path, stores, wcbuild, simulator, packed_base):
    return Jobs(tmp_path, stores, wcbuild, simulator, packed_base)


def steps(done) -> dict[str, bool]:
    """Return the instructions that a build told of, and whether each was known."""
    names = dict(re.findall(r"^#(\d+) \[.*?\] (.*)$", done.stderr, re.MULTILINE))
    ends = dict(re.findall(r"^#(\d+) (CACHED|DONE)", done.stderr, re.MULTILINE))
    return {name: ends[number] == "CACHED" for number, name in names.items()}


def done_again(done) -> list[str]:
    return [name for name, known in steps(done).items() if not known]


def warnings(done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "WARN" in line.upper()]


def file_in(archive: Path, name: str) -> bytes:
    """Return a file of an exported root file system."""
    with tarfile.open(archive) as tar:
        return tar.extractfile(name).read()


# -- what is found


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_job_that_changes_nothing_runs_nothing_and_moves_no_layer(jobs, mode):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode={mode}")
    done = jobs.build(
        jobs.context(), "-t", f"{jobs.app}:2", "--push", "--cache-from", f"{jobs.app}:cache"
    )
    assert len(steps(done)) == 8
    assert done_again(done) == []
    assert warnings(done) == []
    assert jobs.fetched() == set()
    assert [r.path for r in jobs.registry.sent("POST")] == []
    assert jobs.manifest("2") == jobs.manifest("1")
    assert f"cache {jobs.app}:cache knows 7 results" in done.stderr


@pytest.mark.slow
def test_min_keeps_the_layers_of_the_image_and_knows_the_others(jobs):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache")
    document = jobs.document("cache")
    image = [layer["digest"] for layer in jobs.manifest("1")["layers"]]
    kept = [layer["digest"] for layer in jobs.manifest("cache")["layers"]]
    assert set(kept) == set(image[1:])  # all but the base's
    assert len(document["results"]) == 7
    assert sum("layer" in result for result in document["results"]) == 3
    # With a change in the other stage its steps are done again, which is no accident.
    changed = jobs.context(files={"main.txt": "other"})
    done = jobs.build(changed, "-t", f"{jobs.app}:2", "--push", "--cache-from", f"{jobs.app}:cache")
    assert steps(done)["RUN echo hello > /hello"]
    assert done_again(done)[-5].startswith("RUN cat /dep.txt > /dep ")
    assert warnings(done) == []


@pytest.mark.slow
def test_max_keeps_all_and_only_what_is_read_is_fetched(jobs):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max")
    document, layers = jobs.document("cache"), jobs.manifest("cache")["layers"]
    assert all("layer" in result for result in document["results"])
    changed = jobs.context(files={"main.txt": "other"})
    done = jobs.build(changed, "-t", f"{jobs.app}:2", "--push", "--cache-from", f"{jobs.app}:cache")
    assert done_again(done) == [
        "COPY . /src/",
        "RUN cat /src/main.txt > /out",
        "COPY --from=build /out /out",
        "RUN cat /out > /copied",
    ]
    # The base, the two known steps of the first stage, and the known one of the second; not what
    # the changed steps were before.
    base = jobs.manifest("1")["layers"][0]["digest"]
    assert base in jobs.fetched()
    assert len(jobs.fetched()) == 4
    assert jobs.fetched() - {base} < {layer["digest"] for layer in layers}


def test_an_image_can_be_its_own_cache(jobs):
    jobs.first("--cache-to", "type=inline")
    assert "vnd.wcbuild.cache.v1" in jobs.manifest("1")["annotations"]
    done = jobs.build(
        *(jobs.context(), "-t", f"{jobs.app}:2", "--push", "--cache-to", "inline"),
        *("--cache-from", f"{jobs.app}:1"),
    )
    assert done_again(done) == []
    assert jobs.fetched() == set()
    assert jobs.manifest("2") == jobs.manifest("1")
    jobs.build(jobs.context(), "-t", f"{jobs.app}:3", "--push", "--cache-from", f"{jobs.app}:1")
    plain = jobs.manifest("3")
    assert "annotations" not in plain
    assert plain["config"] == jobs.manifest("1")["config"]  # the image id is the same


@pytest.mark.slow
def test_all_images_of_an_index_are_their_own_caches(jobs):
    dockerfile = "FROM scratch\nCOPY dep.txt /\nARG TARGETARCH\nCOPY main.txt /$TARGETARCH\n"
    words = ("--platform=linux/amd64,linux/arm64", "--push")
    jobs.first(*words[:1], "--cache-to=inline", dockerfile=dockerfile)
    done = jobs.build(
        jobs.context(dockerfile), *words, "-t", f"{jobs.app}:2", "--cache-from", f"{jobs.app}:1"
    )
    assert done_again(done) == []
    assert jobs.fetched() == set()


@pytest.mark.slow
def test_a_folder_can_be_a_cache(jobs, tmp_path):
    folder = tmp_path / "kept"
    jobs.first("--cache-to", f"type=local,dest={folder},mode=max,tag=main")
    assert (folder / "oci-layout").exists()
    [entry] = json.loads((folder / "index.json").read_text())["manifests"]
    for words in ("tag=main", f"digest={entry['digest']}"):
        done = jobs.build(jobs.context(), "--cache-from", f"type=local,src={folder},{words}")
        assert done_again(done) == []
    done = jobs.build(jobs.context(), "--cache-from", f"type=local,src={folder}")
    assert "not found" in warnings(done)[0]
    assert "RUN echo hello > /hello" in done_again(done)


@pytest.mark.slow
def test_a_folder_does_not_grow_with_each_job(jobs, tmp_path):
    folder, machine = tmp_path / "kept", jobs.machine()
    for text in ("one", "two"):
        to = f"type=local,dest={folder},mode=max"
        context = jobs.context(files={"main.txt": text})
        jobs.build(context, "--cache-from", f"type=local,src={folder}", "--cache-to", to)
    [entry] = json.loads((folder / "index.json").read_text())["manifests"]
    manifest = json.loads((folder / "blobs" / entry["digest"].replace(":", "/")).read_text())
    named = {entry["digest"], manifest["config"]["digest"]}
    named |= {layer["digest"] for layer in manifest["layers"]}
    assert {f"sha256:{path.name}" for path in (folder / "blobs/sha256").iterdir()} == named
    # An image in the same folder stays whole.
    machine("copy", f"docker://{jobs.base}", f"oci:{folder}:base")
    jobs.build(jobs.context(files={"main.txt": "three"}), "--cache-to", to)
    machine("copy", f"oci:{folder}:base", f"oci:{tmp_path / 'copied'}:base")


@pytest.mark.slow
def test_results_from_a_folder_reach_a_registry_whole(jobs, tmp_path):
    folder = tmp_path / "kept"
    jobs.build(jobs.context(), "--cache-to", f"type=local,dest={folder},mode=max")
    cache = ("--cache-from", f"type=local,src={folder}")
    jobs.build(
        *(jobs.context(), "-t", f"{jobs.app}:1", "--push", *cache),
        *("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max"),
    )
    for layer in (*jobs.manifest("1")["layers"], *jobs.manifest("cache")["layers"]):
        assert jobs.registry.repositories["app"].blobs[layer["digest"]]
    assert len(jobs.manifest("cache")["layers"]) == 6  # two steps made the same layer


@pytest.mark.slow
def test_caches_are_asked_in_their_order(jobs, tmp_path):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:old")
    changed = jobs.context(files={"main.txt": "other"})
    jobs.build(changed, "--cache-to", f"type=registry,ref={jobs.app}:new,mode=max")
    words = ("--cache-from", f"{jobs.app}:new", "--cache-from", f"{jobs.app}:old")
    for context in (jobs.context(), changed):
        out = tmp_path / "out.tar"
        done = jobs.build(context, *words, "-o", f"type=tar,dest={out}")
        assert done_again(done) == []
        assert file_in(out, "copied") == (context / "main.txt").read_bytes()


@pytest.mark.slow
def test_a_cached_image_that_is_kept_here_is_whole_and_known_to_the_next_build(jobs, tmp_path):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max")
    machine, archive = jobs.machine(), tmp_path / "image.tar"
    cache = ("--cache-from", f"{jobs.app}:cache")
    done = jobs.build(jobs.context(), "-t", "here", *cache, machine=machine)
    assert done_again(done) == []
    assert len(jobs.fetched()) == 4  # the image's; nothing of the other stage
    jobs.registry.stop()
    machine("save", "-o", archive, "here")
    machine("run", "here", "cat", "/copied")
    done = jobs.build(jobs.context("FROM base\nRUN echo hello > /hello\n"), machine=machine)
    assert steps(done)["RUN echo hello > /hello"]


LINKED = "FROM base\nCOPY --link dep.txt /a\nCOPY --link main.txt /b\nCOPY --link main.txt /a\n"


def test_a_squashed_image_leaves_its_base_in_the_registry_and_its_steps_in_caches(jobs):
    to = ("--cache-to", f"type=registry,ref={jobs.app}:cache")
    jobs.build(jobs.context(LINKED), "--squash", "-t", f"{jobs.app}:1", "--push", *to)
    assert jobs.fetched() == set()
    base, _ = jobs.manifest("1")["layers"]
    assert len(jobs.manifest("cache")["layers"]) == 3
    # Squashing reads the layers of the steps, which elsewhere may stay where they are; not the base.
    words = ("-t", f"{jobs.app}:2", "--push", "--cache-from", f"{jobs.app}:cache")
    done = jobs.build(jobs.context(LINKED), "--squash", *words)
    assert done_again(done) == []
    assert jobs.fetched() == {layer["digest"] for layer in jobs.manifest("cache")["layers"]}
    assert base["digest"] not in jobs.fetched()
    assert jobs.manifest("2") == jobs.manifest("1")


@pytest.mark.slow
def test_a_squashed_image_of_cached_steps_asks_for_the_base_only_to_delete_from_it(jobs, tmp_path):
    dockerfile = "FROM base\nCOPY dep.txt /a\nRUN rm /a /etc/passwd\n"
    to = ("--cache-to", f"type=registry,ref={jobs.app}:cache")
    jobs.first("--squash", *to, dockerfile=dockerfile)
    words = ("-t", f"{jobs.app}:2", "--push", "--cache-from", f"{jobs.app}:cache")
    done = jobs.build(jobs.context(dockerfile), "--squash", *words)
    assert done_again(done) == []
    assert jobs.manifest("2")["layers"][0]["digest"] in jobs.fetched()
    assert jobs.manifest("2") == jobs.manifest("1")


@pytest.mark.slow
def test_what_only_turns_out_to_be_known_while_others_run_is_brought_here(jobs, tmp_path):
    dockerfile = """\
FROM base AS build
RUN true
RUN echo same > /out
FROM base
COPY --from=build /out /out
RUN cat /out /out > /copied && cat /proc/sys/kernel/random/uuid > /random
RUN cat /random /random > /twice
"""
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache", dockerfile=dockerfile)
    changed = jobs.context(dockerfile.replace("RUN true", "RUN :"))
    out = tmp_path / "out.tar"
    done = jobs.build(changed, "--cache-from", f"{jobs.app}:cache", "-o", f"type=tar,dest={out}")
    assert done_again(done) == ["RUN :", "RUN echo same > /out"]
    assert file_in(out, "twice") == file_in(out, "random") * 2


@pytest.mark.slow
def test_a_cache_in_another_repository_of_the_registry_is_mounted_from_there(jobs):
    cache = f"{jobs.registry.host}/caches/app:main"
    jobs.first("--cache-to", f"type=registry,ref={cache},mode=max")
    jobs.build(jobs.context(), "-t", f"{jobs.registry.host}/new:1", "--push", "--cache-from", cache)
    assert jobs.fetched() == set()
    mounted = [r.path for r in jobs.registry.sent("POST") if "mount=" in r.path]
    assert len(mounted) >= 4
    image = jobs.registry.repositories["new"]
    assert image.blobs.keys() >= {layer["digest"] for layer in jobs.manifest("1")["layers"]}


@pytest.mark.slow
def test_a_compression_of_its_own_is_no_other_result(jobs):
    to = f"type=registry,ref={jobs.app}:cache,mode=max,compression=zstd,compression-level=3"
    jobs.first("--cache-to", to)
    assert {layer["mediaType"] for layer in jobs.manifest("cache")["layers"]} == {
        mediatypes.OCI_LAYER_ZSTD
    }
    done = jobs.build(jobs.context(), "--cache-from", f"{jobs.app}:cache")
    assert done_again(done) == []


@pytest.mark.slow
def test_the_same_build_writes_the_same_cache(jobs):
    to = f"type=registry,ref={jobs.app}:cache,mode=max"
    jobs.first("--cache-to", to)
    before = jobs.manifest("cache")
    jobs.build(jobs.context(), "--cache-from", f"{jobs.app}:cache", "--cache-to", to)
    assert jobs.manifest("cache") == before


@pytest.mark.slow
def test_windows_results_are_found_too(jobs):
    dockerfile = "FROM scratch\nWORKDIR /app\nCOPY dep.txt .\n"
    windows = ("--platform", "windows/amd64")
    jobs.first(*windows, "--cache-to", f"{jobs.app}:cache", dockerfile=dockerfile)
    done = jobs.build(
        *(jobs.context(dockerfile), *windows, "-t", f"{jobs.app}:2", "--push"),
        *("--cache-from", f"{jobs.app}:cache"),
    )
    assert done_again(done) == []
    assert jobs.manifest("2") == jobs.manifest("1")


@pytest.mark.slow
def test_python_programs_have_caches_too(jobs, tmp_path):
    kept = tmp_path / "kept"
    request = BuildRequest(
        context=jobs.context(),
        build_contexts={"base": f"docker-image://{jobs.base}"},
        root=tmp_path / "python",
        registries=RegistryAccess(environment={"PATH": "/bin"}),
        cache_from=(CacheFrom(ref=f"{jobs.app}:none"),),
        cache_to=(CacheTo(kind="local", dest=str(kept), mode="max"),),
    )
    build(request)
    done = jobs.build(jobs.context(), "--cache-from", f"type=local,src={kept}")
    assert done_again(done) == []


# -- what is not wanted


@pytest.mark.slow
def test_no_cache_asks_no_cache(jobs):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max")
    cache = ("--cache-from", f"{jobs.app}:cache")
    done = jobs.build(jobs.context(), *cache, "--no-cache")
    assert len(done_again(done)) == 8
    assert jobs.registry.sent("GET", "/app/") == []
    done = jobs.build(jobs.context(), *cache, "--no-cache-filter", "build")
    assert "COPY dep.txt /" in done_again(done)
    assert "RUN echo hello > /hello" not in done_again(done)


@pytest.mark.slow
def test_a_plan_knows_what_is_elsewhere_and_fetches_nothing(jobs):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache")
    cache = ("--cache-from", f"{jobs.app}:cache")

    def planned(context):
        plan = json.loads(jobs.build(context, *cache, "--print-plan=json").stdout)
        return {step["label"].partition("] ")[2]: step["cached"] for step in plan["steps"]}

    assert all(planned(jobs.context()).values())
    assert jobs.fetched() == set()
    after = planned(jobs.context(files={"main.txt": "other"}))
    assert after["RUN echo hello > /hello"]
    assert not after["COPY dep.txt /"]  # its layer is nowhere, and what follows wants it
    assert jobs.fetched() == set()


@pytest.mark.slow
def test_neither_secrets_nor_cache_mounts_are_in_a_cache(jobs, tmp_path):
    dockerfile = """\
FROM base
RUN --mount=type=secret,id=s --mount=type=cache,target=/c cat /run/secrets/s > /c/s && echo x > /x
"""
    secret = tmp_path / "secret"
    secret.write_text("b7d1e0-very-secret")
    to = f"type=registry,ref={jobs.app}:cache,mode=max"
    jobs.first("--secret", f"id=s,src={secret}", "--cache-to", to, dockerfile=dockerfile)
    for raw in jobs.registry.repositories["app"].blobs.values():
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        assert b"very-secret" not in data


@pytest.mark.parametrize("kind", ["gha", "s3", "azblob"])
@pytest.mark.slow
def test_kinds_that_there_are_not_say_what_there_is(jobs, kind):
    for flag in ("--cache-to", "--cache-from"):
        done = jobs.build(jobs.context(), flag, f"type={kind}", check=False)
        assert done.returncode == 2
        assert f'{flag}: there is no type "{kind}", only registry, local' in done.stderr


@pytest.mark.slow
def test_what_is_known_here_needs_no_other_cache(jobs):
    machine, context = jobs.machine(), jobs.context()
    jobs.build(context, machine=machine)
    done = jobs.build(context, "--cache-from", f"{jobs.app}:cache", machine=machine)
    assert done_again(done) == []
    assert jobs.registry.requests == []


# -- what is damaged


@pytest.mark.slow
def test_a_layer_that_is_gone_is_built_again(jobs):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max")
    for layer in jobs.manifest("cache")["layers"]:
        del jobs.registry.repositories["app"].blobs[layer["digest"]]
    done = jobs.build(jobs.context(), "--cache-from", f"{jobs.app}:cache")
    assert "RUN cat /out > /copied" in done_again(done)
    assert all("is not used" in line and "not found" in line for line in warnings(done))
    # Nor is a layer left where it is not.
    done = jobs.build(
        jobs.context(), "-t", f"{jobs.app}:2", "--push", "--cache-from", f"{jobs.app}:cache"
    )
    blobs = jobs.registry.repositories["app"].blobs
    assert {layer["digest"] for layer in jobs.manifest("2")["layers"]} <= blobs.keys()


def test_what_follows_a_layer_that_is_gone_is_built_on_the_new_one(jobs, tmp_path):
    text = "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id > /copied\n"
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache", dockerfile=text)
    blobs = jobs.registry.repositories["app"].blobs
    for layer in jobs.manifest("cache")["layers"]:
        if b"copied" not in gzip.decompress(blobs[layer["digest"]]):
            del blobs[layer["digest"]]
    out = tmp_path / "out.tar"
    flags = ("--cache-from", f"{jobs.app}:cache", "-o", f"type=tar,dest={out}")
    jobs.build(jobs.context(text), *flags)
    assert file_in(out, "id") == file_in(out, "copied")


@pytest.mark.slow
def test_a_layer_of_other_bytes_is_built_again(jobs, tmp_path):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache")
    blobs = jobs.registry.repositories["app"].blobs
    for layer in jobs.manifest("cache")["layers"]:
        blobs[layer["digest"]] = bytes(len(blobs[layer["digest"]]))
    out = tmp_path / "out.tar"
    done = jobs.build(
        jobs.context(), "--cache-from", f"{jobs.app}:cache", "-o", f"type=tar,dest={out}"
    )
    assert "RUN cat /out > /copied" in done_again(done)
    assert any("expected digest" in line for line in warnings(done))
    assert file_in(out, "copied") == b"main"


def lying(jobs, **fields) -> str:
    """Return the reference of a cache whose results are the first one's with other fields."""
    document, layers = jobs.document("cache"), jobs.manifest("cache")["layers"]
    results = [result | fields for result in document["results"]]
    return jobs.put("lies", {"results": results}, layers)


@pytest.mark.parametrize(
    "fields", [{"diffId": sha256(b"x")}, {"size": 1}, {"size": 1 << 40}, {"layer": 0}]
)
@pytest.mark.slow
def test_a_layer_that_is_not_what_the_cache_says_is_built_again(jobs, tmp_path, fields):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max")
    out = tmp_path / "out.tar"
    done = jobs.build(
        jobs.context(), "--cache-from", lying(jobs, **fields), "-o", f"type=tar,dest={out}"
    )
    assert any("is not used" in line for line in warnings(done))
    assert done_again(done)
    assert file_in(out, "copied") == b"main"


@pytest.mark.slow
def test_a_document_that_makes_no_sense_is_no_cache(jobs):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache")
    done = jobs.build(jobs.context(), "--cache-from", lying(jobs, keys=["../../images/x"]))
    [line] = warnings(done)
    assert f"cache {jobs.app}:lies is not used: cache sha256:" in line
    assert "RUN echo hello > /hello" in done_again(done)


def test_what_is_no_cache_is_said_to_be_none(jobs):
    layer = {"mediaType": mediatypes.OCI_LAYER_GZIP, "digest": sha256(b"x"), "size": 1}
    buildkit = "application/vnd.buildkit.cacheconfig.v0"
    places = {
        jobs.put("kit", {"layers": [], "records": []}, [layer], buildkit): "a cache of BuildKit",
        jobs.put("chart", {}, [layer], "application/vnd.cncf.helm.config.v1+json"): "helm",
        jobs.put("large", b" " * (5 << 20), [layer]): "larger than the limit",
        jobs.put("list", [], [layer]): "is not a JSON object",
        jobs.base: "is an image without a cache in it; --cache-to type=inline puts one there",
        f"{jobs.app}:none": "not found",
    }
    words = [word for place in places for word in ("--cache-from", place)]
    done = jobs.build(jobs.context("FROM base\nRUN true\n"), *words)
    told = warnings(done)
    assert len(told) == len(places)
    for line, (place, reason) in zip(told, places.items(), strict=True):
        assert f"cache {place} is not used: " in line
        assert reason in line


@pytest.mark.slow
def test_buildkits_index_is_said_to_be_buildkits(jobs):
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            {
                "mediaType": "application/vnd.buildkit.cacheconfig.v0",
                "digest": sha256(b"{}"),
                "size": 2,
            }
        ],
    }
    raw = json.dumps(document).encode()
    jobs.registry.add_manifest("app", raw, mediatypes.OCI_INDEX, "kit")
    done = jobs.build(jobs.context("FROM base\nRUN true\n"), "--cache-from", f"{jobs.app}:kit")
    assert "is a cache of BuildKit" in warnings(done)[0]


@pytest.mark.slow
def test_a_dead_registry_costs_a_warning_and_not_minutes(jobs, new_simulator):
    dead = new_simulator()
    dead.stop()
    started = time.monotonic()
    done = jobs.build(
        jobs.context("FROM base\nRUN true\n"), "--cache-from", f"{dead.host}/app:cache"
    )
    assert "connection refused" in warnings(done)[0]
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_fails_the_build_unless_that_does_not_matter(jobs):
    to = f"type=registry,ref={jobs.app}:cache"
    context = jobs.context("FROM base\nRUN true\n")
    jobs.registry.fail_next("POST", 403, times=100, at="/app/blobs/")
    done = jobs.build(context, "--cache-to", to, check=False)
    assert done.returncode == 1
    assert "403" in done.stderr or "denied" in done.stderr
    done = jobs.build(context, "--cache-to", f"{to},ignore-error=true")
    assert f"cache {jobs.app}:cache is not written" in warnings(done)[0]


@pytest.mark.slow
def test_a_policy_decides_on_caches_too(jobs, tmp_path):
    jobs.first("--cache-to", f"type=registry,ref={jobs.app}:cache,mode=max")
    policy = tmp_path / "policy.json"
    accept, reject = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
    scopes = {f"{jobs.registry.host}/base": accept}
    policy.write_text(json.dumps({"default": reject, "transports": {"docker": scopes}}))
    done = jobs.build(
        *(jobs.context(), "--signature-policy", str(policy)), "--cache-from", f"{jobs.app}:cache"
    )
    assert "rejected" in warnings(done)[0] or "reject" in warnings(done)[0]
    assert "RUN echo hello > /hello" in done_again(done)


# -- other people's registries


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("start", [peers.docker_registry, peers.crane_registry])
def test_other_registries_hold_caches(start, wcbuild, stores, context, tmp_path):
    (tmp_path / "registry").mkdir()
    with start(tmp_path / "registry") as registry:
        cache, folder = f"{registry.host}/app:cache", context(STAGES, FILES)
        for number, words in enumerate(
            (
                ("--cache-to", f"type=registry,ref={cache},mode=max", "--cache-to", "inline"),
                ("--cache-from", cache),
                ("--cache-from", f"{registry.host}/app:0"),
                ("--cache-from", f"{registry.host}/other/place:copied"),
            )
        ):
            stores.append(tmp_path / f"store{number}")
            machine = dataclasses.replace(wcbuild, root=stores[-1])
            done = machine.build(folder, "-t", f"{registry.host}/app:{number}", "--push", *words)
            assert not number or done_again(done) == []
            assert warnings(done) == []
            machine("copy", cache, f"{registry.host}/other/place:copied")
