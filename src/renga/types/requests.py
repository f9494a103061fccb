"""Requests: a prompt, and what is asked of it.

Owns the fields of every request, which fields of the API are refused by name, and that older
spellings become the newest one: `output_format` and `response_format` are `output_config.format`,
thinking of type `extended` is `enabled`. How fields go together is `renga.conversation`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
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

from renga.types.blocks import Blocks, CacheControl, SystemBlocks, TextParam
from renga.types.tools import MAX_TOOLS, Tool, ToolChoice
from renga.types.wire import Flag, Wire, known_types, only_null, refusal, type_of

MAX_MESSAGES = 100_000  # "Limits" of the API's Messages reference
MAX_OUTPUT_TOKENS = 128_000
MAX_CONTINUATIONS = 1_000  # of one score; ours
LEAST_BUDGET = 1_024  # tokens of thinking: "Extended thinking" of the API's documentation

# Top-level fields of the API that a later edition honours. Sent with a value other than null they
# are a 400 that names them; the sentence says what to do instead, where there is something.
UNSUPPORTED_FIELDS: dict[str, str] = {
    "container": "containers are not supported by this server",
    "inference_geo": "this server runs in one place; leave it out",
    "mcp_servers": "MCP servers are not supported by this server; leave it out",
    "thread": "server-held threads are not supported by this server; send the whole conversation",
    "fallbacks": "refusal fallbacks are not supported by this server; leave it out",
    "fallback_credit_token": "refusal fallbacks are not supported by this server; leave it out",
    "billing_policy": "billing policies are not supported by this server; leave it out",
    "user_profile_id": "user profiles are not supported by this server; leave it out",
    "workspace_id": "the workspace is the key's; leave it out",
}

# What the API calls a refusal of such a field, where clients act on it: the official tool runner
# asks for a thread first, and sends the whole conversation once it reads this.
UNSUPPORTED_CODES: dict[str, str] = {"thread": "thread_unsupported_request"}

# Accepted, without effect on the answer, and listed in the `renga-ignored` header.
IGNORED_FIELDS: dict[str, str] = {
    "cache_control": "on backends without a prompt cache (`scripted`); cache counters stay 0 there",
    "metadata": "recorded nowhere",
}

Effort = Literal["low", "medium", "high", "xhigh", "max"]


# --- turns ----------------------------------------------------------------------------------------


class SystemOutputConfig(Wire):
    """What a system message in mid-conversation changes about the answers after it."""

    effort: Effort | None = None


class MessageParam(Wire):
    """One message of the conversation.

    `clear_at` and `output_config` may stand on system messages alone: how long the text is shown,
    and the effort from there on.
    """

    role: Literal["user", "assistant", "system"]
    content: Blocks
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: SystemOutputConfig | None = None

    @field_validator("content")
    @classmethod
    def _not_empty(cls, content: Any, turn: ValidationInfo) -> Any:
        role = turn.data.get("role")
        if role not in ("user", "system"):
            return content
        if not content:
            if role == "system":
                return content  # it may bring an output_config alone
            raise PydanticCustomError("content_empty", "user messages must have non-empty content")
        if not any(not isinstance(block, TextParam) or block.text.strip() for block in content):
            raise PydanticCustomError(
                "content_empty", "text content blocks must contain non-whitespace text"
            )
        return content


# --- forms of an answer ---------------------------------------------------------------------------


class JsonFormat(Wire):
    """`output_config.format`: the answer is JSON that the schema accepts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class JsonObjectFormat(Wire):
    """The answer is some JSON object. Not the API's; clients of others send it."""

    type: Literal["json_object"]


class RegexFormat(Wire):
    """renga's own: the answer is a text that the regular expression matches whole."""

    type: Literal["regex"]
    pattern: str


class ChoiceFormat(Wire):
    """renga's own: the answer is one of the strings."""

    type: Literal["choice"]
    choices: list[str]


AnyFormat = JsonFormat | JsonObjectFormat | RegexFormat | ChoiceFormat
Format = Annotated[
    Annotated[JsonFormat, Tag("json_schema")]
    | Annotated[JsonObjectFormat, Tag("json_object")]
    | Annotated[RegexFormat, Tag("regex")]
    | Annotated[ChoiceFormat, Tag("choice")],
    Discriminator(
        type_of,
        custom_error_type="format_unknown",
        custom_error_message=(
            "its type is missing or none of json_schema, json_object, regex, choice"
        ),
    ),
]


