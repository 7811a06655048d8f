"""docs/registry.md: its example runs, and its limits are those of the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

from registry.oci.manifest import MAX_MANIFEST_BYTES
from registry.server import ServerSettings, api, http, storage, uploads

PAGE = Path(__file__).parents[3] / "docs/registry.md"


def test_the_example_runs(tmp_path):
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    url, host = done.stdout.split()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert url.endswith(host)


def test_the_limits_are_those_of_the_code():
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE))
    settings = ServerSettings()
    assert rows["a manifest"] == f"{MAX_MANIFEST_BYTES >> 20} MiB"
    assert rows["a blob"] == f"{settings.max_blob_bytes >> 30} GiB"
    assert rows["requests at a time"] == str(settings.threads)
    assert rows["uploads at a time"] == str(settings.max_uploads)
    assert rows["open uploads of one repository"] == str(uploads.MAX_SESSIONS)
    assert rows["connections"] == str(http.Server.keep_alive_conn_limit)
    assert rows["headers of a request"] == (
        f"{http.MAX_HEADER_BYTES >> 10} KiB, {http.HEADER_TIMEOUT_S:.0f} s"
    )
    assert rows["silence, or less than 1 KiB a second"] == f"{settings.idle_timeout_s} s"
    assert http.MIN_RATE == 1024
    assert rows["entries of a page"] == str(api.PAGE)
    assert rows["`version`"] == f"`{storage._VERSION.decode().strip()}`"
