"""A hub on this machine: the few routes of the Hugging Face hub, over real sockets, with faults.

`tests/models/test_hub.py` holds it to what `huggingface_hub` expects of a hub.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "1234567890abcdef1234567890abcdef12345678"
PIECE = 16_384


@dataclass
class Fault:
    """What goes wrong with one answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    cut_after: int | None = None
    """The connection ends behind so many bytes of the body."""
    reset: bool = False
    """It ends by a reset, which may take bytes with it that were on their way."""
    content: bytes | None = None
    """Other bytes than the listing's."""
    whole: bool = False
    """The range is not looked at."""


@dataclass
class Repo:
    """A repository: its files, and what the hub says of it. `rows` stand for its listing."""

    files: dict[str, bytes]
    license: str = "apache-2.0"
    gated: str | bool = False
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main",)
    card: dict[str, Any] = field(default_factory=dict)
    rows: list[Any] | None = None


class FakeHub:
    """The server. `faults[path]` are used up one by one; `seen` are the requests that came.

    `tokens` are those that are known; `rate` is bytes in a second of each connection; `page` are
    rows of a page of a listing. Files of `large` bytes and more are known by SHA-256 and come from
    another address, as the real hub's do.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.sent: list[tuple[str, int]] = []
        self.tokens: set[str] = set()
        self.page, self.large = 1_000, 1_000
        self.rate: int | None = None
        self.bytes_sent = 0
        self.blobs: dict[str, bytes] = {}
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), _answering(self)) for _ in ("hub", "cdn")
        ]
        self.url, self.cdn = (f"http://127.0.0.1:{s.server_address[1]}" for s in self._servers)

    def add(self, repo: str, files: dict[str, bytes] | Path, **about: Any) -> Repo:
        """A repository of these files, or of those in a folder."""
        if isinstance(files, Path):
            files = {p.name: p.read_bytes() for p in sorted(files.iterdir()) if p.is_file()}
        self.repos[repo] = Repo(dict(files), **about)
        return self.repos[repo]

    @contextmanager
    def running(self) -> Iterator[FakeHub]:
        """Serve until the end of the block."""
        threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,)) for server in self._servers
        ]
        for server in self._servers:
            server.daemon_threads, server.block_on_close = True, False
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server in self._servers:
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join()


def digest_of(content: bytes, *, large: bool) -> str:
    """SHA-256 of a large file, git's name of a small one."""
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _answering(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    return type("Answer", (_Answer,), {"hub": hub})


class _Answer(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.hub.seen.append((path, {name.lower(): v for name, v in self.headers.items()}))
        fault = self.hub.faults[path].pop(0) if self.hub.faults[path] else Fault()
        with suppress(ConnectionError):
            if fault.status:
                self._send(fault.status, fault.body, fault.headers)
            elif path.startswith("/cdn/"):
                self._cdn(path, fault)
            elif path.startswith("/api/models/"):
                self._api(path, parse_qs(parts.query))
            else:
                self._resolve(path, fault)

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        parts = path.removeprefix("/api/models/").split("/", 3)
        org, name, route, revision = parts if len(parts) == 4 else (*parts, "revision", "main")
        repo = self._repo(f"{org}/{name}", revision)
        if repo is None:
            return
        if route == "revision":
            self._json(_about(f"{org}/{name}", repo))
            return
        rows = repo.rows if repo.rows is not None else _rows(repo, self.hub.large)
        begin = int(query.get("cursor", ["0"])[0])
        end = begin + self.hub.page
        there = f"{self.hub.url}{quote(path)}?recursive=true&cursor={end}"
        more = {"link": f'<{there}>; rel="next"'} if end < len(rows) else {}
        self._json(rows[begin:end], more)

    def _resolve(self, path: str, fault: Fault) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self._repo(name, revision)
        if repo is None:
            return
        token = self._token()
        if repo.gated and token not in self.hub.tokens:
            words = f"Access to model {name} is restricted."
            refusal = {"x-error-code": "GatedRepo", "x-error-message": words}
            self._send(403 if token else 401, b"", refusal)
            return
        content = repo.files.get(file)
        if content is None:
            self._send(404, b"", {"x-error-code": "EntryNotFound"})
            return
        large = len(content) >= self.hub.large
        etag = f'"{digest_of(content, large=large)}"'
        about = {"x-repo-commit": repo.commit, "etag": etag}
        if not large:
            self._body(file, content, fault, about)
            return
        linked = {"x-linked-etag": etag, "x-linked-size": str(len(content))}
        self.hub.blobs[file] = content
        there = f"{self.hub.cdn}/cdn/{quote(file)}?signature=of-the-hub"
        self._send(302, b"Found", {**about, **linked, "location": there})

    def _cdn(self, path: str, fault: Fault) -> None:
        if "authorization" in self.headers:  # as S3 does with signed addresses
            self._send(400, b"Only one auth mechanism allowed")
            return
        file = path.removeprefix("/cdn/")
        self._body(file, self.hub.blobs[file], fault, {})

    def _token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def _repo(self, name: str, revision: str) -> Repo | None:
        """The repository, or a refusal that was sent."""
        repo, token = self.hub.repos.get(name), self._token()
        if token and token not in self.hub.tokens:
            self._send(401, b'{"error":"Invalid credentials in Authorization header"}')
        elif repo is None:  # a stranger is not told which private ones there are
            self._send(404 if token else 401, b"{}", {"x-error-code": "RepoNotFound"})
        elif revision not in (*repo.revisions, repo.commit):
            self._send(404, b"{}", {"x-error-code": "RevisionNotFound"})
        else:
            return repo
        return None

    def _body(self, file: str, content: bytes, fault: Fault, headers: dict[str, str]) -> None:
        if fault.content is not None:
            content = fault.content
        status, begin = 200, 0
        asked = self.headers.get("range", "")
        if asked and not fault.whole:
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            if begin >= len(content):
                self._send(416, b"", {"content-range": f"bytes */{len(content)}"})
                return
            status = 206
            span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            headers = {**headers, "content-range": span}
        self.hub.sent.append((file, begin))
        self._send(status, content[begin:], headers, fault)

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), headers or {})

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        fault: Fault | None = None,
    ) -> None:
        cut_after = None if fault is None else fault.cut_after
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body if cut_after is None else body[:cut_after]
        for at in range(0, len(sent), PIECE):
            self.wfile.write(sent[at : at + PIECE])
            self.hub.bytes_sent += len(sent[at : at + PIECE]) if status in (200, 206) else 0
            if self.hub.rate:
                time.sleep(PIECE / self.hub.rate)
        if cut_after is not None:
            self.wfile.flush()
            time.sleep(0.05)  # for the reader to take what came
        if fault is not None and fault.reset:
            self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = self.close_connection or cut_after is not None


def _about(name: str, repo: Repo) -> dict[str, Any]:
    return {
        "id": name,
        "sha": repo.commit,
        "gated": repo.gated,
        "private": False,
        "downloads": 1,
        "likes": 0,
        "tags": ["text-generation", *([f"license:{repo.license}"] if repo.license else [])],
        "cardData": {**({"license": repo.license} if repo.license else {}), **repo.card},
        "siblings": [{"rfilename": path} for path in repo.files],
    }


def _rows(repo: Repo, least: int) -> list[dict[str, Any]]:
    """The listing: folders, and files with their digests."""
    folders = {path.rpartition("/")[0] for path in repo.files} - {""}
    rows: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in folders
    ]
    for path, content in repo.files.items():
        large = len(content) >= least
        oid = digest_of(content, large=large)
        row: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
        if large:
            pointer = {"oid": oid, "size": len(content), "pointerSize": 134}
            row |= {"oid": digest_of(b"pointer", large=False), "lfs": pointer}
        rows.append(row)
    return rows
