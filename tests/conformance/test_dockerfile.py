"""The Dockerfile language, up to typed instructions."""

import re

import pytest

from registry.errors import RegistryError
from registry.oci.platform import Platform
from wcbuild.dockerfile import words
from wcbuild.dockerfile.directives import detect_syntax, find_directive
from wcbuild.dockerfile.heredoc import parse_start
from wcbuild.dockerfile.ignore import IgnoreRules, read_patterns
from wcbuild.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Heredoc,
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
from wcbuild.dockerfile.mounts import early_check, parse_device, parse_mounts
from wcbuild.dockerfile.parser import Node, parse
from wcbuild.dockerfile.ports import expand_ports
from wcbuild.dockerfile.reader import parse_instruction
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.dockerfile.wildcard import BadPatternError, match
from wcbuild.dockerfile.words import WordError
from wcbuild.errors import DockerfileSyntaxError

SPAN = Span(file="Dockerfile", first=1, last=1)


def differs(record_input, expected, got):
    return (
        None
        if expected == got
        else f"{record_input!r}\n      expected {expected!r}\n      got      {got!r}"
    )


# -- parser


def quote(text):
    """Spell as Go's strconv.Quote, as far as the tables need it."""
    named = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    named |= {"\b": "\\b", "\v": "\\v", "\a": "\\a"}
    named |= {chr(code): f"\\x{code:02x}" for code in range(32) if chr(code) not in named}
    return '"' + "".join(named.get(character, character) for character in text) + '"'


def next_values(node):
    """Return the arguments as the tables count them."""
    if node.trigger is not None:
        return [node.trigger]
    known = node.keyword.lower() in KEYWORDS
    return list(node.args) if known else [""]


KEYWORDS = frozenset(
    (
        *("add", "arg", "cmd", "copy", "entrypoint", "env", "expose", "from", "healthcheck"),
        *("label", "maintainer", "onbuild", "run", "shell", "stopsignal", "user", "volume"),
        "workdir",
    )
)


def dump(node):
    parts = [node.keyword.lower()]
    if node.flags:
        parts.append("[" + " ".join(quote(flag) for flag in node.flags) + "]")
    parts += [
        f"({dump(value)})" if isinstance(value, Node) else quote(value)
        for value in next_values(node)
    ]
    return " ".join(parts)


def as_ast(node, *, inner=False):
    ast = {"value": node.keyword, "original": node.original}
    if not inner:
        ast["lines"] = [node.span.first, node.span.last]
    if node.flags:
        ast["flags"] = list(node.flags)
    if node.json:
        ast["attrs"] = {"json": True}
    if values := next_values(node):
        ast["next"] = [
            {"children": [as_ast(value, inner=True)], "value": ""}
            if isinstance(value, Node)
            else value
            for value in values
        ]
    if node.heredocs:
        ast["heredocs"] = [as_heredoc(heredoc) for heredoc in node.heredocs]
    if node.comments:
        ast["comments"] = list(node.comments)
    return ast


def as_heredoc(heredoc):
    return {
        "Name": heredoc.name,
        "FileDescriptor": heredoc.fd,
        "Expand": heredoc.expand,
        "Chomp": heredoc.chomp,
        "Content": heredoc.raw,
    }


def check_parsed(record):
    text, out = record["in"], record["out"]
    try:
        parsed = parse(text, file="Dockerfile")
    except DockerfileSyntaxError as error:
        return None if out["err"] else f"{text!r}\n      unexpected error {error}"
    if out["err"]:
        return f"{text!r}\n      no error, expected {out['err']}"
    expected = {
        "children": out["ast"].get("children", []),
        "escape": out["escape"],
        "warnings": [each["line"] for each in out["warnings"] or ()],
        "dump": out["dump"],
    }
    got = {
        "children": [as_ast(node) for node in parsed.nodes],
        "escape": parsed.escape,
        "warnings": [each.span.first for each in parsed.warnings],
        "dump": "\n".join(f"({dump(node)})" for node in parsed.nodes),
    }
    return differs(text, expected, got)


@pytest.mark.parametrize(("name", "floor"), [("parser_parse", 405), ("fuzz_parser", 983)])
def test_parses_as_recorded(tables, measure, name, floor):
    measure(name, tables(name), check_parsed, floor=floor)


