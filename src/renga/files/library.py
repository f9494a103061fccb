"""The files of one server: received, listed, read, deleted, and gone when their time is over.

Owns the order of steps that a crash may come between. A row announces a file before its first
byte; the bytes are on the disk, to stay, before the row shows it; a file that is deleted is hidden
before its bytes go, and its row goes last. So what a row shows is whole, and what is left of a
crash has a row that the sweep finds. Files are seen by their own workspace alone.

Does not know HTTP, nor what files are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from renga.errors import ApiError, InvalidRequest, NotFound, RequestTooLarge
from renga.files.kinds import Kind, checked_name, name_for
from renga.ids import Ids
from renga.store import Store, StoreError, filing

MB: Final = 1_000_000
GB: Final = 1_000 * MB
SHORTEST_LIFE, LONGEST_LIFE = 3_600, 7_776_000  # seconds: an hour to ninety days
ABANDONED_SECONDS: Final = 3_600.0
"""An upload to whose bytes nothing was added for this long has no sender any more."""
REMEMBERED_SECONDS: Final = 30 * 86_400.0
"""How long what was known of an expired file can still be asked for; ours."""
SWEEP_SECONDS: Final = 60.0
WRITE_BYTES: Final = 1 << 20
"""Bytes that are written at once, beside the event loop."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file. Times in Unix seconds; `expires_at` is None for never."""

    file_id: str
    filename: str
    mime_type: str
    size_bytes: int
    created_at: float
    expires_at: float | None
    place: tuple[int, str]
    """Where it stands in the order of a list."""


