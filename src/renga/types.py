"""The Messages vocabulary: requests, content blocks, usage, messages, models.

Owns the rule that the wire's words are the internal ones: every edge, layer and backend speaks
these types and no others. Imports nothing of ours. Fields and blocks that renga cannot honour yet
are named in tables here, so that they are refused by name and never ignored in silence. It does
not know versions of the API (`http.versions`), tiers (`routing`) or what a backend can do.

Source of fields: the types of the official `anthropic` package, 2.12.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_MESSAGES = 100_000  # "Limits" of the API's Messages reference
MAX_OUTPUT_TOKENS = 128_000
MAX_CONTINUATIONS = 1_000  # of one score; ours

# Top-level fields of the API that a later edition honours. Sent with a value other than null they
# are a 400 that names them; the sentence says what to do instead, where there is something.
UNSUPPORTED_FIELDS: dict[str, str] = {
    "tools": "tool use is not supported by this server yet; leave it out",
    "tool_choice": "tool use is not supported by this server yet; leave it out",
    "container": "containers are not supported by this server",
    "context_management": "context editing is not supported by this server yet; leave it out",
    "inference_geo": "this server runs in one place; leave it out",
    "mcp_servers": "MCP servers are not supported by this server; leave it out",
    "output_format": "use `output_config.format`",
    "compaction": "compaction is not supported by this server yet; leave it out",
    "thread": "server-held threads are not supported by this server; send the whole conversation",
    "fallbacks": "refusal fallbacks are not supported by this server; leave it out",
    "fallback_credit_token": "refusal fallbacks are not supported by this server; leave it out",
    "billing_policy": "billing policies are not supported by this server; leave it out",
    "user_profile_id": "user profiles are not supported by this server; leave it out",
    "workspace_id": "the workspace is the key's; leave it out",
}

# Accepted, without effect on the answer, and listed in the `renga-ignored` header.
IGNORED_FIELDS: dict[str, str] = {
    "cache_control": "on backends without a prompt cache (`scripted`); cache counters stay 0 there",
    "metadata": "recorded nowhere",
}

KNOWN_BLOCKS = frozenset(
    "image document search_result thinking redacted_thinking tool_use tool_result server_tool_use "
    "web_search_tool_result web_fetch_tool_result code_execution_tool_result "
    "bash_code_execution_tool_result text_editor_code_execution_tool_result "
    "tool_search_tool_result container_upload mcp_tool_use mcp_tool_result mcp_tool_listing "
    "compaction fallback tool_addition tool_removal advisor_tool_result".split()
)
SUPPORTED_BLOCKS = ("text",)


class Wire(BaseModel):
    """Base of everything on the wire: immutable, strict, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --- requests -------------------------------------------------------------------------------------


class CacheControl(Wire):
    """A prompt-cache breakpoint; without a ttl it is one of 5 minutes. `renga.caching` has more."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


def _no_citations(value: Any) -> Any:
    if value is None or value == []:
        return None
    raise PydanticCustomError(
        "citations_unsupported",
        "citations are not supported by this server yet; leave them out or send null",
    )


class TextParam(Wire):
    """A text block in a request."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: Annotated[None, BeforeValidator(_no_citations)] = None