def test_parses_test_files_as_recorded(tables, measure):
    def check(record):
        parsed = parse(record["dockerfile"], file="Dockerfile")
        got = "".join(f"({dump(node)})\n" for node in parsed.nodes)
        return differs(record["name"], record["expected_dump"], got)

    measure("parser_testfiles", tables("parser_testfiles"), check, floor=11)


def test_refuses_negative_test_files(tables, measure):
    def check(record):
        try:
            parse_dockerfile(record["dockerfile"].encode(), file="Dockerfile")
        except DockerfileSyntaxError:
            return None
        return record["name"]

    measure("parser_testfiles_negative", tables("parser_testfiles_negative"), check, floor=2)


def test_finds_directives_as_recorded(tables, measure):
    def check(record):
        key, text = record["in"]["key"], record["in"]["text"]
        found = detect_syntax(text) if record["in"]["any_format"] else find_directive(text, key)
        out = record["out"]
        expected = None
        if out["found"]:
            expected = (out["value"], out["cmdline"], out["ranges"][0]["Start"]["Line"])
        got = found and (found.first_word, found.value, found.line)
        return differs((key, text), expected, got)

    measure("parser_directives", tables("parser_directives"), check, floor=648)


def test_reads_heredoc_words_as_recorded(tables, measure):
    def check(record):
        out = record["out"]
        try:
            start = parse_start(record["in"])
        except WordError:
            return None if out["err"] else f"{record['in']!r}: unexpected error"
        got = start and {
            "Name": start.name,
            "FileDescriptor": start.fd,
            "Expand": start.expand,
            "Chomp": start.chomp,
            "Content": "",
        }
        return differs(record["in"], out["heredoc"], got)

    measure("parser_heredoc_word", tables("parser_heredoc_word"), check, floor=180)


# -- words


MODIFIED = re.compile(r"\$\{[^}]*[^}\w]")


def check_expanded(record):
    given, out = record["in"], record["out"]
    try:
        got = words.expand(
            given["word"],
            given["env"],
            escape=given["escape"],
            raw_quotes=given["raw_quotes"],
            raw_escapes=given["raw_escapes"],
            skip_quotes=given["skip_process_quotes"],
            keep_unset=given["skip_unset_env"],
        )
    except WordError as error:
        return None if out["err"] else f"{given}\n      unexpected error {error}"
    if out["err"]:
        return f"{given}\n      no error but {got.text!r}, expected {out['err']}"
    expected, result = [out["result"]], [got.text]
    if not MODIFIED.search(given["word"]):
        # What was recorded forgets the words before `${x:-word}`; nobody could want that.
        expected.append(out["words"] or [])
        result.append(list(got.words))
    if out["capture"]:
        expected += (sorted(out["matched"]), sorted(out["unmatched"]))
        result += (sorted(got.used), sorted(got.unset))
    return differs(given, expected, result)


@pytest.mark.parametrize(("name", "floor"), [("shell_process", 1264), ("fuzz_shell", 1403)])
def test_expands_words_as_recorded(tables, measure, name, floor):
    measure(name, tables(name), check_expanded, floor=floor)


def test_expands_single_words_as_in_the_test_file(tables, measure):
    table = tables("shell_envVarTest")
    env = dict(pair.partition("=")[::2] for pair in table["env"])

    def check(case):
        try:
            got = words.expand(case["input"], env).text
        except WordError:
            return None if case["error"] else f"{case}: unexpected error"
        return differs(case["input"], case["expected"], got)

    cases = [case for case in table["cases"] if case["platform"] in "AU"]
    measure("shell_envVarTest", cases, check, floor=len(cases))


def test_splits_words_as_in_the_test_file(tables, measure):
    def check(case):
        env = dict(pair.partition("=")[::2] for pair in case["env"])
        try:
            got = words.expand(case["input"], env).words
        except WordError:
            got = ["error"]
        return differs(case["input"], case["expected"], got)

    cases = tables("shell_wordsTest")["cases"]
    measure("shell_wordsTest", cases, check, floor=len(cases))


# -- instructions


def as_node(given):
    heredocs = tuple(
        Heredoc(
            name=each["Name"],
            raw=each["Content"],
            expand=each["Expand"],
            chomp=each["Chomp"],
            fd=each["FileDescriptor"],
        )
        for each in given["heredocs"] or ()
    )
    return Node(
        keyword=given["command"],
        original=given["original"],
        span=SPAN,
        flags=tuple(given["flags"] or ()),
        args=tuple(given["args"]),
        json=given["json"],
        heredocs=heredocs,
    )


