"""Requests of batches, handed to the batches of the server behind, in groups, and their results.

Owns when a group goes out, what it is called there, and how often its end is asked for. A request's
name there is its place here and a digest of what it asks: who is asked for the same again, after a
restart or on another server, finds it by that and waits for it instead of handing it over twice.
What was sent by a server that died before it heard the id is looked for among the batches there, by
its time and size; its results tell whether it was that one. What nobody here waits for any more is
cancelled there. Does not know what a request asks, and ends none here.

Source: "Message Batches" of the API's documentation; polling as its "Batch processing" has it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec

from renga.backends.remote import Upstream
from renga.backends.remote.faults import Cause, fault
from renga.errors import ApiError, Overloaded, RengaError, Unavailable
from renga.ids import make_ids
from renga.store import Store, StoreError, handovers
from renga.store.handovers import Handed

MOST_REQUESTS: Final = 5_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of the requests of a group; the API takes more, but all of it is sent again where it fails."""

REFUSED_SECONDS: Final = 600.0
"""How long a server that has no batches is not asked for one again."""

SKEW_SECONDS: Final = 600.0
"""How far the time of a batch there may be from that of its handover here."""

LIST_PAGES: Final = 10  # of 100 batches each, that a lost one is looked for on
CLOSE_SECONDS: Final = 5.0  # for a handover under way, when its server ends
GROWTH: Final = 1.5  # of the pause from one question for an end to the next

_NO_BATCHES: Final = frozenset({"status_403", "status_404", "status_405", "status_501"})
_REFUSED: Final = _NO_BATCHES | {"status_400", "status_401", "status_413", "status_422"}
# What certainly took in nothing; after everything else it may have.
_NOT_SENT: Final = _REFUSED | {"refused", "tls", "status_402"}

