"""What a person gets from builds: steps, caches, outputs, failures, an interruption."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
from processes import until

from wcbuild.sizes import parse_size

from .conftest import ROOT, Wcbuild

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

THREE_STEPS = """\
FROM base
COPY one.txt /
RUN cat /one.txt > /copy-of-one
COPY two.txt /
RUN cat /two.txt > /copy-of-two
"""


def verdicts(stderr: str) -> dict[str, str]:
    """Return `DONE`, `CACHED` or `ERROR` by step label, read from plain progress."""
    labels, ends = {}, {}
    for line in stderr.splitlines():
        number, _, text = line.partition(" ")
        if text.startswith(("DONE", "CACHED", "ERROR")):
            ends[labels[number]] = text.split()[0].rstrip(":")
        elif number.startswith("#") and text and not text[0].isdigit():
            labels.setdefault(number, text)
    return ends


def executed(stderr: str) -> list[str]:
    return [label for label, verdict in verdicts(stderr).items() if verdict == "DONE"]


def test_the_example_builds_and_runs(wcbuild: Wcbuild):
    done = wcbuild.build(ROOT / "fixtures" / "example", "-t", "example")
    assert done.stdout == ""
    assert "#1 [1/4] FROM base" in done.stderr
    assert wcbuild("run", "example").stdout == "first line\nsecond line\n"


def test_output_of_a_command_has_number_and_time(wcbuild, context):
    done = wcbuild.build(context("FROM base\nRUN echo out; echo err >&2\n"))
    lines = [line.split(" ", 2) for line in done.stderr.splitlines()]
    assert {line[2] for line in lines if line[0] == "#2" and len(line) == 3} >= {"out", "err"}


def test_a_second_build_runs_nothing(wcbuild, context):
    folder = context(THREE_STEPS, {"one.txt": "1", "two.txt": "2"})
    first = wcbuild.build(folder, "-q")
    again = wcbuild.build(folder)
    assert executed(again.stderr) == []
    assert wcbuild.build(folder, "-q").stdout == first.stdout


def test_a_changed_file_runs_again_what_sees_it(wcbuild, context):
    folder = context(THREE_STEPS, {"one.txt": "1", "two.txt": "2"})
    wcbuild.build(folder)
    (folder / "two.txt").write_text("3")
    ran = executed(wcbuild.build(folder).stderr)
    assert [label.partition("] ")[2] for label in ran if "] " in label] == [
        "COPY two.txt /",
        "RUN cat /two.txt > /copy-of-two",
    ]


def test_a_touched_file_runs_nothing(wcbuild, context):
    folder = context(THREE_STEPS, {"one.txt": "1", "two.txt": "2"})
    wcbuild.build(folder)
    os.utime(folder / "one.txt", (1, 1))
    os.utime(folder / "two.txt")
    assert executed(wcbuild.build(folder).stderr) == []


def test_a_file_rewritten_at_once_in_the_same_size_is_seen(wcbuild, context):
    """Within a clock tick a changed file can look the same; it must be read again."""
    folder = context("FROM base\nCOPY f /\n", {"f": "0"})
    seen = set()
    for content in "123":
        (folder / "f").write_text(content)
        os.utime(folder / "f", (1_000_000_000, 1_000_000_000))
        seen.add(wcbuild.build(folder, "-q").stdout)
    assert len(seen) == 3


def test_no_cache_runs_everything(wcbuild, context):
    folder = context("FROM base\nRUN date +%N > /now\n")
    assert wcbuild.build(folder, "-q").stdout != wcbuild.build(folder, "-q", "--no-cache").stdout


def test_a_failed_step_shows_lines_output_and_exit_code(wcbuild, context):
    folder = context("FROM base\n\nRUN echo this went wrong \\\n && exit 42\n")
    failed = wcbuild.build(folder, "-t", "never", check=False)
    assert failed.returncode == 1
    tail = failed.stderr[failed.stderr.index("------") :]
    assert "\nthis went wrong\n" in tail
    assert "Dockerfile:3" in tail
    assert "exit code: 42" in tail
    assert "    4 |  && exit 42" in tail
    assert "Traceback" not in failed.stderr
    assert "never" not in wcbuild("images").stdout


def test_a_command_that_is_killed_says_so(wcbuild, context):
    failed = wcbuild.build(context("FROM base\nRUN sh -c 'kill -9 $$'\n"), check=False)
    assert failed.returncode == 1
    assert "exit code: 137" in failed.stderr


def test_quiet_prints_the_image_id_alone(wcbuild, context):
    done = wcbuild.build(context("FROM base\nRUN echo loud\n"), "-q")
    assert done.stdout.startswith("sha256:")
    assert len(done.stdout) == 72
    assert done.stderr == ""


def test_writes_the_image_id_and_buildx_metadata(wcbuild, context, tmp_path):
    done = wcbuild.build(
        context("FROM base\nRUN true\n"),
        *("-q", "-t", "meta:1", "--iidfile", tmp_path / "iid"),
        *("--metadata-file", tmp_path / "meta.json"),
    )
    image_id = done.stdout.strip()
    assert (tmp_path / "iid").read_text() == image_id
    metadata = json.loads((tmp_path / "meta.json").read_text())
    assert metadata["containerimage.config.digest"] == image_id
    assert metadata["containerimage.digest"].startswith("sha256:")
    assert metadata["containerimage.descriptor"]["digest"] == metadata["containerimage.digest"]
    assert metadata["image.name"] == "docker.io/library/meta:1"


@pytest.mark.parametrize("kind", ["oci", "docker", "tar"])
def test_writes_an_archive(wcbuild, context, tmp_path, kind):
    wcbuild.build(
        context("FROM base\nRUN echo x > /made\n"), "-o", f"type={kind},dest={tmp_path / 'out'}"
    )
    with tarfile.open(tmp_path / "out") as archive:
        names = archive.getnames()
    assert {"oci": "oci-layout", "docker": "manifest.json", "tar": "made"}[kind] in names


def test_writes_a_folder(wcbuild, context, tmp_path):
    folder = context(
        "FROM base AS b\nRUN echo x > /made\nFROM scratch\nCOPY --from=b /made /sub/\n"
    )
    wcbuild.build(folder, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "made").read_text() == "x\n"


def test_save_and_load_keep_the_image(wcbuild, context, tmp_path, machine_base):
    image_id = wcbuild.build(context("FROM base\nRUN echo x > /made\n"), "-q", "-t", "app:1").stdout
    wcbuild("save", "-o", tmp_path / "saved.tar", "app:1")
    other = Wcbuild(tmp_path / "other", machine_base)
    other("load", "-i", tmp_path / "saved.tar")
    assert json.loads(other("inspect", "app:1").stdout)[0]["Id"] == image_id.strip()


def test_names_come_and_go(wcbuild, context):
    wcbuild.build(context("FROM base\nLABEL a=b\n"), "-t", "app:1")
    wcbuild("tag", "app:1", "other/name:2")
    assert "other/name" in wcbuild("images").stdout
    wcbuild("rmi", "app:1")
    listed = wcbuild("images", "--format", "{{.Repository}}:{{.Tag}}").stdout
    assert listed == "other/name:2\n"
    shown = wcbuild("inspect", "--format", "{{json .Config.Labels}}", "other/name:2").stdout
    assert shown == '{"a":"b"}\n'
    assert "LABEL a=b" in wcbuild("history", "other/name:2").stdout


def test_import_makes_an_image_of_a_tar(wcbuild, tmp_path):
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/motd").write_text("hello")
    (tmp_path / "tree/.dockerignore").write_text("*")
    with tarfile.open(tmp_path / "fs.tar", "w:gz") as tar:
        tar.add(tmp_path / "tree", ".")
    words = ("-c", 'CMD ["/bin/sh"]', "--change", "ENV A=b", tmp_path / "fs.tar")
    image_id = wcbuild("import", *words, "imported:1").stdout.strip()
    (shown,) = json.loads(wcbuild("inspect", "imported:1").stdout)
    assert shown["Id"] == image_id
    assert shown["Config"]["Cmd"] == ["/bin/sh"]
    assert "A=b" in shown["Config"]["Env"]
    with open(tmp_path / "fs.tar", "rb") as stdin:
        again = subprocess.run(
            wcbuild.command("import", "-q", "--platform", "linux/s390x", "-"),
            env=wcbuild.env,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=True,
        )
    (shown,) = json.loads(wcbuild("inspect", again.stdout.strip()).stdout)
    assert shown["Architecture"] == "s390x"
    wcbuild("save", "-o", tmp_path / "saved.tar", "imported:1")
    assert list(wcbuild.root.glob("tmp/*")) == []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("Dockerfile",), 2, '"Dockerfile" is not a tar'),
        (("-c", "RUN x", "Dockerfile"), 2, '--change "RUN x": it is one of CMD, '),
        (("nothing.tar",), 1, "nothing.tar: No such file"),
    ],
)
def test_import_refuses_what_is_no_archive_or_no_setting(
    wcbuild, context, monkeypatch, words, status, said
):
    monkeypatch.chdir(context("FROM base\n"))
    failed = wcbuild("import", *words, check=False)
    assert (failed.returncode, failed.stdout) == (status, "")
    assert said in failed.stderr
    assert wcbuild("images", "-q").stdout == ""


def test_prune_keeps_what_is_named(wcbuild, context):
    wcbuild.build(context("FROM base\nRUN echo x > /made\nCMD cat /made\n"), "-t", "app:1")
    wcbuild.build(context("FROM scratch\nCOPY Dockerfile /\n"))
    assert list(wcbuild.root.glob("contexts/*"))
    wcbuild("prune")
    assert not list(wcbuild.root.glob("contexts/*"))
    assert wcbuild("run", "app:1").stdout == "x\n"


def test_df_says_what_takes_the_space(wcbuild, context):
    def space() -> dict[str, tuple[int, int]]:
        lines = wcbuild("df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Size}}").stdout
        rows = (line.split("|") for line in lines.splitlines())
        return {kind: (int(count), parse_size(size)) for kind, count, size in rows}

    folder = context(
        "FROM base\nCOPY big /big\nRUN --mount=type=cache,target=/c cat /big /big > /c/twice\n"
        "ADD --unpack=false big /again\n",
        {"big": "x" * 2_000_000},
    )
    wcbuild.build(folder, "-t", "app:1")
    built = space()
    assert built["Images"][0] == 1
    assert built["Images"][1] > 4_000_000
    assert built["Build Cache"][0] == 3
    assert built["Cache Mounts"][0] == 1
    assert 4_000_000 <= built["Cache Mounts"][1] < 5_000_000
    assert built["Fetched Sources"] == (0, 0)
    wcbuild("prune")
    pruned = space()
    assert pruned["Images"] == built["Images"]
    assert pruned["Build Cache"][0] == 0
    assert pruned["Cache Mounts"] == (0, 0)
    wcbuild("rmi", "app:1")
    assert space()["Images"] == (0, 0)
    wcbuild("prune")
    assert space()["Build Cache"][1] < 1_000_000 < built["Build Cache"][1]


def test_two_builds_at_once_are_both_right(wcbuild, context):
    folder = context("FROM base\nRUN sleep 0.2; echo shared > /a\nRUN cat /a > /b\n")
    base = f"base=oci-layout://{wcbuild.base}"
    words = wcbuild.command("build", "-q", "--build-context", base, folder)
    builds = [
        subprocess.Popen(words, env=wcbuild.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    printed = [build.communicate() for build in builds]
    assert [build.returncode for build in builds] == [0, 0, 0], printed
    for image_id, _ in printed:
        name = image_id.decode().strip()
        assert wcbuild("run", name, "cat", "/b").stdout == "shared\n"


def descendants(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(path.parent.name), *descendants(int(path.parent.name))]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing(wcbuild, context, tmp_path, number):
    folder = context(
        "FROM base\nRUN --mount=type=ssh --mount=type=secret,id=word --mount=type=cache,target=/c "
        "--mount=target=/here --mount=type=tmpfs,target=/t echo begun; sleep 600 & sleep 600\n",
        {"word": "secret"},
    )
    base = f"base=oci-layout://{wcbuild.base}"
    given = ("--ssh", f"default={tmp_path}/agent", "--secret", f"id=word,src={folder}/word")
    words = wcbuild.command("build", "--progress", "plain", "--build-context", base, *given, folder)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{tmp_path}/agent")
        agent.listen()
        build = subprocess.Popen(words, env=wcbuild.env, stderr=subprocess.PIPE, text=True)
    with build.stderr:
        for line in build.stderr:
            if line.endswith("begun\n"):
                break
        children = descendants(build.pid)
        assert children
        build.send_signal(number)
        build.wait(timeout=120)
        build.stderr.read()
    if number is signal.SIGINT:
        assert build.returncode == 130
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert str(wcbuild.root) not in Path("/proc/mounts").read_text()
    # The next build sweeps what a killed one could not.
    wcbuild.build(context("FROM base\nRUN true\n"))
    assert [path for name in ("tmp", "ingest") for path in wcbuild.root.glob(f"{name}/*")] == []


@pytest.mark.parametrize("tar", ["true", "false"])
def test_archives_and_layouts_have_every_name_in_full(wcbuild, context, tmp_path, tar):
    out = tmp_path / "out"
    names = ("-t", "team/app:1", "-t", "team/app:2")
    wcbuild.build(context("FROM scratch\n"), *names, "-o", f"type=oci,tar={tar},dest={out}")
    if tar == "true":
        with tarfile.open(out) as archive:
            index = json.load(archive.extractfile("index.json"))
    else:
        index = json.loads((out / "index.json").read_bytes())
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {
            "io.containerd.image.name": f"docker.io/team/app:{tag}",
            "org.opencontainers.image.ref.name": tag,
        }
        for tag in ("1", "2")
    ]


def names_in_layers(out):
    """Return the names in each layer of the image in a layout that is not compressed."""
    (manifest,) = json.loads((out / "index.json").read_bytes())["manifests"]
    blobs = out / "blobs/sha256"
    names = []
    for layer in json.loads((blobs / manifest["digest"][7:]).read_bytes())["layers"]:
        with tarfile.open(blobs / layer["digest"][7:]) as archive:
            names.append(sorted(archive.getnames()))
    return names


def test_a_layer_holds_what_the_command_changed_and_nothing_else(wcbuild, context, tmp_path):
    """The base has no /etc/hosts, /etc/resolv.conf or /dev/shm, which the sandbox needs."""
    folder = context("FROM base\nRUN cat /etc/hosts && mkdir /made && echo x > /made/file\n")
    wcbuild.build(folder, "-o", f"type=oci,tar=false,dest={tmp_path / 'out'}")
    assert names_in_layers(tmp_path / "out")[-1] == ["made", "made/file"]


@pytest.mark.parametrize("epoch", ["", "1000000000"])
def test_a_layer_of_a_copy_leaves_out_what_is_there_already(wcbuild, context, tmp_path, epoch):
    files = {"package.json": "{}", "main.js": "1"}
    lines = ("COPY package.json /app/", "COPY . /app/", "COPY . /app/", "COPY --link main.js /app/")
    folder = context("\n".join(("FROM scratch", *lines)), files | {".dockerignore": "*ocker*\n"})
    words = ("--build-arg", f"SOURCE_DATE_EPOCH={epoch}") if epoch else ()
    wcbuild.build(folder, *words, "-o", f"type=oci,tar=false,dest={tmp_path / 'out'}")
    first, second, third, linked = names_in_layers(tmp_path / "out")
    assert first == ["app", "app/package.json"]
    assert second == linked == ["app", "app/main.js"]
    assert third == []


def test_destroying_the_root_destroys_that_sandbox_only(wcbuild, context, tmp_path):
    witness = tmp_path / "witness"
    witness.write_text("untouched")
    # First the harmless question: does a step see the machine's files at all?
    wcbuild.build(
        context(f"FROM base\nRUN test ! -e {witness} && test ! -e /proc/1/root{witness}\n")
    )
    folder = context("FROM base\nRUN rm -rf --no-preserve-root / || true\n", {"kept": "kept"})
    wcbuild.build(folder)
    assert witness.read_text() == "untouched"
    assert (folder / "kept").read_text() == "kept"
    assert wcbuild.build(context("FROM base\nRUN echo still here\n")).returncode == 0


BAD = {
    "unknown instruction": ("FROM base\nRUNN x\n", ["Dockerfile:2", "RUNN", "RUN"]),
    "empty": ("", ["empty"]),
    "no FROM": ("RUN x\n", ["Dockerfile:1", "FROM"]),
    "unknown stage": (
        "FROM base AS builder\nCOPY --from=biulder /a /b\n",
        ["Dockerfile:2", "biulder", 'did you mean "builder"'],
    ),
    "missing file": ("FROM base\nCOPY redme.txt /\n", ["Dockerfile:2", "redme.txt", "readme.txt"]),
    "outside": ("FROM base\nCOPY ../../etc/passwd /\n", ["etc/passwd"]),
}


@pytest.mark.parametrize(("dockerfile", "told"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_a_clear_error(wcbuild, context, dockerfile, told):
    failed = wcbuild.build(context(dockerfile, {"readme.txt": "x"}), "-t", "bad", check=False)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "internal error" not in failed.stderr
    for text in told:
        assert text in failed.stderr
    assert "bad" not in wcbuild("images").stdout


@pytest.mark.parametrize("copy", ["COPY here gone /", "COPY --link gone /", "ADD gone /"])
def test_a_missing_source_is_told_before_anything_is_done(wcbuild, context, copy):
    folder = context(f"FROM base\nRUN echo long\n{copy}\n", {"here": ""})
    done = wcbuild.build(folder, check=False)
    assert done.returncode == 1
    assert 'Dockerfile:3: "/gone": not found' in done.stderr
    assert "RUN echo long" not in done.stderr.partition("ERROR")[0]


def test_what_only_a_step_can_tell_is_left_to_it(wcbuild, context):
    folder = context(
        "FROM base AS made\nRUN touch /made\n"
        "FROM base\nRUN touch /x\nCOPY --from=made /made /\nCOPY --parents a/b* /\nCOPY no* /y/\n",
        {"a/b1": ""},
    )
    wcbuild.build(folder)


def test_a_missing_dockerfile_is_named_and_one_is_suggested(wcbuild, tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfle").write_text("FROM scratch\n")
    failed = wcbuild("build", tmp_path / "context", check=False)
    assert failed.returncode == 1
    assert "Dockerfle" in failed.stderr


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (["Containerfile"], 'as "Containerfile"'),
        (
            ["app.Dockerfile", "Dockerfile.dev", "Dockerfile.dev.dockerignore", "dockerfiles"],
            'as "Dockerfile.dev" or "app.Dockerfile")',
        ),
        (["readme.md"], "(name it with -f)"),
    ],
)
def test_dockerfiles_of_other_names_are_told(wcbuild, tmp_path, files, hint):
    for name in files:
        (tmp_path / name).touch()
    failed = wcbuild("build", tmp_path, check=False)
    assert failed.returncode == 1
    assert hint in failed.stderr


def test_a_missing_context_is_named(wcbuild, tmp_path):
    failed = wcbuild("build", tmp_path / "nowhere", check=False)
    assert failed.returncode == 1
    assert "nowhere" in failed.stderr


def test_a_registry_that_is_down_is_named(wcbuild, context):
    failed = wcbuild("build", context("FROM 127.0.0.1:9/app:1\n"), check=False)
    assert failed.returncode == 1
    assert "127.0.0.1:9" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_wrong_usage_has_its_own_status(wcbuild, context):
    assert wcbuild("build", "--no-such-flag", ".", check=False).returncode == 2
    assert (
        wcbuild("build", "--progress", "fancy", context("FROM base\n"), check=False).returncode == 2
    )


def test_a_program_that_reads_no_more_ends_it_quietly(wcbuild):
    process = subprocess.Popen(
        wcbuild.command("--help"), env=wcbuild.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, told = process.communicate()
    assert told == b""


def test_a_linked_copy_onto_a_layouts_base_is_pushed_with_it(wcbuild, context, simulator):
    name = f"{simulator.host}/app"
    wcbuild.build(context("FROM base\nCOPY --link f /f\n", {"f": "1"}), "-t", f"{name}:1", "--push")
    [(_, raw)] = simulator.repositories["app"].manifests.values()
    layers = {layer["digest"] for layer in json.loads(raw)["layers"]}
    assert len(layers) == 2
    assert layers <= simulator.repositories["app"].blobs.keys()
