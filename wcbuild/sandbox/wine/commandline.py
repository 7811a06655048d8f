r"""Command lines of Windows: made of arguments, and read as cmd reads them.

Wine's cmd (up to version 9 at least) goes on after `&&` and `||` whatever happened before, and ends
with the status of the last command that failed, not of the last one that ran. So a line with operators
becomes a batch file in which each command has a line of its own, and jumps stand for the operators:

    a && b || c         @echo off
                        set OS=%OS%             (what clears ERRORLEVEL in Wine)
                        a
                        if not %ERRORLEVEL%==0 goto wcb1
                        ...

One cmd runs all of it, so the current directory and variables carry over. As cmd does for a line,
variables are put in once, before anything runs, and those that do not exist stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wcbuild.errors import SandboxError

BATCH_ENCODING = "cp437"
"""What Wine reads batch files as, in the locale that we give it."""

_SHELL = re.compile(
    r"""\s*(?P<start>(?:"(?:[^"]*\\)?cmd(?:\.exe)?"|(?:[^"\s]*\\)?cmd(?:\.exe)?)(?P<flags>(?:\s*/\w(?::\w+)?)*?)\s*/[CK])\s*(?P<line>.*)""",
    re.IGNORECASE | re.DOTALL,
)
_DYNAMIC = frozenset(
    ("DATE", "TIME", "RANDOM", "CMDCMDLINE", "CMDEXTVERSION", "HIGHESTNUMANODENUMBER")
)
_MARK = "\x00"
"""Stands for the percent signs that cmd itself has to see."""
_WORD = re.compile(r'[@\s]*([^\s"&|<>()=;,/\\:]+)')
_PROGRAM = re.compile(r'[@\s]*(?:"([^"]+)"|([^\s"&|<>()=;,]+))')
_LINK = re.compile(r"(?<![\w\\/.:-])mklink(?:\.exe)?(?![\w\\.:-])", re.IGNORECASE)
_BUILTINS = frozenset(
    """
    assoc call cd chdir choice cls color copy date del dir echo endlocal erase exit for ftype goto help if
    label md mkdir mklink more move path pause popd prompt pushd rd rem ren rename rmdir set setlocal shift
    start time title type ver verify vol
    """.split()  # noqa: SIM905
)
BATCH_FILES = (".bat", ".cmd")
_SUBSTRING = re.compile(r"~(-?\d+)?(?:,(-?\d+)?)?\Z")

_SPLIT_HINT = "write them as RUN instructions of their own"


def quoted(args: Sequence[str]) -> str:
    """Return the command line whose arguments, as Windows programs take it apart, are ``args``."""
    return " ".join(map(_quoted, args))


def _quoted(arg: str) -> str:
    if arg and not re.search(r'[\s"]', arg):
        return arg
    # Backslashes are themselves, but before a quote: there two stand for one.
    inner = re.sub(r'(\\*)"', r'\1\1\\"', arg)
    return '"' + re.sub(r"(\\+)\Z", r"\1\1", inner) + '"'


@dataclass(frozen=True, slots=True)
class Planned:
    """What is started for a command line."""

    line: str
    """The command line; where there is a batch file, all but the file's name."""
    batch: bytes = b""
    """The batch file that cmd runs instead of the line; empty if it reads the line itself."""


def plan(
    line: str,
    environment: Mapping[str, str],
    is_batch_file: Callable[[str], bool] = lambda _name: False,
) -> Planned:
    """Say how the command line is run so that it does what it would do on Windows.

    Args:
        line: exact.
        environment: of the command; names in capitals.
        is_batch_file: whether cmd finds a batch file for a name without extension.

    Raises:
        SandboxError: it asks for something that Wine would pretend to do.
    """
    if "\0" in line:
        raise SandboxError("read the command line", "it has a zero byte")
    found = _SHELL.fullmatch(line)
    if found is None:
        return Planned(line)
    start = found["start"]
    text = _unquoted(found["line"], bare="/S" not in found["flags"].upper())
    script = _parse(_expand(text, environment))
    if not script.operators:
        _refuse_links(text)
        return Planned(line)
    source = "".join(f"{each}\r\n" for each in _Batch(is_batch_file).lines(script))
    try:
        return Planned(start, _for_batch(source).encode(BATCH_ENCODING))
    except UnicodeEncodeError as error:
        what = source[error.start : error.end]
        raise SandboxError(
            "read the command line",
            f'"{what}" cannot stand in a line with several commands under Wine',
            _SPLIT_HINT,
        ) from None


