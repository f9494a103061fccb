"""A backend that says what it is told: deterministic, with delays and faults on request.

For tests of the path, for docs and for clients' own tests. It runs no model and claims none.
Without a script it repeats the last user turn. Tokens are pieces of four UTF-8 bytes, so counts are
exact and easy to check by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from renga.backends.base import Attempt, Capabilities, Health, State, refuse
from renga.config import BackendConfig
from renga.errors import BackendFailed, InvalidRequest, Overloaded, RengaError, Unavailable
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    Ending,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextDelta,
)
from renga.machine import Machine
from renga.reading import text_of
from renga.types import (
    Likelihood,
    Message,
    MessagesRequest,
    Prompt,
    ScoreRequest,
    StopReason,
    TextBlock,
    Usage,
)

BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Reply:
    """What to answer. Delays are seconds; `fail_after` is the number of tokens before `error`."""

    text: str
    first_delay: float = 0.0
    token_delay: float = 0.0
    error: RengaError | None = None
    fail_after: int = 0


Script = Callable[[MessagesRequest], Reply]


def pieces(text: str) -> list[str]:
    """`text` in tokens of BYTES_PER_TOKEN bytes, whole characters kept together."""
    if text.isascii():
        return [text[at : at + BYTES_PER_TOKEN] for at in range(0, len(text), BYTES_PER_TOKEN)]
    out, held = [], ""
    for char in text:
        held += char
        if len(held.encode()) >= BYTES_PER_TOKEN:
            out.append(held)
            held = ""
    return [*out, held] if held else out


def last_user_text(request: Prompt) -> str:
    """Text of the last user turn, or "" where there is none."""
    turns = [m for m in request.messages if m.role == "user"]
    return "".join(text_of(b) for b in turns[-1].content) if turns else ""


def prompt_tokens(request: Prompt) -> int:
    """Size of everything that the caller wrote, in this backend's tokens."""
    blocks = [*(b for m in request.messages for b in m.content), *(request.system or [])]
    return sum(len(pieces(text_of(b))) for b in blocks)


class ScriptedBackend:
    """See the module. `script` maps a request to its reply; the configuration gives a fixed one."""

    kind = "scripted"

    def __init__(
        self,
        config: BackendConfig,
        *,
        home: Path | None = None,
        machine: Machine | None = None,
        script: Script | None = None,
    ) -> None:
        self.name = config.name
        self._config = config
        self._script = script or self._configured
        self.open_streams = 0
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(window=self._config.window or 32_768, max_output=128_000)

    async def start(self) -> None:
        """Nothing to load."""
        self._closed = False

    async def aclose(self) -> None:
        """Answer nothing more."""
        self._closed = True

    def health(self) -> Health:
        state: State = "unloaded" if self._closed else "ready"
        return Health(state, "scripted replies (no model)")

    async def count_tokens(self, request: Prompt) -> int:
        self._check_open()
        return prompt_tokens(request)

    def _configured(self, request: MessagesRequest) -> Reply:
        options = self._config
        error: RengaError | None = None
        if options.fault == "overloaded":
            error = Overloaded("scripted overload", retry_after=1)
        elif options.fault == "error":
            error = BackendFailed("scripted failure")
        return Reply(
            options.reply if options.reply is not None else last_user_text(request),
            first_delay=options.first_delay_ms / 1000,
            token_delay=options.token_delay_ms / 1000,
            error=error,
            fail_after=options.fail_after,
        )

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """Play the reply."""
        self._check_open()
        reply = self._script(request)
        size = prompt_tokens(request)
        self._check_window(size)
        self.open_streams += 1
        try:
            if reply.error and not reply.fail_after:
                raise reply.error
            await asyncio.sleep(reply.first_delay)
            usage = Usage(input_tokens=size, output_tokens=0)
            yield MessageStart(message=Message(id="", model="", content=[], usage=usage))
            ended: tuple[StopReason, str | None] = ("end_turn", None)
            if not request.max_tokens:
                yield _ending(("max_tokens", None), size, 0)
                yield MessageStop()
                return
            yield BlockStart(index=0, content_block=TextBlock(text=""))
            for piece, reason, stop in self._cut(request, reply.text):
                if reason:
                    ended = (reason, stop)
                    break
                if reply.error and attempt.output >= reply.fail_after:
                    raise reply.error
                await asyncio.sleep(reply.token_delay)
                self._check_open()
                attempt.output += 1
                yield BlockDelta(index=0, delta=TextDelta(text=piece))
            yield BlockStop(index=0)
            yield _ending(ended, size, attempt.output)
            yield MessageStop()
        finally:
            self.open_streams -= 1

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """There is no model that finds anything likely."""
        raise refuse(self.name, "continuations", request)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"backend '{self.name}' is not running")

    def _check_window(self, size: int) -> None:
        window = self.capabilities.window
        if size >= window:
            raise InvalidRequest(f"prompt is too long: {size} tokens > {window - 1} maximum")

    def _cut(
        self, request: MessagesRequest, text: str
    ) -> Iterator[tuple[str, StopReason | None, str | None]]:
        """Pieces up to a stop sequence or max_tokens; the last says why it is the last."""
        found = [(text.find(s), s) for s in request.stop_sequences if s in text]
        at, stop = min(found) if found else (len(text), None)
        shown = pieces(text[:at])
        kept = shown[: request.max_tokens]
        for piece in kept:
            yield piece, None, None
        if len(shown) > request.max_tokens:
            yield "", "max_tokens", None
        elif stop is not None:
            yield "", "stop_sequence", stop


def _ending(ended: tuple[StopReason, str | None], size: int, made: int) -> MessageDelta:
    return MessageDelta(
        delta=Ending(stop_reason=ended[0], stop_sequence=ended[1]),
        usage=DeltaUsage(input_tokens=size, output_tokens=made),
    )
