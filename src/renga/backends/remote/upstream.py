"""A backend's servers as one: where a request goes, how it went, and how they are.

Owns the rule what counts against a replica: what breaks or keeps silent does, what it refuses does
not, and a caller who leaves says nothing of it. Probes run beside the requests and only mark; a
server that cannot be reached at the start is marked and comes back by itself. Whether a request is
tried again is not decided here. It knows no API but the path of a probe.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from renga.backends.base import Health
from renga.backends.remote.affinity import Heads
from renga.backends.remote.client import Client, Patience, Reply
from renga.backends.remote.replicas import Replica, Replicas
from renga.config import BackendConfig
from renga.errors import InvalidRequest, Overloaded, RengaError, RequestTooLarge, Unavailable
from renga.watching.traces import NO_TRACE, Trace

CONNECT_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 5.0  # for the answer to a probe
PERIOD_SECONDS: Final = 15.0  # between probes of one that is well and has nothing to do
RETURN_SECONDS: Final = 1.0  # between looks at those that are not well
JITTER: Final = 0.2  # of a period, either way: servers must not probe in step

_log = logging.getLogger(__name__)

# Statuses by which a replica says of itself that it is not well. Other refusals are an answer.
_UNWELL: Final = frozenset({"status_500", "status_502", "status_504"})


class Upstream:
    """The servers of one backend. Made anywhere, started inside a running loop.

    `headers` go with every request, `probe` is a path that a server which is well answers with any
    status below 500. The last three are what tests put in their place: a clock that only goes
    forward, wall time, and chance.
    """

    def __init__(
        self,
        config: BackendConfig,
        *,
        headers: Mapping[str, str],
        probe: str,
        ticks: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
    ) -> None:
        self.name = config.name
        self._config = config
        self._headers = dict(headers)
        self._probe_path = probe
        self._ticks = ticks
        self._now = now
        self._rng = rng or random.Random()
        self.replicas = Replicas(
            [url.rstrip("/") for url in config.urls], ticks=ticks, rng=self._rng
        )
        self._client: Client | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open for requests, each server probed once. One that is not there is only marked."""
        if self._client is not None:
            return
        limit = self._config.timeout_s
        self._client = Client(
            self.name,
            headers=self._headers,
            patience=Patience(min(CONNECT_SECONDS, limit), limit, limit),
            most=self._config.max_connections,
            ticks=self._ticks,
            now=self._now,
        )
        await asyncio.gather(*(self._probe(replica) for replica in self.replicas.all))
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def aclose(self) -> None:
        """End the probes, close every connection. Idempotent."""
        watching, self._watching = self._watching, None
        client, self._client = self._client, None
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        if client is not None:
            await client.aclose()

    def health(self) -> Health:
        """`ready` while one of them is well; `restarting`, with words, while none is."""
        if self._client is None:
            return Health("unloaded", "not connected")
        replicas = self.replicas.all
        well = [replica for replica in replicas if replica.well]
        told = "; ".join(f"{r.url}: {r.words}" for r in replicas if not r.well)
        where = replicas[0].url if len(replicas) == 1 else f"{len(well)}/{len(replicas)} replicas"
        words = f"{self._config.model} at {where}"
        return Health("ready" if well else "restarting", f"{words}; {told}" if told else words)

    @asynccontextmanager
    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        affinity: Callable[[], Heads] | None = None,
        deadline: float | None = None,
        trace: Trace = NO_TRACE,
    ) -> AsyncIterator[Reply]:
        """Send `body` to `path` on one of the servers; the reply is one of success.

        `affinity` gives the prompt's heads where there is a choice; `deadline` is the seconds that
        are left for all of it; the call is a span of `trace`, and the server is told of that.
        Raises RengaErrors with cause and `again`. What is raised inside the block counts against
        the server too, where it is a fault of it.
        """
        heads = affinity() if affinity is not None and len(self.replicas.all) > 1 else None
        replica = self.replicas.pick(heads)
        span = trace.child("POST", {"url.full": replica.url + path}, call=True)
        told = {**(headers or {}), **span.headers()}
        try:
            async with self._open().send(
                "POST", replica.url + path, body, headers=told, seconds=deadline
            ) as reply:
                reply.replica = replica.url
                yield reply
            self.replicas.answered(replica)
        except RengaError as error:
            span.fail(error.cause or error.type)
            self._count(replica, error)
            raise
        finally:
            span.end()
            self.replicas.done(replica)

    async def get(self, path: str, *, deadline: float | None = None) -> Any:
        """The JSON value that one of the servers has at `path`. Raises as `post`."""
        async with self.fetch(path, deadline=deadline) as reply:
            return await reply.json()

    @asynccontextmanager
    async def fetch(self, path: str, *, deadline: float | None = None) -> AsyncIterator[Reply]:
        """What one of the servers has at `path`. Raises as `post`."""
        replica = self.replicas.pick()
        try:
            async with self._open().send("GET", replica.url + path, seconds=deadline) as reply:
                yield reply
        except RengaError as error:
            self._count(replica, error)
            raise
        finally:
            self.replicas.done(replica)

    def _open(self) -> Client:
        if self._client is None:
            raise Unavailable(f"backend '{self.name}' is not running")
        return self._client

    def _count(self, replica: Replica, error: RengaError) -> None:
        if isinstance(error, Overloaded):
            self.replicas.busy(replica, error.retry_after)
        elif isinstance(error, InvalidRequest | RequestTooLarge):
            self.replicas.answered(replica)
        elif error.cause is None or (
            error.cause.startswith("status_") and error.cause not in _UNWELL
        ):
            return  # an answer, if not the one that was hoped for: no other replica has another
        elif error.cause in ("refused", "tls"):
            self._lost(replica, error)
        elif self.replicas.failed(replica, error.cause.replace("_", " ")):
            _log.warning("backend '%s': %s is left out: %s", self.name, replica.url, error.message)

    # --- probes -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Probe those that have nothing to do now and then, those that are not well more often."""
        due = {replica.url: self._next() for replica in self.replicas.all}
        while True:
            await asyncio.sleep(RETURN_SECONDS * self._rng.uniform(1 - JITTER, 1 + JITTER))
            now = self._ticks()
            wanted = [r for r in self.replicas.all if self._is_due(r, due[r.url], now)]
            probes = (self._probe(replica) for replica in wanted)
            for broken in await asyncio.gather(*probes, return_exceptions=True):
                if isinstance(broken, Exception):  # one that breaks must not end all that follow
                    _log.error("backend '%s': a probe broke", self.name, exc_info=broken)
            due.update({replica.url: self._next() for replica in wanted})

    def _next(self) -> float:
        return self._ticks() + PERIOD_SECONDS * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _is_due(self, replica: Replica, due: float, now: float) -> bool:
        if not replica.well:
            return self.replicas.may_return(replica)
        return now >= due and now - replica.answered_at >= PERIOD_SECONDS

    async def _probe(self, replica: Replica) -> None:
        """Ask one server how it is, and mark it."""
        error = await self.probe(replica.url)
        if error is not None:
            self._lost(replica, error)
            return
        was = replica.well
        self.replicas.found(replica)
        if not was:
            _log.info("backend '%s': %s is back", self.name, replica.url)

    def _lost(self, replica: Replica, error: RengaError) -> None:
        was = replica.well
        self.replicas.lost(replica, (error.cause or "").replace("_", " "))
        if was:
            _log.warning("%s (%s)", error.message, replica.url)

    async def probe(self, url: str) -> RengaError | None:
        """What is wrong with the server at `url`; None where it answers and does not fail."""
        try:
            path = url + self._probe_path
            async with self._open().send("GET", path, seconds=PROBE_SECONDS) as reply:
                await reply.body()
        except RengaError as error:
            cause = error.cause or ""
            return None if cause.startswith("status_") and cause not in _UNWELL else error
        return None
