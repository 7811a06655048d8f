"""The rules that a Dockerfile is checked against: their names, what they say, where more is said.

All but the last are BuildKit's, word for word, so that `# check=skip=...` and tools that read the warnings
need not know who checks. docs/checks.md explains each.
"""

from __future__ import annotations

from dataclasses import dataclass

from wcbuild.dockerfile.source import Span

_PAGES = "https://docs.docker.com/go/dockerfile/rule/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule."""

    name: str
    description: str
    """What the rule asks for, in general."""
    message: str
    """What is wrong at one place, with `{}` for the words that are different each time."""
    url: str = ""
    experimental: bool = False
    """It counts only where `check=experimental=` names it."""

    def at(self, span: Span, *words: str) -> LintWarning:
        """Return the warning that this rule gives at ``span``."""
        return LintWarning(rule=self, span=span, message=self.message.format(*words))


@dataclass(frozen=True, slots=True, kw_only=True)
class LintWarning:
    """A rule that was not kept."""

    rule: Rule
    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.message} (line {self.span.first})"


NO_EMPTY_CONTINUATION = Rule(
    name="NoEmptyContinuation",
    description="Empty continuation lines will become errors in a future release",
    message="Empty continuation line",
    url=_PAGES + "no-empty-continuation/",
)
MAINTAINER_DEPRECATED = Rule(
    name="MaintainerDeprecated",
    description=(
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
    ),
    message="Maintainer instruction is deprecated in favor of using label",
    url=_PAGES + "maintainer-deprecated/",
)
STAGE_NAME_CASING = Rule(
    name="StageNameCasing",
    description="Stage names should be lowercase",
    message="Stage name '{}' should be lowercase",
    url=_PAGES + "stage-name-casing/",
)
FROM_AS_CASING = Rule(
    name="FromAsCasing",
    description="The 'as' keyword should match the case of the 'from' keyword",
    message="'{}' and '{}' keywords' casing do not match",
    url=_PAGES + "from-as-casing/",
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    name="InvalidDefinitionDescription",
    description=(
        "Comment for build stage or argument should follow the format:"
        " `# <arg/stage name> <description>`. If this is not intended to be a description comment,"
        " add an empty line or comment between the instruction and the comment."
    ),
    message="Comment for {} should follow the format: `# {} <description>`",
    url=_PAGES + "invalid-definition-description/",
    experimental=True,
)
RESERVED_STAGE_NAME = Rule(
    name="ReservedStageName",
    description="Reserved words should not be used as stage names",
    message="Stage name should not use the same name as reserved stage {}",
    url=_PAGES + "reserved-stage-name/",
)
DUPLICATE_STAGE_NAME = Rule(
    name="DuplicateStageName",
    description="Stage names should be unique",
    message="Duplicate stage name {}, stage names should be unique",
    url=_PAGES + "duplicate-stage-name/",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    name="ConsistentInstructionCasing",
    description=(
        "All commands within the Dockerfile should use the same casing (either upper or lower)"
    ),
    message="Command '{}' should match the case of the command majority ({})",
    url=_PAGES + "consistent-instruction-casing/",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    name="InvalidDefaultArgInFrom",
    description="Default value for global ARG results in an empty or invalid base image name",
    message="Default value for ARG {} results in empty or invalid base image name",
    url=_PAGES + "invalid-default-arg-in-from/",
)
UNDEFINED_ARG_IN_FROM = Rule(
    name="UndefinedArgInFrom",
    description="FROM command must use declared ARGs",
    message="FROM argument '{}' is not declared{}",
    url=_PAGES + "undefined-arg-in-from/",
)
REDUNDANT_TARGET_PLATFORM = Rule(
    name="RedundantTargetPlatform",
    description=(
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant"
        " as this is the default behavior"
    ),
    message=(
        "Setting platform to predefined {} in FROM is redundant as this is the default behavior"
    ),
    url=_PAGES + "redundant-target-platform/",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    name="FromPlatformFlagConstDisallowed",
    description="FROM --platform flag should not use a constant value",
    message="FROM --platform flag should not use constant value {}",
    url=_PAGES + "from-platform-flag-const-disallowed/",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    name="InvalidBaseImagePlatform",
    description="Base image platform does not match expected target platform",
    message="Base image {} was pulled with platform {}, expected {} for current build",
)
UNDEFINED_VAR = Rule(
    name="UndefinedVar",
    description="Variables should be defined before their use",
    message="Usage of undefined variable '${}'{}",
    url=_PAGES + "undefined-var/",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    name="LegacyKeyValueFormat",
    description="Legacy key/value format with whitespace separator should not be used",
    message='"{0} key=value" should be used instead of legacy "{0} key value" format',
    url=_PAGES + "legacy-key-value-format/",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    name="SecretsUsedInArgOrEnv",
    description="Sensitive data should not be used in the ARG or ENV commands",
    message="Do not use ARG or ENV instructions for sensitive data ({} {})",
    url=_PAGES + "secrets-used-in-arg-or-env/",
)
WORKDIR_RELATIVE_PATH = Rule(
    name="WorkdirRelativePath",
    description=(
        "Relative workdir without an absolute workdir declared within the build can have unexpected"
        " results if the base image changes"
    ),
    message="Relative workdir {} can have unexpected results if the base image changes",
    url=_PAGES + "workdir-relative-path/",
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    name="MultipleInstructionsDisallowed",
    description="Multiple instructions of the same type should not be used in the same stage",
    message=(
        "Multiple {} instructions should not be used in the same stage"
        " because only the last one will be used"
    ),
    url=_PAGES + "multiple-instructions-disallowed/",
)
JSON_ARGS_RECOMMENDED = Rule(
    name="JSONArgsRecommended",
    description=(
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior"
        " related to OS signals"
    ),
    message=(
        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals"
    ),
    url=_PAGES + "json-args-recommended/",
)
EXPOSE_PROTO_CASING = Rule(
    name="ExposeProtoCasing",
    description="Protocol in EXPOSE instruction should be lowercase",
    message="Defined protocol '{}' in EXPOSE instruction should be lowercase",
    url=_PAGES + "expose-proto-casing/",
)
EXPOSE_INVALID_FORMAT = Rule(
    name="ExposeInvalidFormat",
    description=(
        "IP address and host-port mapping should not be used in EXPOSE instruction."
        " This will become an error in a future release"
    ),
    message=("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'"),
    url=_PAGES + "expose-invalid-format/",
)
COPY_IGNORED_FILE = Rule(
    name="CopyIgnoredFile",
    description="Attempting to Copy file that is excluded by .dockerignore",
    message="Attempting to {} file {} that is excluded by .dockerignore",
    url=_PAGES + "copy-ignored-file/",
)
WINDOWS_TRAILING_BACKSLASH = Rule(
    name="WindowsTrailingBackslash",
    description=(
        "A backslash that ends or separates a Windows path is an escape character"
        " unless the file begins with # escape=`"
    ),
    message="{}; if it belongs to a Windows path, begin the file with the line # escape=`",
)
WINDOWS_JSON_BACKSLASH = Rule(
    name="WindowsJsonBackslash",
    description="In a JSON list a backslash is an escape character, whatever the file's is",
    message="{}; in a JSON list every backslash is written twice",
)
WINDOWS_PATH_VARIABLE = Rule(
    name="WindowsPathVariable",
    description="PATH of a Windows image takes the place of that in its registry, as it stands",
    message=(
        "{}; PATH of an image takes the place of Windows' own,"
        " so name C:\\Windows\\system32 and whatever else is needed"
    ),
)
WINDOWS_MIXED_FORMS = Rule(
    name="WindowsMixedForms",
    description="A Windows process has one command line, which ENTRYPOINT and CMD make together",
    message=(
        "{} is in the {} form and {} in the other; together they are no command line that Windows takes,"
        " so use the exec form, a JSON list, for both"
    ),
)

RULES = (
    # Where several speak of one line, in this order.
    NO_EMPTY_CONTINUATION,
    MAINTAINER_DEPRECATED,
    STAGE_NAME_CASING,
    FROM_AS_CASING,
    INVALID_DEFINITION_DESCRIPTION,
    RESERVED_STAGE_NAME,
    DUPLICATE_STAGE_NAME,
    CONSISTENT_INSTRUCTION_CASING,
    INVALID_DEFAULT_ARG_IN_FROM,
    UNDEFINED_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM,
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    INVALID_BASE_IMAGE_PLATFORM,
    UNDEFINED_VAR,
    LEGACY_KEY_VALUE_FORMAT,
    SECRETS_USED_IN_ARG_OR_ENV,
    WORKDIR_RELATIVE_PATH,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    JSON_ARGS_RECOMMENDED,
    EXPOSE_PROTO_CASING,
    EXPOSE_INVALID_FORMAT,
    COPY_IGNORED_FILE,
    WINDOWS_TRAILING_BACKSLASH,
    WINDOWS_JSON_BACKSLASH,
    WINDOWS_PATH_VARIABLE,
    WINDOWS_MIXED_FORMS,
)
