"""One rule after the other: what it finds, and what it leaves alone."""

from pathlib import Path

import pytest

from registry.oci.config import ContainerConfig
from registry.oci.platform import Platform
from wcbuild.dockerfile.rules import (
    RULES,
    WINDOWS_JSON_BACKSLASH,
    WINDOWS_MIXED_FORMS,
    WINDOWS_PATH_VARIABLE,
    WINDOWS_TRAILING_BACKSLASH,
)


def test_names_are_unique_and_pages_are_named_after_the_rule():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names) == 26
    for rule in RULES:
        if rule.url:
            words = rule.url.rstrip("/").rpartition("/")[2].split("-")
            assert "".join(words) == rule.name.lower()


def test_every_rule_has_its_section_in_the_documentation():
    page = (Path(__file__).parents[4] / "docs" / "checks.md").read_text(encoding="utf-8")
    sections = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert sorted(sections) == sorted(rule.name for rule in RULES)


@pytest.mark.parametrize(
    ("rule", "text", "warnings"),
    [
        (
            "StageNameCasing",
            "FROM scratch AS Base\n",
            ["Stage name 'Base' should be lowercase (line 1)"],
        ),
        ("StageNameCasing", "FROM scratch AS base\n", []),
        (
            "FromAsCasing",
            "FROM scratch as a\n",
            ["'as' and 'FROM' keywords' casing do not match (line 1)"],
        ),
        (
            "FromAsCasing",
            "from scratch AS a\n",
            ["'AS' and 'from' keywords' casing do not match (line 1)"],
        ),
        ("FromAsCasing", "FROM scratch AS a\nFROM scratch\n", []),
        ("FromAsCasing", "From scratch as a\n", []),
        (
            "NoEmptyContinuation",
            "FROM scratch\nENV A=b \\\n\n  C=d\n",
            ["Empty continuation line (line 4)"],
        ),
        ("NoEmptyContinuation", "FROM scratch\nENV A=b \\\n# words\n  C=d\n", []),
        (
            "ConsistentInstructionCasing",
            "FROM scratch\nENV A=b\nenv C=d\n",
            ["Command 'env' should match the case of the command majority (uppercase) (line 3)"],
        ),
        (
            "ConsistentInstructionCasing",
            "from scratch\nenv A=b\nENV C=d\nEnv E=f\n",
            [
                "Command 'ENV' should match the case of the command majority (lowercase) (line 3)",
                "Command 'Env' should match the case of the command majority (lowercase) (line 4)",
            ],
        ),
        ("ConsistentInstructionCasing", "arg A=b\nFROM scratch\n", []),
        (
            "DuplicateStageName",
            "FROM scratch AS a\nFROM scratch AS a\n",
            ['Duplicate stage name "a", stage names should be unique (line 2)'],
        ),
        ("DuplicateStageName", "FROM scratch\nFROM scratch\n", []),
        (
            "ReservedStageName",
            "FROM scratch AS context\n",
            ['Stage name should not use the same name as reserved stage "context" (line 1)'],
        ),
        ("ReservedStageName", "FROM scratch AS contexts\n", []),
        (
            "MaintainerDeprecated",
            "FROM scratch\nMAINTAINER me\n",
            ["Maintainer instruction is deprecated in favor of using label (line 2)"],
        ),
        (
            "UndefinedArgInFrom",
            "ARG VERSION=1\nFROM debian$VERSOIN\n",
            ["FROM argument 'VERSOIN' is not declared (did you mean VERSION?) (line 2)"],
        ),
        ("UndefinedArgInFrom", "ARG X\nFROM debian$X\n", []),
        ("UndefinedArgInFrom", "FROM --platform=$BUILDPLATFORM debian\n", []),
        (
            "WorkdirRelativePath",
            "FROM scratch\nWORKDIR a\nWORKDIR b\n",
            ['Relative workdir "a" can have unexpected results if the base image changes (line 2)'],
        ),
        ("WorkdirRelativePath", "FROM scratch\nWORKDIR /a\nWORKDIR b\n", []),
        ("WorkdirRelativePath", "FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n", []),
        (
            "UndefinedVar",
            "FROM debian\nENV PATH=$PAHT:/x\n",
            ["Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)"],
        ),
        ("UndefinedVar", "FROM debian\nARG X\nENV A=$X\n", []),
        ("UndefinedVar", "FROM debian AS a\nARG X\nFROM a\nENV A=$X\n", []),
        (
            "UndefinedVar",
            "FROM scratch\nCOPY <<EOF /x\n$nope\nEOF\n",
            ["Usage of undefined variable '$nope' (line 2)"],
        ),
        ("UndefinedVar", "FROM scratch\nCOPY <<'EOF' /x\n$nope\nEOF\n", []),
        (
            "UndefinedVar",
            "FROM debian\nRUN --mount=type=cache,target=$nope/x y\n",
            ["Usage of undefined variable '$nope' (line 2)"],
        ),
        ("UndefinedVar", "FROM debian\nRUN echo $nope\nCMD echo $nope\n", []),
        (
            "UndefinedVar",
            "FROM debian\nEXPOSE $PROT\nARG PORT\n",
            ["Usage of undefined variable '$PROT' (line 2)"],
        ),
        (
            "MultipleInstructionsDisallowed",
            'FROM scratch\nCMD ["a"]\nCMD ["b"]\nFROM scratch\nCMD ["c"]\n',
            [
                (
                    "Multiple CMD instructions should not be used in the same stage"
                    " because only the last one will be used (line 2)"
                )
            ],
        ),
        (
            "LegacyKeyValueFormat",
            "FROM scratch\nENV a b\nLABEL c=d\n",
            ['"ENV key=value" should be used instead of legacy "ENV key value" format (line 2)'],
        ),
        (
            "RedundantTargetPlatform",
            "FROM --platform=${TARGETPLATFORM} debian\n",
            [
                (
                    "Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant"
                    " as this is the default behavior (line 1)"
                )
            ],
        ),
        ("RedundantTargetPlatform", "FROM --platform=$TARGETOS/arm64 debian\n", []),
        (
            "SecretsUsedInArgOrEnv",
            "FROM scratch\nARG GITHUB_TOKEN\nENV a=1 apiKey=2 db_password=3 KEY_FILE=4\n",
            [
                'Do not use ARG or ENV instructions for sensitive data (ARG "GITHUB_TOKEN") (line 2)',
                'Do not use ARG or ENV instructions for sensitive data (ENV "apiKey") (line 3)',
                'Do not use ARG or ENV instructions for sensitive data (ENV "db_password") (line 3)',
            ],
        ),
        (
            "SecretsUsedInArgOrEnv",
            "FROM scratch\nARG PUBLIC_KEY\nARG monkey\nARG TOKEN_VERSION\n",
            [],
        ),
        (
            "InvalidDefaultArgInFrom",
            "ARG TAG\nFROM debian:$TAG\n",
            [
                "Default value for ARG debian:$TAG results in empty or invalid base image name (line 2)"
            ],
        ),
        ("InvalidDefaultArgInFrom", "ARG TAG=\nFROM debian$TAG\n", []),
        (
            "FromPlatformFlagConstDisallowed",
            "FROM --platform=linux/arm64 debian AS x\n",
            ['FROM --platform flag should not use constant value "linux/arm64" (line 1)'],
        ),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/arm64 debian AS on-arm64\n", []),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=$BUILDPLATFORM debian AS x\n", []),
        (
            "ExposeProtoCasing",
            "FROM scratch\nEXPOSE 53/UDP 80/tcp\n",
            ["Defined protocol '53/UDP' in EXPOSE instruction should be lowercase (line 2)"],
        ),
        (
            "ExposeInvalidFormat",
            "FROM scratch\nEXPOSE 127.0.0.1:80:80 8080:80 :80 80\n",
            [
                (
                    "EXPOSE instruction should not define an IP address or host-port mapping,"
                    " found '127.0.0.1:80:80' (line 2)"
                ),
                (
                    "EXPOSE instruction should not define an IP address or host-port mapping,"
                    " found '8080:80' (line 2)"
                ),
            ],
        ),
        (
            "JSONArgsRecommended",
            'FROM scratch\nCMD a\nENTRYPOINT ["b"]\n',
            [
                (
                    "JSON arguments recommended for CMD to prevent unintended behavior"
                    " related to OS signals (line 2)"
                )
            ],
        ),
        ("JSONArgsRecommended", 'FROM scratch\nSHELL ["/bin/bash", "-c"]\nCMD a\n', []),
    ],
)
def test_finds_what_it_is_for_and_no_more(found, rule, text, warnings):
    images = {name: ContainerConfig() for name in ("debian:12", "debian12")}
    told = found(text, build_args={"TAG": "12"}, images=images)
    assert [each for each in told if each.startswith(f"{rule}:")] == [
        f"{rule}: {each}" for each in warnings
    ]


