"""Jobs: every row once, whatever ends them, and an output only when it is whole."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from renga.app import App
from renga.bulk.asking import Asking
from renga.bulk.files import open_table
from renga.bulk.jobs import Done, Job, Keep, Trial
from renga.bulk.prompts import Question, Shape, Template
from renga.config import BackendConfig, BreakerConfig, Config, RetryConfig, TierConfig
from renga.errors import SetupError
from renga.ids import make_ids
from renga.store import Store, sqlite_url

TEXT = Shape.text("output")


def table_of(path: Path, count: int) -> Path:
    path.write_text("id,text\n" + "".join(f"{n},text {n}\n" for n in range(count)))
    return path


def job_of(source: Path, output: Path, store: Store, fingerprint: str = "f") -> Job:
    return Job(
        table=open_table(source),
        output=output,
        shape=TEXT,
        fingerprint=fingerprint,
        store=store,
        job_id=make_ids()("job"),
        clock=time.time,
    )


async def opened(folder: Path) -> Store:
    return await Store.open(sqlite_url(folder / "renga.db"))


async def shout(row: Any, keep: Keep | Trial) -> None:
    await asyncio.sleep(0)
    keep.value(json.dumps(row["text"].upper()))


async def test_every_row_is_asked_once_and_the_output_is_in_the_order_of_the_input(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 500), tmp_path / "out.jsonl"
    rng = random.Random(1)

    async def slowly(row: Any, keep: Keep | Trial) -> None:
        await asyncio.sleep(rng.random() / 200)
        keep.value(json.dumps(row["text"].upper()))

    async with await opened(tmp_path) as store:
        tally = await job_of(source, output, store).run(slowly, most=50)
    assert (tally.done, tally.failed, tally.resumed) == (500, 0, 0)
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert written == [
        {"id": str(n), "text": f"text {n}", "output": f"TEXT {n}"} for n in range(500)
    ]
    left = sqlite3.connect(tmp_path / "renga.db")
    assert left.execute("SELECT count(*) FROM bulk_rows").fetchone() == (0,)
    assert left.execute("SELECT count(*) FROM bulk_jobs").fetchone() == (0,)
    left.close()
    assert sorted(p.name for p in tmp_path.iterdir() if "out" in p.name) == ["out.jsonl"]


async def test_rows_at_fault_stand_in_a_file_of_their_own_and_stop_nothing(tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\na\nb,c\nd\ne\n")

    async def picky(row: Any, keep: Keep | Trial) -> None:
        if row["text"] == "d":
            keep.fault("no d is taken")
        else:
            keep.value(json.dumps(row["text"] * 2))

    async with await opened(tmp_path) as store:
        tally = await job_of(source, output, store).run(picky, most=3)
    assert (tally.done, tally.failed) == (4, 2)
    assert output.read_text() == "text,output\na,aa\ne,ee\n"
    told = [json.loads(x) for x in (tmp_path / "out.csv.errors").read_text().splitlines()]
    assert told == [
        {"row": 1, "error": "line 3: 2 fields, not 1"},
        {"row": 2, "error": "no d is taken", "input": {"text": "d"}},
    ]


async def test_what_a_function_raises_ends_the_job_and_the_next_run_goes_on(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 300), tmp_path / "out.csv"
    asked: list[str] = []

    async def until(row: Any, keep: Keep | Trial) -> None:
        if len(asked) == 120:
            raise SetupError("the model went away")
        asked.append(row["id"])
        await shout(row, keep)

    async with await opened(tmp_path) as store:
        with pytest.raises(SetupError, match="went away"):
            await job_of(source, output, store).run(until, most=7)
        assert not output.exists()
        first, asked = asked, []
        with pytest.raises(SetupError, match="unfinished job") as caught:
            await job_of(source, output, store, "another").run(shout, most=7)
        assert "--restart" in caught.value.hint
        tally = await job_of(source, output, store).run(shout, most=7)
    assert tally.done == 300
    assert tally.resumed >= len(first) - 7
    assert output.read_text().count("\n") == 301


async def test_a_job_that_ended_before_its_first_row_is_in_nobodys_way(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 5), tmp_path / "out.csv"

    async def never(row: Any, keep: Keep | Trial) -> None:
        raise SetupError("the server is not there")

    async with await opened(tmp_path) as store:
        with pytest.raises(SetupError, match="not there"):
            await job_of(source, output, store, "mistyped").run(never, most=2)
        tally = await job_of(source, output, store).run(shout, most=2)
    assert (tally.done, tally.resumed) == (5, 0)


async def test_a_job_that_is_forgotten_begins_anew(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 20), tmp_path / "out.csv"

    async def never(row: Any, keep: Keep | Trial) -> None:
        if row["id"] == "10":
            raise SetupError("no")
        await shout(row, keep)

    async with await opened(tmp_path) as store:
        with pytest.raises(SetupError):
            await job_of(source, output, store).run(never, most=1)
        await job_of(source, output, store).forget()
        tally = await job_of(source, output, store, "another").run(shout, most=1)
    assert (tally.done, tally.resumed) == (20, 0)


async def test_two_commands_do_not_write_one_output(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 3), tmp_path / "out.csv"
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait(row: Any, keep: Keep | Trial) -> None:
        entered.set()
        await go_on.wait()
        await shout(row, keep)

    async with await opened(tmp_path) as store:
        first = asyncio.create_task(job_of(source, output, store).run(wait, most=1))
        await entered.wait()
        with pytest.raises(SetupError, match="another command"):
            await job_of(source, output, store).run(shout, most=1)
        go_on.set()
        await first


async def test_a_full_disk_leaves_every_row_done(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 30), tmp_path / "out.csv"
    (tmp_path / "out.csv.part").symlink_to("/dev/full")
    async with await opened(tmp_path) as store:
        with pytest.raises(SetupError, match="No space left") as caught:
            await job_of(source, output, store).run(shout, most=4)
        assert "kept" in caught.value.hint

        async def nobody(row: Any, keep: Keep | Trial) -> None:
            raise AssertionError("no row is asked again")

        tally = await job_of(source, output, store).run(nobody, most=4)
    assert tally.resumed == 30
    assert output.read_text().count("\n") == 31


def test_the_set_of_done_rows_is_a_set():
    done, numbers = Done(), random.Random(2).sample(range(10_000), 3_000)
    for number in numbers:
        done.add(number)
        done.add(number)
    assert done.count == 3_000
    assert {n for n in range(20_000) if n in done} == set(numbers)


async def test_rows_are_asked_no_faster_than_the_disk_takes_them(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 2_000), tmp_path / "out.csv"
    most = 0

    async def at_once(row: Any, keep: Keep | Trial) -> None:
        nonlocal most
        keep.value(json.dumps(row["text"]))
        most = max(most, store.writer.waiting)

    async with await opened(tmp_path) as store:
        job = job_of(source, output, store)
        job.most_waiting = 100
        tally = await job.run(at_once, most=8)
    assert tally.done == 2_000
    assert most <= 100 + 8


# -- the gateway as the function --


def config_of(home: Path, **backend: Any) -> Config:
    return Config(
        home=home,
        backends={"s": BackendConfig(name="s", kind="scripted", **backend)},
        tiers={"haiku": TierConfig(name="haiku", backends=("s",))},
    )


def question(shape: Shape = TEXT, max_tokens: int = 100) -> Question:
    return Question(Template.read("Say: {text}"), shape, "haiku", max_tokens)


async def test_rows_stand_in_the_ledger_at_the_price_of_batches(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 40), tmp_path / "out.csv"
    app = await App.start(config_of(tmp_path))
    try:
        asking = Asking(app.gateway, question(), ids=app.ids)
        await job_of(source, output, app.ledger.store).run(asking, most=8)
        rows = await app.ledger.rows(limit=100)
    finally:
        await app.aclose()
    assert len(rows) == 40
    assert {row.service for row in rows} == {"batch"}
    assert sum((Decimal(row.cost_usd or "0") for row in rows), Decimal()) == asking.spent.cost_usd
    assert asking.spent.cost_known
    assert asking.spent.cost_usd > 0
    assert output.read_text().splitlines()[1] == "0,text 0,Say: text 0"


async def test_an_answer_that_was_cut_or_is_no_object_is_the_fault_of_its_row(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 2), tmp_path / "out.csv"
    app = await App.start(config_of(tmp_path, reply="a long answer of many words"))
    try:
        asking = Asking(app.gateway, question(max_tokens=2), ids=app.ids)
        tally = await job_of(source, output, app.ledger.store).run(asking, most=8)
    finally:
        await app.aclose()
    assert tally.failed == 2
    assert "--max-tokens" in (tmp_path / "out.csv.errors").read_text()


async def test_a_backend_that_breaks_is_tried_again_and_then_the_fault_of_the_row(tmp_path):
    source, output = table_of(tmp_path / "in.csv", 3), tmp_path / "out.csv"
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    config = replace(
        config_of(tmp_path, fault="error"),
        retry=RetryConfig(attempts=1),
        breaker=BreakerConfig(failures=1000),
    )
    app = await App.start(config)
    try:
        asking = Asking(app.gateway, question(), ids=app.ids, sleep=sleep)
        tally = await job_of(source, output, app.ledger.store).run(asking, most=1)
        rows = await app.ledger.rows(limit=100)
    finally:
        await app.aclose()
    assert tally.failed == 3
    assert len(pauses) == 6
    assert len(rows) == 9
    assert {row.cost_pico for row in rows} == {0}


# -- kills --

KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_jobs import config_of, job_of, question
from renga.app import App
from renga.bulk.asking import Asking
async def main():
    home = Path({home!r})
    if (home / "out.csv").exists():
        return  # a kill came behind its end; the command would refuse here
    app = await App.start(config_of(home, token_delay_ms=1))
    asking = Asking(app.gateway, question(), ids=app.ids)
    print("asking", flush=True)
    await job_of(home / "in.csv", home / "out.csv", app.ledger.store).run(asking, most=16)
    await app.aclose()
asyncio.run(main())
"""


@pytest.mark.timeout(300)
def test_however_often_it_is_killed_each_row_is_answered_and_charged_once(tmp_path):
    count, rng = 3_000, random.Random(3)
    table_of(tmp_path / "in.csv", count)
    root = str(Path(__file__).resolve().parent)
    code = KILLED.format(tests=root, home=str(tmp_path))
    kills = 0
    for _ in range(60):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            code_of = process.wait(timeout=rng.uniform(0.05, 0.4) if kills < 10 else 120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        finally:
            process.stdout.close()
        assert code_of == 0
        break
    assert kills >= 5
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1:] == [f"{n},text {n},Say: text {n}" for n in range(count)]
    ledger = sqlite3.connect(tmp_path / "renga.db")
    charged = ledger.execute(
        "SELECT count(*) FROM answers WHERE status = 'ok' AND cost_pico > 0"
    ).fetchone()
    others = ledger.execute(
        "SELECT count(*) FROM answers WHERE status != 'ok' AND coalesce(cost_pico, 0) > 0"
    ).fetchone()
    ledger.close()
    assert charged == (count,)
    assert others == (0,)
