"""A request as another server of the Messages API is sent it.

Owns what of a request stays here. Layers have done their work by now: edits of the context,
compaction, searches for tools, citations and diagnostics are not asked for again. Thinking goes out
with the signature that this server gave it; what another one signed, or nobody, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar, cast

from renga.toolkit import ToolSpec, specs_of
from renga.types import (
    AnyBlockParam,
    AnyResultParam,
    Base64Pdf,
    ComputerTool,
    CustomTool,
    DocumentParam,
    FiledPdf,
    FiledText,
    MessageParam,
    MessagesRequest,
    PlainText,
    Prompt,
    RedactedThinkingParam,
    SearchResultParam,
    TextParam,
    ThinkingParam,
    Tool,
    ToolResultParam,
    ToolSearchTool,
    ToolUseParam,
)

Asked = TypeVar("Asked", bound=Prompt)

_PROMPT: Final = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "output_config",
    "thinking",
    "cache_control",
)
_ASKED: Final = frozenset(
    (
        *_PROMPT,
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "metadata",
        "service_tier",
    )
)
_COUNTED: Final = frozenset(_PROMPT)

# Tools that the API has behind a beta, and which.
_BETAS: Final = {
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
}


def body_of(request: MessagesRequest, model: str, backend: str) -> bytes:
    """The body of `POST /v1/messages` for `model`, as it is called there."""
    include = set(_ASKED)
    if request.stream:
        include.add("stream")
    if request.stop_sequences:
        include.add("stop_sequences")
    return _written(_readable(request, model, backend), include)


def counting_body_of(request: Prompt, model: str, backend: str) -> bytes:
    """The body of `POST /v1/messages/count_tokens`."""
    return _written(_readable(request, model, backend), set(_COUNTED))


def betas_for(request: Prompt) -> list[str]:
    """The betas that the server must hear of to take the request."""
    kinds = [tool.type for tool in request.tools or () if isinstance(tool, ComputerTool)]
    return list(dict.fromkeys(_BETAS[kind] for kind in kinds))


def mark(backend: str) -> str:
    """What stands before all that `backend` signed, so that it is known again."""
    return f"{backend}:"


def _written(request: Prompt, include: set[str]) -> bytes:
    return request.model_dump_json(include=include, exclude_none=True, by_alias=True).encode()


def _readable(request: Asked, model: str, backend: str) -> Asked:
    """`request` under the model's name there, with what the server can read of it."""
    changes: dict[str, Any] = {"model": model}
    messages = [_message(message, mark(backend)) for message in request.messages]
    if any(new is not old for new, old in zip(messages, request.messages, strict=True)):
        changes["messages"] = [m for m in messages if m.content or m.output_config]
    tools = request.tools or []
    if any(isinstance(tool, ToolSearchTool) for tool in tools):
        changes["tools"] = _without_search(tools, specs_of(request))
    return request.model_copy(update=changes)


def _without_search(tools: Sequence[Tool], specs: Iterable[ToolSpec]) -> list[Tool]:
    """Searches as tools like others: those who call them are answered here."""
    searches = {spec.name: spec for spec in specs if spec.searches}
    return [
        CustomTool(
            name=tool.name,
            description=searches[tool.name].description,
            input_schema=searches[tool.name].schema,
            cache_control=tool.cache_control,
        )
        if isinstance(tool, ToolSearchTool)
        else tool
        for tool in tools
    ]


def _message(message: MessageParam, mark: str) -> MessageParam:
    """`message` itself where nothing in it changes."""
    content = [_block(block, mark) for block in message.content]
    if all(new is old for new, old in zip(content, message.content, strict=True)):
        return message
    return message.model_copy(update={"content": [b for b in content if b is not None]})


def _block(block: AnyBlockParam, mark: str) -> AnyBlockParam | None:
    match block:
        case TextParam() | DocumentParam() | SearchResultParam():
            return _plain(block)
        case ThinkingParam(signature=signature):
            own = signature.startswith(mark)
            signature = signature.removeprefix(mark)
            return block.model_copy(update={"signature": signature}) if own else None
        case RedactedThinkingParam(data=data):
            own = data.startswith(mark)
            return block.model_copy(update={"data": data.removeprefix(mark)}) if own else None
        case ToolUseParam(caller=caller) if caller is not None:
            return block.model_copy(update={"caller": None})  # itself, as where nothing is said
        case ToolResultParam(content=content):
            inner = [_plain(one) for one in content]
            if all(new is old for new, old in zip(inner, content, strict=True)):
                return block
            return block.model_copy(update={"content": inner})
        case _:
            return block


Plain = TypeVar("Plain", bound=AnyBlockParam | AnyResultParam)


def _plain(block: Plain) -> Plain:
    """A block without citations, which are found here, and with its file's content alone."""
    changes: dict[str, Any] = {}
    if isinstance(block, TextParam | DocumentParam | SearchResultParam) and block.citations:
        changes["citations"] = None
    if isinstance(block, DocumentParam):
        source = block.source
        if isinstance(source, FiledPdf):
            changes["source"] = Base64Pdf(media_type=source.media_type, data=source.data)
        elif isinstance(source, FiledText):
            changes["source"] = PlainText(media_type=source.media_type, data=source.data)
    return cast(Plain, block.model_copy(update=changes)) if changes else block
