"""Whole builds that were recorded, and the images that they stood on."""

import json
from dataclasses import dataclass, field

from registry.oci.config import ImageConfig
from registry.oci.digest import sha256
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.dockerfile.lower import (
    ContextKind,
    Entitlement,
    NamedContext,
    Options,
    ResolvedImage,
    lower,
)
from wcbuild.dockerfile.stages import parse_dockerfile

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_PLATFORM = "linux/amd64"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One build."""

    name: str
    dockerfile: str
    attrs: dict
    outcome: dict
    files: tuple = ()
    """Of the main context, as recorded: {path, content}."""
    build_platform: str = BUILD_PLATFORM
    pushed: dict = field(default_factory=dict)
    """Configs of images that the same test had pushed before, by name."""

    @property
    def result(self):
        return self.outcome.get("result")

    @property
    def error(self):
        return self.outcome.get("error") or self.outcome.get("err")

    @property
    def platforms(self):
        return str(self.attrs.get("platform") or self.build_platform).split(",")

    def config(self, platform):
        """Return what was recorded for one platform; the only one needs no name."""
        start = "containerimage.config"
        found = {
            key[len(start) + 1 :]: value
            for key, value in self.result.items()
            if key.startswith(start)
        }
        if len(found) == 1:
            return next(iter(found.values()))
        return found.get(str(Platform.parse(platform)), {})

    def base_command(self):
        """Return the Cmd of the images it stood on, which is not the same in all recordings."""
        for key, value in (self.result or {}).items():
            if key.startswith("containerimage.base.config"):
                return (value.get("config") or {}).get("Cmd")
        return None


def edge_cases(tables):
    return [
        Recording(
            name=record["id"],
            dockerfile=record["dockerfile"],
            attrs=record.get("attrs") or {},
            outcome=record["build"],
            files=tuple(
                {"path": path, "content": content}
                for path, content in (record.get("files") or {}).items()
            ),
        )
        for record in tables("oracle_edge_cases")
    ]


def integration(tables, name, build_platform=BUILD_PLATFORM):
    """Return the builds of BuildKit's own tests that give an image or an error.

    Left out is what no command line asks for: builds that a program makes through the gateway, on
    inputs or under policies of its own, and scanners that attach an SBOM.
    """
    recordings = []
    for test in tables(name):
        pushed = {}
        for step in test["steps"]:
            if step["kind"] == "build" or {"frontend_inputs", "source_policy"} & set(step):
                continue
            outcome = step.get("frontend_outcome") or {}
            attrs = step.get("attrs") or {}
            dockerfile, files = _inputs(step.get("mounts") or {}, attrs)
            if "attest:sbom" in attrs or dockerfile is None:
                continue
            if {"result", "error", "err"} & set(outcome):
                recordings.append(
                    Recording(
                        name=f"{test['test']} ({step['at']})",
                        dockerfile=dockerfile,
                        attrs=attrs,
                        outcome=outcome,
                        files=files,
                        build_platform=build_platform,
                        pushed=dict(pushed),
                    )
                )
            for export in step.get("exports") or ():
                config = (outcome.get("result") or {}).get("containerimage.config")
                pushed[(export.get("attrs") or {}).get("name")] = config
    return recordings


def _inputs(mounts, attrs):
    """Return the Dockerfile's text, if it is one file of that name, and the context's files."""
    context = mounts.get("context")
    files = mounts.get("dockerfile")
    if files == "same-as:context":
        files = context
    if not isinstance(files, list):
        return None, ()
    by_path = {file["path"]: file for file in files}
    found = by_path.get(attrs.get("filename", "Dockerfile"))
    if found is not None and found.get("link"):
        found = by_path.get(found["link"])
    return found and found.get("content"), tuple(context if isinstance(context, list) else ())


class FakeImages:
    """Any reference gives the image that the recordings were made with."""

    def __init__(self, attrs, command, pushed):
        self.pushed = pushed
        self.contexts = {
            key.removeprefix("context:"): value
            for key, value in attrs.items()
            if key.startswith("context:")
        }
        self.command = command

    def context(self, name, platform):
        value = self.contexts.get(name)
        if value is None:
            return None
        kind = ContextKind.FILES if value.startswith("local:") else ContextKind.IMAGE
        if value == "docker-image://scratch":
            kind = ContextKind.SCRATCH
        return NamedContext(name=name, kind=kind)

    def image(self, name, platform):
        reference = Reference.parse(name).with_default_tag()
        if self.pushed.get(name):
            known = json.dumps(self.pushed[name]).encode()
            return ResolvedImage(digest=sha256(known), config=ImageConfig.parse(known))
        windows = platform.os == "windows"
        config = {
            "Cmd": self.command or (["c:\\windows\\system32\\cmd.exe"] if windows else ["sh"])
        }
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
            "config": config,
        }
        if platform.variant:
            raw["variant"] = platform.variant
        if windows:
            raw["os.version"] = platform.os_version or "10.0.20348.2113"
            config["User"] = "ContainerUser"
        else:
            config["Env"] = [PATH]
        parsed = ImageConfig.parse(json.dumps(raw).encode())
        return ResolvedImage(digest=sha256(name.encode()), config=parsed)


def options(recording, platform):
    """Return what the command line of a recorded build decided."""
    attrs = recording.attrs
    return Options(
        platform=Platform.parse(platform),
        build_platform=Platform.parse(recording.build_platform),
        allow=frozenset(Entitlement),
        target=attrs.get("target", ""),
        build_args={k[10:]: v for k, v in attrs.items() if k.startswith("build-arg:")},
        shm_size=int(attrs.get("shm-size", 64 << 20)),
        labels={k[6:]: v for k, v in attrs.items() if k.startswith("label:")},
    )


def lowered(recording, platform):
    """Lower a recorded build for one of its platforms."""
    text = recording.dockerfile.encode("utf-8", "surrogateescape")
    images = FakeImages(recording.attrs, recording.base_command(), recording.pushed)
    return lower(parse_dockerfile(text, file="Dockerfile"), options(recording, platform), images)
