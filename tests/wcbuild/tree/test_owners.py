import pytest
from memorytree import MemoryTree, fifo, file, folder, link

from wcbuild.tree.errors import InvalidOwnerError
from wcbuild.tree.owners import MAX_FILE_BYTES, find_owner

PASSWD = """root:x:0:0:root:/root:/bin/sh
# comment:x:5:5::
daemon:x:1:2:daemon:/:/bin/false
broken
short:x:7
app:x:1000:1001::/home/app:/bin/sh
huge:x:4294967296:4294967297::/:
negative:x:-1:-1::/:
"""
GROUP = "root:x:0:\nstaff:x:50:app\nbad:x:99999999999\n"
TREE = MemoryTree({"etc/passwd": file(PASSWD), "etc/group": file(GROUP)})


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("0", (0, 0)),
        ("1000", (1000, 1000)),
        ("1000:50", (1000, 50)),
        ("root", (0, 0)),
        ("app", (1000, 1001)),
        ("app:staff", (1000, 50)),
        ("app:7", (1000, 7)),
        ("7:staff", (7, 50)),
        ("7:nothing", (7, 7)),
        ("app:nothing", (1000, 1001)),
        ("app:", (1000, 1001)),
        (":staff", (0, 50)),
        (":7", (0, 7)),
        ("daemon:root", (1, 0)),
        ("4294967294:4294967294", (4294967294, 4294967294)),
        ("007", (7, 7)),
    ],
)
def test_numbers_and_names(text, owner):
    assert find_owner(text, TREE) == owner


@pytest.mark.parametrize("text", ["nobody", "nobody:nothing", "short", "broken", "comment"])
def test_unknown_names_mean_root(text):
    assert find_owner(text, TREE) == (0, 0)


def test_an_image_without_passwd_knows_no_names():
    assert find_owner("app:staff", MemoryTree()) == (0, 0)
    assert find_owner("5:6", MemoryTree()) == (5, 6)


@pytest.mark.parametrize(
    "text", ["-1", "4294967295", "4294967296", "2147483648:99999999999", "1:-5", "+5", "9" * 5000]
)
def test_ids_out_of_range_are_refused_and_never_become_root(text):
    with pytest.raises(InvalidOwnerError, match="an id is a number between 0 and 4294967294"):
        find_owner(text, TREE)


@pytest.mark.parametrize("text", ["huge", "negative", "app:bad"])
def test_ids_out_of_range_in_the_image_are_refused_too(text):
    with pytest.raises(InvalidOwnerError):
        find_owner(text, TREE)


def test_passwd_behind_a_symlink_is_found_inside_the_image():
    tree = MemoryTree({"etc/passwd": link("/../../conf/users"), "conf/users": file(PASSWD)})
    assert find_owner("app", tree) == (1000, 1001)


@pytest.mark.parametrize(
    "node", [fifo(), folder(), file(b"x" * (MAX_FILE_BYTES + 1))], ids=["fifo", "folder", "huge"]
)
def test_passwd_that_is_no_file_of_sensible_size_is_refused(node):
    with pytest.raises(InvalidOwnerError, match="/etc/passwd"):
        find_owner("app", MemoryTree({"etc/passwd": node}))
