"""Uploads to a real server, over a real socket: not held in memory, and bounded."""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Served, StartServer, scripted

MB = 1_000_000
HEADERS = {"x-api-key": "any", "anthropic-version": "2026-10-21"}
FORM = {**HEADERS, "content-type": "multipart/form-data; boundary=edge"}
HEAD = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b"\r\n--edge--\r\n"


def peak(served: Served) -> int:
    """The most memory that the server has had, in bytes."""
    status = Path(f"/proc/{served.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of a process")
def test_a_large_upload_is_written_as_it_comes(start_server: StartServer, tmp_path: Path) -> None:
    served = start_server(scripted())
    piece, digest = random.Random(1).randbytes(MB), hashlib.sha256()
    count = 80

    def body() -> Iterator[bytes]:
        yield HEAD
        for _ in range(count):
            digest.update(piece)
            yield piece
        yield TAIL

    httpx.get(f"{served.url}/v1/files", headers=HEADERS)
    before = peak(served)
    made = httpx.post(f"{served.url}/v1/files", headers=FORM, content=body(), timeout=50).json()
    assert made["size_bytes"] == count * MB
    assert peak(served) - before < 20 * MB
    stored = (tmp_path / "home" / "files" / made["id"]).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == digest.hexdigest()


def test_what_is_too_large_is_refused_and_leaves_nothing(
    start_server: StartServer, tmp_path: Path
) -> None:
    served = start_server(scripted() + "[files]\nmax_file_mb = 1\n")
    for announced in ({"content-length": str(len(HEAD) + 8 * MB)}, {}):

        def body() -> Iterator[bytes]:
            yield HEAD
            for _ in range(8):
                yield b"x" * MB

        url = f"{served.url}/v1/files"
        response = httpx.post(url, headers={**FORM, **announced}, content=body(), timeout=50)
        assert response.status_code == 413
        assert response.json()["error"]["type"] == "request_too_large"
    assert httpx.get(url, headers=HEADERS).json()["data"] == []
    folder = tmp_path / "home" / "files"
    assert not folder.exists() or list(folder.iterdir()) == []
