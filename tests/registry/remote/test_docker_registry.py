"""The client against the registry of Debian's package, an old one: 2.8."""

import hashlib
import io
import random

import pytest

from registry.errors import NotFoundError, ProtocolError, UnauthorizedError, UnreachableError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Index, Manifest
from registry.reference import Reference
from registry.remote.credentials import Secret

pytestmark = pytest.mark.peers

BLOB = random.Random(4).randbytes(6_000_000)


@pytest.fixture
def host(new_docker_registry):
    return new_docker_registry()


def test_an_image_goes_up_and_comes_down(new_client, host, describe):
    repository = new_client().repository(Reference.parse(f"{host}/team/app"))
    config = repository.put_new(io.BytesIO(b"{}"), mediatypes.OCI_CONFIG)
    layer = describe(BLOB, mediatypes.OCI_LAYER)
    repository.put(io.BytesIO(BLOB), layer)
    repository.put(io.BytesIO(BLOB), layer)
    manifest = Manifest.build(config=config, layers=[layer])
    repository.put(io.BytesIO(manifest.raw), manifest.descriptor)
    index = Index.build(manifests=[manifest.descriptor])
    repository.put(io.BytesIO(index.raw), index.descriptor)
    repository.tag(index.descriptor, "1")
    repository.tag(manifest.descriptor, "2")

    again = new_client().repository(Reference.parse(f"{host}/team/app"))
    assert again.resolve("1") == index.descriptor
    assert again.resolve("2") == manifest.descriptor
    assert again.resolve(manifest.descriptor.digest) == manifest.descriptor
    assert again.open(index.descriptor).read() == index.raw
    assert again.open(layer).read() == BLOB
    assert again.has(layer)
    assert sorted(again.tags()) == ["1", "2"]
    with pytest.raises(NotFoundError):
        again.resolve("3")
    again.delete(manifest.descriptor)
    with pytest.raises(NotFoundError):
        again.resolve("2")


def test_blobs_are_mounted(new_client, host, describe):
    client = new_client()
    source = client.repository(Reference.parse(f"{host}/team/base"))
    target = client.repository(Reference.parse(f"{host}/team/app"))
    source.put(io.BytesIO(b"shared"), describe(b"shared"))
    assert target.mount(describe(b"shared"), source)
    assert target.has(describe(b"shared"))
    assert not target.mount(describe(b"missing"), source)
    target.put(io.BytesIO(b"missing"), describe(b"missing"))
    assert target.has(describe(b"missing"))


def test_empty_and_sha512_blobs(new_client, host, describe):
    repository = new_client().repository(Reference.parse(f"{host}/team/app"))
    repository.put(io.BytesIO(b""), describe(b""))
    assert repository.open(describe(b"")).read() == b""
    digest = Digest("sha512:" + hashlib.sha512(b"long").hexdigest())
    descriptor = Descriptor(media_type="x/y", digest=digest, size=4)
    repository.put(io.BytesIO(b"long"), descriptor)
    assert repository.open(descriptor).read() == b"long"


def test_manifest_without_its_blobs_is_refused_with_its_code(new_client, host, describe):
    repository = new_client().repository(Reference.parse(f"{host}/team/app"))
    manifest = Manifest.build(config=describe(b"{}", mediatypes.OCI_CONFIG), layers=[])
    with pytest.raises(ProtocolError) as caught:
        repository.put(io.BytesIO(manifest.raw), manifest.descriptor)
    assert caught.value.codes == ("MANIFEST_BLOB_UNKNOWN",)


def test_f34_push_survives_a_killed_registry(new_client, new_docker_registry, describe):
    host = new_docker_registry()
    port = int(host.partition(":")[2])
    restarted = []

    class Killing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 3_000_000 and not restarted:
                restarted.append(True)
                new_docker_registry.process.kill()
                new_docker_registry.process.wait()
                restarted.append(new_docker_registry(port=port))
            return super().read(size)

    repository = new_client(retry_wait_s=0.2, attempts=6).repository(
        Reference.parse(f"{host}/team/app")
    )
    repository.put(Killing(BLOB), describe(BLOB))
    assert restarted
    assert repository.open(describe(BLOB)).read() == BLOB


def test_basic_authentication(new_client, new_docker_registry, ali, describe):
    host = new_docker_registry(htpasswd=True)
    reference = Reference.parse(f"{host}/team/app")
    repository = new_client({host: ali}).repository(reference)
    repository.put(io.BytesIO(BLOB), describe(BLOB))
    assert repository.open(describe(BLOB)).read() == BLOB
    client = new_client()
    client.login(host, "ali", Secret("open sesame"))
    with pytest.raises(UnauthorizedError, match="wrong user name or password"):
        client.login(host, "ali", Secret("wrong"))
    with pytest.raises(UnauthorizedError, match="wcbuild login"):
        client.repository(reference).resolve("1")


def test_a_registry_that_went_away_is_said_so(new_client, new_docker_registry):
    host = new_docker_registry()
    new_docker_registry.process.terminate()
    new_docker_registry.process.wait()
    with pytest.raises(UnreachableError, match="connection refused"):
        new_client().repository(Reference.parse(f"{host}/team/app")).resolve("1")
