"""The queue of batches, against a model of it: nothing is done twice, lost, or done by two."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from sqlalchemy import Connection, select

from renga.store import RejectedRow, Store, batch_queue, batching, sqlite_url
from renga.store import rows as sql
from renga.store.batch_queue import Claimed, Return, shares
from renga.store.batching import BatchRow, NewItem
from renga.store.schema import batch_items, batches

SERVERS = ("inst_a", "inst_b", "inst_c")
WORKSPACES = ("left", "right")
LIFE = 1_000
"""Microseconds of the test's own clock that a batch lives."""


@dataclass
class Item:
    """What the model knows of a request."""

    state: str = "waiting"
    holder: str | None = None
    due: int = 0


@dataclass
class Batch:
    """What the model knows of a batch."""

    workspace: str
    expires: int
    items: list[Item]
    state: str = "in_progress"
    counts: Counter[str] = field(default_factory=Counter)


async def taken_in(
    store: Store, batch_id: str, workspace: str, count: int, *, now: int, lane: str = "haiku"
) -> None:
    row = BatchRow(
        batch_id=batch_id,
        workspace=workspace,
        key_id=None,
        instance_id=SERVERS[0],
        version="2023-06-01",
        betas="",
        state="coming",
        created_us=now,
        expires_us=now,
    )
    await batching.begin(store, row)
    items = [NewItem(n, f"r{n}", lane, f"{n % 2}", f'{{"n": {n}}}') for n in range(count)]
    await batching.add(store, batch_id, items)
    await batching.publish(store, batch_id, total=count, created_us=now, expires_us=now + LIFE)


async def entered(store: Store, *servers: str) -> None:
    def act(connection: Connection) -> None:
        for server in servers:
            sql.add_instance(connection, server, now_us=0, expires_us=10**15)

    await store.write(act)


