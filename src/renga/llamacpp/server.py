"""llama.cpp's server as the rest of the program sees it: asyncio in, a process behind.

Owned rules, which are those of `renga.engine.client`: every answer ends, by `Finished` or by an
exception, also when the process dies; an answer that is closed early frees its slot, for its
connection is closed with it; a process that dies is started again. It does not know what a request
means.
"""

import asyncio
import contextlib
import json
import logging
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from renga.engine.client import EngineDied, EngineStartError
from renga.llamacpp.answer import Answer, Event
from renga.llamacpp.asking import Ask
from renga.llamacpp.kept import Kept
from renga.llamacpp.process import LISTENING
from renga.llamacpp.queue import SlotQueue
from renga.llamacpp.settings import ServerSettings, line_of

# A chunk of the longest prompt on the slowest machine takes less.
PATIENCE_SECONDS = 300.0
START_SECONDS = 600.0

_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_GOING_SECONDS = 0.5
_LAST_WORDS = 40
_TOKENIZE_SECONDS = 60.0
# How the library begins a line that tells an error: a time, and the letter.
_ERROR = re.compile(r"^[\d.]+ E \s*(?P<who>\S+)\s+(?:\S+: )?(?P<what>.*)$")
_REASON = re.compile(r"error loading model: (?:error loading model architecture: )?(?P<why>.*)")

_log = logging.getLogger(__name__)


class TooLong(Exception):
    """A prompt that the window has no room for, where only llama.cpp can count it."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"{tokens} tokens")
        self.tokens = tokens


class Refused(Exception):
    """What llama.cpp says is wrong with a request."""


@dataclass(frozen=True)
class Facts:
    """What runs. `media` is the mark that stands for an image in a prompt's text."""

    window: int
    slots: int
    sees: bool
    media: str


