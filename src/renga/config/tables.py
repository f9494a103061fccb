"""The tables of renga.toml as frozen values: what can be configured, with defaults and bounds.

Owns the names of settings and what each means, in the sentence that the documentation prints. It
reads nothing: that is `renga.config.reading`.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

Kind = Literal["auto", "local", "llamacpp", "openvino_vlm", "scripted"]
KINDS = typing.get_args(Kind)
LATER_KINDS = ("openai", "messages")
TIER_NAMES = ("haiku", "sonnet", "opus")


def _setting(
    default: Any, about: str, *, least: float | None = None, most: float = math.inf
) -> Any:
    """A field with its sentence for the docs table and, for numbers, its bounds."""
    return field(default=default, metadata={"about": about, "least": least, "most": most})


@dataclass(frozen=True)
class ServerConfig:
    """The table [server]."""

    host: str = _setting("127.0.0.1", "address to listen on; a public one needs a key first")
    port: int = _setting(8787, "port to listen on; 0 takes a free one", least=0, most=65_535)
    drain_seconds: float = _setting(
        20.0, "after SIGTERM, how long running requests may go on", least=0
    )
    max_body_mb: int = _setting(32, "largest request body, in MB (10^6 bytes)", least=1)
    strict: bool = _setting(
        False, "whether betas that are not known are a 400, and fields beside them too"
    )


@dataclass(frozen=True)
class LimitsConfig:
    """The table [limits]: what the rate-limit headers say. Nothing is limited by it yet."""

    requests_per_minute: int = _setting(4_000, "requests, as the headers say", least=1)
    input_tokens_per_minute: int = _setting(2_000_000, "input tokens, likewise", least=1)
    output_tokens_per_minute: int = _setting(400_000, "output tokens, likewise", least=1)


@dataclass(frozen=True)
class BackendConfig:
    """A table [backends.NAME]. Which keys apply depends on `kind`."""

    name: str = ""
    kind: Kind = _setting("auto", "what it is; `auto` tells by the model's files")
    model: str = _setting(
        "shipped:haiku", "a name as `renga models list` has it, a model folder, or a .gguf file"
    )
    load: bool = _setting(True, "whether it is loaded at start; if not, `renga models load` does")
    threads: int = _setting(0, "local: threads for inference; 0 takes its share of cores", least=0)
    kv_cache_mb: int = _setting(
        0, "local: memory for KV blocks in MB; 0 chooses by model and free memory", least=0
    )
    kv_precision: Literal["auto", "u8", "bf16", "f32"] = _setting(
        "auto", "local: how keys and values are kept; `auto` decides by model and speculation"
    )
    window: int = _setting(
        0, "tokens of context, up to the model's own; 0 takes that, 32,768 at most", least=0
    )
    precision: Literal["serving", "exact"] = _setting(
        "serving", "local: `exact` computes in f32 with f32 KV, slower and bit-stable"
    )
    max_running: int = _setting(32, "local: sequences computed together", least=1)
    max_waiting: int = _setting(256, "local: queue beyond those; a full queue answers 529", least=0)
    draft_tokens: int = _setting(
        -1, "local: tokens guessed ahead in a step; 0 never, -1 where it pays", least=-1
    )
    cache_share: float = _setting(
        0.5, "local: share of the KV blocks that cached prefixes may hold", least=0, most=1
    )
    cache_minimum_tokens: int = _setting(
        64, "local: shortest prefix that `cache_control` caches", least=1
    )
    slots: int = _setting(
        0,
        "llamacpp: sequences computed together, each with a window; 0 as fits, 4 at most",
        least=0,
    )
    gpu_layers: int = _setting(
        -1,
        "llamacpp: layers on the GPU, where xllamacpp is built for one; -1 lets it choose",
        least=-1,
    )
    flash_attention: Literal["auto", "on", "off"] = _setting(
        "auto", "llamacpp: whether attention is computed in one piece"
    )
    kv_type: Literal["f16", "bf16", "f32", "q8_0", "q4_0"] = _setting(
        "f16", "llamacpp: how keys and values are kept"
    )
    cache_mb: int = _setting(
        -1,
        "llamacpp: memory in MB for prompts that no slot holds; -1 a fourth of what is free",
        least=-1,
    )
    projector: str = _setting(
        "", "llamacpp: the file it sees with; empty takes the one beside the model"
    )
    reply: str | None = _setting(None, "scripted: the answer; absent repeats the last user turn")
    first_delay_ms: float = _setting(0.0, "scripted: wait before the answer, in ms", least=0)
    token_delay_ms: float = _setting(0.0, "scripted: wait before each token, in ms", least=0)
    fault: Literal["none", "overloaded", "error"] = _setting("none", "scripted: how it fails")
    fail_after: int = _setting(0, "scripted: tokens before the fault", least=0)


@dataclass(frozen=True)
class TierConfig:
    """A table [tiers.NAME]."""

    name: str = ""
    backends: tuple[str, ...] = _setting((), "names of backends, in order of preference")


@dataclass(frozen=True)
class StoreConfig:
    """The table [store]."""

    url: str = _setting("sqlite", "`sqlite` keeps renga.db in the state folder")


@dataclass(frozen=True)
class FilesConfig:
    """The table [files]: the Files API."""

    max_file_mb: int = _setting(500, "largest file, in MB (10^6 bytes)", least=1)
    storage_gb: int = _setting(1_000, "room for all files, in GB (10^9 bytes)", least=1)
    downloadable: bool = _setting(
        False, "whether uploaded files can be downloaded again; in the API they cannot"
    )


@dataclass(frozen=True)
class MediaConfig:
    """The table [media]: images and documents."""

    fetch_from: tuple[str, ...] = _setting(
        (), "hosts that `url` sources may name, such as `*.example.org`; none: nothing is fetched"
    )
    fetch_http: bool = _setting(False, "whether they may name http addresses, not only https")
    fetch_seconds: float = _setting(20.0, "how long fetching one may take", least=0.1)


@dataclass(frozen=True)
class Config:
    """Everything that was configured. `source` names the file, or says that there was none.

    `aliases` and `prices` stand as they were written; `routing` and `prices` say what they mean.
    """

    home: Path
    server: ServerConfig = ServerConfig()
    limits: LimitsConfig = LimitsConfig()
    media: MediaConfig = MediaConfig()
    store: StoreConfig = StoreConfig()
    files: FilesConfig = FilesConfig()
    backends: Mapping[str, BackendConfig] = field(default_factory=dict)
    tiers: Mapping[str, TierConfig] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    source: str = "built-in defaults"


@dataclass(frozen=True)
class HubConfig:
    """Where models are pulled from. `token` is "" for none."""

    endpoint: str = "https://huggingface.co"
    token: str = ""


def settings() -> list[tuple[str, str, str, str]]:
    """(section, key, default, sentence) of every setting: the source of the docs table."""
    sections = (
        ("server", ServerConfig),
        ("store", StoreConfig),
        ("media", MediaConfig),
        ("files", FilesConfig),
        ("backends.NAME", BackendConfig),
        ("tiers.NAME", TierConfig),
    )
    return [
        (name, f.name, "" if f.default is MISSING else repr(f.default), f.metadata["about"])
        for name, cls in sections
        for f in fields(cls)
        if f.metadata
    ]
