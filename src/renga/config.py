"""renga.toml, the environment and flags, read once into frozen values.

Owns the order (defaults < file < environment < flags), the refusal of unknown keys by name with the
nearest known one, and the only look at the environment. Which file: `--config`, else RENGA_CONFIG,
else ./renga.toml, else built-in defaults. It opens no database and loads no model.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from renga.errors import SetupError

Kind = Literal["auto", "local", "llamacpp", "openvino_vlm", "scripted"]
KINDS = typing.get_args(Kind)
LATER_KINDS = ("openai", "messages")
TIER_NAMES = ("haiku", "sonnet", "opus")

T = TypeVar("T")


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


BUILT_IN = """
[backends.small]
kind = "local"
model = "shipped:haiku"
[tiers.haiku]
backends = ["small"]
"""

SECTIONS = ("server", "limits", "store", "media", "files", "backends", "tiers", "aliases", "prices")

# Environment variable -> (section, key). RENGA_HOME and RENGA_CONFIG stand outside the file.
ENVIRONMENT: dict[str, tuple[str, str]] = {
    "RENGA_HOST": ("server", "host"),
    "RENGA_PORT": ("server", "port"),
    "RENGA_DRAIN_SECONDS": ("server", "drain_seconds"),
    "RENGA_STORE_URL": ("store", "url"),
}


def environment() -> Mapping[str, str]:
    """The process environment; the only place that looks at it."""
    return os.environ


def load_config(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    host: str | None = None,
    port: int | None = None,
    model: str | None = None,
) -> Config:
    """Read the configuration. Raises SetupError that names the key and what would be accepted.

    With `model` it is that one that serves every tier, whatever the file names.
    """
    env = environment() if env is None else env
    text, source = _find(path, env)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{source} is not valid TOML: {error}") from error
    config = _build(raw, source, _home(env))
    config = replace(config, server=_overlay(config.server, "server", env))
    config = replace(config, store=_overlay(config.store, "store", env))
    server = replace(
        config.server,
        host=config.server.host if host is None else host,
        port=config.server.port if port is None else port,
    )
    config = replace(config, server=_check(server, "--"))
    return config if model is None else _serving(config, model)


def _serving(config: Config, model: str) -> Config:
    """The configuration with one model, by the settings of the backend that has it, if one does.

    Clients may ask for it by its own name, too.
    """
    own = BackendConfig(name="model", model=model)
    backend = next((b for b in config.backends.values() if b.model == model), own)
    return replace(
        config,
        backends={backend.name: replace(backend, load=True)},
        tiers={"haiku": TierConfig(name="haiku", backends=(backend.name,))},
        aliases={**config.aliases, model: "haiku"},
    )


@dataclass(frozen=True)
class HubConfig:
    """Where models are pulled from. `token` is "" for none."""

    endpoint: str = "https://huggingface.co"
    token: str = ""


# The names that every program which fetches models knows; no other of theirs is looked at.
HUB_ENVIRONMENT = {
    "HF_ENDPOINT": "the hub that models are pulled from; `https://huggingface.co` if absent",
    "HF_TOKEN": "the token that the hub is shown, for gated and private models",
}


def hub_config(env: Mapping[str, str] | None = None) -> HubConfig:
    """The hub by the environment; a variable that is empty counts as absent."""
    env = environment() if env is None else env
    endpoint = env.get("HF_ENDPOINT", "").strip() or HubConfig.endpoint
    return HubConfig(endpoint, env.get("HF_TOKEN", "").strip())


def _find(path: Path | None, env: Mapping[str, str]) -> tuple[str, str]:
    named = path or (Path(env["RENGA_CONFIG"]) if env.get("RENGA_CONFIG") else None)
    file = named or Path("renga.toml")
    if named is None and not file.exists():
        return BUILT_IN, "built-in defaults"
    try:
        return file.read_text(encoding="utf-8"), str(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SetupError(
            f"cannot read the configuration {file}: {reason}",
            "name another with --config, or leave it out for the defaults",
        ) from error


def _home(env: Mapping[str, str]) -> Path:
    named = env.get("RENGA_HOME") or "~/.renga"
    try:
        return Path(named).expanduser()
    except RuntimeError as error:
        raise SetupError(
            f"the state folder {named} has no place: this user has no home folder",
            "set RENGA_HOME to a folder that you can write",
        ) from error


def _build(raw: dict[str, Any], source: str, home: Path) -> Config:
    _known(raw, SECTIONS, source)
    for name in SECTIONS:
        _table(raw.get(name, {}), f"{source}: {name}")
    backends = {
        name: _read(BackendConfig, table, f"{source}: backends.{name}", name=name)
        for name, table in raw.get("backends", {}).items()
    }
    _known(raw.get("tiers", {}), TIER_NAMES, f"{source}: tiers")
    tiers = {
        name: _read(TierConfig, table, f"{source}: tiers.{name}", name=name)
        for name, table in raw.get("tiers", {}).items()
    }
    if not backends and not tiers:
        built_in = _build(tomllib.loads(BUILT_IN), source, home)
        backends, tiers = dict(built_in.backends), dict(built_in.tiers)
    _check_tiers(tiers, backends, source)
    return Config(
        home=home,
        server=_read(ServerConfig, raw.get("server", {}), f"{source}: server"),
        limits=_read(LimitsConfig, raw.get("limits", {}), f"{source}: limits"),
        media=_read(MediaConfig, raw.get("media", {}), f"{source}: media"),
        store=_read(StoreConfig, raw.get("store", {}), f"{source}: store"),
        files=_read(FilesConfig, raw.get("files", {}), f"{source}: files"),
        backends=backends,
        tiers=tiers,
        aliases=_read_aliases(raw.get("aliases", {}), source),
        prices={
            tier: _table(table, f"{source}: prices.{tier}")
            for tier, table in raw.get("prices", {}).items()
        },
        source=source,
    )


def _check_tiers(
    tiers: Mapping[str, TierConfig], backends: Mapping[str, BackendConfig], source: str
) -> None:
    if not tiers:
        raise SetupError(
            f"{source}: no tier is configured",
            "add [tiers.haiku] with backends = [...]; tiers are " + ", ".join(TIER_NAMES),
        )
    for tier in tiers.values():
        if not tier.backends:
            raise SetupError(f"{source}: tiers.{tier.name}.backends is empty", _one_of(backends))
        for name in tier.backends:
            if name not in backends:
                raise SetupError(
                    f"{source}: tiers.{tier.name}.backends names '{name}', which is not defined",
                    _one_of(backends),
                )


def _one_of(names: Mapping[str, Any]) -> str:
    return "defined backends: " + (", ".join(names) or "none")


def _read_aliases(table: Mapping[str, Any], source: str) -> dict[str, str]:
    for name, target in table.items():
        if not isinstance(target, str):
            raise SetupError(f"{source}: aliases.{name} = {target!r}; accepted: a model's name")
    return dict(table)


def _known(table: Mapping[str, Any], known: typing.Iterable[str], where: str) -> None:
    known = tuple(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "accepted: " + ", ".join(known)
            raise SetupError(f"{where}: unknown key '{key}'", hint)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SetupError(f"{where} = {value!r}; accepted: a table")
    return value


def _read(cls: type[T], table: Any, where: str, **given: Any) -> T:
    """One table into one frozen dataclass; values are checked against the field's type."""
    table = _table(table, where)
    settings = {f.name: f for f in fields(typing.cast(Any, cls)) if f.metadata}
    _known(table, settings, where)
    if "kind" in table:
        _check_kind(table["kind"], where)
    hints = typing.get_type_hints(cls)
    values = {k: _value(v, hints[k], f"{where}.{k}") for k, v in table.items()}
    return _check(cls(**given, **values), f"{where}.")


