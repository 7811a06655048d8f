"""CVE-2016-3697, CVE-2024-40635, CVE-2026-30892, CVE-2022-2989: who a command runs as."""

import pytest


def test_number_is_never_a_name(sandbox):
    # The image's passwd has a user *named* 1000 whose id is 0.
    assert sandbox.sh("id -u", user="1000").out == "1000\n"


@pytest.mark.parametrize(
    "user", ["2147483648", "4294967295", "4294967296", "-1", "18446744073709551616"]
)
def test_numbers_that_wrap_around_are_refused(sandbox, user):
    for text in (user, f"{user}:0", f"0:{user}"):
        assert "not a number between" in sandbox.run("id", user=text).error


@pytest.mark.parametrize("user", ["../x", "/etc/passwd", "root\n", " ", ":"])
def test_odd_names_are_refused_or_root(sandbox, user):
    ended = sandbox.run("id", "-u", user=user)
    assert ended.error if user != ":" else ended.out == "0\n"


def test_supplementary_groups_are_the_images(sandbox):
    ended = sandbox.sh("id -G", user="app")
    if sandbox.kind != "single":
        assert sorted(map(int, ended.out.split())) == [10, 29, 1001]


def test_explicit_group_has_no_others(sandbox):
    ended = sandbox.sh("id -G", user="app:29")
    assert ended.out.split()[0] == "29"
    if sandbox.kind != "single":
        assert ended.out == "29\n"


def test_other_user_cannot_write_roots_files(sandbox):
    ended = sandbox.sh("echo x >> /etc/passwd", user="app")
    if sandbox.kind != "single":  # there all files are the one user's
        assert "Permission denied" in ended.err


def test_passwd_that_is_a_pipe_does_not_hang(sandbox):
    root = sandbox.root()
    sandbox.sh("rm /etc/passwd /etc/group; mknod /etc/passwd p; mknod /etc/group p", root=root)
    assert sandbox.run("grep", "Uid", "/proc/self/status", root=root).out.split()[1] == "0"
    assert "unable to find user app" in sandbox.run("id", root=root, user="app").error


def test_passwd_that_is_a_link_to_the_host_is_not_followed(sandbox):
    root = sandbox.root()
    outside = sandbox.directory / "outside-passwd"
    outside.write_text("canary:x:5:5::/:\n")
    sandbox.sh(f"rm /etc/passwd; ln -s {outside} /etc/passwd", root=root)
    assert "unable to find user canary" in sandbox.run("id", root=root, user="canary").error


def test_user_beyond_the_range_is_named(sandbox):
    ended = sandbox.run("id", user="2000000000")
    if sandbox.kind == "range":
        assert 'become user "2000000000": invalid argument' in ended.error
        assert "/etc/subuid" in ended.hint
    else:
        assert ended.code == 0
