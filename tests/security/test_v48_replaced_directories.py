"""CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2025-31133: /proc, /sys and /dev are the image's."""

from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_link_in_their_place_is_refused(sandbox, name):
    canary = sandbox.canary()
    root = sandbox.root()
    sandbox.sh(f"ln -s {canary.path}/d /{name}2", root=root)
    upper = root["upper"]
    _renamed(upper, f"{name}2", name)
    ended = sandbox.run("true", root=root)
    assert f"/{name} is not a directory" in ended.error
    canary.check()


@pytest.mark.parametrize("target", ["/tmp", "../../../..", "/etc", "."])
def test_link_inside_the_image_is_refused_too(sandbox, target):
    root = sandbox.root()
    sandbox.sh(f"ln -s {target} /proc2", root=root)
    _renamed(root["upper"], "proc2", "proc")
    assert "/proc is not a directory" in sandbox.run("true", root=root).error


def test_file_in_their_place_is_refused(sandbox):
    root = sandbox.root()
    sandbox.sh("echo > /dev2", root=root)
    _renamed(root["upper"], "dev2", "dev")
    assert "/dev is not a directory" in sandbox.run("true", root=root).error


def test_content_of_the_images_directories_is_covered(sandbox):
    root = sandbox.root()
    upper = sandbox_path(root)
    (upper / "dev").mkdir()
    (upper / "proc/self").mkdir(parents=True)
    (upper / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    (upper / "dev/console").symlink_to("/proc/sysrq-trigger")
    (upper / "proc/self/attr").symlink_to("/etc")
    sandbox.own(upper)
    ended = sandbox.sh(
        "stat -c '%F %t:%T' /dev/null /proc/keys; test -L /proc/self/attr || echo real; ls /dev/console",
        root=root,
    )
    assert ended.out.splitlines() == [
        *["character special file 1:3"] * 2,
        "real",
    ]


def test_image_without_them_gets_them_for_the_run(sandbox):
    root = sandbox.root()
    ended = sandbox.sh("ls -d /dev/null /proc/1 /sys/kernel", root=root)
    assert ended.out.split() == ["/dev/null", "/proc/1", "/sys/kernel"]
    assert [path.name for path in sandbox_path(root).iterdir() if path.name != "etc"] == []


def sandbox_path(root):
    return Path(root["upper"])


def _renamed(upper, old, new):
    (Path(upper) / old).rename(Path(upper) / new)
