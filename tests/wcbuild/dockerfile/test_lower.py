"""Stages to steps: what is built, in which order, on what."""

import time

import pytest

from registry.errors import NotFoundError
from registry.oci.config import ContainerConfig, History, ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from wcbuild.dockerfile.lower import (
    ContextKind,
    Entitlement,
    NamedContext,
    Options,
    ResolvedImage,
    lower,
)
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import SourceError, UsageError
from wcbuild.graph.ops import (
    ContextOp,
    CopyOp,
    Device,
    ImageOp,
    MkdirOp,
    Mount,
    MountKind,
    Network,
    RunOp,
    ScratchOp,
)

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")


class Images:
    """Knows a few images and named contexts."""

    def __init__(self, images=(), folders=(), configs=None, only=None, named=()):
        self.images = set(images)
        self.folders = set(folders)
        self.configs = configs or {}
        self.only = only
        """The platform of all images, whatever is asked for."""
        self.named = set(named)
        """Named contexts that are images."""
        self.asked = []

    def context(self, name, platform):
        if name in self.named:
            return NamedContext(name=name, kind=ContextKind.IMAGE)
        return NamedContext(name=name, kind=ContextKind.FILES) if name in self.folders else None

    def image(self, name, platform):
        self.asked.append((name, platform))
        if name not in self.images and name not in self.configs:
            raise NotFoundError(name, "these tests")
        config = ImageConfig(
            platform=self.only or platform,
            config=self.configs.get(name, ContainerConfig(env=("PATH=/bin",))),
            history=(History(created="2024-01-01T00:00:00Z", created_by="base"),),
        )
        return ResolvedImage(digest=sha256(name.encode()), config=config)


def lowered(text, *, images=("debian",), folders=(), configs=None, outside=None, **options):
    dockerfile = parse_dockerfile(text.encode(), file="Dockerfile")
    given = Options(**({"platform": AMD64, "build_platform": AMD64} | options))
    return lower(dockerfile, given, outside or Images(images, folders, configs))


def ops(result):
    return [step.op for step in result.graph.steps]


def test_only_stages_that_the_target_needs_are_looked_up():
    result = lowered("FROM debian AS a\nRUN x\nFROM nowhere AS b\nRUN y\n", target="a")
    assert [type(op) for op in ops(result)] == [ImageOp, RunOp]


def test_a_stage_that_nobody_needs_may_take_files_from_a_later_one():
    result = lowered("FROM debian AS a\nCOPY --from=b /x /\nFROM debian AS b\n")
    assert [type(op) for op in ops(result)] == [ImageOp]


def test_files_are_taken_from_the_last_stage_of_a_name():
    text = "FROM debian AS a\nRUN one\nFROM debian AS a\nRUN two\nFROM scratch\nCOPY --from=a / /\n"
    result = lowered(text)
    runs = [op.args[-1] for op in ops(result) if isinstance(op, RunOp)]
    assert runs == ["two"]


def test_the_image_is_for_the_platform_asked_for_whatever_it_stands_on():
    text = "FROM --platform=$BUILDPLATFORM debian\nCOPY page /\n"
    result = lowered(text, platform=ARM64, platform_given=True)
    assert ops(result)[0].platform == AMD64
    assert result.plan.platform == ARM64


def test_labels_say_for_which_platform_a_stage_of_another_builds():
    text = "FROM --platform=$BUILDPLATFORM debian AS a\nRUN x\nARG TARGETARCH\nRUN y\n"
    text += "FROM debian\nCOPY --from=a /f /\n"
    result = lowered(text, platform=ARM64, platform_given=True, show_platform=True)
    labels = [step.label for step in result.graph.steps if step.label.startswith("[")]
    assert [label.partition("]")[0] for label in labels] == [
        "[linux/amd64 a 1/3",
        "[linux/amd64 a 2/3",
        "[linux/amd64->arm64 a 3/3",
        "[linux/arm64 stage-1 1/2",
        "[linux/arm64 stage-1 2/2",
    ]


