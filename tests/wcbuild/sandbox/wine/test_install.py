"""Finding Wine."""

from __future__ import annotations

import pytest

from wcbuild.sandbox.wine import install


@pytest.fixture
def loaders(monkeypatch):
    """Give a function that says where Wine may be."""

    def use(*paths):
        monkeypatch.setattr(install, "_LOADERS", tuple(map(str, paths)))
        install.find_wine.cache_clear()

    yield use
    install.find_wine.cache_clear()


def test_missing_wine_is_one_sentence_that_says_what_to_install(loaders, tmp_path):
    loaders(tmp_path / "nosuch")
    with pytest.raises(install.WineMissingError) as caught:
        install.find_wine()
    assert "apt-get install --no-install-recommends wine wine64" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_around_wine_is_not_taken_for_it(loaders, tmp_path):
    script = tmp_path / "wine64"
    script.write_text("#!/bin/sh\necho wine-9.0\n")
    script.chmod(0o755)
    loaders(script)
    with pytest.raises(install.WineMissingError):
        install.find_wine()


def test_version_becomes_a_file_name():
    wine = install.Wine(loader="/usr/lib/wine/wine64", server="", version="wine-8.0 (Debian 8/x)")
    assert wine.name == "wine-8.0__Debian_8_x_"
    assert "/usr/lib" in wine.directories
    assert "/opt/w" in install.Wine(loader="/opt/w/bin/wine64", server="", version="").directories
