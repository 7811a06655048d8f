"""The checks of a Dockerfile, its outline and its targets, as BuildKit's front end has them."""

from dataclasses import replace

import pytest
import recordings
from recordings import BUILD_PLATFORM, FakeImages, edge_cases, integration

from wcbuild.cli import calls
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lint import check, check_unreadable, lower_and_check
from wcbuild.dockerfile.lint.options import CheckOptionError, CheckOptions
from wcbuild.dockerfile.outline import list_targets, outline
from wcbuild.dockerfile.rules import (
    WINDOWS_JSON_BACKSLASH,
    WINDOWS_MIXED_FORMS,
    WINDOWS_PATH_VARIABLE,
    WINDOWS_TRAILING_BACKSLASH,
)
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import DockerfileSyntaxError, SourceError, WcbuildError


def source(text):
    return SourceFile(name="Dockerfile", data=text.encode("utf-8", "surrogateescape"))


def options(attrs, platform):
    recording = recordings.Recording(name="", dockerfile="", attrs=attrs, outcome={})
    return recordings.options(recording, platform)


def ignore_rules(text):
    try:
        return IgnoreRules.parse(text.encode()) if text else None
    except SourceError:
        return None  # which ends a build before anything is checked


OURS = (
    WINDOWS_TRAILING_BACKSLASH,
    WINDOWS_JSON_BACKSLASH,
    WINDOWS_PATH_VARIABLE,
    WINDOWS_MIXED_FORMS,
)


def checked(text, attrs=None, *, platform=BUILD_PLATFORM, ignore=None, images=None):
    """Check, without the rules that are not BuildKit's."""
    images = images or FakeImages(attrs or {}, None, {})
    result = check(source(text), options(attrs or {}, platform), images, ignore_rules(ignore))
    return replace(result, warnings=without_ours(result.warnings))


def without_ours(warnings):
    return tuple(each for each in warnings if each.rule not in OURS)


def difference(record, **pairs):
    """Say what differs of ``name=(expected, got)``."""
    lines = [
        f"\n      {name}: expected {expected!r}\n      {name}: got      {got!r}"
        for name, (expected, got) in pairs.items()
        if expected != got
    ]
    return f"{record!r}{''.join(lines)}" if lines else None


def by_line(warnings):
    return sorted(warnings, key=lambda each: each["line"])


def seen(warnings):
    return [
        {"rule": each.rule.name, "message": each.message, "line": each.span.first}
        for each in warnings
    ]


def test_lint_options_are_as_recorded(tables, measure):
    def check_options(record):
        expected = record["out"]
        try:
            got = CheckOptions.parse(record["in"])
        except CheckOptionError as error:
            return None if expected["err"] else f"{record['in']!r}: {error}"
        config = {
            "error": got.error,
            "experimental": sorted(got.experimental) or None,
            "experimental_all": got.experimental_all,
            "skip": sorted(got.skip) or None,
            "skip_all": got.skip_all,
        }
        return difference(record["in"], config=(expected["config"], config))

    measure("lint_options", tables("lint_options"), check_options, floor=6)


def test_warnings_are_as_in_buildkits_tests(tables, measure):
    def check_case(record):
        platform = "windows/amd64" if record["platform_variant"] == "windows" else BUILD_PLATFORM
        attrs = record.get("frontend_attrs") or {}
        result = checked(
            record["dockerfile"], attrs, platform=platform, ignore=record.get("dockerignore")
        )
        wanted = record.get("lint_call_warnings", record["expected_warnings"])
        expected = by_line(
            {key: each[key] for key in ("rule", "message", "line")} for each in wanted
        )
        got = seen(result.warnings)
        error = result.error and (result.error.spans[0].first if result.error.spans else 0)
        # What a test's build says when it runs is no matter of the check.
        place = record["build_err_location"] if "build_err" in record else None
        return difference(record["dockerfile"], warnings=(expected, got), error=(place, error))

    measure("lint_cases", tables("lint_cases"), check_case, floor=40)


def without_what_only_buildkit_has(data):
    for each in data["sources"]:
        each.pop("definition", None)
    data["warnings"] = data["warnings"] or []
    return data


