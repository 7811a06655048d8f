"""`wcbuild pin`."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

from registry.oci.digest import Digest
from registry.reference import Reference
from wcbuild.cli.errors import FAILED
from wcbuild.cli.format import listing
from wcbuild.cli.main import Invocation
from wcbuild.cli.render.text import clean
from wcbuild.cli.stores import opened_places
from wcbuild.pin import (
    OUTDATED,
    UNCLEAR,
    UNPINNED,
    Finding,
    check_text,
    pin_text,
    read_dockerfile,
    replace_file,
)
from wcbuild.places import DOCKER, Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        metavar="FILE",
        help="a Dockerfile; may be given several times (default: Dockerfile)",
    )
    parser.add_argument(
        "--update", action="store_true", help="also bring digests beside tags up to date"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing: list what is not pinned, with --update what is outdated, and fail",
    )
    parser.add_argument(
        "--build-context",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a name that builds replace, which is left alone",
    )
    parser.add_argument(
        "--format", default="", metavar="TEMPLATE", help="json or a template, for each image"
    )


def run(invocation: Invocation) -> int:
    """Pin, and print what was changed; with --check, what would have to be."""
    args = invocation.args
    contexts = [text.partition("=")[0] for text in args.build_context]
    found: list[Finding] = []
    changed: list[tuple[Path, bytes]] = []
    with opened_places(invocation) as places:

        @cache
        def resolve(reference: Reference) -> Digest:
            place = Place.parse(str(reference), default=DOCKER)
            return places.repository(place).resolve(place.wanted).digest

        for name in args.file or ["Dockerfile"]:
            raw = read_dockerfile(Path(name))
            if args.check and not args.update:
                found += check_text(raw, name, contexts=contexts)
                continue
            new, here = pin_text(raw, name, resolve, contexts=contexts, update=args.update)
            found += here
            if new != raw and not args.check:
                changed.append((Path(name), new))
    # All are known to be good before the first is written.
    for path, new in changed:
        replace_file(path, new)
    for each in found:
        if each.state == UNCLEAR:
            invocation.stderr.write(
                clean(f"{each.mention}: left alone: {each.mention.reason}") + "\n"
            )
    wrong = [each for each in found if each.state in (UNPINNED, OUTDATED, UNCLEAR)]
    if args.format:
        invocation.stdout.write(listing([_row(each) for each in found], {}, args.format))
    else:
        shown = wrong if args.check else [each for each in found if each.wanted]
        invocation.stdout.write("".join(f"{clean(_line(each, args.check))}\n" for each in shown))
    return FAILED if args.check and wrong else 0


def _row(finding: Finding) -> dict[str, object]:
    mention = finding.mention
    return {
        "file": mention.span.file,
        "line": mention.span.first,
        "instruction": mention.keyword,
        "image": mention.word,
        "state": finding.state,
        "wanted": finding.wanted,
        "reason": mention.reason,
    }


def _line(finding: Finding, checking: bool) -> str:
    if checking:
        wanted = f" (now {finding.wanted.partition('@')[2]})" if finding.wanted else ""
        return f"{finding.mention}: {finding.state}{wanted}"
    return f"{finding.mention} -> {finding.wanted}"