@pytest.mark.parametrize("flag", ["", "--platform=linux/arm/v7 "])
def test_the_image_is_for_its_bases_platform_if_nobody_asked_for_one(flag):
    result = lowered(f"FROM {flag}debian\n", outside=Images({"debian"}, only=ARM64))
    assert result.plan.platform == ARM64


def test_images_that_files_are_taken_from_are_the_targets():
    text = (
        "FROM --platform=$BUILDPLATFORM debian AS collect\nCOPY --from=tools /t /\n"
        "RUN --mount=from=more,target=/m x\nFROM scratch\nCOPY --from=collect /t /\n"
    )
    outside = Images({"debian", "tools", "more"})
    lowered(text, outside=outside, platform=ARM64, platform_given=True)
    assert outside.asked == [("debian", AMD64), ("tools", ARM64), ("more", ARM64)]


def test_a_stage_begins_with_what_the_image_below_says_of_variables():
    result = lowered("FROM debian AS a\nENV V=env\nARG V=arg W=arg\nFROM a\nRUN x\n")
    assert ops(result)[-1].env == ("W=arg", "PATH=/bin", "V=env")


def test_a_variable_that_is_set_again_is_the_last_that_a_run_sees():
    result = lowered("FROM debian\nENV A=1 B=2\nENV A=3\nRUN x\n")
    assert ops(result)[-1].env == ("PATH=/bin", "B=2", "A=3")
    assert result.plan.config.env == ("PATH=/bin", "A=3", "B=2")


def test_arguments_for_the_builder_are_no_variables():
    result = lowered("FROM debian\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x\n")
    assert ops(result)[-1].env == ("PATH=/bin",)
    assert "|1 BUILDKIT_SBOM_SCAN_STAGE=true" in result.plan.history[-1].created_by


def test_names_of_arguments_are_not_expanded():
    assert lowered("FROM debian\nARG $A=1\n").plan.history[0].created_by == "ARG $A=1"


def test_triggers_of_an_image_that_stands_for_a_stage_are_not_run():
    outside = Images(configs={"a": ContainerConfig(on_build=("RUN x",))}, named={"a"})
    result = lowered("FROM debian AS a\nRUN y\n", outside=outside)
    assert [type(op) for op in ops(result)] == [ImageOp]


def test_a_stage_used_by_copy_comes_before_the_copy():
    result = lowered("FROM debian AS build\nRUN make\nFROM scratch\nCOPY --from=build /out /\n")
    assert [type(op) for op in ops(result)] == [ImageOp, RunOp, ScratchOp, CopyOp]
    assert result.graph.steps[3].inputs == (2, 1)
    assert ops(result)[3].keep_owner


def test_labels_number_the_steps_of_a_stage_as_buildkit_does():
    result = lowered("FROM debian AS build\nENV A=1\nWORKDIR /src\nCOPY . .\nRUN make\n")
    labels = [step.label for step in result.graph.steps]
    digest = sha256(b"debian")
    assert labels == [
        f"[build 1/4] FROM debian@{digest}",
        "[build 2/4] WORKDIR /src",
        "load build context",
        "[build 3/4] COPY . .",
        "[build 4/4] RUN make",
    ]


def test_a_base_that_is_named_by_digest_is_told_as_it_is_written():
    name = f"debian:12@{sha256(b'index')}"
    result = lowered(f"FROM {name}\nRUN make\n", images=(name,))
    assert result.graph.steps[0].label == f"[1/2] FROM {name}"


def test_a_single_unnamed_stage_has_no_name_in_labels():
    result = lowered("FROM debian\nRUN make\n")
    assert result.graph.steps[-1].label == "[2/2] RUN make"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"STOPSIGNAL {'9' * 5000}", "invalid signal"),
        (f"COPY --from={'9' * 5000} a b", "invalid stage index"),
        ("EXPOSE 1-65535 1-65535 1-65535 1-65535", "more than 196608 ports"),
        ("EXPOSE ²", "invalid containerPort"),
        ("COPY <<'E /x", "looking for matching single-quote"),
    ],
)
def test_numbers_that_are_none_and_numbers_without_end_are_refused(line, message):
    with pytest.raises(SourceError, match=message) as caught:
        lowered(f"FROM debian\n{line}\n")
    assert caught.value.spans[0].first == 2


