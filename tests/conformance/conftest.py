"""Measures the real functions with tables of recorded behaviour, where such a folder exists.

`WCBUILD_CONFORMANCE` names the folder; otherwise it is looked for beside the repository. Every table
prints one line, `-v` lists what differs, and a floor keeps what was reached.
"""

import json
import os
from pathlib import Path

import pytest

_MAX_SHOWN = 30


@pytest.fixture(scope="session")
def tables():
    """Return a function from a table's name to its content."""
    beside = Path(__file__).parents[2].parent / "shared" / "conformance"
    folder = Path(os.environ.get("WCBUILD_CONFORMANCE") or beside)
    if not folder.is_dir():
        pytest.skip("no tables: WCBUILD_CONFORMANCE names no folder")

    def load(name):
        path = folder / f"{name}.json"
        if not path.exists():
            pytest.skip(f"no table {name}")
        return json.loads(path.read_text(encoding="utf-8"))

    return load


@pytest.fixture
def measure(request, record_property):
    """Return a function that compares every record and asserts how many agree.

    ``check(record)`` returns None, or what differs.
    """

    def run(name, records, check, *, floor):
        differences = [difference for record in records if (difference := check(record))]
        passed = len(records) - len(differences)
        lines = [f"{name}: {passed} / {len(records)}"]
        if request.config.option.verbose > 0:
            lines += [f"    {difference}" for difference in differences[:_MAX_SHOWN]]
            if len(differences) > _MAX_SHOWN:
                lines.append(f"    ({len(differences) - _MAX_SHOWN} more)")
        for line in lines:
            record_property("conformance", line)
        assert passed >= floor, f"{name}: {passed} agree, {floor} did before"

    return run
