"""Conversations with tools: calling the one that fits and using what it says.

Owns how requests, calls, results and answers follow one another, and the size that a row can hold. What
tools there are and how one asks for them is in `tool_table`, `arithmetic`, `invented_tools` and
`tool_wishes`; conversations without a call are in `tools_unused`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from training import (
    arithmetic,
    invented_tools,
    tool_wishes,
    world,
)
from training.chat import Call, Example, Turn, compact, pieces
from training.corpora import Labelled
from training.tool_families import Family, Skill, Task, skill
from training.tool_forms import Hand, ordered
from training.tool_lookups import LOOKUPS
from training.tool_table import FAMILIES
from training.world import spin

KIND = "tools"
MOST_CHARACTERS = 1700
"""What fits into a row of 512 tokens with tools in it, which have more tokens to a letter than prose."""
LISTED_CHARACTERS = 1200

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a [helpful|friendly|precise] assistant[ with tools|].",
    "Be brief.",
    "[Use|Call] the tools [when they help|where they fit].[ Answer briefly.|]",
    "You [help|answer] customers of {f}.[ Be polite.|]",
    "You are {n}, the assistant of {f}.",
    "Answer in one sentence.",
    "[Use a tool only if it fits.|If no tool fits, answer without one.]",
    "You are a support agent[ at {f}|].[ Use the tools to look things up.|]",
    "Today is {d}.",
    "You work for {f}, which sells {t}.",
)


def system_text(rng: Random) -> str:
    """A short system text, often none."""
    if rng.random() < 0.5:
        return ""
    text = spin(rng, rng.choice(SYSTEMS)).replace("{f}", world.firm(rng))
    text = text.replace("{n}", world.first_name(rng)).replace("{d}", world.date(rng))
    return text.replace("{t}", rng.choice(world.TRADES))


def sums(rng: Random) -> Skill:
    """A tool that calculates."""
    if rng.random() < 0.14:
        return arithmetic.calculator(rng)
    return arithmetic.skill(rng, rng.choices(arithmetic.OPERATIONS, arithmetic.OFTEN)[0])


def family(rng: Random) -> Skill:
    """A tool that many programs have."""
    return skill(rng, rng.choice(FAMILIES))


def lookup(rng: Random) -> Skill:
    """A tool that finds one thing of another."""
    return skill(rng, rng.choice(LOOKUPS))


def any_skill(rng: Random) -> Skill:
    """A tool of any origin."""
    return rng.choices((sums, lookup, family, invented_tools.skill), (32, 32, 18, 18))[0](rng)


SUM_TRADES = frozenset({"calculator", *(op.trade for op in arithmetic.OPERATIONS)})
KINSHIP = tuple(
    frozenset(group.split("|"))
    for group in (
        "orders|parcels|order states",
        "customers|people|extensions|desks|teams|birthdays",
        "prices|shop prices|stock counts",
        "stocks|share prices",
        "weather|temperatures",
        "exchange|rates",
        "flights|landings",
        "tables|tables free",
    )
)


def kin(one: Skill, other: Skill) -> bool:
    """Whether one of two tools could do the other's work, or answers to its name."""
    if one.trade == other.trade or one.tool.name == other.tool.name:
        return True
    trades = {one.trade, other.trade}
    if "calculator" in trades and trades <= SUM_TRADES:
        return True
    return any(trades <= group for group in KINSHIP)


def toolbox(
    rng: Random, needed: Sequence[Skill], draw: Callable[[Random], Skill] = any_skill
) -> list[Skill]:
    """The needed tools among none to four others that are of no use for the same wish."""
    found = list(needed)
    for _ in range(rng.choices((0, 1, 2, 3, 4), (24, 26, 24, 16, 10))[0]):
        near = needed and needed[0].trade in SUM_TRADES and rng.random() < 0.4
        other = sums(rng) if near else draw(rng)
        if not any(kin(other, known) for known in found):
            found.append(other)
    return found


def listed(rng: Random, needed: Sequence[Skill], box: Sequence[Skill]) -> list[dict[str, object]]:
    """The tools as one client writes them, in any order; who is not needed goes where space is short."""
    hand = Hand.draw(rng)
    chosen = list(box)
    while (
        len(chosen) > max(1, len(needed))
        and sum(len(compact(hand.function(s.tool))) for s in chosen) > LISTED_CHARACTERS
    ):
        spare = [s for s in chosen if s not in needed]
        chosen.remove(spare[-1])
    rng.shuffle(chosen)
    return [hand.function(s.tool) for s in chosen]


