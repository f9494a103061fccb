"""llama.cpp's own server from its wheel: `python llama_server.py GGUF SLOTS`.

It says its address in one line and serves until its standard input ends. One thread: two of them
wait for each other, which takes long where the cores have other work.
"""

from __future__ import annotations

import os
import sys

import xllamacpp

WINDOW = 2_048  # of a slot


def serve(gguf: str, slots: int) -> None:
    pipe = os.dup(1)
    os.dup2(2, 1)  # the library writes there
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx, params.n_parallel = WINDOW * slots, slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.ui, params.use_jinja, params.endpoint_slots, params.verbosity = False, True, True, 0
    server = xllamacpp.Server(params)
    os.write(pipe, f"listening {server.listening_address}\n".encode())
    while sys.stdin.read(1 << 16):
        pass
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
