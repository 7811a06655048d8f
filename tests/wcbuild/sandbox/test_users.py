"""Users are looked up as runc does it; images are not trusted to have sane files."""

from __future__ import annotations

import os

import pytest

from wcbuild.sandbox.inside import walk
from wcbuild.sandbox.users import User, UserError, find_user

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# app:x:1:1::/:

app:x:1000:1001:app:/home/app:/bin/sh
1000:x:0:0:a name that is a number:/root:/bin/sh
homeless:x:7:7:::
short
broken:x:notanumber:1:::
huge:x:99999999999999999999:1:::
"""
GROUP = """\
root:x:0:
wheel:x:10:root,app
audio:x:29:app
0:x:44:
broken:x::app
"""


@pytest.fixture
def image(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


def find(image, text):
    root = os.open(image, os.O_PATH)
    try:
        return find_user(text, lambda path: walk(root, path))
    finally:
        os.close(root)


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (0, 10), "/root")),
        ("root", User(0, 0, (0, 10), "/root")),
        ("0", User(0, 0, (0, 10), "/root")),
        ("app", User(1000, 1001, (1001, 10, 29), "/home/app")),
        ("1000", User(1000, 1001, (1001, 10, 29), "/home/app")),
        ("app:audio", User(1000, 29, (29,), "/home/app")),
        ("app:5", User(1000, 5, (5,), "/home/app")),
        ("1000:audio", User(1000, 29, (29,), "/home/app")),
        ("1:2", User(1, 2, (2,), "/")),
        ("4711", User(4711, 0, (0,), "/")),
        ("homeless", User(7, 7, (7,), "/")),
        ("2147483647", User(2147483647, 0, (0,), "/")),
        ("+5", User(5, 0, (0,), "/")),
        ("app:0", User(1000, 0, (0,), "/home/app")),
    ],
)
def test_finds(image, text, user):
    assert find(image, text) == user


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:nogroup", "unable to find group nogroup: no matching entries in group file"),
        ("short", "unable to find user short"),
        ("broken", "unable to find user broken"),
        ("huge", "unable to find user huge"),
        ("-1", "user -1 is not a number between 0 and 2147483647"),
        ("2147483648", "user 2147483648 is not a number between"),
        ("4294967296", "user 4294967296 is not a number between"),
        ("0:-1", "group -1 is not a number between"),
        ("1" * 5000, "is not a number between"),
        ("٣", "unable to find user"),
    ],
)
def test_refuses(image, text, message):
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        find(image, text)


@pytest.mark.parametrize("text", ["", "0", "root", "root:root"])
def test_root_needs_no_files(tmp_path, text):
    assert find(tmp_path, text) == User(0, 0, (0,), "/")


def test_files_that_are_no_files_are_not_read(image):
    (image / "etc/passwd").unlink()
    os.mkfifo(image / "etc/passwd")
    assert find(image, "") == User(0, 0, (0,), "/")


def test_links_of_the_files_stay_in_the_image(image, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "passwd").write_text("canary:x:5:5:::\n")
    (image / "etc/passwd").unlink()
    (image / "etc/passwd").symlink_to(outside / "passwd")
    with pytest.raises(UserError):
        find(image, "canary")


def test_files_of_absurd_size_are_not_read(image):
    with open(image / "etc/passwd", "a") as file:
        file.truncate(1 << 30)
    assert find(image, "") == User(0, 0, (0,), "/")