def test_descriptions_are_checked_only_where_the_experiment_is_wanted(found):
    text = "# some words\nARG A=1\n# B what b is\nARG B=1 C=2\n\n# words\nARG D E\nFROM scratch\n"
    assert found(text) == []
    wanted = "# check=experimental=InvalidDefinitionDescription\n#\n" + text
    assert found(wanted) == [
        (
            "InvalidDefinitionDescription: Comment for ARG should follow the format:"
            " `# A <description>` (line 4)"
        ),
        (
            "InvalidDefinitionDescription: Comment for ARG should follow the format:"
            " `# <arg_key> <description>` (line 9)"
        ),
    ]


def test_a_shell_of_the_base_makes_shell_form_an_intention(found):
    images = {"shelly": ContainerConfig(shell=("/bin/bash", "-c"))}
    assert found("FROM shelly\nCMD a\n", images=images) == []


def test_a_base_for_another_platform_is_told(found):
    platforms = {"debian": Platform.parse("linux/arm64")}
    text = "FROM debian\nCOPY --from=debian /a /a\n"
    message = 'Base image debian was pulled with platform "linux/arm64", expected "linux/amd64"'
    assert found(text, platforms=platforms)[0] == (
        f"InvalidBaseImagePlatform: {message} for current build (line 1)"
    )


