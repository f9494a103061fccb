"""An answer's events in OpenAI's words: chunks of a stream, or the completion they amount to.

Owns the translation, which there is once: a completion is put together from the same deltas that a
stream sends, so that the two cannot differ. Blocks become fields (texts `content`, thinking
`reasoning_content`, calls `tool_calls`), in the order in which they come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from renga.errors import RengaError
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Candidate,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    final_usage,
)
from renga.http.openai.errors import body_of
from renga.http.sse import data_line
from renga.types import StopReason, ToolUseBlock, Usage

Json = dict[str, Any]

FINISH: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

DONE = "[DONE]"  # the data of a stream's last event, which is no JSON

_encode = msgspec.json.Encoder().encode


class Choice:
    """The one choice of an answer, event by event.

    Args:
        created: seconds since 1970.
        reused: asked at the end, how many tokens of the prompt's input were read from memory
            though no breakpoint had kept them.
        logprobs: whether each token of the text is told with its likelihood.
    """

    def __init__(self, *, created: int, reused: Callable[[], int], logprobs: bool = False) -> None:
        self.head: Json = {"id": "", "object": "", "created": created, "model": ""}
        self.head["service_tier"] = "default"
        self.finish_reason: str | None = None
        self._reused = reused
        self._logprobs = logprobs
        self._usage = Usage(input_tokens=0, output_tokens=0)
        self._calls = self._pieces = 0
        self._call: ToolUseBlock | None = None
        self._has_arguments = False

    def see(self, event: Event) -> Json | None:
        """What `event` adds to the choice, as a `delta` and perhaps `logprobs`; None if nothing."""
        match event:
            case MessageStart():
                message = event.message
                self.head["id"] = "chatcmpl-" + message.id.removeprefix("msg_")
                self.head["model"] = message.model
                self._usage = message.usage
                return {"delta": {"role": "assistant", "content": ""}}
            case BlockStart():
                return self._begin(event)
            case BlockDelta():
                self._pieces += 1
                return self._more(event)
            case BlockStop():
                return self._end_call()
            case MessageDelta():
                self.finish_reason = FINISH[event.delta.stop_reason]
                self._usage = final_usage(self._usage, event.usage)
            case MessageStop() | Ping():
                pass
        return None

    def _begin(self, event: BlockStart) -> Json | None:
        block = event.content_block
        if not isinstance(block, ToolUseBlock):
            return None
        self._call, self._has_arguments = block, False
        self._calls += 1
        function = {"name": block.name, "arguments": ""}
        return self._of_call({"id": block.id, "type": "function", "function": function})

    def _more(self, event: BlockDelta) -> Json | None:
        delta = event.delta
        if isinstance(delta, TextDelta):
            return self._text(delta)
        if isinstance(delta, ThinkingDelta):
            return {"delta": {"reasoning_content": delta.thinking}}
        if isinstance(delta, SignatureDelta):
            return {"delta": {"reasoning_signature": delta.signature}}
        return self._arguments(delta.partial_json) if isinstance(delta, InputJsonDelta) else None

    def _text(self, delta: TextDelta) -> Json | None:
        said: Json = {"delta": {"content": delta.text}} if delta.text else {}
        if self._logprobs and delta.logprobs:
            told = [_token(one) for one in delta.logprobs]
            said = {"delta": {}, **said, "logprobs": {"content": told, "refusal": None}}
        return said or None

    def _arguments(self, text: str) -> Json | None:
        if not text or self._call is None:
            return None
        self._has_arguments = True
        return self._of_call({"function": {"arguments": text}})

    def _end_call(self) -> Json | None:
        """A call without arguments came without any JSON, which is no JSON to their clients."""
        call, self._call = self._call, None
        if call is None or self._has_arguments:
            return None
        arguments = _encode(call.input).decode()
        return self._of_call({"function": {"arguments": arguments}})

    def _of_call(self, part: Json) -> Json:
        return {"delta": {"tool_calls": [{"index": self._calls - 1, **part}]}}

    def usage(self) -> Json:
        """The tokens; cached are those that a breakpoint found, and those that lay there anyway.

        Of an answer that goes on, the pieces so far stand for its tokens.
        """
        used = self._usage
        output = used.output_tokens if self.finish_reason else self._pieces
        read, written = used.cache_read_input_tokens, used.cache_creation_input_tokens
        prompt = used.input_tokens + read + written
        details = used.output_tokens_details
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {
                "cached_tokens": read + min(self._reused(), used.input_tokens),
                "cache_write_tokens": written,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": details.thinking_tokens if details else 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def _token(one: TokenLogprob) -> Json:
    return {**_likely(one), "top_logprobs": [_likely(other) for other in one.top]}


def _likely(one: Candidate) -> Json:
    text = one.data.decode(errors="replace")
    return {"token": text, "bytes": list(one.data), "logprob": one.logprob}


class ChunkForm:
    """A stream's frames (see `renga.http.sse.Form`): a chunk for each delta, then `[DONE]`."""

    ping = b": ping\n\n"

    def __init__(
        self, choice: Choice, *, include_usage: bool, continuous_usage: bool = False
    ) -> None:
        self._choice = choice
        self._continuous_usage = continuous_usage
        self._nothing_used: Json = {"usage": None} if include_usage else {}
        self._include_usage = include_usage

    def write(self, event: Event) -> bytes:
        """See `Form`."""
        added = self._choice.see(event)
        if isinstance(event, MessageDelta):
            return self._chunk({"delta": {}}, self._choice.finish_reason)
        return b"" if added is None else self._chunk(added, None)

    def end(self) -> bytes:
        """See `Form`."""
        done = data_line(DONE.encode())
        if not self._include_usage:
            return done
        head = {**self._choice.head, "object": "chat.completion.chunk"}
        return data_line(_encode({**head, "choices": [], "usage": self._choice.usage()})) + done

    def error(self, error: RengaError, request_id: str) -> bytes:
        """See `Form`. Their clients raise what has an `error`."""
        return data_line(_encode(body_of(error)))

    def _chunk(self, added: Json, finish: str | None) -> bytes:
        choice = {"index": 0, "logprobs": None, **added, "finish_reason": finish}
        head = {**self._choice.head, "object": "chat.completion.chunk"}
        used = {"usage": self._choice.usage()} if self._continuous_usage else self._nothing_used
        return data_line(_encode({**head, "choices": [choice], **used}))


