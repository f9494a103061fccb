"""The chat form the model is trained on: turns in, text or token pieces out.

Owns the special tokens and the form of a conversation; the template's text must render byte for byte
what `render` gives (a test holds them together). Knows nothing of tasks or files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKS: tuple[str, ...] = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "<tools>",
    "</tools>",
)
"""Tokens of the form that an answer's text shows, unlike special ones: who reads it looks for them."""

SPECIALS: tuple[str, ...] = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    *MARKS,
    *(f"<|reserved_{n}|>" for n in range(5)),
)
"""The first tokens of the vocabulary, in order; `MARKS` among them are not special when decoding."""


@dataclass(frozen=True)
class Call:
    """A call of a tool that an assistant's turn makes."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    An assistant's may have `thinking` before its text and `calls` behind it; a tool's is one result.
    """

    role: Role
    text: str
    thinking: str = ""
    calls: Sequence[Call] = ()


@dataclass(frozen=True)
class Example:
    """A conversation to learn from, or plain text when `turns` is empty.

    `kind` names the part of the mixture it belongs to; `tools` are the objects the system turn lists,
    each with `name`, `description` and `parameters` (a JSON schema).
    """

    kind: str
    turns: Sequence[Turn] = field(default=())
    prose: str = ""
    tools: Sequence[Mapping[str, Any]] = ()


def ask(kind: str, question: str, answer: str, system: str = "") -> Example:
    """A conversation of one question and one answer, with a system text unless it is empty."""
    head = (Turn("system", system),) if system else ()
    return Example(kind, (*head, Turn("user", question), Turn("assistant", answer)))


def compact(value: Any) -> str:
    """JSON on one line without blanks, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def listed(text: str, tools: Sequence[Mapping[str, Any]]) -> str:
    """The content of a system turn: its text, then the tools."""
    if not tools:
        return text
    lines = "\n".join(compact(tool) for tool in tools)
    return (f"{text}\n\n" if text else "") + f"<tools>\n{lines}\n</tools>"


def said(turn: Turn) -> str:
    """What an assistant's turn writes behind its thinking: text, then calls."""
    lines = [turn.text] if turn.text else []
    for call in turn.calls:
        written = compact({"name": call.name, "arguments": call.arguments})
        lines.append(f"<tool_call>\n{written}\n</tool_call>")
    return "\n".join(lines)


def _messages(
    turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, Turn]]:
    """Role, given content and turn of each message; results that follow one another are one."""
    if tools and (not turns or turns[0].role != "system"):
        yield "system", listed("", tools), Turn("system", "")
    results: list[str] = []
    for number, turn in enumerate(turns):
        if turn.role == "tool":
            results.append(f"<tool_response>\n{turn.text}\n</tool_response>")
            if number + 1 == len(turns) or turns[number + 1].role != "tool":
                yield "user", "\n".join(results), turn
                results.clear()
        elif turn.role == "system" and number == 0:
            yield "system", listed(turn.text, tools), turn
        else:
            yield turn.role, "" if turn.role == "assistant" else turn.text, turn


def pieces(example: Example) -> Iterator[tuple[str, bool]]:
    """Texts of an example in order, each with whether the model learns to write it.

    A turn's thinking is begun for the model, as the prompt of a request that wants thinking does.
    """
    if not example.turns:
        yield example.prose, True
        return
    for role, given, turn in _messages(example.turns, example.tools):
        yield f"{TURN_START}{role}\n", False
        if role != "assistant":
            yield f"{given}{TURN_END}\n", False
            continue
        if turn.thinking:
            yield "<think>\n", False
            yield f"{turn.thinking}\n</think>\n\n", True
        yield said(turn) + TURN_END, True
        yield "\n", False


def render(
    turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]] = (), *, thinking: bool = False
) -> str:
    """The prompt for the next assistant turn, which begins inside its thinking where that is wanted."""
    body = "".join(text for text, _ in pieces(Example("", turns, tools=tools))) if turns else ""
    return f"{body}{TURN_START}assistant\n" + ("<think>\n" if thinking else "")