class NamedSchema(Wire):
    """The schema of a `response_format`, by its other dialect's fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    json_schema: dict[str, Any] = Field(alias="schema")
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class NamedSchemaFormat(Wire):
    """`response_format` with a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class PlainFormat(Wire):
    """`response_format` that asks for nothing."""

    type: Literal["text"]


ResponseFormat = Annotated[
    Annotated[NamedSchemaFormat, Tag("json_schema")]
    | Annotated[JsonObjectFormat, Tag("json_object")]
    | Annotated[PlainFormat, Tag("text")],
    Discriminator(
        type_of,
        custom_error_type="format_unknown",
        custom_error_message="its type is missing or none of json_schema, json_object, text",
    ),
]


class OutputConfig(Wire):
    """How the answer is to look, and how much work it is worth."""

    format: Format | None = None
    effort: Effort | None = None
    task_budget: only_null(  # type: ignore[valid-type]
        "task budgets are not supported by this server yet; leave it out"
    ) = None


# --- thinking -------------------------------------------------------------------------------------

Display = Literal["summarized", "omitted"]


class ThinkingEnabled(Wire):
    """The model thinks, `budget_tokens` at most."""

    type: Literal["enabled"] = "enabled"
    budget_tokens: Annotated[int, Field(ge=LEAST_BUDGET)]
    display: Display | None = None


class ThinkingAdaptive(Wire):
    """The model thinks as much as the effort is worth."""

    type: Literal["adaptive"] = "adaptive"
    display: Display | None = None


class ThinkingDisabled(Wire):
    """The model does not think."""

    type: Literal["disabled"] = "disabled"


def _newest_thinking(value: Any) -> Any:
    """`extended` with a `budget`, as some clients spell `enabled`."""
    if not isinstance(value, dict) or value.get("type") != "extended":
        return value
    renamed = {"budget_tokens" if k == "budget" else k: v for k, v in value.items()}
    return renamed | {"type": "enabled"}


Thinking = Annotated[
    Annotated[ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled, Discriminator("type")],
    BeforeValidator(_newest_thinking),
    known_types(
        "thinking",
        ("enabled", "adaptive", "disabled", "extended"),
        {"between_tools": '"thinking.type.between_tools" is not supported for this model'},
    ),
]


# --- edits of the context -------------------------------------------------------------------------

Some = Annotated[int, Field(ge=0, le=10**9)]
LEAST_COMPACTION = 50_000  # input tokens: the API's least trigger


class InputTokens(Wire):
    """So many tokens of input."""

    type: Literal["input_tokens"] = "input_tokens"
    value: Some


class ToolUses(Wire):
    """So many calls of tools."""

    type: Literal["tool_uses"] = "tool_uses"
    value: Some


class ThinkingTurns(Wire):
    """So many turns of the assistant with thinking, the newest."""

    type: Literal["thinking_turns"] = "thinking_turns"
    value: Annotated[int, Field(ge=1, le=10**9)]


class AllTurns(Wire):
    """All of them."""

    type: Literal["all"] = "all"


def _all_is_an_object(value: Any) -> Any:
    return {"type": "all"} if value == "all" else value


class ClearToolUses(Wire):
    """Old results of tools are left out once the prompt is past `trigger`."""

    type: Literal["clear_tool_uses_20250919"] = "clear_tool_uses_20250919"
    trigger: Annotated[InputTokens | ToolUses, Discriminator("type")] | None = None
    keep: ToolUses | None = None
    clear_at_least: InputTokens | None = None
    exclude_tools: list[str] | None = None
    clear_tool_inputs: bool | list[str] | None = None


class ClearThinking(Wire):
    """Thinking of earlier turns is left out, but for those kept."""

    type: Literal["clear_thinking_20251015"] = "clear_thinking_20251015"
    keep: (
        Annotated[
            Annotated[ThinkingTurns | AllTurns, Discriminator("type")],
            BeforeValidator(_all_is_an_object),
        ]
        | None
    ) = None


class CompactionTrigger(Wire):
    """So many tokens of input, not fewer than the API takes."""

    type: Literal["input_tokens"] = "input_tokens"
    value: Annotated[int, Field(ge=LEAST_COMPACTION, le=10**9)]


class Compact(Wire):
    """The conversation is summarised once the prompt is past `trigger`."""

    type: Literal["compact_20260112"] = "compact_20260112"
    trigger: CompactionTrigger | None = None
    instructions: str | None = None
    pause_after_compaction: Flag = False


Edit = Annotated[
    Annotated[ClearToolUses | ClearThinking | Compact, Discriminator("type")],
    known_types(
        "edit",
        ("clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112"),
        {},
    ),
]