@cache
def new_database() -> bytes:
    """A database with tables and no row; making one takes longer than all that is done with it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "renga.db"

        async def made() -> None:
            async with await Store.open(sqlite_url(path)):
                pass

        asyncio.run(made())
        return path.read_bytes()


class Life(RuleBasedStateMachine):
    """Batches come, are claimed, finish, are cancelled, expire, and servers die."""

    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        path = Path(self.folder.name) / "renga.db"
        path.write_bytes(new_database())
        self.store = self.runner.run(Store.open(sqlite_url(path), group_seconds=0.0))
        self.runner.run(entered(self.store, *SERVERS))
        self.alive = set(SERVERS)
        self.now = 1
        self.batches: dict[str, Batch] = {}

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.runner.run(self.store.aclose())
        self.runner.close()
        self.folder.cleanup()

    def write(self, act: Any) -> Any:
        return self.runner.run(self.store.write(act))

    @rule(workspace=st.sampled_from(WORKSPACES), count=st.integers(1, 4))
    def create(self, workspace: str, count: int) -> None:
        batch_id = f"batch{len(self.batches)}"
        self.runner.run(taken_in(self.store, batch_id, workspace, count, now=self.now))
        items = [Item() for _ in range(count)]
        self.batches[batch_id] = Batch(workspace, self.now + LIFE, items)
        self.now += 1

    @rule(target=claims, server=st.sampled_from(SERVERS), room=st.integers(1, 5))
    def claim(self, server: str, room: int) -> Any:
        if server not in self.alive:
            return multiple()
        ready = {
            (batch_id, n)
            for batch_id, batch in self.batches.items()
            if batch.state == "in_progress" and batch.expires > self.now
            for n, item in enumerate(batch.items)
            if item.state == "waiting" and item.due <= self.now
        }
        found: list[Claimed] = self.write(
            lambda c: batch_queue.claim(c, server, ["haiku"], room, now_us=self.now)
        )
        assert len(found) == min(room, len(ready))
        assert {item.place for item in found} <= ready
        for claimed in found:
            item = self.batches[claimed.batch_id].items[claimed.number]
            item.state, item.holder = "running", server
        return multiple(*((server, item) for item in found))

    @rule(claim=claims, state=st.sampled_from(["succeeded", "errored"]))
    def finish(self, claim: tuple[str, Claimed], state: str) -> None:
        """By whoever claimed it at some time: it counts only while it is theirs."""
        server, claimed = claim
        item = self.batches[claimed.batch_id].items[claimed.number]
        request_id = f"req_{self.now}"
        self.now += 1
        self.store.writer.put(
            batch_queue.finish(claimed, server, state=state, result="{}", request_id=request_id)
        )
        with suppress(RejectedRow):  # told only to a flush that the row waited for
            self.runner.run(self.store.flush())
        mine = batch_items.c.request_id == request_id
        query = select(batch_items.c.number).where(mine)
        written = self.runner.run(self.store.read(lambda c: c.execute(query).all()))
        assert bool(written) == (item.state == "running" and item.holder == server)
        if written:
            item.state, item.holder = state, None

    @rule(claim=consumes(claims), pause=st.integers(0, 50))
    def give_back(self, claim: tuple[str, Claimed], pause: int) -> None:
        server, claimed = claim
        back = Return(claimed.batch_id, claimed.number, 1, self.now + pause)
        self.write(lambda c: batch_queue.give_back(c, server, [back]))
        item = self.batches[claimed.batch_id].items[claimed.number]
        if item.state == "running" and item.holder == server:
            item.state, item.holder, item.due = "waiting", None, self.now + pause

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.batches:
            return
        batch_id = data.draw(st.sampled_from(sorted(self.batches)))
        batch = self.batches[batch_id]
        other = WORKSPACES[batch.workspace == WORKSPACES[0]]
        assert (
            self.runner.run(batching.cancel(self.store, other, batch_id, now_us=self.now)) is None
        )
        row = self.runner.run(
            batching.cancel(self.store, batch.workspace, batch_id, now_us=self.now)
        )
        assert row is not None
        if batch.state == "in_progress":
            batch.state = "canceling"
            for item in batch.items:
                if item.state == "waiting":
                    item.state = "canceled"
        assert row.state == batch.state

    @rule(server=st.sampled_from(SERVERS))
    def die(self, server: str) -> None:
        if server in self.alive and len(self.alive) > 1:
            self.alive.remove(server)
            self.write(lambda c: sql.renew_instance(c, server, now_us=0, expires_us=0))

    @rule(server=st.sampled_from(SERVERS))
    def revive(self, server: str) -> None:
        """It was suspended: its lease ran out meanwhile, and begins anew."""
        self.alive.add(server)
        self.write(lambda c: sql.renew_instance(c, server, now_us=0, expires_us=10**15))

    @rule(ticks=st.sampled_from([1, 40, LIFE // 2, LIFE]))
    def wait(self, ticks: int) -> None:
        self.now += ticks

    @rule()
    def tend(self) -> None:
        states = self.write(lambda c: batch_queue.tend(c, now_us=self.now))
        expected = {}
        for batch_id, batch in self.batches.items():
            if batch.state == "ended":
                continue
            over = batch.state == "in_progress" and batch.expires <= self.now
            for item in batch.items:
                if item.state == "running" and item.holder not in self.alive:
                    item.state, item.holder = "waiting", None
                if item.state == "waiting" and (over or batch.state == "canceling"):
                    item.state = "expired" if over else "canceled"
            if all(item.state not in ("waiting", "running") for item in batch.items):
                batch.state = "ended"
                batch.counts = Counter(item.state for item in batch.items)
            else:
                expected[batch_id] = "expired" if over else batch.state
        assert states == expected

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        found, counted = self.runner.run(self.store.read(self._all))
        for batch_id, batch in self.batches.items():
            row = found[batch_id]
            assert (row.state, row.total) == (batch.state, len(batch.items))
            ends = {name: getattr(row, name) for name in batching.ENDS}
            assert ends == {name: batch.counts[name] for name in batching.ENDS}
            assert counted[batch_id] == Counter(item.state for item in batch.items)

    def _all(self, connection: Connection) -> tuple[dict[str, Any], dict[str, Any]]:
        rows = {row.batch_id: row for row in connection.execute(select(batches))}
        return rows, {name: batching.count_states(connection, name) for name in rows}


Life.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase


@given(
    st.integers(0, 60),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30), max_size=6),
)
def test_room_is_shared_so_that_all_come_to_have_as_much(
    room: int, running: dict[str, int]
) -> None:
    given_ = shares(room, running)
    assert sum(given_.values()) == (room if running else 0)
    after = {name: count + given_.get(name, 0) for name, count in running.items()}
    for name, count in given_.items():
        # Nobody who was given something has more than anybody else by more than one.
        assert count > 0
        assert after[name] <= min(after.values()) + 1


@pytest.fixture
async def store(store_url: str) -> Any:
    async with await Store.open(store_url) as opened:
        await entered(opened, *SERVERS)
        yield opened


async def claimed(store: Store, server: str, room: int, *lanes: str) -> list[Claimed]:
    return await store.write(
        lambda c: batch_queue.claim(c, server, lanes or ("haiku",), room, now_us=10)
    )


async def test_a_workspace_with_much_does_not_keep_one_with_little_waiting(store: Store) -> None:
    await taken_in(store, "much", "big", 500, now=1)
    await taken_in(store, "little", "small", 10, now=2)
    first = await claimed(store, SERVERS[0], 16)
    assert Counter(item.workspace for item in first) == {"big": 8, "small": 8}
    second = await claimed(store, SERVERS[1], 16)
    assert Counter(item.workspace for item in second) == {"big": 14, "small": 2}


async def test_the_older_batch_of_a_workspace_goes_first(store: Store) -> None:
    await taken_in(store, "b_old", "one", 3, now=1)
    await taken_in(store, "a_new", "one", 3, now=2)
    found = await claimed(store, SERVERS[0], 4)
    assert [item.batch_id for item in found] == ["b_old"] * 3 + ["a_new"]


async def test_requests_whose_prompts_begin_alike_are_claimed_together(store: Store) -> None:
    await taken_in(store, "batch", "one", 10, now=1)
    found = await claimed(store, SERVERS[0], 7)
    assert [item.number for item in found] == [0, 2, 4, 6, 8, 1, 3]
    assert [item.request for item in found][:2] == ['{"n": 0}', '{"n": 2}']


async def test_a_lane_is_claimed_by_those_who_ask_for_it(store: Store) -> None:
    await taken_in(store, "small", "one", 2, now=1, lane="haiku")
    await taken_in(store, "large", "one", 2, now=2, lane="opus")
    assert {i.batch_id for i in await claimed(store, SERVERS[0], 9, "opus")} == {"large"}
    assert {i.batch_id for i in await claimed(store, SERVERS[0], 9, "haiku", "")} == {"small"}


async def test_many_servers_that_claim_at_once_never_hold_the_same(store_url: str) -> None:
    async with await Store.open(store_url) as one, await Store.open(store_url) as two:
        await entered(one, *SERVERS)
        await taken_in(one, "batch", "one", 200, now=1)

        async def some(store: Store, server: str) -> list[Claimed]:
            found: list[Claimed] = []
            while more := await store.write(
                lambda c: batch_queue.claim(c, server, ("haiku",), 7, now_us=10), alone=False
            ):
                found += more
            return found

        both = await asyncio.gather(some(one, SERVERS[0]), some(two, SERVERS[1]))
    places = [item.place for found in both for item in found]
    assert len(places) == len(set(places)) == 200


async def test_a_claim_that_nobody_heard_of_is_recovered(store: Store) -> None:
    await taken_in(store, "batch", "one", 5, now=1)
    found = await claimed(store, SERVERS[0], 4)
    kept = {found[0].place}
    recovered = await store.write(lambda c: batch_queue.recover(c, SERVERS[0], kept))
    assert recovered == 3
    assert len(await claimed(store, SERVERS[1], 9)) == 4


async def test_what_an_end_left_is_purged_and_nothing_else(store: Store) -> None:
    for name in ("gone", "old", "kept"):
        await taken_in(store, name, "one", 3, now=1)
    for item in await claimed(store, SERVERS[0], 9):
        operation = batch_queue.finish(
            item, SERVERS[0], state="succeeded", result="{}", request_id=None
        )
        store.writer.put(operation)
    await store.write(lambda c: batch_queue.tend(c, now_us=10))
    assert await batching.begin_removal(store, "one", "gone")
    assert not await batching.begin_removal(store, "other", "kept")
    archived = await batching.archive(store, created_before_us=1, now_us=20)
    assert archived == 2
    await batching.purge(store)
    assert await batching.find(store, "one", "gone") is None
    old = await batching.find(store, "one", "old")
    assert old is not None
    assert (old.archived_us, old.succeeded) == (20, 3)
    assert await batching.results(store, "old", after=-1, limit=9) == []


async def test_a_batch_that_was_coming_when_its_server_died_is_swept_away(store: Store) -> None:
    row = BatchRow(
        batch_id="half", workspace="one", key_id=None, instance_id=SERVERS[2],
        version="v", betas="", state="coming", created_us=1, expires_us=1,
    )  # fmt: skip
    await batching.begin(store, row)
    await batching.add(store, "half", [NewItem(0, "r", "haiku", "", "{}")])
    assert await batching.find(store, "one", "half") is None
    assert await claimed(store, SERVERS[0], 9) == []
    await store.write(lambda c: sql.renew_instance(c, SERVERS[2], now_us=0, expires_us=0))
    await store.write(lambda c: batch_queue.tend(c, now_us=10))
    with pytest.raises(LookupError):
        await batching.publish(store, "half", total=1, created_us=5, expires_us=9)
    await batching.purge(store)
    assert not await store.read(batch_queue.is_any)
