"""Conversations beside tools that are not called: none fits, or none is needed.

Owns what is said instead. What is asked is what other tools would do, what no tool does, small talk, and
the work of the mixture's other parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from training import (
    drills,
    extract,
    naming,
    smalltalk,
    support,
    world,
)
from training.chat import Example, Turn
from training.corpora import Labelled
from training.tool_families import Skill, fill
from training.tool_values import LANGUAGES, TOPICS
from training.tools import (
    KIND,
    SUM_TRADES,
    THANKS,
    Talk,
    any_skill,
    fitting,
    kin,
    listed,
    system_text,
    toolbox,
    wishing,
)
from training.world import spin

GREETINGS = (
    (
        "[Hi|Hello|Hey|Good morning|hi there][!|.|]",
        "Hello! [How can I help you|What can I do for you]?",
    ),
    ("How are you?", "[I am fine|Fine], thank you. [How can I help you?|]"),
    (
        "[Hi|Hello|Evening|Good day|Hey][!|,|.] [how is it going|all well|is everything good|how do you do|are you okay][ today| there|]?",
        "[I am fine|Fine], thank you. How can I help you?",
    ),
    (
        "[Can you help me|I need help|I have a question][?|.|]",
        "[Of course|Sure], [what do you need|how can I help]?",
    ),
)
NONE_FITS = "None of my tools can do that."
"""The one answer to what no tool does: where wordings differ, a small model loses sight of the decision."""
BEYOND: tuple[str, ...] = (
    "[Write|Make] [a poem|a song|a story] about {x}[, please|].",
    "[Write|Draft] [a letter|an essay|a speech] [on|about] {x}[.|]",
    "[Tell me|Do you know] a joke[ about {x}|][.|!|]",
    "[Draw|Show] me [a picture of|] {x}.",
    "[What do you think|What is your opinion] [about|on] {x}?",
    "[Explain|Tell me about|What is] {x}[?|.]",
    "[Who|What person] invented {x}?",
    "[When|Where] [did|was] {x} [begin|first seen]?",
    "[Why|How] do people like {x}?",
    "[Order|Buy|Get] me [a|the] {p}[, please|].",
    "[Call|Phone|Ring] {n}[ for me|, please|].",
    "[Clean|Delete] my [computer|inbox|files].",
    "[Fix|Repair|Debug] [my code|this program|my website].",
    "[What should I|Help me] [cook|wear|do] [today|on Sunday][?|.]",
    "[Summarize|Read] [the book|the film|the news] [of today|] for me.",
    "[Who won|Who is winning] the [match|race|election]?",
    "[Unlock|Start] my [car|phone|garage door].",
    "[Teach me|I want to learn] {l}.",
    "[Say|Write] [good morning|thank you|goodbye] in {l}.",
    "[Which|What] [book|series|restaurant] [do you like|is good]?",
    "[Invent|Find] a name for my [dog|band|shop].",
    "[What will|How will] the world [be|look] like in 50 years?",
    "[Dance|Smile] for me[!|.]",
    "[Bring|Fetch] me a [coffee|glass of water|sandwich].",
    "What is the [capital|president|largest city] of {c}?",
    "[Put|Hang] the [washing|pictures|keys] [away|up][, please|].",
    "[Who|Which person] [built|painted|discovered] {x}?",
    "[How|In what way] do I [cook|make|prepare] [soup|a cake|noodles|pancakes]?",
    "How many [wings|teeth|eyes|arms] does a [bee|horse|fish|octopus] have?",
    "[Is it|Do you find it] [good|bad|safe] to [run every day|eat late|sleep at noon]?",
    "Why [is|does] [the sky|grass|fire|ice] [so|look like that|always] [hot|green|blue|cold]?",
    "[Which|What] is the [highest|oldest|biggest] [mountain|lake|bridge|animal] of [Asia|Europe|the world]?",
    "What happened [in|around] {y}?",
    "[Who|Which king] ruled [France|Spain|Rome] in {y}?",
    "[Reserve|Get|Find] me a [room|hostel|flat] for [Friday|the weekend|next week].",
    "[Hum|Whistle|Rap] [something|a tune|for me][.|!|]",
    "[Open|Close|Raise] the [curtains|windows|garage].",
    "[Wake|Call] my [brother|kids|neighbour] at [six|ten|noon].",
    "[Check|Correct|Rewrite] my [text|letter|homework|speech].",
    "[Let|Have] my [teacher|landlord|doctor] know that I [am late|moved|feel better].",
    "[Sort|Move|Back up] my [photos|videos|documents].",
    "[Post|Mail|Bring] [flowers|a gift|a card] to my [aunt|friend|mother].",
    "[Put|Say] this in [other words|simple English]: [the night is long|birds sing at dawn|time flies].",
    "[Is there|Give me] [a tip|some advice] [for|on] [learning chess|better sleep|my first day at work]?",
    "[Could you|Please] [plan|organize] my [wedding|holidays|birthday party]?",
    "What [is love|makes people happy|comes after death]?",
    "[Guess|Tell me] [my age|what I had for lunch|who I am].",
    "[Feed|Walk|Wash] my [cat|dog|parrot], please.",
    "I [want|would like] [a tea|two burgers|some ice cream], please.",
)
"""What no tool here does; `{x}` is a topic, `{p}` a product, `{n}` a name, `{l}` a language, `{y}` a year."""
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
        "y": str(rng.randint(1066, 1999)),
    }
    return fill(text, known)


def beyond(rng: Random) -> str:
    """A wish that no tool here serves."""
    return _about(rng, spin(rng, rng.choice(BEYOND)))


def polite_talk(rng: Random) -> tuple[str, str]:
    """A remark that wants no tool, and the answer to it."""
    known = {"n": world.first_name(rng), "p": world.city(rng), "x": rng.choice(TOPICS)}
    question, answer = rng.choice((*THANKS, *GREETINGS, *GREETINGS, *REMARKS))
    return fill(spin(rng, question), known), fill(spin(rng, answer), known)


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
    wish = wanted.task(rng).wish
    if wanted.tool.name in wish or rng.random() < 0.25:
        wish = beyond(rng)
    return box, [Turn("user", wish), Turn("assistant", NONE_FITS)]


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
    return others, [Turn("user", text), Turn("assistant", NONE_FITS)]


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
        question, answer = polite_talk(rng)
    return box, [Turn("user", question), Turn("assistant", answer)]


def _other_work(rng: Random) -> Example:
    """A conversation of another part of the mixture, beside tools that it has no use for."""
    write = rng.choices(
        (
            support.fact_chat,
            extract.lookup,
            drills.copy_drill,
            smalltalk.about_itself,
            smalltalk.plain_fact,
        ),
        (45, 15, 10, 18, 12),
    )[0]
    return write(rng)


UNRELATED = frozenset({"tickets", "parcels", "people", "refunds", "stocks"})


def _unrelated(rng: Random) -> Skill:
    """A tool that none of the other parts' questions is about."""
    found = any_skill(rng)
    while found.trade not in UNRELATED | SUM_TRADES and " " not in found.trade:
        found = any_skill(rng)
    return found


def _not_calling(rng: Random, wishes: Sequence[Labelled]) -> Example:
    if rng.random() < 0.4:
        other = _other_work(rng)
        boxed = toolbox(rng, [_unrelated(rng)], _unrelated)
        return replace(other, kind=KIND, tools=listed(rng, boxed[:1], boxed))
    talks: tuple[Talk, ...] = (_lacking, _polite, lambda r: _unserved(r, wishes))
    skills, turns = rng.choices(talks, (50, 20, 30))[0](rng)
    head = (Turn("system", text),) if (text := system_text(rng)) else ()
    return Example(KIND, (*head, *turns), tools=listed(rng, skills[:1], skills))


def not_calling(rng: Random, wishes: Sequence[Labelled]) -> Example:
    """A conversation with tools at hand in which none is called.

    `wishes` are requests of a public set, some of which an assistant without tools must decline.
    """
    return fitting(rng, lambda r: _not_calling(r, wishes))
