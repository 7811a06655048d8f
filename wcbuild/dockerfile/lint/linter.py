"""The checks of one Dockerfile: what is found, and which of it is to be told."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from registry.errors import RegistryError
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.dockerfile.directives import Directive
from wcbuild.dockerfile.gotext import quoted
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Instruction,
    Label,
    Workdir,
)
from wcbuild.dockerfile.lint import static
from wcbuild.dockerfile.lint.options import CheckOptions, comment_options
from wcbuild.dockerfile.lower.observer import Observer
from wcbuild.dockerfile.lower.outside import BaseImageError
from wcbuild.dockerfile.lower.paths import is_absolute
from wcbuild.dockerfile.lower.stage import NEVER_SET, StageState
from wcbuild.dockerfile.parser import Node, parse
from wcbuild.dockerfile.rules import (
    COPY_IGNORED_FILE,
    EXPOSE_INVALID_FORMAT,
    EXPOSE_PROTO_CASING,
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    INVALID_BASE_IMAGE_PLATFORM,
    INVALID_DEFAULT_ARG_IN_FROM,
    JSON_ARGS_RECOMMENDED,
    LEGACY_KEY_VALUE_FORMAT,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    REDUNDANT_TARGET_PLATFORM,
    RULES,
    SECRETS_USED_IN_ARG_OR_ENV,
    UNDEFINED_ARG_IN_FROM,
    UNDEFINED_VAR,
    WINDOWS_MIXED_FORMS,
    WINDOWS_PATH_VARIABLE,
    WORKDIR_RELATIVE_PATH,
    LintWarning,
)
from wcbuild.dockerfile.source import SourceFile, Span
from wcbuild.dockerfile.stages import Dockerfile, Stage
from wcbuild.dockerfile.suggest import suggest
from wcbuild.dockerfile.words import Expansion, WordError, expand
from wcbuild.errors import DockerfileSyntaxError, SourceError

MAX_COMPARISONS = 20_000
"""Names compared to find what an undefined one may be a slip of; a file may have thousands of each."""

_SECRETS = frozenset(
    (
        *("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd"),
        *("secret", "token"),
    )
)
_NO_SECRETS = frozenset(("public", "file", "version"))
_WHOLE_CONTEXT = frozenset(("*", "**", "**/*"))
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")


class _Findings:
    """Warnings, without those that the file's options or an instruction's comments switch off."""

    def __init__(self, nodes: Sequence[Node], options: CheckOptions) -> None:
        self._comments = {node.span.first: node.comments for node in nodes}
        """What stands above the instruction that begins on a line."""
        self._options = options
        self._found: dict[LintWarning, None] = {}

    def add(self, *warnings: LintWarning) -> None:
        for warning in warnings:
            if self._options_at(warning.span).wants(warning.rule):
                self._found[warning] = None

    def _options_at(self, span: Span) -> CheckOptions:
        """Return the options of the instruction that ``span`` lies in."""
        line = span.first
        while line not in self._comments:
            line -= 1
        own = comment_options(self._comments[line]) if self._comments[line] else None
        return self._options if own is None else self._options.merged(own)

    def in_order(self) -> tuple[LintWarning, ...]:
        """Return the warnings in the order of the file, and on one line in that of `RULES`."""
        rank = {rule.name: number for number, rule in enumerate(RULES)}
        return tuple(
            sorted(self._found, key=lambda found: (found.span.first, rank[found.rule.name]))
        )


class Linter(Observer):
    """Checks a Dockerfile while it is lowered."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        source: SourceFile,
        options: CheckOptions,
        ignore: IgnoreRules | None,
    ) -> None:
        """``ignore`` says what the build context leaves out."""
        self._dockerfile = dockerfile
        self._source = source
        self._compared = 0
        self._options = options
        self._ignore = ignore
        self._findings = _Findings(dockerfile.nodes, options)
        self._states: dict[int, StageState] = {}
        """The stage that the instruction on a line belongs to."""
        self._with_workdir: set[int] = set()
        """Stages that have set a working directory, or stand on one that has."""
        self._on_nothing: set[int] = set()
        """Stages whose base image, and so its variables, are not known."""
        self.missing: list[BaseImageError] = []
        """The images that could not be had."""
        self._latest: dict[tuple[int, type[Instruction]], Span] = {}
        self._findings.add(*static.of_text(dockerfile.nodes, dockerfile.warnings))
        self._findings.add(*static.of_stages(dockerfile))

    @property
    def warnings(self) -> tuple[LintWarning, ...]:
        """What was found so far, in the order of the file."""
        return self._findings.in_order()

    def raise_if_asked(self) -> None:
        """End the build if there are warnings and `check=error=true` asks for that.

        Raises:
            SourceError: names the rules.
        """
        found = self.warnings
        if found and self._options.error:
            names = ", ".join(dict.fromkeys(warning.rule.name for warning in found))
            raise SourceError(f"lint violation found for rules: {names}")

    # -- Observer

    def from_scope(self, predefined: Mapping[str, str], scope: Mapping[str, str]) -> None:
        self._findings.add(*self._of_bases(predefined))
        declared = [name for arg in self._dockerfile.args for name, _ in arg.pairs]
        known = dict.fromkeys((*declared, *scope))
        for stage in self._dockerfile.stages:
            self._findings.add(*self._of_from_line(stage, scope, known))

    def image(self, name: str, wanted: Platform, found: Platform, span: Span) -> None:
        if (wanted.os, wanted.architecture) != (found.os, found.architecture):
            platforms = (quoted(str(each.normalized())) for each in (found, wanted))
            self._findings.add(INVALID_BASE_IMAGE_PLATFORM.at(span, name, *platforms))

    def no_image(self, error: BaseImageError) -> None:
        self.missing.append(error)

    def stage(self, state: StageState) -> None:
        stage, parent = state.stage, state.parent
        for indexes in (self._with_workdir, self._on_nothing):
            if parent is not None and parent.stage.index in indexes:
                indexes.add(stage.index)
        is_missing = any(error.spans == (stage.from_.span,) for error in self.missing)
        if is_missing:
            self._on_nothing.add(stage.index)
        if state.is_windows or is_missing:
            self._findings.add(*self._of_windows(stage))

    def instruction(self, state: StageState, instruction: Instruction) -> None:
        self._states[instruction.span.first] = state
        span = instruction.span
        match instruction:
            case Env():
                names = [self._expanded(name, state) for name, _ in instruction.pairs]
                self._legacy(instruction)
                self._secrets("ENV", names, span)
                if state.is_windows:
                    self._path_variable(state, names, instruction)
            case Label():
                self._legacy(instruction)
            case Arg():
                self._secrets("ARG", [name for name, _ in instruction.pairs], span)
            case Workdir():
                self._workdir(state, instruction)
            case Copy() if self._ignore is not None and not instruction.from_:
                self._ignored(state, instruction, self._ignore)
            case Cmd() | Entrypoint() | HealthCheck():
                self._final(state, instruction)
            case Expose():
                self._expose(state, instruction)
            case _:
                pass

    def unset(self, names: tuple[str, ...], span: Span) -> None:
        state = self._states[span.first]
        if state.stage.index in self._on_nothing:
            return
        declared = {name for name, _ in state.args}
        for name in names:
            if name not in declared and name not in NEVER_SET:
                near = self._suggest(name, state.scope)
                hint = f" (did you mean ${near}?)" if near else ""
                self._findings.add(UNDEFINED_VAR.at(span, name, hint))

    # -- the rules

    def _of_bases(self, predefined: Mapping[str, str]) -> Iterator[LintWarning]:
        """Find bases that are no reference unless a build argument makes them one."""
        defaults = dict(predefined)
        for arg in self._dockerfile.args:
            for name, default in arg.pairs:
                value = self._expand(default or "", defaults)
                if value is None:
                    return
                if default is not None:
                    defaults[name] = value.text
        for stage in self._dockerfile.stages:
            base = stage.from_.base
            found = self._expand(base, defaults)
            if found is None:
                return
            if not _is_reference(found.text):
                yield INVALID_DEFAULT_ARG_IN_FROM.at(stage.from_.span, base)

    def _of_from_line(
        self, stage: Stage, scope: Mapping[str, str], known: Collection[str]
    ) -> Iterator[LintWarning]:
        from_ = stage.from_
        base, platform = self._expand(from_.base, scope), self._expand(from_.platform, scope)
        for expansion in (base, platform):
            for name in expansion.unset if expansion is not None else ():
                if name not in known:
                    near = self._suggest(name, known)
                    hint = f" (did you mean {near}?)" if near else ""
                    yield UNDEFINED_ARG_IN_FROM.at(from_.span, name, hint)
        if not from_.platform or platform is None or platform.unset:
            return
        if platform.used:
            is_target = platform.text == scope["TARGETPLATFORM"]
            if platform.used == ("TARGETPLATFORM",) and is_target:
                yield REDUNDANT_TARGET_PLATFORM.at(from_.span, from_.platform)
            return
        try:
            constant = Platform.parse(platform.text)
        except RegistryError:
            return
        if constant.os not in stage.name and constant.architecture not in stage.name:
            yield FROM_PLATFORM_FLAG_CONST_DISALLOWED.at(from_.span, quoted(platform.text))

    def _of_windows(self, stage: Stage) -> Iterator[LintWarning]:
        """Check a stage for Windows; one whose base is not known may be one, by its base's name."""
        # Most builds are for Linux, and a cached one counts milliseconds.
        from wcbuild.dockerfile.lint import windows  # noqa: PLC0415

        is_known = stage.index not in self._on_nothing
        if is_known or windows.sounds_like_windows(stage.from_.base):
            nodes = self._dockerfile.nodes
            starts = [each.from_.span.first for each in self._dockerfile.stages]
            end = starts[stage.index + 1] if stage.index + 1 < len(starts) else sys.maxsize
            own = [node for node in nodes if starts[stage.index] <= node.span.first < end]
            yield from windows.json_lists(own)
            if _loses_backslashes(self._dockerfile.directives, self._dockerfile.escape):
                yield from windows.backslashes(own, _lines(self._source))

    def _legacy(self, instruction: Env | Label) -> None:
        if instruction.legacy:
            keyword = _keyword(instruction)
            self._findings.add(LEGACY_KEY_VALUE_FORMAT.at(instruction.span, keyword))

    def _secrets(self, keyword: str, names: Iterable[str], span: Span) -> None:
        for name in names:
            words = frozenset(name.lower().split("_"))
            if words & _SECRETS and not words & _NO_SECRETS:
                self._findings.add(SECRETS_USED_IN_ARG_OR_ENV.at(span, keyword, quoted(name)))

    def _path_variable(self, state: StageState, names: Sequence[str], instruction: Env) -> None:
        from wcbuild.dockerfile.lint import windows  # noqa: PLC0415 - as in `_of_windows`

        complete = state.stage.index not in self._on_nothing
        for name, (_, word) in zip(names, instruction.pairs, strict=True):
            value = self._expand(word, state.scope) if name.upper() == "PATH" else None
            if value is not None:
                said = windows.path_variable(word, value, complete=complete)
                if said:
                    self._findings.add(WINDOWS_PATH_VARIABLE.at(instruction.span, said))

    def _workdir(self, state: StageState, instruction: Workdir) -> None:
        index = state.stage.index
        path = self._expanded(instruction.path, state)
        # A base that is not known may be for Windows, where a path is absolute in more ways.
        windows = state.is_windows or index in self._on_nothing
        if index not in self._with_workdir and not is_absolute(path, windows=windows):
            self._findings.add(WORKDIR_RELATIVE_PATH.at(instruction.span, quoted(path)))
        self._with_workdir.add(index)

    def _ignored(self, state: StageState, instruction: Copy, ignore: IgnoreRules) -> None:
        # Where something is taken back in, a folder may be left out and a file in it not.
        if ignore.has_exceptions:
            return
        verb = "Add" if instruction.add else "Copy"
        for word in instruction.sources:
            source = self._expanded(word, state)
            if source.startswith(_REMOTE):
                continue
            if state.is_windows:
                source = source.replace("\\", "/")
            path = posixpath.normpath(source)
            below = path.lstrip("/")
            if below in (".", ""):
                is_ignored = not _WHOLE_CONTEXT.isdisjoint(ignore.patterns)
            else:
                is_ignored = ignore.excludes(below)
            if is_ignored:
                self._findings.add(COPY_IGNORED_FILE.at(instruction.span, verb, quoted(path)))

    def _final(self, state: StageState, instruction: Cmd | Entrypoint | HealthCheck) -> None:
        """Check what counts only once, and last."""
        kind = type(instruction)
        name = _keyword(instruction)
        before = self._latest.get((state.stage.index, kind))
        if before is not None:
            self._findings.add(MULTIPLE_INSTRUCTIONS_DISALLOWED.at(before, name))
        self._latest[state.stage.index, kind] = instruction.span
        if isinstance(instruction, HealthCheck):
            return
        if instruction.command.shell and not state.config.shell:
            self._findings.add(JSON_ARGS_RECOMMENDED.at(instruction.span, name))
        if state.is_windows:
            self._forms(state, instruction)

    def _forms(self, state: StageState, instruction: Cmd | Entrypoint) -> None:
        """Check that ENTRYPOINT and CMD go together, as docker's classic builder does."""
        if isinstance(instruction, Cmd):
            other = "ENTRYPOINT" if state.config.entrypoint else ""
        else:
            other = "CMD" if state.cmd_is_set else ""
        is_shell = instruction.command.shell
        if other and is_shell != bool(state.config.args_escaped):
            words = (_keyword(instruction), "shell" if is_shell else "exec", other)
            self._findings.add(WINDOWS_MIXED_FORMS.at(instruction.span, *words))

    def _expose(self, state: StageState, instruction: Expose) -> None:
        for text in instruction.ports:
            expansion = self._expand(text, state.scope)
            for word in expansion.words if expansion is not None else ():
                host, _, container = word.rpartition(":")
                protocol = container.partition("/")[2]
                if protocol != protocol.lower():
                    self._findings.add(EXPOSE_PROTO_CASING.at(instruction.span, word))
                if host.strip(":"):
                    self._findings.add(EXPOSE_INVALID_FORMAT.at(instruction.span, word))

    def _suggest(self, name: str, known: Collection[str]) -> str:
        """Return what ``name`` may be a slip of, as long as comparing does not take too long."""
        self._compared += len(known)
        return suggest(name, known, loosely=True) if self._compared <= MAX_COMPARISONS else ""

    def _expand(self, word: str, scope: Mapping[str, str]) -> Expansion | None:
        """Return what a word comes to; None if lowering will refuse it."""
        try:
            return expand(word, scope, escape=self._dockerfile.escape)
        except WordError:
            return None

    def _expanded(self, word: str, state: StageState) -> str:
        expansion = self._expand(word, state.scope)
        return word if expansion is None else expansion.text


