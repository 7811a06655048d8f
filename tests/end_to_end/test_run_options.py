"""RUN --network, --security and --device: what a command gets, and from whom."""

from __future__ import annotations

import json

import pytest

from wcbuild import BuildRequest, build
from wcbuild.solve.devices import DeviceError
from wcbuild.solve.events import StepOutput

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

CAPABILITIES = "grep CapBnd /proc/self/status > /caps"


def written(wcbuild, folder, name, *words):
    """Build, and return what a file of the image says."""
    out = folder.parent / "out"
    wcbuild.build(folder, "-o", out, *words)
    return (out / name).read_text()


def test_network_none_has_a_loopback_alone(wcbuild, context):
    folder = context("FROM base\nRUN --network=none cat /proc/net/dev > /devices\n")
    devices = [
        line.split(":")[0].strip() for line in written(wcbuild, folder, "devices").splitlines()
    ]
    assert devices[2:] == ["lo"]


def test_network_host_must_be_allowed(wcbuild, context):
    folder = context("FROM base\nRUN --network=host cat /proc/net/dev > /devices\n")
    refused = wcbuild.build(folder, check=False)
    assert refused.returncode == 1
    assert "Dockerfile:2: RUN --network=host is not allowed" in refused.stderr
    assert "--allow network.host" in refused.stderr
    assert "lo:" in written(wcbuild, folder, "devices", "--allow", "network.host")


def test_insecure_has_all_capabilities_and_must_be_allowed(wcbuild, context):
    folder = context(
        f"FROM base\nRUN --security=insecure {CAPABILITIES}\nRUN {CAPABILITIES}.sandbox\n"
    )
    refused = wcbuild.build(folder, check=False)
    assert "RUN --security=insecure is not allowed" in refused.stderr
    bits = int(written(wcbuild, folder, "caps", "--allow", "security.insecure").split()[1], 16)
    sandboxed = int((folder.parent / "out/caps.sandbox").read_text().split()[1], 16)
    assert bits & (1 << 21)  # CAP_SYS_ADMIN
    assert sandboxed == 0xA80425FB  # docker's


def test_an_unknown_entitlement_is_named_with_what_was_meant(wcbuild, context):
    done = wcbuild.build(context("FROM base\n"), "--allow", "network.hots", check=False)
    assert done.returncode == 2
    assert 'did you mean "network.host"' in done.stderr


@pytest.mark.parametrize("text", ["device=", "device=v.com/c=a,name=b", "device=a,alias=b,alias=c"])
def test_a_device_that_is_allowed_must_be_named(wcbuild, context, text):
    done = wcbuild.build(context("FROM base\n"), "--allow", text, check=False)
    assert f'--allow "{text}": expected device=NAME[,alias=NAME]' in done.stderr


def test_limits_hold_or_are_refused_before_anything_is_built(wcbuild, context):
    folder, limits = (
        context("FROM base\nRUN echo limited\n"),
        ("--memory", "200m", "--pids-limit", "50"),
    )
    plan = wcbuild.build(folder, *limits, "--print-plan", check=False)
    done = wcbuild.build(folder, *limits, check=False)
    assert plan.returncode == done.returncode
    if done.returncode:
        assert "Dockerfile:2: sandbox: limit memory: " in done.stderr
        assert "delegated" in done.stderr
        assert "#1" not in done.stderr
    else:
        assert "limited" in done.stderr


def test_a_command_that_is_out_of_memory_says_so(wcbuild, context):
    folder = context("FROM base\nRUN dd if=/dev/zero of=/dev/null bs=400M count=1\n")
    done = wcbuild.build(folder, "--memory", "50m", check=False)
    assert done.returncode == 1
    if "limit memory" not in done.stderr:
        assert "exit code: 137 (it wanted more memory than --memory allows)" in done.stderr


