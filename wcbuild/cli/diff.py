"""`wcbuild diff`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from registry.errors import RegistryError, StoreError
from registry.image import Image, read_image
from registry.oci.platform import Platform
from registry.store import Readable
from wcbuild.cli.format import result, to_json
from wcbuild.cli.main import Invocation
from wcbuild.cli.render.text import clean
from wcbuild.cli.stores import add_format, opened_places
from wcbuild.difference import (
    ADDED,
    DELETED,
    Difference,
    FieldChange,
    FileChange,
    compare_configs,
    compare_files,
    image_tree,
)
from wcbuild.errors import WcbuildError
from wcbuild.places import HELP, Place, Places
from wcbuild.request import host_platform

SAME, DIFFERENT, TROUBLE = 0, 1, 2

_LETTERS = {ADDED: "A", DELETED: "D"}
_MAX_VALUE = 200
"""Characters of a config's value that are shown; `--format json` has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.description = (
        "Show how the configs and files of two images differ. The exit status is diff's: 0 the same, "
        "1 different, 2 trouble."
    )
    parser.add_argument("old", metavar="A", help=HELP)
    parser.add_argument("new", metavar="B", help="the same")
    parser.add_argument(
        "--platform",
        default="",
        metavar="OS/ARCH",
        help="which images of indexes (default: this machine's)",
    )
    parser.add_argument(
        "--only", choices=("config", "files"), help="compare nothing else; configs need no layers"
    )
    parser.add_argument("--times", action="store_true", help="modification times count too")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit status")
    add_format(parser)


def run(invocation: Invocation) -> int:
    """Print what is different."""
    try:
        return _run(invocation)
    except BrokenPipeError:
        raise
    except OSError as error:
        failure = StoreError(str(error.filename or "reading"), error.strerror or str(error))
        failure.exit_status = TROUBLE
        raise failure from error
    except (RegistryError, WcbuildError) as error:
        # 1 is a result here.
        error.exit_status = TROUBLE
        raise


def _run(invocation: Invocation) -> int:
    args = invocation.args
    platform = Platform.parse(args.platform) if args.platform else host_platform()
    with opened_places(invocation) as places, ExitStack() as opened:
        pairs = []
        for name in (args.old, args.new):
            place = Place.parse(name)
            source = opened.enter_context(places.reading(place))
            pairs.append((read_image(source, source.resolve(place.wanted), platform), source))
        (old, _), (new, _) = pairs
        found = _compare(pairs[0], pairs[1], places, args.only or "", times=args.times)
    if not args.quiet:
        invocation.stdout.write(result(_document(old, new, found), _text(found), args.format))
    return DIFFERENT if found else SAME


def _compare(
    old: tuple[Image, Readable],
    new: tuple[Image, Readable],
    places: Places,
    only: str,
    *,
    times: bool,
) -> Difference:
    config: tuple[FieldChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    if only != "files":
        config = compare_configs(old[0], new[0])
    # The same layers have the same files, so nobody need read them.
    if only != "config" and old[0].config.diff_ids != new[0].config.diff_ids:
        trees = (image_tree(image, source, places.store) for image, source in (old, new))
        files = tuple(compare_files(*trees, times=times))
    return Difference(config=config, files=files)


def _document(old: Image, new: Image, found: Difference) -> dict[str, Any]:
    return {
        "a": old.descriptor.digest,
        "b": new.descriptor.digest,
        "config": [{"name": each.name, "old": each.old, "new": each.new} for each in found.config],
        "files": [
            {
                "path": each.path,
                "state": each.state,
                "attributes": {
                    name: {"old": before, "new": after}
                    for name, (before, after) in each.attributes.items()
                },
            }
            for each in found.files
        ],
    }


def _text(found: Difference) -> str:
    lines = [
        f"config {each.name}: {_value(each.old)} -> {_value(each.new)}" for each in found.config
    ]
    lines += [_file_line(each) for each in found.files]
    return "".join(f"{clean(line)}\n" for line in lines)


def _value(value: object) -> str:
    text = "(none)" if value is None else to_json(value)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"


def _file_line(change: FileChange) -> str:
    letter = _LETTERS.get(change.state, "C")
    details = ", ".join(
        name if name == "content" else f"{name} {before or '(none)'} -> {after or '(none)'}"
        for name, (before, after) in change.attributes.items()
    )
    return f"{letter} /{change.path}" + (f" ({details})" if details else "")
