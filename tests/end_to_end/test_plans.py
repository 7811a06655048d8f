"""`--print-plan`: what would be built, told without building."""

from __future__ import annotations

import json

import pytest

import wcbuild as package
from wcbuild import BuildRequest

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

STAGES = """\
FROM base AS build
COPY one.txt /
RUN cat /one.txt > /two.txt
FROM base AS unused
RUN false
FROM scratch
LABEL a=1
COPY --from=build /two.txt /
"""


def plan_of(wcbuild, folder, *words):
    return json.loads(wcbuild.build(folder, "--print-plan=json", *words).stdout)


def cached(plan):
    return {step["label"]: step["cached"] for step in plan["steps"] if step["stage"]}


def test_a_plan_builds_nothing(wcbuild, context):
    done = wcbuild.build(context("FROM base\nRUN touch /x\n"), "-t", "a", "--print-plan")
    assert "to do   [2/2] RUN touch /x  <- #1" in done.stdout
    assert "2 of 2 steps to do" in done.stdout
    assert done.stderr == ""
    assert wcbuild("images", "-q").stdout == ""


def test_a_plan_has_stages_steps_config_and_history(wcbuild, context):
    plan = plan_of(wcbuild, context(STAGES, {"one.txt": "1"}))
    assert [(s["name"], s["base"], s["needed"], len(s["steps"])) for s in plan["stages"]] == [
        ("build", "base", True, 3),
        ("unused", "base", False, 0),
        ("stage-2", "scratch", True, 1),
    ]
    run = next(step for step in plan["steps"] if step["operation"]["type"] == "run")
    assert run["operation"]["args"] == ["/bin/sh", "-c", "cat /one.txt > /two.txt"]
    assert run["lines"] == [3, 3]
    [image] = plan["images"]
    assert image["config"]["Labels"] == {"a": "1"}
    assert [line["createdBy"] for line in image["history"]] == [
        "LABEL a=1",
        "COPY /two.txt / # buildkit",
    ]
    assert image["history"][1]["step"] == image["rootfs"] == len(plan["steps"])


def test_a_plan_tells_stages_that_nobody_needs_from_those_that_change_no_files(wcbuild, context):
    text = "FROM base AS a\nRUN x\nFROM a AS b\nENV A=1\nFROM base AS c\nRUN x\nFROM b\nRUN y\n"
    shown = wcbuild.build(context(text), "--print-plan").stdout
    assert "stage b (line 3): FROM a\n  changes no files\n" in shown
    assert "stage c (line 5): FROM base\n  not needed\n" in shown


def test_a_base_of_several_stages_stands_at_the_first(wcbuild, context):
    text = "FROM base AS a\nRUN x\nFROM base AS b\nCOPY --from=a /x /\n"
    plan = plan_of(wcbuild, context(text))
    assert [len(stage["steps"]) for stage in plan["stages"]] == [2, 1]
    assert plan["steps"][0]["label"].startswith("[a 1/2] FROM base@")


def test_who_does_not_build_stores_nothing_of_images(wcbuild, context):
    folder = context("FROM base\nRUN x\n")
    for flag in ("--print-plan", "--check", "--call=outline"):
        wcbuild.build(folder, flag)
    assert [path for path in (wcbuild.root / "blobs").rglob("*") if path.is_file()] == []


def test_a_plan_says_what_is_cached(wcbuild, context):
    folder = context(STAGES, {"one.txt": "1"})
    assert not all(cached(plan_of(wcbuild, folder)).values())
    wcbuild.build(folder)
    assert all(cached(plan_of(wcbuild, folder)).values())
    (folder / "one.txt").write_text("other")
    after = cached(plan_of(wcbuild, folder))
    assert [label for label, known in after.items() if known] == [
        label for label in after if "FROM" in label and "COPY" not in label
    ]


def test_a_plan_finds_the_same_content_in_new_files(wcbuild, context):
    wcbuild.build(context("FROM base\nCOPY one.txt /\n", {"one.txt": "1" * 100}))
    again = context("FROM base\nCOPY one.txt /\n", {"one.txt": "1" * 100})
    assert all(cached(plan_of(wcbuild, again)).values())


def test_a_plan_refuses_what_a_build_would(wcbuild, context):
    done = wcbuild.build(
        context("FROM base\nCOPY --from=nobody a b\nRUN x\n"), "--print-plan", check=False
    )
    assert done.returncode == 1
    assert "Dockerfile:2" in done.stderr


def test_a_program_gets_a_plan_as_values(wcbuild, context):
    request = BuildRequest(context=context("FROM scratch\nCOPY Dockerfile /\n"), root=wcbuild.root)
    plan = package.plan(request)
    assert [step.label for step in plan.steps if step.stage] == ["[1/1] COPY Dockerfile /"]
    assert plan.to_json()["images"][0]["rootfs"] == 3