def check_instruction(record):
    given, out = record["in"], record["out"]
    try:
        got = parse_instruction(as_node(given))
    except DockerfileSyntaxError as error:
        if not out["err"]:
            return f"{given}\n      unexpected error {error}"
        expected = out["err"].partition(" (did you mean")[0]
        return differs(given, expected.replace("\\", ""), error.message.replace("\\", ""))
    if out["err"]:
        return f"{given}\n      no error, expected {out['err']}"
    expected = expected_fields(out["type"], out["value"], given["json"])
    if out["type"] == "RunCommand":
        expected |= {
            "mounts": out["mounts_raw"] or [],
            "network": out["network"],
            "security": out["security"],
            "devices": [(each["Name"], each["Required"]) for each in out["devices"]],
        }
    return differs(given, expected, got_fields(got))


def command(value, is_json):
    args = value["CmdLine"] or []
    return (value["PrependShell"], args if is_json else [" ".join(args)])


def expected_fields(kind, value, is_json):
    match kind:
        case "Stage":
            return {"base": value["BaseName"], "platform": value["Platform"], "name": value["Name"]}
        case "ArgCommand":
            return {"pairs": [(each["Key"], each["Value"]) for each in value["Args"]]}
        case "EnvCommand":
            return {"pairs": [(each["Key"], each["Value"]) for each in value["Env"]]}
        case "LabelCommand":
            return {"pairs": [(each["Key"], each["Value"]) for each in value["Labels"]]}
        case "CopyCommand" | "AddCommand":
            return {
                "dest": value["DestPath"],
                "sources": value["SourcePaths"] or [],
                "heredocs": [
                    (each["Path"], each["Data"], each["Expand"])
                    for each in value["SourceContents"] or ()
                ],
                "from": value.get("From", ""),
                "chown": value["Chown"],
                "chmod": value["Chmod"],
                "link": value["Link"],
                "parents": value.get("Parents", False),
                "exclude": value["ExcludePatterns"] or [],
                "keep_git_dir": value.get("KeepGitDir"),
                "checksum": value.get("Checksum", ""),
                "unpack": value.get("Unpack"),
            }
        case "RunCommand" | "CmdCommand" | "EntrypointCommand":
            fields = {"command": command(value, is_json)}
            if kind == "RunCommand":
                fields["files"] = [
                    (each["Name"], each["Data"], each["Chomp"]) for each in value["Files"] or ()
                ]
            return fields
        case "HealthCheckCommand":
            health = value["Health"]
            numbers = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
            return {"test": health["Test"], "numbers": [health.get(name, 0) for name in numbers]}
        case _:
            return {"value": next(iter(value.values()))}


def got_fields(instruction):
    match instruction:
        case From():
            return {
                "base": instruction.base,
                "platform": instruction.platform,
                "name": instruction.name,
            }
        case Arg() | Env() | Label():
            return {"pairs": list(instruction.pairs)}
        case Copy():
            return {
                "dest": instruction.dest,
                "sources": list(instruction.sources),
                "heredocs": [
                    (each.name, each.content, each.expand) for each in instruction.heredocs
                ],
                "from": instruction.from_,
                "chown": instruction.chown,
                "chmod": instruction.chmod,
                "link": instruction.link,
                "parents": instruction.parents,
                "exclude": list(instruction.exclude),
                "keep_git_dir": instruction.keep_git_dir,
                "checksum": instruction.checksum,
                "unpack": instruction.unpack,
            }
        case Run():
            return {
                "command": (instruction.command.shell, list(instruction.command.args)),
                "files": [(each.name, each.raw, each.chomp) for each in instruction.heredocs],
                "mounts": list(instruction.mounts),
                "network": instruction.network,
                "security": instruction.security,
                "devices": [
                    (device.name, device.required)
                    for device in map(parse_device, instruction.devices)
                ],
            }
        case Cmd() | Entrypoint():
            return {"command": (instruction.command.shell, list(instruction.command.args))}
        case HealthCheck(check=check):
            durations = (check.interval, check.timeout, check.start_period, check.start_interval)
            return {"test": list(check.test), "numbers": [*durations, check.retries]}
        case Workdir():
            return {"value": instruction.path}
        case OnBuild():
            return {"value": instruction.expression}
        case User():
            return {"value": instruction.user}
        case Expose():
            return {"value": list(instruction.ports)}
        case Volume():
            return {"value": list(instruction.volumes)}
        case Shell():
            return {"value": list(instruction.args)}
        case StopSignal():
            return {"value": instruction.signal}
        case Maintainer():
            return {"value": instruction.name}


