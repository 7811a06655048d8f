"""Push and pull a gibibyte in 8 layers with wcbuild, skopeo and crane, in turns, and print medians.

    benchmarks/run transfer [--rounds N] [--tools wcbuild,skopeo,crane]

Each push goes to an empty registry, each pull to an empty folder; what arrived is verified afterwards.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import platform
import random
import shutil
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import MIB, Sample, registry, timed, which

LAYERS, LAYER_BYTES = 8, 128 * MIB
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
NAME = "bench/app:1"

Words = Callable[[str, str], list[str]]
"""Makes a command from a layout and a registry's address."""


def wcbuild(*words: str) -> list[str]:
    script = Path(sys.executable).with_name("wcbuild")
    return [str(script), "copy", "-q", *words]


def skopeo(*words: str) -> list[str]:
    return ["skopeo", "--insecure-policy", "copy", "-q", *words]


PUSH: dict[str, Words] = {
    "wcbuild": lambda layout, host: wcbuild(f"oci:{layout}:1", f"docker://{host}/{NAME}"),
    "skopeo": lambda layout, host: skopeo(
        "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{host}/{NAME}"
    ),
    "crane": lambda layout, host: [which("crane"), "push", layout, f"{host}/{NAME}"],
}
PULL: dict[str, Words] = {
    "wcbuild": lambda layout, host: wcbuild(f"docker://{host}/{NAME}", f"oci:{layout}:1"),
    "skopeo": lambda layout, host: skopeo(
        "--src-tls-verify=false", f"docker://{host}/{NAME}", f"oci:{layout}:1"
    ),
    "crane": lambda layout, host: [
        which("crane"), "pull", "--format=oci", f"{host}/{NAME}", layout
    ],
}  # fmt: skip


def make_layout(folder: Path) -> None:
    """Write an image whose layers are gzip files that hold as much as they are long."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    layers, diff_ids = [], []
    for number in range(LAYERS):
        raw = random.Random(number).randbytes(LAYER_BYTES)
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo(f"file{number}")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
        diff_ids.append(f"sha256:{hashlib.sha256(tar.getvalue()).hexdigest()}")
        layers.append(add(folder, gzip.compress(tar.getvalue(), 0, mtime=0), LAYER))
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add(folder, json.dumps(config).encode(), CONFIG),
        "layers": layers,
    }
    entry_of = add(folder, json.dumps(manifest).encode(), MANIFEST)
    entry_of["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry_of]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def add(folder: Path, raw: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(raw).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def check(layout: Path, blobs: dict[str, Path]) -> None:
    """End the benchmark unless every blob of ``layout`` is among ``blobs``, with the right bytes."""
    for path in (layout / "blobs" / "sha256").iterdir():
        with blobs[path.name].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                sys.exit(f"{blobs[path.name]}: other bytes than were sent")


def measure(tools: list[str], rounds: int) -> dict[str, dict[str, list[Sample]]]:
    """Run all in turns; samples by verb and tool."""
    samples: dict[str, dict[str, list[Sample]]] = {
        verb: {tool: [] for tool in tools} for verb in ("push", "pull")
    }
    with tempfile.TemporaryDirectory(prefix="wcbuild-bench-") as name:
        source, target = Path(name, "source"), Path(name, "target")
        # In a process of its own: a command's memory is counted from its parent's on.
        maker = multiprocessing.Process(target=make_layout, args=(source,))
        maker.start()
        maker.join()
        os.environ["WCBUILD_ROOT"] = f"{name}/store"
        for number in range(rounds):
            for tool in tools:
                folder = Path(name, "here")
                folder.mkdir()
                with registry(folder) as host:
                    pushed = timed(PUSH[tool](str(source), host))
                    stored = folder.glob("registry/**/blobs/sha256/*/*/data")
                    check(source, {path.parent.name: path for path in stored})
                    pulled = timed(PULL[tool](str(target), host))
                    arrived = (target / "blobs" / "sha256").iterdir()
                    check(source, {path.name: path for path in arrived})
                shutil.rmtree(folder)
                shutil.rmtree(target)
                for verb, sample in (("push", pushed), ("pull", pulled)):
                    samples[verb][tool].append(sample)
                    print(
                        f"round {number + 1} {verb} {tool}: {sample.seconds:.2f} s,"
                        f" processor {sample.processor:.2f} s, {sample.megabytes:.0f} MiB",
                        file=sys.stderr,
                    )
    return samples


def report(samples: dict[str, dict[str, list[Sample]]]) -> str:
    """Return a table of medians, and of wcbuild's time as a part of the better peer's."""
    names = list(samples["push"])
    lines = [["", *names, "wcbuild / the better peer"], ["---"] * (len(names) + 2)]
    for verb, by_tool in samples.items():
        medians = {
            name: [statistics.median(each) for each in zip(*by_tool[name], strict=True)]
            for name in names
        }
        cells = [
            f"{seconds:.2f} s, processor {processor:.2f} s, {megabytes:.0f} MiB"
            for seconds, megabytes, processor in medians.values()
        ]
        peers = [medians[name][0] for name in names if name != "wcbuild"]
        ratio = f"{medians['wcbuild'][0] / min(peers):.2f}" if peers else ""
        lines.append([verb, *cells, ratio])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", default="wcbuild,skopeo,crane")
    options = parser.parse_args()
    tools = [tool for tool in options.tools.split(",") if tool == "wcbuild" or which(tool)]
    samples = measure(tools, options.rounds)
    print(f"{os.cpu_count()} processors, Linux {platform.release()}; medians of {options.rounds}\n")
    print(report(samples))


if __name__ == "__main__":
    main()
