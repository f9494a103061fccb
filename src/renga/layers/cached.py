"""The last resort: an answer that was given before to the very same request.

Owns three rules. Only a caller who allows it gets one, only where every try failed before a word
was said, and it is marked as what it is. It answers the same request alone: same workspace, same
tier, same tools and settings, to the last character; how it is sent and whose end user sent it make
no difference. And it costs nothing: nothing was computed for it.

Of the request only a digest is kept; the answer is kept as its events, so that it comes back the
same in both forms. What is kept is written beside the answers, and may be lost with the process.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from pydantic import TypeAdapter

from renga.caller import CACHED, Caller
from renga.config import ResponseCacheConfig
from renga.errors import RengaError
from renga.events import Event
from renga.layers.base import Ways
from renga.prices import NO_TOKENS
from renga.store import Store, StoreError
from renga.store import responses as sql
from renga.store.responses import KeptResponse
from renga.types import MessagesRequest, TunedRequest

GOOD: Final = frozenset({"end_turn", "max_tokens", "stop_sequence", "tool_use"})
"""Stop reasons of answers that are worth giving again."""
MOST_EVENTS: Final = 20_000  # of an answer; a longer one is not kept, for it is held meanwhile
MOST_WAITING: Final = 1_000  # answers that wait to be written; more are not kept
WRITE_SECONDS: Final = 0.5

_EVENTS: Final[TypeAdapter[list[Event]]] = TypeAdapter(list[Event])
_NO_MATTER: Final = {"model", "stream", "metadata"}
_MB: Final = 1_000_000
_US: Final = 1_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Given:
    """An answer that was given, not yet written down."""

    request: MessagesRequest
    workspace: str
    tier: str
    at_us: int
    events: list[Event]


class CachedAnswers:
    """The answers that are kept. `clock` is wall time in seconds, `tier_of` a model's tier."""

    def __init__(
        self,
        store: Store,
        config: ResponseCacheConfig,
        *,
        clock: Callable[[], float],
        tier_of: Callable[[str], str],
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._tier_of = tier_of
        self._waiting: deque[_Given] = deque()
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write what is given to be kept, from now on."""
        self._writing = asyncio.get_running_loop().create_task(self._write_on())

    async def aclose(self) -> None:
        """Write what waits, and stop. Idempotent."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. A store that fails is told of in the log, and asked the next time."""
        given, self._waiting = list(self._waiting), deque()
        if not given:
            return
        rows = await asyncio.to_thread(lambda: [_row(one) for one in given])
        most = self._config.max_mb * _MB
        try:
            await sql.keep(self._store, rows, oldest_us=self._oldest_us(), most_bytes=most)
        except StoreError as error:
            _log.warning("%d answers are not kept for later: %s", len(rows), error)

    def layer(self, below: Ways) -> Ways:
        """The layer."""

        async def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            seen: list[Event] = []
            try:
                async with aclosing(below.stream(request, caller)) as events:  # type: ignore[type-var]
                    async for event in events:
                        if event.type != "ping" and len(seen) <= MOST_EVENTS:
                            seen.append(event)
                        yield event
            except RengaError as error:
                if seen or error.status < 500 or not caller.allows_cached:
                    raise
                kept = await self._find(request, caller)
                if kept is None:
                    raise
                self._note(kept, error, caller)
            else:
                self._keep(request, caller, seen)
                return
            for event in _unpacked(kept):
                yield event

        return replace(below, stream=stream)

    def _keep(self, request: MessagesRequest, caller: Caller, seen: list[Event]) -> None:
        if len(self._waiting) >= MOST_WAITING or len(seen) > MOST_EVENTS:
            return
        reasons = [one.delta.stop_reason for one in seen if one.type == "message_delta"]
        if reasons[-1:] == [] or reasons[-1] not in GOOD:
            return
        if caller.service != "standard" or _is_told_more(request):
            return
        tier, now = self._tier_of(request.model), int(self._clock() * _US)
        self._waiting.append(_Given(request, caller.workspace, tier, now, seen))
        self._wake.set()

    async def _find(self, request: MessagesRequest, caller: Caller) -> KeptResponse | None:
        if _is_told_more(request):
            return None
        digest = _digest(request, caller.workspace, self._tier_of(request.model))
        await self.flush()
        try:
            return await sql.find(self._store, digest, oldest_us=self._oldest_us())
        except StoreError:
            return None  # the caller is told what failed first

    def _note(self, kept: KeptResponse, error: RengaError, caller: Caller) -> None:
        receipt = caller.receipt
        age = max(0, int(self._clock() - kept.answered_us / _US))
        receipt.cached_age = age
        receipt.tokens = NO_TOKENS
        receipt.notes[CACHED] = {"age_s": age, "in_place_of": error.cause or error.type}

    def _oldest_us(self) -> int:
        return int((self._clock() - self._config.max_age_s) * _US)

    async def _write_on(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(WRITE_SECONDS)
            self._wake.clear()
            await self.flush()


def _is_told_more(request: MessagesRequest) -> bool:
    """Whether the answer has what its events on the wire have not: likelihoods of its tokens."""
    return isinstance(request, TunedRequest) and request.logprobs is not None


def _digest(request: MessagesRequest, workspace: str, tier: str) -> str:
    digest = blake2b(digest_size=32)
    for text in (workspace, tier, request.model_dump_json(exclude=_NO_MATTER)):
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def _row(given: _Given) -> KeptResponse:
    events = zlib.compress(_EVENTS.dump_json(given.events), 1)
    digest = _digest(given.request, given.workspace, given.tier)
    return KeptResponse(digest, given.workspace, given.at_us, events)


def _unpacked(kept: KeptResponse) -> list[Event]:
    return _EVENTS.validate_json(zlib.decompress(kept.events))
