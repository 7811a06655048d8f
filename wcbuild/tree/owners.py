"""Who owns what COPY --chown and WORKDIR make: names looked up in the image's own files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wcbuild.layer.changes import FILE
from wcbuild.tree.base import FileTree
from wcbuild.tree.content import open_content
from wcbuild.tree.errors import InvalidOwnerError
from wcbuild.tree.paths import resolve

MAX_FILE_BYTES = 1024 * 1024
"""Of /etc/passwd and /etc/group, which come from an image and may be anything."""
MAX_ID = 2**32 - 2
"""The kernel's last id means "leave it as it is"."""

_NUMBER = re.compile(r"[-+]?[0-9]+")


def find_owner(text: str, tree: FileTree) -> tuple[int, int]:
    """Return the uid and gid that `user[:group]` means in ``tree``.

    A number alone is both; a name brings the group that passwd says; `:group` is root's. As for other
    builders, a user that the image does not know is 0, and `user:group` of an unknown group is `user`.

    Raises:
        InvalidOwnerError: a number that is no id, or passwd or group is not a file of sensible size.
    """
    user, _, group = text.partition(":")
    uid = _number(text, user)
    if uid is not None:
        gid = uid
    else:
        uid, gid = _passwd(text, user, tree) if user else (0, 0)
    if group:
        number = _number(text, group)
        gid = number if number is not None else _group(text, group, tree, default=gid)
    return uid, gid


def has_name(text: str) -> bool:
    """Say whether `user[:group]` has a part that only an image's files can explain."""
    parts = text.split(":", 1)
    return any(part and part != "root" and not _NUMBER.fullmatch(part) for part in parts)


def find_account(text: str) -> tuple[str, str]:
    """Return the SIDs of owner and group that `user[:group]` means for a Windows image, "" for no group.

    A group that nobody can resolve is none: it gives nobody any access there.

    Raises:
        InvalidOwnerError: an owner that is not the same on every Windows.
    """
    from wcbuild.layer.windows.accounts import find_sid  # noqa: PLC0415 - most images are Linux's

    user, _, group = text.partition(":")
    owner = find_sid(user)
    if owner is None:
        reason = (
            "no account stands before the colon"
            if not user
            else (
                f'the account "{user}" cannot be resolved without running Windows; ContainerAdministrator, '
                "ContainerUser, built-in accounts such as Users or BA, and SIDs can"
            )
        )
        raise InvalidOwnerError(text, reason)
    return owner, find_sid(group) or ""


def _number(text: str, part: str) -> int | None:
    if part == "root":
        return 0
    if not _NUMBER.fullmatch(part):
        return None
    # Compared by length first: turning a million digits into a number takes minutes.
    if not part.isdigit() or len(part.lstrip("0")) > len(str(MAX_ID)) or int(part) > MAX_ID:
        raise InvalidOwnerError(text, f"an id is a number between 0 and {MAX_ID}")
    return int(part)


def _passwd(text: str, name: str, tree: FileTree) -> tuple[int, int]:
    for fields in _records(text, "etc/passwd", tree):
        if fields[0] == name and len(fields) > 3:  # noqa: PLR2004 - name, password, uid, gid
            return _number(text, fields[2]) or 0, _number(text, fields[3]) or 0
    return 0, 0


def _group(text: str, name: str, tree: FileTree, *, default: int) -> int:
    for fields in _records(text, "etc/group", tree):
        if fields[0] == name and len(fields) > 2:  # noqa: PLR2004 - name, password, gid
            return _number(text, fields[2]) or 0
    return default


def _records(text: str, path: str, tree: FileTree) -> Iterator[list[str]]:
    """Yield the colon-separated fields of each line of a file, which may be missing."""
    node = tree.find(resolve(tree, path))
    if node is None:
        return
    if node.meta.kind != FILE or node.meta.size > MAX_FILE_BYTES:
        reason = f'"/{path}" of the image is not a file of at most {MAX_FILE_BYTES} bytes'
        raise InvalidOwnerError(text, reason)
    with open_content(node) as file:
        data = file.read(MAX_FILE_BYTES)
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        if line and not line.startswith("#"):
            yield line.strip().split(":")
