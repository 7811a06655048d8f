"""Overlay mounts: the one place that knows the options, so that snapshots and sandboxes agree on them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from wcbuild import kernel

_FIRST_USER_NAMESPACE = "user:[4026531837]"  # the kernel's PROC_USER_INIT_INO

_MAX_OPTIONS = os.sysconf("SC_PAGE_SIZE") - 1
"""mount(2) takes one page of text, enough for more than two hundred layers."""


def user_xattrs() -> bool:
    """Say whether overlays must keep their marks in `user.overlay.*`.

    Only the first user namespace may use `trusted.overlay.*`.
    """
    try:
        return os.readlink("/proc/self/ns/user") != _FIRST_USER_NAMESPACE
    except FileNotFoundError:
        return False  # a kernel without user namespaces


def opaque_xattr() -> str:
    """Return the name of the attribute that makes a directory hide what is below it."""
    return "user.overlay.opaque" if user_xattrs() else "trusted.overlay.opaque"


def mount(
    target: Path, *, lower: Sequence[Path], upper: Path | None, work: Path | None, flags: int = 0
) -> None:
    """Mount an overlay, ``lower`` topmost first; without ``upper`` and ``work`` it is read-only.

    The kernel wants one lower directory at least, two when there is no upper one.
    Renames of lower directories answer EXDEV (programs then copy), files are always copied up whole,
    and hard links of lower files are broken when written to: an upper directory alone is the difference.

    Raises:
        OSError: the kernel refused.
    """
    # Descriptors stand in for the paths: short, and without the characters that separate options.
    with contextlib.ExitStack() as open_directories:

        def name(path: Path) -> str:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            open_directories.callback(os.close, fd)
            return f"/proc/self/fd/{fd}"

        options = "redirect_dir=nofollow,metacopy=off,index=off,xino=off"
        if user_xattrs():
            options += ",userxattr"
        options += ",lowerdir=" + ":".join(name(path) for path in lower)
        if upper is None or work is None:
            variants = [options]
        else:
            _forget_volatile(work)
            options += f",upperdir={name(upper)},workdir={name(work)}"
            # Without `volatile` every unmount writes the whole host file system to its disk.
            # Kernels before 5.10 do not know it.
            variants = [f"{options},volatile", options]
        if len(variants[0]) > _MAX_OPTIONS:
            raise OSError(errno.E2BIG, f"{len(lower)} layers are too many for one overlay")
        for position, data in enumerate(variants, start=1):
            try:
                kernel.mount("overlay", str(target), "overlay", flags, data)
            except OSError as error:
                if error.errno != errno.EINVAL or position == len(variants):
                    raise
            else:
                return


def _forget_volatile(work: Path) -> None:
    """Let a directory that was mounted as `volatile` be mounted once more.

    The kernel leaves this mark because after a crash of the machine the content may be incomplete;
    snapshots do not outlive the boot they were made in.
    """
    mark = f"{work}/work/incompat/volatile"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{mark}/dirty")
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(mark)
