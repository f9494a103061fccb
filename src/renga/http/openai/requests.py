"""OpenAI's chat request: its fields, and what becomes of each.

Owns which of them are honoured (the fields of `ChatRequest`), refused by name (`REFUSED`) and
accepted without effect (`IGNORED`). What they mean in the Messages vocabulary is
`renga.http.openai.translation`.

Source of fields: the types of the official `openai` package, 3.54, and for `reasoning_content` and
`top_k` what servers of open models take beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from renga.types import MAX_MESSAGES, MAX_OUTPUT_TOKENS, Wire
from renga.types.tuned import MOST_LOGPROBS

# Sent with another value than the harmless ones beside it, a field is a 400 with the sentence.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "audio": ((None,), "this server makes no sound; leave it out"),
    "function_call": ((None, "none"), "use `tool_choice`"),
    "functions": ((None, []), "use `tools`"),
    "logit_bias": ((None, {}), "its token ids are those of other models; leave it out"),
    "modalities": ((None, [], ["text"]), "this server answers in text; accepted: ['text']"),
    "moderation": ((None,), "this server has no moderation; leave it out"),
    "n": ((None, 1), "one answer a request; accepted: 1"),
    "web_search_options": ((None,), "this server does not search the web; leave it out"),
}

# Accepted, without effect on the answer, and listed in the `renga-ignored` header. The values are
# those that ask for nothing; a field with one of them is not listed.
IGNORED: dict[str, tuple[tuple[Any, ...], str]] = {
    "frequency_penalty": ((None, 0), "what a model repeats is its own"),
    "metadata": ((None, {}), "recorded nowhere"),
    "prediction": ((None,), "guesses come from the prompt by themselves"),
    "presence_penalty": ((None, 0), "what a model repeats is its own"),
    "prompt_cache_key": ((None,), "every workspace has its cache, found by what a prompt is"),
    "prompt_cache_options": ((None, {}), "see `prompt_cache_breakpoint`"),
    "prompt_cache_retention": ((None,), "see `prompt_cache_breakpoint`"),
    "safety_identifier": ((None,), "recorded nowhere"),
    "service_tier": ((None, "auto", "default"), "there is one service; the answer is `default`"),
    "store": ((None, False), "answers are not kept"),
    "user": ((None,), "recorded nowhere"),
    "verbosity": ((None, "medium"), "ask for it in words"),
}

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def _refusal(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("value_unsupported", "{sentence}", {"sentence": sentence})


def _only_null(sentence: str) -> Any:
    def check(value: Any) -> Any:
        if value is None:
            return None
        raise _refusal(sentence)

    return Annotated[None, BeforeValidator(check, json_schema_input_type=None)]


def _known(what: str, accepted: tuple[str, ...], refused: Mapping[str, str]) -> BeforeValidator:
    """Of one object of a union, refused by its `type`."""

    def check(value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in accepted:
            return value
        why = refused.get(kind, f"unknown {what} '{kind[:100]}'")
        raise _refusal(f"{why}; accepted: {', '.join(accepted)}")

    return BeforeValidator(check)


# --- parts of messages ----------------------------------------------------------------------------


class CacheBreakpoint(Wire):
    """The prompt is worth keeping up to here."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class TextPart(Wire):
    """Text of a message."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class RefusalPart(Wire):
    """What a model said instead of an answer: read as the text that it is."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(Wire):
    """Where an image is: in a `data:` URL, or where the server may fetch it."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Wire):
    """An image of the user's."""

    type: Literal["image_url"]
    image_url: ImageUrl
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class FileData(Wire):
    """A file: in a `data:` URL, or one that was uploaded to this server."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.file_data is None) == (self.file_id is None):
            raise _refusal("one of `file_data` and `file_id` is expected")
        return self


class FilePart(Wire):
    """A document of the user's."""

    type: Literal["file"]
    file: FileData
    prompt_cache_breakpoint: CacheBreakpoint | None = None


_SOUND = {"input_audio": "sound is not supported by this server"}
_OF_USERS = {
    "image_url": "an image stands in a message of the user",
    "file": "a file stands in a message of the user",
}
_MEDIA = _SOUND | _OF_USERS
Shown = Annotated[
    Annotated[TextPart | ImagePart | FilePart, Discriminator("type")],
    _known("content part", ("text", "image_url", "file"), _SOUND),
]
Text = Annotated[TextPart, _known("content part", ("text",), _MEDIA)]
Said = Annotated[
    Annotated[TextPart | RefusalPart, Discriminator("type")],
    _known("content part", ("text", "refusal"), _MEDIA),
]


def _string_or_parts(value: Any) -> Any:
    if isinstance(value, str | list):
        return value
    raise PydanticCustomError("content_type", "Input should be a string or a list of content parts")


def _kind(value: Any) -> str:
    return "parts" if isinstance(value, list) else "string"


def _content(part: Any) -> Any:
    """A string or a list of `part`; the one that was written is judged, and not the other too."""
    parts = Annotated[list[part], Field(fail_fast=True)]
    tagged = Annotated[str, Tag("string")] | Annotated[parts, Tag("parts")]
    return Annotated[tagged, Discriminator(_kind), BeforeValidator(_string_or_parts)]


Content = _content(Text)
ShownContent = _content(Shown)
SaidContent = _content(Said)


class Function(Wire):
    """A call: a name, and its arguments as JSON text."""

    name: str
    arguments: str
    parsed_arguments: Any = None
    """What the official package's `parse` leaves in a call that is sent back."""


