"""What tests with Wine share."""

from __future__ import annotations

import pytest
import windowsprograms


@pytest.fixture(autouse=True)
def _wine(request):
    # The others are about text and bytes alone.
    if request.node.get_closest_marker("slow") and (reason := windowsprograms.reason_against()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def probe(tmp_path_factory) -> bytes:
    return windowsprograms.probe(tmp_path_factory.mktemp("probe"))
