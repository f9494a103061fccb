"""renga.toml, the environment and flags, read once.

Owns the order (defaults < file < environment < flags), the refusal of unknown keys by name with the
nearest known one, and the only look at the environment. Which file: `--config`, else RENGA_CONFIG,
else ./renga.toml, else built-in defaults. It opens no database and loads no model.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from renga.config import rules
from renga.config.tables import (
    TIER_NAMES,
    AutoConfig,
    BackendConfig,
    BatchesConfig,
    BreakerConfig,
    Config,
    FilesConfig,
    HubConfig,
    LedgerConfig,
    LimitConfig,
    LimitsConfig,
    MediaConfig,
    ResponseCacheConfig,
    RetryConfig,
    ServerConfig,
    StoreConfig,
    TelemetryConfig,
    TierConfig,
)
from renga.errors import SetupError

T = TypeVar("T")

BUILT_IN = """
[backends.small]
kind = "local"
model = "shipped:haiku"
[tiers.haiku]
backends = ["small"]
"""

# Tables that are read by themselves: name in the file, and in `Config` -> what it is read into.
PLAIN: dict[str, type] = {
    "server": ServerConfig,
    "media": MediaConfig,
    "store": StoreConfig,
    "ledger": LedgerConfig,
    "files": FilesConfig,
    "auto": AutoConfig,
    "batches": BatchesConfig,
    "retry": RetryConfig,
    "breaker": BreakerConfig,
    "response_cache": ResponseCacheConfig,
    "telemetry": TelemetryConfig,
}
SECTIONS = (*PLAIN, "limits", "backends", "tiers", "aliases", "prices")

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
        raise _malformed(error, source) from error
    config = _build(raw, source, _home(env))
    keyed = {
        name: replace(backend, api_key=rules.with_key(backend, env))
        for name, backend in config.backends.items()
    }
    config = replace(config, backends=keyed)
    config = replace(config, server=_overlay(config.server, "server", env))
    config = replace(config, store=_overlay(config.store, "store", env))
    server = replace(
        config.server,
        host=config.server.host if host is None else host,
        port=config.server.port if port is None else port,
    )
    config = replace(config, server=_check(server, "--"))
    return config if model is None else _serving(config, model)


# What tomllib says of a table that is declared again.
_TWICE = re.compile(r"Cannot declare \('(\w+)', '(.+?)'\) twice \(at line (\d+)")
_ONE_OF = {"backends": "backend", "tiers": "tier", "prices": "price"}


def _malformed(error: tomllib.TOMLDecodeError, source: str) -> SetupError:
    """Text that is no TOML, in words; what is there twice by its name."""
    twice = _TWICE.match(str(error))
    if twice is None or twice[1] not in _ONE_OF:
        return SetupError(f"{source} is not valid TOML: {error}")
    section, name, line = twice.groups()
    return SetupError(
        f"{source}, line {line}: two {section} are named '{name}'",
        f"give each {_ONE_OF[section]} a table of its own: [{section}.NAME]",
    )


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
    rules.check_known(raw, SECTIONS, source)
    for name in SECTIONS:
        _table(raw.get(name, {}), f"{source}: {name}")
    backends = {
        name: _read_backend(name, table, f"{source}: backends.{name}")
        for name, table in raw.get("backends", {}).items()
    }
    rules.check_known(raw.get("tiers", {}), TIER_NAMES, f"{source}: tiers")
    tiers = {
        name: _read(TierConfig, table, f"{source}: tiers.{name}", name=name)
        for name, table in raw.get("tiers", {}).items()
    }
    if not backends and not tiers:
        built_in = _build(tomllib.loads(BUILT_IN), source, home)
        backends, tiers = dict(built_in.backends), dict(built_in.tiers)
    rules.check_tiers(tiers, backends, source)
    prices = {
        tier: _table(table, f"{source}: prices.{tier}")
        for tier, table in raw.get("prices", {}).items()
    }
    plain: dict[str, Any] = {
        name: _read(cls, raw.get(name, {}), f"{source}: {name}") for name, cls in PLAIN.items()
    }
    return Config(
        home=home,
        **plain,
        limits=_read_limits(raw.get("limits", {}), f"{source}: limits"),
        backends=backends,
        tiers=tiers,
        aliases=_read_aliases(raw.get("aliases", {}), source),
        prices=rules.merge_prices(tiers, prices, source),
        source=source,
    )


def _read_backend(name: str, table: Any, where: str) -> BackendConfig:
    rules.check_written(_table(table, where), where)
    return _read(BackendConfig, table, where, name=name)


def _read_limits(table: Mapping[str, Any], where: str) -> LimitsConfig:
    """The tables [limits.*]; a key's own stands over the default, setting by setting."""
    rules.check_limits(table, where)
    default = _read(LimitConfig, table.get("default", {}), f"{where}.default")

    def group(name: str) -> dict[str, LimitConfig]:
        tables = _table(table.get(name, {}), f"{where}.{name}")
        return {n: _read(LimitConfig, t, f"{where}.{name}.{n}") for n, t in tables.items()}

    keys = {
        name: replace(default, **{f: v for f, v in vars(own).items() if v is not None})
        for name, own in group("keys").items()
    }
    return LimitsConfig(default, keys, group("workspaces"), group("tiers"))


def _read_aliases(table: Mapping[str, Any], source: str) -> dict[str, str]:
    for name, target in table.items():
        if not isinstance(target, str):
            raise SetupError(f"{source}: aliases.{name} = {target!r}; accepted: a model's name")
    return dict(table)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SetupError(f"{where} = {value!r}; accepted: a table")
    return value


def _read(cls: type[T], table: Any, where: str, **given: Any) -> T:
    """One table into one frozen dataclass; values are checked against the field's type."""
    table = _table(table, where)
    settings = {f.name: f for f in fields(typing.cast(Any, cls)) if f.metadata}
    rules.check_known(table, settings, where)
    hints = typing.get_type_hints(cls)
    values = {k: _value(v, hints[k], f"{where}.{k}") for k, v in table.items()}
    return _check(cls(**given, **values), f"{where}.")


def _value(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` wants it: numbers widen, nothing else converts."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    hint = next(o for o in options if o is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        accepted = typing.get_args(hint)
        if value in accepted:
            return value
        raise SetupError(f"{where} = {value!r}", "accepted: " + ", ".join(map(str, accepted)))
    if typing.get_origin(hint) is Mapping:
        return _table(value, where)
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
        if least is None or value is None:
            continue
        most = setting.metadata["most"]
        if not least <= value <= most or value == math.inf:
            accepted = f"{least} or more" if most == math.inf else f"{least} to {most}"
            raise SetupError(f"{where}{setting.name} = {value}; accepted: {accepted}")
    if isinstance(section, BackendConfig):
        rules.check_backend(section, where)
    return section
