"""What a server of OpenAI's chat API says, as it is read: chunks of a stream, and whole answers.

Owns which fields are looked at and what type each must have; everything else is passed over. Both
forms are one type, since a whole answer is a chunk whose `message` brings all at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from renga.events import Candidate, TokenLogprob

# What the ledger can book; a server that says more is not believed.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Function(msgspec.Struct):
    """A call or a piece of one. Arguments are JSON text; Ollama's own form is an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallPiece(msgspec.Struct):
    """A piece of a call."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """What a chunk adds to the message. Mistral's `content` may be a list of parts."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class Likely(msgspec.Struct):
    """A token and its natural log probability; servers write -9999 or so for none."""

    token: str
    logprob: float
    raw: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | None = msgspec.field(
        default=None, name="bytes"
    )

    def candidate(self) -> Candidate:
        """It in our words."""
        return Candidate(data=self.data(), logprob=self.logprob)

    def data(self) -> bytes:
        """The token's bytes; where they are not told, those of its text."""
        return self.token.encode() if self.raw is None else bytes(self.raw)


class Chosen(Likely):
    """A token of the text, and the likeliest at its place."""

    top_logprobs: list[Likely] | None = None

    def told(self) -> TokenLogprob:
        """It in our words."""
        top = tuple(one.candidate() for one in self.top_logprobs or ())
        return TokenLogprob(data=self.data(), logprob=self.logprob, top=top)


class Logprobs(msgspec.Struct):
    """Likelihoods of the tokens that a chunk brings."""

    content: list[Chosen] | None = None


class PromptDetails(msgspec.Struct):
    """What the prompt's tokens were."""

    cached_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None


class CompletionDetails(msgspec.Struct):
    """What the answer's tokens were."""

    reasoning_tokens: Tokens | None = None


class Used(msgspec.Struct):
    """Tokens so far, or in the end. `prompt_tokens` includes the cached ones."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: Tokens | None = None  # DeepSeek's
    reasoning_tokens: Tokens | None = None  # SGLang's


class Timings(msgspec.Struct):
    """llama.cpp's: tokens of the prompt that were read from memory, and computed; of the answer."""

    cache_n: Tokens | None = None
    prompt_n: Tokens | None = None
    predicted_n: Tokens | None = None


class ChunkChoice(msgspec.Struct):
    """A piece of an answer. The last two fields say which stop sequence ended it, if one did."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    usage: Used | None = None  # Kimi's
    error: Any = None  # OpenRouter's
    stop_reason: int | str | None = None  # vLLM's
    matched_stop: Any = None  # SGLang's


class Chunk(msgspec.Struct):
    """One event of a stream, or a whole answer."""

    choices: list[ChunkChoice] | None = None
    usage: Used | None = None
    timings: Timings | None = None
    error: Any = None


_chunks = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes | str) -> Chunk:
    """The chunk that `data` is. Raises ValueError where it is none."""
    try:
        return _chunks.decode(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_whole(value: Any) -> Chunk:
    """The chunk that a whole answer is, decoded before. Raises ValueError where it is none."""
    return msgspec.convert(value, Chunk)
