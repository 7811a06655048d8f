"""Becoming root, or saying what forbids it. Each test looks at a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import sandboxes

PRELUDE = f"""
import json, os, sys
sys.path.insert(0, {str(sandboxes.PROJECT)!r})
from wcbuild.sandbox.identity import become_root
from wcbuild import kernel
def show(identity):
    print(json.dumps({{
        "kind": identity.kind, "userns": identity.userns, "reason": identity.reason,
        "hint": identity.hint, "full": identity.full_ownership, "uid": os.geteuid(),
        "map": open("/proc/self/uid_map").read().split(),
    }}))
"""


def look(code: str, *, uid: int | None = None, prefix: tuple[str, ...] = ()) -> dict:
    program = sys.executable if uid is None else sandboxes.SYSTEM_PYTHON
    become = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    result = subprocess.run(
        [*prefix, program, "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **become,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def skip_unless(kind: str) -> None:
    if reason := sandboxes.reason_against(kind):
        pytest.skip(reason)


@pytest.mark.root
def test_root_stays_root():
    skip_unless("root")
    found = look("show(become_root())")
    assert (found["kind"], found["userns"], found["full"]) == ("root", False, True)


@pytest.mark.root
def test_root_can_ask_for_a_user_namespace():
    skip_unless("userns")
    found = look("show(become_root(want_userns=True))")
    assert (found["kind"], found["userns"], found["full"]) == ("range", True, True)
    assert found["map"] == ["0", "0", "4294967295"]


@pytest.mark.userns
def test_ids_are_mapped_as_far_as_they_can_be(sandbox):
    numbers = [int(word) for word in sandbox.call("open('/proc/self/uid_map').read()").split()]
    groups = sandbox.call("open('/proc/self/setgroups').read()").strip()
    match sandbox.kind:
        case "root" | "userns":
            assert (numbers, groups) == ([0, 0, 4294967295], "allow")
        case "range":
            assert numbers[:4] == [0, sandbox.uid, 1, 1]
            assert (numbers[5] >= 65536, groups) == (True, "allow")
        case "single":
            assert (numbers, groups) == ([0, sandbox.uid, 1], "deny")
            assert "/etc/subuid has no range" in sandbox.identity["reason"]
            assert "/etc/subuid" in sandbox.identity["hint"]


@pytest.mark.userns
def test_mounts_do_not_leave_the_process(sandbox):
    place = sandbox.own(sandbox.directory / "mounted")
    place.mkdir(exist_ok=True)
    sandbox.own(place)
    mounted = sandbox.call(
        f"__import__('wcbuild.kernel').kernel.mount('t', {str(place)!r}, 'tmpfs') "
        f"or os.path.ismount({str(place)!r})"
    )
    assert mounted is True
    assert not os.path.ismount(place)


@pytest.mark.root
def test_limit_of_zero_namespaces_is_named():
    skip_unless("userns")
    # The setting is one of each user namespace, so ours is not touched.
    code = """
become_root(want_userns=True)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
show(become_root(want_userns=True))
"""
    found = look(code)
    assert found["kind"] == "none"
    assert found["reason"] == "create a user namespace: no space left on device"
    assert found["hint"] == "sysctl -w user.max_user_namespaces=15000 allows it"
    assert not found["full"]


@pytest.mark.root
def test_filter_of_an_outer_container_is_named():
    skip_unless("userns")
    code = """
from wcbuild.sandbox import seccomp
program = seccomp.compile_filter(os.uname().machine, default=True, fake_root=False)
kernel.install_seccomp_filter(program)
show(become_root(want_userns=True))
"""
    found = look(code)
    assert found["kind"] == "none"
    assert "operation not permitted" in found["reason"]
    assert "--security-opt seccomp=unconfined" in found["hint"]


@pytest.mark.root
def test_root_of_a_container_without_rights_still_gets_a_namespace():
    skip_unless("userns")
    drop = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all")
    found = look("show(become_root())", prefix=drop)
    assert (found["kind"], found["userns"]) == ("range", True)


@pytest.mark.root
def test_helper_that_fails_leaves_one_id():
    skip_unless("range")
    # In their directory, which that user can enter.
    with sandboxes.open_sandboxes("range") as ranged:
        broken = ranged.directory / "newuidmap"
        broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
        broken.chmod(0o755)
        path = str(ranged.directory)
        found = look(f"os.environ['PATH'] = {path!r}\nshow(become_root())", uid=ranged.uid)
    assert found["kind"] == "single"
    assert found["reason"] == "newuidmap failed: no such luck"


@pytest.mark.root
def test_without_namespaces_only_commands_are_refused():
    skip_unless("userns")
    code = """
from wcbuild.errors import SandboxError
from wcbuild.sandbox.base import RootMount, RunSpec
from wcbuild.sandbox.launcher import Launcher, NamespaceSandbox
become_root(want_userns=True)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
identity = become_root(want_userns=True)
with Launcher.start() as launcher:
    try:
        NamespaceSandbox(launcher, identity).run(RootMount(), RunSpec(args=("true",)), print)
    except SandboxError as error:
        print(json.dumps({"text": str(error), "hint": error.hint}))
"""
    found = look(code)
    assert "create a user namespace" in found["text"]
    assert "max_user_namespaces" in found["hint"]
