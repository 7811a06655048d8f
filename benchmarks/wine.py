"""Measure what one more RUN of a Windows image costs under Wine, once the template is made.

    python benchmarks/wine.py [--rounds N] [--steps N] [--json FILE]

A build of one RUN and one of many take turns; the difference, by the number of steps, is the cost of one:
its sandbox, Wine's start and end, and packing its layer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "fixtures")]

import make_windows_base  # noqa: E402 - from fixtures/

HEAD = "# escape=`\nFROM base\n"


def build(place: Path, dockerfile: str) -> float:
    """Build without the cache; return seconds."""
    context = place / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(HEAD + dockerfile)
    words = [sys.executable, "-m", "wcbuild", "build", "-q", "--no-cache", "--isolation", "wine"]
    words += ["--platform", "windows/amd64"]
    words += ["--build-context", f"base=oci-layout://{place / 'base'}", str(context)]
    env = dict(os.environ) | {"WCBUILD_ROOT": str(place / "store"), "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    subprocess.run(words, check=True, env=env, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="RUNs in the longer build")
    parser.add_argument("--json", type=Path, help="write all samples here")
    args = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="wcbuild-wine-"))
    try:
        make_windows_base.write_layout(place / "base")
        first = build(place, "RUN exit\n")
        many = "".join(f"RUN mkdir C:\\d{number}\n" for number in range(args.steps + 1))
        samples = []
        for _ in range(args.rounds):
            one = build(place, "RUN mkdir C:\\d\n")
            samples.append((build(place, many) - one) / args.steps)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"the first build, which makes the template: {first:.1f} s")
    print(
        f"one more step: {statistics.median(samples):.2f} s"
        f" (median of {args.rounds} rounds of {args.steps}; {min(samples):.2f} to {max(samples):.2f})"
    )
    if args.json:
        args.json.write_text(json.dumps({"first": first, "steps": samples}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
