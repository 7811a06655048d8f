import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[4] / "fixtures"))


@pytest.fixture(scope="session")
def windows_base_layer():
    from make_windows_base import base_layer

    return base_layer(300)