class ToolCall(Wire):
    """A call that the model made in an earlier answer."""

    type: Literal["function"] = "function"
    id: str
    function: Function
    index: int | None = None
    """Its number in a stream, where a client sends back what it put together of one."""


class SystemMessage(Wire):
    """What the operator says."""

    role: Literal["system", "developer"]
    content: Content  # type: ignore[valid-type]
    name: str | None = None


class UserMessage(Wire):
    """What the user says and shows."""

    role: Literal["user"]
    content: ShownContent  # type: ignore[valid-type]
    name: str | None = None


class AssistantMessage(Wire):
    """What the model said: also as an answer of ours comes back."""

    role: Literal["assistant"]
    content: SaidContent | None = None  # type: ignore[valid-type]
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning_signature: str | None = None
    name: str | None = None
    annotations: Any = None
    parsed: Any = None
    audio: _only_null("sound is not supported by this server") = None  # type: ignore[valid-type]
    function_call: _only_null("use `tool_calls`") = None  # type: ignore[valid-type]


class ToolMessage(Wire):
    """What a tool said to a call."""

    role: Literal["tool"]
    content: Content  # type: ignore[valid-type]
    tool_call_id: str
    name: str | None = None


_ROLES = ("system", "developer", "user", "assistant", "tool")


def _known_role(value: Any) -> Any:
    role = value.get("role") if isinstance(value, dict) else None
    if not isinstance(role, str) or role in _ROLES:
        return value
    why = "use role `tool`" if role == "function" else f"unknown role '{role[:100]}'"
    raise _refusal(f"{why}; accepted: {', '.join(_ROLES)}")


Message = Annotated[
    Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Discriminator("role")],
    BeforeValidator(_known_role),
]


# --- tools and forms ------------------------------------------------------------------------------


class FunctionTool(Wire):
    """What can be called."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Wire):
    """A tool: a function, the one kind there is here."""

    type: Literal["function"]
    function: FunctionTool


class FunctionName(Wire):
    """The name of a function."""

    name: str


_CUSTOM = {"custom": "custom tools are not supported by this server; use a function"}
Tools = Annotated[
    list[Annotated[Tool, _known("tool", ("function",), _CUSTOM)]], Field(fail_fast=True)
]


class FunctionChoice(Wire):
    """That function and no other."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(Wire):
    """Those of the tools that may be called; `required` is one of them at least."""

    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[FunctionChoice, _known("tool", ("function",), _CUSTOM)]],
        Field(min_length=1, fail_fast=True),
    ]


class AllowedChoice(Wire):
    """Some of the tools and no others."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _choice(value: Any) -> Any:
    if value is None or isinstance(value, dict) or value in ("none", "auto", "required"):
        return value
    raise PydanticCustomError(
        "choice_type", "Input should be 'none', 'auto', 'required' or an object naming a function"
    )


def _choice_kind(value: Any) -> str:
    return "word" if isinstance(value, str) else "object"


_ChoiceObject = Annotated[FunctionChoice | AllowedChoice, Discriminator("type")]
_AnyChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")]
    | Annotated[_ChoiceObject, Tag("object")],
    Discriminator(_choice_kind),
]
ToolChoice = Annotated[
    _AnyChoice | None,
    BeforeValidator(_choice),
    _known("tool choice", ("function", "allowed_tools"), _CUSTOM),
]


class TextFormat(Wire):
    """Text, as without a format."""

    type: Literal["text"]


class ObjectFormat(Wire):
    """Some JSON object."""

    type: Literal["json_object"]


class AnswerSchema(Wire):
    """A JSON Schema; its name and its description are for people."""

    name: str
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None
    """Answers follow the schema in any case."""


class SchemaFormat(Wire):
    """JSON that the schema accepts."""

    type: Literal["json_schema"]
    json_schema: AnswerSchema


Format = Annotated[
    Annotated[TextFormat | ObjectFormat | SchemaFormat, Discriminator("type")],
    _known("format", ("text", "json_object", "json_schema"), {}),
]


class StreamOptions(Wire):
    """`include_usage` sends the usage before the end, `continuous_usage_stats` with each chunk.

    The latter is vLLM's, and says of the answer how many pieces of it were sent so far.
    """

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None
    """Without effect: answers are not padded."""


Positive = Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)]


class ChatRequest(Wire):
    """`POST /v1/chat/completions`: what of it is honoured. Null is as good as absent."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    max_completion_tokens: Positive | None = None
    max_tokens: Positive | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    reasoning_effort: Effort | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in (n for n in value if n in REFUSED):
            harmless, why = REFUSED[name]
            if value[name] not in harmless or isinstance(value[name], bool):
                raise PydanticCustomError(
                    "field_unsupported", "{name}: {why}", {"name": name, "why": why}
                )
        return {k: v for k, v in value.items() if k not in REFUSED and k not in IGNORED}


def ignored_in(body: Mapping[str, Any]) -> list[str]:
    """Fields of a request that ask for something and have no effect."""
    found = [name for name in IGNORED if name in body and body[name] not in IGNORED[name][0]]
    turns = body.get("messages")
    if isinstance(turns, list) and any(isinstance(t, dict) and t.get("name") for t in turns):
        found.append("messages.name")
    if isinstance(turns, list) and any(map(_wants_detail, turns)):
        found.append("messages.content.image_url.detail")
    return found


def _wants_detail(message: Any) -> bool:
    """Whether a message says how closely an image is to be looked at."""
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else ()
    images = (part.get("image_url") for part in parts if isinstance(part, dict))
    return any(isinstance(i, dict) and i.get("detail") not in (None, "auto") for i in images)
