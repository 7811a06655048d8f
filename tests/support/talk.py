"""Plain HTTP to a registry, without a client that would do the right thing by itself."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from registry.oci import mediatypes
from registry.server.http import Server

# Stopping waits for it, and tests stop hundreds of them.
Server.expiration_interval = 0.01
OCTETS = "application/octet-stream"


def digest_of(raw: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's code of an error."""
        return self.json["errors"][0]["code"]


class Talk:
    """Sends requests to one registry, each on a connection of its own."""

    def __init__(self, url: str, **headers: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.address = (parts.hostname, parts.port)
        self.headers = headers

    def __call__(
        self, method: str, path: str, body: Any = None, *, chunked: bool = False, **headers: str
    ) -> Reply:
        named = {
            name.replace("_", "-"): value for name, value in {**self.headers, **headers}.items()
        }
        connection = http.client.HTTPConnection(*self.address, timeout=300)
        try:
            connection.request(method, path, body, named, encode_chunked=chunked)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, timeout: float = 120) -> bytes:
        """Send bytes as they are; return all that comes until the server closes, or nothing does."""
        with socket.create_connection(self.address, timeout=timeout) as connection:
            connection.sendall(data)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
            except (TimeoutError, ConnectionError):
                pass
            return b"".join(parts)

    # What pushing is made of

    def put_blob(self, name: str, raw: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(raw, algorithm)
        reply = self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", raw)
        assert reply.status == 201, reply
        return digest

    def start(self, name: str) -> str:
        reply = self("POST", f"/v2/{name}/blobs/uploads/")
        assert reply.status == 202, reply
        return reply.headers["Location"]

    def put_manifest(self, name: str, reference: str, document: Any) -> str:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        media_type = json.loads(raw)["mediaType"]
        reply = self("PUT", f"/v2/{name}/manifests/{reference}", raw, Content_Type=media_type)
        assert reply.status == 201, reply
        return digest_of(raw)

    def push(self, name: str, tag: str, *layers: bytes, **more: Any) -> str:
        """Push an image of these layers; return its digest."""
        config = self.put_blob(name, b'{"made": "for %s"}' % tag.encode())
        document = manifest(config, [(self.put_blob(name, layer), len(layer)) for layer in layers])
        document["config"]["size"] = len(b'{"made": "for %s"}' % tag.encode())
        return self.put_manifest(name, tag, {**document, **more})

    def is_whole(self, name: str, reference: str) -> bool:
        """Say whether a manifest and all it names are there, byte by byte."""
        reply = self("GET", f"/v2/{name}/manifests/{reference}")
        if reply.status != 200 or reply.headers["Docker-Content-Digest"] != digest_of(reply.body):
            return False
        for blob in (reply.json["config"], *reply.json["layers"]):
            got = self("GET", f"/v2/{name}/blobs/{blob['digest']}")
            if got.status != 200 or digest_of(got.body) != blob["digest"]:
                return False
        return True


def manifest(config: str, layers: list[tuple[str, int]] | None = None, **more: Any) -> dict:
    return {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": config, "size": 2},
        "layers": [
            {"mediaType": mediatypes.OCI_LAYER, "digest": digest, "size": size}
            for digest, size in layers or []
        ],
        **more,
    }


class RegistryProcess:
    """`wcbuild registry serve` as a process of its own, from construction to `stop` or `kill`."""

    def __init__(self, root: object, *flags: str, port: int = 0, **environment: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "wcbuild", "registry", "serve", "--root", str(root)),
                *("--listen", f"127.0.0.1:{port}", "--gc-interval", "0", *flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        self.line = self.process.stdout.readline()
        self.url = self.line.removeprefix("serving ").strip()
        self.host = self.url.partition("://")[2]
        self.port = int(self.url.rpartition(":")[2] or 0)
        self.talk = Talk(self.url)
        self._told = False
        self.said: str | None = None

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Tell it to end."""
        self._told = True
        self.process.send_signal(number)

    def kill(self) -> None:
        self._told = True
        self.process.kill()
        self.stop()

    def stop(self) -> tuple[int, str]:
        """End it as an init system would; return its exit status and what it said on stderr."""
        if self.process.poll() is None and not self._told:
            self.tell()
        if self.said is None:
            _, self.said = self.process.communicate(timeout=120)
        return self.process.returncode, self.said
