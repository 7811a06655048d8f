"""Windows programs and installers for tests, made on the spot."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

COMPILER = "x86_64-w64-mingw32-gcc"

_INSTALLER = """\
<?xml version='1.0' encoding='utf-8'?>
<Wix xmlns='http://schemas.microsoft.com/wix/2006/wi'>
  <Product Name='Demo' Id='2d3f0f1c-6f57-4f0d-8a44-5d1c7d0b9a10' Version='1.0.0' Language='1033'
      UpgradeCode='8c0f3f0e-9f6b-4e9b-9d38-6a5c2d0a7a11' Manufacturer='Example'>
    <Package Id='*' Manufacturer='Example' InstallerVersion='200' Languages='1033'
        Compressed='yes' SummaryCodepage='1252'/>
    <Media Id='1' Cabinet='demo.cab' EmbedCab='yes'/>
    <Directory Id='TARGETDIR' Name='SourceDir'>
      <Directory Id='ProgramFiles64Folder'>
        <Directory Id='INSTALLDIR' Name='Demo'>
          <Component Id='Main' Guid='5b0c1e5e-6b0e-4b5a-8a34-0f4a7c1d2e33' Win64='yes'>
            <File Id='F' Name='hello.txt' Source='hello.txt' KeyPath='yes'/>
            <RegistryKey Root='HKLM' Key='Software\\Demo'>
              <RegistryValue Name='Installed' Type='string' Value='yes'/>
            </RegistryKey>
          </Component>
        </Directory>
      </Directory>
    </Directory>
    <Feature Id='Complete' Level='1'><ComponentRef Id='Main'/></Feature>
  </Product>
</Wix>
"""


@cache
def reason_against() -> str:
    """Say why there is no Wine here; empty if there is."""
    from wcbuild.sandbox.wine.install import WineMissingError, find_wine

    try:
        find_wine()
    except WineMissingError:
        return "needs wine and wine64"
    return ""


def probe(folder: Path) -> bytes:
    """Return `probe.c` as a program."""
    if not shutil.which(COMPILER):
        pytest.skip("needs gcc-mingw-w64-x86-64")
    target = folder / "probe.exe"
    if not target.exists():
        source = Path(__file__).with_name("probe.c")
        subprocess.run([COMPILER, "-Os", "-s", "-o", target, source], check=True)
    return target.read_bytes()


def installer(folder: Path) -> bytes:
    r"""Return an MSI that installs `Program Files\Demo\hello.txt` and `HKLM\Software\Demo`."""
    if not shutil.which("wixl"):
        pytest.skip("needs wixl")
    folder.mkdir()
    (folder / "hello.txt").write_text("hello\n")
    (folder / "demo.wxs").write_text(_INSTALLER)
    subprocess.run(["wixl", "-a", "x64", "-o", "demo.msi", "demo.wxs"], check=True, cwd=folder)
    return (folder / "demo.msi").read_bytes()
