"""What the chat endpoint answers, as types: for the OpenAPI document.

Owns the description; `renga.http.openai.answers` makes the answers, and tests hold the two to each
other and both to the official package. `service_tier` is always `default`.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class PromptTokens(TypedDict):
    """What the prompt's tokens were. `cached_tokens` were read from memory, marked or not."""

    cached_tokens: int
    cache_write_tokens: int
    audio_tokens: int


class CompletionTokens(TypedDict):
    """What the answer's tokens were."""

    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class CompletionUsage(TypedDict):
    """Tokens: those of the prompt include the cached ones."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens


class LikelyToken(TypedDict):
    """A token, its bytes, and its natural log probability."""

    token: str
    bytes: list[int]
    logprob: float


class ChosenToken(LikelyToken):
    """A token of the text, and the likeliest ones at its place."""

    top_logprobs: list[LikelyToken]


class ChoiceLogprobs(TypedDict):
    """The tokens of the text; thinking and calls have none."""

    content: list[ChosenToken]
    refusal: None


class CalledFunction(TypedDict):
    """The function, and its arguments as JSON text."""

    name: str
    arguments: str


class MadeCall(TypedDict):
    """A call that the model asks for."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(TypedDict):
    """The answer. Sent back with its `reasoning_signature`, the thinking is read again."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str]
    reasoning_signature: NotRequired[str]
    tool_calls: NotRequired[list[MadeCall]]


class ChatChoice(TypedDict):
    """The one choice."""

    index: Literal[0]
    message: ChatMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(TypedDict):
    """A whole answer. `created` is seconds since 1970."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    service_tier: Literal["default"]
    choices: list[ChatChoice]
    usage: CompletionUsage


class FunctionPiece(TypedDict):
    """The name comes first, then the arguments piece by piece."""

    name: NotRequired[str]
    arguments: str


class CallPiece(TypedDict):
    """A piece of the call with that number; the first has the id."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionPiece


class ChatDelta(TypedDict):
    """What a chunk adds."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    reasoning_content: NotRequired[str]
    reasoning_signature: NotRequired[str]
    tool_calls: NotRequired[list[CallPiece]]


class ChunkChoice(TypedDict):
    """A piece of the one choice."""

    index: Literal[0]
    delta: ChatDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(TypedDict):
    """A piece of an answer. The last has the usage, where `include_usage` asked for it.

    Each has it as it stands, where `continuous_usage_stats` asked for that.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    service_tier: Literal["default"]
    choices: list[ChunkChoice]
    usage: NotRequired[CompletionUsage | None]


class InputTokens(TypedDict):
    """The size of a prompt."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class ErrorDetail(TypedDict):
    """What went wrong. `param` is the field's path."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(TypedDict):
    """An error in OpenAI's envelope."""

    error: ErrorDetail