def test_of_stages_of_one_name_the_last_one_before_is_meant():
    text = "FROM debian AS a\nRUN 1\nFROM debian AS A\nRUN 2\nFROM a AS t\nFROM debian AS a\n"
    result = lowered(text, target="t")
    assert [op.args[-1] for op in ops(result) if isinstance(op, RunOp)] == ["2"]


def test_ports_stand_in_the_history_in_the_order_of_words_before_variables_have_their_values():
    result = lowered('FROM debian\nENV P=9 Q="1 2/udp"\nEXPOSE 80 $P 443 $Q 7\n')
    assert result.plan.history[-1].created_by == ("EXPOSE [9/tcp 1/tcp 2/udp 443/tcp 7/tcp 80/tcp]")


def test_config_instructions_make_no_steps():
    result = lowered('FROM debian\nLABEL a=b\nENV C=d\nCMD ["x"]\nEXPOSE 80\nVOLUME /v\n')
    assert [type(op) for op in ops(result)] == [ImageOp]
    assert result.plan.config.cmd == ("x",)
    assert result.plan.config.env == ("PATH=/bin", "C=d")


def test_run_sees_env_and_args_and_the_later_one_wins():
    result = lowered("FROM debian\nENV V=1\nARG V=2\nARG W=3\nENV W=4\nRUN x\n")
    assert ops(result)[-1].env == ("PATH=/bin", "V=2", "W=4")
    assert result.plan.config.env == ("PATH=/bin", "V=1", "W=4")


def test_proxy_arguments_reach_run_without_becoming_part_of_its_value():
    plain = lowered("FROM debian\nRUN x\n")
    proxied = lowered("FROM debian\nRUN x\n", build_args={"HTTP_PROXY": "http://p"})
    assert ops(proxied)[-1].proxy_env == ("HTTP_PROXY=http://p", "http_proxy=http://p")
    assert ops(proxied)[-1] == ops(plain)[-1]
    both = lowered("FROM debian\nRUN x\n", build_args={"no_proxy": "a", "NO_PROXY": "b"})
    assert ops(both)[-1].proxy_env == ("NO_PROXY=a", "no_proxy=a")


def test_relative_workdirs_add_up_and_carry_the_user():
    result = lowered("FROM debian\nUSER app\nWORKDIR /a\nWORKDIR b/../c\n")
    assert ops(result)[1:] == [MkdirOp(path="/a", owner="app"), MkdirOp(path="/a/c", owner="app")]


def test_an_absolute_workdir_is_told_as_it_is_written():
    result = lowered("FROM debian\nWORKDIR /a/\nRUN x\n")
    assert ops(result)[1] == MkdirOp(path="/a")
    assert ops(result)[2].cwd == "/a"
    assert result.plan.config.working_dir == "/a/"
    assert result.plan.history[0].created_by == "WORKDIR /a/"


def test_workdir_root_is_no_step():
    result = lowered("FROM debian\nWORKDIR /\n")
    assert [type(op) for op in ops(result)] == [ImageOp]
    assert result.plan.history[-1].step is None


@pytest.mark.parametrize(
    ("dest", "absolute"),
    [("x", "/w/x"), ("x/", "/w/x/"), (".", "/w/"), ("./", "/w/"), ("/", "/"), ("/a/../b/", "/b/")],
)
def test_copy_destinations_are_absolute_and_say_whether_they_are_directories(dest, absolute):
    result = lowered(f"FROM debian\nWORKDIR /w\nCOPY f {dest}\n")
    assert ops(result)[-1].dest == absolute


@pytest.mark.parametrize("source", ["../../etc/passwd", "/../etc/passwd", "a/../../etc/passwd"])
def test_sources_cannot_name_anything_above_their_root(source):
    result = lowered(f"FROM debian\nCOPY {source} /x\n")
    assert ops(result)[-1].sources == ("etc/passwd",)


def test_heredoc_with_shebang_becomes_a_script_file():
    result = lowered("FROM debian\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n")
    run = ops(result)[-1]
    assert run.args == ("/bin/sh", "-c", "/dev/pipes/EOF")
    assert run.inline[0].data == "#!/usr/bin/env python3\nprint(1)\n"
    assert run.inline[0].mode == 0o755


