r"""Wine's registry files: what a step changed in them, as values that a layer's hives can hold.

Wine writes the registry as text. `system.reg` is HKEY_LOCAL_MACHINE, `user.reg` HKEY_CURRENT_USER and
`userdef.reg` HKEY_USERS\.Default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import pack
from typing import NamedTuple

from wcbuild.layer.windows.hive import MAX_VALUE_BYTES, Value

REG_SZ, REG_BINARY, REG_DWORD = 1, 3, 4

MACHINE_FILE, USER_FILE, DEFAULT_FILE = "system.reg", "user.reg", "userdef.reg"
FILES = (MACHINE_FILE, USER_FILE, DEFAULT_FILE)

_HIVES = {"software": "Software_Delta", "system": "System_Delta"}
_DEFAULT_HIVE = "DefaultUser_Delta"
_CONTROL_SET = "ControlSet001"
_ENVIRONMENT = "controlset001\\control\\session manager\\environment"

# What Wine itself writes whenever it runs. Lower case, from the hive's root.
_NOISE = {
    "Software_Delta": (
        "wine\\",
        "microsoft\\windows nt\\currentversion\\fonts",
        "microsoft\\windows nt\\currentversion\\profilelist",
        "microsoft\\windows nt\\currentversion\\networklist",
    ),
    "System_Delta": (
        "controlset001\\control\\deviceclasses",
        "controlset001\\control\\class\\",
        "controlset001\\control\\computername",
        "controlset001\\control\\graphicsdrivers",
        "controlset001\\control\\video",
        "controlset001\\enum\\",
        "controlset001\\hardware profiles",
        "controlset001\\services\\tcpip\\parameters",
        "mounteddevices",
    ),
    _DEFAULT_HIVE: ("software\\wine\\",),
}
_USER_NOISE = (
    "environment",
    "software\\microsoft\\windows\\currentversion\\explorer\\shell folders",
    "software\\wine\\",
    "volatile environment",
)

_TIMES = re.compile(r"(?m)(^\[.*\]) [0-9]+$(?:\n#time=[0-9a-f]+$)?")
_VALUE = re.compile(r'(?:@|"((?:[^"\\]|\\.)*)")=(.*)', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,4}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_TYPED = re.compile(r"(str|hex)\((\w+)\):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is new, or has new or other values."""

    hive: str
    """The file of a layer's `Hives/` that it belongs to."""
    path: str
    """From the hive's root, with backslashes."""
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class RegistryChanges:
    """What a step did to the registry."""

    keys: tuple[Key, ...] = ()
    """What can be kept."""
    lost: tuple[str, ...] = ()
    """What cannot: paths of keys of the current user, and of what was deleted."""


class _Section(NamedTuple):
    """A key of a registry file: its escaped path, and its lines but for its time."""

    path: str
    lines: tuple[str, ...]


_NOTHING = _Section("", ())


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> RegistryChanges:
    """Compare registry files, by their names, before and after a step."""
    keys: list[Key] = []
    lost: list[str] = []
    for file in FILES:
        text = after.get(file, "")
        old, new = _differing(before.get(file, ""), text)
        for path in old.keys() | new.keys():
            if old.get(path, _NOTHING).lines == new.get(path, _NOTHING).lines:
                continue
            hive, rest = _place(file, (new.get(path) or old[path]).path)
            if _is_noise(file, hive, rest):
                continue
            was = _values(old.get(path, _NOTHING).lines)
            now = _values(new.get(path, _NOTHING).lines)
            if not hive:
                lost.append(_full_name(file, new.get(path) or old[path]))
                continue
            full = _full_name(file, new.get(path) or old[path])
            if was.keys() - now.keys() or (path not in new and not _has_below(text, path)):
                lost.append(f"{full} (deleted)")
            changed = tuple(value for name, value in now.items() if was.get(name) != value)
            if any(len(value.data) > MAX_VALUE_BYTES for value in changed):
                lost.append(f"{full} (too long)")
                changed = tuple(value for value in changed if len(value.data) <= MAX_VALUE_BYTES)
            if changed or path not in old:
                keys.append(Key(hive, rest, tuple(sorted(changed))))
    return RegistryChanges(
        tuple(sorted(keys, key=lambda key: (key.hive, key.path.lower()))), tuple(sorted(lost))
    )


def machine_environment(keys: Iterable[Key]) -> dict[str, str]:
    """Return the variables that ``keys`` set for every process."""
    found = {}
    for key in keys:
        if key.path.lower() == _ENVIRONMENT:
            for value in key.values:
                if value.kind in {1, 2}:
                    found[value.name] = value.data.decode("utf-16-le", "replace").rstrip("\0")
    return found