class Files:
    """Files over the rows of a store and a folder of their bytes.

    Args:
        folder: where the bytes are; made with the first file.
        clock: Unix seconds.
        most_bytes: of one file.
        most_stored: bytes of all files together.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        clock: Callable[[], float],
        ids: Ids,
        most_bytes: int = 500 * MB,
        most_stored: int = 1_000 * GB,
    ) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        self._ids = ids
        self.most_bytes = most_bytes
        self._most_stored = most_stored
        self._sweeping: asyncio.Task[None] | None = None

    def keep_swept(self, seconds: float = SWEEP_SECONDS) -> None:
        """Sweep now and every so often, until `aclose`."""
        self._sweeping = asyncio.create_task(self._sweep_on(seconds))

    async def aclose(self) -> None:
        """End the sweeping."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping

    # -- in --

    @asynccontextmanager
    async def receive(self, workspace: str) -> AsyncIterator[Incoming]:
        """A file whose bytes are about to come. What is not finished in the block is dropped."""
        incoming = Incoming(self, self._ids("file"), workspace)
        try:
            yield incoming
        finally:
            if not incoming.finished:
                # Also where the sender left: the disk is cleaned whoever waits for it.
                await asyncio.shield(asyncio.create_task(incoming.drop()))

    async def announce(self, file_id: str, workspace: str) -> tuple[Path, int]:
        """Where the bytes of a new file go, which has a row from now on, and since when.

        The time is in microseconds.
        """
        now_us = self._now_us()
        await filing.begin(self._store, file_id, workspace, now_us=now_us)
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        return self._path(file_id), now_us

    async def enter(self, row: filing.FileRow) -> StoredFile:
        """Show a file whose bytes are on the disk."""
        await asyncio.to_thread(_sync_folder, self._folder)
        try:
            stored = await filing.finish(self._store, row, most_bytes=self._most_stored)
        except LookupError as error:
            raise ApiError("file: its upload took so long that it was given up") from error
        if stored is not None:
            raise InvalidRequest(
                f"file: {row.size_bytes:,} bytes do not fit: {stored:,} of "
                f"{self._most_stored:,} bytes are stored; delete files that are not needed",
                code="storage_quota_exceeded",
            )
        return _stored(row)

    async def discard(self, file_id: str) -> None:
        """Remove what there is of a file that nobody sees: its bytes first."""
        await asyncio.to_thread(self._path(file_id).unlink, missing_ok=True)
        await filing.forget(self._store, file_id)

    def _now_us(self) -> int:
        return round(self._clock() * 1_000_000)

    def _path(self, file_id: str) -> Path:
        return self._folder / file_id

    # -- out --

    async def get(self, workspace: str, file_id: str) -> StoredFile:
        """What is known of a file. Raises NotFound."""
        found = await filing.find(self._store, workspace, [file_id])
        if not found:
            raise NotFound(f"File not found: {file_id[:100]}")
        return _stored(found[0])

    async def get_all(self, workspace: str, ids: Sequence[str]) -> list[StoredFile]:
        """Those of `ids` that there are, the newest first."""
        return [_stored(row) for row in await filing.find(self._store, workspace, ids)]

    async def page(
        self,
        workspace: str,
        limit: int,
        *,
        after: tuple[int, str] | None = None,
        before: tuple[int, str] | None = None,
    ) -> tuple[list[StoredFile], bool]:
        """A page of files, the newest first, and whether there are more in its direction."""
        found = await filing.page(self._store, workspace, limit + 1, after=after, before=before)
        more = len(found) > limit
        shown = found[-limit:] if before is not None else found[:limit]
        return [_stored(row) for row in shown], more

    async def open(self, workspace: str, file_id: str) -> tuple[StoredFile, BinaryIO]:
        """A file and its bytes, to be closed by the caller; deleting it then takes nothing away.

        Raises:
            NotFound: there is none, or its time is over.
        """
        found = await self.get(workspace, file_id)
        if found.expires_at is not None and found.expires_at <= self._clock():
            raise NotFound(
                f"File expired: {file_id[:100]}; its content is no longer available",
                code="file_expired",
            )
        try:
            return found, await asyncio.to_thread(self._path(file_id).open, "rb")
        except FileNotFoundError as error:
            raise NotFound(f"File not found: {file_id[:100]}") from error
        except OSError as error:
            raise ApiError(f"file {file_id} cannot be read: {error.strerror}") from error

    async def read(self, workspace: str, file_id: str, most: int) -> tuple[StoredFile, bytes]:
        """A file and its bytes, `most` of them at most.

        Raises:
            NotFound: there is none, or its time is over.
            InvalidRequest: it is larger.
        """
        found, file = await self.open(workspace, file_id)
        if found.size_bytes > most:
            file.close()
            raise InvalidRequest(
                f"{file_id} has {found.size_bytes:,} bytes; accepted here: {most:,} at most"
            )
        return found, await asyncio.to_thread(_drained, file)

    async def delete(self, workspace: str, file_id: str) -> None:
        """Delete a file. Raises NotFound."""
        if not await filing.begin_removal(self._store, workspace, file_id):
            raise NotFound(f"File not found: {file_id[:100]}")
        await self.discard(file_id)

    # -- what is over --

    async def _sweep_on(self, seconds: float) -> None:
        while True:
            try:
                await self.sweep()
            except (OSError, StoreError) as error:
                _log.warning("files could not be swept: %s", error)
            await asyncio.sleep(seconds)

    async def sweep(self) -> None:
        """Remove the bytes of expired files, and what crashes and lost senders left."""
        now = self._clock()
        for row in await filing.unsettled(self._store, now_us=self._now_us()):
            if row.state == "there":
                await asyncio.to_thread(self._path(row.file_id).unlink, missing_ok=True)
                await filing.expire(self._store, row.file_id)
            elif row.state == "going" or await asyncio.to_thread(self._is_over, row, now):
                await self.discard(row.file_id)

    def _is_over(self, row: filing.Unsettled, now: float) -> bool:
        """Whether an upload was given up, or an expired file is to be forgotten."""
        if row.state == "expired":
            return (row.expires_us or 0) / 1e6 + REMEMBERED_SECONDS <= now
        touched = row.created_us / 1e6
        with contextlib.suppress(OSError):
            touched = max(touched, self._path(row.file_id).stat().st_mtime)
        return touched + ABANDONED_SECONDS <= now