def test_heredoc_alone_is_the_shells_script():
    result = lowered("FROM debian\nRUN <<EOF\nset -e\nmake\nEOF\n")
    assert ops(result)[-1].args == ("/bin/sh", "-c", "set -e\nmake\n")


def test_heredoc_beside_a_command_is_left_to_the_shell():
    result = lowered("FROM debian\nRUN cat <<EOF > /f\nhello $USER\nEOF\n")
    assert ops(result)[-1].args == ("/bin/sh", "-c", "cat <<EOF > /f\nhello $USER\nEOF")


def test_copy_heredoc_expands_variables_unless_quoted():
    text = 'FROM debian\nENV A=1\nCOPY <<EOF <<"RAW" /d/\na=$A\nEOF\na=$A\nRAW\n'
    copy = ops(lowered(text))[-1]
    assert [file.data for file in copy.inline] == ["a=1\n", "a=$A\n"]
    assert not copy.sources


def test_onbuild_triggers_run_before_the_childs_own_instructions():
    configs = {"base": ContainerConfig(env=("PATH=/bin",), on_build=("RUN trigger",))}
    result = lowered("FROM base\nRUN own\n", configs=configs)
    assert [op.args[-1] for op in ops(result) if isinstance(op, RunOp)] == ["trigger", "own"]
    assert result.plan.config.on_build == ()


def test_a_folder_context_can_stand_for_copy_from():
    result = lowered("FROM debian\nCOPY --from=assets /a /b\n", folders=("assets",))
    assert ContextOp(name="assets") in ops(result)
    assert not ops(result)[-1].keep_owner


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("COPY /a /", "the build context"),
        ("COPY --from=files /a /", 'the build context "files"'),
        ("COPY --from=made /a /", 'stage "made"'),
        ("COPY --from=1 /a /", 'stage "stage-1"'),
        ("COPY --from=other /a /", 'image "other"'),
    ],
)
def test_a_copy_knows_what_to_call_the_files_that_it_is_of(line, origin):
    text = f"FROM debian AS made\nRUN make\nFROM debian\nRUN make\nFROM debian\n{line}\n"
    result = lowered(text, images=("debian", "other"), folders=("files",))
    assert ops(result)[-1].origin == origin


def test_a_bind_knows_what_to_call_the_files_that_it_is_of():
    text = "FROM debian AS made\nRUN make\nFROM debian\nRUN --mount=from=made,target=/m x\n"
    _, _, op = run_of(text)
    assert op.mounts[0].origin == 'stage "made"'


def test_network_of_the_build_is_the_default_of_each_run():
    allow = frozenset((Entitlement.NETWORK_HOST,))
    text = "FROM debian\nRUN x\nRUN --network=host y\n"
    result = lowered(text, network=Network.NONE, allow=allow)
    assert [op.network for op in ops(result)[1:]] == [Network.NONE, Network.HOST]


def run_of(text, **options):
    """Return the last step and its operation."""
    result = lowered(text, **options)
    step = result.graph.steps[-1]
    return result, step, step.op


def test_a_bind_of_the_context_is_a_path_in_a_file_system_of_its_own():
    text = "FROM debian\nWORKDIR /w\nRUN --mount=source=../a/./b,target=c,rw x\n"
    result, step, op = run_of(text)
    copy = result.graph.steps[step.inputs[1]]
    assert copy.op == CopyOp(sources=("a/b",), dest="/a/b")
    assert [type(result.graph.steps[each].op) for each in copy.inputs] == [ScratchOp, ContextOp]
    bind = Mount(kind=MountKind.BIND, target="/w/c", source="a/b", input=1, read_only=False)
    assert op.mounts == (bind,)


def test_a_bind_takes_its_source_literally():
    result, step, _ = run_of("FROM debian\nRUN --mount=source=a*[1],target=/m x\n")
    assert result.graph.steps[step.inputs[1]].op.sources == ("a[*][[]1]",)


def test_the_same_files_of_a_context_are_packed_once():
    mount = "--mount=source=a,target=/m"
    result, _, _ = run_of(f"FROM debian\nRUN {mount} x\nRUN {mount} y\n")
    assert sum(isinstance(op, CopyOp) for op in ops(result)) == 1


