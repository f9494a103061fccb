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

Kind = Literal["auto", "local", "llamacpp", "openvino_vlm", "openai", "messages", "scripted"]
KINDS = typing.get_args(Kind)
REMOTE_KINDS = ("openai", "messages")
TIER_NAMES = ("haiku", "sonnet", "opus")
PRICE_NAMES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "batch")


def _setting(
    default: Any, about: str, *, least: float | None = None, most: float = math.inf, of: str = ""
) -> Any:
    """A field with its sentence for the docs table and, for numbers, its bounds.

    `of` names the backends that it is for: a kind, or `remote` for those that are other servers.
    """
    told = f"{of}: {about}" if of else about
    return field(default=default, metadata={"about": told, "least": least, "most": most, "of": of})


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
    public_url: str = _setting(
        "", "where clients reach it, for addresses in answers; empty: as they ask for it"
    )


@dataclass(frozen=True)
class LimitConfig:
    """A table [limits.default], or one of [limits.keys], [limits.workspaces] and [limits.tiers].

    What is None is not limited.
    """

    requests_per_minute: int | None = _setting(
        None, "requests that may begin in a minute", least=1, most=10**9
    )
    input_tokens_per_minute: int | None = _setting(
        None,
        "tokens of prompts in a minute; what is read from the cache is not counted",
        least=1,
        most=10**9,
    )
    output_tokens_per_minute: int | None = _setting(
        None, "tokens of answers in a minute, as they were made", least=1, most=10**9
    )
    concurrent: int | None = _setting(
        None, "requests that may run at the same time", least=1, most=10**6
    )
    usd_per_day: float | None = _setting(
        None, "dollars of a day, from midnight to midnight UTC", least=0, most=10**6
    )
    usd_per_month: float | None = _setting(
        None, "dollars of a month of the calendar, likewise", least=0, most=10**6
    )


@dataclass(frozen=True)
class LimitsConfig:
    """The tables [limits.*]: `default` is for each key, the others for what they name."""

    default: LimitConfig = LimitConfig()
    keys: Mapping[str, LimitConfig] = field(default_factory=dict)
    workspaces: Mapping[str, LimitConfig] = field(default_factory=dict)
    tiers: Mapping[str, LimitConfig] = field(default_factory=dict)


