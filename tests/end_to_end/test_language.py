"""Each instruction, built, and what it leaves in the image: files, config, or an error."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from wcbuild.request import host_platform

from .conftest import call

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]


def text(found, path):
    return found[path][1].decode()


def test_copy_of_a_file_a_folder_and_a_wildcard(files_of):
    files = {"one": "1", "dir/a": "a", "dir/sub/b": "b", "x1.txt": "x", "x2.txt": "y"}
    found = files_of("FROM base\nCOPY one /to/\nCOPY dir /d\nCOPY x?.txt /w/\n", files)
    assert text(found, "to/one") == "1"
    assert text(found, "d/sub/b") == "b"
    assert {path for path in found if path.startswith("w/")} == {"w/x1.txt", "w/x2.txt"}


def test_copy_sets_owner_and_mode(files_of):
    found = files_of("FROM base\nCOPY --chown=7:8 --chmod=640 one /one\n", {"one": "1"})
    member, _ = found["one"]
    assert (member.uid, member.gid, member.mode & 0o7777) == (7, 8, 0o640)


def test_copy_looks_names_up_in_the_image(files_of):
    dockerfile = (
        "FROM base\nRUN echo app:x:4242:4343::/:/bin/sh >> /etc/passwd\nCOPY --chown=app one /one\n"
    )
    member, _ = files_of(dockerfile, {"one": "1"})["one"]
    assert (member.uid, member.gid) == (4242, 4343)


def test_copy_from_a_stage_by_name_and_by_index(files_of):
    dockerfile = (
        "FROM base AS build\nRUN mkdir /out && echo made > /out/file\n"
        "FROM scratch\nCOPY --from=build /out /named\nCOPY --from=0 /out/file /numbered\n"
    )
    found = files_of(dockerfile)
    assert text(found, "named/file") == "made\n"
    assert text(found, "numbered") == "made\n"
    assert not any(path.startswith("bin") for path in found)


def test_copy_from_an_image(files_of, wcbuild):
    layout = f"docker-image=oci-layout://{wcbuild.base}"
    found = files_of(
        "FROM scratch\nCOPY --from=docker-image /etc/passwd /p\n", None, "--build-context", layout
    )
    assert text(found, "p").startswith("root:")


def test_copy_from_a_named_folder(files_of, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "logo").write_text("logo")
    found = files_of(
        "FROM scratch\nCOPY --from=assets logo /\n",
        None,
        "--build-context",
        f"assets={tmp_path / 'assets'}",
    )
    assert text(found, "logo") == "logo"


def test_copy_heredoc(files_of):
    found = files_of("FROM scratch\nARG WHO=you\nCOPY <<EOF /greeting\nhello $WHO\nEOF\n")
    assert text(found, "greeting") == "hello you\n"


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_add_unpacks_local_archives_whatever_their_compression(
    wcbuild, context, tmp_path, compression
):
    folder = context("FROM scratch\nADD files /into/\n")
    with tarfile.open(folder / "files", f"w:{compression}") as archive:
        member = tarfile.TarInfo("dir/inside")
        member.size, member.uid, member.mode = 5, 12, 0o600
        archive.addfile(member, io.BytesIO(b"hello"))
    wcbuild.build(folder, "-o", f"type=tar,dest={tmp_path / 'out.tar'}")
    with tarfile.open(tmp_path / "out.tar") as archive:
        found = archive.getmember("into/dir/inside")
        assert (found.size, found.uid, found.mode & 0o777) == (5, 12, 0o600)
    assert list((wcbuild.root / "tmp").iterdir()) == []


def test_add_refuses_an_archive_that_leads_out(wcbuild, context):
    folder = context("FROM base\nADD evil.tar /into/\n")
    with tarfile.open(folder / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../outside"))
    failed = wcbuild.build(folder, check=False)
    assert failed.returncode == 1
    assert "outside" in failed.stderr


def test_run_forms(files_of):
    dockerfile = (
        "FROM base\n"
        "RUN echo shell > /shell\n"
        'RUN ["/bin/sh", "-c", "echo exec > /exec"]\n'
        "RUN <<EOF\necho one > /heredoc\necho two >> /heredoc\nEOF\n"
        'RUN <<"EOF"\n#!/bin/sh\necho "$0" > /script\nEOF\n'
        "RUN cat <<A > /a && cat <<B > /b\nfirst\nA\nsecond\nB\n"
        'SHELL ["/bin/sh", "-e", "-c"]\n'
        "RUN echo $- > /flags\n"
    )
    found = files_of(dockerfile)
    assert text(found, "shell") == "shell\n"
    assert text(found, "exec") == "exec\n"
    assert text(found, "heredoc") == "one\ntwo\n"
    assert text(found, "script") == "/dev/pipes/EOF\n"
    assert (text(found, "a"), text(found, "b")) == ("first\n", "second\n")
    assert "e" in text(found, "flags")


def test_arg_env_and_expansion(files_of):
    dockerfile = (
        "ARG GLOBAL=g\nFROM base\nARG GLOBAL\nARG VERSION=1\nENV NAME=app-${VERSION}${MISSING:-x}\n"
        'RUN echo "$GLOBAL $VERSION $NAME" > /seen\n'
    )
    found = files_of(dockerfile, None, "--build-arg", "VERSION=2")
    assert text(found, "seen") == "g 2 app-2x\n"


def test_workdir_is_made_and_is_where_commands_run(files_of):
    found = files_of("FROM base\nWORKDIR /a\nWORKDIR b\nRUN pwd > here\n")
    assert text(found, "a/b/here") == "/a/b\n"


def test_user_runs_commands_and_owns_what_they_make(files_of):
    dockerfile = "FROM base\nRUN mkdir -m 777 /open\nUSER 1234:1235\nRUN id -u > /open/id; id -g >> /open/id\n"
    found = files_of(dockerfile)
    assert text(found, "open/id") == "1234\n1235\n"
    assert (found["open/id"][0].uid, found["open/id"][0].gid) == (1234, 1235)


def test_dockerignore_hides_files_and_brings_some_back(files_of):
    files = {
        ".dockerignore": "*.log\n!keep.log\nsecret\n",
        "a.log": "",
        "keep.log": "",
        "secret/key": "",
        "b": "",
    }
    found = files_of("FROM scratch\nCOPY . /\n", files)
    assert {path for path in found if path} >= {"b", "keep.log"}
    assert not {"a.log", "secret", "secret/key"} & set(found)


def test_onbuild_runs_in_the_child(wcbuild, context, files_of):
    wcbuild.build(context("FROM base\nONBUILD RUN echo triggered > /trigger\n"), "-t", "parent")
    found = files_of("FROM parent\nRUN cat /trigger > /copy\n")
    assert text(found, "copy") == "triggered\n"


def test_config_instructions_land_in_the_config(config_of):
    dockerfile = (
        "FROM base\n"
        'LABEL a=b "c d"="e f"\n'
        "EXPOSE 80 53/udp\n"
        "VOLUME /data /logs\n"
        "STOPSIGNAL SIGINT\n"
        "HEALTHCHECK --interval=5s --retries=3 CMD curl x\n"
        'ENTRYPOINT ["/entry"]\n'
        'CMD ["arg"]\n'
        "USER app:staff\n"
        "MAINTAINER somebody\n"
    )
    config = config_of(dockerfile, None, "--label", "from=cli")
    assert config["Labels"] == {"a": "b", "c d": "e f", "from": "cli"}
    assert config["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert config["Volumes"] == {"/data": {}, "/logs": {}}
    assert config["StopSignal"] == "SIGINT"
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "curl x"],
        "Interval": 5_000_000_000,
        "Retries": 3,
    }
    assert (config["Entrypoint"], config["Cmd"]) == (["/entry"], ["arg"])
    assert config["User"] == "app:staff"


def test_a_late_label_runs_nothing_again(wcbuild, context):
    wcbuild.build(context("FROM base\nRUN echo x > /x\n"))
    again = wcbuild.build(context("FROM base\nLABEL new=label\nRUN echo x > /x\n"))
    assert "DONE" not in again.stderr


def test_a_rebuilt_stage_with_the_same_files_runs_nothing_after_it(wcbuild, context):
    dockerfile = (
        "FROM base AS build\nRUN : {} && echo same > /out && touch -d @1000 /out\n"
        "FROM base\nCOPY --from=build /out /out\nRUN cat /out > /copy\n"
    )
    wcbuild.build(context(dockerfile.format("first")))
    again = wcbuild.build(context(dockerfile.format("second")))
    assert again.stderr.count("CACHED") >= 3
    assert again.stderr.count(" DONE ") == 1


def test_stages_that_the_target_does_not_need_are_neither_looked_up_nor_run(files_of):
    dockerfile = (
        "FROM nowhere.invalid/none AS missing\nRUN x\nFROM base AS failing\nRUN false\n"
        "FROM missing AS above\nCOPY --from=failing / /\nFROM scratch\nCOPY Dockerfile /\n"
    )
    assert list(files_of(dockerfile)) == ["Dockerfile"]


def test_independent_stages_run_at_the_same_time(files_of):
    """Each waits for the other, though not for ever."""
    run = (
        "RUN --mount=type=cache,target=/c i=0; touch /c/{0} /{0}; until test -e /c/{1}; do"
        " sleep 0.1; i=$((i+1)); test $i -lt 1200 || exit 1; done\n"
    )
    dockerfile = (
        f"FROM base AS one\n{run.format('a', 'b')}FROM base AS two\n{run.format('b', 'a')}"
        "FROM scratch\nCOPY --from=one /a /\nCOPY --from=two /b /\n"
    )
    assert sorted(files_of(dockerfile)) == ["a", "b"]


def test_source_date_epoch_gives_the_same_image_on_another_day_and_in_another_store(
    wcbuild, context, tmp_path
):
    dockerfile = "FROM base\nWORKDIR /w\nCOPY one .\nRUN echo x > /made; mkdir /dir\nENV A=b\n"
    folder = context(dockerfile, {"one": "1"})
    ids = []
    for name, time in (("first", "1700000000"), ("second", "+1700000000")):
        other = type(wcbuild)(tmp_path / name, wcbuild.base)
        (folder / "one").touch()
        flags = ("-q", "--build-arg", f"SOURCE_DATE_EPOCH={time}")
        ids.append(other.build(folder, *flags).stdout)
    assert ids[0] == ids[1]


@pytest.mark.parametrize("kind", ["tar", "local"])
def test_source_date_epoch_is_the_time_of_all_files_that_are_written_out(
    wcbuild, context, tmp_path, kind
):
    folder = context("FROM scratch\nCOPY . /\n", {"d/old": "1", "new": "2"})
    os.utime(folder / "d/old", (1, 1))
    out = tmp_path / "out"
    flags = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    wcbuild.build(folder, *flags, "-o", f"type={kind},dest={out}")
    if kind == "tar":
        with tarfile.open(out) as archive:
            times = {member.name: member.mtime for member in archive if member.name != "."}
    else:
        times = {str(path.relative_to(out)): path.stat().st_mtime for path in out.rglob("*")}
    assert times == dict.fromkeys(["Dockerfile", "d", "d/old", "new"], 1700000000)


def test_network_none_has_only_a_loopback(files_of):
    found = files_of("FROM base\nRUN --network=none cat /proc/net/dev | grep -c : > /count\n")
    assert text(found, "count") == "1\n"


def test_whiteouts_delete_files_and_folders_of_the_base(wcbuild, context, tmp_path):
    wcbuild.build(
        context("FROM base\nRUN mkdir -p /d/e && echo 1 > /d/e/f && echo 2 > /g\n"), "-t", "low"
    )
    out = tmp_path / "out.tar"
    dockerfile = "FROM low\nRUN rm -r /d /g && mkdir /d && echo new > /d/n\nRUN ls /d > /seen\n"
    wcbuild.build(context(dockerfile), "-o", f"type=tar,dest={out}")
    with tarfile.open(out) as archive:
        names = archive.getnames()
        assert archive.extractfile("seen").read() == b"n\n"
    assert "d/n" in names
    assert not {"g", "d/e", "d/e/f"} & set(names)


def test_links_fifos_and_modes_survive_a_layer(wcbuild, context, tmp_path):
    dockerfile = (
        "FROM base\nRUN echo x > /a && ln /a /b && ln -s a /c && mkfifo /p && chmod 4711 /a"
        " && mkdir -m 1777 /sticky && touch -d @1234567 /sticky/old\nRUN cat /b\n"
    )
    out = tmp_path / "out.tar"
    wcbuild.build(context(dockerfile), "-o", f"type=tar,dest={out}")
    with tarfile.open(out) as archive:
        assert archive.getmember("b").islnk()
        assert archive.getmember("b").linkname == "a"
        assert archive.getmember("c").linkname == "a"
        assert archive.getmember("p").isfifo()
        assert archive.getmember("a").mode & 0o7777 == 0o4711
        assert archive.getmember("sticky").mode & 0o7777 == 0o1777
        assert archive.getmember("sticky/old").mtime == 1234567


def test_stdin_of_a_command_is_empty_and_no_handle_is_inherited(files_of):
    found = files_of("FROM base\nRUN cat > /in; ls /proc/self/fd | wc -l > /handles\n")
    assert text(found, "in") == ""
    assert int(text(found, "handles")) <= 4  # 0, 1, 2 and the folder that ls reads


def test_nothing_of_the_callers_environment_is_seen(wcbuild, context, tmp_path):
    out = tmp_path / "out.tar"
    folder = context("FROM base\nRUN env > /env\n")
    wcbuild.build(folder, "-o", f"type=tar,dest={out}", env={"CANARY": "visible"})
    with tarfile.open(out) as archive:
        assert b"CANARY" not in archive.extractfile("env").read()


def test_folder_output_is_owned_by_whoever_builds(wcbuild, context, tmp_path):
    wcbuild.build(context("FROM base\nRUN echo x > /x; chown 5:5 /x\n"), "-o", tmp_path / "out")
    assert (tmp_path / "out/x").read_text() == "x\n"
    assert (tmp_path / "out/x").stat().st_uid == Path(tmp_path).stat().st_uid


@pytest.mark.root
@pytest.mark.slow
def test_source_date_epoch_gives_the_same_image_to_another_user(wcbuild, context, tmp_path):
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    nobody = ("runuser", "-u", "nobody", "--")
    if call(*nobody, sys.executable, "-c", "import wcbuild", check=False).returncode:
        pytest.skip("nobody may not read this Python")
    dockerfile = (
        "FROM base AS made\nRUN mkdir -p /w/x && echo hi > /w/x/f && ln /w/x/f /w/h && chmod 4755 /w/x/f\n"
        "FROM base\nWORKDIR /app\nCOPY --chown=5:6 one a/\nCOPY --from=made /w /w\nRUN rm /etc/os-release\n"
    )
    folder = context(dockerfile, {"one": "1"})
    with tempfile.TemporaryDirectory() as name:
        # pytest's own folders are for their owner alone.
        public = Path(name)
        public.chmod(0o1777)
        shutil.copytree(folder, public / "context")
        shutil.copytree(wcbuild.base, public / "base")
        words = ("build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1700000000")
        words += ("--build-context", f"base=oci-layout://{public / 'base'}", public / "context")
        mine = wcbuild(*words).stdout
        root = ("--root", public / "store")
        theirs = call(*nobody, *wcbuild.command(*words, *root), cwd=public).stdout
        script = "import shutil, sys; from wcbuild.machine import Machine\n"
        script += "with Machine.start(): shutil.rmtree(sys.argv[1])"
        call(*nobody, sys.executable, "-c", script, public / "store", cwd=public)
    assert mine == theirs


# -- the rest of what each instruction promises, several to a build


@pytest.fixture
def built(wcbuild, context):
    """Build; give the inner config and the history, as pairs of text and whether it made a layer."""

    def build(dockerfile, files=None, *flags, name="built"):
        wcbuild.build(context(dockerfile, files), "-t", name, *flags)
        document = json.loads(wcbuild("inspect", "--format", "{{json .}}", name).stdout)
        lines = wcbuild("history", "--no-trunc", "--format", "{{json .}}", name).stdout.splitlines()
        history = [json.loads(line) for line in lines][::-1]
        return document["Config"], [(line["CreatedBy"], line["Size"] != "0B") for line in history]

    return build


def test_config_instructions_in_every_form(built):
    config, history = built(
        "FROM base AS parent\n"
        'SHELL ["/bin/sh", "-ec"]\nENV A=1 B=2\nENV A=3\nLABEL x=parent y=parent\nCMD inherited\n'
        "FROM parent\n"
        "ARG KEY=k USERNAME=app\nENV ${KEY}_NAME=$KEY\nLABEL $KEY=v x=file\n"
        "ENTRYPOINT run it\n"
        "HEALTHCHECK --interval=0 --retries=0 cmd probe it\n"
        "EXPOSE 9 127.0.0.1:80:8080 7/\nVOLUME [/a, /b]\nUSER $USERNAME\nSTOPSIGNAL SIGRTMIN+3\n"
        "WORKDIR /\n",
        None,
        *("--label", "x=cli", "--label", "new=cli"),
    )
    assert config["Env"][-3:] == ["A=3", "B=2", "k_NAME=k"]
    assert config["Labels"] == {"k": "v", "new": "cli", "x": "cli", "y": "parent"}
    assert config["Entrypoint"] == ["/bin/sh", "-ec", "run it"]
    assert not config.get("Cmd")
    assert config["Shell"] == ["/bin/sh", "-ec"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "probe it"]}
    assert sorted(config["ExposedPorts"]) == ["7/tcp", "8080/tcp", "9/tcp"]
    assert sorted(config["Volumes"]) == ["/b]", "[/a,"]
    assert (config["User"], config["StopSignal"]) == ("app", "SIGRTMIN+3")
    assert config["WorkingDir"] == "/"
    assert history[-15:] == [
        (text, False)
        for text in (
            "SHELL [/bin/sh -ec]",
            "ENV A=1 B=2",
            "ENV A=3",
            "LABEL x=parent y=parent",
            'CMD ["/bin/sh" "-ec" "inherited"]',
            "ARG KEY=k USERNAME=app",
            "ENV k_NAME=k",
            "LABEL k=v x=file",
            'ENTRYPOINT ["/bin/sh" "-ec" "run it"]',
            (
                "HEALTHCHECK {Test:[CMD-SHELL probe it] Interval:0s Timeout:0s StartPeriod:0s"
                " StartInterval:0s Retries:0}"
            ),
            "EXPOSE [8080/tcp 7/tcp 9/tcp]",
            "VOLUME [[/a, /b]]",
            "USER app",
            "STOPSIGNAL SIGRTMIN+3",
            "WORKDIR /",
        )
    ]


def test_history_of_what_makes_layers(built):
    _, history = built(
        'FROM base\nARG A=1 B\nRUN echo "$A" > /x\nWORKDIR /w/v\nCOPY one /\nRUN ["touch", "/y"]\n'
        "RUN <<EOF\necho a\nEOF\nCOPY <<EOF /h\nx\nEOF\n",
        {"one": "1"},
    )
    assert [text for text, is_layer in history if is_layer][-6:] == [
        'RUN |2 A=1 B= /bin/sh -c echo "$A" > /x # buildkit',
        "WORKDIR /w/v",
        "COPY one / # buildkit",
        "RUN |2 A=1 B= touch /y # buildkit",
        "RUN |2 A=1 B= /bin/sh -c echo a\n # buildkit",
        "COPY <<EOF /h # buildkit",
    ]


def test_cmd_and_entrypoint_of_a_base_image(built):
    built('FROM base\nENTRYPOINT ["e"]\nCMD ["c"]\n', name="image")
    config, _ = built("FROM image\nENTRYPOINT []\n")
    assert not config.get("Entrypoint")
    assert not config.get("Cmd")
    config, _ = built('FROM image\nCMD ["d"]\n')
    assert (config["Entrypoint"], config["Cmd"], config["ArgsEscaped"]) == (["e"], ["d"], True)
    config, _ = built('FROM base\nCMD ["c"]\nENTRYPOINT ["e"]\nCMD ["d"]\n')
    assert (config["Entrypoint"], config["Cmd"]) == (["e"], ["d"])
    config, _ = built('FROM scratch\nENTRYPOINT ["e"]\nUSER nobody-here\nHEALTHCHECK none\n')
    assert "ArgsEscaped" not in config
    assert (config["User"], config["Healthcheck"]) == ("nobody-here", {"Test": ["NONE"]})


def test_onbuild_keeps_its_words_and_is_done_where_it_is_wanted(built, files_of):
    text = "FROM base AS parent\nONBUILD run echo $X >> /order\nONBUILD COPY <<EOF /h\nkept\nEOF\n"
    config, history = built(text, name="parent-image")
    assert config["OnBuild"] == ["run echo $X >> /order", "COPY <<EOF /h\nkept\nEOF"]
    assert not any("ONBUILD" in line for line, _ in history)
    for child in (f"{text}FROM parent\n", "FROM parent-image\n"):
        found = files_of(f"{child}RUN cat /h >> /order\n")
        assert found["order"][1].split() == [b"kept"]
    config, _ = built("FROM parent-image\n", name="child")
    assert not config["OnBuild"]


def test_what_a_run_finds_of_the_machine_stays_out_of_the_layer(files_of):
    before = files_of("FROM base\n")
    found = files_of(
        "FROM base\nRUN (hostname || cat /proc/sys/kernel/hostname) > /name;"
        " grep -c localhost /etc/hosts > /hosts; test -e /etc/resolv.conf\n"
    )
    assert text(found, "name") == "buildkitsandbox\n"
    assert int(text(found, "hosts")) >= 1
    assert set(found) - set(before) == {"name", "hosts"}
    for name in ("etc/hosts", "etc/resolv.conf"):
        assert before.get(name, (0, b""))[1] == found.get(name, (0, b""))[1]


def test_bases_by_their_other_names_and_platforms_of_stages(wcbuild, context, files_of):
    assert "etc/passwd" in files_of("FROM docker.io/library/base:latest\n")
    dockerfile = (
        "FROM --platform=linux/s390x scratch AS a\nCOPY f /\nFROM a AS b\nFROM scratch AS c\n"
    )
    for target, architecture in (("b", "s390x"), ("c", None)):
        wcbuild.build(context(dockerfile, {"f": ""}), "--target", target, "-t", "built")
        found = json.loads(wcbuild("inspect", "built").stdout)[0]["Architecture"]
        assert found == (architecture or str(host_platform().architecture))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RUN []", "arguments are required"),
        ('VOLUME ["/a", " "]', "VOLUME specified can not be an empty string"),
        ("ONBUILD MAINTAINER x", "isn't allowed"),
        ("EXPOSE 1-", "invalid"),
        ("USER", "requires exactly one argument"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
    ],
)
def test_what_is_empty_or_too_much_is_refused(wcbuild, context, line, said):
    failed = wcbuild.build(context(f"FROM base\n{line}\n"), check=False)
    assert failed.returncode == 1
    assert said in failed.stderr
    assert "Dockerfile:2" in failed.stderr
