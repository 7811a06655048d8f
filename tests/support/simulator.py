"""A registry in this process that can be told to misbehave: to fail, cut, stall, lie and redirect.

It keeps everything in memory and records every request with its headers, so that tests assert on
what a client really sent, and to whom.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import secrets
import socket
import ssl
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qs, parse_qsl, urlsplit

_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>.*)")
_OCTETS = "application/octet-stream"


@dataclass
class Recorded:
    """One request that arrived."""

    method: str
    path: str
    headers: Message
    status: int = 0
    body: bytes = b""

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class _Upload:
    name: str
    data: bytearray = field(default_factory=bytearray)
    state: str = "0"


@dataclass
class _Fault:
    """Something that happens to the next ``times`` requests of a method whose path has ``at`` in it.

    The bare `/v2/`, which clients ask to learn who is there, is spared unless ``at`` names it.
    """

    method: str
    at: str
    times: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_answer: int | None = None
    cut_request: int | None = None
    stall_s: float = 0.0
    stall_after: int = 0
    trickle_s: float = 0.0
    drop_after: bool = False
    extra_headers: dict[str, str] = field(default_factory=dict)


class RegistrySimulator:
    """An OCI registry on a port of 127.0.0.1, running from construction to `stop`.

    With ``tls`` it speaks HTTPS only.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        self.repositories: dict[str, Repository] = defaultdict(Repository)
        self.storage: dict[str, bytes] = {}
        """What `/storage/<digest>` serves: the other end of redirected blobs."""
        self.requests: list[Recorded] = []
        self.page_size = 0
        self.mounts = True
        self.referrers = True
        """Whether there is an API for them."""
        self.filters_referrers = True
        self.untags = True
        self.ranges = True
        self.checks_digests = True
        self.redirect_to = ""
        self.connections = 0
        self.forgets_bodies = False
        self.body_limit: int | None = None
        """Larger bodies are refused with 413, as by a proxy before the registry."""
        self.least_part = 0
        """What OCI-Chunk-Min-Length says."""
        self.uploads: dict[str, _Upload] = {}
        self._faults: list[_Fault] = []
        self._basic: tuple[str, str] | None = None
        self._token: dict[str, object] | None = None
        self._issued: dict[str, tuple[set[str], float]] = {}
        self._lock = threading.RLock()
        self._sockets: set[socket.socket] = set()
        self._go_on = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.tls = tls
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    # What it is

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def stop(self) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    # What it holds

    def add_blob(self, name: str, raw: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        self.repositories[name].blobs[digest] = raw
        return digest

    def add_manifest(self, name: str, raw: bytes, media_type: str, tag: str = "") -> str:
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        self.repositories[name].manifests[digest] = (media_type, raw)
        if tag:
            self.repositories[name].tags[tag] = digest
        return digest

    # What it is told

    def fail_next(
        self,
        method: str,
        status: int,
        times: int = 1,
        headers: dict[str, str] | None = None,
        *,
        body: bytes = b"",
        at: str = "",
    ) -> None:
        """Answer with ``status`` instead of doing anything."""
        self._add(_Fault(method, at, times, status=status, headers=dict(headers or {}), body=body))

    def cut_after(
        self, size: int, times: int = 1, *, method: str = "GET", at: str = "/blobs/"
    ) -> None:
        """Close the connection after ``size`` bytes of the answer's body."""
        self._add(_Fault(method, at, times, cut_answer=size))

    def cut_upload_after(self, size: int, times: int = 1, *, method: str = "PATCH") -> None:
        """Read ``size`` bytes of the request's body and close the connection.

        As in docker's registry, what a PATCH brought is kept, but a PUT that breaks ends the upload.
        """
        self._add(_Fault(method, "/blobs/uploads/", times, cut_request=size))

    def lose_answer(self, method: str, times: int = 1, *, at: str = "") -> None:
        """Do what is asked, and close the connection instead of saying so."""
        self._add(_Fault(method, at, times, drop_after=True))

    def stall(
        self,
        seconds: float,
        times: int = 1,
        *,
        after: int = 0,
        method: str = "GET",
        at: str = "/blobs/",
    ) -> None:
        """Be silent for ``seconds``, or until `go_on`, after ``after`` bytes of the answer's body."""
        self._add(_Fault(method, at, times, stall_s=seconds, stall_after=after))

    def go_on(self) -> None:
        """End all silence and all pauses, now and later."""
        self._go_on.set()

    def trickle(self, seconds: float, times: int = 1, *, at: str = "/blobs/") -> None:
        """Send the answer's body byte by byte, with a pause before each."""
        self._add(_Fault("GET", at, times, trickle_s=seconds))

    def say_too(
        self, method: str, headers: dict[str, str], times: int = 1, *, at: str = ""
    ) -> None:
        """Add headers to the right answer, or put them in the place of the right ones."""
        self._add(_Fault(method, at, times, extra_headers=headers))

    def require_basic(self, username: str, password: str) -> None:
        self._basic = (username, password)

    def require_token(
        self,
        username: str = "",
        password: str = "",
        *,
        identity_token: str = "",
        expires_in: float = 300,
        anonymous_pull: bool = False,
        realm: str = "",
        grant: set[str] | None = None,
        gives_identity: str = "",
        rotates: bool = False,
    ) -> None:
        """Ask for tokens of `/token`, here or wherever ``realm`` is; ``grant`` bounds their actions.

        Who asks for an offline token gets ``gives_identity``; with ``rotates`` every identity token is
        good for one answer, which brings the next.
        """
        self._token = {
            "username": username,
            "password": password,
            "identity": identity_token,
            "expires_in": expires_in,
            "anonymous": anonymous_pull,
            "realm": realm or f"{self.url}/token",
            "grant": grant,
            "gives": gives_identity,
            "rotates": rotates,
        }

    def expire_tokens(self) -> None:
        with self._lock:
            self._issued.clear()

    def drop_uploads(self) -> None:
        with self._lock:
            self.uploads.clear()

    def redirect_blobs(self, target: str) -> None:
        """Answer requests for blobs with a redirect to ``target`` (a URL), or stop doing so."""
        self.redirect_to = target

    # What it has seen

    def sent(self, method: str, part: str = "") -> list[Recorded]:
        """Return the requests of ``method`` whose path has ``part`` in it."""
        with self._lock:
            return [r for r in self.requests if r.method == method and part in r.path]

    # How it works

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def fault_for(self, method: str, path: str) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                meant = fault.at in path and (path != "/v2/" or fault.at == path)
                if fault.method in (method, "*") and meant and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def refusal_of(self, request: Recorded) -> dict[str, str] | None:
        """Return the challenge for a request that lacks authorization; None if it may pass."""
        if self._basic is not None:
            pair = ":".join(self._basic).encode()
            if request.authorization == f"Basic {base64.b64encode(pair).decode()}":
                return None
            return {"WWW-Authenticate": 'Basic realm="simulated, really"'}
        if self._token is None:
            return None
        needed = _needed_scopes(request)
        kind, _, token = request.authorization.partition(" ")
        with self._lock:
            scopes, expires = self._issued.get(token, (set(), 0.0))
        problem = ""
        if kind == "Bearer" and time.monotonic() < expires:
            if needed <= scopes:
                return None
            problem = ',error="insufficient_scope"'
        resources = defaultdict(list)
        for scope in sorted(needed):
            resource, _, action = scope.rpartition(":")
            resources[resource].append(action)
        scope = " ".join(f"{r}:{','.join(actions)}" for r, actions in resources.items())
        stated = f',scope="{scope}"' if scope else ""
        realm = self._token["realm"]
        return {"WWW-Authenticate": f'Bearer realm="{realm}",service="simulator"{stated}{problem}'}

    def token_answer(self, request: Recorded) -> tuple[int, dict[str, object]]:
        rules = self._token
        if rules is None:
            return 404, {}
        if request.method == "POST":
            form = dict(parse_qsl(request.body.decode()))
            if form.get("grant_type") == "password":
                known = (form.get("username"), form.get("password"))
                if known != (rules["username"], rules["password"]):
                    return 401, {"error": "invalid_grant"}
            elif not rules["identity"] or form.get("refresh_token") != rules["identity"]:
                return 401, {"error": "invalid_grant"}
            offline = form.get("access_type") == "offline"
            asked = form.get("scope", "").split()
            known = True
        else:
            asked = parse_qs(urlsplit(request.path).query).get("scope", [])
            offline = "offline_token=true" in request.path
            pair = f"{rules['username']}:{rules['password']}".encode()
            known = request.authorization == f"Basic {base64.b64encode(pair).decode()}"
            if not known and (request.authorization or not rules["anonymous"]):
                return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}
        scopes = set()
        for item in asked:
            resource, _, actions = item.rpartition(":")
            scopes |= {f"{resource}:{action}" for action in actions.split(",")}
        if not known:
            scopes = {scope for scope in scopes if scope.endswith(":pull")}
        if rules["grant"] is not None:
            scopes = {s for s in scopes if s.rpartition(":")[2] in rules["grant"]}
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._issued[token] = (scopes, time.monotonic() + float(str(rules["expires_in"])))
        answer: dict[str, object] = {"token": token, "expires_in": rules["expires_in"]}
        if offline and rules["gives"]:
            answer["refresh_token"] = rules["identity"] = rules["gives"]
        elif rules["rotates"]:
            answer["refresh_token"] = rules["identity"] = secrets.token_urlsafe(12)
        return 200, answer


