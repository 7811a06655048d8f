"""Sandboxes for tests: a process of each identity that runs commands and tells how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from canary import Canary

PROJECT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("sandbox_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"

LONER = 64_242
"""A user id that nobody has, so it has no ranges either."""

APPLETS = """
sh ash ls cat mount umount id true false ps sleep touch env stat find echo head tail ip grep wc df rm
mkdir chown chmod mknod mv cp ln test kill tty hostname readlink dd yes awk sed sort tr printf rmdir
setsid nc chroot su ulimit pwd seq unshare date sync chgrp
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Ended:
    """What a command did: or ``error``, which says why it never ran."""

    code: int
    signal: int
    out: str
    err: str
    out_of_memory: bool
    error: str
    hint: str
    keys: list | tuple = ()
    """Of the registry, where Wine ran the command: hive, path and values."""
    lost: list | tuple = ()
    lost_keys: list | tuple = ()
    streams: list | tuple = ()
    hidden: list | tuple = ()


class Sandboxes:
    """A server process of one identity, and a directory that it owns."""

    def __init__(self, kind: str, directory: Path, program: str, uid: int) -> None:
        self.kind = kind
        self.uid = uid
        self.directory = directory
        self._serial = 0
        self._answers: dict[int, dict] = {}
        directory.mkdir(mode=0o755)
        self.base = directory / "base"
        make_base(self.base)
        os.chown(directory, uid, uid)
        _chown_tree(self.base, uid)
        become = {"user": uid, "group": uid, "extra_groups": []} if uid != os.geteuid() else {}
        self.process = subprocess.Popen(
            [program, SERVER, "userns" if kind == "userns" else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "HOME": "/"},
            **become,
        )
        self.identity = json.loads(self.process.stdout.readline())

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def own(self, path: Path) -> Path:
        """Give what a test has written to the identity's root."""
        _chown_tree(path, self.uid)
        return path

    def folder(self) -> Path:
        """Return an empty folder that commands can be given."""
        self._serial += 1
        path = self.directory / f"folder{self._serial}"
        path.mkdir()
        return self.own(path)

    def root(self, *, plain: bool = False, base: Path | None = None) -> dict:
        """Return a fresh writable root: an overlay on the base, or a copy of it."""
        self._serial += 1
        base = base or self.base
        place = self.directory / f"root{self._serial}"
        place.mkdir()
        if plain:
            upper = place / "fs"
            shutil.copytree(base, upper, symlinks=True)
            root = {"upper": str(upper)}
        else:
            upper, work = place / "fs", place / "work"
            upper.mkdir(mode=0o755)
            work.mkdir()
            root = {"lower": [str(base)], "upper": str(upper), "work": str(work)}
        _chown_tree(place, self.uid)
        return root

    def python(self, program: str, **options) -> Ended:
        """Run a Python program; ctypes is how an attacker speaks to the kernel."""
        base = self.directory / "python-base"
        if not base.exists():
            (base / "usr").mkdir(parents=True)
            for name in ("bin", "lib", "lib64"):
                (base / name).symlink_to(f"usr/{name}")
            shutil.copytree(self.base / "etc", base / "etc")
            self.own(base)
        usr = {"target": "/usr", "source": "/usr", "read_only": True}
        root = {**self.root(), "lower": [str(base)]}
        return self.run(SYSTEM_PYTHON, "-c", program, root=root, mounts=(usr,), **options)

    def canary(self) -> Canary:
        """Return a tree outside of every root, but of the same owner."""
        self._serial += 1
        return Canary(self.directory / f"canary{self._serial}", owner=self.uid)

    def run(self, *args: str, root: dict | None = None, **spec) -> Ended:
        """Run a command; keywords are fields of `RunSpec`.

        ``broken_output`` makes the receiver of its output fail.
        """
        return self.wait(self.start(*args, root=root, **spec))

    def sh(self, script: str, **options) -> Ended:
        """Run a script of the shell, whose PATH is the usual one."""
        return self.run("/bin/sh", "-c", script, **options)

    def start(self, *args: str, root: dict | None = None, **spec) -> int:
        root = root or self.root()
        return self._send("run", root=root, spec={"args": args, **spec})

    def wine(self, line: str = "", *args: str, **options) -> Ended:
        """Run a command line of Windows, or arguments, in a drive that is empty but for `Windows`."""
        return self.wait(self.start_wine(line, *args, **options))

    def start_wine(
        self,
        line: str = "",
        *args: str,
        root: dict | None = None,
        keep: tuple = (),
        keys: list | tuple = (),
        overlay: bool = True,
        **spec,
    ) -> int:
        words = {"args": args} if args else {"args": [f"cmd /S /C {line}"], "verbatim": True}
        return self._send(
            "wine",
            root=root or self.drive(),
            directory=str(self.directory / "wine"),
            keep=keep,
            keys=keys,
            overlay=overlay,
            spec={**words, **spec},
        )

    def drive(self, files: dict[str, bytes] | None = None, *, plain: bool = False) -> dict:
        """Return a fresh drive C: with `Windows`, and these files."""
        self._serial += 1
        base = self.directory / f"drive{self._serial}"
        for name, data in {"Windows/System32/real.dll": b"the image's", **(files or {})}.items():
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return self.root(base=self.own(base), plain=plain)

    def attach(self, *args: str, typed: str = "", **spec) -> Ended:
        """Run with a terminal of its own, on which ``typed`` is typed when `ready` has appeared."""
        spec = {"args": args, "terminal": True, **spec}
        return self.wait(self._send("attach", root=self.root(), typed=typed, spec=spec))

    def cancel(self, number: int) -> None:
        self._send("cancel", number=number)

    def call(self, code: str) -> object:
        """Evaluate an expression in the server."""
        return self._receive(self._send("eval", code=code))["value"]

    def wait(self, number: int) -> Ended:
        return Ended(**self._receive(number))

    def _send(self, what: str, **fields) -> int:
        self._serial += 1
        request = json.dumps({"id": self._serial, "what": what, **fields})
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self._serial

    def _receive(self, number: int) -> dict:
        while number not in self._answers:
            line = self.process.stdout.readline()
            assert line, "the server has died"
            answer = json.loads(line)
            self._answers[answer.pop("id")] = answer
        return self._answers.pop(number)


