"""llama.cpp from its wheel (`xllamacpp`): its own server, in a process that this module is.

`python -m renga.bench.peers.llamacpp GGUF TOKENS SLOTS` says its address in one line and serves
until its standard input ends; `start` is the other side.
"""

import asyncio
import os
import sys
from pathlib import Path

from renga.bench.peers.completions import Completions
from renga.bench.subject import KV_TOKENS
from renga.errors import SetupError

SLOTS = 16
START_SECONDS = 300.0


class Llamacpp(Completions):
    """The server with the process that it is."""

    def __init__(self, url: str, process: asyncio.subprocess.Process) -> None:
        super().__init__(url, kind="llamacpp", name="llamacpp (wheel)")
        self._process = process

    async def aclose(self) -> None:
        """End the process."""
        await _end(self._process)


async def start(gguf: Path) -> Llamacpp:
    """Load the model. Raises SetupError where it cannot."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "renga.bench.peers.llamacpp", str(gguf), str(KV_TOKENS), str(SLOTS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            while line := (await process.stdout.readline()).decode(errors="replace"):
                if line.startswith("listening "):
                    return Llamacpp(line.split()[1], process)
    except TimeoutError:
        pass
    await _end(process)
    raise SetupError(f"llamacpp cannot load {gguf}", "is it a GGUF file of a Qwen3 or Llama model?")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def serve(gguf: str, tokens: int, slots: int) -> None:
    """Serve until standard input ends."""
    import xllamacpp

    pipe = os.dup(1)
    os.dup2(2, 1)
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx, params.n_parallel = tokens, slots
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores
    params.ui = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    os.write(pipe, f"listening {server.listening_address}\n".encode())
    while sys.stdin.read(1 << 16):
        pass
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