def test_mounts_find_stages_folders_and_images_as_copy_does():
    text = "FROM debian AS s\nRUN make\nFROM debian\n"
    text += (
        "RUN --mount=from=s,target=/a --mount=from=files,target=/b --mount=from=other,target=/c x\n"
    )
    result, step, _ = run_of(text, images=("debian", "other"), folders=("files",))
    kinds = [type(result.graph.steps[each].op) for each in step.inputs]
    assert kinds == [ImageOp, RunOp, CopyOp, ImageOp]


def test_a_cache_has_its_target_as_id_and_begins_empty():
    _, step, op = run_of("FROM debian\nRUN --mount=type=cache,target=/c/ x\n")
    assert op.mounts == (Mount(kind=MountKind.CACHE, target="/c", id="//c"),)
    assert len(step.inputs) == 1


def test_of_a_cache_a_path_may_be_shown_which_has_its_owner_and_mode():
    _, step, op = run_of("FROM debian\nRUN --mount=type=cache,source=/a/../b/,target=/c,uid=3 x\n")
    assert op.mounts == (Mount(kind=MountKind.CACHE, target="/c", id="//c", source="b"),)
    assert len(step.inputs) == 1


@pytest.mark.parametrize(
    ("flag", "entitlement"),
    [
        ("--network=host", "network.host"),
        ("--security=insecure", "security.insecure"),
    ],
)
def test_what_needs_trust_is_refused_until_it_is_allowed(flag, entitlement):
    text = f"FROM debian\nRUN {flag} x\n"
    with pytest.raises(SourceError, match="is not allowed") as caught:
        lowered(text)
    assert f"--allow {entitlement}" in caught.value.hint
    lowered(text, allow=frozenset((Entitlement(entitlement),)))


def test_the_label_of_a_run_says_what_is_special_about_it():
    flags = "--mount=type=tmpfs,target=/t --network=none --security=insecure --device=v.com/c"
    text = f"FROM debian\nRUN {flags} x\nRUN --network=default --security=sandbox y\n"
    result = lowered(text, allow=frozenset(Entitlement))
    labels = [step.label for step in result.graph.steps if isinstance(step.op, RunOp)]
    assert labels == [f"[2/3] RUN {flags} x", "[3/3] RUN y"]


def test_devices_and_insecurity_reach_the_run():
    text = "FROM debian\nRUN --security=insecure --device=v.com/c=a,required --device=v.com/c x\n"
    _, _, op = run_of(text, allow=frozenset(Entitlement))
    assert op.insecure
    assert op.devices == (Device(name="v.com/c=a", required=True), Device(name="v.com/c"))


def test_a_namespace_keeps_caches_of_the_same_id_apart():
    text = "FROM debian\nRUN --mount=type=cache,id=a,target=/c x\n"
    _, _, op = run_of(text, build_args={"BUILDKIT_CACHE_MOUNT_NS": "team"})
    assert op.mounts[0].id == "team/a"


def test_the_host_name_of_a_run_can_be_chosen():
    _, _, op = run_of("FROM debian\nRUN x\n", build_args={"BUILDKIT_SANDBOX_HOSTNAME": "here"})
    assert op.hostname == "here"
    _, _, op = run_of("FROM debian\nRUN x\n", build_args={"BUILDKIT_SANDBOX_HOSTNAME": ""})
    assert op.hostname == "buildkitsandbox"
    with pytest.raises(UsageError, match="a host name has at most 64 bytes"):
        lowered("FROM debian\nRUN x\n", build_args={"BUILDKIT_SANDBOX_HOSTNAME": "a" * 65})


def test_only_steps_of_chosen_stages_are_done_again():
    text = "FROM debian AS a\nRUN x\nFROM a AS b\nRUN y\n"
    result = lowered(text, no_cache_stages=frozenset(("a",)))
    renewed = [step.no_cache for step in result.graph.steps if isinstance(step.op, RunOp)]
    assert renewed == [True, False]


