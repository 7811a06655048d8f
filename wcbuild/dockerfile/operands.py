"""What the operands of an instruction come to: paths, and the command that heredocs make."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from wcbuild.dockerfile.instructions import CommandLine, Run
from wcbuild.graph.ops import InlineFile


def heredoc_command(
    instruction: Run,
) -> tuple[CommandLine, tuple[InlineFile, ...], str]:
    """Return what RUN executes once its heredocs are in place, script files, and a summary to show."""
    command, heredocs = instruction.command, instruction.heredocs
    if not heredocs:
        return command, (), ""
    first = heredocs[0]
    summary = f" ({_first_line(first.content)}...)"
    if not instruction.heredoc_only:
        # The shell reads the heredocs itself.
        text = "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in heredocs)
        return replace(command, args=(command.args[0] + text,)), (), summary
    if first.content.startswith("#!"):
        script = InlineFile(name=first.name, data=first.content, mode=0o755)
        return replace(command, args=(f"/dev/pipes/{first.name}",)), (script,), summary
    return replace(command, args=(first.content,)), (), summary


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:32]


def absolute(working_dir: str, path: str) -> str:
    """Return ``path`` absolute and clean, relative to the directory in force."""
    return "/" + posixpath.normpath(posixpath.join("/", working_dir, path)).lstrip("/")


def destination(working_dir: str, dest: str) -> str:
    """Return COPY's destination absolute; a trailing slash (or `.`) keeps saying directory."""
    path = absolute(working_dir, dest)
    is_directory = not dest or dest.endswith("/") or posixpath.basename(dest) == "."
    return path if path == "/" or not is_directory else path + "/"


def clean_source(source: str, *, parents: bool) -> str:
    """Return a source relative to its root; `..` stops there. The pivot of --parents stays."""
    if parents and "/./" in source:
        base, _, rest = source.partition("/./")
        return f"{clean_source(base, parents=False)}/./{clean_source(rest, parents=False)}"
    return posixpath.normpath("/" + source).lstrip("/")