def test_a_base_for_another_platform_that_a_named_context_is_was_chosen(found):
    platforms = {"debian": Platform.parse("linux/arm64")}
    assert found("FROM debian\n", platforms=platforms, named=("debian",)) == []


def test_triggers_of_a_base_are_checked_where_they_come_in(found):
    images = {"parent": ContainerConfig(on_build=("CMD a", "ENV a b"))}
    assert [
        each.partition(":")[0] for each in found("FROM debian\nFROM parent\n", images=images)
    ] == [
        "LegacyKeyValueFormat",
        "JSONArgsRecommended",
    ]


@pytest.mark.parametrize(
    ("ignore", "copied", "told"),
    [
        ("a", "a", True),
        ("a", "./a", True),
        ("a", "/a", True),
        ("dir", "dir/below", True),
        ("b", "a", False),
        ("*\n!a", "b", False),
        ("*", ".", True),
        ("**", "/", True),
        (".*", ".", False),
    ],
)
def test_a_source_that_the_ignore_file_leaves_out_is_told(found, ignore, copied, told):
    warnings = found(f"FROM scratch\nCOPY {copied} /x\nADD {copied} /y\n", ignore=ignore)
    assert [each.split()[3] for each in warnings] == (["Copy", "Add"] if told else [])


def test_what_comes_from_a_stage_is_not_ignored(found):
    text = "FROM scratch AS a\nFROM scratch\nCOPY --from=a a /x\nCOPY <<a /y\na\n"
    assert found(text, ignore="a") == []


# -- WindowsTrailingBackslash


def windows(found, text, *, rule=WINDOWS_TRAILING_BACKSLASH, **options):
    warnings = found(text, platform="windows/amd64", **options)
    start = f"{rule.name}: "
    return [each.removeprefix(start) for each in warnings if each.startswith(start)]


REMEDY = "if it belongs to a Windows path, begin the file with the line # escape=`"


def test_a_workdir_that_swallows_the_next_instruction_is_told_with_the_remedy(found):
    text = "FROM scratch\nWORKDIR \\\nCOPY bin\\Debug\\ \\Deapp\nCMD \\Deapp\\Demoapp.exe\n"
    swallowed = '"COPY bin\\Debug\\ \\Deapp", to this WORKDIR'
    assert windows(found, text) == [
        f'the "\\" at the end joins the next line, {swallowed}; {REMEDY} (line 2)'
    ]


def test_a_path_that_loses_its_backslashes_is_told_as_it_is_read(found):
    assert windows(found, "FROM scratch\nCOPY bin\\Debug\\ \\Deapp\n") == [
        (
            '"\\" is the escape character here, so "bin\\Debug\\" is read as "binDebug";'
            f" {REMEDY} (line 2)"
        )
    ]


