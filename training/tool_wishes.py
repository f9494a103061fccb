"""Tools named after what people were found to want: real wishes of public sets, and a tool for each kind.

Owns which kinds of wish can be a tool's. The tools take no arguments, or the wish itself; what is learned is
to choose by meaning, and to call none where the kind that is wanted has no tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from training import naming, world
from training.chat import compact
from training.corpora import Labelled
from training.invented_tools import STATES
from training.tool_families import Skill, Task, phrased
from training.tool_forms import Argument, Tool, Value, tool_name
from training.world import spin

TALK = frozenset(
    "yes no maybe repeat cancel greeting goodbye thank_you what_is_your_name are_you_a_bot how_old_are_you "
    "where_are_you_from who_made_you what_are_your_hobbies do_you_have_pets who_do_you_work_for user_name "
    "change_user_name change_ai_name what_can_i_ask_you meaning_of_life tell_joke fun_fact calculator "
    "change_accent change_language spelling text general_affirm general_commandstop general_confirm "
    "general_dontcare general_explain general_joke general_negate general_praise general_quirky "
    "general_repeat qa_maths".split()
)
"""Kinds of wish that are answered in words, or that say too little of what is wanted."""


def wish(rng: Random, wishes: Sequence[Labelled]) -> Labelled | None:
    """A wish that a tool could serve; None where there are hardly any."""
    for _ in range(20):
        if wishes and (found := rng.choice(wishes)).label not in TALK:
            return found
    return None


def alike(one: str, other: str) -> bool:
    """Whether two kinds of wish share a word, as kinds of two sets do that are the same."""
    stems = [{naming.stem(w) for w in naming.plain_words(kind).split()} for kind in (one, other)]
    return bool(stems[0] & stems[1])


def tool(rng: Random, label: str) -> Tool:
    """A tool for one kind of wish."""
    words = naming.plain_words(label).split()
    told = " ".join(words)
    named = words if rng.random() < 0.6 else naming.reworded(rng, words)
    lead = rng.choice(("", "", "", "handle ", "do ", "on "))
    about = rng.choice(
        (
            f"{told}.",
            f"[Handles|Serves] [wishes|requests] of the kind: {told}.",
            f"[Use this|To be used] [for|when the user asks about] {told}.",
            f"[Everything about|Tool for] {told}.",
        )
    )
    passed = Argument("request", "string", "What the user said") if rng.random() < 0.15 else None
    arguments = (passed,) if passed else ()
    return Tool(tool_name(rng, lead + " ".join(named)), phrased(rng, about), arguments)


def skill(rng: Random, label: str, text: str) -> Skill:
    """A tool for the kind of wish that a text is."""
    made = tool(rng, label)
    return Skill(f"wish {label}", "do that", made, lambda r: _task(r, made, text))


DONE = ("ok", "done", "success", '{"status":"ok"}', '{"success": true}', "Done.")
ENDS = ("Done.", "That is done.", "[Okay|Ok|All right], that is done.", "I have done that.")


FINDS: tuple[tuple[str, tuple[Callable[[Random], str], ...]], ...] = (
    (r"\b(when|date|day|time|due)\b", (world.date, world.time_of_day)),
    (r"\bhow (much|many|long|far|old)\b", (world.amount, lambda r: world.digits(r, 1, 4))),
    (r"\bwho\b", (world.person, world.firm)),
    (r"\bwhere\b", (world.city, world.street)),
    (r"^(is|are|do|does|did|can|has|have|will|would)\b", (lambda r: r.choice(("yes", "no")),)),
    ("", (world.amount, lambda r: world.digits(r, 1, 4), world.firm, lambda r: r.choice(STATES))),
)
"""What a question finds, by its words."""


def _found(rng: Random, text: str) -> str:
    made = next(makes for pattern, makes in FINDS if re.search(pattern, text))
    return rng.choice(made)(rng)


def _task(rng: Random, made: Tool, text: str) -> Task:
    given: dict[str, Value] = {a.key: text for a in made.arguments}
    asks = (
        re.search(r"\?|\b(what|whats|how|when|where|who|which|tell|is|are|do|does)\b", text)
        is not None
    )
    if not asks or rng.random() < 0.15:
        answer = spin(rng, rng.choice(ENDS))
        return Task(text, given, rng.choice(DONE), answer.rstrip("."), answer)
    value = _found(rng, text)
    key = rng.choice(("result", "answer", "value", "found"))
    shown = rng.choice((value, value, compact({key: value}), f"{key}: {value}"))
    clause = spin(rng, rng.choice((f"The [answer|result] is {value}", f"It is {value}", value)))
    return Task(text, given, shown, clause, f"{clause}.")
