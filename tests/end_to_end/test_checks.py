"""Checks at the end of a build, and instead of one."""

from __future__ import annotations

import pytest

from wcbuild import BuildRequest, build, check, outline, targets
from wcbuild.errors import SourceError
from wcbuild.solve.events import Notice, Warned

DOCKERFILE = """\
FROM base AS one
ARG NAME=value
FROM base
ENV A=$PAHT
CMD a
"""


@pytest.fixture
def request_for(wcbuild, context):
    def make(dockerfile, **fields):
        return BuildRequest(
            context=context(dockerfile),
            build_contexts={"base": f"oci-layout://{wcbuild.base}"},
            root=wcbuild.root,
            **fields,
        )

    return make


def large_blobs(wcbuild):
    """Return the blobs that are no document of a few kilobytes."""
    return [path for path in (wcbuild.root / "blobs").rglob("*") if path.stat().st_size > 1 << 16]


# -- instead of a build


def test_a_check_needs_the_base_images_config_and_no_layer(request_for, wcbuild):
    result = check(request_for(DOCKERFILE))
    assert [str(warning) for warning in result.warnings] == [
        "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 4)",
        (
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior"
            " related to OS signals (line 5)"
        ),
    ]
    assert result.error is None
    assert not large_blobs(wcbuild)


def test_a_check_says_what_it_can_without_a_registry(wcbuild, context):
    text = "FROM 127.0.0.1:1/nobody/there\nCMD a\nFROM scratch\nLABEL a b\n"
    done = wcbuild("--check", context(text), check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("Check complete, 2 warnings have been found!\n")
    assert done.stderr.startswith('ERROR: Dockerfile:1: image "127.0.0.1:1/nobody/there": ')


def test_outline_and_targets_are_typed_calls(request_for, wcbuild):
    request = request_for(DOCKERFILE, target="one")
    assert [(arg.name, arg.value) for arg in outline(request).args] == [("NAME", "value")]
    assert [target.name for target in targets(request).targets] == ["one", ""]
    assert not large_blobs(wcbuild)


def test_a_check_of_no_dockerfile_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="there is no Dockerfile"):
        check(BuildRequest(context=tmp_path, root=tmp_path / "store"))


# -- at the end of a build


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_a_build_ends_with_what_its_checks_found(wcbuild, context):
    done = wcbuild.build(context(DOCKERFILE))
    steps, _, found = done.stderr.partition("\n 2 warnings found (--check tells more):\n")
    assert "image sha256:" in steps
    assert found.startswith(" - UndefinedVar: Usage of undefined variable '$PAHT'")
    assert found.count("\n") == 2
    quiet = wcbuild.build(context(DOCKERFILE), "-q")
    assert quiet.stderr == ""


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_a_build_that_fails_says_so_last(wcbuild, context):
    done = wcbuild.build(context("FROM base\nCMD a\nRUN exit 3\n"), check=False)
    found, _, error = done.stderr.partition("\nERROR: Dockerfile:3: ")
    assert " 1 warning found (--check tells more):\n - JSONArgsRecommended: " in found
    assert error.startswith("process ")


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_warnings_that_are_errors_end_the_build_before_anything_runs(request_for):
    events = []
    text = f"# check=error=true\n{DOCKERFILE}RUN echo never\n"
    with pytest.raises(SourceError) as caught:
        build(request_for(text), events.append)
    rules = "UndefinedVar, JSONArgsRecommended"
    assert str(caught.value) == f"lint violation found for rules: {rules}"
    assert [type(event) for event in events] == [Warned, Warned]


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_an_unreadable_dockerfile_is_checked_up_to_there(wcbuild, context):
    done = wcbuild.build(context("FROM base AS A\nRNU x\n"), check=False)
    assert " - StageNameCasing: Stage name 'A' should be lowercase (line 1)\n" in done.stderr
    assert done.stderr.index("1 warning found") < done.stderr.index("unknown instruction: RNU")


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_a_result_has_the_warnings(request_for):
    events = []
    result = build(request_for(DOCKERFILE), events.append)
    assert [each.rule.name for each in result.warnings] == ["UndefinedVar", "JSONArgsRecommended"]
    told = [event.warning for event in events if isinstance(event, Warned)]
    assert tuple(told) == result.warnings
    assert build(request_for("FROM base\n")).warnings == ()


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_stages_that_are_not_needed_are_not_checked_in_a_build(request_for):
    text = "FROM base AS other\nCMD a\nFROM base\n"
    assert build(request_for(text)).warnings == ()
    assert len(check(request_for(text)).warnings) == 1


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_several_platforms_warn_once(request_for):
    text = "FROM scratch\nCMD a\n"
    result = build(request_for(text, platform="linux/amd64,linux/arm64"))
    assert [each.rule.name for each in result.warnings] == ["JSONArgsRecommended"]


@pytest.mark.userns
@pytest.mark.usefixtures("userns")
def test_a_thousand_warnings_do_not_bury_the_build(request_for):
    events = []
    result = build(request_for("FROM base\n" + "ENV a b\n" * 1000), events.append)
    assert len(result.warnings) == 1000
    assert sum(isinstance(event, Warned) for event in events) == 100
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices[0] == "900 more warnings of the checks; --check shows all"
