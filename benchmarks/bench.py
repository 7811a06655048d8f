"""Build the same cases with wcbuild and its peers, in turns, and print medians and ratios.

    benchmarks/run [--rounds N] [--cases abcdefwx] [--tools wcbuild,buildkit,buildah,docker] [--json FILE]

Time is that of the whole command, as a person waits for it. Memory is the largest resident process of
the command (`wait4`); for a tool with a daemon, the largest that its daemon was seen at.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

MIB = 1024 * 1024
FILES, BIG_FILE = 40_000, 512 * MIB
TITLES = {
    "a": "20 RUN steps that each write a small file",
    "b": "the same, all cached",
    "c": f"COPY of {FILES:,} small files",
    "d": "the same, all cached",
    "e": "COPY of one 512 MiB file",
    "f": "the same, and pushed",
    "w": f"COPY of {FILES:,} files into a Windows image on a base of 2 GiB that is pulled",
    "x": "the same with other files, the base known",
}
COLD = {"b": "a", "d": "c", "x": "w"}
"""A warm case and the cold one that it follows."""
WINDOWS = "wx"
WINDOWS_FILLERS = 8
"""Layers of 256 MiB in the base of Windows images."""


class Sample(NamedTuple):
    """One timed command."""

    seconds: float
    megabytes: float


def timed(words: list[str], env: dict[str, str] | None = None) -> Sample:
    """Run a command to its end; end the benchmark if it fails."""
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ) | (env or {}),
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(words)}: {process.returncode}\n{log.read()[-3000:].decode()}")
    return Sample(seconds, usage.ru_maxrss / 1024)


@contextlib.contextmanager
def daemon(words: list[str], ready: Path | int) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a daemon for the `with` block; it is ready when its socket takes a connection."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            for _ in range(300):
                if process.poll() is not None:
                    log.seek(0)
                    sys.exit(f"{' '.join(words)} ended: {log.read()[-3000:].decode()}")
                with contextlib.suppress(OSError), _connect(ready):
                    break
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait()


def _connect(address: Path | int) -> socket.socket:
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(address))
    return connection


class Watch:
    """Samples a process's resident memory every 20 ms."""

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/statm"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0.0
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError):
                pages = int(Path(self._path).read_text().split()[1])
                self.peak = max(self.peak, pages * os.sysconf("SC_PAGESIZE") / MIB)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


# -- tools: each is a context manager over an empty store, and builds in it


class Wcbuild:
    """This project."""

    name = "wcbuild"

    def __init__(self, folder: Path, registry: str) -> None:
        self._root = folder
        self._registry = registry

    @staticmethod
    def found() -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        remove(self._root)

    def build(self, context: Path, image: str, *, push: bool, platform: str) -> Sample:
        script = Path(sys.executable).with_name("wcbuild")
        start = [str(script)] if script.exists() else [sys.executable, "-m", "wcbuild"]
        words = ["--root", str(self._root), "-t", f"{self._registry}/{image}"]
        words += ["--platform", platform] if platform else []
        return timed(
            [*start, "build", *words, *(["--push"] if push else []), str(context)],
        )