class ContextManagement(Wire):
    """What is left out of a long prompt before the model reads it."""

    edits: Annotated[list[Edit], Field(max_length=16)] = Field(default_factory=list)


class Compaction(Wire):
    """The whole request is a summary of its conversation. Blank `instructions` count as absent."""

    type: Literal["summarize"] = "summarize"
    instructions: str | None = None


# --- requests -------------------------------------------------------------------------------------


class Metadata(Wire):
    """What the caller tells about the request. Accepted; see IGNORED_FIELDS."""

    user_id: Annotated[str, Field(max_length=512)] | None = None


class DiagnosticsParam(Wire):
    """What to compare the prompt with: the answer to the caller's previous request, or nothing."""

    previous_message_id: Annotated[str, Field(max_length=256)] | None = None


def _supported_speed(value: Any) -> Any:
    if value == "fast":
        raise refusal("unsupported", "this server has one speed; accepted: standard")
    return value


def _empty_is_absent(value: Any) -> Any:
    return None if value == [] else value


class Prompt(Wire):
    """What a model reads: the part of a request that counting and inference share.

    `output_format` and `response_format` are None once it is made: see `output_config.format`.
    """

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[
        list[MessageParam], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    system: SystemBlocks | None = None
    tools: (
        Annotated[
            list[Tool],
            Field(max_length=MAX_TOOLS, fail_fast=True),
        ]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    thinking: Thinking | None = None
    context_management: ContextManagement | None = None
    compaction: Compaction | None = None
    cache_control: CacheControl | None = None
    speed: Annotated[Literal["standard"], BeforeValidator(_supported_speed)] | None = None
    output_format: Format | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in (n for n in value if n in UNSUPPORTED_FIELDS):
            if value[name] not in (None, []):  # an empty list asks for nothing
                sentence = f"{name}: {UNSUPPORTED_FIELDS[name]}"
                raise refusal("unsupported", sentence, UNSUPPORTED_CODES.get(name))
        return {
            k: v
            for k, v in value.items()
            if k not in UNSUPPORTED_FIELDS and not (k == "tools" and v == [])
        }

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        """The form of the answer in its one place, wherever it was written."""
        if self.output_format is None and self.response_format is None:
            return self
        own = self.output_config.format if self.output_config else None
        given = {
            "output_config.format": own,
            "output_format": self.output_format,
            "response_format": _of_response(self.response_format),
        }
        told = {name: form for name, form in given.items() if form is not None}
        names, forms = list(told), list(told.values())
        for name, form in zip(names[1:], forms[1:], strict=True):
            if form != forms[0]:
                raise refusal("unsupported", f"{name}: differs from `{names[0]}`; send one of them")
        config = self.output_config or OutputConfig()
        chosen = config.model_copy(update={"format": forms[0]}) if forms else self.output_config
        # Frozen towards everybody else; here it is being made.
        self.__dict__.update(output_config=chosen, output_format=None, response_format=None)
        return self


def _of_response(form: Any) -> AnyFormat | None:
    if isinstance(form, NamedSchemaFormat):
        return JsonFormat(type="json_schema", schema=form.json_schema.json_schema)
    return form if isinstance(form, JsonObjectFormat) else None


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


_NO_FORM = "a score has no answer to be given a form; leave it out"


class ScoreRequest(Prompt):
    """`POST /v1/renga/score`: how likely are these texts as the beginning of the answer?"""

    continuations: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_CONTINUATIONS, fail_fast=True),
    ]
    choice: Flag = False
    output_config: only_null(_NO_FORM) = None  # type: ignore[valid-type]
    output_format: only_null(_NO_FORM) = None  # type: ignore[valid-type]
    response_format: only_null(_NO_FORM) = None  # type: ignore[valid-type]
    tool_choice: only_null(  # type: ignore[valid-type]
        "a score is of texts, not of calls; leave it out"
    ) = None
    thinking: (
        Annotated[
            ThinkingDisabled,
            known_types(
                "thinking",
                ("disabled",),
                dict.fromkeys(("enabled", "adaptive", "extended"), "a score is without thinking"),
            ),
        ]
        | None
    ) = None
    compaction: only_null("a score has no summary; leave it out") = None  # type: ignore[valid-type]


def ignored_fields(request: Prompt) -> list[str]:
    """Names of the fields in `request` that no backend honours, in a fixed order."""
    told = isinstance(request, MessagesRequest) and request.metadata is not None
    return ["metadata"] if told else []