@pytest.mark.parametrize(
    "line",
    [
        "WORKDIR c:\\app",
        'COPY ["a", "C:\\\\app\\\\"]',
        "ENV tools=C:\\tools",
        "ADD a C:\\",
        "VOLUME C:\\data",
        "RUN dir c:\\\nRUN dir",
    ],
)
def test_paths_of_windows_are_told_wherever_they_go_wrong(found, line):
    assert len(windows(found, f"FROM scratch\n{line}\nCOPY a b\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "WORKDIR c:\\\\app",
        "WORKDIR /app",
        "ENV a=b \\\n  c=d",
        "ENV a=b \\\n  COPY=d",
        'ENV a=\\$b c=\\"d',
        'ENV a="C:\\tools"',
        "RUN copy a \\\n copy b",
        "RUN dir c:\\tools",
        "LABEL a=\\d",
        "COPY <<EOF /x\nc:\\\nCOPY\nEOF",
    ],
)
def test_what_goes_right_or_may_be_meant_is_left_alone(found, line):
    assert windows(found, f"FROM scratch\n{line}\n") == []


def test_who_has_chosen_an_escape_character_knows(found):
    assert windows(found, "# escape=`\nFROM scratch\nCOPY bin\\Debug\\ \\Deapp\n") == []
    assert windows(found, "# escape=\\\nFROM scratch\nCOPY bin\\Debug\\ \\Deapp\n") == []


def test_who_reads_the_file_as_in_2015_loses_no_backslash(found, checked):
    text = "FROM scratch\nWORKDIR \\\nCOPY bin\\Debug\\ \\Deapp\n"
    assert windows(found, text, escape="`") == []
    unreadable = checked(text + "COPY a\n", platform="windows/amd64", escape="`")
    assert unreadable.error is not None
    assert unreadable.warnings == ()


def test_a_stage_for_linux_may_escape_what_it_likes(found):
    assert found("FROM scratch\nCOPY a\\b /c\n") == []


def test_a_base_that_cannot_be_had_is_windows_by_its_name(checked):
    result = checked("FROM windowsservercore\nWORKDIR \\\nCOPY bin\\Debug\\ \\Deapp\n")
    assert WINDOWS_TRAILING_BACKSLASH in [each.rule for each in result.warnings]
    result = checked("FROM window\nWORKDIR \\\nCOPY bin\\Debug\\ \\Deapp\n")
    assert WINDOWS_TRAILING_BACKSLASH not in [each.rule for each in result.warnings]


def test_a_file_that_cannot_be_read_for_a_lost_backslash_says_so(checked):
    result = checked("FROM mcr.example/windows/nanoserver:ltsc2022\nWORKDIR \\\n")
    assert str(result.error) == "Dockerfile:2: WORKDIR requires exactly one argument"
    assert [str(each) for each in result.warnings] == [
        f'WindowsTrailingBackslash: the "\\" at the end of the line is lost; {REMEDY} (line 2)'
    ]


# -- WindowsJsonBackslash


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (r'CMD ["c:\app\x.exe"]', r'["c:\app\x.exe"]'),
        (r'entrypoint [ "c:\app\", "x" ]', r'[ "c:\app\", "x" ]'),
        (r'COPY --chown=ContainerUser ["a", "c:\d"]', r'["a", "c:\d"]'),
        (r'HEALTHCHECK --timeout=3s CMD ["c:\x.exe"]', r'["c:\x.exe"]'),
    ],
)
def test_a_list_that_single_backslashes_make_text_is_told(found, line, shown):
    (told,) = windows(found, f"# escape=`\nFROM scratch\n{line}\n", rule=WINDOWS_JSON_BACKSLASH)
    said = "is read as text, brackets and all; in a JSON list every backslash is written twice"
    assert told == f"{shown} {said} (line 3)"


def test_a_list_whose_backslashes_mean_something_else_is_told(found):
    text = '# escape=`\nFROM scratch\nCMD ["c:\\new\\tool.exe"]\n'
    (told,) = windows(found, text, rule=WINDOWS_JSON_BACKSLASH)
    assert told.startswith('["c:\\new\\tool.exe"] is read with a control character in it; ')


@pytest.mark.parametrize(
    "line",
    [
        r'CMD ["c:\\x.exe"]',
        r"CMD [c:\x.exe]",
        r'CMD if exist [ "a\b" ]',
        r'LABEL a=["b\c"]',
        r'CMD [1, "b\c"]',
        r'CMD ["cmd", "/c", "echo a\nb"]',
        "CMD [x]",
    ],
)
def test_what_is_a_list_or_hardly_meant_as_one_is_left_alone(found, line):
    text = f"# escape=`\nFROM scratch\n{line}\n"
    assert windows(found, text, rule=WINDOWS_JSON_BACKSLASH) == []


# -- WindowsPathVariable