def test_a_build_argument_chooses_the_syntax_instead_of_the_file():
    text = "# syntax=example.com/other:1\nFROM debian\n"
    lowered(text, build_args={"BUILDKIT_SYNTAX": "dockerfile.v0"})
    lowered("# syntax=mirror.example:5000/hub/docker/dockerfile:1@sha256:0\nFROM debian\n")
    for other in ("example.com/other:1", "", "xdocker/dockerfile", "docker/dockerfile/x"):
        with pytest.raises(SourceError, match="is not known"):
            lowered("FROM debian\n", build_args={"BUILDKIT_SYNTAX": other})


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("FROM debian\n", {}, ""),
        ("ARG SOURCE_DATE_EPOCH=1\nFROM debian\n", {}, "1"),
        ("ARG SOURCE_DATE_EPOCH=1\nFROM debian\n", {"SOURCE_DATE_EPOCH": "2"}, "2"),
        ("FROM debian\n", {"SOURCE_DATE_EPOCH": "2"}, "2"),
        ("FROM debian\nARG SOURCE_DATE_EPOCH=1\n", {}, ""),
    ],
)
def test_the_epoch_is_a_build_argument_or_a_global_default(text, build_args, expected):
    assert lowered(text, build_args=build_args).source_date_epoch == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("id=a", {"id": "a", "target": "/run/secrets/a"}),
        ("id=d/a", {"id": "d/a", "target": "/run/secrets/a"}),
        ("source=a", {"id": "a", "target": "/run/secrets/a"}),
        ("target=/t/a", {"id": "a", "target": "/t/a"}),
        ("id=a,env=A", {"id": "a", "env": "A"}),
        ("id=a,env=A,target=/t", {"id": "a", "env": "A", "target": "/t"}),
        (
            "id=a,mode=0440,uid=1,required",
            {"id": "a", "target": "/run/secrets/a"} | {"mode": 0o440, "uid": 1, "required": True},
        ),
    ],
)
def test_a_secret_is_a_file_that_root_alone_reads_unless_it_says_otherwise(options, expected):
    _, _, op = run_of(f"FROM debian\nRUN --mount=type=secret,{options} x\n")
    assert op.mounts == (Mount(kind=MountKind.SECRET, **{"mode": 0o400} | expected),)


def test_agents_are_numbered():
    _, _, op = run_of("FROM debian\nRUN --mount=type=ssh --mount=type=ssh,id=b x\n")
    targets = [(mount.id, mount.target) for mount in op.mounts]
    assert targets == [
        ("default", "/run/buildkit/ssh_agent.0"),
        ("b", "/run/buildkit/ssh_agent.1"),
    ]


