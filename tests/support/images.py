"""Small images for tests, put into any store."""

from __future__ import annotations

import io
import tarfile

from registry.memory import MemoryStore
from registry.oci import mediatypes
from registry.oci.config import History, ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId
from registry.oci.manifest import Index, Manifest
from registry.oci.platform import Platform
from registry.store import Target

AMD64 = Platform(os="linux", architecture="amd64")


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


class Builder:
    """Puts images into ``store``."""

    def __init__(self, store: Target | None = None) -> None:
        self.store = store or MemoryStore()

    def blob(self, raw: bytes, media_type: str) -> Descriptor:
        return self.store.put_new(io.BytesIO(raw), media_type)

    def document(self, document: Manifest | Index) -> Descriptor:
        self.store.put(io.BytesIO(document.raw), document.descriptor)
        return document.descriptor

    def layer(self, number: int = 0, size: int = 1000) -> Descriptor:
        content = (b"%d " % number) * (size // 2)
        return self.blob(tar_of({f"file{number}": content}), mediatypes.OCI_LAYER)

    def config(self, diff_ids, platform: Platform = AMD64, **fields) -> Descriptor:
        config = ImageConfig(
            platform=platform,
            diff_ids=tuple(DiffId(diff_id) for diff_id in diff_ids),
            history=tuple(History(created_by=f"step {n}") for n, _ in enumerate(diff_ids)),
            **fields,
        )
        return self.blob(config.encode(), mediatypes.OCI_CONFIG)

    def image(self, layers: int = 2, platform: Platform = AMD64, size: int = 1000) -> Descriptor:
        made = [self.layer(number, size) for number in range(layers)]
        config = self.config([layer.digest for layer in made], platform)
        return self.document(Manifest.build(config=config, layers=made))

    def index(self, *entries: Descriptor) -> Descriptor:
        return self.document(Index.build(manifests=entries))