def test_check_says_what_was_recorded(tables, measure):
    def check_record(record):
        expected = without_what_only_buildkit_has(record["frontend.lint"]["json"])
        ignore = next(
            (
                record["files"][name]
                for name in ("Dockerfile.dockerignore", ".dockerignore")
                if name in (record.get("files") or {})
            ),
            None,
        )
        # BuildKit checks for its own platform, whatever `--platform` asks for.
        result = checked(record["dockerfile"], record.get("attrs") or {}, ignore=ignore)
        got = calls.check_json(result)
        return difference(
            record["dockerfile"],
            json=(expected["warnings"], got["warnings"]),
            sources=(expected["sources"], got["sources"]),
            text=(record["frontend.lint"]["txt"], calls.check_text(result)),
            fails=("buildError" in expected, "buildError" in got),
            place=(
                lines_of(expected.get("buildError")),
                # Where BuildKit names no line, to name one is no mistake.
                lines_of(got.get("buildError")) if lines_of(expected.get("buildError")) else [],
            ),
        )

    measure("oracle_edge_cases (lint)", tables("oracle_edge_cases"), check_record, floor=146)


def lines_of(error):
    """Return the lines that an error names."""
    ranges = (error or {}).get("location", {}).get("ranges", [])
    return [each["start"]["line"] for each in ranges if "line" in each["start"]]


@pytest.mark.parametrize(("call", "floor"), [("outline", 147), ("targets", 148)])
def test_outlines_and_targets_are_as_recorded(tables, measure, call, floor):
    def check_record(record):
        expected = record[f"frontend.{call}"]
        attrs = record.get("attrs") or {}
        file = source(record["dockerfile"])
        try:
            if call == "targets":
                listed = list_targets(file)
                got = (calls.targets_json(listed), calls.targets_text(listed))
            else:
                images = FakeImages(attrs, None, {})
                found = outline(file, options(attrs, BUILD_PLATFORM), images, None)
                got = (calls.outline_json(found), calls.outline_text(found))
        except WcbuildError as error:
            if "error" in expected:
                return None
            return difference(record["dockerfile"], result=(expected, str(error)))
        if "error" in expected:
            return difference(record["dockerfile"], error=(expected["error"], got))
        return difference(
            record["dockerfile"],
            json=(expected["json"], got[0]),
            text=(expected["txt"], got[1]),
        )

    measure(f"oracle_edge_cases ({call})", tables("oracle_edge_cases"), check_record, floor=floor)


def check_build(recording):
    """Compare what a build says at its end; only its first platform speaks."""
    platform = recording.platforms[0]
    file = source(recording.dockerfile)
    given = recordings.options(recording, platform)
    files = {each["path"]: each.get("content") for each in recording.files}
    ignore = files.get("Dockerfile.dockerignore") or files.get(".dockerignore")
    images = FakeImages(recording.attrs, recording.base_command(), recording.pushed)
    try:
        dockerfile = parse_dockerfile(file.data, file="Dockerfile")
    except DockerfileSyntaxError as error:
        result = check_unreadable(
            file, error, given.build_args, given.platform, escape=given.escape
        )
    else:
        _, result = lower_and_check(dockerfile, file, given, images, ignore_rules(ignore))
    expected = [(each["start"], each["msg"]) for each in recording.outcome.get("warnings", ())]
    got = [(each.span.first, str(each)) for each in without_ours(result.warnings)]
    return difference(recording.dockerfile, warnings=(sorted(expected), sorted(got)))


@pytest.mark.parametrize(
    ("name", "build_platform", "floor"),
    [
        ("oracle_edge_cases", BUILD_PLATFORM, 147),
        ("integration_unix", BUILD_PLATFORM, 113),
        ("integration_windows", "windows/amd64", 79),
    ],
)
def test_builds_warn_as_recorded(tables, measure, name, build_platform, floor):
    found = (
        edge_cases(tables)
        if name == "oracle_edge_cases"
        else integration(tables, name, build_platform)
    )
    measure(f"{name} (warnings of a build)", found, check_build, floor=floor)
