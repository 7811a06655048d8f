"""Nodes to typed instructions: which flags and how many arguments each takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NoReturn

from registry.oci.config import Healthcheck
from wcbuild.dockerfile.duration import parse_duration
from wcbuild.dockerfile.heredoc import HeredocStart, parse_start
from wcbuild.dockerfile.instructions import (
    Arg,
    Cmd,
    CommandLine,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wcbuild.dockerfile.parser import Node
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.dockerfile.words import SPACES, WordError
from wcbuild.errors import DockerfileSyntaxError

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*", re.ASCII)
_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")
_MILLISECOND = 1_000_000
_UNSEEN = ("Zs", "Zl", "Zp", "Cf", "Cc")
"""Unicode's categories of blanks, and of what only acts on what stands beside it."""
_LARGEST_INT32 = (1 << 31) - 1


def parse_instruction(node: Node, *, above: Node | None = None, escape: str = "\\") -> Instruction:
    """Read a node as what its keyword says.

    Args:
        node: one instruction's text.
        above: the node before it; one that lacks its last escape character leaves a line without a keyword.
        escape: the escape character.

    Raises:
        DockerfileSyntaxError: an unknown keyword, an unknown or wrong flag, too few or too many
            arguments, or an argument that can be seen to be wrong before anything is expanded.
    """
    reader = _READERS.get(node.keyword.lower())
    if reader is None:
        hint = _keyword_hint(node, above, escape)
        _fail(node, f"unknown instruction: {node.keyword}", word=node.keyword, hint=hint)
    return reader(node)


def _unseen(word: str) -> str:
    """Name a character that nobody sees, or takes for a blank; or nothing."""
    if word.isascii():
        return ""
    import unicodedata  # noqa: PLC0415 - only for text beyond ASCII

    for character in word:
        if not character.isascii() and unicodedata.category(character) in _UNSEEN:
            name = unicodedata.name(character, "a control character").lower()
            return f"it holds U+{ord(character):04X} ({name}), which is no plain blank"
    return ""


def _keyword_hint(node: Node, above: Node | None, escape: str) -> str:
    """Ask whether a line without a keyword misspells one, or goes on with the instruction above."""
    if unseen := _unseen(node.keyword):
        return unseen
    slip = did_you_mean(node.keyword, _READERS, ignore_case=True)
    if above is None or node.span.first != above.span.last + 1:
        return slip
    rest = f'does the line above lack a "{escape}" at its end?'
    if not slip:
        return rest
    # `arc` is near a keyword; beside others in upper case it may be a command as well.
    return f"{slip} or {rest}" if node.keyword.islower() and above.keyword.isupper() else slip


def _fail(node: Node, message: str, *, word: str = "", hint: str = "") -> NoReturn:
    raise DockerfileSyntaxError(message, (node.span,), word=word, hint=hint)


class _Flags:
    """The flags of a node, checked against those that its instruction knows."""

    def __init__(
        self,
        node: Node,
        *,
        texts: Iterable[str] = (),
        lists: Iterable[str] = (),
        switches: Iterable[str] = (),
    ) -> None:
        self._texts: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {name: [] for name in lists}
        self._switches: dict[str, bool] = {}
        texts, switches = frozenset(texts), frozenset(switches)
        for flag in node.flags:
            spelled, equals, value = flag.partition("=")
            name = spelled[2:]
            if name in self._texts or name in self._switches:
                _fail(node, f"duplicate flag specified: {spelled}", word=spelled)
            if name in switches:
                if equals and not value:
                    _fail(node, f"missing a value on flag: {spelled}", word=flag)
                if value.lower() not in ("", "true", "false"):
                    _fail(
                        node,
                        f"expecting boolean value for flag {spelled}, not: {value}",
                        word=flag,
                    )
                self._switches[name] = value.lower() != "false"
            elif name not in texts and name not in self._lists:
                known = sorted((*texts, *self._lists, *switches))
                near = did_you_mean(name, known)
                _fail(node, f"unknown flag: {spelled}", word=spelled, hint=near)
            elif not equals:
                hint = f"as in {spelled}=value"
                _fail(node, f"missing a value on flag: {spelled}", word=spelled, hint=hint)
            elif name in texts:
                self._texts[name] = value
            else:
                self._lists[name].append(value)

    def text(self, name: str, default: str = "") -> str:
        return self._texts.get(name, default)

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(self._lists[name])

    def switch(self, name: str) -> bool | None:
        """Return None for a flag that is not there."""
        return self._switches.get(name)


def _exactly_one(node: Node) -> str:
    if len(node.args) != 1:
        _fail(node, f"{node.keyword.upper()} requires exactly one argument")
    return node.args[0]


def _at_least_one(node: Node) -> tuple[str, ...]:
    if not node.args:
        _fail(node, f"{node.keyword.upper()} requires at least one argument")
    return node.args


def _command(node: Node, args: tuple[str, ...]) -> CommandLine:
    if node.json:
        return CommandLine(shell=False, args=args)
    return CommandLine(shell=True, args=(" ".join(args),))  # noqa: S604 - a value, nothing runs