@pytest.fixture
def with_device(wcbuild, context, tmp_path):
    """Give a function that runs a command with a device that gives zeros."""
    folder = tmp_path / "cdi"
    folder.mkdir()
    edits = {
        "deviceNodes": [{"path": "/dev/zeros", "hostPath": "/dev/zero"}],
        "env": ["ZEROS=/dev/zeros"],
    }
    data = {"kind": "example.com/zeros", "devices": [{"name": "one", "containerEdits": edits}]}
    (folder / "zeros.json").write_text(json.dumps(data))

    def run(flag, command, allow=("device",)):
        events = []
        request = BuildRequest(
            context=context(f"FROM base\nRUN --device={flag} {command}\n"),
            build_contexts={"base": f"oci-layout://{wcbuild.base}"},
            root=wcbuild.root,
            allow=allow,
            device_folders=(folder,),
        )
        build(request, events.append)
        return b"".join(each.data for each in events if isinstance(each, StepOutput))

    return run


def test_a_device_is_there_for_one_command(with_device):
    command = "test -c $ZEROS && head -c 3 /dev/zeros | od -An -tx1"
    assert with_device("example.com/zeros=one", command).split() == [b"00", b"00", b"00"]


def test_a_missing_device_is_left_out_or_refused(with_device):
    with_device("example.com/zeros=two", "test ! -e /dev/zeros")
    with pytest.raises(DeviceError, match=r'"example\.com/zeros=two": is required') as caught:
        with_device("example.com/zeros=two,required", "true")
    assert caught.value.spans[0].first == 2


@pytest.mark.parametrize("allow", [(), ("device=example.com/zeros=two", "network.host")])
def test_a_device_must_be_allowed(with_device, allow):
    with pytest.raises(DeviceError, match=r"is not allowed; .* --allow device=example") as caught:
        with_device("example.com/zeros=one", "true", allow=allow)
    assert caught.value.spans[0].first == 2
    with_device("example.com/zeros=two", "true", allow=allow)


@pytest.mark.parametrize("name", ["example.com/zeros=one", "noughts"])
def test_one_device_can_be_allowed_under_another_name(with_device, name):
    alias = "" if "=" in name else f",alias={name}"
    with_device(name, "test -c $ZEROS", allow=(f"device=example.com/zeros=one{alias}",))


def test_no_cache_filter_does_one_stage_again(wcbuild, context):
    folder = context(
        "FROM base AS a\nRUN echo a\nFROM base AS b\nCOPY --from=a /etc /x\nRUN echo b\n"
    )
    wcbuild.build(folder)
    done = wcbuild.build(folder, "--no-cache-filter", "B")
    assert "CACHED" in done.stderr.split("RUN echo a")[1].split("\n\n")[0]
    assert "DONE" in done.stderr.split("RUN echo b")[1].split("\n\n")[0]


def test_a_filter_that_no_stage_has_is_told(wcbuild, context):
    folder = context("FROM base AS build\nRUN true\n")
    done = wcbuild.build(folder, "--no-cache-filter", "biuld,Build")
    assert (
        '--no-cache-filter "biuld": no stage has this name (did you mean "build"?)' in done.stderr
    )
    assert '"Build"' not in done.stderr


def test_what_follows_a_stage_that_is_done_again_has_its_new_files(wcbuild, context, tmp_path):
    folder = context(
        "FROM base AS a\nRUN cat /proc/sys/kernel/random/uuid > /id\n"
        "FROM a AS b\nRUN cat /id > /run\n"
        "FROM base AS c\nRUN --mount=from=a,target=/a cat /a/id > /mounted\n"
        "FROM scratch\nCOPY --from=a /id /\nCOPY --from=b /run /\nCOPY --from=c /mounted /\n"
    )

    def ids(*flags):
        wcbuild.build(folder, *flags, "-o", tmp_path / "out")
        return [(tmp_path / "out" / name).read_text() for name in ("id", "run", "mounted")]

    first, again, then = ids(), ids("--no-cache-filter", "a"), ids()
    assert len(set(first)) == len(set(again)) == 1
    assert first != again == then
