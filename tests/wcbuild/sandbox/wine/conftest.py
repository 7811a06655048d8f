"""What tests with Wine share."""

from __future__ import annotations

import pytest
import windowsprograms


@pytest.fixture(autouse=True)
def _wine():
    if reason := windowsprograms.reason_against():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def probe(tmp_path_factory) -> bytes:
    return windowsprograms.probe(tmp_path_factory.mktemp("probe"))
