"""Platforms: `os[(version)]/architecture[/variant]`.

Spelling and normalisation follow containerd's `platforms` package, which docker uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from registry.errors import InvalidDocumentError, InvalidPlatformError

_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
}
"""Other names, and the variant that is meant by one; None is whichever is named."""
_VARIANTS = {
    "amd64": {"v1": ""},
    "arm": {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"},
    "arm64": {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"},
}
_KNOWN_OS = frozenset(
    (
        *("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js"),
        *("linux", "nacl", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos"),
    )
)
_KNOWN_ARCHITECTURES = frozenset(
    (
        *("386", "amd64", "amd64p32", "arm", "arm64", "arm64be", "armbe", "loong64", "mips"),
        *("mips64", "mips64le", "mips64p32", "mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le"),
        *("riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm"),
    )
)
"""One part alone has to be known; beside another, it may be anything."""
_OS_PART = re.compile(
    r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)((?:\+[A-Za-z0-9_.-]+)*)\))?", re.ASCII
)
_VERSION_BEHIND = re.compile(r"(?P<rest>[^:]+):(?P<version>[A-Za-z0-9_.-]+)", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on.

    Spec: https://github.com/opencontainers/image-spec/blob/main/image-index.md
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse `linux/arm/v7`, `arm64`, `windows(10.0.20348)/amd64`; a lone part is an os or a machine.

        Features stand behind the version, `windows(10.0.20348+win32k)/amd64`. `windows/amd64:10.0.20348`
        is another spelling, which crane uses.

        Raises:
            InvalidPlatformError: not a platform.
        """
        behind = _VERSION_BEHIND.fullmatch(text)
        parts = (behind["rest"] if behind else text).split("/")
        if not text or len(parts) > 3:  # noqa: PLR2004 - os, architecture, variant
            raise InvalidPlatformError(f'platform "{text}"', "expected os/architecture[/variant]")
        head = _OS_PART.fullmatch(parts[0])
        if head is None or not all(_PART.fullmatch(part) for part in parts[1:]):
            raise InvalidPlatformError(f'platform "{text}"', "has a part that is not a plain word")
        name = {"macos": "darwin"}.get(head[1].lower(), head[1].lower())
        if len(parts) == 1 and name not in _KNOWN_OS:
            alone = cls(os="linux", architecture=parts[0].lower()).normalized()
            if alone.architecture not in _KNOWN_ARCHITECTURES:
                reason = "is neither an operating system nor an architecture"
                raise InvalidPlatformError(f'platform "{text}"', reason)
            return alone
        version = head[2] or (behind["version"] if behind else "")
        if name == "windows" and version and not _version(version):
            reason = f'"{version}" is no version of Windows, as 10.0.20348 is one'
            raise InvalidPlatformError(f'platform "{text}"', reason)
        architecture = parts[1] if len(parts) > 1 else "amd64"
        variant = parts[2] if len(parts) > 2 else ""  # noqa: PLR2004
        return cls(
            os=name,
            architecture=architecture.lower(),
            variant=variant.lower(),
            os_version=version,
            os_features=tuple(filter(None, (head[3] or "").split("+"))),
        ).normalized()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Platform:
        """Read the `platform` object of an index entry, or the same keys of an image config.

        Raises:
            InvalidDocumentError: the features are not a list.
        """
        features = data.get("os.features")
        if features is not None and not isinstance(features, list):
            raise InvalidDocumentError("platform os.features", "is not a list")
        return cls(
            os=str(data.get("os", "")),
            architecture=str(data.get("architecture", "")),
            variant=str(data.get("variant", "")),
            os_version=str(data.get("os.version", "")),
            os_features=tuple(str(feature) for feature in features or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the `platform` object in the specification's order, empty fields left out."""
        data: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            data["os.version"] = self.os_version
        if self.os_features:
            data["os.features"] = list(self.os_features)
        if self.variant:
            data["variant"] = self.variant
        return data

    def normalized(self) -> Platform:
        """Return the platform with aliases resolved and default variants in their usual place."""
        architecture, implied = _ARCHITECTURES.get(self.architecture, (self.architecture, None))
        variant = self.variant if implied is None else implied
        variant = _VARIANTS.get(architecture, {}).get(variant, variant)
        return Platform(
            os=self.os,
            architecture=architecture,
            variant=variant,
            os_version=self.os_version,
            os_features=tuple(sorted(self.os_features)),
        )

    def accepts(self, candidate: Platform) -> bool:
        """Say whether an image for ``candidate`` is what somebody asking for this platform wants.

        For Windows, the version is that of a machine: `runs_on_windows` says which images it runs.
        """
        mine, theirs = self.normalized(), candidate.normalized()
        if (mine.os, mine.architecture) != (theirs.os, theirs.architecture):
            return False
        if mine.variant != theirs.variant:
            return False
        if mine.os == "windows":
            return runs_on_windows(theirs.os_version, mine.os_version)
        return not mine.os_version or _same_build(mine.os_version, theirs.os_version)

    def names(self, candidate: Platform) -> bool:
        """Say whether ``candidate`` is one of those that this names: of a version all its revisions.

        Unlike `accepts` this is not about what runs: a machine with Windows 10.0.26100 runs images of
        10.0.20348, which is another platform.
        """
        mine, theirs = self.normalized(), candidate.normalized()
        parts = mine.os_version.split(".") if mine.os_version else []
        is_same = replace(mine, os_version="", os_features=()) == replace(
            theirs, os_version="", os_features=()
        )
        return is_same and theirs.os_version.split(".")[: len(parts)] == parts

    def versions_down_to(self, candidate: Platform) -> int | None:
        """Return how many variants older ``candidate`` is: 0 if accepted, None if it will not run here.

        A machine runs what was made for older variants of its architecture: arm/v6 on arm/v7.
        """
        mine, theirs = self.normalized(), candidate.normalized()
        if not replace(mine, variant=theirs.variant).accepts(theirs):
            return None
        if mine.variant == theirs.variant:
            return 0
        newest, older = _variant_number(mine), _variant_number(theirs)
        if newest is None or older is None or older > newest:
            return None
        return newest - older

    @property
    def version(self) -> tuple[int, ...]:
        """The four numbers of a Windows version; all 0 if there is none."""
        return (*_version(self.os_version), 0, 0, 0, 0)[:4]

    def __str__(self) -> str:
        options = "+".join((self.os_version, *sorted(self.os_features)))
        version = f"({options})" if options else ""
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.os}{version}/{self.architecture}{variant}"


def runs_on_windows(image: str, machine: str) -> bool:
    """Say whether containers of an image run on a machine, given their versions of Windows.

    The rules are containerd's for process isolation. Major and minor are the same. Before Windows Server
    2022 the build has to be the same, too; since then a machine also runs the images of older builds,
    back to the last long-term release before its own. A version of fewer than three numbers says
    nothing.
    """
    mine, theirs = _version(machine)[:3], _version(image)[:3]
    if not mine or not theirs:
        return True
    *_, build = mine
    if mine[:2] != theirs[:2]:
        return False
    if build < _LONG_TERM_BUILDS[0]:
        return theirs == mine
    oldest = max((each for each in _LONG_TERM_BUILDS if each < build), default=build)
    return oldest <= theirs[2] <= build


_LONG_TERM_BUILDS = (20348, 26100)
"""Windows Server 2022 and 2025."""


def _version(text: str) -> tuple[int, ...]:
    """Return the numbers of `10.0.20348.2700`; none if it is not at least three."""
    parts = text.split(".")
    digits = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)  # noqa: PLR2004
    return tuple(map(int, parts)) if digits and len(parts) in (3, 4) else ()


def _variant_number(platform: Platform) -> int | None:
    """Return the N of variant `vN`; what has no variant is the oldest of its architecture."""
    oldest = {"amd64": "v1", "arm64": "v8"}.get(platform.architecture, "")
    found = re.fullmatch(r"v([0-9]{1,2})", platform.variant or oldest)
    return int(found[1]) if found else None


def _same_build(wanted: str, offered: str) -> bool:
    """Compare the first three parts, `10.0.20348`; the revision does not matter to Windows."""
    return wanted.split(".")[:3] == offered.split(".")[:3]
