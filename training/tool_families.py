"""Families of tools: one purpose under many names, and how wishes, calls and results are drawn of one.

Owns the form of a family; which there are is in `tool_table`. Every value of a call stands in the wish;
every value of an answer stands there or in the tool's result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from training.chat import compact
from training.tool_forms import Argument, Kind, Tool, Value, argument_key, tool_name
from training.tool_values import MEASURES, Words
from training.world import spin


@dataclass(frozen=True)
class Task:
    """One use of a tool: what the user says, the call's arguments, its result and the answer.

    `clause` is the answer without its dot, to stand in a longer one; `term` is what is asked about as a
    noun, where that can stand in a list.
    """

    wish: str
    given: dict[str, Value]
    result: str
    clause: str
    answer: str
    term: str = ""


@dataclass(frozen=True)
class Skill:
    """A tool and what can be done with it.

    Two tools of one `trade` could do each other's work; `deed` completes "I cannot ...".
    """

    trade: str
    deed: str
    tool: Tool
    task: Callable[[Random], Task]


@dataclass(frozen=True)
class Slot:
    """An argument of a family: keys, what it means, its values; `said` is how a value is spoken."""

    keys: str
    about: str
    value: Words
    kind: Kind = "string"
    choices: str = ""
    said: Mapping[str, str] | None = None
    required: bool = True


@dataclass(frozen=True)
class Family:
    """Tools of one purpose: their names, descriptions, arguments, results and how they are asked for.

    `asks` are wordings with their answers; `{x}` is a slot or a field of the result.
    """

    trade: str
    deed: str
    names: str
    about: tuple[str, ...]
    slots: Mapping[str, Slot]
    fields: Mapping[str, Words]
    asks: tuple[tuple[str, str], ...]
    sentence: str = ""


def reading(text: str) -> int | float:
    """A spoken number as JSON holds it."""
    return float(text) if "." in text else int(text)


def argument(rng: Random, slot: Slot, key: str) -> Argument:
    """A slot as one tool's argument under a key."""
    choices = tuple(slot.choices.split("|")) if slot.choices else ()
    return Argument(key, slot.kind, phrased(rng, slot.about), choices, slot.required)


def typed(kind: Kind, text: str) -> Value:
    """A value as JSON holds it."""
    if kind == "boolean":
        return text == "true"
    return reading(text) if kind in ("integer", "number") else text


def phrased(rng: Random, text: str) -> str:
    """A description: choices made, blanks put right, a capital first."""
    plain = re.sub(r"\s+([.,?!])", r"\1", " ".join(spin(rng, text).split()))
    return plain[:1].upper() + plain[1:]


def fill(text: str, known: Mapping[str, str]) -> str:
    """The text with every `{x}` filled in; what is not known is left out."""
    out = re.sub(r"\{([\w ]+)\}", lambda m: known.get(m[1], ""), text)
    out = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", out)
    return re.sub(r"\s+([.,?!])", r"\1", re.sub(r" {2,}", " ", out)).strip()


def fields_of(text: str) -> list[str]:
    """The names in braces, in order."""
    return re.findall(r"\{([\w ]+)\}", text)


LEADS = (
    "Hi, ",
    "Hello, ",
    "hey ",
    "Hello! ",
    "Good morning. ",
    "I have a question: ",
    "One more thing: ",
    "So, ",
    "Okay, ",
    "My boss asks: ",
    "For the meeting: ",
    "Now ",
    "Next: ",
    "Please help: ",
)
TRAILS = (
    "Thanks!",
    "Thank you.",
    "I need it [today|now|for my report].",
    "It is [urgent|important|for a friend].",
    "I cannot find it myself.",
    "That would help[ me|] a lot.",
    "No hurry.",
)


BEFORE = (
    "[Mind|Would you mind] a question: ",
    "I keep asking myself: ",
    "Short one: ",
    "Just curious, ",
    "Can you help me with this: ",
    "A customer asks: ",
)
BEHIND = (
    "[today|now|these days|at present]",
    "[for my records|for the file|for my colleague|for us]",
    "[as far as you know|if you can see that|if I may ask|by the way]",
    "[so that I can go on|so that we are done|before I call them|before it is too late]",
)


ASKED_ABOUT = (
    "[Do you know|Can you say|Could you tell me|Can you see] {q}[?|, please?]",
    "[Tell me|Please say|I would like to know|I must know|I forgot|I'd love to hear] {q}.",
    "[Let us see|Let's find out|Have a look] {q}.",
)


def indirect(rng: Random, wording: str) -> str:
    """A question as part of a longer sentence, so that a verb stands behind what is asked about."""
    found = re.fullmatch(r"(What|Who|Where|When|How \w+)(?: is|'s|s) (.+?)\?", wording)
    asked = re.fullmatch(
        r"(When|Where|What|Which [\w{}]+|How \w+) (?:does|do) (.+) ([a-z]+)\?", wording
    )
    if found:
        question = f"{found[1].lower()} {found[2]} is"
    elif asked:
        verb = {"have": "has", "go": "goes"}.get(asked[3], f"{asked[3]}s")
        question = f"{asked[1].lower()} {asked[2]} {verb}"
    else:
        return wording
    return spin(rng, rng.choice(ASKED_ABOUT)).replace("{q}", question)


