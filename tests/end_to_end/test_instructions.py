"""Every instruction and flag, built: the files, the config or the error that it leaves."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.usefixtures("userns")]


@pytest.fixture
def refusal_of(wcbuild, context):
    """Give a function that builds what must be refused, and returns what is said."""

    def build(dockerfile, files=None, *flags):
        done = wcbuild.build(context(dockerfile, files), *flags, check=False)
        assert done.returncode == 1, done.stderr
        return done.stderr

    return build


def content(found, path):
    return found[path][1].decode()


def owner(found, path):
    member, _ = found[path]
    return member.uid, member.gid


def mode(found, path):
    return found[path][0].mode & 0o7777


# -- FROM


def test_from_takes_as_in_any_case_and_names_of_stages_have_none(files_of):
    found = files_of(
        "FROM base aS Build\nCOPY f /f\nFROM build\nCOPY --from=bUILD f /g\n", {"f": "1"}
    )
    assert content(found, "g") == "1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("FROM base x", "either one or three arguments"),
        ("FROM base AS 1x", 'invalid name for build stage: "1x"'),
        ("FROM Base:Tag AS ok", "must be lower case"),
        ("FROM $NOTHING", "should not be blank"),
        ("FROM --platform=linux/a/b/c base", "expected os/architecture"),
        ("FROM --platfrom=linux base", 'did you mean "platform"?'),
    ],
)
def test_from_refuses(refusal_of, line, said):
    message = refusal_of(f"{line}\nCOPY f /\n", {"f": ""})
    assert said in message
    assert "Dockerfile:1" in message


def test_from_knows_a_stage_by_its_very_name(refusal_of):
    message = refusal_of("FROM scratch AS Other\nFROM OTHER\nCOPY f /\n", {"f": ""})
    assert 'Dockerfile:2: image "OTHER"' in message
    assert "must be lower case" in message


def test_from_does_not_see_later_stages(refusal_of):
    message = refusal_of("FROM localhost:1/later AS first\nFROM scratch AS later\nFROM first\n")
    assert 'image "localhost:1/later"' in message


def test_from_a_stage_named_like_an_image_is_the_stage(files_of):
    found = files_of("FROM scratch AS debian\nCOPY f /only\nFROM debian\n", {"f": ""})
    assert list(found) == ["only"]


def test_from_scratch_is_empty(files_of):
    assert files_of("FROM scratch\n") == {}


def test_from_a_named_folder_has_its_files(files_of, tmp_path):
    (tmp_path / "named").mkdir()
    (tmp_path / "named/x").write_text("1")
    found = files_of("FROM named\n", None, "--build-context", f"named={tmp_path / 'named'}")
    assert content(found, "x") == "1"


def test_a_named_context_stands_for_a_stage(files_of, tmp_path):
    (tmp_path / "named").mkdir()
    (tmp_path / "named/x").write_text("from the folder")
    dockerfile = "FROM base AS src\nRUN exit 1\nFROM scratch\nCOPY --from=src /x /\n"
    found = files_of(dockerfile, None, "--build-context", f"src={tmp_path / 'named'}")
    assert content(found, "x") == "from the folder"


def test_from_platform_is_in_the_config(wcbuild, context):
    wcbuild.build(context("FROM --platform=linux/arm64 scratch\nLABEL a=b\n"), "-t", "built")
    assert '"Architecture": "arm64"' in wcbuild("inspect", "built").stdout


# -- ARG and ENV


def test_arg_is_global_until_a_stage_declares_it(files_of):
    dockerfile = (
        'ARG V=global\nFROM base\nRUN echo "[$V]" > /before\nARG V\nRUN echo "[$V]" > /after\n'
        'ARG V=stage\nRUN echo "[$V]" > /own\n'
    )
    found = files_of(dockerfile)
    assert [content(found, name) for name in ("before", "after", "own")] == [
        "[]\n",
        "[global]\n",
        "[stage]\n",
    ]
    found = files_of(dockerfile, None, "--build-arg", "V=given")
    assert [content(found, name) for name in ("before", "after", "own")] == [
        "[]\n",
        "[given]\n",
        "[given]\n",
    ]


def test_arg_takes_several_and_sees_those_before(config_of):
    assert "C=1-2" in config_of("FROM base\nARG A=1 B=$A-2\nENV C=$B\n")["Env"]


def test_arg_of_the_environment_needs_no_value(config_of, monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "yes")
    env = config_of(
        "FROM base\nARG FROM_OUTSIDE\nENV X=$FROM_OUTSIDE\n", None, "--build-arg", "FROM_OUTSIDE"
    )
    assert "X=yes" in env["Env"]


def test_platform_arguments_are_there_when_declared(config_of):
    dockerfile = "FROM scratch\nARG TARGETARCH TARGETOS TARGETSTAGE\nENV P=$TARGETOS/$TARGETARCH/$TARGETSTAGE\n"
    assert (
        "P=linux/arm64/default" in config_of(dockerfile, None, "--platform", "linux/arm64")["Env"]
    )


def test_proxy_arguments_reach_commands_and_stay_nowhere(wcbuild, context, files_of):
    dockerfile = 'FROM base\nRUN echo "$HTTP_PROXY" > /proxy\nENV P=$HTTP_PROXY\n'
    found = files_of(dockerfile, None, "--build-arg", "HTTP_PROXY=http://user:pass@127.0.0.1:9")
    assert content(found, "proxy") == "http://user:pass@127.0.0.1:9\n"
    own = 'FROM base\nENV http_proxy=own\nRUN echo "$http_proxy" > /proxy\n'
    assert content(files_of(own), "proxy") == "own\n"
    found = files_of(own, None, "--no-cache", "--build-arg", "HTTP_PROXY=given")
    assert content(found, "proxy") == "given\n"
    wcbuild.build(
        context(dockerfile), "--build-arg", "HTTP_PROXY=http://user:pass@127.0.0.1:9", "-t", "t"
    )
    assert "pass@" not in wcbuild("history", "--no-trunc", "t").stdout
    assert "pass@" not in wcbuild("inspect", "t").stdout


def test_env_sees_the_line_before_it(config_of):
    env = config_of("FROM base\nENV A=1\nENV A=2 B=$A\nENV C=\"x y\" D='$A' E=a\\ b\nENV F g  h\n")[
        "Env"
    ]
    assert env[-6:] == ["A=2", "B=1", "C=x y", "D=$A", "E=a b", "F=g  h"]


def test_expansion_forms(config_of):
    dockerfile = (
        "FROM base\nENV V=path/to/file.tar.gz\n"
        "ENV A=${V:-x} B=${U:-x} C=${V:+y} D=${U+y} E=${V#*/} F=${V##*/} G=${V%.*} H=${V%%.*}\n"
        "ENV I=${V/t/T} J=${V//t/T} K=\\$V\n"
    )
    env = config_of(dockerfile)["Env"]
    assert env[-11:] == [
        "A=path/to/file.tar.gz",
        "B=x",
        "C=y",
        "D=",
        "E=to/file.tar.gz",
        "F=file.tar.gz",
        "G=path/to/file.tar",
        "H=path/to/file",
        "I=paTh/to/file.tar.gz",
        "J=paTh/To/file.Tar.gz",
        "K=$V",
    ]


def test_a_variable_that_must_be_set_is_named(refusal_of):
    message = refusal_of("FROM base\nWORKDIR ${DIR:?say where}\n")
    assert "Dockerfile:2" in message
    assert "DIR: say where" in message


# -- RUN


def test_run_has_all_heredoc_forms(files_of):
    dockerfile = (
        "FROM base\n"
        "RUN <<EOF\necho one > /script\nEOF\n"
        "RUN <<EOF\n#!/bin/cat\nshown by cat\nEOF\n"
        'RUN cat <<A > /a && cat <<-"B" > /b\nvalue $((1 + 1))\nA\n\t\tliteral $((1 + 1))\n\tB\n'
    )
    found = files_of(dockerfile)
    assert content(found, "script") == "one\n"
    assert content(found, "a") == "value 2\n"
    assert content(found, "b") == "literal $((1 + 1))\n"


def test_run_takes_another_shell(files_of):
    found = files_of(
        'FROM base\nSHELL ["/bin/echo", "-n"]\nRUN x\nSHELL ["/bin/sh", "-ec"]\nRUN echo y > /y\n'
    )
    assert content(found, "y") == "y\n"


def test_run_in_exec_form_has_no_shell(files_of):
    found = files_of('FROM base\nRUN ["touch", "/a b", "/$HOME"]\n')
    assert {"a b", "$HOME"} <= set(found)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--network=hots", 'did you mean "host"?'),
        ("--mount=type=bnd,target=/x", 'did you mean "bind"?'),
        ("--mount=type=bind,tarGte=/x", 'did you mean "target"?'),
        ("--mount=type=bind", "invalid mount target"),
        ("--mount=type=cache,target=/c,sharing=lockd", 'did you mean "locked"?'),
        ("--mount=type=secret", "one of source, target required"),
        ("--mount=type=bind,from=$X,target=/x", "doesn't support variable expansion"),
        ("--mont=type=bind", 'did you mean "mount"?'),
        ("--security=insecur", 'did you mean "insecure"?'),
    ],
)
def test_run_refuses_before_anything_runs(refusal_of, flag, said):
    message = refusal_of(f"FROM base\nRUN echo ran\nRUN {flag} true\n")
    assert said in message
    assert "Dockerfile:3" in message
    assert "RUN echo ran" not in message


def test_resources_of_a_run(files_of):
    flags = ("--ulimit", "nofile=100:200", "--shm-size", "1m", "--add-host", "db:127.0.0.9")
    dockerfile = (
        "FROM base\nRUN ulimit -n > /n && df -k /dev/shm > /shm && grep -w db /etc/hosts > /db\n"
    )
    found = files_of(dockerfile, None, *flags)
    assert content(found, "n") == "100\n"
    assert content(found, "shm").split("\n")[1].split()[1] == "1024"
    assert content(found, "db").split() == ["127.0.0.9", "db"]
    found = files_of("FROM base\nRUN df -k /dev/shm > /shm\n", None, "--shm-size", "0")
    assert content(found, "shm").split("\n")[1].split()[1] == "65536"


# -- what the config keeps


def test_cmd_and_entrypoint_and_what_they_take_from_the_base(config_of):
    config = config_of('FROM base\nCMD a b\nENTRYPOINT ["c"]\n')
    assert (config["Entrypoint"], config["Cmd"]) == (["c"], ["/bin/sh", "-c", "a b"])
    config = config_of('FROM base AS p\nCMD ["a"]\nFROM p\nENTRYPOINT ["c"]\n')
    assert config["Entrypoint"] == ["c"]
    assert not config.get("Cmd")
    assert not config_of("FROM base\nCMD []\n").get("Cmd")


def test_shell_is_kept(config_of):
    assert config_of('FROM base\nSHELL ["/bin/bash", "-c"]\n')["Shell"] == ["/bin/bash", "-c"]


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("80", ["80/tcp"]),
        ("53/UDP 53/tcp", ["53/tcp", "53/udp"]),
        ("8000-8002", ["8000/tcp", "8001/tcp", "8002/tcp"]),
        ("$PORTS", ["1/tcp", "2/udp"]),
    ],
)
def test_expose(config_of, line, ports):
    exposed = config_of(f'FROM base\nARG PORTS="1 2/udp"\nEXPOSE {line}\n')["ExposedPorts"]
    assert sorted(exposed) == ports


def test_volume_keeps_what_is_written_there_later(files_of):
    found = files_of('FROM base\nVOLUME ["/data", "/logs"]\nRUN mkdir /data && echo x > /data/f\n')
    assert content(found, "data/f") == "x\n"


def test_healthcheck_forms(config_of):
    flags = "--interval=1m30s --timeout=3s --start-period=5s --start-interval=500ms --retries=2"
    check = config_of(f'FROM base\nHEALTHCHECK {flags} CMD ["x", "y"]\n')["Healthcheck"]
    assert check == {
        "Test": ["CMD", "x", "y"],
        "Interval": 90_000_000_000,
        "Timeout": 3_000_000_000,
        "StartPeriod": 5_000_000_000,
        "StartInterval": 500_000_000,
        "Retries": 2,
    }
    assert config_of("FROM base\nHEALTHCHECK NONE\n")["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("HEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "cannot be negative"),
        ("HEALTHCHECK X", "Unknown type"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("EXPOSE foo", "invalid"),
        ("EXPOSE 80/foo", "invalid proto: foo"),
        ("SHELL /bin/sh", "in JSON form"),
        ("ENV A", "must have two arguments"),
        ("ENV A=1 B", "can't find = in"),
        ("LABEL =b", "names can not be blank"),
        ("WORKDIR", "requires exactly one argument"),
        ("ONBUILD ONBUILD RUN x", "isn't allowed"),
        ("ONBUILD FROM x", "isn't allowed"),
        ("CMD [1]", "arrays must be comprised of strings only"),
        ("CPY a b", 'did you mean "COPY"?'),
        ("copi a b", 'did you mean "copy"?'),
        ("ENV --x A=1", "unknown flag: --x"),
        ("RUN <<EOF\nx", "unterminated heredoc"),
    ],
)
def test_what_is_refused_has_a_place(refusal_of, line, said):
    message = refusal_of(f"FROM base\n{line}\n")
    assert said in message
    assert "Dockerfile:2" in message


def test_onbuild_takes_files_of_the_childs_stages(wcbuild, context, files_of):
    wcbuild.build(context("FROM base\nONBUILD COPY --from=tools /tool /tool\n"), "-t", "parent")
    found = files_of("FROM scratch AS tools\nCOPY tool /\nFROM parent\n", {"tool": "t"})
    assert content(found, "tool") == "t"


def test_onbuild_is_not_inherited_by_grandchildren(wcbuild, context, files_of):
    wcbuild.build(context("FROM base\nONBUILD RUN echo x >> /times\n"), "-t", "parent")
    wcbuild.build(context("FROM parent\n"), "-t", "child")
    assert content(files_of("FROM child\n"), "times") == "x\n"


def test_maintainer_is_the_author(wcbuild, context):
    wcbuild.build(context("FROM base\nMAINTAINER Somebody Else\n"), "-t", "built")
    assert '"Author": "Somebody Else"' in wcbuild("inspect", "built").stdout


# -- WORKDIR and USER


def test_workdir_belongs_to_the_user_in_force(files_of):
    passwd = "FROM base\nRUN echo 'app:x:7:8::/:/bin/sh' >> /etc/passwd\n"
    found = files_of(f"{passwd}USER app\nWORKDIR /a/b\nUSER 5:6\nWORKDIR c\n")
    assert (owner(found, "a/b"), mode(found, "a/b")) == ((7, 8), 0o755)
    assert owner(found, "a/b/c") == (5, 6)


def test_workdir_takes_blanks_and_variables(config_of):
    assert config_of("FROM base\nENV D=x\nWORKDIR /a b/$D/\n")["WorkingDir"] == "/a b/x/"


def test_an_unknown_user_is_named_where_it_is_needed(refusal_of):
    message = refusal_of("FROM base\nUSER nobody-here\nRUN true\n")
    assert "nobody-here" in message
    assert "Dockerfile:3" in message


# -- COPY


def test_copy_link_replaces_a_symlink_that_copy_follows(files_of):
    base = "FROM base\nRUN mkdir /real && ln -s /real /link\n"
    assert "real/f" in files_of(f"{base}COPY f /link/f\n", {"f": "1"})
    found = files_of(f"{base}COPY --link f /link/f\n", {"f": "1"})
    assert content(found, "link/f") == "1"
    assert "real/f" not in found


def test_copy_parents_keeps_folders_from_the_pivot_on(files_of):
    files = {"a/b/c.txt": "1", "a/d.txt": "2"}
    found = files_of("FROM scratch\nCOPY --parents a/./**/*.txt /to/\n", files)
    assert {path for path in found if path.endswith(".txt")} == {"to/b/c.txt", "to/d.txt"}


def test_copy_exclude_leaves_out_and_brings_back(files_of):
    files = {"d/a.log": "", "d/b.txt": "", "d/keep.log": ""}
    found = files_of("FROM scratch\nCOPY --exclude=*.log --exclude=!keep.log d /d/\n", files)
    assert {path for path in found if path.startswith("d/")} == {"d/b.txt", "d/keep.log"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [("4711", 0o4711), ("u+x,go-w", 0o744), ("a=rX", 0o444), ("u=rw,g=u,o=", 0o660)],
)
def test_copy_chmod(files_of, context, given, expected):
    folder = context("", {"f": "1"})
    (folder / "f").chmod(0o644)
    assert mode(files_of(f"FROM scratch\nCOPY --chmod={given} f /f\n", {"f": "1"}), "f") == expected


def test_a_capital_x_leaves_programs_executable(files_of, context):
    files = {"d/program": "1", "d/text": "1"}
    (context("", files) / "d/program").chmod(0o700)
    found = files_of("FROM scratch\nCOPY --chmod=u=rwX,go=rX d /d\n", files)
    assert [mode(found, path) for path in ("d", "d/program", "d/text")] == [0o755, 0o755, 0o644]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("COPY f", "requires at least two arguments"),
        ("COPY missing /x", "did you mean"),
        ("COPY --from=5 /f /x", "invalid stage index 5"),
        ("COPY --from=me /f /x", "circular dependency"),
        ("COPY --from=later /f /x", "needs to be defined before"),
        ("COPY --chmod=9 f /x", "invalid"),
        ("COPY --chmod=10000 f /x", "07777"),
        ("COPY http://127.0.0.1:1/f /x", "can't be a URL for COPY"),
        ("COPY --checksum=sha256:0 f /x", "unknown flag: --checksum"),
        ("ADD --from=x f /x", "unknown flag: --from"),
        ("COPY --link=maybe f /x", "expecting boolean value"),
        ("COPY --chown=1:2 --chown=3 f /x", "duplicate flag"),
        ("COPY <<EOF\nEOF", "requires at least two arguments"),
        ("COPY f <<EOF\nEOF", "cannot accept a heredoc as a destination"),
        ("COPY f /etc/passwd/x", "passwd"),
    ],
)
def test_copy_refuses(refusal_of, line, said):
    message = refusal_of(
        f"FROM base AS me\n{line}\nFROM scratch AS later\nFROM me\n", {"f": "1", "mising": ""}
    )
    assert said in message
    assert "Dockerfile:2" in message


def test_copy_from_a_stage_keeps_owners_and_from_the_context_has_none(files_of):
    dockerfile = (
        "FROM base AS a\nRUN touch /x && chown 7:8 /x\nFROM scratch\nCOPY --from=a /x /\nCOPY f /\n"
    )
    found = files_of(dockerfile, {"f": ""})
    assert owner(found, "x") == (7, 8)
    assert owner(found, "f") == (0, 0)


def test_copy_of_nothing_that_matches_is_no_error(files_of):
    assert "f" in files_of("FROM scratch\nCOPY f none*.txt /\n", {"f": ""})


def test_several_sources_land_in_a_folder(files_of):
    found = files_of("FROM scratch\nCOPY a b* /to/\n", {"a": "1", "b1": "2", "b2": "3"})
    assert {path for path in found if path.startswith("to/")} == {"to/a", "to/b1", "to/b2"}


def test_copy_json_form_takes_blanks(files_of):
    found = files_of('FROM scratch\nCOPY ["a b", "/c d"]\n', {"a b": "1"})
    assert content(found, "c d") == "1"


def test_add_unpack_can_be_refused(files_of, context):
    import io
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("inside"))
    folder = context("")
    (folder / "a.tar").write_bytes(data.getvalue())
    assert "to/inside" in files_of("FROM scratch\nADD a.tar /to/\n")
    assert "to/a.tar" in files_of("FROM scratch\nADD --unpack=false a.tar /to/\n")


# -- stages and targets


def test_target_builds_no_more_than_it_needs(files_of):
    dockerfile = "FROM scratch AS a\nCOPY f /a\nFROM base AS b\nRUN exit 1\nFROM a AS c\n"
    assert list(files_of(dockerfile, {"f": ""}, "--target", "A")) == ["a"]


def test_an_unknown_target_is_named_with_a_near_one(refusal_of):
    assert 'did you mean "build"?' in refusal_of(
        "FROM scratch AS build\n", None, "--target", "biuld"
    )


def test_a_misspelt_stage_is_named_with_a_near_one(refusal_of):
    message = refusal_of("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /\n")
    assert "Dockerfile:3" in message
    assert 'did you mean "build"?' in message


def test_a_misspelt_build_argument_is_told_with_a_near_one(wcbuild, context):
    done = wcbuild.build(context("FROM scratch\nARG VERSION\n"), "--build-arg", "VERISON=1")
    assert 'build argument "VERISON" is declared by no ARG (did you mean "VERSION"?)' in done.stderr


def test_a_dockerfile_in_utf_16_is_told_apart(wcbuild, context):
    folder = context("")
    (folder / "Dockerfile").write_text("FROM scratch\n", encoding="utf-16")
    done = wcbuild.build(folder, check=False)
    assert done.stderr == (
        'ERROR: "Dockerfile" is in UTF-16 (save it as UTF-8, which a Dockerfile has to be)\n'
    )
