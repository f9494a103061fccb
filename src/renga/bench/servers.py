"""The two servers of `renga bench http`, a process each: ours, and one that does nothing.

Usage: python -m renga.bench.servers stub|renga PORT CORE HOME. Both stand on the same uvicorn, loop
and parser and are pinned to one core. The stub is an ASGI application without a framework: it reads
the body, and sends an answer of the size of ours. Ours is whole, with a scripted backend.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from renga.app import App
from renga.config import BackendConfig, Config, TierConfig
from renga.http.server import listen, run, serve, settings_of

REPLY = "Your order left our warehouse this morning and arrives within two days."
# As large as our answer to REPLY.
ANSWER = b'{"text": "' + b"x" * 900 + b'"}'


async def stub(scope: Scope, receive: Receive, send: Send) -> None:
    """The least that answers a POST."""
    while (await receive()).get("more_body"):
        pass
    length = str(len(ANSWER)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


async def serve_stub(port: int) -> None:
    """Serve it until a signal."""
    await uvicorn.Server(settings_of(stub)).serve(sockets=[listen("127.0.0.1", port)])


async def serve_renga(port: int, home: Path) -> None:
    """Serve renga until a signal: `haiku` says REPLY, `opus` what it is told."""
    backends = {
        "script": BackendConfig(name="script", kind="scripted", reply=REPLY),
        "echo": BackendConfig(name="echo", kind="scripted"),
    }
    tiers = {
        "haiku": TierConfig(name="haiku", backends=("script",)),
        "opus": TierConfig(name="opus", backends=("echo",)),
    }
    app = await App.start(Config(home=home, backends=backends, tiers=tiers))
    try:
        await serve(app, host="127.0.0.1", port=port, drain_seconds=1)
    finally:
        await app.aclose()


def main(which: str, port: int, core: int, home: Path) -> None:
    """Serve `which` on `port`, pinned to `core` where the platform can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    if which == "stub":
        run(serve_stub(port))
    else:
        run(serve_renga(port, home))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