@dataclass(frozen=True)
class BackendConfig:
    """A table [backends.NAME]. Which keys apply depends on `kind`.

    `api_key` is what the variable `api_key_env` holds: in no file, and in no `repr`.
    """

    name: str = ""
    kind: Kind = _setting("auto", "what it is; `auto` tells by the model's files")
    model: str = _setting(
        "shipped:haiku",
        "a name as `renga models list` has it, a model folder, or a .gguf file; remote: its name "
        "there, to be given",
    )
    load: bool = _setting(True, "whether it is loaded at start; if not, `renga models load` does")
    threads: int = _setting(
        0, "threads for inference; 0 takes its share of cores", least=0, of="local"
    )
    kv_cache_mb: int = _setting(
        0, "memory for KV blocks in MB; 0 chooses by model and free memory", least=0, of="local"
    )
    kv_precision: Literal["auto", "u8", "bf16", "f32"] = _setting(
        "auto", "how keys and values are kept; `auto` decides by model and speculation", of="local"
    )
    window: int = _setting(
        0,
        "tokens of context, up to the model's own; 0 takes that, 32,768 at most; remote: what it "
        "says",
        least=0,
    )
    precision: Literal["serving", "exact"] = _setting(
        "serving", "`exact` computes in f32 with f32 KV, slower and bit-stable", of="local"
    )
    max_running: int = _setting(32, "sequences computed together", least=1, of="local")
    max_waiting: int = _setting(
        256, "queue beyond those; a full queue answers 529", least=0, of="local"
    )
    draft_tokens: int = _setting(
        -1, "tokens guessed ahead in a step; 0 never, -1 where it pays", least=-1, of="local"
    )
    cache_share: float = _setting(
        0.5, "share of the KV blocks that cached prefixes may hold", least=0, most=1, of="local"
    )
    cache_minimum_tokens: int = _setting(
        64, "shortest prefix that `cache_control` caches", least=1, of="local"
    )
    slots: int = _setting(
        0,
        "sequences computed together, each with a window; 0 as fits, 4 at most",
        least=0,
        of="llamacpp",
    )
    gpu_layers: int = _setting(
        -1,
        "layers on the GPU, where xllamacpp is built for one; -1 lets it choose",
        least=-1,
        of="llamacpp",
    )
    flash_attention: Literal["auto", "on", "off"] = _setting(
        "auto", "whether attention is computed in one piece", of="llamacpp"
    )
    kv_type: Literal["f16", "bf16", "f32", "q8_0", "q4_0"] = _setting(
        "f16", "how keys and values are kept", of="llamacpp"
    )
    cache_mb: int = _setting(
        -1,
        "memory in MB for prompts that no slot holds; -1 a fourth of what is free",
        least=-1,
        of="llamacpp",
    )
    projector: str = _setting(
        "", "the file it sees with; empty takes the one beside the model", of="llamacpp"
    )
    reply: str | None = _setting(
        None, "the answer; absent repeats the last user turn", of="scripted"
    )
    first_delay_ms: float = _setting(0.0, "wait before the answer, in ms", least=0, of="scripted")
    token_delay_ms: float = _setting(0.0, "wait before each token, in ms", least=0, of="scripted")
    urls: tuple[str, ...] = _setting(
        (), "where its replicas listen, such as `http://10.0.0.5:8000/v1`", of="remote"
    )
    api_key_env: str = _setting(
        "", "the environment variable that holds the key for it; empty sends none", of="remote"
    )
    max_output: int = _setting(
        0,
        "tokens of an answer at most; 0 takes what it says, else its window",
        least=0,
        of="remote",
    )
    timeout_s: float = _setting(
        120.0, "seconds until an answer must begin, and of silence in it", least=0.001, of="remote"
    )
    batch: Literal["own", "upstream"] = _setting(
        "own",
        "messages: how requests of batches are answered; `upstream` hands them to the batches of "
        "the server itself",
        of="remote",
    )
    max_connections: int = _setting(
        256, "connections to each replica at most", least=1, of="remote"
    )
    quirks: str = _setting(
        "auto", "openai: which server it is, where its words differ from others'", of="remote"
    )
    has: tuple[str, ...] = _setting(
        (), "abilities that it has though nothing tells of them, such as `images`", of="remote"
    )
    lacks: tuple[str, ...] = _setting(
        (), "abilities that it or its model lacks, such as `tools` or `thinking`", of="remote"
    )
    cost_per_hour: float = _setting(
        0.0, "what the hardware under it costs in dollars an hour, beside the list price", least=0
    )
    fault: Literal["none", "overloaded", "error"] = _setting("none", "how it fails", of="scripted")
    fail_after: int = _setting(0, "tokens before the fault", least=0, of="scripted")
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class TierConfig:
    """A table [tiers.NAME]."""

    name: str = ""
    backends: tuple[str, ...] = _setting((), "names of backends, in order of preference")
    fallback: str = _setting(
        "", "the tier that answers where none of these backends can; empty for none"
    )
    price: Mapping[str, object] | None = _setting(
        None,
        "`{ input, output }` in dollars per million tokens, and whichever of `cache_read`, "
        "`cache_write_5m`, `cache_write_1h`, `batch` (a share) are not to follow from them",
    )


@dataclass(frozen=True)
class RetryConfig:
    """The table [retry]: how often and how long an answer is tried for, before its first word."""

    attempts: int = _setting(3, "tries on one backend, the first included", least=1, most=20)
    base_ms: float = _setting(
        250.0, "the longest pause before the second try; it doubles for each after", least=0
    )
    cap_ms: float = _setting(8_000.0, "the longest pause there is", least=0)
    deadline_s: float = _setting(
        600.0, "in which an answer must have begun, with all tries and pauses", least=0.001
    )


@dataclass(frozen=True)
class BreakerConfig:
    """The table [breaker]: when a backend that fails is left alone, and for how long."""

    failures: int = _setting(5, "failures in the window that there must be at least", least=1)
    share: float = _setting(
        0.5, "share of the tries in the window that must have failed", least=0, most=1
    )
    window_s: float = _setting(30.0, "seconds of the window", least=0.001)
    open_s: float = _setting(
        10.0, "seconds that the backend is left alone, until one request may try it", least=0.001
    )


