r"""What a command finds in its environment: what it would find in a Windows container.

Nothing of it comes from this machine or from Wine, so that the same step gives the same result elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wcbuild.errors import SandboxError
from wcbuild.graph.ops import DEFAULT_HOSTNAME

ADMINISTRATOR = "ContainerAdministrator"
_ACCOUNT = re.compile(r"\w(?:[\w .-]{0,62}\w)?")
_OF_THE_BROWSER = ("History", "INetCache", "INetCookies")


def account(user: str) -> str:
    """Return the name of the account that a USER names; none is the administrator.

    Raises:
        SandboxError: no account can have this name.
    """
    name = user.rpartition("\\")[2] or ADMINISTRATOR
    if not _ACCOUNT.fullmatch(name):
        raise SandboxError(f'become user "{user}"', "that is no name of a Windows account")
    return name


def profile(user: str) -> str:
    r"""Return the user's folder, as a path of the drive: `Users\NAME`."""
    return f"Users\\{user}"


def folders(user: str) -> tuple[str, ...]:
    """Return the folders that a user has from the first moment on, as paths of the drive."""
    own = profile(user)
    return (
        "ProgramData",
        "Program Files\\Common Files",
        "Users\\Public",
        f"{own}\\AppData\\Roaming",
        f"{own}\\AppData\\Local\\Temp",
        *(f"{own}\\AppData\\Local\\Microsoft\\Windows\\{name}" for name in _OF_THE_BROWSER),
    )


def environment(
    user: str, given: Iterable[str], machine: Mapping[str, str], *, host: str = DEFAULT_HOSTNAME
) -> dict[str, str]:
    """Return a command's whole environment.

    Names keep the case of who gives them first; the last value counts, whatever the case.

    Args:
        user: the name, without a domain.
        given: `NAME=value`, of the step.
        machine: what earlier steps have put into the registry for all processes.
        host: the sandbox's name.
    """
    own = f"C:\\{profile(user)}"
    files, common = "C:\\Program Files", "C:\\Program Files\\Common Files"
    values = {
        "ALLUSERSPROFILE": "C:\\ProgramData",
        "APPDATA": f"{own}\\AppData\\Roaming",
        "CommonProgramFiles": common,
        "CommonProgramW6432": common,
        "COMPUTERNAME": host.upper(),
        "ComSpec": "C:\\Windows\\system32\\cmd.exe",
        "HOMEDRIVE": "C:",
        "HOMEPATH": own[2:],
        "LOCALAPPDATA": f"{own}\\AppData\\Local",
        "OS": "Windows_NT",
        "Path": "C:\\Windows\\system32;C:\\Windows;C:\\Windows\\System32\\Wbem",
        "PATHEXT": ".COM;.EXE;.BAT;.CMD;.VBS;.VBE;.JS;.JSE;.WSF;.WSH;.MSC",
        "PROCESSOR_ARCHITECTURE": "AMD64",
        "ProgramData": "C:\\ProgramData",
        "ProgramFiles": files,
        "ProgramW6432": files,
        "PROMPT": "$P$G",
        "PUBLIC": "C:\\Users\\Public",
        "SystemDrive": "C:",
        "SystemRoot": "C:\\Windows",
        "TEMP": f"{own}\\AppData\\Local\\Temp",
        "TMP": f"{own}\\AppData\\Local\\Temp",
        "USERDOMAIN": "User Manager",
        "USERNAME": user,
        "USERPROFILE": own,
        "windir": "C:\\Windows",
    }
    spelling = {name.upper(): name for name in values}
    for name, value in machine.items():
        values[spelling.setdefault(name.upper(), name)] = value
    for entry in given:
        name, equals, value = entry.partition("=")
        # Wine would take those for its own settings.
        if name and equals and not name.upper().startswith("WINE"):
            values[spelling.setdefault(name.upper(), name)] = value
    return values
