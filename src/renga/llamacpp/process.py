"""llama.cpp's own process: `python -m renga.llamacpp.process`, settings in, an address out.

It says where it listens in one line and serves until its standard input ends, as it does when the
parent dies; then it takes the socket away, and the folder that was made for it. What the library
has to say goes to standard error. Owned rule: it answers only on the socket, or the loopback port,
that it was told, and only who shows the key.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from renga.llamacpp.settings import ServerSettings, read_line

LISTENING = "listening "
ERRORS_ONLY = 1  # of the library's levels of words


def main() -> int:
    """Load the model that the first line names, then serve until the input ends."""
    # A terminal's ctrl-c goes to the whole group; the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = os.dup(1)
    os.dup2(2, 1)
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    import xllamacpp

    settings = read_line(line)
    try:
        server = xllamacpp.Server(parameters(settings, xllamacpp))
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    os.write(pipe, f"{LISTENING}{server.listening_address}\n".encode())
    while sys.stdin.buffer.read(1 << 16):
        pass
    if settings.socket:
        _take_away(Path(settings.socket).parent)
    # Not the library's own end, which waits for what runs.
    os._exit(0)


def _take_away(folder: Path) -> None:
    """Remove the sockets' folder, which a parent that was killed has left."""
    with suppress(OSError):
        for path in folder.glob("*.sock"):
            path.unlink(missing_ok=True)
        folder.rmdir()


def parameters(settings: ServerSettings, library: Any) -> Any:
    """The library's parameters for these settings."""
    made = library.CommonParams()
    made.model.path = settings.model
    if settings.projector is not None:
        made.mmproj.path = settings.projector
    made.n_parallel = settings.slots
    made.n_ctx = settings.window * settings.slots
    if settings.threads is not None:
        made.cpuparams.n_threads = made.cpuparams_batch.n_threads = settings.threads
    made.n_gpu_layers = settings.gpu_layers
    made.flash_attn_type = library.llama_flash_attn_type(
        {"auto": -1, "off": 0, "on": 1}[settings.flash_attention]
    )
    made.cache_type_k = made.cache_type_v = library.ggml_type[
        "GGML_TYPE_" + settings.kv_type.upper()
    ]
    made.cache_ram_mib = settings.cache_mb
    # Between steps of so many prompt tokens others go on, and who has left is noticed. An image may
    # need all of its tokens in one.
    made.n_batch = made.n_ubatch if settings.projector is None else made.n_batch
    # Prompts are rendered by renga: a template that the library cannot read must not stop it.
    made.use_jinja, made.chat_template = False, "chatml"
    made.hostnames = [settings.socket or "127.0.0.1"]
    if not settings.socket:
        made.port = 0
    made.api_keys = [settings.key]
    made.n_threads_http = settings.slots + 8
    made.ui, made.offline, made.verbosity = False, True, ERRORS_ONLY
    made.endpoint_slots = True
    return made


if __name__ == "__main__":
    sys.exit(main())