INSTEAD = (
    "PATH of an image takes the place of Windows' own,"
    " so name C:\\Windows\\system32 and whatever else is needed"
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('ENV PATH="C:\\app;%PATH%"', '"%PATH%" stays as it is, since no shell reads it'),
        ("ENV Path C:\\app;%Path%", '"%Path%" stays as it is, since no shell reads it'),
        (
            "ENV PATH=%ProgramFiles(x86)%\\app;C:\\Windows\\System32",
            '"%ProgramFiles(x86)%" stays as it is, since no shell reads it',
        ),
        (
            "ENV PATH=C:\\app;$Env:PATH",
            '"$Env:PATH" is PowerShell\'s, and here "$env" is a variable of the build',
        ),
        (
            "ENV PATH=C:\\app;${path}",
            "$PATH is empty, since the base image has none and Windows keeps its own in the registry",
        ),
        ("ENV A=b PATH=C:\\app", '"C:\\app" is without the folders of Windows'),
    ],
)
def test_a_path_that_loses_that_of_windows_is_told(found, line, said):
    told = windows(found, f"# escape=`\nFROM scratch\n{line}\n", rule=WINDOWS_PATH_VARIABLE)
    assert told == [f"{said}; {INSTEAD} (line 3)"]


@pytest.mark.parametrize(
    "lines",
    [
        "ENV PATH=C:\\app;C:\\WINDOWS\\System32",
        "ENV PATH=C:\\Windows\\system32\nENV PATH=C:\\app;$Path",
        "ENV PATHS=%PATH% OTHER=C:\\app",
        "ARG D=C:\\Windows\\system32\nENV PATH=$D",
    ],
)
def test_a_path_with_the_folders_of_windows_is_left_alone(found, lines):
    told = windows(found, f"# escape=`\nFROM scratch\n{lines}\n", rule=WINDOWS_PATH_VARIABLE)
    assert told == []


def test_the_path_of_a_base_image_is_taken_over(found):
    base = {"base": ContainerConfig(env=("Path=C:\\Windows\\system32",))}
    text = "# escape=`\nFROM base\nENV PATH=C:\\app;$PATH\n"
    options = {"images": base}
    assert windows(found, text, rule=WINDOWS_PATH_VARIABLE, **options) == []


def test_a_base_that_is_not_known_may_have_a_path(checked):
    result = checked("FROM nowhere\nENV PATH=C:/app;$PATH\n", platform="windows/amd64")
    assert WINDOWS_PATH_VARIABLE not in [each.rule for each in result.warnings]


def test_linux_has_a_path_of_its_own(found):
    assert found("FROM scratch\nENV PATH=/app:%PATH%\n") == []


# -- WindowsMixedForms


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('ENTRYPOINT ["a"]\nCMD b', "CMD is in the shell form and ENTRYPOINT in the other"),
        ('ENTRYPOINT a\nCMD ["b"]', "CMD is in the exec form and ENTRYPOINT in the other"),
        ('CMD b\nENTRYPOINT ["a"]', "ENTRYPOINT is in the exec form and CMD in the other"),
        ('CMD ["b"]\nENTRYPOINT a', "ENTRYPOINT is in the shell form and CMD in the other"),
    ],
)
def test_forms_that_do_not_go_together_are_told(found, lines, said):
    (told,) = windows(found, f"FROM scratch\n{lines}\n", rule=WINDOWS_MIXED_FORMS)
    assert told.startswith(f"{said}; ")
    assert told.endswith("(line 3)")


@pytest.mark.parametrize(
    "lines",
    ['ENTRYPOINT ["a"]\nCMD ["b"]', "ENTRYPOINT a\nCMD b", "CMD b", 'CMD b\nCMD ["c"]'],
)
def test_forms_that_go_together_are_left_alone(found, lines):
    assert windows(found, f"FROM scratch\n{lines}\n", rule=WINDOWS_MIXED_FORMS) == []


def test_a_command_of_the_base_counts_only_if_it_stays(found):
    bases = {
        "one": ContainerConfig(entrypoint=("cmd /S /C a",), args_escaped=True),
        "two": ContainerConfig(cmd=("cmd /S /C b",), args_escaped=True),
    }
    options = {"rule": WINDOWS_MIXED_FORMS, "images": bases}
    assert len(windows(found, 'FROM one\nCMD ["b"]\n', **options)) == 1
    # ENTRYPOINT drops what the base has as CMD.
    assert windows(found, 'FROM two\nENTRYPOINT ["a"]\n', **options) == []


def test_linux_takes_any_two_forms(found):
    assert not [
        each for each in found('FROM scratch\nENTRYPOINT ["a"]\nCMD b\n') if "Mixed" in each
    ]
