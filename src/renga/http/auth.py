"""Who sends a request: the key in its headers, resolved to a workspace.

Owns three rules: a key must be sent, always; it must have the scope that the endpoint names; and
until the first key is created any value is accepted, but only from this machine, and only under
this machine's name: a page in a browser here may have a name of its own made to point at us. Keys
are compared in `renga.keys`, in constant time; none is logged or repeated in a message.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request

from renga.caller import Caller
from renga.errors import AuthenticationFailed, PermissionDenied, SetupError
from renga.http.access import CALLER, TRACE
from renga.http.errors import request_id_of
from renga.keys import COMMON, Keys, Scope
from renga.watching.traces import NO_TRACE, Trace

DEFAULT_WORKSPACE = "default"
OPEN_SECONDS = 1.0  # how long after the first key was made any value may still be accepted


class KnowsKeys(Protocol):
    """What `check_binding` asks."""

    async def any_exist(self) -> bool:
        """Whether a key was ever made."""


class Auth:
    """Resolves callers over the keys of one server. `ticks`: seconds that never go back."""

    def __init__(self, keys: Keys, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._ticks = ticks
        self._open_until = 0.0

    async def caller(self, request: Request, scope: Scope = "messages") -> Caller:
        """Who asks for what needs `scope`. Raises AuthenticationFailed, PermissionDenied."""
        caller = request.scope[CALLER] = await self._identified(request)
        if scope not in caller.scopes:
            raise _denied(scope, caller, request)
        return caller

    async def _identified(self, request: Request) -> Caller:
        presented = presented_key(request)
        request_id = request_id_of(request)
        trace: Trace = request.scope.get(TRACE, NO_TRACE)
        found = await self._keys.resolve(presented)
        patience, allows_cached = patience_of(request), allows_cached_of(request)
        if found is not None:
            return Caller(
                found.workspace,
                request_id,
                found.key_id,
                found.name,
                found.scopes,
                patience=patience,
                allows_cached=allows_cached,
                trace=trace,
            )
        if not await self._is_open():
            raise AuthenticationFailed("invalid x-api-key: it is not a key of this server, or off")
        self._check_near(request)
        return Caller(
            DEFAULT_WORKSPACE,
            request_id,
            scopes=COMMON,
            patience=patience,
            allows_cached=allows_cached,
            trace=trace,
        )

    async def observer(self, request: Request) -> None:
        """Let pass who may read what the server says of itself. Raises as `caller` does.

        While there is no key, that is whoever is on this machine; no key needs to be sent for it.
        """
        if await self._is_open():
            self._check_near(request)
            return
        caller = request.scope[CALLER] = await self._identified(request)
        if caller.scopes.isdisjoint(("metrics", "admin")):
            raise _denied("metrics", caller, request)

    def _check_near(self, request: Request) -> None:
        """Refuse who is not on this machine, or not under its name, while there are no keys."""
        if not is_loopback(request.client.host if request.client else ""):
            raise AuthenticationFailed(
                "this server has no keys yet and answers only its own machine; "
                "create one there with `renga keys create`"
            )
        if not is_addressed_here(request):
            raise AuthenticationFailed(
                "this server has no keys yet and answers only as localhost or 127.0.0.1, not as "
                f"'{request.headers['host'][:100]}'; create a key with `renga keys create`"
            )

    async def _is_open(self) -> bool:
        """Whether no key exists; the database is asked once in OPEN_SECONDS."""
        now = self._ticks()
        if now < self._open_until:
            return True
        if await self._keys.any_exist():
            return False
        self._open_until = now + OPEN_SECONDS
        return True


def _denied(scope: Scope, caller: Caller, request: Request) -> PermissionDenied:
    """What is said where a key may not do this. No key at all may not administer either."""
    whose = "this key has" if caller.key_id else "without a key there is"
    return PermissionDenied(
        f"{whose} no scope '{scope}', which {request.method} {request.url.path[:100]} needs; "
        f"`renga keys create NAME --scopes {scope}` makes one that has it",
        code="api_key_scope_missing",
    )


def patience_of(request: Request) -> float | None:
    """How many seconds the sender waits, where it says so: the official SDKs' own header does."""
    try:
        seconds = float(request.headers.get("x-stainless-timeout", ""))
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def allows_cached_of(request: Request) -> bool:
    """Whether the sender takes an old answer where there is no other."""
    return request.headers.get("renga-allow-cached", "").strip().lower() == "true"


def presented_key(request: Request) -> str:
    """The key that was sent, as `x-api-key` or as a bearer token. Raises AuthenticationFailed."""
    key = request.headers.get("x-api-key", "").strip()
    if key:
        return key
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    raise AuthenticationFailed(
        "no key was sent; accepted: the header `x-api-key: KEY` or `authorization: Bearer KEY`"
    )


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host in ("localhost", "127.0.0.1"):  # and else only what is understood as an address
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_addressed_here(request: Request) -> bool:
    """Whether the name under which we were asked is this machine's own; no name is no browser."""
    given = request.headers.get("host", "").strip().lower()
    name, _, port = given.rpartition(":")
    return not given or is_loopback(name if name and "]" not in port else given)


async def check_binding(host: str, keys: KnowsKeys) -> None:
    """Refuse to listen on a public address while there is no key. Raises SetupError."""
    if is_loopback(host) or await keys.any_exist():
        return
    raise SetupError(
        f"{host} can be reached from other machines, and no key exists yet",
        "create one with `renga keys create`, or listen on 127.0.0.1",
    )