def framed(rng: Random, wording: str) -> str:
    """A wording with words before or behind that are no part of any value."""
    if rng.random() < 0.3:
        wording = indirect(rng, wording)
    if rng.random() < 0.08:
        wording = spin(rng, rng.choice(BEFORE)) + wording[:1].lower() + wording[1:]
    if rng.random() < 0.2 and ": " not in wording and len(wording) > 12:
        end = wording[-1] if wording[-1] in ".?!" else ""
        wording = f"{wording.rstrip('.?!, ')} {spin(rng, rng.choice(BEHIND))}{end}"
    return wording


def loosely(rng: Random, wording: str) -> str:
    """A wording as somebody types it; what is filled in later keeps its case."""
    wording = " ".join(wording.split())
    if rng.random() < 0.25:
        wording = wording.lower()
    if rng.random() < 0.25:
        wording = wording.rstrip("?.!")
    if rng.random() < 0.15:
        wording = rng.choice(LEADS) + wording
    if rng.random() < 0.1:
        mark = "" if wording[-1:] in ".?!" else rng.choice((".", ",", ";"))
        wording = f"{wording}{mark} {spin(rng, rng.choice(TRAILS))}"
    return wording


def told(rng: Random, known: Mapping[str, str], wanted: list[str], sentence: str) -> str:
    """A tool's result that holds the wanted fields: JSON, lines, a sentence or the bare value."""
    style = rng.random()
    said = set(fields_of(sentence))
    if sentence and said >= set(wanted) and style < 0.35:
        return fill(sentence, known)
    if len(wanted) == 1 and style < 0.6:
        return known[wanted[0]]
    others = [name for name in known if name not in wanted]
    shown = wanted + rng.sample(others, rng.randint(0, min(2, len(others))))
    rng.shuffle(shown)
    keys = {name: argument_key(rng, name) if style < 0.9 else name for name in shown}
    if style < 0.9:
        values = {keys[n]: _json_value(rng, known[n]) for n in shown}
        return compact(values) if rng.random() < 0.5 else json.dumps(values, ensure_ascii=False)
    return rng.choice(("\n", ", ", "; ")).join(f"{n}: {known[n]}" for n in shown)


def _json_value(rng: Random, text: str) -> Value:
    bare = re.fullmatch(r"-?(0|[1-9]\d{0,8})(\.\d*[1-9])?", text) is not None
    return reading(text) if bare and rng.random() < 0.8 else text


DONE = (
    "Done.",
    "That is done.",
    "[Okay|Ok|All right], [done|that is done].",
)


def skill(rng: Random, family: Family) -> Skill:
    """One tool of a family, with its names drawn."""
    keys: dict[str, str] = {}
    for name, slot in family.slots.items():
        keys[name] = argument_key(rng, spin(rng, f"[{slot.keys}]").replace("_", " "))
    if len(set(keys.values())) < len(keys):
        keys = {name: argument_key(rng, name) for name in family.slots}
    arguments = tuple(argument(rng, slot, keys[n]) for n, slot in family.slots.items())
    name = tool_name(rng, spin(rng, f"[{family.names}]").strip())
    tool = Tool(name, phrased(rng, rng.choice(family.about)), arguments)
    return Skill(family.trade, family.deed, tool, lambda r: task(r, family, keys))


def task(rng: Random, family: Family, keys: Mapping[str, str]) -> Task:
    """One wish for a family's tool and all that follows."""
    wording, answer = rng.choice(family.asks)
    wording, answer = loosely(rng, framed(rng, spin(rng, wording))), spin(rng, answer)
    values = {name: slot.value(rng) for name, slot in family.slots.items()}
    while "from" in values and not _convertible(values["from"], values["to"]):
        values["to"] = family.slots["to"].value(rng)
    spoken = {n: (s.said or {}).get(values[n], values[n]) for n, s in family.slots.items()}
    known = {name: make(rng) for name, make in family.fields.items()} | spoken
    known["n"] = "n" if known.get("kind", "")[:1] in "aeiou" else ""
    said = set(fields_of(wording))
    given = {keys[n]: typed(s.kind, values[n]) for n, s in family.slots.items() if n in said}
    wanted = [n for n in dict.fromkeys(fields_of(answer)) if n in family.fields]
    usual = {n: v for n, v in known.items() if n in family.fields or (n in said and n != "on")}
    full = fill(answer, known)
    result = (
        told(rng, usual, wanted, spin(rng, family.sentence))
        if wanted
        else _ending(rng, family, known)
    )
    return Task(fill(wording, known), given, result, full.rstrip("."), full)


def _convertible(one: str, other: str) -> bool:
    """Whether two things differ, and measure the same where they are units."""
    kinds = [measure for measure in MEASURES if one in measure.split()]
    return one != other and (not kinds or other in kinds[0].split())


def _ending(rng: Random, family: Family, known: Mapping[str, str]) -> str:
    short = ("ok", "done", "success", "true", '{"status":"ok"}', '{"success": true}', "OK")
    return fill(spin(rng, family.sentence), known) if rng.random() < 0.5 else rng.choice(short)
