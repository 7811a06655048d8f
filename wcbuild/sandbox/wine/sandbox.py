r"""Running one Windows command: the image's tree as drive C:, Wine's own `C:\Windows` over it.

    <store>/wine/run/<random>/
      drive/              where the image's tree is mounted
      windows/            where Wine's C:\Windows is mounted: the template, and over it
      upper/ work/        what the step writes there, which is thrown away
      prefix/             the registry, and the drives' names: C: alone
      status              the command's exit code

The command's process 1 is a shell that starts the launcher and, when that has ended, Wine's server: so
its objects (mutexes, pipes, the registry) are those of this step alone, and are gone with it.
"""

from __future__ import annotations

import contextlib
import errno
import ntpath
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import NamedTuple

from wcbuild import kernel, overlayfs
from wcbuild.errors import SandboxError
from wcbuild.sandbox.base import ExitStatus, RootMount, RunSpec, Sandbox, SandboxMount, SuppliedFile
from wcbuild.sandbox.inside import Stub, make_mount_point, open_inside
from wcbuild.sandbox.wine import commandline, launcher, registry, rooms, template
from wcbuild.sandbox.wine.environment import account, environment, folders
from wcbuild.sandbox.wine.install import Wine
from wcbuild.sandbox.wine.leftovers import RUNS
from wcbuild.sandbox.wine.registry import Key, RegistryChanges
from wcbuild.sandbox.wine.template import Template

_WINDOWS = f"{rooms.DRIVE}/windows"
"""Where Wine looks, in these letters."""
_BATCH_FOLDER = "wcbuild"
_BATCH = "line.cmd"
_MAX_REGISTRY_BYTES = 64 * 1024 * 1024
_MAX_STATUS_BYTES = 10
_NO_STATUS = 125
_KILLED = 137
_ATTRIBUTES = "user.DOSATTRIB"
"""Where Wine keeps that a file is hidden, or of the system; so does Samba."""
# What Wine and its installer write below C:\Windows in passing; lower case.
_WRITTEN_IN_PASSING = (
    "temp/",
    "installer/",
    "inf/",
    "logs/",
    "tasks/",
    "system32/wbem/",
    "prefetch/",
)


class Outcome(NamedTuple):
    """How a command ended, and what it did besides changing files of the image."""

    status: ExitStatus
    """The code has the 32 bits of Windows."""
    registry: RegistryChanges
    lost: tuple[str, ...]
    r"""Files below `C:\Windows` that it wrote, and that are not kept: paths from there."""
    streams: tuple[str, ...]
    """Data streams that it gave files, which are not kept: paths on the drive."""
    hidden: tuple[str, ...]
    """What it made hidden or part of the system, which is not kept: paths on the drive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    r"""What of a step's work is kept beyond files outside of `C:\Windows`."""

    registry: bool = False
    """Registry changes, as hives in the layer."""
    folders: tuple[str, ...] = ()
    r"""Folders below `C:\Windows`, as paths from there with `/`, that are the image's, not Wine's."""


@dataclass(frozen=True, slots=True)
class _Command:
    """What the launcher is told to do."""

    spec: RunSpec
    user: str
    cwd: str
    """A Windows path."""
    environment: Mapping[str, str]
    line: str


def _read_command(spec: RunSpec, keys: Sequence[Key]) -> _Command:
    user = account(spec.user)
    machine = registry.machine_environment(keys)
    values = environment(user, spec.env, machine, host=spec.hostname)
    line = " ".join(spec.args) if spec.verbatim else commandline.quoted(spec.args)
    cwd = "C:" + (spec.cwd.replace("/", "\\") or "\\")
    return _Command(spec, user, cwd, values, line)


