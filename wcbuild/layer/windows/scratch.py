"""The base that `FROM scratch` stands on for Windows.

A base layer must have five registry hives, valid ones since Windows Server 2025, and docker asks for the
boot configuration of a utility VM as well. That is all there is: no system, so nothing runs on it
but HostProcess containers, and images that are only copied from.

Spec: https://github.com/microsoft/windows-host-process-containers-base-image
"""

from __future__ import annotations

from wcbuild.layer import tar
from wcbuild.layer.changes import DIRECTORY, FILE, Meta
from wcbuild.layer.windows import records, sddl
from wcbuild.layer.windows.hive import empty_hive
from wcbuild.layer.windows.write import FILES, header_in_tar

HIVE_NAMES = ("DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM")
_CONFIG = f"{FILES}/Windows/System32/config"
_BOOT = "UtilityVM/Files/EFI/Microsoft/Boot"
_HIVE_SDDL = "O:BAG:SYD:(A;CI;KA;;;BA)(A;CI;KA;;;SY)"


def scratch_layer() -> bytes:
    """Return the tar of the base layer; always the same bytes, with times of 1970."""
    hive = empty_hive(sddl.encode(sddl.parse(_HIVE_SDDL)))
    parts = []
    for folder, files in ((_CONFIG, HIVE_NAMES), (_BOOT, ("BCD",))):
        steps = folder.split("/")
        parts += [
            _entry("/".join(steps[: depth + 1]), Meta(DIRECTORY, 0o755))
            for depth in range(len(steps))
        ]
        for name in files:
            meta = Meta(FILE, 0o644, size=len(hive))
            parts += [_entry(f"{folder}/{name}", meta), hive, tar.padding(len(hive))]
    return b"".join((*parts, tar.END_OF_ARCHIVE))


def _entry(path: str, meta: Meta) -> bytes:
    return header_in_tar(path, records.complete(meta, None))
