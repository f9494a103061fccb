"""Leaving things out of a conversation: results of old calls, and thinking of old turns.

Owns which blocks an edit leaves out, and that every call keeps its result: what is left out of a
result is its content alone. Pure functions over a prompt; an edit that has nothing to do gives the
prompt itself. Knows no tokens: whether an edit is due is `layers.context`'s.

Source: "Context editing" of the API's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from renga.types import (
    AnyBlockParam,
    ClearToolUses,
    MessageParam,
    Prompt,
    RedactedThinkingParam,
    TextParam,
    ThinkingParam,
    ToolReferenceParam,
    ToolResultParam,
    ToolUseParam,
)

Asked = TypeVar("Asked", bound=Prompt)

KEPT_TOOL_USES: Final = 3
KEPT_THINKING_TURNS: Final = 1
CLEARED: Final = "[result cleared]"


def tool_uses(prompt: Prompt) -> list[ToolUseParam]:
    """The calls in the conversation, oldest first."""
    return [b for m in prompt.messages for b in m.content if isinstance(b, ToolUseParam)]


def without_tool_uses(prompt: Asked, edit: ClearToolUses) -> tuple[Asked, int]:
    """`prompt` without the content of old results, and of how many calls that is.

    The newest calls keep theirs, as do calls of excluded tools, and results that bring tools into
    view: without them the model could not call what it was told of. Calls lose their arguments
    only where the edit says so. A result that was not there yet is cleared when it is old.
    """
    kept = KEPT_TOOL_USES if edit.keep is None else edit.keep.value
    uses = tool_uses(prompt)
    old = uses[: max(0, len(uses) - kept)]
    excluded = set(edit.exclude_tools or ())
    clear = {use.id: use for use in old if use.name not in excluded}
    changed: dict[int, MessageParam] = {}
    touched: set[str] = set()
    for i, message in enumerate(prompt.messages):
        content = [_cleared(block, clear, edit) for block in message.content]
        different = [
            new for new, was in zip(content, message.content, strict=True) if new is not was
        ]
        if different:
            changed[i] = message.model_copy(update={"content": content})
            touched.update(_call_of(block) for block in different)
    return _with_messages(prompt, changed), len(touched)


def _cleared(
    block: AnyBlockParam, clear: dict[str, ToolUseParam], edit: ClearToolUses
) -> AnyBlockParam:
    """`block`, emptied where it belongs to one of the calls `clear`."""
    if isinstance(block, ToolResultParam) and block.tool_use_id in clear:
        brings_tools = any(isinstance(inner, ToolReferenceParam) for inner in block.content)
        if not brings_tools and not _is_cleared(block):
            return block.model_copy(update={"content": [TextParam(text=CLEARED)]})
    elif isinstance(block, ToolUseParam) and block.id in clear and block.input:
        inputs = edit.clear_tool_inputs
        if inputs is True or (isinstance(inputs, list) and block.name in inputs):
            return block.model_copy(update={"input": {}})
    return block


def _is_cleared(block: ToolResultParam) -> bool:
    return len(block.content) == 1 and block.text == CLEARED


def _call_of(block: AnyBlockParam) -> str:
    if isinstance(block, ToolResultParam):
        return block.tool_use_id
    return block.id if isinstance(block, ToolUseParam) else ""


def without_thinking(prompt: Asked, kept: int) -> tuple[Asked, int]:
    """`prompt` with the thinking of the newest `kept` turns that have some; how many lost theirs.

    A turn is everything that the assistant says to one message of the user: a result of a tool
    does not end it.
    """
    turns = list(_turns(prompt))
    thinking = sorted(
        {turn for turn, message in zip(turns, prompt.messages, strict=True) if _thinks(message)}
    )
    old = set(thinking[: max(0, len(thinking) - kept)])
    changed = {
        i: message.model_copy(update={"content": _silent(message)})
        for i, (turn, message) in enumerate(zip(turns, prompt.messages, strict=True))
        if turn in old and _thinks(message)
    }
    return _with_messages(prompt, changed), len(old)


def _turns(prompt: Prompt) -> Iterator[int]:
    """For each message, the number of the turn that it belongs to."""
    turn = 0
    for message in prompt.messages:
        if message.role == "user" and not all(
            isinstance(block, ToolResultParam) for block in message.content
        ):
            turn += 1
        yield turn


def _thinks(message: MessageParam) -> bool:
    """Whether there is thinking to read. What is not this server's own was emptied before."""
    return any(isinstance(b, ThinkingParam) and b.thinking for b in message.content)


def _silent(message: MessageParam) -> list[Any]:
    thinking = (ThinkingParam, RedactedThinkingParam)
    return [block for block in message.content if not isinstance(block, thinking)]


def _with_messages(prompt: Asked, changed: dict[int, MessageParam]) -> Asked:
    if not changed:
        return prompt
    messages = [changed.get(i, message) for i, message in enumerate(prompt.messages)]
    return prompt.model_copy(update={"messages": messages})