@dataclass(frozen=True)
class ResponseCacheConfig:
    """The table [response_cache]: answers kept for callers who take an old one over none."""

    enabled: bool = _setting(
        False, "whether answers are kept, with nothing of the prompt but its hash"
    )
    max_mb: int = _setting(64, "room for them, in MB (10^6 bytes); the oldest leave", least=1)
    max_age_s: float = _setting(86_400.0, "seconds after which one is no longer given", least=1)


@dataclass(frozen=True)
class StoreConfig:
    """The table [store]."""

    url: str = _setting(
        "sqlite",
        "`sqlite` keeps renga.db in the state folder; or `postgresql://user@host/database`",
    )


@dataclass(frozen=True)
class LedgerConfig:
    """The table [ledger]: how long rows are kept."""

    retention_days: int = _setting(
        0, "days after which an answer's rows are removed, its sums kept; 0 keeps them", least=0
    )


@dataclass(frozen=True)
class FilesConfig:
    """The table [files]: the Files API."""

    max_file_mb: int = _setting(500, "largest file, in MB (10^6 bytes)", least=1)
    storage_gb: int = _setting(1_000, "room for all files, in GB (10^9 bytes)", least=1)
    downloadable: bool = _setting(
        False, "whether uploaded files can be downloaded again; in the API they cannot"
    )


@dataclass(frozen=True)
class AutoConfig:
    """The table [auto]: how `model: "auto"` chooses a tier."""

    worth_usd: float = _setting(
        0.05, "what a right answer is worth in dollars, against which prices are weighed", least=0
    )
    output_tokens: int = _setting(
        500, "tokens that an answer is taken to have, where it may have more", least=1
    )
    remembered: int = _setting(
        10_000, "conversations whose tier is remembered, so that none is sent to a smaller", least=0
    )


@dataclass(frozen=True)
class BatchesConfig:
    """The table [batches]: Message Batches."""

    enabled: bool = _setting(True, "whether batches are taken")
    work: bool = _setting(True, "whether this server works on the batches of its database")
    in_flight: int = _setting(
        0, "requests of batches under way for a tier; 0 by what its backends run at once", least=0
    )
    tries: int = _setting(
        5, "how often a backend may fail on a request before that is its result", least=1
    )
    expire_hours: float = _setting(
        24.0, "after how long what is not done of a batch expires", least=0.001
    )
    keep_days: float = _setting(
        29.0, "how long after it was created a batch has results", least=0.001
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
class TelemetryConfig:
    """The table [telemetry]: what the server tells of itself, and to whom. To nobody by itself."""

    metrics: bool = _setting(True, "whether `GET /metrics` answers, to those who may read it")
    traces: bool = _setting(
        False, "whether traces are sent to where `OTEL_EXPORTER_OTLP_ENDPOINT` says"
    )
    logs: Literal["text", "json"] = _setting("text", "the form of the lines on stderr")
    access: bool = _setting(True, "whether each request has a line in the log")
    log_prompts: bool = _setting(
        False, "whether prompts stand in the log and in traces, for all who read those"
    )


@dataclass(frozen=True)
class Config:
    """Everything that was configured. `source` names the file, or says that there was none.

    `aliases` and `prices` stand as they were written, prices of both places in one; `routing` and
    `renga.prices` say what they mean.
    """

    home: Path
    server: ServerConfig = ServerConfig()
    limits: LimitsConfig = LimitsConfig()
    media: MediaConfig = MediaConfig()
    retry: RetryConfig = RetryConfig()
    breaker: BreakerConfig = BreakerConfig()
    response_cache: ResponseCacheConfig = ResponseCacheConfig()
    store: StoreConfig = StoreConfig()
    ledger: LedgerConfig = LedgerConfig()
    files: FilesConfig = FilesConfig()
    auto: AutoConfig = AutoConfig()
    batches: BatchesConfig = BatchesConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
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
        ("ledger", LedgerConfig),
        ("media", MediaConfig),
        ("files", FilesConfig),
        ("auto", AutoConfig),
        ("batches", BatchesConfig),
        ("limits.default", LimitConfig),
        ("backends.NAME", BackendConfig),
        ("tiers.NAME", TierConfig),
        ("retry", RetryConfig),
        ("breaker", BreakerConfig),
        ("response_cache", ResponseCacheConfig),
        ("telemetry", TelemetryConfig),
    )
    return [
        (name, f.name, "" if f.default is MISSING else repr(f.default), f.metadata["about"])
        for name, cls in sections
        for f in fields(cls)
        if f.metadata
    ]
