"""Whole Dockerfiles: the image config, the history and the refusals, as BuildKit's front end has them."""

import json

from registry.errors import RegistryError
from registry.oci.config import ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.dockerfile.lower import Options, ResolvedImage, lower
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import WcbuildError

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class FakeImages:
    """Any reference gives the image that the recordings were made with."""

    def __init__(self, cmd):
        self.cmd = cmd

    def has_context(self, name):
        return False

    def is_folder(self, name):
        return False

    def image(self, name, platform):
        reference = Reference.parse(name).with_default_tag()
        raw = {
            "architecture": platform.architecture,
            "os": platform.os,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]},
            "history": [
                {
                    "created": "2024-01-01T00:00:00Z",
                    "created_by": f"fake base layer of {reference}",
                }
            ],
            "config": {"Env": [PATH], "Cmd": self.cmd},
        }
        config = ImageConfig.parse(json.dumps(raw).encode())
        return ResolvedImage(digest=sha256(name.encode()), config=config)


def lowered(dockerfile, attrs, cmd):
    platform = Platform.parse(str(attrs.get("platform", "linux/amd64")).split(",")[0])
    options = Options(
        platform=platform,
        build_platform=Platform.parse("linux/amd64"),
        target=attrs.get("target", ""),
        build_args={k[10:]: v for k, v in attrs.items() if k.startswith("build-arg:")},
        labels={k[6:]: v for k, v in attrs.items() if k.startswith("label:")},
    )
    text = dockerfile.encode("utf-8", "surrogateescape")
    plan = lower(parse_dockerfile(text, file="Dockerfile"), options, FakeImages(cmd)).plan
    lines = [line.to_json() for line in plan.base_history]
    for line in plan.history:
        fields = {
            "created_by": line.created_by,
            "comment": line.comment,
            "empty_layer": line.step is None,
        }
        lines.append({key: value for key, value in fields.items() if value})
    return {"config": plan.config.to_json(), "history": lines}


def check(record):
    """Compare one record: (dockerfile, attrs, what BuildKit made of it)."""
    dockerfile, attrs, outcome = record
    result = outcome.get("result") or {}
    base = result.get("containerimage.base.config") or {}
    cmd = (base.get("config") or {}).get("Cmd") or ["sh"]
    wanted = result.get("containerimage.config")
    try:
        got = lowered(dockerfile, attrs, cmd)
    except (WcbuildError, RegistryError) as error:
        return None if wanted is None else f"{dockerfile!r}\n      refused: {error}"
    if wanted is None:
        return f"{dockerfile!r}\n      not refused: {outcome.get('error') or outcome.get('err')}"
    expected = {"config": wanted.get("config", {}), "history": wanted.get("history", [])}
    if got == expected:
        return None
    return f"{dockerfile!r}\n      expected {expected}\n      got      {got}"


def is_linux(dockerfile, attrs):
    return "windows" not in dockerfile and "windows" not in str(attrs.get("platform", ""))


def test_whole_dockerfiles_give_buildkits_config_and_history(tables, measure):
    records = [
        (record["dockerfile"], record.get("attrs") or {}, record["build"])
        for record in tables("oracle_edge_cases")
        if record.get("build") and is_linux(record["dockerfile"], record.get("attrs") or {})
    ]
    measure("oracle_edge_cases (config, history, errors)", records, check, floor=131)


def dockerfile_of(step):
    """Return a recorded build's Dockerfile, if it is one file of that name."""
    mounts = step.get("mounts") or {}
    files = mounts.get("dockerfile")
    if files == "same-as:context":
        files = mounts.get("context")
    name = (step.get("attrs") or {}).get("filename", "Dockerfile")
    if not isinstance(files, list):
        return None
    return next((file.get("content") for file in files if file["path"] == name), None)


def test_buildkits_own_tests_give_its_config_and_history(tables, measure):
    records = []
    for test in tables("integration_unix"):
        for step in test["steps"]:
            attrs, outcome = step.get("attrs") or {}, step.get("frontend_outcome")
            plain = {"platform", "target", "filename"}
            # Only builds: other calls of the front end answer with something else than an image.
            if not {"result", "error", "err"} & set(outcome or {}) or not all(
                key in plain or key.startswith(("build-arg:", "label:")) for key in attrs
            ):
                continue
            dockerfile = dockerfile_of(step)
            several = "," in str(attrs.get("platform", ""))
            if dockerfile is not None and not several and is_linux(dockerfile, attrs):
                records.append((dockerfile, attrs, outcome))
    measure("integration_unix (config, history, errors)", records, check, floor=65)
