"""The heads of a prompt: digests of ever longer beginnings, by which its replica is found again.

A prefix cache is worth as much as the longest beginning that it holds. So a prompt is known by many
beginnings: tools and system text, then each block of the first message, then each message after it.
A conversation that grows has all heads that it had, and a question about a known document has that
document's. Where nothing is known of any, the `anchor` decides: the end of the first message, or
the last cache mark inside it. That is the same for every turn of a conversation, and on every
server.

Thinking is no part of a head, for it comes and goes. Long texts are known by their ends and their
length: a head that is alike by mistake costs a cache, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from renga.types import (
    AnyBlockParam,
    CustomTool,
    Prompt,
    RedactedThinkingParam,
    TextParam,
    ThinkingParam,
    ToolResultParam,
    ToolUseParam,
)

MOST_HEADS: Final = 64  # the first half of them and the last: a conversation grows at its end
_END: Final = 1_024  # characters of each end of a text
_THOUGHTS: Final = (ThinkingParam, RedactedThinkingParam)


@dataclass(frozen=True)
class Heads:
    """Digests of beginnings, shortest first, and the one that decides where nothing is known."""

    digests: tuple[bytes, ...]
    anchor: bytes


def heads_of(prompt: Prompt) -> Heads:
    """The heads of `prompt`."""
    digest = blake2b(digest_size=16)
    found: list[bytes] = []
    for text in _before_messages(prompt):
        digest.update(text)
    if prompt.system or prompt.tools:
        found.append(digest.digest())
    anchor, marked = b"", False
    for i, message in enumerate(prompt.messages):
        digest.update(message.role.encode())
        for j, block in enumerate(message.content):
            if isinstance(block, _THOUGHTS):
                continue
            digest.update(_text_of(block))
            if i == 0:
                found.append(digest.digest())
                last = j == len(message.content) - 1
                if block.cache_control is not None and not last:
                    anchor, marked = found[-1], True
        if i == 0:
            anchor = anchor if marked else digest.digest()
        found.append(digest.digest())
    if len(found) > MOST_HEADS:
        found = found[: MOST_HEADS // 2] + found[-MOST_HEADS // 2 :]
    return Heads(tuple(dict.fromkeys(found)), anchor)


def _before_messages(prompt: Prompt) -> Iterator[bytes]:
    for tool in prompt.tools or ():
        if isinstance(tool, CustomTool):
            yield _short(tool.name + (tool.description or ""))
        else:
            yield _short(tool.type)
    for block in prompt.system or ():
        yield _short(block.text)


def _text_of(block: AnyBlockParam) -> bytes:
    match block:
        case TextParam():
            return _short(block.text)
        case ToolUseParam():
            return _short(block.id + block.name)
        case ToolResultParam():
            return _short(block.tool_use_id + block.text)
        case _:
            return _short(block.model_dump_json(exclude={"cache_control"}))


def _short(text: str) -> bytes:
    """What of a text tells it from others; its length keeps apart what would read the same."""
    if len(text) > 2 * _END:
        text = f"{len(text)}:{text[:_END]}{text[-_END:]}"
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4, "big") + raw
