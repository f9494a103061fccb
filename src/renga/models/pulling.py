"""A model from a hub to a folder: what is fetched, how it survives cuts and kills, what is kept.

Owns four rules. A file counts as there only after all its bytes were read and their digest is the
one that the hub's listing has. Nothing stands in the model's folder before everything is there, and
the record is written last: a folder is a whole model, or says that it is none. What came is never
fetched twice, unless it was wrong. Two pulls of one model do not meet. It shows nothing.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar

from renga.errors import SetupError
from renga.models.families import read_network
from renga.models.hub import Hub, Interrupted, RemoteFile, Repository, WrongBytes
from renga.models.locking import locked, make_folder
from renga.models.manifest import (
    FILE,
    STAGING,
    Digest,
    Manifest,
    Recorded,
    chunks,
    digest_for,
    earlier_manifest,
    sync,
    sync_folder,
    write_manifest,
)
from renga.models.names import MAIN, ModelName
from renga.models.selection import Selection, file_size, is_gguf, select

AT_ONCE: Final = 4  # files that are fetched side by side
PATIENCE: Final = 6  # tries in a row that bring nothing new
LONGEST_WAIT: Final = 300.0  # seconds that a hub may have us wait
SPARE: Final = 50_000_000  # bytes that are left free on the disk

CONFIG, WORDS = "config.json", "tokenizer.json"
CONFIG_BYTES: Final = 4_000_000

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


class Progress(Protocol):
    """Who is told how it goes. Bytes are counted once: what was there before is `begin`'s."""

    def begin(self, total: int, there: int) -> None:
        """So many bytes are to be there, so many are."""

    def advance(self, size: int) -> None:
        """More came; less, where something is thrown away."""

    def remark(self, words: str) -> None:
        """Something that a person may want to know."""


