"""A web server in this process that can be told to misbehave, and repositories to serve with it.

It records every request with its headers, so that tests assert on what was really sent, and to whom.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

GIT = shutil.which("git")


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0


@dataclass
class Page:
    """What lies at a path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    """For the next answers: how many bytes come before the connection breaks."""
    fail: list[int] = field(default_factory=list)
    """For the next answers: their statuses."""
    pause_s: float = 0.0
    """Before each byte."""


class WebServer:
    """Serves `pages` and, below `/git/`, the repositories of a folder on 127.0.0.1."""

    def __init__(self, repositories: Path | None = None, *, password: str = "") -> None:
        """With ``password`` the repositories want that as an Authorization header."""
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.repositories = repositories
        self.password = password
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.answer(self)

            do_POST = do_GET  # noqa: N815 - the library's name

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.host = f"127.0.0.1:{self._http.server_address[1]}"
        self.url = f"http://{self.host}"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def put(self, path: str, body: bytes = b"", **options) -> str:
        """Serve ``body`` at ``path``, and return the URL."""
        self.put_page(path, body, **options)
        return self.url + path

    def put_page(self, path: str, body: bytes = b"", **options) -> Page:
        self.pages[path] = Page(body=body, **options)
        return self.pages[path]

    def redirect(self, path: str, location: str) -> str:
        return self.put(path, status=302, headers={"Location": location})

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    def stop(self) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.command, request.path, headers)
        self.asked.append(asked)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if request.path.startswith("/git/") and self.repositories is not None:
                self._serve_git(request, asked)
            else:
                self._serve_page(request, asked)

    def _serve_page(self, request, asked) -> None:
        page = self.pages.get(request.path, Page(status=404))
        status, body = page.fail.pop(0) if page.fail else page.status, page.body
        etag = page.headers.get("ETag")
        if status == 304:
            body = b""
        elif status == 200 and etag and asked.headers.get("if-none-match") == etag:
            status, body = 304, b""
        asked.status = status
        request.send_response(status)
        for name, value in page.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if page.cut and status == 200:
            request.wfile.write(body[: page.cut.pop(0)])
            request.close_connection = True
            return
        if not page.pause_s:
            request.wfile.write(body)
            return
        for number in range(len(body)):
            request.wfile.write(body[number : number + 1])
            request.wfile.flush()
            self._stopped.wait(page.pause_s)

    def _serve_git(self, request, asked) -> None:
        """Answer as `git http-backend` does."""
        if self.password and asked.headers.get("authorization") != self.password:
            asked.status = 401
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        path, _, query = request.path.removeprefix("/git").partition("?")
        length = int(asked.headers.get("content-length") or 0)
        done = subprocess.run(
            ["git", "http-backend"],
            input=request.rfile.read(length),
            capture_output=True,
            check=False,
            env=clean_environment()
            | {
                "GIT_PROJECT_ROOT": str(self.repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": request.command,
                "CONTENT_TYPE": asked.headers.get("content-type", ""),
                "HTTP_CONTENT_ENCODING": asked.headers.get("content-encoding", ""),
                "GIT_PROTOCOL": asked.headers.get("git-protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        asked.status = int(fields.pop("Status", "200").split(" ")[0])
        request.send_response(asked.status)
        for name, value in fields.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def clean_environment() -> dict[str, str]:
    """Return variables for git that hold nothing of this machine's configuration."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.invalid",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.invalid",
        "GIT_AUTHOR_DATE": "2020-02-02T02:02:02Z",
        "GIT_COMMITTER_DATE": "2020-02-02T02:02:02Z",
    }


COMMIT_TIME = 1580608922
"""Of every commit that a `Repository` makes."""


class Repository:
    """A repository to be served, and a working copy beside it."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        self.work = path.with_suffix(".work")
        if not path.exists():
            place = (f"--separate-git-dir={path}", f"--object-format={object_format}")
            self.git("init", "--quiet", "-b", "main", *place, str(self.work), here=False)

    def git(self, *words: str, here: bool = True, data: bytes = b"") -> str:
        own = [f"--git-dir={self.path}", f"--work-tree={self.work}", "-C", str(self.work)]
        place = own if here else []
        config = ["-c", "protocol.file.allow=always", "-c", "safe.directory=*"]
        done = subprocess.run(
            ["git", *config, *place, *words],
            input=data,
            capture_output=True,
            check=True,
            env=clean_environment(),
        )
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str | None], *, links: dict[str, str] | None = None) -> str:
        """Commit files by path (and symlinks), and return the commit."""
        for name, text in files.items():
            target = self.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                target.unlink()
            else:
                target.write_text(text)
        for name, target in (links or {}).items():
            (self.work / name).symlink_to(target)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")

    def add_submodule(self, path: str, url: str, commit: str, **settings: str) -> str:
        """Commit a submodule without asking git whether that is wise."""
        with open(self.work / ".gitmodules", "a") as file:
            file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
            file.writelines(f"\t{name} = {value}\n" for name, value in settings.items())
        self.git("add", ".gitmodules")
        self.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
        self.git("commit", "--quiet", "-m", "a submodule")
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, *, annotated: bool = False) -> str:
        self.git("tag", *(("-a", "-m", name) if annotated else ()), name)
        return self.git("rev-parse", name)
