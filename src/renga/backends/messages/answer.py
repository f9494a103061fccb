"""The answer of another server of the Messages API as our events, checked one by one.

Owns what is believed: known events with their known fields, in legal order. What is new to us in an
event, and events and deltas that are new, are passed over, as the API asks of its clients; a block
of a kind that is not known is an error, for an answer without it would be another answer. Pings end
here, as the edge makes its own. What the server signed is marked as its own (`asking.mark`).

Source: "Streaming messages" of the API's documentation; the events of the official `anthropic`
package, 2.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, Protocol, get_args

import msgspec
from pydantic import TypeAdapter, ValidationError

from renga.backends.base import Attempt
from renga.backends.messages.asking import mark
from renga.backends.remote.faults import Cause, refused
from renga.errors import RengaError
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    CitationsDelta,
    Delta,
    DeltaUsage,
    Ending,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Order,
    OrderError,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from renga.types import (
    CacheCreation,
    Citation,
    ContentBlock,
    DirectCaller,
    Message,
    OutputDetails,
    RedactedThinkingBlock,
    RefusalDetails,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)

Raw = dict[str, Any]

CHARACTERS_PER_TOKEN: Final = 4  # of what was said before its count came
_CITATION: TypeAdapter[Citation] = TypeAdapter(Citation)
_REASONS: Final = frozenset(get_args(StopReason))
# The status that an error has which comes in the middle of an answer.
_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class Teller(Protocol):
    """What brought an answer: a reply, or a line of the results of a batch."""

    @property
    def backend(self) -> str:
        """Whose answer it is."""

    def fault(self, cause: Cause, words: str = "") -> RengaError:
        """The error for what is wrong with it."""


class Answer:
    """One answer of backend `backend`, while it comes; `attempt` meters what was said of it."""

    def __init__(self, backend: str, attempt: Attempt) -> None:
        self._backend = backend
        self._mark = mark(backend)
        self._attempt = attempt
        self._order = Order()
        self._characters = self._thought = 0
        self._usage: Raw = {}

    @property
    def over(self) -> bool:
        """Whether it said that nothing more comes."""
        return self._order.state == "done"

    def see(self, name: str, data: bytes, reply: Teller) -> Iterator[Event]:
        """The events that one of the server's amounts to. Raises RengaErrors with their causes."""
        try:
            raw = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise reply.fault("malformed_json", str(error)) from error
        if not isinstance(raw, dict):
            raise reply.fault("malformed_sse", "the data of an event is no object")
        yield from self.take(raw.get("type") or name, raw, reply)

    def take(self, kind: str, raw: Raw, reply: Teller) -> Iterator[Event]:
        """As `see`, of what was read already."""
        if kind == "error":
            raise error_of(raw, self._backend)
        try:
            event = self._made(kind, raw)
            if event is not None:
                self._order.see(event)
                yield event
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise reply.fault("malformed_sse", f"its {kind[:50]} is none") from error
        except OrderError as error:
            raise reply.fault("malformed_sse", error.message) from error
        except _Unknown as error:
            raise reply.fault("malformed_sse", str(error)) from error

    def end(self, reply: Teller) -> Iterator[Event]:
        """The stream is over: with all that there was to say, or not."""
        if self._order.state == "ending":
            yield MessageStop()
        elif self._order.state != "done":
            raise reply.fault("empty_stream" if self._order.state == "start" else "missing_stop")

    def _made(self, kind: str, raw: Raw) -> Event | None:
        match kind:
            case "content_block_delta":
                delta = self._delta(raw["delta"])
                return None if delta is None else BlockDelta(index=raw["index"], delta=delta)
            case "content_block_start":
                return BlockStart(index=raw["index"], content_block=self._block(raw))
            case "content_block_stop":
                return BlockStop(index=raw["index"])
            case "message_start":
                return self._start(raw["message"])
            case "message_delta":
                return self._ending(raw)
            case "message_stop":
                return MessageStop()
            case _:
                return None  # a ping, or new to us

    def _start(self, message: Raw) -> Event:
        usage = usage_of(message["usage"])
        self._attempt.output = usage.output_tokens
        return MessageStart(message=Message(id="", model="", content=[], usage=usage))

    def _block(self, raw: Raw) -> ContentBlock:
        block = raw["content_block"]
        make = _BLOCKS.get(block["type"])
        if make is None:
            kind = str(block["type"])[:50]
            raise _Unknown(f"a block of type '{kind}', which is not known here")
        return make(block, self._mark)

    def _delta(self, raw: Raw) -> Delta | None:
        match raw["type"]:
            case "text_delta":
                self._said(raw["text"])
                return TextDelta(text=raw["text"])
            case "input_json_delta":
                self._said(raw["partial_json"])
                return InputJsonDelta(partial_json=raw["partial_json"])
            case "thinking_delta":
                self._said(raw["thinking"], thought=True)
                return ThinkingDelta(thinking=raw["thinking"])
            case "signature_delta":
                return SignatureDelta(signature=self._mark + raw["signature"])
            case "citations_delta":
                citation = citation_of(raw["citation"])
                return None if citation is None else CitationsDelta(citation=citation)
            case _:
                return None

    def _said(self, text: str, *, thought: bool = False) -> None:
        """Meter what cannot be counted until the end comes, which it may not."""
        self._characters += len(text)
        attempt = self._attempt
        attempt.estimated = True
        attempt.output = max(attempt.output, -(-self._characters // CHARACTERS_PER_TOKEN))
        if thought:
            self._thought += len(text)
            attempt.thinking = -(-self._thought // CHARACTERS_PER_TOKEN)

    def _ending(self, raw: Raw) -> Event | None:
        """The end of the message; None while only its usage is told."""
        self._usage |= {k: v for k, v in (raw.get("usage") or {}).items() if v is not None}
        delta = raw["delta"]
        reason = delta.get("stop_reason")
        if reason is None:
            return None
        details = delta.get("stop_details")
        known = isinstance(details, dict) and details.get("type") == "refusal"
        usage = DeltaUsage(
            output_tokens=self._usage.get("output_tokens", self._attempt.output),
            output_tokens_details=_details_of(self._usage),
            **{name: self._usage.get(name) for name in _CUMULATIVE},
        )
        attempt, told = self._attempt, usage.output_tokens_details
        attempt.output = usage.output_tokens
        attempt.thinking = 0 if told is None else told.thinking_tokens
        attempt.estimated = "output_tokens" not in self._usage
        return MessageDelta(
            delta=Ending(
                stop_reason=reason if reason in _REASONS else "end_turn",
                stop_sequence=delta.get("stop_sequence"),
                stop_details=_picked(RefusalDetails, details) if known else None,
            ),
            usage=usage,
        )


class _Unknown(Exception):
    """What cannot be passed over."""


_CUMULATIVE: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def events_of_message(raw: Any, answer: Answer, reply: Teller) -> Iterator[Event]:
    """The events of an answer that came in one piece."""
    if not isinstance(raw, dict):
        raise reply.fault("malformed_json", "it is no message")
    if raw.get("type") == "error":
        raise error_of(raw, reply.backend)
    content = raw.get("content")
    if not isinstance(content, list) or not isinstance(raw.get("usage"), dict):
        raise reply.fault("malformed_json", "it is no message")
    if raw.get("stop_reason") is None:
        raise reply.fault("missing_stop")
    yield from answer.take("message_start", {"message": raw}, reply)
    for index, block in enumerate(content):
        for kind, part in _parts(block):
            yield from answer.take(kind, {"index": index, **part}, reply)
    yield from answer.take("message_delta", {"delta": raw, "usage": raw["usage"]}, reply)
    yield from answer.take("message_stop", {}, reply)


def _parts(block: Any) -> Iterator[tuple[str, Raw]]:
    """A block as it would have been streamed; what is none shows as such when it is read."""
    start, deltas = block, []
    match block:
        case {"type": "text", "text": text}:
            start = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": text}] if text else []
            deltas += [
                {"type": "citations_delta", "citation": citation}
                for citation in block.get("citations") or ()
            ]
        case {"type": "thinking", "thinking": thinking}:
            start = {"type": "thinking", "thinking": ""}
            deltas = [{"type": "thinking_delta", "thinking": thinking}] if thinking else []
            if block.get("signature"):
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case {"type": "tool_use", "input": arguments}:
            start = {**block, "input": {}}
            written = msgspec.json.encode(arguments).decode()
            deltas = [{"type": "input_json_delta", "partial_json": written}]
        case _:
            pass
    yield "content_block_start", {"content_block": start}
    for delta in deltas:
        yield "content_block_delta", {"delta": delta}
    yield "content_block_stop", {}


# --- parts ----------------------------------------------------------------------------------------


def usage_of(raw: Raw) -> Usage:
    """Tokens by class. Writes whose time to live is not told are of five minutes, the default."""
    written = raw.get("cache_creation_input_tokens") or 0
    by_ttl = raw.get("cache_creation") or {}
    hour = min(by_ttl.get("ephemeral_1h_input_tokens") or 0, written)
    tier = raw.get("service_tier")
    return Usage(
        input_tokens=raw["input_tokens"],
        output_tokens=raw.get("output_tokens") or 0,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=raw.get("cache_read_input_tokens") or 0,
        cache_creation=CacheCreation(
            ephemeral_5m_input_tokens=written - hour, ephemeral_1h_input_tokens=hour
        ),
        output_tokens_details=_details_of(raw),
        service_tier=tier if tier in ("priority", "batch") else "standard",
        inference_geo=raw.get("inference_geo") or "not_available",
    )


def _details_of(raw: Raw) -> OutputDetails | None:
    details = raw.get("output_tokens_details")
    return _picked(OutputDetails, details) if isinstance(details, dict) else None


def citation_of(raw: Any) -> Citation | None:
    """A citation of a form that is known; None for others."""
    try:
        return _CITATION.validate_python(raw)
    except ValidationError:
        return None


def error_of(raw: Raw, backend: str) -> RengaError:
    """The error that another server told in the middle of its answer."""
    told = raw.get("error")
    kind = told.get("type") if isinstance(told, dict) else None
    status = _STATUSES.get(kind, 500) if isinstance(kind, str) else 500
    return refused(status, {}, msgspec.json.encode(raw), backend, datetime.now(UTC))


def _picked(cls: type[Any], raw: Raw) -> Any:
    """`raw` as `cls`, without fields that are new to us."""
    known = cls.model_fields
    return cls(**{name: value for name, value in raw.items() if name in known})


def _kind_of(raw: Any) -> Any:
    return raw.get("type") if isinstance(raw, dict) else None


def _text(raw: Raw, mark: str) -> ContentBlock:
    return TextBlock(text=raw.get("text") or "")


def _thinking(raw: Raw, mark: str) -> ContentBlock:
    signature = raw.get("signature") or ""
    return ThinkingBlock(
        thinking=raw.get("thinking") or "", signature=mark + signature if signature else ""
    )


def _redacted(raw: Raw, mark: str) -> ContentBlock:
    return RedactedThinkingBlock(data=mark + raw["data"])


def _call(raw: Raw, mark: str) -> ContentBlock:
    return ToolUseBlock(
        id=raw["id"],
        name=raw["name"],
        input=raw.get("input") or {},
        caller=DirectCaller() if _kind_of(raw.get("caller")) == "direct" else None,
        toolset_name=raw.get("toolset_name"),
    )


_BLOCKS: Final[dict[str, Callable[[Raw, str], ContentBlock]]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _call,
}
