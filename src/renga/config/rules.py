"""What must hold between the settings of renga.toml, beyond the type and the bounds of each.

Owns the rules of other servers (where they are, which key they are shown), of prices and of tiers.
Each raises SetupError with the place in the file and what would be accepted; no message repeats a
value that may be a key.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from renga.config.tables import (
    KINDS,
    PRICE_NAMES,
    REMOTE_KINDS,
    TIER_NAMES,
    BackendConfig,
    LimitConfig,
    TierConfig,
)
from renga.errors import SetupError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS = ("api_key", "apikey", "key", "token", "auth_token", "authorization")
_BY_VARIABLE = 'name the environment variable that holds it: api_key_env = "MY_KEY"'


def check_written(table: Mapping[str, Any], where: str) -> None:
    """A backend's table before it is read: no key in it, and only settings of its kind.

    An unknown kind is left to the check of types, which lists those there are.
    """
    for name in table:
        if name.lower() in _KEYS:
            raise SetupError(f"{where}.{name}: keys do not stand in the file", _BY_VARIABLE)
    kind = table.get("kind", "auto")
    if kind not in KINDS:
        return
    remote = kind in REMOTE_KINDS
    of = {f.name: f.metadata["of"] for f in fields(BackendConfig) if f.metadata}
    for name in table:
        if of.get(name) and (of[name] == "remote") != remote:
            mine = {"", "remote"} if remote else {*of.values()} - {"remote"}
            accepted = [key for key, whose in of.items() if whose in mine]
            raise SetupError(
                f"{where}.{name} is no setting of kind '{kind}'",
                f"it is for {'other servers' if of[name] == 'remote' else 'models on this machine'}"
                f"; accepted: {', '.join(accepted)}",
            )
    for name in ("urls", "model") if remote else ():
        if not table.get(name):
            mend = 'a list such as ["http://10.0.0.5:8000/v1"]' if name == "urls" else "its name"
            raise SetupError(f"{where}: kind '{kind}' needs `{name}`", f"give {mend} there")


def check_backend(backend: BackendConfig, where: str) -> None:
    """The settings of one backend beside each other. `where` ends with a dot."""
    if backend.precision == "exact" and backend.kv_precision not in ("auto", "f32"):
        raise SetupError(
            f"{where}kv_precision = {backend.kv_precision!r} with precision = 'exact'",
            "accepted: auto, f32; exact arithmetic keeps keys and values in f32",
        )
    if backend.api_key_env and not _VARIABLE.fullmatch(backend.api_key_env):
        raise SetupError(f"{where}api_key_env names no environment variable", _BY_VARIABLE)
    _check_urls(backend.urls, f"{where}urls")
    _check_batch(backend, f"{where}batch")


def _check_batch(backend: BackendConfig, where: str) -> None:
    """What is handed to a server's own batches is asked for there, and nowhere else."""
    if backend.batch == "own":
        return
    if backend.kind != "messages":
        raise SetupError(
            f"{where} = '{backend.batch}' with kind '{backend.kind}', which has no batches",
            "accepted: own; upstream is for kind 'messages'",
        )
    if len(backend.urls) > 1:
        raise SetupError(
            f"{where} = '{backend.batch}' with {len(backend.urls)} `urls`",
            "give one: a batch is known to the server alone that took it in",
        )


