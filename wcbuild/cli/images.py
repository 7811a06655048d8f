"""`wcbuild images`."""

from __future__ import annotations

import argparse
import time
from datetime import datetime

from wcbuild.cli.format import human_age, listing
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import Shown, opened_store, show
from wcbuild.sizes import format_size

_COLUMNS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
}
_SHORT_ID = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", nargs="?", metavar="REPOSITORY[:TAG]", help="show only these")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only image ids")
    parser.add_argument("--no-trunc", action="store_true", help="print whole ids")
    parser.add_argument("--digests", action="store_true", help="print manifests' digests")
    parser.add_argument(
        "--format", default="", metavar="TEMPLATE", help="table, json or a template"
    )


def run(invocation: Invocation) -> int:
    """Print a row for each name."""
    args = invocation.args
    with opened_store(invocation) as store:
        records = store.images()
        named = {record.image_id for record in records if record.reference}
        # As docker: what has a name is not listed as nameless, too, though a build gave it none.
        wanted = [each for each in records if each.reference or each.image_id not in named]
        shown = [show(store, record) for record in wanted]
    rows = [_row(each, whole=args.no_trunc) for each in shown if _is_wanted(each, args.name)]
    if args.quiet:
        invocation.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return 0
    columns = dict(_COLUMNS)
    if args.digests:
        columns = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST"} | columns
    invocation.stdout.write(listing(rows, columns, args.format))
    return 0


def _is_wanted(shown: Shown, name: str | None) -> bool:
    reference = shown.record.reference
    if name is None:
        return True
    if reference is None:
        return False
    bare = reference.familiar.partition("@")[0]
    return name in (bare, bare.rpartition(":")[0], reference.name, str(reference))


def _row(shown: Shown, *, whole: bool) -> dict[str, str]:
    record = shown.record
    familiar = record.reference.familiar if record.reference else "<none>:<none>"
    repository, tag = familiar.partition("@")[0], "<none>"
    if record.reference is None or record.reference.tag:
        repository, _, tag = repository.rpartition(":")
    created = shown.image.config.created if shown.image else ""
    return {
        "Repository": repository,
        "Tag": tag,
        "Digest": record.descriptor.digest,
        "ID": record.image_id if whole else record.image_id.hex[:_SHORT_ID],
        "CreatedAt": created,
        "CreatedSince": since(created),
        "Size": format_size(shown.size),
    }


def since(created: str) -> str:
    """Return how long ago an RFC 3339 moment was; `N/A` for none, which Go writes as the year 1."""
    try:
        moment = datetime.fromisoformat(f"{created[:19]}+00:00")
    except ValueError:
        return "N/A"
    if moment.year == 1:
        return "N/A"
    return human_age(time.time() - moment.timestamp())
