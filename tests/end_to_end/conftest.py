"""The command on a base of this machine's own programs; and real peers: a registry, skopeo, umoci,
buildah, and bases made by debootstrap and of busybox.

Peers run where `WCBUILD_TEST_CACHE` names a folder; what takes long to make is kept in it and shared
by later runs, of other users too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import peers
import pytest

ROOT = Path(__file__).parents[2]
CASES = ROOT / "fixtures" / "dockerfiles-e2e"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def need(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool, path=SYSTEM_PATH)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def call(*words: str | Path, check: bool = True, **options) -> subprocess.CompletedProcess[str]:
    """Run a program of the system; its output is part of the failure."""
    options.setdefault("env", dict(os.environ) | {"PATH": SYSTEM_PATH})
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        **({} if "input" in options else {"stdin": subprocess.DEVNULL}) | options,
    )
    if check and done.returncode:
        pytest.fail(f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


# -- bases


@pytest.fixture(scope="session")
def cache() -> Path:
    name = os.environ.get("WCBUILD_TEST_CACHE")
    if not name:
        pytest.skip("WCBUILD_TEST_CACHE names no folder: no tests with real peers")
    path = Path(name)
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):
        path.chmod(0o1777)
    return path


@contextlib.contextmanager
def made_once(target: Path) -> Iterator[Path | None]:
    """Give a path to make ``target`` at, or None if it is there; it gets its name when it is whole."""
    if target.exists():
        yield None
        return
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        new = target.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        yield new
        new.rename(target)


def write_layout(layout: Path, layer: Path, *, cmd: str) -> None:
    """Make an image of one layer with umoci."""
    image = f"{layout}:latest"
    call("umoci", "init", "--layout", layout)
    call("umoci", "new", "--image", image)
    call("umoci", "raw", "add-layer", "--image", image, layer)
    call(
        *("umoci", "config", "--image", image, "--config.cmd", cmd),
        *("--config.env", f"PATH={SYSTEM_PATH}"),
    )
    call("umoci", "gc", "--layout", layout)
    call("chmod", "-R", "a+rX", layout)


def add_mount_points(tree: Path) -> None:
    """Make what buildah mounts something on: it leaves a stub in the image where there is none."""
    for name in ("dev", "proc", "run", "sys"):
        (tree / name).mkdir(exist_ok=True)
        (tree / name).chmod(0o755)
    for name in ("hostname", "hosts", "resolv.conf"):
        (tree / "etc" / name).write_text("")
        (tree / "etc" / name).chmod(0o644)


@pytest.fixture(scope="session")
def debian_layout(cache) -> Path:
    need("debootstrap", "umoci", "tar")
    target = cache / "debian"
    with made_once(target) as new:
        if new is None:
            return target
        if os.geteuid():
            pytest.skip("debootstrap needs root; root's run of these tests makes the base")
        uris = call(
            "apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm"
        ).stdout
        mirror = next(iter(uris.split()), None)
        if mirror is None:
            pytest.skip("apt knows no mirror with bookworm")
        tree = cache / "debian.tree"
        shutil.rmtree(tree, ignore_errors=True)
        include = "--include=gcc,libc6-dev,python3-minimal,python3-venv"
        done = call(
            *("debootstrap", "--variant=minbase", include, "bookworm", tree, mirror), check=False
        )
        if done.returncode:
            pytest.skip(f"debootstrap could not: {done.stdout[-300:]}")
        shutil.rmtree(tree / "var/cache/apt/archives")
        add_mount_points(tree)
        new.mkdir(parents=True)
        layer = cache / "debian.tar"
        call(
            *("tar", "-C", tree, "--sort=name", "--numeric-owner", "--xattrs"),
            *("--exclude=./dev/*", "-cf", layer, "."),
        )
        shutil.rmtree(tree)
        shutil.rmtree(new)
        write_layout(new, layer, cmd="bash")
        layer.unlink()
    return target


@pytest.fixture(scope="session")
def busybox_layout(cache) -> Path:
    need("busybox", "umoci", "tar")
    target = cache / "busybox"
    with made_once(target) as new:
        if new is None:
            return target
        tree = cache / "busybox.tree"
        shutil.rmtree(tree, ignore_errors=True)
        for name, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777}.items():
            (tree / name).mkdir(parents=True)
            (tree / name).chmod(mode)
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        add_mount_points(tree)
        busybox = shutil.which("busybox", path=SYSTEM_PATH)
        assert busybox
        shutil.copy(busybox, tree / "bin/busybox")
        for name in call(busybox, "--list").stdout.split():
            if name != "busybox":
                (tree / "bin" / name).symlink_to("busybox")
        layer = cache / "busybox.tar"
        call(
            *("tar", "-C", tree, "--sort=name", "--owner=0", "--group=0", "--numeric-owner"),
            *("--mtime=@0", "-cf", layer, "."),
        )
        shutil.rmtree(tree)
        write_layout(new, layer, cmd="sh")
        layer.unlink()
    return target


# -- the registry


@contextlib.contextmanager
def serving(folder: Path, settings: str = "") -> Iterator[str]:
    """Keep Debian's registry for the `with` block, on this machine; give its address."""
    need("docker-registry")
    address = f"127.0.0.1:{peers.free_port()}"
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, delete: {{enabled: true}}}}\n"
        f'http: {{addr: "{address}"}}\n{settings}'
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ) | {"PATH": SYSTEM_PATH},
        )
        try:
            wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.partition(":")
    for _ in range(1200):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
            return
        assert process.poll() is None, "the registry did not start"
        time.sleep(0.1)
    pytest.fail("the registry does not answer")


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def bases(registry, debian_layout, busybox_layout) -> str:
    """Push both bases; give the prefix that the cases' REGISTRY argument wants."""
    need("skopeo")
    for layout, name in ((debian_layout, "debian:12"), (busybox_layout, "busybox:1")):
        call(
            *("skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false"),
            *(f"oci:{layout}:latest", f"docker://{registry}/{name}"),
        )
    return registry


