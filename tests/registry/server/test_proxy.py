"""Pull-through of another registry: what is fetched, kept, verified, and served without it."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import threading

import pytest
from processes import until
from talk import Talk, digest_of, manifest

from registry.oci import mediatypes
from registry.reference import Reference
from registry.server import Storage, collect

LAYER = os.urandom(1_500_000)


@pytest.fixture
def upstream(simulator):
    """Another registry with `team/app:1`, an image of one layer."""
    config = simulator.add_blob("team/app", b"{}")
    layer = simulator.add_blob("team/app", LAYER)
    raw = json.dumps(manifest(config, [(layer, len(LAYER))])).encode()
    simulator.digest = simulator.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, "1")
    return simulator


@pytest.fixture
def new_proxy(new_registry, new_client):
    return lambda host, **settings: new_registry(upstream=host, client=new_client(), **settings)


@pytest.fixture
def proxy(new_proxy, upstream):
    return new_proxy(upstream.host).talk


def fetched(upstream, part: str) -> int:
    return len(upstream.sent("GET", part))


def test_hands_on_an_image_and_keeps_it(proxy, upstream):
    assert proxy.is_whole("team/app", "1")
    assert proxy.is_whole("team/app", upstream.digest)
    assert fetched(upstream, "/blobs/") == 2
    assert fetched(upstream, "/manifests/") == 1
    upstream.stop()
    assert proxy.is_whole("team/app", "1"), "also when the other registry is away"


def test_says_how_large_a_blob_is_that_it_does_not_have(proxy, upstream):
    reply = proxy("HEAD", f"/v2/team/app/blobs/{digest_of(LAYER)}")
    assert (reply.status, reply.headers["Content-Length"]) == (200, str(len(LAYER)))
    assert fetched(upstream, "/blobs/") == 0
    assert proxy("HEAD", f"/v2/team/app/blobs/{digest_of(b'x')}").status == 404


def test_follows_a_tag_that_moves(proxy, upstream):
    assert proxy.is_whole("team/app", "1")
    config = upstream.add_blob("team/app", b'{"new": 1}')
    raw = json.dumps(manifest(config)).encode()
    digest = upstream.add_manifest("team/app", raw, mediatypes.OCI_MANIFEST, "1")
    reply = proxy("GET", "/v2/team/app/manifests/1")
    assert reply.headers["Docker-Content-Digest"] == digest
    assert proxy("GET", "/v2/team/app/tags/list").json["tags"] == ["1"]


def test_what_the_other_registry_does_not_have_is_not_found(proxy):
    assert proxy("GET", "/v2/team/app/manifests/2").code == "MANIFEST_UNKNOWN"
    assert proxy("GET", f"/v2/team/app/manifests/{digest_of(b'x')}").status == 404
    assert proxy("GET", f"/v2/team/app/blobs/{digest_of(b'x')}").status == 404
    assert proxy("GET", "/v2/none/manifests/1").status == 404


def test_nothing_can_be_pushed_or_deleted(proxy, upstream):
    assert proxy.is_whole("team/app", "1")
    assert proxy("POST", "/v2/team/app/blobs/uploads/").status == 405
    assert proxy("PUT", "/v2/team/app/manifests/2", b"{}").status == 405
    assert proxy("DELETE", f"/v2/team/app/manifests/{upstream.digest}").status == 405


def test_many_clients_at_once_cost_one_fetch(new_proxy, upstream):
    registry = new_proxy(upstream.host)
    proxy = registry.talk
    upstream.stall(120, after=200_000, at=digest_of(LAYER))
    bodies = []
    threads = [
        threading.Thread(
            target=lambda: bodies.append(
                proxy("GET", f"/v2/team/app/blobs/{digest_of(LAYER)}").body
            )
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert until(lambda: len(registry._server.active) == 6)
    upstream.go_on()
    for thread in threads:
        thread.join()
    assert bodies == [LAYER] * 6
    assert fetched(upstream, digest_of(LAYER)) == 1


def test_a_client_gets_bytes_before_the_last_one_is_here(proxy, upstream):
    upstream.stall(3600, after=1_000_000, at=digest_of(LAYER))
    connection = http.client.HTTPConnection(*proxy.address, timeout=120)
    connection.request("GET", f"/v2/team/app/blobs/{digest_of(LAYER)}")
    response = connection.getresponse()
    assert response.read(500_000) == LAYER[:500_000]
    upstream.go_on()
    assert response.read() == LAYER[500_000:]
    connection.close()


def test_a_client_that_leaves_does_not_end_the_fetch(proxy, upstream, tmp_path):
    upstream.stall(3600, after=1_000_000, at=digest_of(LAYER))
    connection = http.client.HTTPConnection(*proxy.address, timeout=120)
    connection.request("GET", f"/v2/team/app/blobs/{digest_of(LAYER)}")
    connection.getresponse().read(1000)
    connection.close()
    upstream.go_on()
    path = tmp_path / "registry/repositories/team/app/_blobs" / digest_of(LAYER).replace(":", "/")
    assert until(path.exists)
    assert path.read_bytes() == LAYER


def test_a_fetch_that_breaks_off_goes_on(proxy, upstream):
    upstream.cut_after(700_000, at=digest_of(LAYER))
    assert proxy("GET", f"/v2/team/app/blobs/{digest_of(LAYER)}").body == LAYER
    assert upstream.requests[-1].headers["Range"] == "bytes=700000-"


def test_f33_wrong_bytes_are_neither_kept_nor_handed_out_whole(proxy, upstream, tmp_path):
    digest = digest_of(LAYER)
    upstream.repositories["team/app"].blobs[digest] = LAYER[:-1] + b"!"
    # When all of it was here, and found wrong, before the answer began, that is the answer.
    with contextlib.suppress(http.client.IncompleteRead):
        assert proxy("GET", f"/v2/team/app/blobs/{digest}").status == 502
    assert not list((tmp_path / "registry").rglob(digest.partition(":")[2]))
    assert not list((tmp_path / "registry/ingest").iterdir())
    upstream.repositories["team/app"].blobs[digest] = LAYER
    assert proxy("GET", f"/v2/team/app/blobs/{digest}").body == LAYER


def test_a_wrong_manifest_is_not_handed_out(proxy, upstream):
    media_type, raw = upstream.repositories["team/app"].manifests[upstream.digest]
    upstream.repositories["team/app"].manifests[upstream.digest] = (media_type, raw + b" ")
    reply = proxy("GET", f"/v2/team/app/manifests/{upstream.digest}")
    assert reply.status == 502
    assert "wrong" in reply.json["errors"][0]["message"]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_told_and_nothing_is_kept(proxy, upstream, status, tmp_path):
    upstream.fail_next("*", status, times=50)
    assert proxy("GET", "/v2/team/app/manifests/1").status in (403, 502)
    assert proxy("GET", f"/v2/team/app/blobs/{digest_of(LAYER)}").status in (403, 502)
    assert not list((tmp_path / "registry/repositories").iterdir())


def test_attack_blob_of_another_repository_that_is_here_already(proxy, upstream):
    """Only the other registry says which repository has it."""
    assert proxy.is_whole("team/app", "1")
    upstream.add_blob("public/app", b"something")
    assert proxy("GET", f"/v2/public/app/blobs/{digest_of(LAYER)}").status == 404
    upstream.add_blob("public/app", LAYER)
    before = fetched(upstream, "/blobs/")
    assert proxy("GET", f"/v2/public/app/blobs/{digest_of(LAYER)}").body == LAYER
    assert fetched(upstream, "/blobs/") == before, "but then it is not fetched again"


def test_what_was_collected_is_fetched_again(proxy, upstream, tmp_path, age):
    assert proxy("GET", f"/v2/team/app/blobs/{digest_of(LAYER)}").body == LAYER
    age(tmp_path / "registry")
    assert collect(Storage(tmp_path / "registry")).blobs == 1
    assert proxy.is_whole("team/app", "1")


def test_referrers_are_those_of_the_other_registry(proxy, upstream):
    """An old one, which has no such list: they are under the fallback tag."""
    upstream.referrers = False
    signature = {
        "mediaType": mediatypes.OCI_MANIFEST,
        "digest": digest_of(b"signature"),
        "size": 9,
        "artifactType": "a/signature",
    }
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [signature]}
    tag = upstream.digest.replace(":", "-")
    raw = json.dumps(index).encode()
    upstream.add_manifest("team/app", raw, mediatypes.OCI_INDEX, tag)
    path = f"/v2/team/app/referrers/{upstream.digest}"
    assert proxy("GET", path).json["manifests"] == [signature]
    assert proxy("GET", f"{path}?artifactType=b/c").json["manifests"] == []
    upstream.stop()
    assert proxy("GET", path).json["manifests"] == [], "and not what nobody here knows"


def test_a_range_of_what_comes_for_the_first_time_is_all_of_it(proxy):
    path = f"/v2/team/app/blobs/{digest_of(LAYER)}"
    assert proxy("GET", path, Range="bytes=5-").status == 200
    reply = proxy("GET", path, Range="bytes=5-")
    assert (reply.status, reply.body) == (206, LAYER[5:])


def test_our_client_pulls_through(new_client, new_proxy, upstream, describe):
    registry = new_proxy(upstream.host)
    repository = new_client().repository(Reference.parse(f"{registry.host}/team/app"))
    assert repository.resolve("1").digest == upstream.digest
    assert repository.open(describe(LAYER)).read() == LAYER
    assert list(repository.tags()) == ["1"]


def test_a_command_serves_it(new_process, upstream):
    process = new_process("--proxy", upstream.host)
    assert process.talk.is_whole("team/app", "1")


@pytest.mark.parametrize("users", [False, True])
def test_credentials_of_the_upstream_stay_here(new_registry, new_client, upstream, ali, users):
    if users:
        upstream.require_token("ali", "open sesame")
    registry = new_registry(upstream=upstream.host, client=new_client({upstream.host: ali}))
    registry.talk.headers = {"Authorization": "Bearer of-the-client"}
    assert registry.talk.is_whole("team/app", "1")
    sent = {request.authorization for request in upstream.requests}
    assert "Bearer of-the-client" not in sent
    assert users is any(text.startswith("Bearer") for text in sent)


# Real ones


@pytest.mark.peers
def test_pulls_through_from_docker_registry(new_docker_registry, new_proxy, new_client, tmp_path):
    host = new_docker_registry()
    direct = Talk(f"http://{host}")
    config, layer = (_put(direct, raw) for raw in (b"{}", LAYER))
    raw = json.dumps(manifest(config, [(layer, len(LAYER))])).encode()
    direct("PUT", "/v2/team/app/manifests/1", raw, Content_Type=mediatypes.OCI_MANIFEST)
    registry = new_proxy(host)
    assert registry.talk.is_whole("team/app", "1")
    new_docker_registry.process.terminate()
    new_docker_registry.process.wait()
    assert registry.talk.is_whole("team/app", "1")
    skopeo = shutil.which("skopeo") or pytest.skip("skopeo is not installed")
    source = f"docker://{registry.host}/team/app:1"
    command = [skopeo, "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/out"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "out" / layer.partition(":")[2]).read_bytes() == LAYER


def _put(talk: Talk, raw: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    place = talk("POST", "/v2/team/app/blobs/uploads/").headers["Location"]
    place = place.removeprefix(f"http://{talk.host}")
    assert talk("PUT", f"{place}&digest={digest}", raw).status == 201
    return digest