def _for_batch(text: str) -> str:
    return text.replace("%", "%%").replace(_MARK, "%")


def _unquoted(line: str, *, bare: bool) -> str:
    """Return what cmd makes of what follows /C: it takes away the first quote and the last one.

    Without /S (``bare``) not if these are the only two, and nothing but a program's name is in them.
    """
    if not line.startswith('"'):
        return line
    if bare and line.count('"') == 2 and not re.search(r"[&<>()@^|]", line) and " " in line:  # noqa: PLR2004
        return line
    last = line.rindex('"')
    return line[1:] if last == 0 else line[1:last] + line[last + 1 :]


# -- variables


def _expand(line: str, environment: Mapping[str, str]) -> str:
    """Put in variables as cmd does on a command line."""
    result, at = [], 0
    while at < len(line):
        start = line.find("%", at)
        end = line.find("%", start + 1)
        if start < 0 or end < 0:
            break
        value = _variable(line[start + 1 : end], environment)
        result.append(line[at:start])
        if value is None:
            # No variable: this sign is a plain one, and the next may begin a variable.
            result.append("%")
            at = start + 1
        else:
            result.append(value)
            at = end + 1
    return "".join(result) + line[at:]


def _variable(reference: str, environment: Mapping[str, str]) -> str | None:
    name, colon, change = reference.partition(":")
    if name.upper() in _DYNAMIC:
        return f"{_MARK}{reference}{_MARK}"
    value = "0" if name.upper() == "ERRORLEVEL" else environment.get(name.upper())
    if value is None or not name or not colon:
        return value
    cut = _SUBSTRING.fullmatch(change)
    if cut:
        start, length = (int(each) if each else None for each in cut.groups())
        rest = value[start:] if start is not None else value
        return rest[:length] if length is not None else rest
    old, equals, new = change.partition("=")
    if not equals or not old:
        return None
    if old.startswith("*") and len(old) > 1:
        at = value.upper().find(old[1:].upper())
        return value if at < 0 else new + value[at + len(old) - 1 :]
    return re.sub(re.escape(old), lambda _: new, value, flags=re.IGNORECASE)


# -- operators


@dataclass(frozen=True, slots=True)
class _Command:
    """One command, or a pipe of several, or what must stay in one piece."""

    text: str

    @property
    def word(self) -> str:
        found = _WORD.match(self.text)
        return found[1].lower() if found else ""


@dataclass(frozen=True, slots=True)
class _Script:
    """Commands one after the other: `&` stands between lists, in which `||` stands between `&&` chains."""

    lists: list[list[list[_Command | _Script]]] = field(default_factory=list)
    operators: bool = False
    """Whether there are any, here or below."""


def _parse(text: str) -> _Script:
    script, rest = _parse_list(text, 0, nested=False)
    if rest != len(text):
        raise SandboxError("read the command line", "a parenthesis is closed that was not opened")
    return script


def _parse_list(text: str, at: int, *, nested: bool) -> tuple[_Script, int]:
    """Read up to the end, or, if ``nested``, to the parenthesis that closes the group."""
    lists: list[list[list[_Command | _Script]]] = [[[]]]
    operators, operator = False, ""
    while True:
        before = operator
        command, at, operator = _parse_command(text, at, nested=nested)
        if command is not None:
            lists[-1][-1].append(command)
            operators = operators or (isinstance(command, _Script) and command.operators)
        else:
            for beside, side in ((before, "behind"), (operator, "before")):
                if beside in {"&&", "||"}:
                    raise SandboxError("read the command line", f'nothing stands {side} "{beside}"')
        if not operator:
            break
        operators = True
        if operator == "||":
            lists[-1].append([])
        elif operator == "&":
            lists.append([[]])
    kept = [each for each in lists if each != [[]]]
    return _Script(kept, operators), at