def _plan(command: _Command, tree: _Tree) -> commandline.Planned:
    """Say how the line is run, which depends on what cmd finds in the tree."""
    variables = {name.upper(): value for name, value in command.environment.items()}

    def is_batch_file(name: str) -> bool:
        places = [command.cwd]
        if not set(name) & set("\\/:"):
            places += variables["PATH"].split(";")
        for place in places:
            path = ntpath.splitdrive(ntpath.normpath(ntpath.join(place, name)))[1]
            for extension in (".com", ".exe", *commandline.BATCH_FILES):
                if tree.has(path + extension):
                    return extension in commandline.BATCH_FILES
        return False

    return commandline.plan(command.line, {**variables, "CD": command.cwd}, is_batch_file)


class WineSandbox:
    r"""Runs Windows commands; safe to use from several threads.

    ``inner`` runs Wine, ``directory`` is the store's for it, ``overlay`` says whether overlays can be
    mounted, without which Wine's `C:\Windows` is copied for each step.
    """

    def __init__(
        self, inner: Sandbox, wine: Wine, directory: Path, *, overlay: bool, keeping: Keeping
    ) -> None:
        self._inner = inner
        self._wine = wine
        self._directory = directory
        self._overlay = overlay
        self._keeping = keeping

    @property
    def keeping(self) -> Keeping:
        """What is kept."""
        return self._keeping

    @property
    def version(self) -> str:
        """Wine's."""
        return self._wine.version

    @property
    def description(self) -> str:
        """What ran a command, for the history."""
        kept = [*(["registry"] if self._keeping.registry else []), *self._keeping.folders]
        return self._wine.version + "".join(f", keeps {each}" for each in kept)

    @property
    def key(self) -> str:
        """What decides a command's result, for cache keys."""
        return f"{self.description} {template.FORMAT}"

    def prepare(self, cancel: Event | None = None) -> Template:
        """Make the template if it is not there; the first command would otherwise."""
        return template.find_or_make(self._directory, self._wine, self._start, cancel)

    def _start(
        self,
        root: RootMount,
        spec: RunSpec,
        output: Callable[[int, bytes], None],
        cancel: Event | None,
    ) -> ExitStatus:
        return self._inner.run(root, spec, output, cancel=cancel)

    def run(
        self,
        root: RootMount,
        spec: RunSpec,
        output: Callable[[int, bytes], None],
        *,
        cancel: Event | None = None,
    ) -> ExitStatus:
        """As `wcbuild.sandbox.base.Sandbox`; see `run_step`."""
        return self.run_step(root, spec, output, cancel=cancel).status

    def run_step(
        self,
        root: RootMount,
        spec: RunSpec,
        output: Callable[[int, bytes], None],
        *,
        keys: Sequence[Key] = (),
        cancel: Event | None = None,
    ) -> Outcome:
        """Run a command of Windows.

        Args:
            root: the tree of drive C:.
            spec: of its words, the arguments are a command line if there is one, else they are quoted;
                paths begin with `/`, the drive's root; the user is a name, empty for the administrator.
            output: as in `Sandbox.run`.
            keys: what earlier steps have put into the registry.
            cancel: kills when it is set.

        Raises:
            SandboxError: the command did not run.
        """
        upper = root.upper
        if upper is None:
            raise SandboxError("mount drive C:", "its tree cannot be written to")
        command = _read_command(spec, keys)
        made = self.prepare(cancel)
        with self._place() as place:
            before = made.registry()
            before[registry.MACHINE_FILE] = registry.added(before[registry.MACHINE_FILE], keys)
            _make_prefix(place / "prefix", before)
            (place / "status").touch()
            with (
                self._mounted(made, place, root, upper) as drive,
                _furnished(drive, command.user) as tree,
            ):
                inner = self._inner_spec(command, place, drive, tree)
                base = RootMount(lower=(made.root,))
                ended = self._inner.run(base, inner, output, cancel=cancel)
            status = replace(ended, code=_exit_code(ended, place / "status"))
            changed = _registry_changes(place / "prefix", before)
            streams, hidden = _leave_out(upper)
            return Outcome(status, changed, tuple(self._lost(made, place)), streams, hidden)

    def _inner_spec(self, command: _Command, place: Path, drive: Path, tree: _Tree) -> RunSpec:
        """Return how the launcher is run so that it runs the command."""
        spec, planned = command.spec, _plan(command, tree)
        line = planned.line
        kept = tuple(self._kept_folders(tree, drive, place / "windows"))
        files = [SuppliedFile(launcher.PROGRAM, launcher.program(), 0o755)]
        if planned.batch:
            batch = f"{_WINDOWS}/{_BATCH_FOLDER}/{_BATCH}"
            files.append(SuppliedFile(batch, planned.batch, 0o644))
            line += f" C:\\windows\\{_BATCH_FOLDER}\\{_BATCH}"
        job = launcher.encode_job(command.cwd, line, command.environment)
        if len(job) > launcher.MAX_JOB_BYTES:
            raise SandboxError("run the command", "its environment is larger than 1 MiB")
        files.append(SuppliedFile(launcher.JOB, job, 0o644))
        inner = rooms.spec(
            self._wine,
            (launcher.PROGRAM,),
            user=command.user,
            off=template.LIARS,
            prefix=place / "prefix",
            mounts=(
                SandboxMount(target=rooms.DRIVE, source=drive),
                *_windows_mounts(tree, place / "windows", kept),
                SandboxMount(target=launcher.STATUS, source=place / "status"),
                *(_moved(mount, tree) for mount in spec.mounts),
            ),
            files=(*files, *(_moved_file(file, tree) for file in spec.files)),
        )
        return replace(
            inner,
            hostname=spec.hostname,
            network=spec.network,
            hosts=spec.hosts,
            ulimits=spec.ulimits,
            shm_size=spec.shm_size,
            memory=spec.memory,
            cpus=spec.cpus,
            pids=spec.pids,
        )

    def _lost(self, made: Template, place: Path) -> Iterator[str]:
        r"""Yield the files below `C:\Windows` that the command wrote, but for what Wine writes itself."""
        top = place / ("upper" if self._overlay else "windows")
        for folder, folders_here, names in os.walk(top):
            folders_here.sort()
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), top)
                by_wine = path.lower().startswith((*_WRITTEN_IN_PASSING, f"{_BATCH_FOLDER}/"))
                if not by_wine and not (
                    not self._overlay and _same(top / path, made.windows / path)
                ):
                    yield path

    # -- the place of a step

    @contextlib.contextmanager
    def _place(self) -> Iterator[Path]:
        """Make a step's directory for the `with` block."""
        runs = self._directory / RUNS
        runs.mkdir(mode=0o700, exist_ok=True)
        place = runs / os.urandom(8).hex()
        place.mkdir(mode=0o700)
        try:
            yield place
        finally:
            _remove(place)

    @contextlib.contextmanager
    def _mounted(self, made: Template, place: Path, root: RootMount, upper: Path) -> Iterator[Path]:
        r"""Make the image's tree and Wine's `C:\Windows` visible to this process."""
        with contextlib.ExitStack() as stack:
            windows = place / "windows"
            if self._overlay:
                for name in ("windows", "upper", "work"):
                    (place / name).mkdir(mode=0o755)
                lower = (made.windows,)
                stack.enter_context(
                    _overlay(
                        windows, RootMount(lower=lower, upper=place / "upper", work=place / "work")
                    )
                )
            else:
                import shutil  # noqa: PLC0415 - rarely needed

                shutil.copytree(made.windows, windows, symlinks=True)
            if not root.lower:
                yield upper
                return
            drive = place / "drive"
            drive.mkdir()
            stack.enter_context(_overlay(drive, root))
            yield drive

    def _kept_folders(self, tree: _Tree, drive: Path, windows: Path) -> Iterator[SandboxMount]:
        r"""Show the image's own folders in place of those of Wine's `C:\Windows`."""
        if not self._keeping.folders:
            return
        with _open_tree(windows) as wines:
            for folder in self._keeping.folders:
                path = tree.spelled(f"Windows/{folder}")
                tree.add(path)
                tree.refuse_links(path)
                target = f"{_WINDOWS}/{wines.spelled(folder)}"
                yield SandboxMount(target=target, source=drive / path)


