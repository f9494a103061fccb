"""Conversations with tools: calling the one that fits, using what it says, and answering without it.

Owns how requests, calls, results and answers follow one another, and the size that a row can hold. What
tools there are and how one asks for them is in `tool_families`, `arithmetic` and `invented_tools`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from training import (
    arithmetic,
    drills,
    extract,
    invented_tools,
    naming,
    smalltalk,
    support,
    tool_wishes,
    world,
)
from training.chat import Call, Example, Turn, compact, pieces
from training.corpora import Labelled
from training.tool_families import FAMILIES, LANGUAGES, TOPICS, Family, Skill, Task, fill, skill
from training.tool_forms import Hand, ordered
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


def any_skill(rng: Random) -> Skill:
    """A tool of any origin."""
    return rng.choices((sums, family, invented_tools.skill), (30, 38, 32))[0](rng)


SUM_TRADES = frozenset({"calculator", *(op.trade for op in arithmetic.OPERATIONS)})
KINSHIP = (frozenset({"orders", "parcels"}), frozenset({"customers", "people"}))


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
    turns = [Turn("user", spin(rng, wish[0].upper() + wish[1:]))]
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
            ("[How is|What is] the weather where [customer|our customer|] {p} lives?",),
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
    (_one, 58),
    (_again, 12),
    (_several, 11),
    (chained_sum, 5),
    (chained_lookup, 3),
    (_failed, 8),
)


def size(example: Example) -> int:
    """How many characters an example has, its form included."""
    return sum(len(text) for text, _ in pieces(example))


def _fitting(rng: Random, write: Callable[[Random], Example]) -> Example:
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
    return _fitting(rng, lambda r: _calling(r, wishes))


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
GREETINGS = (
    (
        "[Hi|Hello|Hey|Good morning|hi there][!|.|]",
        "Hello! [How can I help you|What can I do for you]?",
    ),
    ("How are you?", "[I am fine|Fine], thank you. [How can I help you?|]"),
    (
        "[Can you help me|I need help|I have a question][?|.|]",
        "[Of course|Sure], [what do you need|how can I help]?",
    ),
)
LACKING = (
    "[I am sorry, I|Sorry, I|I] [cannot|can't] {d}.",
    "[Sorry, I|I] have no tool to {d}.",
    "None of my tools can {d}.",
    "I [cannot|can't] {d} with the tools that I have.",
    "[Sorry, I|I] [cannot|can't] {d}, I can only {c}.",
    "That is not possible here: I [cannot|can't] {d}.",
)
BEYOND: tuple[tuple[str, str], ...] = (
    ("[Write|Make] [a poem|a song|a story] about {x}[, please|].", "write texts like that"),
    ("[Write|Draft] [a letter|an essay|a speech] [on|about] {x}[.|]", "write texts like that"),
    ("[Tell me|Do you know] a joke[ about {x}|][.|!|]", "tell jokes"),
    ("[Draw|Show] me [a picture of|] {x}.", "make pictures"),
    ("[What do you think|What is your opinion] [about|on] {x}?", "give opinions"),
    ("[Explain|Tell me about|What is] {x}[?|.]", "tell you about that"),
    ("[Who|What person] invented {x}?", "say who did that"),
    ("[When|Where] [did|was] {x} [begin|first seen]?", "tell you about that"),
    ("[Why|How] do people like {x}?", "tell you about that"),
    ("[Order|Buy|Get] me [a|the] {p}[, please|].", "buy things"),
    ("[Call|Phone|Ring] {n}[ for me|, please|].", "make phone calls"),
    ("[Clean|Delete] my [computer|inbox|files].", "do that"),
    ("[Fix|Repair|Debug] [my code|this program|my website].", "repair programs"),
    ("[What should I|Help me] [cook|wear|do] [today|on Sunday][?|.]", "decide that"),
    ("[Summarize|Read] [the book|the film|the news] [of today|] for me.", "read that"),
    ("[Who won|Who is winning] the [match|race|election]?", "see the news"),
    ("[Unlock|Start] my [car|phone|garage door].", "do that"),
    ("[Teach me|I want to learn] {l}.", "teach languages"),
    ("[Say|Write] [good morning|thank you|goodbye] in {l}.", "translate texts"),
    ("[Which|What] [book|series|restaurant] [do you like|is good]?", "recommend things"),
    ("[Invent|Find] a name for my [dog|band|shop].", "invent names"),
    ("[What will|How will] the world [be|look] like in 50 years?", "see the future"),
    ("[Dance|Smile] for me[!|.]", "do that"),
    ("[Bring|Fetch] me a [coffee|glass of water|sandwich].", "bring things"),
    ("What is the [capital|president|largest city] of {c}?", "tell you about that"),
)
COUNTRIES = "Peru Kenya Norway Chile India Egypt Poland Canada Vietnam Ghana Greece Nepal".split()
REMARKS: tuple[tuple[str, str], ...] = (
    ("My name is {n}.", "Hello, {n}! [How can I help you?|What can I do for you?]"),
    ("I am {n}[ from {p}|].", "Hello, {n}! How can I help you?"),
    ("[I am|I feel] [tired|bored|sick|unhappy][ today|].", "I am sorry to hear that."),
    ("[I am|I feel] [happy|great|fine][ today|].", "I am glad to hear that."),
    ("[It is|What a] [a nice|a lovely|beautiful] day[!|.]", "[I am glad|That is good] to hear."),
    ("[You are|That was] [great|very helpful|good|nice][!|.]", "Thank you[!|.]"),
    ("[You are|That was] [wrong|no help|useless][!|.]", "I am sorry. [What can I do better?|]"),
    ("[I have|There is] nothing [else|more][.|]", "[All right|Okay]. [Have a nice day!|]"),
    ("[Wait|Stop|Never mind|Forget it][.|!|]", "[Okay|All right]."),
    ("[Yes|No|Maybe|Sure|I see|Right][.|!|]", "[Okay|All right]. [What can I do for you?|]"),
    ("[I like|We like] {x}.", "[That is nice|Good to know]."),
    ("[Test|testing|hello?|Anyone there?|Ping]", "[I am here.|Hello!] How can I help you?"),
)


def _about(rng: Random, text: str) -> str:
    """A wording with some topic, thing, name, language or country in it."""
    known = {
        "x": rng.choice(TOPICS),
        "p": world.product(rng),
        "n": world.first_name(rng),
        "l": rng.choice(LANGUAGES.split("|")),
        "c": rng.choice(COUNTRIES),
    }
    return fill(text, known)


def distinct(skills: Sequence[Skill]) -> list[Skill]:
    """The tools without those that could do the work of one before them."""
    found: list[Skill] = []
    for one in skills:
        if not any(kin(one, known) for known in found):
            found.append(one)
    return found


def _lacking(rng: Random) -> tuple[list[Skill], list[Turn]]:
    """A wish for which there is no tool, but others are there."""
    wanted = any_skill(rng)
    box = [s for s in (any_skill(rng) for _ in range(rng.randint(1, 4))) if not kin(s, wanted)]
    if wanted.trade in SUM_TRADES:
        box = [s for s in box if s.trade not in SUM_TRADES]
    box = distinct(box)
    if not box:
        return _lacking(rng)
    wish, deed = wanted.task(rng).wish, wanted.deed
    if wanted.tool.name in wish or rng.random() < 0.25:
        wish, deed = rng.choice(BEYOND)
        wish = wish.replace("{x}", rng.choice(TOPICS)).replace("{p}", world.product(rng))
        wish = wish.replace("{n}", world.first_name(rng)).replace(
            "{l}", rng.choice(LANGUAGES.split("|"))
        )
        wish = spin(rng, wish)
    told = spin(rng, rng.choice(LACKING)).replace("{d}", deed).replace("{c}", box[0].deed)
    return box, [Turn("user", wish), Turn("assistant", told)]


UNSERVED = (
    "[I am sorry, I|Sorry, I|I] [cannot|can't] do that with [the|my] tools[ that I have|].",
    "None of my tools [does|can do] that.",
    "[Sorry, that|That] is not something my tools can do.",
    "I have no tool for that[, sorry|].",
    "[Sorry, I|I] [cannot|can't] do that, I can only {c}.",
)


def _unserved(rng: Random, wishes: Sequence[Labelled]) -> tuple[list[Skill], list[Turn]]:
    """A real wish beside tools for other kinds of wish, or for other things altogether."""
    wished = wishing(rng, wishes)
    if wished is None:
        return _lacking(rng)
    (one,), turns, box = wished
    text = turns[0].text
    if rng.random() < 0.6 or len(box) == 1:
        box = [_unrelated(rng) for _ in range(rng.randint(1, 3))]
        words = {naming.stem(w) for w in re.findall(r"[a-z]{4,}", text.lower())}
        named = [re.findall(r"[A-Z]?[a-z]+", s.tool.name) for s in box]
        if any(naming.stem(w) in words for name in named for w in name):
            return _unserved(rng, wishes)
    others = distinct([s for s in box if s is not one])
    forms = UNSERVED if others[0].deed != "do that" else UNSERVED[:-1]
    told = spin(rng, rng.choice(forms)).replace("{c}", others[0].deed)
    return others, [Turn("user", text), Turn("assistant", told)]


def _deeds(box: Sequence[Skill]) -> str:
    deeds = list(dict.fromkeys(s.deed for s in box))
    return deeds[0] if len(deeds) == 1 else ", ".join(deeds[:-1]) + f" and {deeds[-1]}"


def _polite(rng: Random) -> tuple[list[Skill], list[Turn]]:
    """Small talk beside tools, and the question what they are good for."""
    box = toolbox(rng, [any_skill(rng)])[:3]
    if rng.random() < 0.35:
        question = spin(
            rng,
            rng.choice(
                (
                    "[What can you do|What are you able to do|How can you help me][?|]",
                    "[Which|What] tools do you have?",
                    "[What are you for|What is your job]?",
                )
            ),
        )
        answer = f"I can {_deeds(box)}."
    else:
        talk = rng.choice((*THANKS, *GREETINGS, *GREETINGS, *REMARKS))
        known = {"n": world.first_name(rng), "p": world.city(rng), "x": rng.choice(TOPICS)}
        question, answer = (fill(spin(rng, text), known) for text in talk)
    return box, [Turn("user", question), Turn("assistant", answer)]


def _small_sum(rng: Random) -> tuple[list[Skill], list[Turn]]:
    """A small sum where no tool calculates."""
    box = [s for s in (any_skill(rng) for _ in range(3)) if s.trade not in SUM_TRADES]
    question, answer = arithmetic.small_question(rng)
    return box or [family(rng)], [Turn("user", question), Turn("assistant", answer)]


def _other_work(rng: Random, wishes: Sequence[Labelled]) -> Example:
    """A conversation of another part of the mixture, beside tools that it has no use for."""
    write = rng.choices(
        (
            support.fact_chat,
            extract.lookup,
            drills.copy_drill,
            smalltalk.about_itself,
            smalltalk.plain_fact,
            lambda r: smalltalk.decline(r, wishes),
        ),
        (40, 12, 8, 12, 8, 20),
    )[0]
    return write(rng)


UNRELATED = frozenset({"tickets", "parcels", "people", "refunds", "lights", "stocks"})


def _unrelated(rng: Random) -> Skill:
    """A tool that none of the other parts' questions is about."""
    found = any_skill(rng)
    while found.trade not in UNRELATED | SUM_TRADES and " " not in found.trade:
        found = any_skill(rng)
    return found


def _not_calling(rng: Random, wishes: Sequence[Labelled]) -> Example:
    if rng.random() < 0.4:
        other = _other_work(rng, wishes)
        boxed = toolbox(rng, [_unrelated(rng)], _unrelated)
        return replace(other, kind=KIND, tools=listed(rng, boxed[:1], boxed))
    talks: tuple[Talk, ...] = (_lacking, _polite, _small_sum, lambda r: _unserved(r, wishes))
    skills, turns = rng.choices(talks, (45, 20, 9, 26))[0](rng)
    head = (Turn("system", text),) if (text := system_text(rng)) else ()
    return Example(KIND, (*head, *turns), tools=listed(rng, skills[:1], skills))


def not_calling(rng: Random, wishes: Sequence[Labelled]) -> Example:
    """A conversation with tools at hand in which none is called.

    `wishes` are requests of a public set, some of which an assistant without tools must decline.
    """
    return _fitting(rng, lambda r: _not_calling(r, wishes))


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