def _check_kind(kind: Any, where: str) -> None:
    if kind in LATER_KINDS:
        raise SetupError(
            f"{where}: kind '{kind}' is not built yet", "accepted now: " + ", ".join(KINDS)
        )


def _value(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` wants it: numbers widen, nothing else converts."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    hint = next(o for o in options if o is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        accepted = typing.get_args(hint)
        if value in accepted:
            return value
        raise SetupError(f"{where} = {value!r}", "accepted: " + ", ".join(map(str, accepted)))
    if typing.get_origin(hint) is tuple:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise SetupError(f"{where} = {value!r}; accepted: a list of strings")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise SetupError(f"{where} = {value!r}; accepted: {_words(hint)}")


def _words(hint: type) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    return names[hint]


def _overlay(section: T, name: str, env: Mapping[str, str]) -> T:
    """Values from the environment over those of the file."""
    hints = typing.get_type_hints(type(section))
    changes: dict[str, Any] = {}
    for variable, (where, key) in ENVIRONMENT.items():
        if where == name and env.get(variable):
            changes[key] = _parsed(env[variable], hints[key], variable)
    overlaid: T = replace(typing.cast(Any, section), **changes)
    return _check(overlaid, "environment: ")


def _parsed(text: str, hint: Any, variable: str) -> Any:
    try:
        return hint(text)
    except ValueError as error:
        raise SetupError(f"{variable}={text!r}; accepted: {_words(hint)}") from error


def _check(section: T, where: str) -> T:
    """Bounds of numbers, and settings that exclude each other."""
    for setting in fields(typing.cast(Any, section)):
        least, value = setting.metadata.get("least"), getattr(section, setting.name)
        if least is None:
            continue
        most = setting.metadata["most"]
        if not least <= value <= most or value == math.inf:
            accepted = f"{least} or more" if most == math.inf else f"{least} to {most}"
            raise SetupError(f"{where}{setting.name} = {value}; accepted: {accepted}")
    if isinstance(section, BackendConfig) and section.precision == "exact":
        _agree_on_exact(section, where)
    return section


def _agree_on_exact(backend: BackendConfig, where: str) -> None:
    if backend.kv_precision not in ("auto", "f32"):
        raise SetupError(
            f"{where}kv_precision = {backend.kv_precision!r} with precision = 'exact'",
            "accepted: auto, f32; exact arithmetic keeps keys and values in f32",
        )


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