def lint_unreadable(
    source: SourceFile,
    error: DockerfileSyntaxError,
    options: CheckOptions,
    *,
    windows: bool,
    escape: str,
) -> tuple[LintWarning, ...]:
    """Return what can be said of a Dockerfile up to the instruction that could not be read.

    ``windows`` says that an image for Windows was asked for.
    """
    try:
        parsed = parse(source.text, file=source.name, escape=escape)
    except DockerfileSyntaxError:
        return ()
    end = error.spans[0].first if error.spans else 0
    nodes = [node for node in parsed.nodes if node.span.first <= end]
    findings = _Findings(parsed.nodes, options)
    findings.add(*static.of_text(nodes, parsed.warnings))
    if _loses_backslashes(parsed.directives, escape):
        from wcbuild.dockerfile.lint.windows import (  # noqa: PLC0415 - as above
            backslashes,
            sounds_like_windows,
        )

        bases = [node.args[0] for node in nodes if node.keyword.lower() == "from" and node.args]
        if windows or any(map(sounds_like_windows, bases)):
            findings.add(*backslashes(nodes, _lines(source)))
    return findings.in_order()


def _loses_backslashes(directives: Iterable[Directive], escape: str) -> bool:
    """Say whether the backslash escapes, and the author has not thought of that."""
    return escape == "\\" and all(directive.name != "escape" for directive in directives)


def _keyword(instruction: Instruction) -> str:
    """Return the keyword as it is written."""
    return instruction.original.split(maxsplit=1)[0]


def _lines(source: SourceFile) -> list[str]:
    return source.text.removeprefix("\ufeff").split("\n")


def _is_reference(name: str) -> bool:
    try:
        Reference.parse(name)
    except RegistryError:
        return False
    return True
