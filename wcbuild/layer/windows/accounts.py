"""Who owns files of a Windows image: the accounts that are the same on every Windows.

Others stand in the image's SAM hive or in a domain, and only Windows can tell their SIDs.
"""

from __future__ import annotations

from wcbuild.layer.windows import sddl

ADMINISTRATORS = "S-1-5-32-544"
SYSTEM = "S-1-5-18"
USERS = "S-1-5-32-545"

_ACCOUNTS = {
    "containeradministrator": "S-1-5-93-2-1",
    "containeruser": "S-1-5-93-2-2",
    "administrators": ADMINISTRATORS,
    "users": USERS,
    "guests": "S-1-5-32-546",
    "power users": "S-1-5-32-547",
    "system": SYSTEM,
    "local system": SYSTEM,
    "localsystem": SYSTEM,
    "local service": "S-1-5-19",
    "network service": "S-1-5-20",
    "authenticated users": "S-1-5-11",
    "everyone": "S-1-1-0",
    "trustedinstaller": "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
}
_PREFIXES = ("builtin\\", "nt authority\\", "nt service\\", "user manager\\")
_GROUP_RIGHTS = "GRGWGXRCWDSD"
"""What the classic builder's --chown gives."""


def find_sid(name: str) -> str | None:
    """Return the SID of an account: a name in any case, a two-letter alias of SDDL, or a SID itself."""
    try:
        return sddl.parse(f"O:{name}").owner or None
    except sddl.SecurityDescriptorError:
        pass
    lowered = name.lower()
    for prefix in _PREFIXES:
        lowered = lowered.removeprefix(prefix)
    return _ACCOUNTS.get(lowered)


def owned_by(sid: str, group: str = "") -> bytes:
    """Return the binary descriptor that the classic builder's --chown gives to files and directories.

    Administrators and the system may do all, the owner everything but take ownership; nothing is
    inherited from the directory above.
    """
    rights = f"D:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)(A;OICI;{_GROUP_RIGHTS};;;{sid})"
    descriptor = sddl.parse(f"O:{sid}{rights}")
    return sddl.encode(descriptor._replace(group=group))