def _start(word: str) -> HeredocStart | None:
    """Read a word as the beginning of a heredoc; one with an open quote is none."""
    try:
        return parse_start(word)
    except WordError:
        return None


def _read_from(node: Node) -> From:
    args = node.args
    name = ""
    if len(args) == 3 and args[1].lower() == "as":  # noqa: PLR2004 - base AS name
        name = args[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            _fail(
                node,
                f'invalid name for build stage: "{args[2]}",'
                " name can't start with a number or contain symbols",
                word=args[2],
            )
    elif len(args) != 1:
        comment = any(word.startswith("#") for word in args)
        hint = "a comment needs a line of its own" if comment else "as in FROM image AS name"
        _fail(
            node,
            "FROM requires either one or three arguments",
            word="#" if comment else "",
            hint=hint,
        )
    flags = _Flags(node, texts=("platform",))
    return From(
        span=node.span,
        original=node.original,
        base=args[0],
        platform=flags.text("platform"),
        name=name,
    )


def _read_arg(node: Node) -> Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in _at_least_one(node):
        name, equals, value = word.partition("=")
        if equals and not name:
            _fail(node, "ARG names can not be blank", word=word)
        pairs.append((name, value if equals else None))
    return Arg(span=node.span, original=node.original, pairs=tuple(pairs))


def _named_pairs(node: Node) -> tuple[tuple[str, str], ...]:
    _Flags(node)
    names, values = _at_least_one(node)[::3], node.args[1::3]
    if not all(names):
        _fail(node, f"{node.keyword.upper()} names can not be blank")
    return tuple(zip(names, values, strict=True))


def _read_env(node: Node) -> Env:
    pairs = _named_pairs(node)
    return Env(span=node.span, original=node.original, pairs=pairs, legacy=not node.args[2])


def _read_label(node: Node) -> Label:
    pairs = _named_pairs(node)
    return Label(span=node.span, original=node.original, pairs=pairs, legacy=not node.args[2])


def _read_workdir(node: Node) -> Workdir:
    path = _exactly_one(node)
    _Flags(node)
    return Workdir(span=node.span, original=node.original, path=path)


def _read_copy(node: Node) -> Copy:
    add = node.keyword.lower() == "add"
    name = node.keyword.upper()
    if len(node.args) < 2:  # noqa: PLR2004 - source and destination
        _fail(
            node,
            f"{name} requires at least two arguments, but only one was provided."
            " Destination could not be determined",
        )
    texts = ("chown", "chmod", "checksum") if add else ("chown", "chmod", "from")
    switches = ("link", "keep-git-dir", "unpack") if add else ("link", "parents")
    flags = _Flags(node, texts=texts, lists=("exclude",), switches=switches)
    *words, dest = node.args
    if _start(dest):
        _fail(node, f"{name} cannot accept a heredoc as a destination", word=dest)
    contents = {heredoc.name: heredoc.raw for heredoc in node.heredocs}
    sources: list[str] = []
    heredocs: list[Heredoc] = []
    for word in words:
        if start := _start(word):
            # A blank that was escaped in the line is none here, so a word may turn out to begin a
            # heredoc that nobody has read. It is an empty one.
            raw = contents.get(start.name, "")
            heredocs.append(
                Heredoc(name=start.name, raw=raw, expand=start.expand, chomp=start.chomp)
            )
        else:
            sources.append(word)
    return Copy(
        span=node.span,
        original=node.original,
        add=add,
        sources=tuple(sources),
        dest=dest,
        heredocs=tuple(heredocs),
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link") or False,
        parents=flags.switch("parents") or False,
        exclude=flags.list("exclude"),
        keep_git_dir=flags.switch("keep-git-dir"),
        checksum=flags.text("checksum"),
        unpack=flags.switch("unpack"),
    )


def _read_run(node: Node) -> Run:
    flags = _Flags(node, texts=("network", "security"), lists=("mount", "device"))
    network = flags.text("network", "default")
    if network not in _NETWORKS:
        hint = did_you_mean(network, _NETWORKS)
        _fail(node, f'invalid network mode "{network}"', word=network, hint=hint)
    security = flags.text("security", "sandbox")
    if security not in _SECURITIES:
        hint = did_you_mean(security, _SECURITIES)
        _fail(node, f'security "{security}" is not valid', word=security, hint=hint)
    if node.flags:
        _check_mounts_and_devices(node, flags)
    return Run(
        span=node.span,
        original=node.original,
        command=_command(node, node.args),
        heredocs=node.heredocs,
        heredoc_only=bool(node.heredocs and _start(" ".join(node.args))),
        mounts=flags.list("mount"),
        network=network,
        security=security,
        devices=flags.list("device"),
    )


def _check_mounts_and_devices(node: Node, flags: _Flags) -> None:
    # Most Dockerfiles have neither, and a cached build counts milliseconds.
    from wcbuild.dockerfile.mounts import (  # noqa: PLC0415
        MountError,
        early_check,
        parse_device,
    )

    for check, name in ((early_check, "mount"), (parse_device, "device")):
        for value in flags.list(name):
            try:
                check(value)
            except MountError as error:
                _fail(node, str(error), word=error.word or value, hint=error.hint)


def _read_cmd(node: Node) -> Cmd:
    _Flags(node)
    return Cmd(span=node.span, original=node.original, command=_command(node, node.args))


def _read_entrypoint(node: Node) -> Entrypoint:
    _Flags(node)
    return Entrypoint(span=node.span, original=node.original, command=_command(node, node.args))


def _read_expose(node: Node) -> Expose:
    ports = _at_least_one(node)
    _Flags(node)
    # Sorted here, because BuildKit's config and history show them so.
    return Expose(span=node.span, original=node.original, ports=tuple(sorted(ports)))


def _read_user(node: Node) -> User:
    user = _exactly_one(node)
    _Flags(node)
    return User(span=node.span, original=node.original, user=user)


def _read_volume(node: Node) -> Volume:
    volumes = _at_least_one(node)
    _Flags(node)
    volumes = tuple(volume.strip(SPACES) for volume in volumes)
    if not all(volumes):
        _fail(node, "VOLUME specified can not be an empty string")
    return Volume(span=node.span, original=node.original, volumes=volumes)


def _read_shell(node: Node) -> Shell:
    _Flags(node)
    if not _at_least_one(node) or not node.json:
        hint = 'as in SHELL ["/bin/bash", "-c"]'
        _fail(node, "SHELL requires the arguments to be in JSON form", hint=hint)
    return Shell(span=node.span, original=node.original, args=node.args)


def _read_stop_signal(node: Node) -> StopSignal:
    # Its flags, and those of ARG, are read and thrown away, as BuildKit does.
    return StopSignal(span=node.span, original=node.original, signal=_exactly_one(node))


def _read_health_check(node: Node) -> HealthCheck:
    kind, *rest = _at_least_one(node)
    args = tuple(rest)
    if kind.upper() == "NONE":
        if args:
            _fail(node, "HEALTHCHECK NONE takes no arguments")
        check = Healthcheck(test=("NONE",))
        return HealthCheck(span=node.span, original=node.original, check=check)
    names = ("interval", "timeout", "start-period", "start-interval", "retries")
    flags = _Flags(node, texts=names)
    if kind.upper() != "CMD":
        _fail(node, f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)', word=kind)
    if not args:
        _fail(node, "Missing command after HEALTHCHECK CMD")
    interval, timeout, start_period, start_interval = (
        _interval(node, name, flags.text(name)) for name in names[:4]
    )
    check = Healthcheck(
        test=("CMD" if node.json else "CMD-SHELL", *_command(node, args).args),
        interval=interval,
        timeout=timeout,
        start_period=start_period,
        start_interval=start_interval,
        retries=_retries(node, flags.text("retries")),
    )
    return HealthCheck(span=node.span, original=node.original, check=check)


def _interval(node: Node, name: str, value: str) -> int:
    if not value:
        return 0
    try:
        duration = parse_duration(value)
    except ValueError as error:
        _fail(node, str(error), word=value, hint="as in 30s, 1m30s or 500ms")
    if duration and duration < _MILLISECOND:
        _fail(node, f'Interval "{name}" cannot be less than 1ms', word=value)
    return duration


def _retries(node: Node, value: str) -> int:
    if not value:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", value) or int(value) > _LARGEST_INT32:
        _fail(node, f'--retries: "{value}" is not a number', word=value)
    if int(value) < 0:
        _fail(node, f"--retries cannot be negative ({value})", word=value)
    return int(value)


def _read_on_build(node: Node) -> OnBuild:
    trigger = _at_least_one(node)[0].strip(SPACES).upper()
    _Flags(node)
    if trigger == "ONBUILD":
        word = node.trigger.original if node.trigger else node.args[0]
        _fail(node, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", word=word)
    if trigger in ("MAINTAINER", "FROM"):
        _fail(node, f"{trigger} isn't allowed as an ONBUILD trigger", word=node.args[0])
    text = node.original.lstrip(SPACES)[len("ONBUILD") :].lstrip("\t\n\f\r ")
    heredocs = "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in node.heredocs)
    return OnBuild(span=node.span, original=node.original, expression=text + heredocs)


def _read_maintainer(node: Node) -> Maintainer:
    name = _exactly_one(node)
    _Flags(node)
    return Maintainer(span=node.span, original=node.original, name=name)


_READERS: dict[str, Callable[[Node], Instruction]] = {
    "add": _read_copy,
    "arg": _read_arg,
    "cmd": _read_cmd,
    "copy": _read_copy,
    "entrypoint": _read_entrypoint,
    "env": _read_env,
    "expose": _read_expose,
    "from": _read_from,
    "healthcheck": _read_health_check,
    "label": _read_label,
    "maintainer": _read_maintainer,
    "onbuild": _read_on_build,
    "run": _read_run,
    "shell": _read_shell,
    "stopsignal": _read_stop_signal,
    "user": _read_user,
    "volume": _read_volume,
    "workdir": _read_workdir,
}

INSTRUCTION_NAMES = frozenset(_READERS)
"""In lower case."""