class Completion:
    """The whole answer: the deltas put together."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._texts: dict[str, list[str]] = {}
        self._calls: list[Json] = []
        self._logprobs: list[Json] = []

    def see(self, event: Event) -> None:
        """Take one event."""
        added = self._choice.see(event) or {}
        for name, value in added.get("delta", {}).items():
            if name == "tool_calls":
                self._see_call(value[0])
            elif name != "role":
                self._texts.setdefault(name, []).append(value)
        self._logprobs += (added.get("logprobs") or {}).get("content", [])

    def _see_call(self, part: Json) -> None:
        if part["index"] == len(self._calls):
            self._calls.append({"id": part["id"], "type": "function", "function": ("", [])})
            self._calls[-1]["function"] = (part["function"]["name"], [])
            return
        self._calls[part["index"]]["function"][1].append(part["function"]["arguments"])

    def body(self, *, logprobs: bool) -> bytes:
        """The completion as JSON."""
        message = self._message()
        told = {"content": self._logprobs, "refusal": None} if logprobs else None
        choice = {
            "index": 0,
            "message": message,
            "logprobs": told,
            "finish_reason": self._choice.finish_reason,
        }
        head = {**self._choice.head, "object": "chat.completion"}
        usage = self._choice.usage()
        return _encode({**head, "choices": [choice], "usage": usage})

    def _message(self) -> Json:
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        content = texts.pop("content", "")
        message: Json = {
            "role": "assistant",
            "content": None if self._calls and not content else content,
            "refusal": None,
            **texts,
        }
        if self._calls:
            message["tool_calls"] = [
                {**call, "function": {"name": name, "arguments": "".join(pieces)}}
                for call in self._calls
                for name, pieces in [call["function"]]
            ]
        return message