def _needed_scopes(request: Recorded) -> set[str]:
    parts = urlsplit(request.path)
    route = _ROUTE.fullmatch(parts.path)
    if route is None:
        return set()
    action = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}.get(
        request.method, ("pull", "push")
    )
    if request.method == "DELETE" and "/uploads/" in parts.path:
        action = ("push",)
    needed = {f"repository:{route['name']}:{verb}" for verb in action}
    for source in parse_qs(parts.query).get("from", []):
        needed.add(f"repository:{source}:pull")
    return needed


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request, client_address) -> None:
        # Here and not around the listener: the handshake belongs to the connection's own thread.
        if self.tls is not None:
            request.settimeout(60)
            request = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)
        finally:
            if self.tls is not None:
                request.close()

    def handle_error(self, request, client_address) -> None:
        """Say nothing: clients that hang up are what tests are made of."""


def _handler(simulator: RegistrySimulator) -> type[_Handler]:
    return type("Handler", (_Handler,), {"simulator": simulator})


class _Handler(http.server.BaseHTTPRequestHandler):
    simulator: RegistrySimulator
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 300

    def setup(self) -> None:
        super().setup()
        with self.simulator._lock:
            self.simulator.connections += 1
            self.simulator._sockets.add(self.connection)

    def finish(self) -> None:
        with self.simulator._lock:
            self.simulator._sockets.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format, *args) -> None:  # noqa: A002
        """Keep the record in `requests` instead."""

    def handle_any(self) -> None:
        self.record = Recorded(self.command, self.path, self.headers)
        with self.simulator._lock:
            self.simulator.requests.append(self.record)
        self.fault = self.simulator.fault_for(self.command, self.path) or _Fault("", "", 0)
        # As real ones do, on the strength of the headers: a token may end while the body comes.
        challenge = self.simulator.refusal_of(self.record)
        self.record.body, whole = self.read_body(self.fault.cut_request)
        if not whole and self.fault.cut_request is None:
            self.close_connection = True
            return
        limit = self.simulator.body_limit
        if limit is not None and len(self.record.body) > limit:
            self.answer(413, {}, b"<html>413 Request Entity Too Large</html>")
            return
        if self.fault.status is not None:
            self.answer(self.fault.status, self.fault.headers, self.fault.body)
            return
        parts = urlsplit(self.path)
        if parts.path == "/token":
            status, answer = self.simulator.token_answer(self.record)
            self.answer(status, {"Content-Type": "application/json"}, json.dumps(answer).encode())
            return
        if parts.path.startswith("/storage/"):
            raw = self.simulator.storage.get(parts.path.removeprefix("/storage/"))
            self.answer_blob(raw)
            return
        if challenge is not None:
            self.refuse(401, "UNAUTHORIZED", challenge)
            return
        if parts.path == "/v2/":
            self.answer(200, {}, b"{}")
            return
        route = _ROUTE.fullmatch(parts.path)
        if route is None:
            self.refuse(404, "NAME_UNKNOWN")
            return
        self.query = dict(parse_qsl(parts.query))
        repository = self.simulator.repositories[route["name"]]
        getattr(self, f"on_{route['kind']}")(route["name"], repository, route["rest"])

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names http.server asks for

    def read_body(self, limit: int | None) -> tuple[bytes, bool]:
        """Return the body, at most ``limit`` bytes, and whether that is all of it."""
        body, whole = bytearray(), False
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while limit is None or len(body) < limit:
                size = int(self.rfile.readline().strip() or b"-1", 16)
                if size < 0:
                    break
                data = self.rfile.read(size)
                body += b"" if self.simulator.forgets_bodies else data
                self.rfile.readline()
                if size == 0:
                    whole = True
                    break
        else:
            length = int(self.headers.get("Content-Length") or 0)
            body += self.rfile.read(length if limit is None else min(length, limit))
            whole = len(body) == length
        return bytes(body if limit is None else body[:limit]), whole

    def on_manifests(self, name: str, repository: Repository, reference: str) -> None:
        digest = reference if ":" in reference else repository.tags.get(reference, "")
        if self.command in ("GET", "HEAD"):
            if digest not in repository.manifests:
                self.refuse(404, "MANIFEST_UNKNOWN")
                return
            media_type, raw = repository.manifests[digest]
            self.answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, raw)
        elif self.command == "PUT":
            raw = self.record.body
            digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
            if ":" in reference and reference != digest:
                self.refuse(400, "DIGEST_INVALID")
                return
            missing = [d for d in _named_blobs(raw) if d not in repository.blobs]
            if missing:
                self.refuse(400, "MANIFEST_BLOB_UNKNOWN")
                return
            repository.manifests[digest] = (self.headers["Content-Type"], raw)
            if ":" not in reference:
                repository.tags[reference] = digest
            location = f"/v2/{name}/manifests/{digest}"
            headers = {"Location": location, "Docker-Content-Digest": digest}
            subject = _subject(raw)
            if subject and self.simulator.referrers:
                headers["OCI-Subject"] = subject
            self.answer(201, headers)
        elif ":" not in reference and digest:
            if not self.simulator.untags:
                self.refuse(400, "UNSUPPORTED")
                return
            del repository.tags[reference]
            self.answer(202)
        elif digest in repository.manifests:
            del repository.manifests[digest]
            for tag in [t for t, d in repository.tags.items() if d == digest]:
                del repository.tags[tag]
            self.answer(202)
        else:
            self.refuse(404, "MANIFEST_UNKNOWN")

    def on_blobs(self, name: str, repository: Repository, rest: str) -> None:
        if rest.startswith("uploads/"):
            self.on_upload(name, repository, rest.removeprefix("uploads/"))
        elif rest not in repository.blobs:
            self.refuse(404, "BLOB_UNKNOWN")
        elif self.command == "DELETE":
            del repository.blobs[rest]
            self.answer(202)
        elif self.simulator.redirect_to and self.command == "GET":
            self.answer(307, {"Location": self.simulator.redirect_to})
        else:
            self.answer_blob(repository.blobs[rest], {"Docker-Content-Digest": rest})

    def on_tags(self, name: str, repository: Repository, _rest: str) -> None:
        names, size = sorted(repository.tags), self.simulator.page_size
        headers = {"Content-Type": "application/json"}
        if size:
            names = [n for n in names if n > self.query.get("last", "")]
            if len(names) > size:
                names = names[:size]
                link = f"</v2/{name}/tags/list?last={names[-1]}&n={size}>"
                headers["Link"] = f'{link}; rel="next"'
        self.answer(200, headers, json.dumps({"name": name, "tags": names or None}).encode())

    def on_referrers(self, name: str, repository: Repository, subject: str) -> None:
        if not self.simulator.referrers:
            self.answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
            return
        found = [
            _listed(digest, media_type, raw)
            for digest, (media_type, raw) in repository.manifests.items()
            if _subject(raw) == subject
        ]
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        wanted = self.query.get("artifactType", "")
        if wanted and self.simulator.filters_referrers:
            headers["OCI-Filters-Applied"] = "artifactType"
            found = [entry for entry in found if entry["artifactType"] == wanted]
        size, begin = self.simulator.page_size, int(self.query.get("after", "0"))
        if size:
            if len(found) > begin + size:
                query = f"after={begin + size}" + (f"&artifactType={wanted}" if wanted else "")
                link = f"/v2/{name}/referrers/{subject}?{query}"
                headers["Link"] = f'<{link}>; rel="next"'
            found = found[begin : begin + size]
        index = {"schemaVersion": 2, "mediaType": headers["Content-Type"], "manifests": found}
        self.answer(200, headers, json.dumps(index).encode())

    def on_upload(self, name: str, repository: Repository, ident: str) -> None:
        uploads = self.simulator.uploads
        if self.command == "POST":
            mounted = self.query.get("mount")
            source = self.simulator.repositories[self.query.get("from", "")]
            if mounted and self.simulator.mounts and mounted in source.blobs:
                repository.blobs[mounted] = source.blobs[mounted]
                self.answer(201, {"Location": f"/v2/{name}/blobs/{mounted}"})
                return
            ident = secrets.token_hex(8)
            uploads[ident] = _Upload(name)
            least = self.simulator.least_part
            hint = {"OCI-Chunk-Min-Length": str(least)} if least else {}
            self.answer(202, self.session_headers(name, ident) | hint)
            return
        upload = uploads.get(ident)
        if upload is None or self.query.get("_state") != upload.state:
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
            return
        if self.command == "DELETE":
            del uploads[ident]
            self.answer(204)
            return
        if self.command == "GET":
            self.answer(204, self.session_headers(name, ident))
            return
        stated = self.headers.get("Content-Range")
        if stated and int(stated.partition("-")[0]) != len(upload.data):
            self.refuse(416, "BLOB_UPLOAD_INVALID", self.session_headers(name, ident))
            return
        upload.data += self.record.body
        if self.fault.cut_request is not None:
            if self.command == "PUT":
                del uploads[ident]
            self.hang_up()
            return
        if self.command == "PATCH":
            upload.state = secrets.token_hex(4)
            self.answer(202, self.session_headers(name, ident))
            return
        digest = self.query.get("digest", "")
        del uploads[ident]
        actual = hashlib.new(digest.partition(":")[0], upload.data).hexdigest()
        if self.simulator.checks_digests and digest.partition(":")[2] != actual:
            self.refuse(400, "DIGEST_INVALID")
            return
        repository.blobs[digest] = bytes(upload.data)
        self.answer(201, {"Location": f"/v2/{name}/blobs/{digest}"})

    def session_headers(self, name: str, ident: str) -> dict[str, str]:
        upload = self.simulator.uploads[ident]
        return {
            "Location": f"/v2/{name}/blobs/uploads/{ident}?_state={upload.state}",
            "Range": f"0-{max(0, len(upload.data) - 1)}",
        }

    def answer_blob(self, raw: bytes | None, headers: dict[str, str] | None = None) -> None:
        headers = {"Content-Type": _OCTETS, **(headers or {})}
        if raw is None:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted is None or not self.simulator.ranges:
            self.answer(200, headers, raw)
            return
        begin = int(wanted[1])
        if begin >= len(raw):
            self.refuse(416, "RANGE_INVALID", {"Content-Range": f"bytes */{len(raw)}"})
            return
        headers["Content-Range"] = f"bytes {begin}-{len(raw) - 1}/{len(raw)}"
        self.answer(206, headers, raw[begin:])

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})
        self.answer(status, {"Content-Type": "application/json", **(headers or {})}, body.encode())

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.record.status = status
        fault = self.fault
        if fault.drop_after:
            self.hang_up()
            return
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **(headers or {}), **fault.extra_headers}
        if status == 204:
            del headers["Content-Length"]
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.flush()
        if self.command == "HEAD":
            return
        if fault.stall_s:
            self.wfile.write(body[: fault.stall_after])
            self.wfile.flush()
            self.simulator._go_on.wait(fault.stall_s)
            body = body[fault.stall_after :]
        for number in range(len(body) if fault.trickle_s else 0):
            self.simulator._go_on.wait(fault.trickle_s)
            self.wfile.write(body[number : number + 1])
        if fault.trickle_s:
            return
        if fault.cut_answer is not None:
            self.wfile.write(body[: fault.cut_answer])
            self.hang_up()
            return
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _subject(raw: bytes) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return json.loads(raw)["subject"]["digest"]
    return ""


def _listed(digest: str, media_type: str, raw: bytes) -> dict[str, object]:
    document = json.loads(raw)
    artifact_type = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
    return {
        "mediaType": media_type,
        "digest": digest,
        "size": len(raw),
        "artifactType": artifact_type,
        "annotations": document.get("annotations") or {},
    }


def _named_blobs(raw: bytes) -> list[str]:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        document = json.loads(raw)
        # As Debian's registry: what says where else it is need not be here.
        entries = [document["config"], *document["layers"]]
        return [entry["digest"] for entry in entries if not entry.get("urls")]
    return []
