"""renga.toml, the environment and flags, read once.

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
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from renga.config.tables import (
    KINDS,
    LATER_KINDS,
    TIER_NAMES,
    BackendConfig,
    Config,
    FilesConfig,
    HubConfig,
    LimitsConfig,
    MediaConfig,
    ServerConfig,
    StoreConfig,
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
