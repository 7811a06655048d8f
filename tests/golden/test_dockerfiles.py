"""Every folder of fixtures/dockerfiles: what a Dockerfile is read as, or why it is not.

`--update-golden` writes what is found; the difference is for reading.
"""

import json
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from wcbuild.cli.errors import describe
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import DockerfileSyntaxError

CASES = Path(__file__).parents[2] / "fixtures" / "dockerfiles"
READ = sorted(path.parent for path in CASES.glob("*/Dockerfile"))
REJECTED = sorted(path.parent for path in CASES.glob("rejected/*/Dockerfile"))


def plain(value):
    """Return JSON's form of a value: what has its default is left out."""
    if isinstance(value, Span):
        return f"{value.first}-{value.last}"
    if is_dataclass(value):
        given = {
            field.name: plain(each)
            for field in fields(value)
            if (each := getattr(value, field.name)) != field.default or field.default is MISSING
        }
        return {"is": type(value).__name__} | given
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def check(path, text, request):
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_reads(case, request):
    dockerfile = parse_dockerfile((case / "Dockerfile").read_bytes(), file="Dockerfile")
    found = {
        "escape": dockerfile.escape,
        "directives": plain(dockerfile.directives),
        "args": plain(dockerfile.args),
        "stages": plain(dockerfile.stages),
        "warnings": plain(dockerfile.warnings),
    }
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    check(case / "expected.json", text, request)


@pytest.mark.parametrize("case", REJECTED, ids=lambda case: case.name)
def test_rejects(case, request):
    data = (case / "Dockerfile").read_bytes()
    with pytest.raises(DockerfileSyntaxError) as caught:
        parse_dockerfile(data, file="Dockerfile")
    source = data.decode(errors="replace")
    text = describe(caught.value, read_source=lambda _: source)
    check(case / "message.txt", text, request)