def _supported_block(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in SUPPORTED_BLOCKS:
        return value
    accepted = ", ".join(SUPPORTED_BLOCKS)
    if kind in KNOWN_BLOCKS:
        raise PydanticCustomError(
            "block_unsupported",
            "`{kind}` blocks are not supported by this server yet; accepted: {accepted}",
            {"kind": kind, "accepted": accepted},
        )
    raise PydanticCustomError(
        "block_unknown",
        "unknown block type '{kind}'; accepted: {accepted}",
        {"kind": kind, "accepted": accepted},
    )


def _blocks_of(value: Any) -> Any:
    """A string is the short form of one text block."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _string_or_blocks(value: Any) -> Any:
    if isinstance(value, (str, list)):
        return value
    raise PydanticCustomError(
        "content_type", "Input should be a string or a list of content blocks"
    )


BlockParam = Annotated[TextParam, BeforeValidator(_supported_block)]
# One bad item is told, not all: a hostile body holds millions.
Blocks = Annotated[
    list[BlockParam],
    Field(fail_fast=True),
    BeforeValidator(_blocks_of),
    BeforeValidator(_string_or_blocks),
]


def _known_role(value: Any) -> Any:
    if value == "system":
        raise PydanticCustomError(
            "role_unsupported",
            "system messages inside `messages` are not supported by this server yet; "
            "use the top-level `system` field",
        )
    return value


class MessageParam(Wire):
    """One turn of the conversation."""

    role: Annotated[Literal["user", "assistant"], BeforeValidator(_known_role)]
    content: Blocks

    @field_validator("content")
    @classmethod
    def _not_empty(cls, content: list[TextParam], turn: ValidationInfo) -> list[TextParam]:
        if turn.data.get("role") != "user":
            return content
        if not content:
            raise PydanticCustomError("content_empty", "user messages must have non-empty content")
        if not any(block.text.strip() for block in content):
            raise PydanticCustomError(
                "content_empty", "text content blocks must contain non-whitespace text"
            )
        return content


class JsonFormat(Wire):
    """`output_config.format`: the answer is JSON that the schema accepts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class RegexFormat(Wire):
    """renga's own: the answer is a text that the regular expression matches whole."""

    type: Literal["regex"]
    pattern: str


class ChoiceFormat(Wire):
    """renga's own: the answer is one of the strings."""

    type: Literal["choice"]
    choices: list[str]


def _format_type(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


Format = Annotated[
    Annotated[JsonFormat, Tag("json_schema")]
    | Annotated[RegexFormat, Tag("regex")]
    | Annotated[ChoiceFormat, Tag("choice")],
    Discriminator(
        _format_type,
        custom_error_type="format_unknown",
        custom_error_message="its type is missing or none of json_schema, regex, choice",
    ),
]


def _no_effort(value: Any) -> Any:
    if value is None:
        return None
    raise PydanticCustomError(
        "effort_unsupported", "effort is not supported by this server yet; leave it out"
    )


class OutputConfig(Wire):
    """How the answer is to look."""

    format: Format | None = None
    effort: Annotated[None, BeforeValidator(_no_effort)] = None


class Metadata(Wire):
    """What the caller tells about the request. Accepted; see IGNORED_FIELDS."""

    user_id: Annotated[str, Field(max_length=512)] | None = None


class DiagnosticsParam(Wire):
    """What to compare the prompt with: the answer to the caller's previous request, or nothing."""

    previous_message_id: Annotated[str, Field(max_length=256)] | None = None


class Thinking(Wire):
    """Thinking can be switched off explicitly; the other forms come with a later edition."""

    type: Literal["disabled"]


def _supported_thinking(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("enabled", "adaptive", "between_tools"):
        raise PydanticCustomError(
            "thinking_unsupported",
            "thinking of type '{kind}' is not supported by this server yet; accepted: disabled",
            {"kind": kind},
        )
    return value


def _supported_speed(value: Any) -> Any:
    if value == "fast":
        raise PydanticCustomError(
            "speed_unsupported", "this server has one speed; accepted: standard"
        )
    return value


class Prompt(Wire):
    """What a model reads: the part of a request that counting and inference share."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[
        list[MessageParam], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    system: Blocks | None = None
    output_config: OutputConfig | None = None
    thinking: Annotated[Thinking, BeforeValidator(_supported_thinking)] | None = None
    cache_control: CacheControl | None = None
    speed: Annotated[Literal["standard"], BeforeValidator(_supported_speed)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in (n for n in value if n in UNSUPPORTED_FIELDS):
            if value[name] not in (None, []):  # an empty list asks for nothing
                raise PydanticCustomError(
                    "field_unsupported",
                    "{name}: {why}",
                    {"name": name, "why": UNSUPPORTED_FIELDS[name]},
                )
        return {k: v for k, v in value.items() if k not in UNSUPPORTED_FIELDS}


class CountRequest(Prompt):
    """`POST /v1/messages/count_tokens`."""


class MessagesRequest(Prompt):
    """`POST /v1/messages`: the request of every edge, and what every backend receives."""

    max_tokens: Annotated[int, Field(ge=0, le=MAX_OUTPUT_TOKENS)]
    stop_sequences: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, max_length=8_191
    )
    stream: bool = False
    temperature: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    diagnostics: DiagnosticsParam | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if isinstance(value, dict):
            optional = ("stop_sequences", "stream")
            return {k: v for k, v in value.items() if v is not None or k not in optional}
        return value


def _no_form(value: Any) -> Any:
    if value is None:
        return None
    raise PydanticCustomError(
        "form_unsupported", "a score has no answer to be given a form; leave it out"
    )


class ScoreRequest(Prompt):
    """`POST /v1/renga/score`: how likely are these texts as the beginning of the answer?"""

    continuations: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_CONTINUATIONS, fail_fast=True),
    ]
    output_config: Annotated[None, BeforeValidator(_no_form)] = None


def ignored_fields(request: Prompt) -> list[str]:
    """Names of the fields in `request` that no backend honours, in a fixed order."""
    told = isinstance(request, MessagesRequest) and request.metadata is not None
    return ["metadata"] if told else []


# --- answers --------------------------------------------------------------------------------------


class TextBlock(Wire):
    """Text that the model wrote."""

    type: Literal["text"] = "text"
    text: str
    citations: None = None


class ThinkingBlock(Wire):
    """Thinking that the model wrote, signed."""

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str


class RedactedThinkingBlock(Wire):
    """Thinking that only its origin can read."""

    type: Literal["redacted_thinking"] = "redacted_thinking"
    data: str


class DirectCaller(Wire):
    """Who called a tool: the model itself."""

    type: Literal["direct"] = "direct"


class ToolUseBlock(Wire):
    """A tool call that the model asks for."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]
    caller: DirectCaller | None = None


ContentBlock = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock, Field(discriminator="type")
]

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]


# Tokens; the bound is the ledger's, so that no backend can report what cannot be booked.
Count = Annotated[int, Field(ge=0, le=10**9)]


class CacheCreation(Wire):
    """Cache writes by time to live, in tokens."""

    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class OutputDetails(Wire):
    """What the output tokens were spent on."""

    thinking_tokens: Count = 0


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


class Message(Wire):
    """A whole answer; always made by folding events."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None
    diagnostics: Diagnostics | None = None
    usage: Usage


class TokenCount(Wire):
    """The answer of count_tokens."""

    input_tokens: Count


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


# --- models ---------------------------------------------------------------------------------------


class ModelInfo(Wire):
    """One entry of `/v1/models`. `renga` says what truly serves the tier."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    line: Literal["haiku", "sonnet", "opus"]
    deprecated_at: str | None = None
    retires_at: str | None = None
    max_input_tokens: int | None
    """None while nothing was loaded that could say."""
    max_tokens: int
    capabilities: dict[str, Any]
    renga: dict[str, Any]


class ModelPage(Wire):
    """One page of models, newest first."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None