def make_base(root: Path) -> None:
    """Make a root file system of busybox, without /dev, /proc, /sys and /etc/resolv.conf."""
    bin_directory = root / "bin"
    bin_directory.mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), bin_directory / "busybox")
    for name in APPLETS:
        (bin_directory / name).symlink_to("busybox")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\n"
        "app:x:1000:1001:app:/home/app:/bin/sh\n"
        "1000:x:0:0:trap:/root:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:root,app\naudio:x:29:app\napp:x:1001:\n")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def reason_against(kind: str) -> str:
    """Say why there can be no sandboxes of that identity here; empty if there can."""
    if not shutil.which("busybox"):
        return "needs busybox-static"
    if kind in {"root", "userns"} and os.geteuid() != 0:
        return "needs real root"
    program, uid = _program_and_user(kind)
    if uid is None:
        return "no user has ranges in /etc/subuid and /etc/subgid, or newuidmap is missing"
    if uid != os.geteuid():
        check = "import sys; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([program, "-c", check], check=False).returncode:
            return "needs a Python 3.11 that other users can run"
    return ""


@contextlib.contextmanager
def open_sandboxes(kind: str) -> Iterator[Sandboxes]:
    """Start a server of that identity, in a directory that is gone afterwards."""
    # Not in pytest's directory: that one is closed to other users.
    place = Path(tempfile.mkdtemp(prefix="wcbuild-sandboxes-"))
    place.chmod(0o755)
    program, uid = _program_and_user(kind)
    opened = Sandboxes(kind, place / kind, program, uid)
    try:
        yield opened
    finally:
        opened.close()
        # overlayfs leaves directories that not even their owner may read.
        subprocess.run(["chmod", "-R", "u+rwX", place], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(place, ignore_errors=True)


def _program_and_user(kind: str) -> tuple[str, int | None]:
    if os.geteuid() != 0:
        return sys.executable, os.geteuid()
    if kind in {"root", "userns"}:
        return sys.executable, 0
    return SYSTEM_PYTHON, _ranged_user() if kind == "range" else LONER


def _ranged_user(wanted: int | None = None) -> int | None:
    """Return a user (or the one wanted, if so) that newuidmap would serve."""
    if not shutil.which("newuidmap"):
        return None
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
        groups = Path("/etc/subgid").read_text()
    except OSError:
        return None
    for line in lines:
        name = line.partition(":")[0]
        try:
            uid = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
        if uid and f"{name}:" in groups and wanted in {None, uid}:
            return uid
    return None


def _chown_tree(path: Path, uid: int) -> None:
    if uid == os.geteuid():
        return
    for directory, names, files in os.walk(path):
        for name in (".", *names, *files):
            place = os.path.join(directory, name)
            mode = stat.S_IMODE(os.lstat(place).st_mode)
            os.lchown(place, uid, uid)
            if not os.path.islink(place):
                os.chmod(place, mode)


def _kinds() -> list:
    """Return the identities that tests run as; an ordinary user has but one."""
    if os.geteuid() != 0:
        own = "single" if _ranged_user(os.geteuid()) is None else "range"
        return [pytest.param(own, marks=pytest.mark.userns)]
    return [
        pytest.param("root", marks=pytest.mark.root),
        pytest.param("userns", marks=[pytest.mark.root, pytest.mark.slow]),
        pytest.param("range", marks=[pytest.mark.userns, pytest.mark.slow]),
        pytest.param("single", marks=[pytest.mark.userns, pytest.mark.slow]),
    ]


KINDS = _kinds()
"""Real root, real root in a user namespace, a user with a range of ids, a user with one id.

Whoever runs the tests is one of them; root's other identities are slow for their number.
"""
