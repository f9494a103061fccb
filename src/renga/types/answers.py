"""Answers: content blocks, usage, the message, and what else is said back.

Owns the shapes of what a caller receives. A message is made by folding events (`renga.events`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from renga.types.blocks import DirectCaller, SearchFailed, SearchToolName
from renga.types.citations import Citation
from renga.types.wire import Count, Wire, absent


class TextBlock(Wire):
    """Text that the model wrote, and what of the request's documents supports it."""

    type: Literal["text"] = "text"
    text: str
    citations: list[Citation] | None = None


class ThinkingBlock(Wire):
    """Thinking that the model wrote, signed."""

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str


class RedactedThinkingBlock(Wire):
    """Thinking that only its origin can read."""

    type: Literal["redacted_thinking"] = "redacted_thinking"
    data: str


class ToolUseBlock(Wire):
    """A tool call that the model asks for. `toolset_name` is there for members of toolsets."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]
    caller: DirectCaller | None = None
    toolset_name: str | None = Field(default=None, exclude_if=absent)


class ServerToolUseBlock(Wire):
    """A search for tools that the server makes."""

    type: Literal["server_tool_use"] = "server_tool_use"
    id: str
    name: SearchToolName
    input: dict[str, Any]
    caller: DirectCaller | None = None


class ToolReferenceBlock(Wire):
    """The name of a deferred tool that was found."""

    type: Literal["tool_reference"] = "tool_reference"
    tool_name: str


class FoundToolsBlock(Wire):
    """The deferred tools that a search found."""

    type: Literal["tool_search_tool_search_result"] = "tool_search_tool_search_result"
    tool_references: list[ToolReferenceBlock]


class ToolSearchResultBlock(Wire):
    """What came of a search for tools."""

    type: Literal["tool_search_tool_result"] = "tool_search_tool_result"
    tool_use_id: str
    content: Annotated[FoundToolsBlock | SearchFailed, Field(discriminator="type")]


class CompactionBlock(Wire):
    """The summary of what stood before it; null where making one failed."""

    type: Literal["compaction"] = "compaction"
    content: str | None = None
    encrypted_content: str | None = None
    signature: str | None = Field(default=None, exclude_if=absent)


ContentBlock = Annotated[
    TextBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ServerToolUseBlock
    | ToolSearchResultBlock
    | CompactionBlock,
    Field(discriminator="type"),
]

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
    "compaction",
]


class CacheCreation(Wire):
    """Cache writes by time to live, in tokens."""

    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class OutputDetails(Wire):
    """What the output tokens were spent on."""

    thinking_tokens: Count = 0


class Iteration(Wire):
    """Tokens of one of several inferences behind one answer."""

    type: Literal["message", "compaction"]
    input_tokens: Count
    output_tokens: Count
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_creation: CacheCreation | None = None
    model: str | None = Field(default=None, exclude_if=absent)


class Usage(Wire):
    """Tokens by class. Input classes are disjoint: their sum is the prompt."""

    input_tokens: Count
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_creation: CacheCreation = CacheCreation()
    output_tokens: Count
    output_tokens_details: OutputDetails | None = None
    service_tier: Literal["standard", "priority", "batch"] = "standard"
    inference_geo: str = "not_available"
    iterations: list[Iteration] | None = Field(default=None, exclude_if=absent)


class PrefixChanged(Wire):
    """The first part of the prompt that differs from the earlier request's, in the API's order."""

    type: Literal["model_changed", "system_changed", "tools_changed", "messages_changed"]
    cache_missed_input_tokens: Count


class NotCompared(Wire):
    """Why there is nothing to say about an earlier request."""

    type: Literal["previous_message_not_found", "unavailable"]


class Diagnostics(Wire):
    """Why the prompt cache could not serve what an earlier request had left in it."""

    cache_miss_reason: (
        Annotated[PrefixChanged | NotCompared, Field(discriminator="type")] | None
    ) = None


class ClearedToolUses(Wire):
    """What `clear_tool_uses_20250919` left out."""

    type: Literal["clear_tool_uses_20250919"] = "clear_tool_uses_20250919"
    cleared_input_tokens: Count
    cleared_tool_uses: Count


class ClearedThinking(Wire):
    """What `clear_thinking_20251015` left out."""

    type: Literal["clear_thinking_20251015"] = "clear_thinking_20251015"
    cleared_input_tokens: Count
    cleared_thinking_turns: Count


class AppliedEdits(Wire):
    """What was left out of the prompt; there where the request had `context_management`."""

    applied_edits: list[
        Annotated[ClearedToolUses | ClearedThinking, Field(discriminator="type")]
    ] = Field(default_factory=list)


class RefusalDetails(Wire):
    """Why another server's model refused."""

    type: Literal["refusal"] = "refusal"
    category: str | None = None
    explanation: str | None = None


class Message(Wire):
    """A whole answer; always made by folding events."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: RefusalDetails | None = None
    container: None = None
    diagnostics: Diagnostics | None = None
    context_management: AppliedEdits | None = Field(default=None, exclude_if=absent)
    usage: Usage


class OriginalCount(Wire):
    """The size of a prompt before edits of the context."""

    original_input_tokens: Count


class TokenCount(Wire):
    """The answer of count_tokens."""

    input_tokens: Count
    context_management: OriginalCount | None = Field(default=None, exclude_if=absent)


class Likelihood(Wire):
    """Of one continuation: its tokens, and the sum of their natural log probabilities."""

    logprob: float
    tokens: Count


class Scores(Wire):
    """The answer to a score: a likelihood for each continuation, in their order."""

    type: Literal["renga_scores"] = "renga_scores"
    model: str
    scores: list[Likelihood]
    usage: Usage
