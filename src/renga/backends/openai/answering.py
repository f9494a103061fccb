"""An answer of OpenAI's chat API as events of ours, chunk by chunk.

Owns what of a chunk becomes what: the blocks and their order, the reason to stop, tokens by class.
Nothing is believed: whatever would break the order of events, or cannot be a call or an answer, is
a fault with its cause. Where a server does not tell its tokens, they are counted by the pieces of
its answer, and the attempt says that they are an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from renga.backends.base import Attempt
from renga.backends.openai.calls import Arguments, Begun, BrokenCall, CallReader, Part
from renga.backends.openai.chunks import Chunk, ChunkChoice, Delta, Timings, Used
from renga.backends.openai.stops import StopFinder
from renga.backends.remote import fault
from renga.backends.remote.faults import Cause, refused
from renga.errors import Overloaded, RengaError
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    Ending,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
)
from renga.ids import Ids
from renga.types import (
    CacheCreation,
    ContentBlock,
    DirectCaller,
    Message,
    MessagesRequest,
    OutputDetails,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)

# What a server says as its reason to stop; whatever is not here is an end like any other.
REASONS: Final[Mapping[str, StopReason]] = {
    "stop": "end_turn",
    "eos": "end_turn",
    "tool_calls": "end_turn",  # a call says so itself
    "function_call": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "model_context_window_exceeded",  # Mistral's
    "content_filter": "refusal",
}
# Reasons that are none: the answer was given up.
GIVEN_UP: Final = ("abort", "error", "cancelled", "canceled")
NO_ROOM: Final = "insufficient_system_resource"  # DeepSeek's
_CUT: Final[frozenset[StopReason]] = frozenset(
    {"max_tokens", "model_context_window_exceeded", "refusal"}
)
# Characters of a piece, beyond which it is taken for one more token.
LONG_PIECE: Final = 8
# Tokens by which a server's own count of a full window may be off.
MARGIN: Final = 16

Kind = Literal["thinking", "text", "call"]


@dataclass(frozen=True)
class Terms:
    """What an answer is read by: the request's wishes, and what is known of the server.

    `estimate` is the prompt's size in tokens where nobody tells; `stops` are the sequences to be
    found here, `asked` all there are; `thinks` whether thinking is shown; `toolsets` has the set of
    each tool that is a member of one.
    """

    backend: str
    window: int
    most: int
    estimate: int
    stops: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    thinks: bool = False
    single: bool = False
    silent: bool = False
    toolsets: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Tokens:
    """What the server told of tokens so far; None is not told."""

    prompt: int | None = None
    cached: int = 0
    written: int = 0
    output: int | None = None
    thinking: int | None = None

    def see(self, used: Used) -> None:
        """Take a usage object; cached and written are parts of the prompt there."""
        self.prompt = _told(used.prompt_tokens, self.prompt)
        self.output = _told(used.completion_tokens, self.output)
        if (asked := used.prompt_tokens_details) is not None:
            self.cached = _told(asked.cached_tokens, self.cached) or 0
            self.written = _told(asked.cache_write_tokens, self.written) or 0
        self.cached = _told(used.prompt_cache_hit_tokens, self.cached) or 0
        self.thinking = _told(used.reasoning_tokens, self.thinking)
        if (said := used.completion_tokens_details) is not None:
            self.thinking = _told(said.reasoning_tokens, self.thinking)

    def time(self, timings: Timings) -> None:
        """Take llama.cpp's timings."""
        if timings.prompt_n is not None:
            self.cached = timings.cache_n or 0
            self.prompt = timings.prompt_n + self.cached
        self.output = _told(timings.predicted_n, self.output)