def test_variables_in_mounts_are_expanded_and_history_does_not_show_mounts():
    text = "FROM debian\nARG T=tmpfs\nRUN --mount=type=$T,target=/$T,size=1k x\n"
    result, step, op = run_of(text)
    assert op.mounts == (Mount(kind=MountKind.TMPFS, target="/tmpfs", size=1024),)
    assert step.label == "[2/2] RUN --mount=type=$T,target=/$T,size=1k x"
    assert result.plan.history[-1].created_by == "RUN |1 T=tmpfs /bin/sh -c x # buildkit"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM debian\nRUN --mount=target=/ x\n", 'invalid mount target "/"'),
        ("FROM debian\nRUN --mount=type=tmpfs x\n", 'invalid mount target "" (target= is to name'),
        ("FROM debian\nRUN --mount=type=ssh,target=/a\0 x\n", "no zero byte"),
        ("FROM debian\nRUN --mount=type=cashe,target=/c x\n", 'did you mean "cache"'),
        ("FROM debian\nRUN --mount=from=$X,target=/c x\n", "doesn't support variable expansion"),
        (
            "FROM debian\nRUN --mount=target=/c,bind-propagation=rshared x\n",
            "unexpected key 'bind-propagation'",
        ),
        ("FROM debian\nRUN --mount=type=ssh,source=/s x\n", "should not have a source"),
        ("FROM debian AS a\nRUN --mount=from=a,target=/m x\n", "circular dependency"),
        (
            "FROM debian AS a\nCOPY --from=b / /\nFROM debian AS b\nFROM a\n",
            "needs to be defined before",
        ),
        ("FROM debian AS a\nCOPY --from=a / /\n", "circular dependency detected on stage: a"),
        (
            "FROM debian AS a\nCOPY --from=b / /\nFROM debian AS b\nCOPY --from=a / /\nFROM debian\n",
            "circular dependency detected on stage",
        ),
        ("FROM Upper AS a\nFROM debian\n", "must be lower case"),
        ("FROM debian AS build-\n", 'invalid name for build stage: "build-"'),
        ("FROM debian AS a\nCOPY --from=Upper / /\nFROM debian\n", "must be lower case"),
        ("FROM debian AS Base\nFROM Base\n", 'did you mean "base"?'),
        ("FROM debian AS BUILD\nFROM BUILD\n", 'did you mean "build"?'),
        ("FROM --platform=nosuch debian\n", "neither an operating system nor an architecture"),
        ("FROM debian\nADD --checksum=sha256:x <<E /\nE\n", "for multiple sources"),
        ("FROM debian\nSTOPSIGNAL 0\n", "invalid signal: 0"),
        ("FROM debian\nCOPY --from=5 / /\n", "invalid stage index 5"),
        ("FROM $NOTHING\n", "should not be blank"),
        ("# syntax=other/language:1\nFROM debian\n", 'the syntax "other/language:1" is not known'),
        ("FROM debian\nCOPY --chmod=99 a /\n", "invalid chmod parameter"),
        (
            "FROM debian\nCOPY --link --chown=app a /\n",
            "names can't be resolved when used with --link",
        ),
        ("FROM debian\nADD --link --chown=1:app a /\n", "use numeric uid[:gid] instead"),
        ("FROM debian\nSTOPSIGNAL NOSUCH\n", "invalid signal"),
        ("FROM debian\nEXPOSE http\n", "invalid containerPort: http"),
        ("FROM debian\nCOPY https://example.com/x /\n", "source can't be a URL for COPY"),
        ("FROM debian\nENV A=${B:?missing}\n", "B: missing"),
    ],
)
def test_refusals_name_the_place(text, message):
    with pytest.raises(SourceError) as caught:
        lowered(text)
    assert message in str(caught.value)
    assert caught.value.spans
    assert caught.value.spans[0].file == "Dockerfile"


def test_an_unknown_target_suggests_a_near_one():
    with pytest.raises(SourceError) as caught:
        lowered("FROM debian AS builder\n", target="bulider")
    assert 'did you mean "builder"?' in str(caught.value)


@pytest.mark.parametrize(
    "syntax", ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile"]
)
def test_dockers_own_syntax_is_built_in(syntax):
    assert lowered(f"# syntax={syntax}\nFROM debian\n").plan.rootfs == 0


def test_build_arguments_that_nothing_declares_are_told():
    text = "ARG A\nFROM debian AS a\nARG B\nFROM debian\n"
    given = {"A": "1", "B": "2", "C": "3", "HTTP_PROXY": "4", "SOURCE_DATE_EPOCH": "5"}
    given |= {"BUILDKIT_INLINE_CACHE": "6"}
    assert lowered(text, build_args=given).unused_build_args == ("C",)


@pytest.mark.parametrize(
    "text",
    [
        "FROM debian AS s0\n"
        + "".join(f"FROM s{n} AS s{n + 1}\nENV A{n}=x\n" for n in range(1000)),
        "FROM debian AS s0\n"
        + "".join(f"FROM debian AS s{n + 1}\nCOPY --from=s{n} /a /\n" for n in range(1000)),
        "FROM debian\n" + "".join(f"EXPOSE {n}\nVOLUME /{n}\n" for n in range(1, 5000)),
        "FROM debian\n" + "".join(f"ENV A{n}=x\nRUN y\n" for n in range(5000)),
        "FROM debian AS a\n" + "ONBUILD RUN x\n" * 5000 + "FROM a\n",
    ],
    ids=["stages", "copies", "ports", "variables", "triggers"],
)
def test_a_long_dockerfile_takes_little_time(text):
    began = time.process_time()
    lowered(text)
    assert time.process_time() - began < 3
