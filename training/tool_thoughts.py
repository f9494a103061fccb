"""Conversations with tools in which every answer is thought about first.

Owns the thoughts: short, and true of what is said next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from training.chat import Call, Example, Turn
from training.corpora import Labelled
from training.tools import calling
from training.tools_unused import not_calling


def _plan(rng: Random, calls: Sequence[Call]) -> str:
    """A thought before calls: which tool, and mostly what it is given."""
    if rng.random() < 0.4:
        names = " and ".join(dict.fromkeys(call.name for call in calls))
        return rng.choice(
            (f"I need {names} for that.", f"I use {names}.", f"For this there is {names}.")
        )
    named = [
        f"{call.name} with "
        + " and ".join(f"{key} = {value}" for key, value in call.arguments.items())
        if call.arguments
        else call.name
        for call in calls
    ]
    return rng.choice(("I need {c}.", "I call {c}.")).replace("{c}", ", then ".join(named))


def _thought(rng: Random, turns: Sequence[Turn], number: int) -> str:
    """A short true thought before an assistant's turn."""
    turn, before = turns[number], turns[number - 1]
    if turn.calls:
        return _plan(rng, turn.calls)
    if before.role != "tool":
        return rng.choice(("No tool is needed.", "No tool fits this.", "I answer without a tool."))
    if before.text.startswith("Error"):
        return "The call failed. I say why."
    if turns[number - 2].role == "tool":
        return rng.choice(("The tools have answered.", "I have the results."))
    if len(before.text) < 40 and "\n" not in before.text:
        return rng.choice((f"The tool says: {before.text}", f"The result is {before.text}"))
    return rng.choice(("The tool has answered.", "I have the result."))


def thinking(rng: Random, wishes: Sequence[Labelled]) -> Example:
    """A conversation with tools in which every answer is thought about first."""
    plain = calling(rng, wishes) if rng.random() < 0.75 else not_calling(rng, wishes)
    turns = [
        replace(t, thinking=_thought(rng, plain.turns, n)) if t.role == "assistant" else t
        for n, t in enumerate(plain.turns)
    ]
    return replace(plain, turns=tuple(turns))