def call(one: Skill, task: Task) -> Call:
    """The call that a task needs."""
    return Call(one.tool.name, ordered(one.tool, task.given))


def _spaced(rng: Random, one: Skill, task: Task) -> str:
    """A word before a call, mostly none: who needs the result waits for it."""
    forms = ("Let me check.", "One moment.", f"I will use {one.tool.name}.", "I'll look that up.")
    return rng.choice(forms) if rng.random() < 0.04 else ""


def used(rng: Random, one: Skill, task: Task) -> list[Turn]:
    """A wish, its call, the result, the answer."""
    return [
        Turn("user", task.wish),
        Turn("assistant", _spaced(rng, one, task), calls=(call(one, task),)),
        Turn("tool", task.result),
        Turn("assistant", task.answer),
    ]


THANKS = (
    (
        "[Thanks|Thank you|Thank you very much|Great, thanks|thx][!|.|]",
        "[You are welcome|My pleasure][!|.]",
    ),
    (
        "[ok|Okay|Good|Perfect|Nice][.|!|]",
        "[Is there anything else|Anything else I can do for you]?",
    ),
    ("[Bye|Goodbye|See you][!|.|]", "Goodbye!"),
)
FAULTS = (
    "{v} not found",
    "no entry for {v}",
    "{v} is not known",
    "not found",
    "permission denied",
    "access denied for {v}",
    "invalid {k}",
    "{k} is not valid",
    "missing access key",
    "quota exceeded",
    "the database is read-only",
    "internal error",
    "bad request",
    "ValueError('{v} is unknown')",
    "ValueError: bad value for {k}",
    "KeyError('{k}')",
    "TypeError: {k} is missing",
    "RuntimeError('no connection')",
    "HTTP 404",
    "HTTP 500: server error",
    "[Errno 2] no such file",
)
PASSING = (
    "timeout",
    "service unavailable",
    "connection reset",
    "too many requests",
    "try again later",
)
FAILED = (
    "[Sorry, that|That] did not work: {e}.",
    "The {n} tool [failed|gave an error|reports an error]: {e}.",
    "[I am sorry, I|I] [could not do that|did not get a result]: {e}.",
    "[Sorry|I am sorry], [there was an error|the tool failed]: {e}.",
    "It failed with the error: {e}.",
)


def failed(rng: Random, one: Skill, task: Task) -> list[Turn]:
    """A call that fails: the answer says why; what may pass is sometimes tried again."""
    wish, calling = used(rng, one, task)[:2]
    key, value = next(iter(task.given.items()))
    passing = rng.random() < 0.4
    fault = rng.choice(PASSING if passing else FAULTS)
    fault = fault.replace("{v}", str(value)).replace("{k}", key)
    turns = [wish, calling, Turn("tool", f"Error: {fault}")]
    if passing and rng.random() < 0.5:
        return [*turns, calling, Turn("tool", task.result), Turn("assistant", task.answer)]
    told = spin(rng, rng.choice(FAILED)).replace("{n}", one.tool.name).replace("{e}", fault)
    return [*turns, Turn("assistant", told)]


def _lower(text: str) -> str:
    plain = re.match(r"[A-Z][a-z']+ ", text) is not None and not text.startswith("I ")
    return text[0].lower() + text[1:] if plain else text


def _joined_wish(rng: Random, tasks: Sequence[Task]) -> str:
    if all(task.term for task in tasks) and rng.random() < 0.7:
        terms = [task.term for task in tasks]
        both = ", ".join(terms[:-1]) + rng.choice((" and ", " and ", ", ")) + terms[-1]
        return spin(rng, rng.choice(arithmetic.ASKING)).replace("{e}", both)
    wishes = [task.wish for task in tasks]
    ended = [w if w[-1] in ".?!" else f"{w}." for w in wishes]
    if rng.random() < 0.4:
        return " ".join(ended)
    if rng.random() < 0.3:
        return "\n".join(f"{n + 1}. {w}" for n, w in enumerate(wishes))
    return ended[0] + "".join(
        f" {rng.choice(('And', 'Also', 'Then'))} {_lower(w)}" for w in ended[1:]
    )


