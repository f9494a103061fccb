"""The chat form the model is trained on: turns in, text or token pieces out.

Owns the special tokens and the template; the template's text must render byte for byte what
`render` gives (a test holds them together). Knows nothing of tasks or files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS: tuple[str, ...] = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    *(f"<|reserved_{n}|>" for n in range(7)),
)


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class Example:
    """A conversation to learn from, or plain text when `turns` is empty.

    `kind` names the part of the mixture it belongs to.
    """

    kind: str
    turns: Sequence[Turn] = field(default=())
    prose: str = ""


def ask(kind: str, question: str, answer: str, system: str = "") -> Example:
    """A conversation of one question and one answer, with a system text unless it is empty."""
    head = (Turn("system", system),) if system else ()
    return Example(kind, (*head, Turn("user", question), Turn("assistant", answer)))


def pieces(example: Example) -> Iterator[tuple[str, bool]]:
    """Texts of an example in order, each with whether the model learns to write it."""
    if not example.turns:
        yield example.prose, True
        return
    for turn in example.turns:
        yield f"{TURN_START}{turn.role}\n", False
        learned = turn.role == "assistant"
        yield turn.text + (TURN_END if learned else ""), learned
        yield "\n" if learned else f"{TURN_END}\n", False


def render(turns: Sequence[Turn]) -> str:
    """The prompt for the next assistant turn."""
    body = "".join(f"{TURN_START}{turn.role}\n{turn.text}{TURN_END}\n" for turn in turns)
    return f"{body}{TURN_START}assistant\n"