# -- builders


@dataclass(frozen=True)
class Wcbuild:
    """The command under test, with a store of its own."""

    root: Path
    base: Path | None = None
    """A layout that Dockerfiles name `base`."""

    def __call__(self, *words: str | Path, check: bool = True, env=None, **options):
        return call(*self.command(*words), check=check, env=self.env | (env or {}), **options)

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "wcbuild", *map(str, words)]

    @property
    def env(self) -> dict[str, str]:
        return dict(os.environ) | {"WCBUILD_ROOT": str(self.root), "PATH": SYSTEM_PATH}

    def build(self, context: Path, *words: str | Path, check: bool = True, **options):
        """Build a context on the base, with plain progress."""
        base = f"base=oci-layout://{self.base}"
        flags = ("--progress", "plain", "--build-context", base, *words)
        return self("build", *flags, context, check=check, **options)


@pytest.fixture(scope="session")
def machine_base(tmp_path_factory) -> Path:
    """Make a base of this machine's own programs."""
    layout = tmp_path_factory.mktemp("base") / "layout"
    call(sys.executable, ROOT / "fixtures" / "make_base.py", layout)
    return layout


@pytest.fixture(scope="session")
def stores() -> Iterator[list[Path]]:
    """Delete stores in the end; pytest cannot if files belong to other ids of a user namespace."""
    made: list[Path] = []
    yield made
    if os.geteuid():
        script = "import shutil, sys; from wcbuild.machine import Machine\n"
        script += "with Machine.start():\n"
        script += "    for store in sys.argv[1:]: shutil.rmtree(store, ignore_errors=True)"
        call(sys.executable, "-c", script, *made, check=False)


@pytest.fixture
def wcbuild(tmp_path, machine_base, stores) -> Wcbuild:
    stores.append(tmp_path / "store")
    return Wcbuild(stores[-1], machine_base)


