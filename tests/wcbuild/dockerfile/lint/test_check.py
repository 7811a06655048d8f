"""Which warnings are told, in which order, and when they end the build."""

import pytest

from wcbuild.dockerfile.lint.linter import MAX_COMPARISONS
from wcbuild.dockerfile.lint.options import CheckOptionError, CheckOptions
from wcbuild.errors import SourceError, UsageError

TWO = "FROM scratch as a\nCMD x\n"


def names(result):
    return [warning.rule.name for warning in result.warnings]


def test_warnings_come_in_the_order_of_the_file(checked):
    result = checked("FROM scratch as A\nENV a $b\nFROM scratch\nMAINTAINER me\nCMD x\n")
    assert [(each.span.first, each.rule.name) for each in result.warnings] == [
        (1, "StageNameCasing"),
        (1, "FromAsCasing"),
        (2, "UndefinedVar"),
        (2, "LegacyKeyValueFormat"),
        (4, "MaintainerDeprecated"),
        (5, "JSONArgsRecommended"),
    ]


def test_every_stage_is_checked_unless_a_target_is_named(checked):
    text = "FROM scratch AS a\nCMD x\nFROM scratch AS b\nENV a b\n"
    assert names(checked(text)) == ["JSONArgsRecommended", "LegacyKeyValueFormat"]
    assert names(checked(text, target="a")) == ["JSONArgsRecommended"]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("# check=skip=all", []),
        ("# check=skip=FromAsCasing", ["JSONArgsRecommended"]),
        ("# check=skip=FromAsCasing,JSONArgsRecommended", []),
        ("# check=skip=Other", ["FromAsCasing", "JSONArgsRecommended"]),
        ("# check=experimental=all", ["FromAsCasing", "JSONArgsRecommended"]),
        ("# check=error=false", ["FromAsCasing", "JSONArgsRecommended"]),
    ],
)
def test_the_file_says_which_rules_count(checked, line, left):
    result = checked(f"{line}\n{TWO}")
    assert names(result) == left
    assert result.error is None


@pytest.mark.parametrize(
    ("comments", "left"),
    [
        ("# check=skip=JSONArgsRecommended", []),
        ("# words\n# check=skip=all", []),
        ("# check=skip=FromAsCasing", ["JSONArgsRecommended"]),
        ("# check=skip=JSONArgsRecommended\n#", ["JSONArgsRecommended"]),
        ("# check=if it is right", ["JSONArgsRecommended"]),
        ("# check=error=true", ["JSONArgsRecommended"]),
    ],
)
def test_a_comment_above_an_instruction_switches_off_for_that_one(checked, comments, left):
    result = checked(f"FROM scratch\n{comments}\nCMD x\n")
    assert names(result) == left
    assert result.error is None


def test_a_comment_counts_for_all_lines_of_its_instruction(checked):
    text = "FROM scratch\n# check=skip=NoEmptyContinuation\nENV A=b \\\n\n C=d\n"
    assert names(checked(text)) == []


def test_error_true_is_an_error_that_names_the_rules(checked):
    result = checked(f"# check=error=true\n{TWO}CMD y\n")
    expected = "FromAsCasing, JSONArgsRecommended, MultipleInstructionsDisallowed"
    assert sorted(str(result.error).partition(": ")[2].split(", ")) == expected.split(", ")
    assert str(result.error).startswith("lint violation found for rules: ")
    assert checked("# check=error=true\nFROM scratch\n").is_clean


def test_the_build_argument_stands_in_for_the_files_options(checked):
    text = f"# check=error=true\n{TWO}"
    result = checked(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=FromAsCasing"})
    assert (names(result), result.error) == (["JSONArgsRecommended"], None)
    with pytest.raises(UsageError, match='BUILDKIT_DOCKERFILE_CHECK: invalid check option "x"'):
        checked(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "x"})


@pytest.mark.parametrize(
    ("line", "message", "word", "hint"),
    [
        ("# check=skpi=all", 'invalid check option "skpi=all"', "skpi=all", 'did you mean "skip"?'),
        ("# check=all", 'invalid check option "all"', "all", "as in skip=RuleA,RuleB;error=true"),
        (
            "# check=error=maybe",
            'invalid check option "error=maybe": expected true or false',
            "error=maybe",
            "",
        ),
        (
            "# check=skip=A; error=true",
            'invalid check option ""',
            "",
            "options have no blanks between them",
        ),
    ],
)
def test_a_wrong_option_is_an_error_with_its_place(checked, line, message, word, hint):
    error = checked(f"# syntax=docker/dockerfile:1\n{line}\n{TWO}").error
    assert isinstance(error, SourceError)
    assert (error.message, error.word, error.hint) == (message, word, hint)
    assert str(error.spans[0]) == "Dockerfile:2"