@dataclass(frozen=True)
class Plan:
    """What a pull will do. `missing` is to be fetched, `gone` are earlier files that will go."""

    name: ModelName
    source: str
    folder: Path
    repository: Repository
    selection: Selection
    files: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]
    gone: tuple[Recorded, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass
class Tries:
    """Tries that brought nothing, and the wait before the next. Not shared between files."""

    sleep: Sleep
    empty: int = field(default=0)

    async def after(self, error: Interrupted, *, moved: bool) -> None:
        """Wait as long as is fit. Raises SetupError where it has no point any more."""
        self.empty = 0 if moved else self.empty + 1
        if self.empty >= PATIENCE or error.wait > LONGEST_WAIT:
            wait = f"it asks to wait {error.wait:.0f} s; " if error.wait else ""
            raise SetupError(
                f"the pull stopped: {error}", wait + "what came is kept; the same command goes on"
            ) from error
        await self.sleep(max(error.wait, min(30.0, 2.0**self.empty - 1)))


async def plan_pull(name: ModelName, home: Path, hub: Hub, *, sleep: Sleep) -> Plan:
    """What a pull of `name` would do; nothing is written. Raises SetupError."""
    repository = await _patiently(lambda: hub.describe(name.repo, name.revision or MAIN), sleep)
    if repository.gated and not hub.has_token:
        raise hub.gated(name.repo)
    by_path = {file.path: file for file in repository.files}
    sizes = {path: file.size for path, file in by_path.items()}
    selection = select(sizes, name.file, str(name))
    files = tuple(by_path[path] for path in selection.paths)
    if selection.format == "safetensors":
        config = next((file for file in files if file.path == CONFIG), None)
        await _patiently(lambda: _check_family(hub, repository, config), sleep)
    folder = home / "models" / name.repo
    there = _whole(folder)
    missing = tuple(file for file in files if file.digest != there.get(file.path))
    return Plan(
        name, hub.endpoint, folder, repository, selection, files, missing, _gone(folder, selection)
    )


async def _patiently(ask: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
    """What `ask` gives, asked again as often as is fit. Raises SetupError."""
    tries = Tries(sleep)
    while True:
        try:
            return await ask()
        except Interrupted as error:
            await tries.after(error, moved=False)


async def _check_family(hub: Hub, repository: Repository, config: RemoteFile | None) -> None:
    """Raise SetupError where the checkpoint is of no family that is built here: before it comes."""
    if config is None or config.size > CONFIG_BYTES:
        raise SetupError(
            f"'{repository.repo}' has no {CONFIG} that says what it is", "choose another model"
        )
    try:
        pieces = [piece async for _, piece in hub.read(repository, config, 0)]
        found = json.loads(b"".join(pieces))
    except (WrongBytes, ValueError, RecursionError) as error:
        raise SetupError(
            f"{CONFIG} of '{repository.repo}' cannot be read: {error}", "choose another model"
        ) from error
    read_network(found if isinstance(found, dict) else {}, f"'{repository.repo}'")
    if all(file.path != WORDS for file in repository.files):
        raise SetupError(
            f"'{repository.repo}' has no {WORDS}, which turns text into tokens",
            "a GGUF of the model may be at the hub: it has its own",
        )


def _whole(folder: Path) -> dict[str, str]:
    """Digests of the recorded files that are there in their recorded size, by path."""
    manifest = earlier_manifest(folder)
    return {
        file.path: file.digest
        for file in (manifest.files if manifest else ())
        if (folder / file.path).is_file() and (folder / file.path).stat().st_size == file.size
    }


def _gone(folder: Path, selection: Selection) -> tuple[Recorded, ...]:
    """What an earlier pull left that is no part of this model: another quantization may stay."""
    manifest = earlier_manifest(folder)
    return tuple(
        file
        for file in (manifest.files if manifest else ())
        if file.path not in selection.paths
        and not (selection.format == "gguf" and is_gguf(file.path))
    )


async def pull(plan: Plan, hub: Hub, progress: Progress, *, sleep: Sleep) -> Manifest:
    """Fetch what is missing and put it in its place; returns the record.

    Raises SetupError where it cannot be done; what came stays for the next try.
    """
    make_folder(plan.folder)
    with locked(plan.folder, plan.name.repo), _disk_of(plan):
        staging = plan.folder / STAGING
        staging.mkdir(exist_ok=True)
        _forget_strangers(staging, plan.missing)
        kept = sum(_size_of(file, staging) for file in plan.missing)
        _check_room(plan, kept)
        whole = plan.size - sum(file.size for file in plan.missing)
        progress.begin(plan.size, whole + kept)
        limit = asyncio.Semaphore(AT_ONCE)
        tasks = [
            asyncio.create_task(_Fetch(plan, file, staging, progress, sleep).run(hub, limit))
            for file in sorted(plan.missing, key=lambda file: file.size)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await asyncio.to_thread(_install, plan, staging)


# --- one file -------------------------------------------------------------------------------------


class _Fetch:
    """One file on its way into the staging folder: `.part` while it comes, then its bare key."""

    def __init__(
        self, plan: Plan, file: RemoteFile, staging: Path, progress: Progress, sleep: Sleep
    ) -> None:
        self._plan, self._file, self._progress, self._sleep = plan, file, progress, sleep
        self._whole = staging / staged_name(file)
        self._part = self._whole.with_suffix(".part")

    async def run(self, hub: Hub, limit: asyncio.Semaphore) -> None:
        """Until the file is there and right. Raises SetupError."""
        async with limit:
            if self._whole.exists():
                return
            try:
                await self._come(hub)
            except WrongBytes as error:
                self._throw_away(f"{self._file.path}: {error}; it is fetched again")
            else:
                return
            try:
                await self._come(hub)
            except WrongBytes as error:
                self._throw_away("")
                raise SetupError(
                    f"{self._file.path} of '{self._plan.name.repo}' came wrong twice: {error}",
                    "the hub, a mirror or a proxy on the way is broken; nothing of it was kept",
                ) from error

    def _throw_away(self, words: str) -> None:
        self._progress.advance(-_length(self._part))
        self._part.unlink(missing_ok=True)
        if words:
            self._progress.remark(words)

    async def _come(self, hub: Hub) -> None:
        """All bytes, over as many connections as it takes. Raises WrongBytes."""
        tries = Tries(self._sleep)
        with self._part.open("ab+") as part:
            written = await asyncio.to_thread(_reread, part, self._file)
            while written.size < self._file.size:
                before = written.size
                try:
                    await self._receive(hub, written)
                except Interrupted as error:
                    await tries.after(error, moved=written.size > before)
            await asyncio.to_thread(sync, part.fileno())
        if written.digest.hexdigest() != self._file.digest:
            raise WrongBytes(f"its {self._file.algorithm} is not the one that the hub states")
        self._part.replace(self._whole)

    async def _receive(self, hub: Hub, written: _Written) -> None:
        pieces = hub.read(self._plan.repository, self._file, written.size)
        async with aclosing(pieces) as opened:  # type: ignore[type-var]
            async for place, piece in opened:
                if place != written.size:  # the server begins anew
                    self._progress.advance(place - written.size)
                    await asyncio.to_thread(written.restart)
                await asyncio.to_thread(written.take, piece)
                self._progress.advance(len(piece))


@dataclass
class _Written:
    """A file that grows, and the digest of what it holds so far."""

    part: BinaryIO
    file: RemoteFile
    digest: Digest
    size: int = 0

    def take(self, piece: bytes) -> None:
        """Write more, unbuffered as far as we are concerned: a kill loses nothing of it."""
        self.part.write(piece)
        self.part.flush()
        self.digest.update(piece)
        self.size += len(piece)

    def restart(self) -> None:
        """Throw away what is there."""
        self.part.truncate(0)
        self.digest, self.size = digest_for(self.file.algorithm, self.file.size), 0


def _reread(part: BinaryIO, file: RemoteFile) -> _Written:
    """What an earlier try left, which is longer than the file only where something is broken."""
    written = _Written(part, file, digest_for(file.algorithm, file.size))
    if os.fstat(part.fileno()).st_size > file.size:
        written.restart()
    for piece in chunks(Path(part.name)):
        written.digest.update(piece)
        written.size += len(piece)
    return written


def staged_name(file: RemoteFile) -> str:
    """A name for the file while it comes: of its content too, as the next commit has another."""
    return hashlib.sha256(f"{file.path}\0{file.digest}".encode()).hexdigest()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _size_of(file: RemoteFile, staging: Path) -> int:
    """Bytes of it that an earlier try left."""
    whole = staging / staged_name(file)
    return min(file.size, _length(whole) or _length(whole.with_suffix(".part")))


def _forget_strangers(staging: Path, missing: tuple[RemoteFile, ...]) -> None:
    """Remove what an earlier pull of another commit began, as nobody will finish it."""
    wanted = {staged_name(file) for file in missing}
    for path in staging.iterdir():
        if path.stem not in wanted:
            path.unlink()


# --- the folder -----------------------------------------------------------------------------------


def _check_room(plan: Plan, kept: int) -> None:
    """Raise SetupError where the disk has no room for what is still to come."""
    needed = sum(file.size for file in plan.missing) - kept
    free = shutil.disk_usage(plan.folder).free
    if needed and needed + SPARE > free:
        raise SetupError(
            f"'{plan.name}' needs {file_size(needed)} more on the disk of {plan.folder}; "
            f"{file_size(free)} are free",
            "make room, choose a smaller file, or set RENGA_HOME to a folder on a larger disk",
        )


@contextmanager
def _disk_of(plan: Plan) -> Iterator[None]:
    """What the disk refuses, as one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else (error.strerror or str(error))
        mend = "make room, then run the same command again: what came is kept"
        raise SetupError(
            f"the pull of '{plan.name}' stopped: {reason} ({plan.folder})",
            mend if full else "run the same command again: what came is kept",
        ) from error


def _install(plan: Plan, staging: Path) -> Manifest:
    """Everything is there: put it in its place. Between here and the record it is unfinished."""
    folder = plan.folder
    earlier = earlier_manifest(folder)
    if plan.missing or plan.gone:
        (folder / FILE).unlink(missing_ok=True)
        sync_folder(folder)
    for old in plan.gone:
        (folder / old.path).unlink(missing_ok=True)
    for file in plan.missing:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / staged_name(file)).replace(target)
        sync_folder(target.parent)
    manifest = _record(plan, earlier)
    write_manifest(folder, manifest)
    shutil.rmtree(staging)
    return manifest


def _record(plan: Plan, earlier: Manifest | None) -> Manifest:
    """The record: what was pulled now, and of what stands beside it, what was recorded then."""
    now, names = plan.repository, {file.path for file in plan.files}
    left = [
        file
        for file in (earlier.files if earlier else ())
        if file.path not in names and file not in plan.gone
    ]
    files = [Recorded(f.path, f.size, f.algorithm, f.digest, now.commit) for f in plan.files]
    return Manifest(
        name=plan.name.repo,
        source=plan.source,
        revision=now.revision,
        commit=now.commit,
        license=now.license,
        license_link=now.license_link,
        files=(*files, *left),
    )
