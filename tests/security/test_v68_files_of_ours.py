"""/etc/resolv.conf and /etc/hosts: an image that has links there; nothing of ours in a layer."""

from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["resolv.conf", "hosts"])
def test_link_to_the_host_stays_inside(sandbox, name):
    canary = sandbox.canary()
    root = sandbox.root()
    upper = Path(root["upper"])
    (upper / "etc").mkdir()
    (upper / "etc" / name).symlink_to(canary.path / "f")
    sandbox.own(upper)
    ended = sandbox.sh(f"cat /etc/{name} && echo overwritten > /etc/{name}", root=root)
    assert "Read-only file system" in ended.err
    canary.check()
    assert (upper / "etc" / name).is_symlink()
    # The kernel copied up the directory, unchanged, in which a mount point was made.
    assert {path.name for path in upper.rglob("*")} - {"tmp"} == {"etc", name}


@pytest.mark.parametrize(
    "target", ["../run/systemd/resolve/stub-resolv.conf", "/a/b/c", "../../../../x"]
)
def test_dangling_link_works_and_leaves_nothing(sandbox, target):
    root = sandbox.root()
    upper = Path(root["upper"])
    (upper / "etc").mkdir()
    (upper / "etc/resolv.conf").symlink_to(target)
    sandbox.own(upper)
    ended = sandbox.sh("cat /etc/resolv.conf", root=root)
    assert ended.out == Path("/etc/resolv.conf").read_text()
    assert {path.name for path in upper.rglob("*")} == {"etc", "resolv.conf"}


def test_link_to_itself_is_an_error(sandbox):
    root = sandbox.root()
    upper = Path(root["upper"])
    (upper / "etc").mkdir()
    (upper / "etc/hosts").symlink_to("hosts")
    sandbox.own(upper)
    assert 'mount "/etc/hosts": too many levels' in sandbox.run("true", root=root).error


def test_directory_in_its_place_is_an_error(sandbox):
    root = sandbox.root()
    upper = Path(root["upper"])
    (upper / "etc/hosts").mkdir(parents=True)
    sandbox.own(upper)
    assert 'mount "/etc/hosts": is a directory' in sandbox.run("true", root=root).error


def test_images_own_file_is_untouched(sandbox):
    root = sandbox.root()
    upper = Path(root["upper"])
    (upper / "etc").mkdir()
    (upper / "etc/hosts").write_text("the image's")
    sandbox.own(upper)
    ended = sandbox.sh("cat /etc/hosts; rm -f /etc/hosts; echo x > /etc/hosts", root=root)
    assert "localhost" in ended.out
    assert (upper / "etc/hosts").read_text() == "the image's"
