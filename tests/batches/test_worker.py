"""The worker's own state beside the queue's: what it has in hand and what it is to return."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

from sqlalchemy import select

from renga.batches.incoming import Incoming
from renga.batches.service import Batches
from renga.batches.worker import Pool, Worker
from renga.config import BatchesConfig
from renga.errors import RateLimited
from renga.gateway import Gateway
from renga.ids import make_ids
from renga.store import Store, batch_queue, sqlite_url
from renga.store.batch_queue import Return
from renga.store.schema import batch_items

ME = "inst_a"
BODY = b'{"requests":[{"custom_id":"a","params":{}},{"custom_id":"b","params":{}}]}'


async def test_what_is_about_to_be_returned_is_not_taken_for_lost(tmp_path):
    async with await Store.open(sqlite_url(tmp_path / "renga.db")) as store:
        batches = Batches(
            store, instance_id=ME, clock=lambda: 1.0, ids=make_ids(), config=BatchesConfig()
        )
        async with batches.receive("w", None, version="2023-06-01", betas=()) as intake:
            await intake.add(Incoming(lambda _: "haiku", most_bytes=1_000).feed(BODY))
            await intake.finish()
        failed, lost = await store.write(
            lambda c: batch_queue.claim(c, ME, ["haiku"], 2, now_us=batches.now_us())
        )
        worker = Worker(
            batches, gateway=cast("Gateway", None), understand=_nobody, pools=[Pool(("haiku",), 2)]
        )
        # As an answer that broke leaves it while the worker waits for the database.
        worker._returns.append(Return(failed.batch_id, failed.number, tries=1, due_us=9_000_000))
        await worker._recover()
        c = batch_items.c
        query = select(c.number, c.state, c.tries, c.due_us).order_by(c.number)
        found = await store.read(lambda connection: connection.execute(query).all())
        assert {row.number: row.state for row in found} == {
            failed.number: "running",
            lost.number: "waiting",
        }
        await worker._return()
        found = await store.read(lambda connection: connection.execute(query).all())
        returned = next(row for row in found if row.number == failed.number)
        assert tuple(returned)[1:] == ("waiting", 1, 9_000_000)


async def test_a_workspace_at_its_own_limit_holds_up_no_other(tmp_path):
    async with await Store.open(sqlite_url(tmp_path / "renga.db")) as store:
        seconds = count(1.0)
        batches = Batches(
            store,
            instance_id=ME,
            clock=lambda: next(seconds),
            ids=make_ids(),
            config=BatchesConfig(),
        )
        for workspace in ("poor", "rich"):
            async with batches.receive(workspace, None, version="2023-06-01", betas=()) as intake:
                await intake.add(Incoming(lambda _: "haiku", most_bytes=1_000).feed(BODY))
                await intake.finish()
        [first] = await store.write(
            lambda c: batch_queue.claim(c, ME, ["haiku"], 1, now_us=batches.now_us())
        )
        pool = Pool(("haiku",), 8)
        worker = Worker(batches, gateway=cast("Gateway", None), understand=_nobody, pools=[pool])
        worker._stopping = True  # what is claimed is not begun
        assert first.workspace == "poor"
        assert worker._failed(pool, first, RateLimited("all is reserved", retry_after=30)) is None
        assert (pool.allowed, pool.paused_until) == (8, 0)
        await worker._refill(pool)
        assert [item.workspace for item in pool.ready] == ["rich", "rich"]


def _nobody(*_: Any) -> Any:
    raise AssertionError("no request is asked")
