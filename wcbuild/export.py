"""Where an image goes besides the local store: registries, archives, folders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from registry.files import replacing, store_errors
from registry.image import read_image
from registry.oci.descriptor import Descriptor
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.store import Repository, Source, Target
from wcbuild.errors import CancelledError, UsageError
from wcbuild.layer.changes import DIRECTORY, HARDLINK, Change, Meta
from wcbuild.outputs import Output
from wcbuild.solve.events import Emit, Notice, Transfer
from wcbuild.store import LocalStore
from wcbuild.tree.base import FileTree

if TYPE_CHECKING:
    from registry.copy import BlobProgress, Foreign
    from registry.remote.client import Client
    from registry.sign import Policy, SigningKey


class Exporter:
    """Moves images between the local store and everywhere else, with progress."""

    def __init__(
        self,
        store: LocalStore,
        emit: Emit,
        client: Callable[[], Client],
        policy: Callable[[], Policy | None],
        *,
        cancel: Event | None = None,
        sign_key: SigningKey | None = None,
    ) -> None:
        """Setting ``cancel`` ends what is being moved with a CancelledError.

        ``policy`` decides what may be pulled, and ``sign_key`` signs what is pushed.
        """
        self._store = store
        self._emit = emit
        self._client = client
        self._policy = policy
        self._cancel = cancel
        self._sign_key = sign_key

    def check(
        self,
        outputs: tuple[Output, ...],
        references: tuple[Reference, ...],
        *,
        push: bool,
        index: bool = False,
        platforms: int = 1,
    ) -> None:
        """Refuse, before anything is built, what could not be exported afterwards.

        ``index`` says that there will be an index, not one platform's image; ``platforms`` are how many.

        Raises:
            UsageError
        """
        pushes = push or any(output.kind == "registry" for output in outputs)
        if pushes and not references:
            raise UsageError("--push needs a name: give one with -t")
        if self._sign_key is not None and not pushes:
            raise UsageError("--sign-key signs what is pushed: add --push")
        for output in outputs:
            if index and output.kind == "docker":
                raise UsageError(
                    "--output type=docker: such an archive holds one platform; use type=oci"
                )
            is_files = output.kind in ("local", "tar")
            if is_files and platforms > 1 and output.platform_split is False:
                raise UsageError(
                    f"--output type={output.kind}: several platforms need platform-split"
                )
            is_tar = output.kind in ("oci", "docker", "tar")
            if is_tar and output.dest == "-" and sys.stdout.isatty():
                raise UsageError(
                    f"--output type={output.kind}: refusing to write a tar to a terminal; use dest="
                )

    def fetch(self, source: Source, descriptor: Descriptor) -> None:
        """Bring what is missing of an image, or all of an index, into the local store."""
        from registry.copy import Foreign, copy  # noqa: PLC0415 - most builds move nothing

        # Foreign layers too: without them there would be no image to stand on.
        emit = self.progress("pull")
        copy(source, self._store, descriptor, emit=emit, foreign=Foreign.TAKE_ALONG)

    def pull(self, reference: Reference, platform: Platform | None = None) -> Descriptor:
        """Bring a registry's image into the local store and give it its name there.

        Of an index that is the image for ``platform``, or all of them.

        Raises:
            PolicyError: the policy does not allow it; nothing was stored.
            And whatever the registry raises.
        """
        policy = self._policy()
        if policy is not None:
            policy.needs_signatures(reference)  # what is refused anyway is not asked for
        repository = self._client().source(reference)
        descriptor = repository.resolve(str(reference.digest or reference.tag))
        asked = [descriptor]
        if platform is not None:
            descriptor = read_image(repository, descriptor, platform).descriptor
            asked.append(descriptor)
        if policy is not None:
            policy.check(reference, asked, lambda: repository)
        self.fetch(repository, descriptor)
        self._store.name_image(descriptor, reference)
        return descriptor

    def push(
        self,
        descriptor: Descriptor,
        references: tuple[Reference, ...],
        output: Output,
        *,
        foreign: bool = False,
    ) -> Descriptor:
        """Push, and sign if there is a key, under each name; return what the registry has now.

        Layers that may not be distributed are left out unless ``foreign``.
        """
        from registry.copy import Foreign  # noqa: PLC0415 - as in `fetch`

        client = self._client()
        pushed = descriptor
        for reference in references:
            repository = client.repository(reference)
            pushed = self.copy(
                self._store,
                descriptor,
                repository,
                tags=() if output.by_digest else (reference.tag,),
                compression=output.compression,
                level=output.level,
                foreign=Foreign.TAKE_ALONG if foreign else Foreign.LEAVE_OUT,
            )
            if self._sign_key is not None:
                self._sign(repository, pushed, reference, self._sign_key)
        return pushed

    def _sign(
        self, repository: Repository, pushed: Descriptor, reference: Reference, key: SigningKey
    ) -> None:
        """Sign an image, and with an index all in it: some verifiers look only at what they use."""
        from registry.sign import sign, with_children  # noqa: PLC0415 - most pushes are not signed

        for image in with_children(repository, pushed):
            sign(repository, image, reference, key)
            text = f"signed {reference.name}@{image.digest}"
            self._emit(Notice(level="info", text=text))

    def write(
        self,
        output: Output,
        descriptor: Descriptor,
        references: tuple[Reference, ...],
        trees: Mapping[Platform, Callable[[], FileTree]],
        *,
        epoch: int | None = None,
    ) -> Descriptor | None:
        """Write one `-o`; return the image as it is there, with compressed layers, if it is sent anywhere.

        ``trees`` give each platform's files where it is they that are wanted; all have the time ``epoch``
        (seconds since 1970), if there is one, as BuildKit has it: bases may be newer.
        """
        match output.kind:
            case "image" | "cacheonly":
                pass  # every image lands in the local store
            case "registry":
                return self.push(descriptor, references, output)
            case "oci" | "docker":
                return self.save({descriptor: references}, output)[0]
            case "tar":
                self._write_tar(output.dest, _dated(_split(output, trees), epoch))
            case "local":
                self._write_folder(Path(output.dest), _dated(_split(output, trees), epoch))
            case _:
                raise UsageError(f'--output: unknown type "{output.kind}"')
        return None

    def save(
        self, images: Mapping[Descriptor, tuple[Reference, ...]], output: Output
    ) -> list[Descriptor]:
        """Write images to an archive or a layout; return what they are there."""
        from registry.archive import ArchiveTarget, archive_file  # noqa: PLC0415 - as in `fetch`
        from registry.layout import OciLayout  # noqa: PLC0415

        if output.kind == "oci" and not output.tar:
            return self._save_into(OciLayout(Path(output.dest)), images, output)
        if output.dest == "-":
            stream = sys.stdout.buffer
            with ArchiveTarget(stream, docker=output.kind == "docker") as archive:
                return self._save_into(archive, images, output)
        with archive_file(_new_file(output.dest), docker=output.kind == "docker") as archive:
            return self._save_into(archive, images, output)

    def _save_into(
        self,
        target: Target,
        images: Mapping[Descriptor, tuple[Reference, ...]],
        output: Output,
    ) -> list[Descriptor]:
        from registry.copy import Foreign  # noqa: PLC0415 - as in `fetch`

        saved = []
        for descriptor, references in images.items():
            names = tuple(str(reference) for reference in references)
            copied = self.copy(
                self._store,
                descriptor,
                target,
                tags=names or ("latest",),
                compression=output.compression,
                level=output.level,
                verb="export",
                foreign=Foreign.TAKE_ALONG,
            )
            saved.append(copied)
        return saved

    def copy(
        self,
        source: Source,
        descriptor: Descriptor,
        target: Target,
        *,
        tags: tuple[str, ...],
        compression: str = "gzip",
        level: int | None = None,
        verb: str = "push",
        platforms: tuple[Platform, ...] = (),
        referrers: bool = False,
        signatures: bool = False,
        foreign: Foreign,
    ) -> Descriptor:
        """Copy from anywhere to anywhere; layers that are plain tars are compressed on the way.

        ``platforms``, ``referrers``, ``signatures`` and ``foreign`` are those of `registry.transfer`.
        """
        from registry.copy import Recompress  # noqa: PLC0415 - as in `fetch`
        from registry.transfer import transfer  # noqa: PLC0415

        recompress = None
        if compression != "uncompressed":
            memo = self._store.compressed
            recompress = Recompress(codec=compression, level=level, memo=memo)
        return transfer(
            source,
            target,
            descriptor,
            tags=tags,
            platforms=platforms,
            referrers=referrers,
            signatures=signatures,
            emit=self.progress(verb),
            recompress=recompress,
            foreign=foreign,
        )

    def progress(self, verb: str) -> Callable[[BlobProgress], None]:
        """Return what `registry.copy` is given to tell how it goes; ``verb`` names what it does."""

        def emit(progress: BlobProgress) -> None:
            if self._cancel is not None and self._cancel.is_set():
                raise CancelledError
            # What was copied needs no remark at its end; what was not says why.
            copied = progress.finished and progress.note in ("copying", "compressing")
            self._emit(
                Transfer(
                    verb=verb,
                    name=progress.digest.hex[:12],
                    done=progress.done,
                    total=progress.total,
                    finished=progress.finished,
                    note="" if copied else progress.note,
                )
            )

        return emit

    def _write_tar(self, dest: str, changes: Iterable[Change]) -> None:
        from wcbuild.layer.pack import pack  # noqa: PLC0415 - as in `fetch`

        if dest == "-":
            pack(changes, sys.stdout.buffer, epoch=None)
            return
        with replacing(_new_file(dest)) as file:
            pack(changes, file, epoch=None)

    def _write_folder(self, dest: Path, changes: Iterable[Change]) -> None:
        """Write files into a folder, owned by whoever runs this, over what lies there."""
        from wcbuild.layer.apply import apply  # noqa: PLC0415 - as in `fetch`
        from wcbuild.layer.pack import pack  # noqa: PLC0415

        spool = self._store.scratch_file()
        try:
            with store_errors(dest), open(spool, "r+b") as file:
                dest.mkdir(parents=True, exist_ok=True)
                pack(changes, file, epoch=None)
                file.seek(0)
                # Through the code that unpacks layers: it does not leave the folder, whatever
                # links lie in it or are to be written.
                apply(file, dest, ownership=False, devices=False)
        finally:
            spool.unlink()


def _new_file(dest: str) -> Path:
    """Return the path of a file to write, whose folder is there."""
    path = Path(dest).absolute()
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _split(output: Output, trees: Mapping[Platform, Callable[[], FileTree]]) -> Iterator[Change]:
    """Yield the files of all platforms, each in a folder of its own unless there is only one."""
    split = len(trees) > 1 if output.platform_split is None else output.platform_split
    for platform, tree in trees.items():
        folder = str(platform).replace("/", "_") if split else ""
        if folder:
            yield Change(folder, Meta(DIRECTORY, 0o755))
        yield from whole(tree(), folder)


def _dated(changes: Iterable[Change], epoch: int | None) -> Iterator[Change]:
    """Yield changes, all of one time if that is given."""
    for change in changes:
        if epoch is None or change.meta is None:
            yield change
        else:
            yield change._replace(meta=change.meta._replace(mtime=epoch))


def whole(tree: FileTree, below: str = "") -> Iterator[Change]:
    """Yield all of a tree as changes to nothing; a file's second name is a hard link to its first.

    The tree's root is at ``below``.
    """
    first_names: dict[object, str] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for name, node in tree.children(folder):
            place = f"{folder}/{name}" if folder else name
            path = f"{below}/{place}" if below else place
            first = path if node.identity is None else first_names.setdefault(node.identity, path)
            if first == path:
                yield Change(path, node.meta, node.content)
            else:
                yield Change(path, node.meta._replace(kind=HARDLINK, link=first, size=0))
            if node.meta.kind == DIRECTORY:
                folders.append(place)