class LlamacppServer:
    """One process and its answers. Made by `start`, ended by `aclose`."""

    def __init__(self, settings: ServerSettings, waiting: int) -> None:
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        self._queue = SlotQueue(settings.slots, waiting, self._clock)
        self._kept = Kept()
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._address = ""
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._facts: Facts | None = None
        self._up = asyncio.Event()
        self._failure = ""
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._folder: Path | None = None
        self._bare: int | None = None  # tokens of a message without anything in it

    @classmethod
    async def start(cls, settings: ServerSettings, *, waiting: int) -> "LlamacppServer":
        """Start the process and wait for its model; EngineStartError where that fails.

        `settings.key` and `.socket` are chosen here. Beyond `waiting` in the queue an answer is
        EngineOverloaded.
        """
        server = cls(settings, waiting)
        try:
            await server._bring_up()
        except BaseException:
            await server._end()
            raise
        server._tasks.append(asyncio.get_running_loop().create_task(server._supervise()))
        return server

    @property
    def facts(self) -> Facts:
        """What the server said of itself when it was last ready."""
        assert self._facts is not None, "facts are there once start() has returned"
        return self._facts

    @property
    def alive(self) -> bool:
        """Whether the process is up and its model loaded."""
        return self._up.is_set() and not self._closing

    @property
    def process_id(self) -> int | None:
        """The process's id; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def waiting(self) -> int:
        """How many answers wait for a slot."""
        return self._queue.waiting

    def figures(self) -> dict[str, float]:
        """How many have a slot and how many wait for one, batches among the latter."""
        queue = self._queue
        return {
            "running": queue.running,
            "waiting": queue.waiting,
            "batch_waiting": queue.batches,
        }

    async def generate(
        self, ask: Ask, meter: Callable[[Event], None] | None = None
    ) -> AsyncGenerator[Event, None]:
        """One answer: `Started`, some `Said`, then `Finished`.

        Close it (`aclosing`) to cancel. `meter` is told of each event. Raises EngineOverloaded,
        EngineDied, TooLong, and Refused for what llama.cpp would not do.
        """
        await self._wait_until_up()
        begun = self._clock()
        use = partial(self._kept.use, ask.workspace, ask.cache, begun=begun)
        async with self._queue.take(ask.lane):
            answer = Answer(ask, self, self.facts.window, lambda reused: use(reused=reused))
            async with aclosing(answer.events()) as events:
                async for event in events:
                    if meter is not None:
                        meter(event)
                    yield event

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one completion. Closing it ends the work: the connection goes with it."""
        session = self._opened()
        try:
            async with session.post(self._address + "/completion", json=body) as response:
                try:
                    if response.status != 200:
                        raise _wrong(await response.read())
                    async for event in _events(response.content):
                        if "error" in event:
                            raise _wrong(json.dumps(event).encode())
                        yield event
                        if event.get("stop"):
                            return
                    raise aiohttp.ServerDisconnectedError("it ended in the middle of an answer")
                finally:
                    # An answer that is not read to its end would go on without a reader.
                    response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise await self._silence(error) from error

    async def tokens(self, text: str) -> list[int]:
        """The tokens of a text, control tokens in it included."""
        found = await self._ask("/tokenize", {"content": text, "parse_special": True})
        return list(found["tokens"])

    async def pieces(self, text: str) -> list[tuple[int, bytes]]:
        """The tokens of a text, and of each what it stands for."""
        body = {"content": text, "parse_special": True, "with_pieces": True}
        found = await self._ask("/tokenize", body)
        return [
            (one["id"], piece.encode() if isinstance(piece := one["piece"], str) else bytes(piece))
            for one in found["tokens"]
        ]

    async def image_tokens(self, data: str) -> int:
        """How many tokens an image takes, which is given in base64. Raises Refused."""
        if self._bare is None:
            self._bare = await self._chat_tokens({"type": "text", "text": ""})
        url = {"url": f"data:image/x-portable-pixmap;base64,{data}"}
        return await self._chat_tokens({"type": "image_url", "image_url": url}) - self._bare

    async def _chat_tokens(self, part: dict[str, Any]) -> int:
        body = {"messages": [{"role": "user", "content": [part]}]}
        found = await self._ask("/v1/chat/completions/input_tokens", body)
        return int(found["input_tokens"])

    async def busy(self) -> int:
        """How many slots compute now."""
        return sum(bool(slot["is_processing"]) for slot in await self._ask("/slots"))

    async def aclose(self) -> None:
        """End the process. Idempotent."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        await self._end()
        self._up.set()  # wakes who waited for a start that will not come

    # --- the process ------------------------------------------------------------------------------

    async def _bring_up(self) -> None:
        """Start a process and wait for its model. EngineStartError, and no process, otherwise."""
        if find_spec("xllamacpp") is None:
            raise EngineStartError("the package xllamacpp is missing; pip install 'renga[gguf]'")
        settings = self._addressed()
        self._words.clear()
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "renga.llamacpp.process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        listening = asyncio.get_running_loop().create_task(self._listen(process))
        self._tasks = [*(task for task in self._tasks if not task.done()), listening]
        process.stdin.write(line_of(settings))
        try:
            async with asyncio.timeout(START_SECONDS):
                line = (await process.stdout.readline()).decode(errors="replace")
        except TimeoutError as error:
            raise EngineStartError(f"it did not load within {START_SECONDS:.0f} s") from error
        if not line.startswith(LISTENING):
            status = await process.wait()
            await listening
            raise EngineStartError(_reason(self._words, status))
        self._connect(line.removeprefix(LISTENING).strip(), settings)
        self._facts = await self._read_facts()
        self._up.set()

    def _addressed(self) -> ServerSettings:
        """The settings with a key of their own and, where there are such, a socket of their own."""
        key, path = secrets.token_urlsafe(32), ""
        if hasattr(socket, "AF_UNIX"):
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="renga-"))  # its owner's alone
            path = str(self._folder / f"{secrets.token_hex(4)}.sock")
        return msgspec.structs.replace(self._settings, key=key, socket=path)

    def _connect(self, address: str, settings: ServerSettings) -> None:
        # Its server ends a connection that was idle, at the moment when it may be used again.
        connector: aiohttp.BaseConnector
        if settings.socket:
            connector = aiohttp.UnixConnector(settings.socket, force_close=True, limit=0)
            self._address = "http://llamacpp"
        else:
            connector, self._address = aiohttp.TCPConnector(force_close=True, limit=0), address
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"authorization": f"Bearer {settings.key}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=PATIENCE_SECONDS),
        )

    async def _read_facts(self) -> Facts:
        try:
            props = await self._fetch("/props")
        except EngineDied as error:
            raise EngineStartError(str(error)) from error
        return Facts(
            window=min(self._settings.window, props["default_generation_settings"]["n_ctx"]),
            slots=props["total_slots"],
            sees=bool(props.get("modalities", {}).get("vision")),
            media=props.get("media_marker", "<__media__>"),
        )

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last of what the library says, and let its pipe never be full."""
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self._words.append(line.decode(errors="replace").rstrip())

    async def _supervise(self) -> None:
        """Wait for the process to end; then start it again, ever more slowly."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            process, begun = self._process, loop.time()
            if process is not None:
                status = await process.wait()
                _log.error("llama.cpp's process ended with status %s; starting it again", status)
            self._up.clear()
            await self._disconnect()
            if loop.time() - begun > _BACKOFF_SECONDS[-1]:
                failures = 0
            await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
            failures += 1
            try:
                await self._bring_up()
            except (EngineStartError, OSError) as error:
                self._failure = str(error)
                _log.error("llama.cpp cannot be started again yet: %s", error)
                await self._kill()

    async def _wait_until_up(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not (self._closing or self._up.is_set()):
                    await self._up.wait()
        except TimeoutError as error:
            raise EngineDied(self._failure or "llama.cpp is not up") from error
        if self._closing:
            raise EngineDied("llama.cpp is closed")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise EngineDied("llama.cpp's process ended")
        return self._session

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One answer in JSON, of a server that may be on its way back. Raises EngineDied."""
        await self._wait_until_up()
        return await self._fetch(path, body)

    async def _fetch(self, path: str, body: dict[str, Any] | None = None) -> Any:
        session = self._opened()
        timeout = aiohttp.ClientTimeout(total=_TOKENIZE_SECONDS)
        method = "GET" if body is None else "POST"
        try:
            async with session.request(
                method, self._address + path, json=body, timeout=timeout
            ) as response:
                raw = await response.read()
                if response.status != 200:
                    raise _wrong(raw)
                return json.loads(raw)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise await self._silence(error) from error

    async def _silence(self, error: Exception) -> EngineDied:
        """What a broken connection means. Where the process is gone, who comes next waits."""
        process = self._process
        if process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GOING_SECONDS)
                self._up.clear()
        return EngineDied(f"llama.cpp's process does not answer: {error}")

    async def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _end(self) -> None:
        await self._disconnect()
        await self._kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events as they come, however they were cut on the way."""
    buffer = b""
    async for data in content.iter_any():
        buffer += data
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            name, _, value = event.partition(b": ")
            if name == b"data" and value.startswith(b"{"):
                yield json.loads(value)
            elif name == b"error":
                yield {"error": json.loads(value)}


def _wrong(raw: bytes) -> Exception:
    """What an error of the server's means here."""
    try:
        error = json.loads(raw)["error"]
    except (ValueError, KeyError, TypeError):
        return Refused(raw[:200].decode(errors="replace"))
    if error.get("type") == "exceed_context_size_error":
        return TooLong(int(error.get("n_prompt_tokens", 0)))
    return Refused(str(error.get("message", error)))


def _reason(words: deque[str], status: int) -> str:
    """Why the process could not load its model, in one sentence."""
    for line in words:
        found = _REASON.search(line)
        if found is not None:
            return found["why"]
    errors = [match["what"] for line in words if (match := _ERROR.match(line))]
    if errors:
        return errors[0]
    if status < 0:
        return f"its process was ended by signal {-status}; there may not be enough memory"
    return words[-1] if words else f"its process ended with status {status}"