@pytest.fixture
def context(tmp_path):
    """Give a function that writes a build context: a Dockerfile, and files by name."""

    def write(dockerfile: str, files: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "context"
        for name, text in ({"Dockerfile": dockerfile} | (files or {})).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return write


@pytest.fixture
def files_of(wcbuild, context, tmp_path):
    """Build, and give the image's files as a dictionary from path to tar member and content."""

    def build(dockerfile, files=None, *flags):
        out = tmp_path / "files.tar"
        wcbuild.build(context(dockerfile, files), "-o", f"type=tar,dest={out}", *flags)
        found = {}
        with tarfile.open(out) as archive:
            for member in archive:
                content = archive.extractfile(member).read() if member.isreg() else b""
                found[member.name] = (member, content)
        return found

    return build


@pytest.fixture
def config_of(wcbuild, context):
    def build(dockerfile, files=None, *flags):
        wcbuild.build(context(dockerfile, files), "-t", "built", *flags)
        [document] = json.loads(wcbuild("inspect", "built").stdout)
        return document["Config"]

    return build


@pytest.fixture(scope="session")
def userns() -> None:
    """Skip where RUN cannot run."""
    if os.geteuid() and call("unshare", "-Ur", "true", check=False).returncode:
        pytest.skip("this kernel lets this user create no user namespace")


@dataclass(frozen=True)
class Buildah:
    """Debian's buildah with runc, with a storage of its own."""

    root: Path

    def __call__(self, command: str, *words: str | Path, check: bool = True):
        # Not what it takes by itself without root, which copies a whole tree for each layer.
        driver = ("--storage-driver", "overlay")
        storage = (*driver, "--root", self.root / "storage", "--runroot", self.root / "run")
        # buildah looks for a runtime directory in the user's name; there is none without a login.
        env = dict(os.environ) | {"PATH": SYSTEM_PATH, "XDG_RUNTIME_DIR": str(self.root)}
        return call("buildah", *storage, command, *words, check=check, env=env)

    def build(self, context: Path, image: str, registry: str) -> None:
        """Build and push, in Docker's format because OCI's has no HEALTHCHECK there."""
        self(
            *("build", "--runtime", "runc", "--tls-verify=false", "--format", "docker", "--layers"),
            *("--build-arg", f"REGISTRY={registry}", "-t", image, context),
        )
        self("push", "--tls-verify=false", image)

    def run(self, image: str, words: list[str]) -> str:
        """Run a command in a container of a registry's image and return what it prints."""
        # The last line: an image's ONBUILD runs here, and prints before.
        lines = self("from", "--tls-verify=false", "--pull-always", image).stdout.splitlines()
        container = lines[-1]
        try:
            return self("run", "--runtime", "runc", container, "--", *words).stdout
        finally:
            self("rm", container)


@pytest.fixture(scope="session")
def buildah(tmp_path_factory) -> Iterator[Buildah]:
    need("buildah", "runc")
    root = tmp_path_factory.mktemp("buildah")
    yield Buildah(root)
    remove = ("rm", "-rf", root / "storage", root / "run")
    if os.geteuid():
        # Layers hold files of other owners; buildah knows how to enter its user namespace.
        call("buildah", "unshare", *remove, check=False)
    else:
        # What buildah leaves mounted cannot be removed, and a later run of pytest would fail over it.
        call("umount", "--recursive", root / "storage/overlay", check=False)
        call(*remove, check=False)


# -- what images are


class Node(NamedTuple):
    """What an image has at a path."""

    kind: str
    mode: int
    owner: tuple[int, int]
    link: str = ""
    device: tuple[int, int] = (0, 0)
    digest: str = ""


@dataclass(frozen=True)
class Unpacked:
    """An image in the folder that `skopeo copy … dir:` wrote."""

    folder: Path

    def blob(self, digest: str) -> Path:
        return self.folder / digest.partition(":")[2]

    @property
    def manifest(self) -> dict:
        return json.loads((self.folder / "manifest.json").read_bytes())

    @property
    def config(self) -> dict:
        return json.loads(self.blob(self.manifest["config"]["digest"]).read_bytes())

    @property
    def runtime(self) -> dict:
        """The inner config: what says something, as both builders can say it.

        buildah appends variables that are set again, and leaves out a working directory that is `/`.
        """
        keys = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir")
        keys += ("Labels", "StopSignal", "Healthcheck", "OnBuild", "Shell")
        inner = self.config["config"]
        labels = dict(inner.get("Labels") or {})
        labels.pop("io.buildah.version", None)
        said = inner | {
            "Labels": labels,
            "Env": sorted(inner.get("Env") or ()),
            "WorkingDir": inner.get("WorkingDir") or "/",
        }
        return {key: said[key] for key in keys if said.get(key)}

    @property
    def command(self) -> list[str]:
        return [*self.runtime.get("Entrypoint", ()), *self.runtime.get("Cmd", ())]

    def tree(self) -> dict[str, Node]:
        """Apply the layers in memory."""
        nodes: dict[str, Node] = {}
        for layer in self.manifest["layers"]:
            with tarfile.open(self.blob(layer["digest"])) as archive:
                apply(archive, nodes)
        return nodes


KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
}


def apply(archive: tarfile.TarFile, nodes: dict[str, Node]) -> None:
    lower = set(nodes)
    for member in archive:
        path = member.name.removeprefix("./").strip("/")
        folder, name = os.path.split(path)
        if name == ".wh..wh..opq":
            remove(nodes, folder, lower)
        elif name.startswith(".wh."):
            gone = os.path.join(folder, name.removeprefix(".wh."))
            nodes.pop(gone, None)
            remove(nodes, gone, set(nodes))
        elif member.islnk():
            nodes[path] = nodes[member.linkname.removeprefix("./").strip("/")]
        elif path not in ("", "."):
            if not member.isdir():
                remove(nodes, path, set(nodes))
            content = archive.extractfile(member).read() if member.isreg() else b""
            nodes[path] = Node(
                kind=KINDS[member.type],
                mode=stat.S_IMODE(member.mode) if not member.issym() else 0o777,
                owner=(member.uid, member.gid),
                link=member.linkname if member.issym() else "",
                device=(member.devmajor, member.devminor) if member.isdev() else (0, 0),
                digest=hashlib.sha256(content).hexdigest() if member.isreg() else "",
            )


def remove(nodes: dict[str, Node], folder: str, among: set[str]) -> None:
    for path in [path for path in nodes if path.startswith(f"{folder}/") and path in among]:
        del nodes[path]


@pytest.fixture
def fetched(tmp_path):
    """Give a function that brings an image of a registry into a folder, with skopeo."""

    def fetch(image: str) -> Unpacked:
        folder = tmp_path / image.replace("/", "-")
        call(
            *("skopeo", "copy", "--insecure-policy", "--quiet", "--src-tls-verify=false"),
            *(f"docker://{image}", f"dir:{folder}"),
        )
        return Unpacked(folder)

    return fetch
