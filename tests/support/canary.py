"""A tree outside the root that an attack must not touch."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path


class Canary:
    """Files whose every visible property is remembered; `check` compares them."""

    def __init__(self, path: Path, *, owner: int | None = None) -> None:
        self.path = path
        (path / "d/sub").mkdir(parents=True)
        (path / "f").write_bytes(b"secret")
        (path / "d/sub/g").write_bytes(b"deep")
        (path / "link").symlink_to("f")
        os.mkfifo(path / "fifo")
        for each in (path, path / "d", path / "d/sub", path / "f", path / "d/sub/g"):
            os.utime(each, (1_000_000_000, 1_000_000_000))
        if owner is not None:
            for each in (path, *path.rglob("*")):
                os.lchown(each, owner, owner)
        self._before = dict(self._facts())

    def _facts(self) -> Iterator[tuple[str, object]]:
        for base, folders, files in os.walk(self.path):
            for name in ["", *folders, *files]:
                path = os.path.join(base, name)
                found = os.lstat(path)
                content = b""
                if stat.S_ISREG(found.st_mode):
                    with open(path, "rb") as file:
                        content = file.read()
                yield (
                    path,
                    (
                        found.st_ino,
                        found.st_mode,
                        found.st_uid,
                        found.st_gid,
                        found.st_nlink,
                        found.st_mtime_ns,
                        found.st_ctime_ns,
                        content,
                    ),
                )

    def check(self) -> None:
        """Fail if anything is not as it was."""
        assert dict(self._facts()) == self._before