def _parse_command(
    text: str, at: int, *, nested: bool
) -> tuple[_Command | _Script | None, int, str]:
    """Read a command; return it, where what follows begins, and the operator between them."""
    start = at
    while at < len(text) and text[at] in " \t@,;=":
        at += 1
    if text[at : at + 1] == "(":
        inner, after = _parse_list(text, at + 1, nested=True)
        if text[after : after + 1] != ")":
            raise SandboxError("read the command line", "a parenthesis is not closed")
        end, operator = _next_operator(text, after + 1, nested=nested, counting=False)
        behind = text[after + 1 : end].strip()
        if not behind:
            return inner, end + len(operator), operator
        if inner.operators and _is_conditional(inner):
            raise SandboxError(
                "read the command line",
                f'under Wine "&&" and "||" cannot stand in a group that is followed by "{behind}"',
                _SPLIT_HINT,
            )
        return _Command(text[start:end].strip()), end + len(operator), operator
    word = _Command(text[at:]).word
    whole = word in {"if", "for"}
    end, operator = _next_operator(text, at, nested=nested, counting=whole)
    if whole and operator:
        # On Windows it belongs to the body; Wine takes it for the line's.
        raise SandboxError(
            "read the command line",
            f'under Wine "{operator}" cannot stand in or behind the body of "{word}"',
            f'put the body in parentheses if it is "&", or {_SPLIT_HINT}',
        )
    piece = text[start:end].strip()
    if not piece:
        return None, end + len(operator), operator
    _refuse_links(piece)
    return _Command(piece), end + len(operator), operator


def _next_operator(text: str, at: int, *, nested: bool, counting: bool) -> tuple[int, str]:
    """Return where the command ends, and the operator there; none at the end of the line or group.

    With ``counting`` parentheses are part of the command, and what is between them, too.
    """
    quoted_now, depth = False, 0
    while at < len(text):
        char = text[at]
        if char == '"':
            quoted_now = not quoted_now
        elif char == "\n":
            return at, "&"
        elif quoted_now:
            pass
        elif char == "^":
            at += 1
        elif char == "(" and counting:
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif char == ")" and nested:
            return at, ""
        elif text.startswith(("&&", "||"), at):
            if depth:
                raise SandboxError(
                    "read the command line",
                    f'under Wine "{text[at : at + 2]}" cannot stand in the body of "if" or "for"',
                    _SPLIT_HINT,
                )
            return at, text[at : at + 2]
        elif char == "&" and not depth and text[at - 1 : at] not in {">", "<"}:
            return at, "&"
        at += 1
    return len(text), ""


def _is_conditional(script: _Script) -> bool:
    """Whether there is an `&&` or `||` in it."""
    for chains in script.lists:
        if len(chains) > 1 or any(len(chain) > 1 for chain in chains):
            return True
        if any(isinstance(each, _Script) and _is_conditional(each) for each in chains[0]):
            return True
    return False


def _refuse_links(text: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', text)
    if _LINK.search(bare) and _Command(bare).word not in {"echo", "rem", "set"}:
        raise SandboxError(
            "read the command line",
            "Wine's mklink makes no link and reports success",
            "make it in a Linux stage, and COPY it",
        )


class _Batch:
    """Writes batch files."""

    def __init__(self, is_batch_file: Callable[[str], bool]) -> None:
        self._labels = 0
        self._is_batch_file = is_batch_file

    def lines(self, script: _Script) -> Iterator[str]:
        """Yield the lines of a batch file that does the same and ends with the same status."""
        yield "@echo off"
        yield from self._script(script)
        yield f"exit {_MARK}ERRORLEVEL{_MARK}"

    def _script(self, script: _Script) -> Iterator[str]:
        for chains in script.lists:
            done = self._label() if len(chains) > 1 else ""
            for chain in chains:
                last = chain is chains[-1]
                failed = self._label()
                for position, each in enumerate(chain):
                    yield from self._one(each)
                    if position < len(chain) - 1:
                        yield f"if not {_MARK}ERRORLEVEL{_MARK}==0 goto {failed}"
                if not last:
                    yield f"if {_MARK}ERRORLEVEL{_MARK}==0 goto {done}"
                if len(chain) > 1:
                    yield f":{failed}"
            if done:
                yield f":{done}"

    def _one(self, each: _Command | _Script) -> Iterator[str]:
        if isinstance(each, _Script):
            yield from self._script(each)
            return
        if each.word != "if" and "ERRORLEVEL" not in each.text.upper():  # which ask for it
            yield f"set OS={_MARK}OS{_MARK}"
        # A batch file that another one starts does not come back to it. All else would have its status
        # made 1 by Wine's `call`.
        yield f"call {each.text.lstrip('@ ')}" if self._starts_batch_file(each) else each.text

    def _starts_batch_file(self, each: _Command) -> bool:
        found = _PROGRAM.match(each.text)
        if not found:
            return False
        name = found[1] or found[2]
        if name.lower().endswith(BATCH_FILES):
            return True
        return each.word not in _BUILTINS and self._is_batch_file(name)

    def _label(self) -> str:
        self._labels += 1
        return f"wcb{self._labels}"