class Incoming:
    """A file while its bytes come; made by `Files.receive`."""

    def __init__(self, files: Files, file_id: str, workspace: str) -> None:
        self._files = files
        self._file_id = file_id
        self._workspace = workspace
        self._created_us = 0
        self._file: BinaryIO | None = None
        self._kind = Kind()
        self._waiting: list[bytes] = []
        self._waits = self._written = 0
        self._putting: asyncio.Task[None] | None = None
        self._announced = self.finished = False

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RequestTooLarge: there are more than a file may have.
            InvalidRequest: the disk is full.
        """
        self._waiting.append(data)
        self._waits += len(data)
        if self._written + self._waits > self._files.most_bytes:
            raise RequestTooLarge(
                f"file: it is over the limit of {self._files.most_bytes / MB:g} MB "
                f"({self._files.most_bytes:,} bytes)"
            )
        if self._waits >= WRITE_BYTES:
            await self._flush()

    async def finish(
        self, *, filename: str, content_type: str, expires_in: int | None
    ) -> StoredFile:
        """The whole file is there. `filename` and `content_type` are the sender's, or empty.

        Raises:
            InvalidRequest: the name is none, the disk is full, or there is no room for it.
        """
        name = checked_name(filename)
        await self._flush(last=True)
        kind = self._kind.found(content_type, name)
        created_us = self._created_us
        stored = await self._files.enter(
            filing.FileRow(
                file_id=self._file_id,
                workspace=self._workspace,
                state="there",
                filename=name or name_for(kind),
                mime_type=kind,
                size_bytes=self._written,
                created_us=created_us,
                expires_us=None if expires_in is None else created_us + expires_in * 1_000_000,
            )
        )
        self.finished = True
        return stored

    async def drop(self) -> None:
        """Remove what has come of it."""
        if self._putting is not None:
            # A thread that opens or writes the file goes on when its upload is cancelled; after
            # this it would leave a file that no row names, or write to one that is closed.
            await asyncio.gather(self._putting, return_exceptions=True)
        if self._file is not None:
            self._file.close()
        if self._announced:
            await self._files.discard(self._file_id)

    async def _flush(self, *, last: bool = False) -> None:
        data, self._waiting, self._waits = b"".join(self._waiting), [], 0
        self._putting = asyncio.create_task(self._put(data, last=last))
        await asyncio.shield(self._putting)

    async def _put(self, data: bytes, *, last: bool) -> None:
        try:
            if self._file is None:
                self._announced = True
                path, self._created_us = await self._files.announce(self._file_id, self._workspace)
                self._file = await asyncio.to_thread(path.open, "xb", buffering=0)
            await asyncio.to_thread(self._write, self._file, data, last=last)
        except OSError as error:
            raise _refused_by_disk(error) from error

    def _write(self, file: BinaryIO, data: bytes, *, last: bool) -> None:
        self._kind.see(data)
        rest = memoryview(data)
        while rest:
            written = file.write(rest)
            self._written += written
            rest = rest[written:]
        if last:
            os.fsync(file.fileno())
            file.close()


def _drained(file: BinaryIO) -> bytes:
    """All of a file. It is closed by the thread that reads it: anybody else would wait for that."""
    with file:
        return file.read()


def _refused_by_disk(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        # Told as the caller's, who can make room; to send it again at once would not help.
        return InvalidRequest(
            "file: the server's disk is full; delete files that are not needed",
            code="storage_quota_exceeded",
        )
    return ApiError(f"file: the server's disk cannot keep it: {error.strerror}")


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _stored(row: filing.FileRow) -> StoredFile:
    return StoredFile(
        file_id=row.file_id,
        filename=row.filename,
        mime_type=row.mime_type,
        size_bytes=row.size_bytes,
        created_at=row.created_us / 1_000_000,
        expires_at=None if row.expires_us is None else row.expires_us / 1_000_000,
        place=(row.created_us, row.file_id),
    )
