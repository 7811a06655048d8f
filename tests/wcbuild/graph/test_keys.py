import dataclasses

import pytest

from wcbuild.graph.keys import digest, step_key
from wcbuild.graph.ops import CopyOp, InlineFile, Mount, MountKind, Network, RunOp

RUN = RunOp(args=("/bin/sh", "-c", "x"), env=("A=1",), cwd="/")


def key(op, *inputs):
    return step_key(op, inputs or (digest("parent"),))


@pytest.mark.parametrize(
    "change",
    [
        {"args": ("/bin/sh", "-c", "y")},
        {"env": ("A=2",)},
        {"cwd": "/w"},
        {"user": "app"},
        {"network": Network.NONE},
        {"insecure": True},
        {"inline": (InlineFile(name="f", data="x"),)},
        {"ulimits": (("nofile", 1, 2),)},
        {"shm_size": 1},
        {"hosts": (("db", "10.0.0.1"),)},
        {"mounts": (Mount(kind=MountKind.TMPFS, target="/t"),)},
        {"mounts": (Mount(kind=MountKind.SECRET, target="/t", id="s"),)},
    ],
)
def test_what_decides_a_run_is_part_of_its_key(change):
    assert key(dataclasses.replace(RUN, **change)) != key(RUN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"proxy_env": ("HTTP_PROXY=a",)}, {"proxy_env": ()}),
        ({"hosts": (("db", "10.0.0.1"),)}, {"hosts": (("db", "10.0.0.2"),)}),
        (
            {"mounts": (Mount(kind=MountKind.CACHE, target="/c", id="a"),)},
            {"mounts": (Mount(kind=MountKind.CACHE, target="/c", id="b"),)},
        ),
    ],
)
def test_what_cannot_change_the_result_is_not_part_of_the_key(one, other):
    assert key(dataclasses.replace(RUN, **one)) == key(dataclasses.replace(RUN, **other))


def test_what_errors_call_the_files_copied_from_is_not_part_of_the_key():
    copy = CopyOp(sources=("a",), dest="/", origin='stage "build"')
    assert key(copy) == key(dataclasses.replace(copy, origin='stage "make"'))


def test_fields_cannot_run_into_each_other():
    joined = CopyOp(sources=("a", "b"), dest="/")
    assert key(joined) != key(CopyOp(sources=("a\x00b",), dest="/"))
    assert digest("ab", "c") != digest("a", "bc")


def test_inputs_and_salt_are_part_of_the_key():
    assert key(RUN) != key(RUN, digest("other"))
    assert step_key(RUN, [], "owners=True") != step_key(RUN, [], "owners=False")
