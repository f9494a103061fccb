"""How one llama.cpp is started, as its process reads it. It knows neither pipes nor sockets."""

import msgspec


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of JSON on the process's standard input. Sizes in tokens, memory in MiB."""

    model: str
    projector: str | None = None
    """What it sees with; None for a model that reads only."""
    slots: int = 4
    """Sequences that are computed together, each with `window` tokens of its own."""
    window: int = 4_096
    threads: int | None = None
    gpu_layers: int = -1
    """Layers on the GPU, where the library was built for one; -1 lets it choose."""
    flash_attention: str = "auto"
    kv_type: str = "f16"
    cache_mb: int = 1_024
    """Memory for prompts that no slot holds any more."""
    socket: str = ""
    """Where it listens; "" takes a free port of the loopback address."""
    key: str
    """What every request has to show: nobody else's are answered."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ServerSettings)


def line_of(settings: ServerSettings) -> bytes:
    """The settings as the line that the process reads first."""
    return _encoder.encode(settings) + b"\n"


def read_line(line: bytes) -> ServerSettings:
    """The settings of that line."""
    return _decoder.decode(line)