def added(text: str, keys: Sequence[Key]) -> str:
    """Return `system.reg` with keys of the machine's hives; the last of several values counts."""
    roots = {hive: name.capitalize() for name, hive in _HIVES.items()}
    lines = []
    for key in keys:
        if key.hive in roots:
            own = key.path
            if own.lower().startswith(f"{_CONTROL_SET}\\".lower()):
                own = f"CurrentControlSet{own[len(_CONTROL_SET) :]}"
            path = _escaped(f"{roots[key.hive]}\\{own}", "[]")
            lines.append(f"\n[{path}] 0\n")
            lines += [f"{_value_text(value)}\n" for value in key.values]
    return text + "".join(lines)


def _differing(old: str, new: str) -> tuple[dict[str, _Section], dict[str, _Section]]:
    """Return the keys that are not the same in two files, by their escaped paths in small letters."""
    before, after = _blocks(old), _blocks(new)
    same = set(before).intersection(after)
    paths = {_path(block).lower() for block in (*before, *after) if block not in same}
    if not paths:
        return {}, {}
    return _sections(before, paths), _sections(after, paths)


def _blocks(text: str) -> list[str]:
    """Return the text of each key, without times."""
    return _TIMES.sub(r"\1", text).split("\n[")[1:]


def _path(block: str) -> str:
    head = block.partition("\n")[0]
    return head[: head.rindex("]")]


def _sections(blocks: list[str], paths: set[str]) -> dict[str, _Section]:
    found: dict[str, _Section] = {}
    for block in blocks:
        path = _path(block)
        if path.lower() in paths:
            before = found.get(path.lower(), _NOTHING)
            lines = tuple(line for line in block.split("\n")[1:] if line)
            # A key that `added` has added to is there twice.
            found[path.lower()] = _Section(path, (*before.lines, *lines))
    return found


def _has_below(text: str, path: str) -> bool:
    """Whether a key has others below it; one without values of its own is not written then."""
    return f"\n[{path}\\\\" in text.lower()


def _place(file: str, path: str) -> tuple[str, str]:
    """Return the hive that keeps a key, and its path there; no hive if none does."""
    plain = _unescaped(path)
    if file == DEFAULT_FILE:
        return _DEFAULT_HIVE, plain
    if file == USER_FILE:
        return "", plain
    top, _, rest = plain.partition("\\")
    first, backslash, deeper = rest.partition("\\")
    if top.lower() == "system" and first.lower() == "currentcontrolset":
        # Wine has this link of Windows as a key.
        rest = f"{_CONTROL_SET}{backslash}{deeper}"
    return (_HIVES.get(top.lower(), ""), rest) if rest else ("", plain)


def _is_noise(file: str, hive: str, path: str) -> bool:
    if file == MACHINE_FILE and not hive:
        return True  # HARDWARE and the like, which are made when Windows starts
    prefixes = _NOISE[hive] if hive else _USER_NOISE
    return f"{path.lower()}\\".startswith(prefixes)


def _full_name(file: str, section: _Section) -> str:
    root = {MACHINE_FILE: "HKLM", USER_FILE: "HKCU", DEFAULT_FILE: "HKU\\.Default"}[file]
    return f"{root}\\{_unescaped(section.path)}"


def _values(lines: Iterable[str]) -> dict[str, Value]:
    found = {}
    for line in _joined(lines):
        match = _VALUE.fullmatch(line)
        if match:
            name = _unescaped(match[1] or "")
            found[name.lower()] = Value(name, *_data(match[2]))
    return found


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines; binary data that goes on in further ones is put together."""
    whole = ""
    for line in lines:
        whole += line.lstrip() if whole else line
        if whole.endswith("\\") and "=hex" in whole:
            whole = whole[:-1]
            continue
        yield whole
        whole = ""


def _data(text: str) -> tuple[int, bytes]:
    if text.startswith('"'):
        return REG_SZ, _utf16(text)
    if text.startswith("dword:"):
        return REG_DWORD, pack("<I", int(text[6:], 16))
    if text.startswith("hex:"):
        return REG_BINARY, _binary(text[4:])
    typed = _TYPED.fullmatch(text)
    if typed is None:
        return REG_BINARY, b""
    kind = int(typed[2], 16)
    return kind, _utf16(typed[3]) if typed[1] == "str" else _binary(typed[3])


def _utf16(quoted: str) -> bytes:
    # The last zero is not written.
    return (_unescaped(quoted[1:-1]) + "\0").encode("utf-16-le", "surrogatepass")


def _binary(text: str) -> bytes:
    return bytes(int(each, 16) for each in text.split(",") if each.strip())


def _unescaped(text: str) -> str:
    def letter(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code.isdecimal():
            return chr(int(code, 8))
        return _LETTERS.get(code, code)

    return _ESCAPE.sub(letter, text) if "\\" in text else text


def _escaped(text: str, brackets: str) -> str:
    out = []
    for char in text:
        if char == "\\" or char in brackets:
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            units = char.encode("utf-16-be", "surrogatepass")
            out += [f"\\x{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
    return "".join(out)


def _value_text(value: Value) -> str:
    name = f'"{_escaped(value.name, chr(34))}"' if value.name else "@"
    return f"{name}=hex({value.kind:x}):" + ",".join(f"{byte:02x}" for byte in value.data)