def _windows_mounts(
    tree: _Tree, windows: Path, kept: tuple[SandboxMount, ...]
) -> Iterator[SandboxMount]:
    r"""Show Wine's `C:\Windows` where Wine looks for it, and where the image has its own."""
    own = f"{rooms.DRIVE}/{tree.spelled('Windows')}"
    differs = own != _WINDOWS and tree.has("Windows")
    tree.add("windows")
    yield SandboxMount(target=_WINDOWS, source=windows)
    yield from kept
    if differs:
        yield SandboxMount(target=own, source=windows)
        for mount in kept:
            yield replace(mount, target=own + mount.target.removeprefix(_WINDOWS))


@contextlib.contextmanager
def _overlay(target: Path, root: RootMount) -> Iterator[None]:
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    overlayfs.mount(target, lower=root.lower, upper=root.upper, work=root.work, flags=flags)
    try:
        yield
    finally:
        kernel.umount(str(target), kernel.MNT_DETACH)


class _Tree:
    """The image's tree while a step runs; what is added to it and stays empty is removed again."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._stubs: list[Stub] = []

    def spelled(self, path: str) -> str:
        """Return ``path`` in the letters that the tree has it in, as far as it has it."""
        parts: list[str] = []
        missing = False
        for part in path.replace("\\", "/").strip("/").split("/"):
            names = [] if missing else _names(self._root, parts)
            same = [name for name in names if name.casefold() == part.casefold()]
            missing = not same
            parts.append(part if part in same or not same else min(same))
        return "/".join(parts)

    def has(self, path: str) -> bool:
        """Whether there is something of that name, in whatever letters."""
        parent, _, name = self.spelled(path).rpartition("/")
        return name in _names(self._root, parent.split("/") if parent else [])

    def add(self, path: str, *, directory: bool = True) -> None:
        """Make a directory, or an empty file, and the directories above it."""
        try:
            place, stubs = make_mount_point(self._root, path, directory=directory)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SandboxError(f'make the folder "{path}" on drive C:', reason) from error
        os.close(place)
        self._stubs += stubs

    def refuse_links(self, path: str) -> None:
        """Refuse a path that leads through a symlink: to this process it would lead elsewhere."""
        resolve = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
        try:
            os.close(kernel.openat2(self._root, path, os.O_PATH | os.O_CLOEXEC, resolve=resolve))
        except OSError as error:
            reason = "leads through a symbolic link"
            raise SandboxError(f'keep the folder "{path}"', reason) from error

    def remove_stubs(self) -> None:
        """Remove what was added."""
        for stub in reversed(self._stubs):
            stub.remove()
            os.close(stub.parent)


def _names(root: int, parts: Sequence[str]) -> list[str]:
    """Return what is in a directory of the tree; nothing if it is none. No symlink is followed."""
    resolve = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        handle = kernel.openat2(root, "/".join(parts) or ".", flags, resolve=resolve)
    except OSError:
        return []
    try:
        return os.listdir(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _open_tree(path: Path) -> Iterator[_Tree]:
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _Tree(root)
    finally:
        os.close(root)


@contextlib.contextmanager
def _furnished(drive: Path, user: str) -> Iterator[_Tree]:
    """Have the folders that a user has in the tree while the command runs."""
    with _open_tree(drive) as tree:
        try:
            for folder in folders(user):
                tree.add(tree.spelled(folder))
            yield tree
        finally:
            tree.remove_stubs()


def _make_prefix(path: Path, files: Mapping[str, str]) -> None:
    path.mkdir(mode=0o755)
    (path / "drive_c").mkdir()
    (path / "dosdevices").mkdir()
    (path / "dosdevices/c:").symlink_to("../drive_c")
    for name, text in files.items():
        (path / name).write_text(text, "utf-8")
    # Without it Wine would set itself up once more.
    (path / ".update-timestamp").write_text("disable\n")


def _moved(mount: SandboxMount, tree: _Tree) -> SandboxMount:
    path = tree.spelled(mount.target)
    tree.add(path, directory=_is_directory(mount))
    return replace(mount, target=f"{rooms.DRIVE}/{path}")


def _is_directory(mount: SandboxMount) -> bool:
    """Say whether a mount shows a directory; what is not there is refused when it is mounted."""
    if mount.source is None:
        return True
    if not mount.inside:
        return mount.source.is_dir()
    try:
        place = open_inside(mount.source, mount.inside)
    except OSError:
        return True
    try:
        return stat.S_ISDIR(os.stat(place).st_mode)
    finally:
        os.close(place)


def _moved_file(file: SuppliedFile, tree: _Tree) -> SuppliedFile:
    path = tree.spelled(file.path)
    tree.add(path, directory=False)
    return file._replace(path=f"{rooms.DRIVE}/{path}")


def _exit_code(ended: ExitStatus, path: Path) -> int:
    """Return what the launcher wrote, or why it did not."""
    with open(path, "rb") as file:
        text = file.read(_MAX_STATUS_BYTES)
    code = int(text) & 0xFFFFFFFF if text.isdigit() else ended.code or _NO_STATUS
    # A program that the kernel killed has no code of its own, and 0 would be a lie.
    return _KILLED if ended.out_of_memory and code == 0 else code


def _leave_out(upper: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Remove what layers do not keep of what a command wrote, lest only the next step see it.

    Returns the paths of data streams, which to Wine are files, and of what was hidden or of the system.
    """
    streams, hidden = [], []
    for folder, folders_here, names in os.walk(upper):
        folders_here.sort()
        for name in sorted((*folders_here, *names)):
            path = os.path.join(folder, name)
            if ":" in name and name in names:
                os.unlink(path)
                streams.append(os.path.relpath(path, upper))
            elif _remove_attributes(path):
                hidden.append(os.path.relpath(path, upper))
    return tuple(streams), tuple(hidden)