class BuildKit:
    """buildkitd and buildctl, with the runc of the system; the daemon's start is not timed."""

    name = "buildkit"

    def __init__(self, folder: Path, registry: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._registry = registry
        self._socket = folder / "socket"
        config = folder / "buildkitd.toml"
        config.write_text(
            f'[registry."{registry}"]\n  http = true\n  insecure = true\n'
            "[worker.oci]\n  enabled = true\n  gc = false\n[worker.containerd]\n  enabled = false\n"
        )
        self._stack = contextlib.ExitStack()

    @staticmethod
    def found() -> bool:
        return os.geteuid() == 0 and all(map(which, ("buildkitd", "buildctl", "runc")))

    def __enter__(self) -> Self:
        words = [which("buildkitd"), "--root", str(self._folder / "root")]
        words += ["--addr", f"unix://{self._socket}", "--oci-worker-binary", which("runc")]
        words += ["--config", str(self._folder / "buildkitd.toml")]
        self._process = self._stack.enter_context(daemon(words, self._socket))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        remove(self._folder)

    def build(self, context: Path, image: str, *, push: bool, platform: str) -> Sample:
        output = f"type=image,name={self._registry}/{image},push={str(push).lower()}"
        words = [which("buildctl"), "--addr", f"unix://{self._socket}", "build"]
        words += ["--frontend", "dockerfile.v0", "--local", f"context={context}"]
        words += ["--local", f"dockerfile={context}", "--output", output]
        words += ["--opt", f"platform={platform}"] if platform else []
        with Watch(self._process.pid) as watch:
            sample = timed(words)
        return Sample(sample.seconds, max(sample.megabytes, watch.peak))


class Buildah:
    """buildah with layers, overlay and runc."""

    name = "buildah"

    def __init__(self, folder: Path, registry: str) -> None:
        self._folder = folder
        self._registry = registry

    @staticmethod
    def found() -> bool:
        return bool(which("buildah") and which("runc"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        remove(self._folder)

    def _call(self, *words: str) -> Sample:
        roots = ["--root", f"{self._folder}/root", "--runroot", f"{self._folder}/run"]
        return timed(["buildah", *roots, *words])

    def build(self, context: Path, image: str, *, push: bool, platform: str) -> Sample:  # noqa: ARG002
        name = f"{self._registry}/{image}"
        words = ["--runtime", "runc", "--layers", "--tls-verify=false", "-t", name, str(context)]
        built = self._call("build", *words)
        if not push:
            return built
        pushed = self._call("push", "--tls-verify=false", name)
        return Sample(built.seconds + pushed.seconds, max(built.megabytes, pushed.megabytes))


class Docker:
    """A Docker daemon that runs already; its store cannot be emptied, so it is pruned."""

    name = "docker"

    def __init__(self, _: Path, registry: str) -> None:
        self._registry = registry

    @staticmethod
    def found() -> bool:
        # The command alone says nothing: its daemon must answer.
        asked = [which("docker") or "false", "info"]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0

    def __enter__(self) -> Self:
        timed(["docker", "builder", "prune", "--all", "--force"])
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def build(self, context: Path, image: str, *, push: bool, platform: str) -> Sample:  # noqa: ARG002
        name = f"{self._registry}/{image}"
        words = ["docker", "build", "-t", name, str(context)]
        pid = int(subprocess.check_output(["pidof", "-s", "dockerd"]))
        with Watch(pid) as watch:
            sample = timed(words)
            if push:
                sample = Sample(sample.seconds + timed(["docker", "push", name]).seconds, 0)
        return Sample(sample.seconds, max(sample.megabytes, watch.peak))


TOOLS = (Wcbuild, BuildKit, Buildah, Docker)


def which(name: str) -> str:
    """Return where a program is, in PATH or where `go install` puts it; empty if nowhere."""
    places = (os.environ["PATH"], "/usr/sbin", "/sbin", os.environ.get("GOBIN", "/opt/gobin"))
    return shutil.which(name, path=":".join(places)) or ""


def remove(folder: Path) -> None:
    """Delete a store; some keep mounts in it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", mount], check=False)
    shutil.rmtree(folder, ignore_errors=True)


# -- cases


def write_contexts(folder: Path, base: str) -> dict[str, Path]:
    """Write the build contexts that the cases need."""
    runs, many, big = (folder / name for name in ("runs", "many", "big"))
    for context in (runs, many, big):
        context.mkdir()
    steps = "".join(f"RUN echo {number} > /step-{number}\n" for number in range(20))
    (runs / "Dockerfile").write_text(f"FROM {base}\n{steps}")
    for context in (many, big):
        (context / "Dockerfile").write_text(f"FROM {base}\nCOPY data /data\n")
    chance = random.Random(1)
    for number in range(FILES):
        path = many / "data" / f"{number // 1000:02}" / f"{number // 100 % 10}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(64, 2048)))
    (big / "data").mkdir()
    with (big / "data" / "file").open("wb") as file:
        for _ in range(BIG_FILE // MIB):
            file.write(chance.randbytes(MIB))
    return {"a": runs, "b": runs, "c": many, "d": many, "e": big, "f": big}


def push_base(folder: Path, registry: str) -> str:
    """Put a small base image of this machine's busybox into the registry; return its name."""
    root = folder / "base"
    (root / "bin").mkdir(parents=True)
    busybox = which("busybox")
    if not busybox:
        sys.exit("benchmarks need busybox-static, docker-registry, umoci and skopeo")
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in ("sh", "echo", "cat", "ls"):
        (root / "bin" / name).symlink_to("busybox")
    image = f"{folder / 'layout'}:1"
    for words in (
        ["tar", "-C", str(root), "--owner=0", "--group=0", "-cf", f"{folder}/base.tar", "."],
        ["umoci", "init", "--layout", f"{folder}/layout"],
        ["umoci", "new", "--image", image],
        ["umoci", "raw", "add-layer", "--image", image, f"{folder}/base.tar"],
        ["umoci", "config", "--image", image, "--config.env", "PATH=/bin"],
        [
            "skopeo",
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
            f"oci:{image}",
            f"docker://{registry}/base:1",
        ],
    ):
        timed(words)
    return f"{registry}/base:1"


def write_windows_contexts(folder: Path, many: Path, registry: str) -> dict[str, Path]:
    """Push a base for Windows images and write two contexts that stand on it."""
    script = Path(__file__).parents[1] / "fixtures" / "make_windows_base.py"
    # In a process of its own: a command's largest memory is at first that of its parent.
    timed([sys.executable, str(script), f"{folder}/windows", f"--fillers={WINDOWS_FILLERS}"])
    base = f"{registry}/windows:1"
    copy = ("copy", "--insecure-policy", "--dest-tls-verify=false")
    timed(
        [
            "skopeo",
            "--override-os=windows",
            *copy,
            f"oci:{folder}/windows:latest",
            f"docker://{base}",
        ]
    )
    shutil.rmtree(folder / "windows")
    contexts = {}
    for case in WINDOWS:
        contexts[case] = folder / f"windows-{case}"
        shutil.copytree(many, contexts[case])
        (contexts[case] / "data" / "case.txt").write_text(case)
        (contexts[case] / "Dockerfile").write_text(f"FROM {base}\nCOPY data C:/windows/data\n")
    return contexts


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Start Debian's registry for the `with` block and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
    )
    with daemon(["docker-registry", "serve", str(config)], port):
        yield f"127.0.0.1:{port}"


def measure(options: argparse.Namespace) -> dict[str, dict[str, list[Sample]]]:
    """Run all cases in turns; samples by case and tool."""
    tools = [tool for tool in TOOLS if tool.name in options.tools.split(",") and tool.found()]
    samples: dict[str, dict[str, list[Sample]]] = {
        case: {tool.name: [] for tool in tools} for case in options.cases
    }
    with (
        tempfile.TemporaryDirectory(prefix="wcbuild-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        address = stack.enter_context(registry(folder))
        contexts = write_contexts(folder, push_base(folder, address))
        if set(options.cases) & set(WINDOWS):
            contexts |= write_windows_contexts(folder, contexts["c"], address)
        for number in range(options.rounds):
            for cold in sorted({COLD.get(case, case) for case in options.cases}):
                for tool in tools:
                    if cold in WINDOWS and tool not in (Wcbuild, BuildKit):
                        continue
                    with tool(folder / "store", address) as builder:
                        for case in (
                            cold,
                            *(warm for warm, first in COLD.items() if first == cold),
                        ):
                            image = f"{tool.name}/{cold}{number}:1"
                            platform = "windows/amd64" if case in WINDOWS else ""
                            sample = builder.build(
                                contexts[case], image, push=case == "f", platform=platform
                            )
                            print(
                                f"round {number + 1} ({case}) {tool.name}: {sample.seconds:.2f} s,"
                                f" {sample.megabytes:.0f} MiB",
                                file=sys.stderr,
                            )
                            if case in samples:
                                samples[case][tool.name].append(sample)
    return samples


def report(samples: dict[str, dict[str, list[Sample]]]) -> str:
    """Return a table of medians, and of wcbuild's time as a part of each peer's."""
    names = list(next(iter(samples.values())))
    peers = [name for name in names if Wcbuild.name in names and name != Wcbuild.name]
    heads = ["case", *names, *(f"wcbuild / {peer}" for peer in peers)]
    lines = [heads, ["---"] * len(heads)]
    for case, by_tool in samples.items():
        times = {
            name: statistics.median(s.seconds for s in each)
            for name, each in by_tool.items()
            if each
        }
        sizes = {name: statistics.median(s.megabytes for s in by_tool[name]) for name in times}
        cells = [
            f"{times[name]:.2f} s, {sizes[name]:.0f} MiB" if name in times else "" for name in names
        ]
        ratios = [
            f"{times[Wcbuild.name] / times[peer]:.2f}" if peer in times else "" for peer in peers
        ]
        lines.append([f"({case}) {TITLES[case]}", *cells, *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default="abcdef", type=lambda text: "".join(sorted(set(text))))
    parser.add_argument("--tools", default="wcbuild,buildkit,buildah,docker")
    parser.add_argument("--json", metavar="FILE", help="also write every sample to FILE")
    options = parser.parse_args()
    samples = measure(options)
    print(f"{os.cpu_count()} processors, Linux {platform.release()}; medians of {options.rounds}\n")
    print(report(samples))
    if options.json:
        Path(options.json).write_text(json.dumps(samples, indent=1))


if __name__ == "__main__":
    main()
