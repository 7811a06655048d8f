"""What every sandbox with Wine has, whatever runs in it."""

from __future__ import annotations

import os
from pathlib import Path

from wcbuild.sandbox.base import RunSpec, SandboxMount, SuppliedFile
from wcbuild.sandbox.wine import launcher
from wcbuild.sandbox.wine.install import Wine

PREFIX = "/prefix"
DRIVE = f"{PREFIX}/drive_c"

_ENVIRONMENT = (
    "HOME=/tmp",
    "LC_ALL=C.UTF-8",
    f"WINEPREFIX={PREFIX}",
    "WINEDEBUG=-all",
    f"LD_PRELOAD={launcher.RENAMES}",
)
# No .NET and HTML of Wine's, which would be fetched; no menus; no debugger that waits for a person.
_OFF = "mscoree,mshtml,winemenubuilder.exe,winedbg.exe="

_FONTS = b"<fontconfig><cachedir>/tmp/fonts</cachedir></fontconfig>\n"

_SCRIPT = """\
cd "$WINEPREFIX/drive_c" || exit 125
"$@"
status=$?
for process in /proc/[0-9]*; do
    number=${process#/proc/}
    read -r name < "$process/comm" || continue
    case $name in
        wineserver*) server=$number ;;
        *) [ "$number" = 1 ] || kill -KILL "$number" ;;
    esac
done 2> /dev/null
kill -INT "$server" 2> /dev/null
"$WINESERVER" --wait
exit "$status"
"""
"""Process 1. The server writes the registry when it is told to end, which must be before its namespace
does. It waits half a second for processes that do not end at once, so that they are ended first; and
`wineserver --kill`, which sends the same signal, sleeps before it looks whether that has worked."""


def make_root(path: Path, wine: Wine) -> None:
    """Make the directory that a sandbox's root stands on, all of whose content is mounted."""
    path.mkdir(mode=0o755)
    for name in wine.directories:
        if os.path.islink(name):
            (path / name[1:]).symlink_to(os.readlink(name))
        else:
            (path / name[1:]).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "etc", "run", "tmp", "prefix"):
        if not (path / name).exists():
            (path / name).mkdir()


def spec(
    wine: Wine,
    args: tuple[str, ...],
    *,
    user: str,
    off: tuple[str, ...],
    prefix: Path,
    mounts: tuple[SandboxMount, ...] = (),
    files: tuple[SuppliedFile, ...] = (),
) -> RunSpec:
    """Return how Wine is told to run ``args``, whose first one is a path of Windows or Unix.

    Args:
        wine: which.
        args: the program and its arguments.
        user: what the Windows user is called.
        off: programs of Wine's that must not be taken in place of ours of the same name.
        prefix: the directory for Wine's registry and drives.
        mounts: after the prefix.
        files: as in `RunSpec`.
    """
    shown = [
        SandboxMount(target=name, source=Path(name), read_only=True)
        for name in wine.directories
        if not os.path.islink(name)
    ]
    shell = SandboxMount(target="/bin/sh", source=Path(os.path.realpath("/bin/sh")), read_only=True)
    overrides = ";".join((_OFF, *(f"{name}=n" for name in off)))
    return RunSpec(
        args=("/bin/sh", "-c", _SCRIPT, "wine", wine.loader, *args),
        env=(*_ENVIRONMENT, f"WINEDLLOVERRIDES={overrides}", f"WINESERVER={wine.server}"),
        mounts=(
            *shown,
            shell,
            SandboxMount(target="/tmp", mode=0o1777),  # noqa: S108 - the sandbox's own
            SandboxMount(target=PREFIX, source=prefix),
            *mounts,
        ),
        files=(
            SuppliedFile("/etc/passwd", f"{user}:x:0:0::/tmp:/bin/sh\n".encode(), 0o644),
            # Without one the library complains on the command's stderr.
            SuppliedFile("/etc/fonts/fonts.conf", _FONTS, 0o644),
            SuppliedFile("/etc/group", b"root:x:0:\n", 0o644),
            *_loader_cache(),
            SuppliedFile(launcher.RENAMES, launcher.renames(), 0o755),
            *files,
        ),
    )


def _loader_cache() -> tuple[SuppliedFile, ...]:
    """Return the index of the machine's libraries, for those beside the usual directories."""
    try:
        return (SuppliedFile("/etc/ld.so.cache", Path("/etc/ld.so.cache").read_bytes(), 0o644),)
    except OSError:
        return ()
