"""Files on a real disk and in a real database: whole or not there, whatever happens between."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from renga.errors import InvalidRequest, NotFound, RequestTooLarge
from renga.files.library import (
    ABANDONED_SECONDS,
    REMEMBERED_SECONDS,
    WRITE_BYTES,
    Files,
    StoredFile,
)
from renga.ids import make_ids
from renga.store import Store, sqlite_url

SERVER = Path(__file__).with_name("filing_server.py")
KILLS = 20


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Shelf:
    """Files over their store, folder and clock."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.clock, self.folder, self.store = Clock(), folder, store
        self.files = self.opened()

    def opened(self, **limits: int) -> Files:
        return Files(self.store, self.folder, clock=self.clock, ids=make_ids(), **limits)

    async def put(self, data: bytes = b"words", workspace: str = "w", **more: object) -> StoredFile:
        async with self.files.receive(workspace) as incoming:
            await incoming.write(data)
            name, life = str(more.get("name", "a.txt")), more.get("life")
            assert life is None or isinstance(life, int)
            return await incoming.finish(filename=name, content_type="", expires_in=life)

    def on_disk(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()

    async def rows(self) -> dict[str, str]:
        def read(connection: object) -> dict[str, str]:
            found = connection.exec_driver_sql("SELECT file_id, state FROM files")  # type: ignore[attr-defined]
            return dict(tuple(row) for row in found)

        return await self.store.read(read)


@pytest.fixture
async def shelf(tmp_path: Path, store_url: str) -> AsyncIterator[Shelf]:
    async with await Store.open(store_url) as store:
        yield Shelf(store, tmp_path / "files")


async def test_what_was_stored_is_read_again(shelf: Shelf) -> None:
    data = random.Random(1).randbytes(3 * WRITE_BYTES + 17)
    made = await shelf.put(data, name="x/y.bin")
    assert (made.filename, made.size_bytes, made.expires_at) == ("y.bin", len(data), None)
    found, read = await shelf.files.read("w", made.file_id, len(data))
    assert (found, read) == (made, data)
    with pytest.raises(InvalidRequest, match="accepted here: 10 at most"):
        await shelf.files.read("w", made.file_id, 10)


async def test_workspaces_see_their_own_files_alone(shelf: Shelf) -> None:
    made = await shelf.put()
    assert (await shelf.files.page("other", 10))[0] == []
    assert await shelf.files.get_all("other", [made.file_id]) == []
    for call in (shelf.files.get, shelf.files.open, shelf.files.delete):
        with pytest.raises(NotFound, match="File not found"):
            await call("other", made.file_id)
    assert (await shelf.files.get("w", made.file_id)) == made


async def test_pages_show_every_file_once_in_both_directions(shelf: Shelf) -> None:
    made: list[StoredFile] = []
    for _ in range(7):
        shelf.clock.now += random.Random(len(made)).choice((0, 1))  # some in the same moment
        made.append(await shelf.put(b""))
    order = sorted(made, key=lambda f: f.place, reverse=True)
    forwards: list[StoredFile] = []
    more = True
    while more:
        after = forwards[-1].place if forwards else None
        found, more = await shelf.files.page("w", 3, after=after)
        forwards += found
    assert forwards == order
    backwards, more = await shelf.files.page("w", 3, before=order[-1].place)
    assert (backwards, more) == (order[3:6], True)
    backwards, more = await shelf.files.page("w", 3, before=order[3].place)
    assert (backwards, more) == (order[0:3], False)


async def test_what_expired_is_gone_at_once_and_its_bytes_with_the_next_sweep(shelf: Shelf) -> None:
    made = await shelf.put(life=3600)
    stays = await shelf.put()
    shelf.clock.now = (made.expires_at or 0) - 0.001
    await shelf.files.sweep()
    _, read = await shelf.files.read("w", made.file_id, 99)
    assert read == b"words"
    shelf.clock.now = made.expires_at or 0
    with pytest.raises(NotFound) as raised:
        await shelf.files.open("w", made.file_id)
    assert raised.value.code == "file_expired"
    await shelf.files.sweep()
    assert shelf.on_disk() == {stays.file_id}
    assert (await shelf.files.get("w", made.file_id)) == made  # what was known of it stays
    with pytest.raises(NotFound) as raised:
        await shelf.files.open("w", made.file_id)
    assert raised.value.code == "file_expired"
    shelf.clock.now += REMEMBERED_SECONDS
    await shelf.files.sweep()
    assert await shelf.rows() == {stays.file_id: "there"}


async def test_what_is_deleted_is_gone_but_for_those_who_read_it(shelf: Shelf) -> None:
    made = await shelf.put()
    _, opened = await shelf.files.open("w", made.file_id)
    await shelf.files.delete("w", made.file_id)
    with closing(opened):
        assert opened.read() == b"words"
    assert (shelf.on_disk(), await shelf.rows()) == (set(), {})
    with pytest.raises(NotFound):
        await shelf.files.delete("w", made.file_id)


async def test_an_upload_that_breaks_off_leaves_nothing(shelf: Shelf) -> None:
    with pytest.raises(ConnectionError):
        async with shelf.files.receive("w") as incoming:
            await incoming.write(b"x" * WRITE_BYTES)
            assert set((await shelf.rows()).values()) == {"coming"}
            assert (await shelf.files.page("w", 9))[0] == []
            raise ConnectionError
    assert (shelf.on_disk(), await shelf.rows()) == (set(), {})


async def test_an_upload_that_is_cancelled_leaves_nothing(shelf: Shelf) -> None:
    begun = asyncio.Event()

    async def upload() -> None:
        async with shelf.files.receive("w") as incoming:
            await incoming.write(b"x" * WRITE_BYTES)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(upload())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (shelf.on_disk(), await shelf.rows()) == (set(), {})


class Late(ThreadPoolExecutor):
    """Threads over a disk that takes its time, now more, now less."""

    chance = random.Random(5)

    def submit(self, function: Any, /, *given: Any, **named: Any) -> Future[Any]:
        seconds = self.chance.choice((0.0, 0.001, 0.01))

        def work() -> Any:
            time.sleep(seconds)
            return function(*given, **named)

        return super().submit(work)


async def test_an_upload_that_is_cancelled_while_a_thread_works_leaves_nothing(
    shelf: Shelf,
) -> None:
    """What was cancelled in a thread goes on there, and must not come too late."""
    chance = random.Random(6)
    asyncio.get_running_loop().set_default_executor(Late())
    for _ in range(60):
        task = asyncio.create_task(shelf.put(b"x" * (WRITE_BYTES + 1)))
        await asyncio.sleep(chance.random() * 0.02)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await shelf.files.delete("w", task.result().file_id)
    assert (shelf.on_disk(), await shelf.rows()) == (set(), {})


async def test_a_file_over_the_limit_is_refused_before_it_is_whole(shelf: Shelf) -> None:
    shelf.files = shelf.opened(most_bytes=10)
    assert (await shelf.put(b"x" * 10)).size_bytes == 10
    with pytest.raises(RequestTooLarge, match="over the limit"):
        await shelf.put(b"x" * 11)
    assert len(shelf.on_disk()) == 1


async def test_all_files_together_fit_into_the_room_there_is(shelf: Shelf) -> None:
    shelf.files = shelf.opened(most_stored=10)
    first = await shelf.put(b"x" * 6)
    with pytest.raises(InvalidRequest) as raised:
        await shelf.put(b"x" * 5)
    assert raised.value.code == "storage_quota_exceeded"
    assert shelf.on_disk() == {first.file_id}
    await shelf.files.delete("w", first.file_id)
    assert (await shelf.put(b"x" * 5)).size_bytes == 5


async def test_a_full_disk_is_told_as_one_and_leaves_nothing(shelf: Shelf) -> None:
    await shelf.put()
    before, rows = shelf.on_disk(), await shelf.rows()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # The database's files stay far below this; the kernel refuses what goes beyond it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, limits[1]))
    try:
        with pytest.raises(InvalidRequest, match="the server's disk is full") as raised:
            await shelf.put(b"x" * 5_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert raised.value.code == "storage_quota_exceeded"
    assert (shelf.on_disk(), await shelf.rows()) == (before, rows)


async def test_an_upload_under_way_is_not_swept_and_a_dead_one_is(shelf: Shelf) -> None:
    async with shelf.files.receive("w") as incoming:
        await incoming.write(b"x" * WRITE_BYTES)
        shelf.clock.now += ABANDONED_SECONDS - 5
        await shelf.files.sweep()
        (file_id,) = shelf.on_disk()
        later = shelf.clock.now + 10
        os.utime(shelf.folder / file_id, (later, later))  # more came
        shelf.clock.now += ABANDONED_SECONDS
        await shelf.files.sweep()
        assert shelf.on_disk() == {file_id}
        shelf.clock.now += 20
        await shelf.files.sweep()
        assert (shelf.on_disk(), await shelf.rows()) == (set(), {})


def killed_at_random(path: Path, folder: Path, seed: int) -> list[list[str]]:
    """Start a server, kill it some time after its first file; what it acknowledged."""
    command = [sys.executable, "-W", "error", str(SERVER), sqlite_url(path), str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline()]
        time.sleep(random.Random(seed).uniform(0, 0.15))
        server.kill()
        lines += server.stdout.readlines()
    return [line.split() for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_killed_server_leaves_whole_files_and_nothing_that_no_sweep_finds(tmp_path) -> None:
    path, folder = tmp_path / "renga.db", tmp_path / "files"
    kept: dict[str, tuple[int, str]] = {}
    for seed in range(KILLS):
        for word, file_id, *rest in await asyncio.to_thread(killed_at_random, path, folder, seed):
            if word == "kept":
                kept[file_id] = (int(rest[0]), rest[1])
            else:
                del kept[file_id]
    async with await Store.open(sqlite_url(path)) as store:
        shelf = Shelf(store, folder)
        for file_id, (size, digest) in kept.items():
            try:
                found, data = await shelf.files.read("w", file_id, size)
            except NotFound:
                continue  # its deletion had begun
            assert (found.size_bytes, hashlib.sha256(data).hexdigest()) == (size, digest)
        shown = {i for i, state in (await shelf.rows()).items() if state == "there"}
        assert len(kept.keys() - shown) <= KILLS  # at most one deletion a kill
        for file_id in shown:
            found, data = await shelf.files.read("w", file_id, 10**9)
            assert len(data) == found.size_bytes
        shelf.clock.now += ABANDONED_SECONDS + 60
        await shelf.files.sweep()
        assert shelf.on_disk() == shown
        assert await shelf.rows() == dict.fromkeys(shown, "there")
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
