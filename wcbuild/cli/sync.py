"""`wcbuild sync`."""

from __future__ import annotations

import argparse

from wcbuild.cli.errors import FAILED as EXIT_FAILED
from wcbuild.cli.format import listing
from wcbuild.cli.main import Invocation
from wcbuild.cli.render.text import clean
from wcbuild.cli.stores import opened_transfers
from wcbuild.sync import FAILED, MAX_FILE_BYTES, Outcome, read_rules, sync


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("file", metavar="FILE.yaml", help="what to copy where; see the docs")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would be copied, and copy nothing"
    )
    parser.add_argument(
        "--format", default="", metavar="TEMPLATE", help="json or a template, for each tag"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Print a line for each tag; fail, at the end, if one could not be copied."""
    args = invocation.args
    with open(args.file, "rb") as file:
        rules = read_rules(file.read(MAX_FILE_BYTES + 1), args.file)
    done = failed = 0
    with opened_transfers(invocation) as (places, exporter):
        emit = exporter.progress("sync")
        for outcome in sync(rules, places, dry_run=args.dry_run, emit=emit):
            done += 1
            failed += outcome.state == FAILED
            invocation.stdout.write(_line(outcome, args.format))
            invocation.stdout.flush()
    if failed:
        invocation.stderr.write(f"ERROR: {failed} of {done} failed\n")
        return EXIT_FAILED
    return 0


def _line(outcome: Outcome, template: str) -> str:
    row = {
        "state": outcome.state,
        "source": str(outcome.source),
        "target": str(outcome.target),
        "digest": outcome.digest or "",
        "reason": outcome.reason,
    }
    if template:
        return listing([row], {}, template)
    text = f"{outcome.state} {outcome.source} -> {outcome.target}"
    return clean(f"{text}: {outcome.reason}" if outcome.reason else text) + "\n"
