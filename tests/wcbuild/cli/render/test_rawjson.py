"""Events as JSON lines."""

from __future__ import annotations

import base64
import io
import json

from wcbuild.cli.render.rawjson import JsonRenderer


def test_writes_buildkits_shape(a_build):
    stream = io.StringIO()
    renderer = JsonRenderer(stream, clock=lambda: 100.0, wall_clock=lambda: 1_700_000_100.0)
    for event in a_build:
        renderer(event)
    renderer.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == len(a_build)
    started, done, cached, make, log = lines[:5]
    assert started["vertexes"][0]["started"] == "2023-11-14T22:13:20Z"
    assert done["vertexes"][0]["digest"] == started["vertexes"][0]["digest"]
    assert done["vertexes"][0]["completed"] == "2023-11-14T22:13:20.040000Z"
    assert cached["vertexes"][0]["cached"] is True
    assert "cached" not in done["vertexes"][0]
    assert log["logs"][0]["vertex"] == make["vertexes"][0]["digest"]
    assert base64.b64decode(log["logs"][0]["data"]) == b"cc -c "
    assert lines[8] == {
        "warnings": [{"level": 1, "short": base64.b64encode(b"the base is old").decode()}]
    }
    moving, moved = (lines[i]["statuses"][0] for i in (9, 10))
    assert (moving["current"], moving["total"]) == (1_000_000, 29_100_000)
    assert "completed" in moved
    assert "completed" not in moving
    assert lines[-1]["vertexes"][0]["error"] == "exit code: 1"


def test_a_warning_has_buildkits_fields(warned):
    stream = io.StringIO()
    renderer = JsonRenderer(stream)
    for event in warned:
        renderer(event)
    first, second = (json.loads(line)["warnings"][0] for line in stream.getvalue().splitlines())
    assert base64.b64decode(first["short"]).endswith(b"related to OS signals (line 2)")
    assert base64.b64decode(first["detail"][0]).startswith(b"JSON arguments recommended for ENTRY")
    assert first["url"].endswith("/json-args-recommended/")
    assert first["range"] == [{"start": {"line": 2}, "end": {"line": 2}}]
    assert first["sourceInfo"]["filename"] == "Dockerfile"
    assert base64.b64decode(first["sourceInfo"]["data"]).startswith(b"FROM a\nCMD b")
    assert first["level"] == 1
    assert "url" not in second
