"""A conversation as it was sent, rewritten to what a model can read.

Owns three rules of the API: everything before a compaction block is gone, and its summary stands in
its place; tools that were in view there stay in view; and a search for tools that the server made
is a call and its result. What comes out
holds texts, thinking, calls and results (of texts and references) alone. It is a pure function:
equal beginnings stay equal beginnings. Knows no tokens and no templates.

Source: "Compaction" and "Tool search tool" of the API's documentation, and the error codes of the
official `anthropic` package, 2.12.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from renga.errors import InvalidRequest
from renga.toolkit.specs import specs_of, visible
from renga.types import (
    AnyBlockParam,
    AnyResultParam,
    CompactionParam,
    FoundTools,
    MessageParam,
    Prompt,
    ServerToolUseParam,
    TextParam,
    ToolReferenceParam,
    ToolResultParam,
    ToolSearchResultParam,
    ToolUseParam,
)

Asked = TypeVar("Asked", bound=Prompt)

SUMMARY: Final = "This is a summary of the conversation so far:\n\n{summary}"
NOTHING_FOUND: Final = "No tool was found."
IN_VIEW: Final = "srvtoolu_in_view"
"""The call whose result holds the tools that were in view when a summary was written."""

_VIEW: Final = "rg1."

_EXPANDED: Final = (CompactionParam, ServerToolUseParam, ToolSearchResultParam)


def expanded(prompt: Asked) -> Asked:
    """`prompt` without blocks that stand for something else; itself where it has none.

    Raises:
        InvalidRequest: a search lacks its result.
    """
    if not any(isinstance(b, _EXPANDED) for m in prompt.messages for b in m.content):
        return prompt
    messages = [
        written
        for i, message in enumerate(prompt.messages)
        for written in _written(message, f"messages.{i}.content")
    ]
    return prompt.model_copy(update={"messages": _after_compaction(messages, prompt)})


# --- searches -------------------------------------------------------------------------------------


def _written(message: MessageParam, path: str) -> Iterator[MessageParam]:
    """`message` as the turns that it holds: a search is a call, its result is the user's turn.

    Calls of the caller's tools are answered in the caller's next message, so they stand last.
    """
    held: list[AnyBlockParam] = []
    waiting: list[AnyBlockParam] = []
    called: ServerToolUseParam | None = None
    for i, block in enumerate(message.content):
        if isinstance(block, ToolSearchResultParam):
            if called is None or called.id != block.tool_use_id:
                raise InvalidRequest(
                    f"{path}.{i}.tool_use_id: '{block.tool_use_id}' is no `server_tool_use` just "
                    "before it"
                )
            waiting += [other for other in held if isinstance(other, ToolUseParam)]
            before = [other for other in held if not isinstance(other, ToolUseParam)]
            yield _message("assistant", [*before, _call(called)])
            yield _message("user", [_result(block)])
            held, called = [], None
        elif called is not None:
            break
        elif isinstance(block, ServerToolUseParam):
            called = block
        else:
            held.append(block)
    if called is not None:
        raise InvalidRequest(
            f"{path}: `server_tool_use` '{called.id}' was found without its "
            "`tool_search_tool_result` immediately after"
        )
    if held or waiting or not message.content:
        yield message.model_copy(update={"content": [*held, *waiting]})


def _message(role: str, content: Sequence[AnyBlockParam]) -> MessageParam:
    return MessageParam.model_construct(role=role, content=list(content))


def _call(block: ServerToolUseParam) -> ToolUseParam:
    return ToolUseParam.model_construct(
        type="tool_use",
        id=block.id,
        name=block.name,
        input=block.input,
        cache_control=block.cache_control,
    )


def _result(block: ToolSearchResultParam) -> ToolResultParam:
    found = block.content
    content: list[AnyResultParam]
    if isinstance(found, FoundTools):
        content = list(found.tool_references) or [TextParam(text=NOTHING_FOUND)]
    else:
        content = [TextParam(text=found.error_message or found.error_code)]
    return ToolResultParam.model_construct(
        type="tool_result",
        tool_use_id=block.tool_use_id,
        content=content,
        is_error=not isinstance(found, FoundTools),
        cache_control=block.cache_control,
    )


# --- compaction -----------------------------------------------------------------------------------


def _after_compaction(messages: Sequence[MessageParam], prompt: Prompt) -> list[MessageParam]:
    """The newest summary as the user's first words, and what follows it; failed ones are left."""
    for i in range(len(messages) - 1, -1, -1):
        content = messages[i].content
        for j in range(len(content) - 1, -1, -1):
            block = content[j]
            if isinstance(block, CompactionParam) and block.content is not None:
                rest = messages[i].model_copy(update={"content": _kept(content[j + 1 :])})
                behind = [_without_failed(message) for message in messages[i + 1 :]]
                return [*_summed_up(block, prompt), *([rest] if rest.content else []), *behind]
    return [_without_failed(message) for message in messages]


def _summed_up(block: CompactionParam, prompt: Prompt) -> Iterator[MessageParam]:
    """A summary as the model reads it, with the mark of its block, and the tools then in view."""
    text = SUMMARY.format(summary=block.content)
    yield _message("user", [TextParam(text=text, cache_control=block.cache_control)])
    search, names = _read_view(block.encrypted_content)
    known = {spec.name for spec in specs_of(prompt) if spec.deferred} if names else set()
    found = [ToolReferenceParam(tool_name=name) for name in names if name in known]
    if found and search:
        call = ToolUseParam.model_construct(type="tool_use", id=IN_VIEW, name=search, input={})
        yield _message("assistant", [call])
        result = ToolResultParam.model_construct(
            type="tool_result", tool_use_id=IN_VIEW, content=found, is_error=False
        )
        yield _message("user", [result])


def view_of(prompt: Prompt) -> str | None:
    """What a compaction block is to bring back beside its summary; None where there is nothing.

    That is which deferred tools are in view, and which tool found them. It says nothing that the
    caller did not say, and is opaque only so that nobody depends on its form.
    """
    names = [spec.name for spec in visible(prompt) if spec.deferred]
    if not names:
        return None
    blocks = [block for message in prompt.messages for block in message.content]
    callers = {block.id: block.name for block in blocks if isinstance(block, ToolUseParam)}
    finds = (
        callers.get(block.tool_use_id, "")
        for block in blocks
        if isinstance(block, ToolResultParam)
        and any(isinstance(inner, ToolReferenceParam) for inner in block.content)
    )
    search = next(finds, "")
    said = json.dumps([search, *names], separators=(",", ":")).encode()
    return _VIEW + base64.urlsafe_b64encode(said).decode()


def _read_view(said: str | None) -> tuple[str, list[str]]:
    """The tool that searched and the names that it found; nothing where this is not ours."""
    if said is None or not said.startswith(_VIEW):
        return "", []
    try:
        found = json.loads(base64.urlsafe_b64decode(said.removeprefix(_VIEW)))
    except (ValueError, RecursionError):
        return "", []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        return "", []
    return (found[0], found[1:]) if found else ("", [])


def _kept(content: Sequence[AnyBlockParam]) -> list[AnyBlockParam]:
    return [block for block in content if not isinstance(block, CompactionParam)]


def _without_failed(message: MessageParam) -> MessageParam:
    kept = _kept(message.content)
    if len(kept) == len(message.content):
        return message
    return message.model_copy(update={"content": kept})
