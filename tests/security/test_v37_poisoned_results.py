"""V37, CVE-2024-24557: a result taken for that of another step, because its key forgot a difference."""

import itertools

import pytest
from anyimages import lowered

from registry.oci.platform import Platform
from wcbuild.graph.keys import step_key
from wcbuild.graph.ops import RunOp

ARM64 = Platform(os="linux", architecture="arm64")


def key(text, **options):
    """Return the key of the last RUN, with everything that it stands on."""
    graph = lowered(text, **options).graph
    keys = []
    for step in graph.steps:
        keys.append(step_key(step.op, [keys[each] for each in step.inputs]))
    [*_, last] = [
        each for each, step in zip(keys, graph.steps, strict=True) if isinstance(step.op, RunOp)
    ]
    return last


def test_whatever_decides_a_result_decides_its_key():
    run = "RUN x\n"
    keys = {
        "plain": key(f"FROM a\n{run}"),
        "another base": key(f"FROM b\n{run}"),
        "another platform": key(f"FROM a\n{run}", platform=ARM64),
        "another shell": key(f'FROM a\nSHELL ["/bin/bash", "-c"]\n{run}'),
        "another user": key(f"FROM a\nUSER 7\n{run}"),
        "another folder": key(f"FROM a\nWORKDIR /w\n{run}"),
        "a variable": key(f"FROM a\nENV A=1\n{run}"),
        "another value": key(f"FROM a\nENV A=2\n{run}"),
        "an argument": key(f"FROM a\nARG A=3\n{run}"),
        "exec form": key('FROM a\nRUN ["x"]\n'),
        "no network": key("FROM a\nRUN --network=none x\n"),
        "a secret": key("FROM a\nRUN --mount=type=secret,id=s x\n"),
        "another secret": key("FROM a\nRUN --mount=type=secret,id=t x\n"),
        "a secret elsewhere": key("FROM a\nRUN --mount=type=secret,id=s,target=/s x\n"),
        "a secret variable": key("FROM a\nRUN --mount=type=secret,id=s,env=S x\n"),
        "a tmpfs": key("FROM a\nRUN --mount=type=tmpfs,target=/t x\n"),
        "a cache": key("FROM a\nRUN --mount=type=cache,target=/t x\n"),
        "an agent": key("FROM a\nRUN --mount=type=ssh x\n"),
        "a file of the context": key("FROM a\nRUN --mount=target=/c,source=f x\n"),
        "another file": key("FROM a\nRUN --mount=target=/c,source=g x\n"),
        "something before": key(f"FROM a\nRUN y\n{run}"),
        "a script": key("FROM a\nRUN <<E\n#!/bin/x\nx\nE\n"),
        "a host": key(f"FROM a\n{run}", hosts=(("h", "1.2.3.4"),)),
        "a limit": key(f"FROM a\n{run}", ulimits=(("nofile", 1, 1),)),
        "shared memory": key(f"FROM a\n{run}", shm_size=1 << 20),
    }
    for (one, first), (other, second) in itertools.combinations(keys.items(), 2):
        assert first != second, f"{one} has the key of {other}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("COPY a b /", "COPY b a /"),
        ("COPY a /b", "COPY a /b/"),
        ("COPY a /b", "ADD a /b"),
        ("ADD a /b", "ADD --unpack=false a /b"),
        ("COPY --chown=1 a /b", "COPY --chown=1:2 a /b"),
        ("COPY --chmod=1 a /b", "COPY --chmod=2 a /b"),
        ("COPY --exclude=x a /b", "COPY --exclude=y a /b"),
        ("COPY --link a /b", "COPY a /b"),
        ("COPY --parents a/b /c", "COPY a/b /c"),
        ("ADD https://h.example/a b /c/", "ADD b https://h.example/a /c/"),
    ],
)
def test_whatever_decides_a_copy_decides_its_key(one, other):
    assert key(f"FROM a\n{one}\nRUN x\n") != key(f"FROM a\n{other}\nRUN x\n")