def _check_urls(urls: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for url in urls:
        if re.search(r"//[^@]*@", url):
            raise SetupError(f"{where}: a URL there holds a name or a password", _BY_VARIABLE)
        if re.search(r"[?#]", url):
            raise SetupError(
                f"{where}: a URL there has a query or a fragment",
                f"leave that out; if it is a key, {_BY_VARIABLE}",
            )
        same = url.rstrip("/").lower()
        if same in seen:
            raise SetupError(f"{where}: '{url}' stands there twice", "each replica once")
        seen.add(same)
        try:
            parts = urlsplit(url)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine or re.search(r"\s", url):
            raise SetupError(
                f"{where}: '{url}' is no URL of a server", "accepted: http://HOST:PORT/PATH, https"
            )


def with_key(backend: BackendConfig, env: Mapping[str, str]) -> str:
    """The key that `backend` is shown, "" for none: what its variable holds, without the ends."""
    return env.get(backend.api_key_env, "").strip() if backend.api_key_env else ""


def check_keys(backends: Mapping[str, BackendConfig], wanted: Iterable[str], source: str) -> None:
    """Raise SetupError for a backend of `wanted` whose key is named, but is not there.

    Asked where backends are about to be started: what looks at the database alone needs no keys.
    """
    for backend in (backends[name] for name in wanted):
        name, key = backend.api_key_env, backend.api_key
        if name and not key:
            raise SetupError(
                f"{source}: backends.{backend.name}.api_key_env names {name}, which is not set",
                f"export {name}=..., or leave api_key_env out where no key is needed",
            )
        if not (key.isascii() and key.isprintable()):
            raise SetupError(
                f"{source}: backends.{backend.name}.api_key_env: what {name} holds is no key",
                "a key is one line of printable ASCII",
            )


def check_tiers(
    tiers: Mapping[str, TierConfig], backends: Mapping[str, BackendConfig], source: str
) -> None:
    """Tiers name backends that are there, and tiers to fall back to without going round."""
    defined = "defined backends: " + (", ".join(backends) or "none")
    if not tiers:
        raise SetupError(
            f"{source}: no tier is configured",
            "add [tiers.haiku] with backends = [...]; tiers are " + ", ".join(TIER_NAMES),
        )
    for tier in tiers.values():
        where = f"{source}: tiers.{tier.name}"
        if not tier.backends:
            raise SetupError(f"{where}.backends is empty", defined)
        for name in tier.backends:
            if name not in backends:
                raise SetupError(f"{where}.backends names '{name}', which is not defined", defined)
            if tier.backends.count(name) > 1:
                raise SetupError(f"{where}.backends names '{name}' twice", "each backend once")
        _check_fallback(tier, tiers, where)


def _check_fallback(tier: TierConfig, tiers: Mapping[str, TierConfig], where: str) -> None:
    seen, at = [tier.name], tier
    while at.fallback:
        if at.fallback not in tiers:
            others = ", ".join(name for name in tiers if name != tier.name) or "no other"
            raise SetupError(
                f"{where}.fallback = '{at.fallback}' is no configured tier", f"accepted: {others}"
            )
        seen.append(at.fallback)
        if seen.count(at.fallback) > 1:
            raise SetupError(
                f"{where}.fallback goes round: {' -> '.join(seen)}", "leave one of them out"
            )
        at = tiers[at.fallback]


def check_limits(table: Mapping[str, Any], where: str) -> None:
    """The tables of [limits] by name: what stood there flat in releases before is named."""
    kinds = [f.name for f in fields(LimitConfig)]
    for name, value in table.items():
        if name in kinds and not isinstance(value, dict):
            raise SetupError(
                f"{where}.{name} stands in no table", f"[limits.default] {name} = {value!r}"
            )
    check_known(table, ("default", "keys", "workspaces", "tiers"), where)
    if isinstance(table.get("tiers", {}), dict):
        check_known(table.get("tiers", {}), TIER_NAMES, f"{where}.tiers")


def merge_prices(
    tiers: Mapping[str, TierConfig], prices: Mapping[str, Mapping[str, object]], source: str
) -> dict[str, Mapping[str, object]]:
    """Prices by tier, from [tiers.X] and from [prices.X]; no tier in both."""
    merged = dict(prices)
    for tier in tiers.values():
        if tier.price is None:
            continue
        where = f"{source}: tiers.{tier.name}.price"
        if tier.name in prices:
            raise SetupError(
                f"{where} and prices.{tier.name} both say what it costs",
                f"leave out [prices.{tier.name}]",
            )
        _check_price(tier.price, where)
        merged[tier.name] = tier.price
    return merged


def check_known(table: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise SetupError for a key that is not `known`, with the nearest that is."""
    known = tuple(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "accepted: " + ", ".join(known)
            raise SetupError(f"{where}: unknown key '{key}'", hint)


def _check_price(price: Mapping[str, object], where: str) -> None:
    check_known(price, PRICE_NAMES, where)
    for name in ("input", "output"):
        if name not in price:
            raise SetupError(
                f"{where} has no `{name}`",
                "write price = { input = 3.0, output = 15.0 }",
            )
    for name, value in price.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and isinstance(value, int | float) and math.isfinite(value) and value >= 0:
            continue
        raise SetupError(f"{where}.{name} = {value!r}; accepted: a number, 0 or more", _PRICES)


_PRICES = "dollars per million tokens; `batch` is a share of these"
