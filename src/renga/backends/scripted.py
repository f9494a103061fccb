"""A backend that says what it is told: deterministic, with delays and faults on request.

For tests of the path, for docs and for clients' own tests. It runs no model and claims none.
Without a script it repeats the last user turn. Calls of tools it writes as many models do, as text
in Hermes' form (`calling`), which is read out of it as from any model. Tokens are pieces of four
UTF-8 bytes, so counts are exact and easy to check by hand.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renga.backends.base import Attempt, Capabilities, Health, State, refuse
from renga.chat.demand import EFFORTS, budget_of, wants_thinking
from renga.chat.forms import HERMES
from renga.chat.writing import Writer
from renga.config import BackendConfig
from renga.errors import BackendFailed, InvalidRequest, Overloaded, RengaError, Unavailable
from renga.events import (
    DeltaUsage,
    Ending,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
)
from renga.ids import Ids, make_ids
from renga.machine import Machine
from renga.reading import Call, Definition, Result, Text, Thought, written_turns
from renga.toolkit import specs_of
from renga.types import (
    Likelihood,
    Message,
    MessagesRequest,
    NoChoice,
    OutputDetails,
    Prompt,
    ScoreRequest,
    StopReason,
    TextParam,
    Usage,
)

BYTES_PER_TOKEN = 4
IN_A_ROW = 16  # tokens without a delay, after which the others on the loop have their turn

# A configured reply may begin with thinking.
_THOUGHT = re.compile(r"<think>(?P<thinking>.*?)</think>\s*(?P<text>.*)", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """What to answer. Delays are seconds; `fail_after` is the number of tokens before `error`.

    `thinking` is thought first where the request lets the model think.
    """

    text: str
    thinking: str = ""
    first_delay: float = 0.0
    token_delay: float = 0.0
    error: RengaError | None = None
    fail_after: int = 0


Script = Callable[[MessagesRequest], Reply]


def calling(name: str, **arguments: Any) -> str:
    """A call of a tool as a script writes it into the text of a reply."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{HERMES.begin}\n{call}\n{HERMES.end}"


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
    blocks = turns[-1].content if turns else []
    return "".join(block.text for block in blocks if isinstance(block, TextParam))


def prompt_tokens(request: Prompt) -> int:
    """Size of everything that the caller wrote and a model would read, in this backend's tokens."""
    blocks = (block for turn in written_turns(request) for block in turn.blocks)
    return sum(len(pieces(text)) for block in blocks for text in _texts(block))


def _texts(block: Definition | Text | Thought | Call | Result) -> tuple[str, ...]:
    match block:
        case Definition():
            return (json.dumps(block.function, ensure_ascii=False),)
        case Call():
            return block.name, json.dumps(block.arguments, ensure_ascii=False)
        case _:
            return (block.text,)


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
        ids: Ids | None = None,
    ) -> None:
        self.name = config.name
        self._config = config
        self._script = script or self._configured
        self._ids = ids or make_ids()
        self._capabilities = Capabilities(
            window=config.window or 32_768,
            max_output=128_000,
            tools=True,
            documents=True,
            thinking=frozenset(("enabled", "adaptive", "disabled")),
            efforts=frozenset(EFFORTS),
        )
        self.open_streams = 0
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

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
        thought = _THOUGHT.fullmatch(options.reply or "")
        reply = options.reply if options.reply is not None else last_user_text(request)
        return Reply(
            thought["text"] if thought else reply,
            thought["thinking"] if thought else "",
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
            room = self.capabilities.window - size
            playing = _Playing(request, reply, self._ids, room)
            for thinks, piece in playing.pieces():
                if reply.error and attempt.output >= reply.fail_after:
                    raise reply.error
                if reply.token_delay or attempt.output % IN_A_ROW == 0:
                    await asyncio.sleep(reply.token_delay)
                self._check_open()
                attempt.output += 1
                attempt.thinking += thinks
                for event in playing.events(thinks, piece):
                    yield event
            for event in playing.end(size, attempt):
                yield event
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


class _Playing:
    """One reply on its way: what is said of it, and how it ends. `room` are tokens."""

    def __init__(self, request: MessagesRequest, reply: Reply, ids: Ids, room: int) -> None:
        tools = specs_of(request)
        form = HERMES if tools and not isinstance(request.tool_choice, NoChoice) else None
        self._request, self._reply, self._room = request, reply, room
        self._thinks = wants_thinking(request)
        self._writer = Writer(ids, form, {t.name: t.toolset for t in tools if t.toolset})
        self._free = reply.text.partition(HERMES.begin)[0] if form else reply.text
        self._ended: tuple[StopReason, str | None] = ("end_turn", None)

    def pieces(self) -> Iterator[tuple[bool, str]]:
        """Pieces up to a stop sequence or max_tokens, and whether each is thinking."""
        thought = pieces(self._reply.thinking) if self._thinks else []
        said, stop = self._until_stop()
        whole = [(True, piece) for piece in thought[: budget_of(self._request, self._room)]]
        whole += [(False, piece) for piece in pieces(said)]
        most = self._request.max_tokens
        if len(whole) > most or not most:
            self._ended = ("max_tokens", None)
        elif stop is not None:
            self._ended = ("stop_sequence", stop)
        yield from whole[:most]

    def _until_stop(self) -> tuple[str, str | None]:
        """The text up to the first stop sequence, which ends no call."""
        found = [(self._free.find(s), s) for s in self._request.stop_sequences if s in self._free]
        if not found:
            return self._reply.text, None
        at, stop = min(found)
        return self._free[:at], stop

    def events(self, thinks: bool, piece: str) -> Iterator[Event]:
        """What one piece amounts to."""
        yield from self._writer.thinking(piece) if thinks else self._writer.text(piece)

    def end(self, size: int, attempt: Attempt) -> Iterator[Event]:
        """The end of the answer to a prompt of `size` tokens."""
        reason, stop = self._ended
        yield from self._writer.finish(reason)
        details = OutputDetails(thinking_tokens=attempt.thinking) if self._thinks else None
        yield MessageDelta(
            delta=Ending(stop_reason=self._writer.reason(reason), stop_sequence=stop),
            usage=DeltaUsage(
                input_tokens=size,
                output_tokens=attempt.output,
                output_tokens_details=details,
            ),
        )
        yield MessageStop()