def _told(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


class Answering:
    """One answer. Feed it chunks with `see`, `end` it once; it fills `attempt` as it goes."""

    def __init__(
        self, terms: Terms, attempt: Attempt, ids: Ids, clock: Callable[[], datetime]
    ) -> None:
        self._terms, self._attempt, self._ids, self._clock = terms, attempt, ids, clock
        self._tokens = Tokens()
        self._finder = StopFinder(terms.stops)
        self._calls = CallReader(single=terms.single)
        self._seen = self._started = False
        self._finish: str | None = None
        self._stopped: str | None = None  # the stop sequence that the server told
        self._refused = False
        self._pieces = self._written = self._thought = 0  # pieces, and characters of them
        self._index = -1
        self._open: Kind | None = None
        self._held = ""  # white space that may stand before text
        self._likely: list[TokenLogprob] = []

    @property
    def over(self) -> bool:
        """Whether nothing more can come: a stop sequence was found here."""
        return self._finder.found is not None

    def see(self, chunk: Chunk) -> Iterator[Event]:
        """What a chunk amounts to. Raises a RengaError for what is wrong with it."""
        if chunk.error is not None:
            raise self._error(chunk.error)
        choice = next((one for one in chunk.choices or () if one.index == 0), None)
        if choice is not None and choice.error is not None:
            raise self._error(choice.error)
        self._seen = True
        self._count(chunk, choice)
        if not self._started and (self._tokens.prompt is not None or _says(choice)):
            yield self._start()
        if choice is not None and self._finish is None:
            yield from self._choice(choice)

    def end(self) -> Iterator[Event]:
        """The stream ended, or was left behind a stop sequence. Raises a fault without a reason."""
        if not self._seen:
            raise self._fault("empty_stream")
        if self._finish is None and not self.over:
            raise self._fault("missing_stop")
        reason = self._reason()
        if not self._started:
            yield self._start()
        if not self.over:
            yield from self._text(self._finder.finish())
        yield from self._end_calls(cut=reason in _CUT)
        yield from self._close()
        if self._calls.called and reason == "end_turn":
            reason = "tool_use"
        self._meter()
        stopped = (self._finder.found or self._stopped) if reason == "stop_sequence" else None
        yield MessageDelta(
            delta=Ending(stop_reason=reason, stop_sequence=stopped), usage=self._final()
        )
        yield MessageStop()

    # --- content ----------------------------------------------------------------------------------

    def _choice(self, choice: ChunkChoice) -> Iterator[Event]:
        delta = choice.delta or choice.message
        if delta is not None and not self.over:
            if choice.logprobs is not None:
                self._likely += [one.told() for one in choice.logprobs.content or ()]
            yield from self._delta(delta)
        if choice.finish_reason:
            self._finish = choice.finish_reason
            told = choice.stop_reason if choice.stop_reason is not None else choice.matched_stop
            if isinstance(told, str) and told in self._terms.asked:
                self._stopped = told

    def _delta(self, delta: Delta) -> Iterator[Event]:
        content = delta.content
        if isinstance(content, list):
            yield from self._parts(content)
            content = None
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            self._add(thought)
            self._thought += len(thought)
            yield from self._thinking(thought)
        if delta.refusal:
            self._refused = True
            content = (content or "") + delta.refusal
        if content:
            self._add(content)
            yield from self._text(self._finder.feed(content))
        for piece in delta.tool_calls or ():
            given = piece.function and piece.function.arguments
            self._add(given if isinstance(given, str) else "")
            yield from self._call(lambda piece=piece: self._calls.feed(piece))  # type: ignore[misc]

    def _add(self, text: str) -> None:
        """Count a piece: a token, or as many as there may be in an answer that came at once."""
        self._written += len(text)
        self._pieces += 1 + len(text) // LONG_PIECE
        self._meter()  # before it is passed on, behind which its reader may leave

    def _parts(self, parts: list[Any]) -> Iterator[Event]:
        """Content in parts, as Mistral's thinking models write it."""
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                yield from self._delta(Delta(content=part["text"]))
            elif kind == "thinking":
                yield from self._delta(Delta(reasoning=_text_in(part.get("thinking"))))
            else:
                raise self._fault("malformed_sse", f"a part of content of type {kind!r}")

    def _thinking(self, text: str) -> Iterator[Event]:
        if self._terms.silent or not self._terms.thinks:
            return
        yield from self._end_calls()
        if self._open != "thinking":
            text = text.lstrip()
        if text:
            self._held = ""
            yield from self._write("thinking", ThinkingDelta(thinking=text))

    def _text(self, text: str) -> Iterator[Event]:
        """More text. White space alone is no block, and none stands behind thinking."""
        if not text or self._terms.silent:
            return
        if self._open != "text":
            text = self._held + text
            if not text.strip():
                self._held = text
                return
            self._held = ""
            yield from self._end_calls()
            if self._open == "thinking" or self._index >= 0:
                text = text.lstrip()
        likely, self._likely = tuple(self._likely), []
        yield from self._write("text", TextDelta(text=text, logprobs=likely or None))

    def _call(self, parts: Callable[[], Iterator[Part]]) -> Iterator[Event]:
        try:
            for part in parts():
                if not self._terms.silent:
                    yield from self._part(part)
        except BrokenCall as error:
            raise self._fault("malformed_json", str(error)) from error

    def _part(self, part: Part) -> Iterator[Event]:
        if isinstance(part, Begun):
            self._held, self._likely = "", []
            yield from self._close()
            yield from self._write("call", InputJsonDelta(partial_json=""), part.name)
        elif isinstance(part, Arguments):
            yield from self._write("call", InputJsonDelta(partial_json=part.text))
        else:
            yield from self._close()

    def _end_calls(self, *, cut: bool = False) -> Iterator[Event]:
        """Other content follows, or nothing: calls that were begun are whole."""
        yield from self._call(lambda: self._calls.finish(cut=cut))

    def _write(
        self, kind: Kind, delta: TextDelta | ThinkingDelta | InputJsonDelta, name: str = ""
    ) -> Iterator[Event]:
        """`delta` in a block of its kind, which is opened where another one is, or none."""
        if self._open != kind:
            yield from self._close()
            self._open = kind
            self._index += 1
            yield BlockStart(index=self._index, content_block=self._empty(kind, name))
        yield BlockDelta(index=self._index, delta=delta)

    def _close(self) -> Iterator[Event]:
        if self._open is not None:
            self._open = None
            yield BlockStop(index=self._index)

    def _empty(self, kind: Kind, name: str) -> ContentBlock:
        if kind == "thinking":
            return ThinkingBlock(thinking="", signature="")
        if kind == "text":
            return TextBlock(text="")
        # Ids of ours: theirs may be missing, or the same for all, or none that the API takes.
        return ToolUseBlock(
            id=self._ids("toolu"),
            name=name,
            input={},
            caller=DirectCaller(),
            toolset_name=self._terms.toolsets.get(name),
        )

    # --- the end ----------------------------------------------------------------------------------

    def _reason(self) -> StopReason:
        """Why the answer ended. Raises where it was given up."""
        if self._terms.silent:
            return "max_tokens"
        if self.over:
            return "stop_sequence"
        finish = self._finish or ""
        if finish == NO_ROOM:
            raise Overloaded(
                f"backend '{self._terms.backend}' ran out of room for the answer",
                cause="status_503",
                again=True,
            )
        if finish in GIVEN_UP:
            raise self._fault("missing_stop", f"it says '{finish}'")
        reason = REASONS.get(finish, "end_turn")
        if self._refused:
            return "refusal"
        if reason == "max_tokens" and self._is_full():
            return "model_context_window_exceeded"
        called = self._calls.called
        return "stop_sequence" if self._stopped and reason == "end_turn" and not called else reason

    def _is_full(self) -> bool:
        """Whether it was the window that ended the answer, and not the caller's limit."""
        used = self._tokens
        if used.prompt is None or used.output is None or used.output >= self._terms.most:
            return False
        return used.prompt + used.output >= self._terms.window - MARGIN

    # --- tokens -----------------------------------------------------------------------------------

    def _count(self, chunk: Chunk, choice: ChunkChoice | None) -> None:
        if chunk.timings is not None:
            self._tokens.time(chunk.timings)
        for used in (choice.usage if choice is not None else None, chunk.usage):
            if used is not None:
                self._tokens.see(used)
        self._meter()

    def _meter(self) -> None:
        """Fill the attempt's meter. The classes of the prompt are disjoint there."""
        used, attempt = self._tokens, self._attempt
        prompt = self._terms.estimate if used.prompt is None else used.prompt
        attempt.cache_read = min(used.cached, prompt)
        attempt.cache_write_5m = min(used.written, prompt - attempt.cache_read)
        attempt.input = prompt - attempt.cache_read - attempt.cache_write_5m
        attempt.estimated = used.prompt is None or used.output is None
        output = self._pieces if used.output is None else used.output
        attempt.output = 0 if self._terms.silent else output
        thinking = used.thinking
        if thinking is None:
            thinking = round(attempt.output * self._thought / max(1, self._written))
        attempt.thinking = min(thinking, attempt.output)

    def _start(self) -> MessageStart:
        """The first event, as late as can be: some servers tell the prompt's size only then."""
        self._started = True
        self._meter()
        attempt = self._attempt
        usage = Usage(
            input_tokens=attempt.input or 0,
            cache_read_input_tokens=attempt.cache_read,
            cache_creation_input_tokens=attempt.cache_write_5m,
            cache_creation=CacheCreation(ephemeral_5m_input_tokens=attempt.cache_write_5m),
            output_tokens=0,
        )
        return MessageStart(message=Message(id="", model="", content=[], usage=usage))

    def _final(self) -> DeltaUsage:
        attempt = self._attempt
        details = OutputDetails(thinking_tokens=attempt.thinking) if self._terms.thinks else None
        return DeltaUsage(
            input_tokens=attempt.input,
            cache_read_input_tokens=attempt.cache_read,
            cache_creation_input_tokens=attempt.cache_write_5m,
            output_tokens=attempt.output,
            output_tokens_details=details,
        )

    # --- faults -----------------------------------------------------------------------------------

    def _fault(self, cause: Cause, words: str = "") -> RengaError:
        return fault(cause, self._terms.backend, words)

    def _error(self, said: Any) -> RengaError:
        """An error inside an answer of success: read as an answer of its status would be."""
        code = said.get("code") if isinstance(said, dict) else None
        told = type(code) is int and 400 <= code <= 599
        body = msgspec.json.encode({"error": said})
        status = code if told and isinstance(code, int) else _STATUS.get(_type_of(said), 500)
        return refused(status, {}, body, self._terms.backend, self._clock())


# Types of errors that servers write where no status is.
_STATUS: Final[Mapping[str, int]] = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "timeout_error": 504,
    "unavailable_error": 503,
}


def _says(choice: ChunkChoice | None) -> bool:
    """Whether a choice brings anything: the first often has the role alone."""
    delta = choice and (choice.delta or choice.message)
    return choice is not None and bool(
        choice.finish_reason
        or (delta and (delta.content or delta.reasoning_content or delta.reasoning))
        or (delta and (delta.tool_calls or delta.refusal))
    )


def _type_of(said: Any) -> str:
    return str(said.get("type")) if isinstance(said, dict) else ""


def _text_in(parts: Any) -> str:
    """The texts of a part that has parts."""
    if isinstance(parts, str):
        return parts
    texts = (part.get("text") for part in parts or () if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def terms_of(request: MessagesRequest, **known: Any) -> Terms:
    """What `request` says of its answer, with what is known of the server."""
    return Terms(
        most=request.max_tokens,
        asked=tuple(request.stop_sequences),
        silent=request.max_tokens == 0,
        **known,
    )