def several(rng: Random, pairs: Sequence[tuple[Skill, Task]]) -> list[Turn]:
    """Wishes in one message: their calls in one turn, sometimes one after another; then one answer."""
    tasks = [task for _, task in pairs]
    calls = [call(one, task) for one, task in pairs]
    results = [Turn("tool", task.result) for task in tasks]
    turns = [Turn("user", _joined_wish(rng, tasks))]
    if rng.random() < 0.82:
        turns += [Turn("assistant", "", calls=tuple(calls)), *results]
    else:
        for made, result in zip(calls, results, strict=True):
            turns += [Turn("assistant", "", calls=(made,)), result]
    said = [task.clause for task in tasks]
    if len(said) == 2 and all(text[0].isdigit() for text in said):
        return [*turns, Turn("assistant", f"{said[0]} and {said[1]}.")]
    return [*turns, Turn("assistant", ". ".join(said) + ".")]


def chained_sum(rng: Random) -> tuple[list[Skill], list[Turn]]:
    """A sum whose result goes into another."""
    one, two = (rng.choices(arithmetic.OPERATIONS, (5, 2, 3, 0))[0] for _ in range(2))
    skills = [arithmetic.skill(rng, one)]
    if two is not one:
        skills.append(arithmetic.skill(rng, two))
    if any(a.kind == "string" for s in skills for a in s.tool.arguments):
        return chained_sum(rng)
    a, b = arithmetic.numbers(rng, one, whole=True)
    middle, c = arithmetic.worked(one, a, b), world.digits(rng, 1, 2)
    result = arithmetic.worked(two, middle, c)
    then = {
        "add": f"add {c} to",
        "subtract": f"subtract {c} from",
        "multiply": "multiply",
    }[two.trade]
    tail = f" by {c}" if two is arithmetic.MULTIPLY else ""
    first = rng.choice(one.orders).replace("{a}", a).replace("{b}", b)
    wish = rng.choice(
        (
            f"{first}, then {then} the result{tail}.",
            f"First {first}, then {then} it{tail}. What is it?",
            f"What is ({a}{one.sign}{b}){two.sign}{c}?",
            f"Compute ({a} {one.sign} {b}) {two.sign} {c}",
        )
    )
    wish = " ".join(spin(rng, wish).split())
    turns = [Turn("user", wish[0].upper() + wish[1:])]
    for used_skill, x, y, found in ((skills[0], a, b, middle), (skills[-1], middle, c, result)):
        keys = [argument.key for argument in used_skill.tool.arguments]
        given = dict(zip(keys, (int(x), int(y)), strict=True))
        turns += [
            Turn("assistant", "", calls=(Call(used_skill.tool.name, given),)),
            Turn("tool", found),
        ]
    answer = rng.choice(
        ("The result is {r}.", "It is {r}.", "That makes {r}.", "The answer is {r}.")
    )
    return skills, [*turns, Turn("assistant", answer.replace("{r}", result))]


def _named(trade: str) -> Family:
    return next(f for f in FAMILIES if f.trade == trade)


def chained_lookup(rng: Random) -> tuple[list[Skill], list[Turn]]:
    """A customer's record that says what to look up next."""
    person = world.person(rng)
    second = rng.choice(("orders", "weather", "parcels", "clock"))
    one, two = skill(rng, _named("customers")), skill(rng, _named(second))
    wishes, answer, link = {
        "orders": (
            ("What is the status of {p}'s [last |latest |]order?", "Where is the order of {p}?"),
            "Order {v} of {p} is {r}.",
            ("order_id", world.order_number(rng)),
        ),
        "weather": (
            ("[How is|What is] the weather where [customer |our customer |]{p} lives?",),
            "In {v} it is {r}.",
            ("city", world.city(rng)),
        ),
        "parcels": (
            ("Where is [the parcel of {p}|{p}'s parcel]?", "Track the parcel of {p}."),
            "Parcel {v} is {r}.",
            ("tracking", world.tracking(rng)),
        ),
        "clock": (
            ("What time is it where {p} lives?",),
            "It is {r} in {v}.",
            ("city", world.city(rng)),
        ),
    }[second]
    key, value = link
    found = {"name": person, key: value}
    if rng.random() < 0.5:
        found["email"] = world.email(rng)
    fields = _named(second).fields
    names = {"orders": "status", "weather": "condition", "parcels": "state", "clock": "time"}
    field = names[second]
    result = fields[field](rng)
    shown = result if rng.random() < 0.4 else compact({field: result})
    said = answer.replace("{v}", value).replace("{p}", person).replace("{r}", result)
    keys = [s.tool.arguments[0].key for s in (one, two)]
    return [one, two], [
        Turn("user", spin(rng, rng.choice(wishes)).replace("{p}", person)),
        Turn("assistant", "", calls=(Call(one.tool.name, {keys[0]: person}),)),
        Turn("tool", compact(found)),
        Turn("assistant", "", calls=(Call(two.tool.name, {keys[1]: value}),)),
        Turn("tool", shown),
        Turn("assistant", said),
    ]