def test_options_are_read_as_buildkit_reads_them():
    options = CheckOptions.parse(" skip = A , B ;experimental=all;error=T")
    assert options == CheckOptions(skip=frozenset("AB"), experimental_all=True, error=True)
    assert CheckOptions.parse("skip=all;skip=A").skip_all
    with pytest.raises(CheckOptionError):
        CheckOptions.parse("skip")


def test_what_stands_before_an_unreadable_instruction_is_checked(checked):
    result = checked("FROM scratch AS A\nMAINTAINER me\nRNU x\nMAINTAINER you\n")
    assert names(result) == ["StageNameCasing", "MaintainerDeprecated"]
    assert str(result.error).startswith("Dockerfile:3: unknown instruction: RNU")


def test_what_stands_before_a_wrong_operand_is_checked(checked):
    result = checked("FROM scratch\nCMD x\nEXPOSE 99999\n")
    assert names(result) == ["JSONArgsRecommended"]
    assert str(result.error.spans[0]) == "Dockerfile:3"


def test_a_missing_image_is_an_error_and_the_rest_is_checked_without_it(checked):
    text = "FROM missing AS a\nENV a=$UNKNOWN\nENV c d\nFROM scratch\nENV a=$nope\n"
    result = checked(text)
    assert names(result) == ["LegacyKeyValueFormat", "UndefinedVar"]
    assert str(result.error.spans[0]) == "Dockerfile:1"
    assert result.error.word == "missing"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM missing\nWORKDIR C:\\\\app\n", []),
        ("# escape=`\nFROM missing AS a\nFROM a\nWORKDIR C:\\app\nWORKDIR sub\n", []),
        ("FROM missing\nWORKDIR app\n", ["WorkdirRelativePath"]),
        ("FROM scratch\nWORKDIR C:\\\\app\n", ["WorkdirRelativePath"]),
    ],
)
def test_a_missing_image_may_be_for_windows(checked, text, told):
    assert names(checked(text)) == told


def test_thousands_of_undefined_names_are_told_in_little_time(checked):
    """Each is compared with each known one only as long as that is quick."""
    lines = "".join(f"ENV A{number}=$B{number}\n" for number in range(2000))
    result = checked(f"FROM scratch\n{lines}")
    assert len(result.warnings) == 2000
    told = [each for each in result.warnings if "did you mean" in each.message]
    assert 0 < len(told) < MAX_COMPARISONS


@pytest.mark.parametrize("platform", ["$BULIDPLATFORM", "linux/$MYARCH", "a/b/c/d"])
def test_a_wrong_platform_is_an_error_with_its_place(checked, platform):
    result = checked(f"ARG MY_ARCH\nFROM --platform={platform} debian AS linux\nFROM scratch\n")
    assert str(result.error.spans[0]) == "Dockerfile:2"
    assert result.error.word == platform


@pytest.mark.parametrize(
    ("text", "message", "word", "hint"),
    [
        (
            "ARG BASE\nFROM $BSAE\n",
            "base name ($BSAE) should not be blank",
            "$BSAE",
            'did you mean "BASE"?',
        ),
        (
            "ARG BASE\nFROM $BASE\n",
            "base name ($BASE) should not be blank",
            "$BASE",
            "give the ARG a value",
        ),
        (
            "ARG VERSION\nFROM golang:$VERSION\n",
            'image "golang:": invalid reference "golang:": "" is not a tag',
            "golang:",
            "give the ARG a value",
        ),
        (
            "ARG VERSION=1\nFROM golang:$VERSOIN\n",
            'image "golang:": invalid reference "golang:": "" is not a tag',
            "golang:",
            'did you mean "VERSION"?',
        ),
        (
            "ARG VERSION=-1\nFROM golang:$VERSION\n",
            'image "golang:-1": invalid reference "golang:-1": "-1" is not a tag',
            "golang:-1",
            "",
        ),
        (
            "FROM --platform=$BULIDPLATFORM scratch\n",
            "empty platform value from expression $BULIDPLATFORM",
            "$BULIDPLATFORM",
            'did you mean "BUILDPLATFORM"?',
        ),
        (
            "FROM scratch AS a\nFROM scratch\nCOPY --from=$A / /\n",
            "variable expansion is not supported for --from",
            "$A",
            "make it a stage: FROM with the variable, declared by an ARG before the first FROM",
        ),
    ],
)
def test_variables_that_lead_nowhere_are_errors_with_a_hint(checked, text, message, word, hint):
    error = checked(text).error
    assert (error.message, error.word, error.hint) == (message, word, hint)
    assert error.spans