@pytest.mark.parametrize(
    ("name", "floor"), [("instructions_parse", 659), ("fuzz_instructions", 952)]
)
def test_reads_instructions_as_recorded(tables, measure, name, floor):
    measure(name, tables(name), check_instruction, floor=floor)


def test_reads_mounts_as_recorded(tables, measure):
    env = {"I": "cid", "T": "/t", "MNT_TYPE2": "cache", "MNT_ID": "mycache"}
    env |= {"SOME_PATH": "/mycache", "META_PATH": "/tmp/meta"}

    def check(record):
        value, out = record["in"]["value"], record["out"]
        escape = "`" if "\\" in value else "\\"  # not recorded
        try:
            if not record["in"]["expand"]:
                early_check(value)
                return f"{value}: no error, expected {out['err']}" if out["err"] else None
            (mount,) = parse_mounts(
                [value], lambda word: words.expand(word, env, escape=escape).text
            )
        except ValueError as error:
            expected = (out["err"] or "").partition(" (did you mean")[0]
            return differs(value, expected, str(error))
        expected = {key: each for key, each in (out["mount"] or {}).items() if each}
        got = {
            "Type": str(mount.type),
            "From": mount.from_,
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": mount.read_only,
            "SizeLimit": mount.size,
            "CacheID": mount.id,
            "CacheSharing": mount.sharing and str(mount.sharing),
            "Required": mount.required,
            "Env": mount.env,
            "Mode": mount.mode,
            "UID": mount.uid,
            "GID": mount.gid,
        }
        # The table's variables are not recorded; these two differ from test to test.
        got["Target"] = got["Target"].replace("//", "/")
        return differs(value, expected, {key: each for key, each in got.items() if each})

    measure("run_mount_parse", tables("run_mount_parse"), check, floor=81)


def test_expands_ports_as_recorded(tables, measure):
    def check(record):
        out = record["out"]
        try:
            got = expand_ports(record["in"])
        except ValueError as error:
            return differs(record["in"], out["err"], str(error))
        return differs(record["in"], out["ports"], got)

    measure("expose_ports", tables("expose_ports"), check, floor=22)


def test_parses_platforms_as_recorded(tables, measure):
    def check(record):
        try:
            got = Platform.parse(record["in"])
        except RegistryError as error:
            return f"{record['in']}: {error}"
        expected = (record["normalized"], record["normalized_format_all"])
        return differs(record["in"], expected, (got.to_json(), str(got)))

    measure("platforms_parse", tables("platforms_parse"), check, floor=20)


# -- ignore files and wildcards


def test_reads_ignore_files_as_recorded(tables, measure):
    def check(record):
        got = [pattern for _, pattern in read_patterns(record["content"].encode())]
        return differs(record["content"], record["patterns"], got)

    measure("ignorefile_readall", tables("ignorefile_readall"), check, floor=5)


def test_ignores_as_recorded(tables, measure):
    def check(record):
        given = (record["patterns"], record["path"])
        try:
            got = IgnoreRules(record["patterns"]).excludes(record["path"])
        except BadPatternError:
            return None if record.get("new_err") else f"{given}: unexpected error"
        if record.get("new_err"):
            return f"{given}: no error, expected {record['new_err']}"
        return differs(given, record["matches_or_parent_matches"], got)

    measure("patternmatcher", tables("patternmatcher"), check, floor=1091)


def test_matches_wildcards_as_recorded(tables, measure):
    def check(record):
        given = (record["pattern"], record["name"])
        try:
            got = match(*given)
        except BadPatternError:
            return None if record.get("err") else f"{given}: unexpected error"
        if record.get("err"):
            return f"{given}: no error, expected {record['err']}"
        return differs(given, record["match"], got)

    measure("filepath_match", tables("filepath_match"), check, floor=2064)
