"""Tools of a public collection as training material: real names, descriptions and arguments.

Owns which tools of the set are fit for it and how somebody asks for them: the description is the wish, the
examples that stand in the arguments' descriptions are the values. Knows nothing of conversations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from training import naming, world
from training.chat import compact
from training.invented_tools import STATES
from training.tool_families import Skill, Task, loosely, typed
from training.tool_forms import Argument, Kind, Tool, Value
from training.tool_values import quantity
from training.world import spin

KINDS: Mapping[str, Kind] = {"str": "string", "int": "integer", "float": "number"}
MOST_ARGUMENTS = 3
MOST_WORDS = 12
"""A description of more words is not what somebody would say."""

Record = Mapping[str, Any]


def words_of(name: str) -> list[str]:
    """The words of a name in any spelling, in lower case."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def stems(text: str) -> frozenset[str]:
    """The stems of a text's words that say what it is about."""
    words = {word for word in words_of(text) if len(word) > 3}
    return frozenset(naming.stem(word) for word in words - COMMON)


COMMON = frozenset(
    "check find fetch give look make please read return search show tell user what when where which with your "
    "about from have that this name number need know want would could should does into will there their "
    "some many much more than then they them over information data specific given based particular item items "
    "like just been were here also only very using used uses retrieve details list tool tools text type".split()
)


def _examples(about: str) -> list[str]:
    found = re.search(r"\(e\.g\.,? ([^()]+)\)", about)
    listed = re.split(r",\s*|\s+or\s+", found[1]) if found else []
    return [part.strip(" '\"") for part in listed if 1 < len(part) < 30]


def _argument(key: str, given: Mapping[str, str], required: bool) -> Argument | None:
    kind = KINDS.get(given["type"])
    about = re.sub(r"\s*\([^()]*\)", "", given["description"]).strip()
    return Argument(key, kind, about, required=required) if kind else None


MADE = (
    (r"date|deadline|birthday", world.date),
    (r"time$", world.time_of_day),
    (r"email", world.email),
    (r"city|location|place|region|destination|origin", world.city),
    (r"country", lambda r: r.choice("Peru Kenya Norway Chile India Egypt Poland Canada".split())),
    (r"(patient|customer|user|employee|author|artist|player|person|student)_name", world.person),
    (r"(^|_)(id|code|number)$", lambda r: r.choice((world.digits(r, 4, 8), world.code(r)))),
)


def _value(rng: Random, key: str, kind: Kind, examples: Sequence[str]) -> str | None:
    """How somebody says a value; None where it is not known what would be one."""
    if kind == "integer":
        return str(rng.randint(1, rng.choice((9, 60, 999))))
    if kind == "number":
        return quantity(rng)
    made = [make for pattern, make in MADE if re.search(pattern, key)]
    if made and rng.random() < (0.5 if examples else 1):
        return made[0](rng)
    return rng.choice(examples) if examples else None


def usable(record: Record) -> bool:
    """Whether a tool is short, and every argument that it needs has a value that can be thought of."""
    about, given = record["api_description"], record["parameters"]
    if len(about.split()) > MOST_WORDS or not given or len(record["required"]) > MOST_ARGUMENTS:
        return False
    rng = Random(0)
    for key in record["required"] or list(given)[:1]:
        kind = KINDS.get(given.get(key, {}).get("type", ""))
        if kind is None or _value(rng, key, kind, _examples(given[key]["description"])) is None:
            return False
    return bool(record["responses"])


WISHING = (
    "{d} {x}.",
    "[Please|please] {d} {x}.",
    "[Can|Could] you {d} {x}?",
    "I [need|want|would like] [you|] to {d} {x}.",
    "[I'd like you to|Help me] {d} {x}.",
    "{d} {x}, please",
)
FOUND = ("The {k} is {r}", "{k}: {r}", "I found this: the {k} is {r}", "[It says|I got] {r}")


def _spoken(rng: Random, given: Mapping[str, str]) -> str:
    """Argument words with their values, as the end of a wish."""
    parts = [f"{' '.join(words_of(key))} {value}" for key, value in given.items()]
    lead = rng.choice(("with ", "for ", "with the ", ": ", "; "))
    return (lead + (", ".join(parts[:-1]) + " and " if parts[1:] else "") + parts[-1]).strip()


def skill(rng: Random, records: Sequence[Record]) -> Skill:
    """One of the tools, with at most three arguments."""
    record = rng.choice(records)
    given = record["parameters"]
    needed = record["required"] or list(given)[:1]
    keys = [*needed, *(key for key in given if key not in needed)]
    arguments = {}
    for key in keys[: max(len(needed), rng.randint(1, MOST_ARGUMENTS))]:
        made = _argument(key, given[key], key in needed)
        if made is not None:
            arguments[key] = made
    told = record["api_description"].rstrip(".")
    tool = Tool(record["api_name"], told + rng.choice(("", ".")), tuple(arguments.values()))
    fields = [k for k, v in record["responses"].items() if v["type"] in ("str", "int", "float")]
    deed = told[:1].lower() + told[1:]

    def task(r: Random) -> Task:
        said: dict[str, str] = {}
        for key, made in arguments.items():
            value = _value(r, key, made.kind, _examples(given[key]["description"]))
            if value is not None and (made.required or r.random() < 0.5):
                said[key] = value
        called: dict[str, Value] = {k: typed(arguments[k].kind, v) for k, v in said.items()}
        wish = loosely(r, spin(r, r.choice(WISHING)).replace("{d}", deed))
        wish = wish.replace("{x}", _spoken(r, said)).replace(" :", ":").replace(" ;", ";")
        return _task(r, wish[:1].upper() + wish[1:], called, fields, record)

    return Skill(f"public {record['api_name']}", deed, tool, task)


def _task(
    rng: Random, wish: str, called: dict[str, Value], fields: Sequence[str], record: Record
) -> Task:
    if not fields:
        return Task(" ".join(wish.split()), called, "ok", "Done", "Done.")
    field = rng.choice(fields)
    kind = record["responses"][field]["type"]
    found = rng.choice(STATES) if kind == "str" else quantity(rng)
    result = rng.choice((found, compact({field: found}), f"{field}: {found}"))
    clause = spin(rng, rng.choice(FOUND))
    clause = clause.replace("{k}", " ".join(words_of(field))).replace("{r}", found)
    return Task(" ".join(wish.split()), called, result, clause, f"{clause}.")