def _one(rng: Random) -> tuple[list[Skill], list[Turn]]:
    one = any_skill(rng)
    return [one], used(rng, one, one.task(rng))


def _again(rng: Random) -> tuple[list[Skill], list[Turn]]:
    """Two wishes one after the other, the second for the same tool or another, or only thanks."""
    one = any_skill(rng)
    turns = used(rng, one, one.task(rng))
    if rng.random() < 0.25:
        question, answer = rng.choice(THANKS)
        return [one], [
            *turns,
            Turn("user", spin(rng, question)),
            Turn("assistant", spin(rng, answer)),
        ]
    two = one if rng.random() < 0.5 else any_skill(rng)
    if two is not one and kin(one, two):
        two = one
    skills = [one] if two is one else [one, two]
    return skills, [*turns, *used(rng, two, two.task(rng))]


def _several(rng: Random) -> tuple[list[Skill], list[Turn]]:
    one = any_skill(rng) if rng.random() < 0.6 else sums(rng)
    two = one if rng.random() < 0.65 else any_skill(rng)
    if two is not one and kin(one, two):
        two = one
    skills = [one] if two is one else [one, two]
    chosen = [one, two, two] if rng.random() < 0.1 else [one, two]
    return skills, several(rng, [(s, s.task(rng)) for s in chosen])


def _failed(rng: Random) -> tuple[list[Skill], list[Turn]]:
    one = any_skill(rng)
    return [one], failed(rng, one, one.task(rng))


Talk = Callable[[Random], tuple[list[Skill], list[Turn]]]
TALKS: tuple[tuple[Talk, int], ...] = (
    (_one, 66),
    (_again, 10),
    (_several, 9),
    (chained_sum, 4),
    (chained_lookup, 2),
    (_failed, 6),
)


def size(example: Example) -> int:
    """How many characters an example has, its form included."""
    return sum(len(text) for text, _ in pieces(example))


def fitting(rng: Random, write: Callable[[Random], Example]) -> Example:
    """The first conversation of that writer that a row can hold."""
    while size(example := write(rng)) > MOST_CHARACTERS:
        pass
    return example


def wishing(
    rng: Random, wishes: Sequence[Labelled]
) -> tuple[list[Skill], list[Turn], list[Skill]] | None:
    """A real wish: the tool that serves it, the talk, and tools for other kinds of wish."""
    wanted = tool_wishes.wish(rng, wishes)
    if wanted is None:
        return None
    one = tool_wishes.skill(rng, wanted.label, wanted.text)
    found = [tool_wishes.wish(rng, wishes) for _ in range(rng.randint(1, 4))]
    others = {r.label: r.text for r in found if r is not None}
    box = [
        tool_wishes.skill(rng, label, text)
        for label, text in others.items()
        if not tool_wishes.alike(label, wanted.label)
    ]
    box = [s for s in box if s.tool.name != one.tool.name]
    return [one], used(rng, one, one.task(rng)), [one, *box]


def _calling(rng: Random, wishes: Sequence[Labelled]) -> Example:
    wished = wishing(rng, wishes) if rng.random() < 0.12 else None
    head = (Turn("system", text),) if (text := system_text(rng)) else ()
    if wished is not None:
        skills, turns, box = wished
    else:
        talks, shares = zip(*TALKS, strict=True)
        skills, turns = rng.choices(talks, shares)[0](rng)
        box = toolbox(rng, skills)
    return Example(KIND, (*head, *turns), tools=listed(rng, skills, box))


def calling(rng: Random, wishes: Sequence[Labelled] = ()) -> Example:
    """A conversation in which tools are called: once, again, side by side, in a chain, in vain.

    Some are about `wishes`, requests of public sets with their kinds.
    """
    return fitting(rng, lambda r: _calling(r, wishes))