def _remove_attributes(path: str) -> bool:
    try:
        os.removexattr(path, _ATTRIBUTES, follow_symlinks=False)
    except OSError as error:
        # Links and what stands for deletions cannot have any.
        if error.errno not in {errno.ENODATA, errno.ENOTSUP, errno.EPERM}:
            raise
        return False
    return True


def _registry_changes(prefix: Path, before: Mapping[str, str]) -> RegistryChanges:
    try:
        after = {name: _read_registry_file(prefix / name) for name in before}
        return registry.changes(before, after)
    except ValueError as error:
        raise SandboxError("read the registry", f"it is damaged ({error})") from error


def _read_registry_file(path: Path) -> str:
    """Read what the command may have replaced with anything."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SandboxError("read the registry", f"{path.name} is no longer a file")
            data = file.read(_MAX_REGISTRY_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SandboxError("read the registry", f"{path.name}: {reason}") from error
    if len(data) > _MAX_REGISTRY_BYTES:
        raise SandboxError("read the registry", f"{path.name} is larger than 64 MiB")
    return data.decode("utf-8", "replace")


def _same(one: Path, other: Path) -> bool:
    """Whether a copy is as it was made."""
    try:
        mine, theirs = one.lstat(), other.lstat()
    except FileNotFoundError:
        return False
    return mine.st_size == theirs.st_size and mine.st_mtime_ns == theirs.st_mtime_ns


def _remove(place: Path) -> None:
    import shutil  # noqa: PLC0415 - only for Windows images

    # The kernel's own directory in `work` has no permissions, which does not stop root of a namespace.
    shutil.rmtree(place, ignore_errors=True)