_US: Final = 1_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Seconds: from one question for an end to the next, and for which a group may still grow."""

    shortest: float = 10.0
    longest: float = 60.0
    linger: float = 1.0


@dataclass(frozen=True)
class Line:
    """What a server says of one request of a batch: an object `{"type": ...}`."""

    backend: str
    result: dict[str, Any]

    def fault(self, cause: Cause, words: str = "") -> RengaError:
        """The error for what is wrong with it."""
        return fault(cause, self.backend, words)


@dataclass(eq=False)
class Waiting:
    """A request that is being handed over: `handed` is whether it was taken, then its `line`."""

    name: str
    item: tuple[str, int]
    body: bytes
    handed: asyncio.Future[bool]
    line: asyncio.Future[Line]
    upstream_id: str = ""

    def fail(self, error: Exception) -> None:
        """End the waiting with `error`."""
        for future in (self.line if self.handed.done() else self.handed,):
            if not future.done():
                future.set_exception(error)

    def taken(self, taken: bool) -> None:
        """Say whether it was taken."""
        if not self.handed.done():
            self.handed.set_result(taken)


@dataclass(eq=False)
class _Group:
    """Requests of one batch that go out together."""

    betas: tuple[str, ...]
    since: float
    waiting: list[Waiting] = field(default_factory=list)
    size: int = 0
    timer: asyncio.TimerHandle | None = None


class Handing:
    """The handovers to one server.

    Args:
        upstream: the server.
        store: where they are noted.
        path: makes of a path of the API the one that the server has it at.
        clock: Unix seconds.
        pace: how often is asked.
    """

    def __init__(
        self,
        upstream: Upstream,
        store: Store,
        *,
        path: Callable[[str], str],
        clock: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self._upstream = upstream
        self._backend = upstream.name
        self._store = store
        self._path = path
        self._clock = clock
        self._ids = make_ids()
        self._groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self._here: dict[str, Waiting] = {}
        self._turn = asyncio.Lock()
        self._going: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[None] | None = None
        self._urged = asyncio.Event()
        self._refused_until = 0.0

    async def start(self) -> None:
        """Begin to ask for ends. Idempotent."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name=f"renga-handing-{self._backend}")

    async def aclose(self) -> None:
        """End. A handover under way is seen through for a while; the batches there go on."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        for group in self._groups.values():
            if group.timer is not None:
                group.timer.cancel()
        self._groups.clear()
        if self._going:
            await asyncio.wait(self._going, timeout=CLOSE_SECONDS)
        for task in list(self._going):
            task.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)
        self._fail(list(self._here.values()), Unavailable(f"backend '{self._backend}' is closed"))

    @asynccontextmanager
    async def asked(
        self, item: tuple[str, int], body: bytes, betas: Sequence[str]
    ) -> AsyncIterator[Waiting]:
        """Have `body`, which request `item` asks, answered in a batch there.

        Its futures raise RengaErrors: Unavailable and Overloaded where it is to be asked later.
        """
        loop = asyncio.get_running_loop()
        batch_id, number = item
        name = f"{batch_id}_{number}_{hashlib.sha256(body).hexdigest()[:12]}"
        one = Waiting(name, item, body, loop.create_future(), loop.create_future())
        if name in self._here or loop.time() < self._refused_until:
            one.taken(False)
        else:
            self._here[name] = one
            self._gather(one, tuple(betas), loop.time())
        try:
            yield one
        finally:
            if self._here.get(name) is one:
                del self._here[name]
            if one.upstream_id and not one.line.done():
                self._urge()  # it was left: its batch may be cancelled there
            for future in (one.handed, one.line):
                if not future.cancel() and not future.cancelled():
                    future.exception()  # nobody is there to be told

    async def forget(self, one: Waiting) -> None:
        """Have a request be handed over anew when it is asked next. Raises StoreError."""
        await self._store.write(
            partial(handovers.forget, backend=self._backend, names=[one.name]), alone=False
        )

    # --- going out --------------------------------------------------------------------------------

    def _gather(self, one: Waiting, betas: tuple[str, ...], now: float) -> None:
        key = (one.item[0], betas)
        group = self._groups.get(key)
        if group is not None and group.size + len(one.body) > MOST_BYTES:
            self._send(key)
            group = None
        if group is None:
            group = self._groups[key] = _Group(betas, now)
        group.waiting.append(one)
        group.size += len(one.body)
        if group.timer is not None:
            group.timer.cancel()
        left = min(self.pace.linger, group.since + 10 * self.pace.linger - now)
        if len(group.waiting) >= MOST_REQUESTS:
            left = 0.0
        group.timer = asyncio.get_running_loop().call_later(max(0.0, left), self._send, key)

    def _send(self, key: tuple[str, tuple[str, ...]]) -> None:
        group = self._groups.pop(key, None)
        if group is None:
            return
        if group.timer is not None:
            group.timer.cancel()
        task = asyncio.create_task(self._hand_safely(group))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def _hand_safely(self, group: _Group) -> None:
        """Hand a group over, one at a time; whatever happens, nobody waits for it in vain."""
        async with self._turn:
            waiting = [one for one in group.waiting if self._here.get(one.name) is one]
            try:
                if waiting:
                    await self._hand(waiting, group.betas)
            except (RengaError, asyncio.CancelledError) as error:
                self._fail(waiting, self._told(error))
            except Exception as error:  # noqa: BLE001  told to all who wait
                _log.exception("a batch could not be handed to backend '%s'", self._backend)
                self._fail(waiting, error)

    async def _hand(self, waiting: Sequence[Waiting], betas: Sequence[str]) -> None:
        rows = await self._known(waiting)
        lost = {row.handover_id: row for row in rows.values() if row.upstream_id is None}
        for row in lost.values():
            upstream_id = await self._find(row)
            if upstream_id is not None:
                await self._note(row.handover_id, upstream_id)
        if lost:
            rows = await self._known(waiting)
        fresh: list[Waiting] = []
        for one in waiting:
            upstream_id = rows[one.name].upstream_id if one.name in rows else None
            if upstream_id is None:
                fresh.append(one)
            else:
                self._await(one, upstream_id)
        if fresh:
            await self._create(fresh, betas)

    async def _known(self, waiting: Iterable[Waiting]) -> dict[str, Handed]:
        names = [one.name for one in waiting]
        return await self._store.read(partial(handovers.known, backend=self._backend, names=names))

    async def _note(self, handover_id: str, upstream_id: str) -> int:
        return await self._store.write(
            partial(handovers.note, handover_id=handover_id, upstream_id=upstream_id), alone=False
        )

    async def _create(self, fresh: Sequence[Waiting], betas: Sequence[str]) -> None:
        """A batch there of what was never handed over, noted before and after."""
        handover_id, now_us = self._ids("handover"), round(self._clock() * _US)
        rows = [
            Handed(self._backend, one.name, *one.item, handover_id, len(fresh), now_us)
            for one in fresh
        ]
        await self._store.write(partial(handovers.intend, rows=rows), alone=False)
        try:
            upstream_id = await self._post(fresh, betas)
        except RengaError as error:
            cause = error.cause or ""
            if cause in _NOT_SENT or isinstance(error, Overloaded):
                await self._store.write(
                    partial(handovers.give_up, handover_id=handover_id), alone=False
                )
            if cause not in _REFUSED:
                raise
            self._refuse(fresh, error)
            return
        if not await self._note(handover_id, upstream_id):
            # All of it ended here, or went to another server, while it was on its way.
            await self._cancel(upstream_id)
            raise Unavailable(f"backend '{self._backend}': the batch was given up meanwhile")
        for one in fresh:
            self._await(one, upstream_id)

    async def _post(self, fresh: Sequence[Waiting], betas: Sequence[str]) -> str:
        """Make a batch; its id."""
        requests = (
            b'{"custom_id":' + json.dumps(one.name).encode() + b',"params":' + one.body + b"}"
            for one in fresh
        )
        body = b'{"requests":[' + b",".join(requests) + b"]}"
        headers = {"anthropic-beta": ",".join(betas)} if betas else None
        path = self._path("/v1/messages/batches")
        async with self._upstream.post(path, body, headers=headers) as reply:
            found = await reply.json()
            if not (isinstance(found, dict) and isinstance(found.get("id"), str) and found["id"]):
                raise reply.fault("malformed_json", "it is no batch")
            made: str = found["id"]
            return made

    def _refuse(self, fresh: Sequence[Waiting], error: RengaError) -> None:
        """A batch was refused: its requests go there one by one."""
        if error.cause in _NO_BATCHES:
            self._refused_until = asyncio.get_running_loop().time() + REFUSED_SECONDS
        _log.warning("%s; %d requests of a batch go there one by one", error.message, len(fresh))
        for one in fresh:
            one.taken(False)

    def _await(self, one: Waiting, upstream_id: str) -> None:
        one.upstream_id = upstream_id
        one.body = b""
        one.taken(True)
        self._urge()

    def _fail(self, waiting: Iterable[Waiting], error: Exception) -> None:
        for one in waiting:
            one.fail(error)

    def _told(self, error: BaseException) -> Exception:
        """What an item is told of a group that did not go out: to come again, uncounted."""
        if isinstance(error, Overloaded | Unavailable | StoreError):
            return error
        if isinstance(error, RengaError):
            return Unavailable(error.message, retry_after=error.retry_after, cause=error.cause)
        return Unavailable(f"backend '{self._backend}' is closed")

    # --- what was lost ----------------------------------------------------------------------------

    async def _find(self, lost: Handed) -> str | None:
        """The batch there that a handover may have become whose id nobody heard.

        The nearest of those that are as large and as old, and no other handover's.
        """
        at, found = lost.handed_us / _US, []
        try:
            async for batch in self._listed(at - SKEW_SECONDS):
                apart = abs(_seconds(batch["created_at"]) - at)
                if apart <= SKEW_SECONDS and sum(batch["request_counts"].values()) == lost.size:
                    found.append((apart, str(batch["id"])))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # its list is of another form
        except RengaError as error:
            if (error.cause or "") in _REFUSED:
                return None
            raise
        ids = [id_ for _, id_ in found]
        taken = await self._store.read(
            partial(handovers.noted, backend=self._backend, upstream_ids=ids)
        )
        return next((id_ for _, id_ in sorted(found) if id_ not in taken), None)

    async def _listed(self, since: float) -> AsyncIterator[dict[str, Any]]:
        """Batches there, the newest first, back to Unix second `since`."""
        after = ""
        for _ in range(LIST_PAGES):
            page = await self._upstream.get(self._path("/v1/messages/batches?limit=100" + after))
            for batch in page["data"]:
                if _seconds(batch["created_at"]) < since:
                    return
                yield batch
            if not page.get("has_more"):
                return
            after = f"&after_id={quote(page['data'][-1]['id'], safe='')}"

    # --- coming back ------------------------------------------------------------------------------

    def _urge(self) -> None:
        self._urged.set()

    async def _ask(self) -> None:
        """Ask for ends, and cancel what nobody waits for; more seldom while nothing changes."""
        pause = self.pace.longest
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._urged.wait()
            if self._urged.is_set():
                self._urged.clear()
                pause = self.pace.shortest
                await asyncio.sleep(pause)
            else:
                pause = min(self.pace.longest, max(self.pace.shortest, pause) * GROWTH)
            try:
                await self._look()
                await self._sweep()
            except RengaError as error:
                _log.info("backend '%s' is asked later for batches: %s", self._backend, error)
            except Exception:  # noqa: BLE001  one question that breaks must not end all that follow
                _log.exception("batches of backend '%s' could not be looked at", self._backend)

    async def _look(self) -> None:
        """Take what has ended. Raises RengaError where the server cannot be asked."""
        for upstream_id in {one.upstream_id for one in self._here.values() if one.upstream_id}:
            try:
                found = await self._upstream.get(self._named(upstream_id))
                if isinstance(found, dict) and found.get("processing_status") == "ended":
                    await self._take(upstream_id)
            except RengaError as error:
                if error.cause != "status_404":
                    raise
                await self._gone(upstream_id, "is not there any more")

    async def _take(self, upstream_id: str) -> None:
        """Give everybody the result that a batch has for them."""
        path = self._named(upstream_id) + "/results"
        async with self._upstream.fetch(path) as reply:
            async for line in reply.lines():
                try:
                    found = msgspec.json.decode(line)
                    name, result = found["custom_id"], found["result"]
                    kind = result["type"]
                except (msgspec.DecodeError, RecursionError, KeyError, TypeError) as error:
                    raise reply.fault("malformed_json", "a line is no result") from error
                one = self._here.get(name)
                if one is not None and isinstance(kind, str) and not one.line.done():
                    one.taken(True)
                    one.line.set_result(Line(self._backend, result))
        await self._gone(upstream_id, "has no result for it")

    async def _gone(self, upstream_id: str, words: str) -> None:
        """Have what still waits for a batch be handed over anew: it is not in it."""
        left = [
            one
            for one in self._here.values()
            if one.upstream_id == upstream_id and not one.line.done()
        ]
        if not left:
            return
        names = [one.name for one in left]
        await self._store.write(
            partial(handovers.forget, backend=self._backend, names=names), alone=False
        )
        told = f"backend '{self._backend}': its batch {upstream_id[:100]} {words}"
        _log.warning("%s (%d requests)", told, len(left))
        self._fail(left, Unavailable(told))

    async def _sweep(self) -> None:
        """Cancel what is left there of handovers whose requests have all ended here."""
        for handover_id, upstream_id in await self._store.read(
            partial(handovers.over, backend=self._backend)
        ):
            if upstream_id is not None:
                await self._cancel(upstream_id)
            await self._store.write(
                partial(handovers.give_up, handover_id=handover_id), alone=False
            )

    async def _cancel(self, upstream_id: str) -> None:
        """Cancel a batch there that is still worked on. Raises where that cannot be told."""
        try:
            found = await self._upstream.get(self._named(upstream_id))
            if isinstance(found, dict) and found.get("processing_status") == "in_progress":
                path = self._named(upstream_id) + "/cancel"
                async with self._upstream.post(path, b"") as reply:
                    await reply.body()
        except RengaError as error:
            if (error.cause or "") not in _REFUSED:
                raise

    def _named(self, upstream_id: str) -> str:
        return self._path(f"/v1/messages/batches/{quote(upstream_id, safe='')}")


def error_of_end(line: Line) -> RengaError:
    """The error for a request that ended there without an answer or an error of its own."""
    kind = str(line.result.get("type"))[:50]
    told = f"backend '{line.backend}' has ended the request as '{kind}' in its batch"
    return Unavailable(told) if kind == "expired" else ApiError(told)


def _seconds(written: str) -> float:
    """Unix seconds of an RFC 3339 time."""
    return datetime.fromisoformat(written.replace("Z", "+00:00")).timestamp()
