r"""The template: Wine's own `C:\Windows` and registry, made once for a Wine and a store.

    <store>/wine/<version>/
      windows/            what steps see as C:\Windows, below what they write there
      system.reg …        the registry that steps start with
      root/               the directory that sandboxes' roots stand on

It takes seconds to make, and 20 MiB: most of its files are symlinks to Wine's own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from registry.files import FileLock
from wcbuild.errors import CancelledError, SandboxError
from wcbuild.sandbox.base import ExitStatus, RootMount, RunSpec
from wcbuild.sandbox.wine import launcher, registry, rooms
from wcbuild.sandbox.wine.environment import ADMINISTRATOR
from wcbuild.sandbox.wine.install import Wine

LIARS = (
    *("certutil.exe", "cscript.exe", "dism.exe", "findstr.exe", "fsutil.exe", "icacls.exe"),
    *("cacls.exe", "powershell.exe", "schtasks.exe", "sdbinst.exe", "secedit.exe", "setx.exe"),
    *("shutdown.exe", "where.exe", "wscript.exe", "wusa.exe", "mshta.exe", "netsh.exe"),
    *("wevtutil.exe", "winmgmt.exe", "lodctr.exe", "unlodctr.exe", "tasklist.exe", "regini.exe"),
    *("arp.exe", "fc.exe", "subst.exe", "systeminfo.exe"),
)
"""Programs of Wine's that do nothing, or nothing of what they are asked, and report success."""

_SERVICE = re.compile(
    r"\n\[System\\\\CurrentControlSet\\\\Services\\\\([^\]\\]+)\] .*?(?=\n\[|\Z)", re.DOTALL
)
"""A service's key in `system.reg`."""

_ALWAYS = ("MountMgr", "nsiproxy")

_PATIENCE_S = 0.1

FORMAT = "2"
"""Changes when a template is made in another way."""

Run = Callable[[RootMount, RunSpec, Callable[[int, bytes], None], Event | None], ExitStatus]


@dataclass(frozen=True, slots=True)
class Template:
    """A finished template."""

    path: Path

    @property
    def windows(self) -> Path:
        r"""`C:\Windows`."""
        return self.path / "windows"

    @property
    def root(self) -> Path:
        """What sandboxes' roots stand on."""
        return self.path / "root"

    def registry(self) -> dict[str, str]:
        """Return the registry files by name."""
        return {name: (self.path / name).read_text("utf-8") for name in registry.FILES}


def find_or_make(directory: Path, wine: Wine, run: Run, cancel: Event | None) -> Template:
    """Return the template of ``wine`` in ``directory``, making it if it is not there.

    Of several processes that want it one makes it, and the others wait.

    Raises:
        SandboxError: Wine could not set itself up.
        CancelledError: ``cancel`` was set meanwhile.
    """
    path = directory / f"{wine.name}.{FORMAT}"
    if path.is_dir():
        return Template(path)
    import shutil  # noqa: PLC0415 - only when there is something to make

    directory.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(directory / f".{path.name}.lock")
    while not lock.acquire(shared=False, wait=False):
        _pause(cancel)
    try:
        if not path.is_dir():
            new = directory / f".{path.name}.{os.urandom(4).hex()}"
            try:
                _make(new, wine, run, cancel)
                os.rename(new, path)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    finally:
        lock.release()
    return Template(path)


def _pause(cancel: Event | None) -> None:
    """Let some time go by while another process makes the template."""
    if cancel is None:
        time.sleep(_PATIENCE_S)
    elif cancel.wait(_PATIENCE_S):
        raise CancelledError


def _make(path: Path, wine: Wine, run: Run, cancel: Event | None) -> None:
    import shutil  # noqa: PLC0415 - only when there is something to make

    path.mkdir(mode=0o700)
    root, prefix = path / "root", path / "prefix"
    rooms.make_root(root, wine)
    prefix.mkdir(mode=0o755)
    (prefix / "drive_c").mkdir()
    (prefix / "dosdevices").mkdir()
    (prefix / "dosdevices/c:").symlink_to("../drive_c")
    said: list[bytes] = []
    # The second time it writes what it writes at every start, which is no step's doing.
    for args in (("wineboot", "-i"), ("cmd", "/C", "exit")):
        spec = rooms.spec(wine, args, user=ADMINISTRATOR, off=(), prefix=prefix)
        status = run(RootMount(lower=(root,)), spec, lambda _, data: said.append(data), cancel)
        if status.code:
            break
    if cancel is not None and cancel.is_set():
        raise CancelledError
    windows = prefix / "drive_c/windows"
    if status.code or not (windows / "system32/kernel32.dll").exists():
        last = b"".join(said).decode(errors="replace").strip().splitlines()[-1:] or [""]
        raise SandboxError("set up Wine", f"wineboot ended with status {status.code}: {last[0]}")
    _share_files(windows, wine)
    refusal = launcher.program()
    for name in LIARS:
        target = windows / "system32" / name
        target.unlink(missing_ok=True)
        target.write_bytes(refusal)
    os.rename(windows, path / "windows")
    for name in registry.FILES:
        text = (prefix / name).read_text("utf-8")
        text = _SERVICE.sub(_on_demand, text)
        if name == registry.USER_FILE:
            # Programs that make windows work without a screen.
            text += '\n[Software\\\\Wine\\\\Drivers] 0\n"Graphics"="null"\n'
        (path / name).write_text(_at_rest(text), "utf-8")
    shutil.rmtree(prefix)


def _on_demand(service: re.Match[str]) -> str:
    """Let a service start when it is asked for, not with Windows: that takes half of a step's time.

    But for those that programs believe to be there: without them `dir` fails, and there are no networks.
    """
    if service[1] in _ALWAYS:
        return service[0]
    return service[0].replace('"Start"=dword:00000002', '"Start"=dword:00000003')


def _at_rest(text: str) -> str:
    """Leave out the times of keys, which would make each template another one."""
    text = re.sub(r"\n#time=[0-9a-f]+", "", text)
    return re.sub(r"(?m)^(\[.*\]) [0-9]+$", r"\1 0", text)


def _share_files(windows: Path, wine: Wine) -> None:
    """Replace Wine's copies of its own libraries with symlinks to them."""
    originals = _originals(wine)
    if originals is None:
        return
    for folder, _, names in os.walk(windows):
        for name in names:
            copy, original = os.path.join(folder, name), str(originals / name)
            if not os.path.islink(copy) and _same(copy, original):
                os.unlink(copy)
                os.symlink(original, copy)


def _originals(wine: Wine) -> Path | None:
    own = Path(wine.loader).parent.parent
    places = [*own.glob("lib*/wine/x86_64-windows"), *own.glob("*/wine/x86_64-windows")]
    places += [*Path("/usr").glob("lib*/wine/x86_64-windows")]
    places += [*Path("/usr/lib").glob("*/wine/x86_64-windows")]
    return next(iter(places), None)


def _same(copy: str, original: str) -> bool:
    try:
        with open(copy, "rb") as one, open(original, "rb") as other:
            if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
                return False
            return one.read() == other.read()
    except OSError:
        return False
