"""Several wishes to one set of tools, some of which no tool serves: what is learned is to choose.

Owns how wishes and tools are put side by side. A wish is another tool's, of a public set, or of no tool at
all; what cannot be done is always said in the same few words, so that choosing is one decision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from training import naming, tool_public
from training.chat import Example, Turn
from training.tool_families import Skill
from training.tool_lookups import LOOKUPS
from training.tools import (
    KIND,
    MOST_CHARACTERS,
    SUM_TRADES,
    any_skill,
    fitting,
    kin,
    listed,
    lookup,
    size,
    sums,
    system_text,
    used,
)
from training.tools_unused import NONE_FITS, beyond, polite_talk

SERVED = 0.52
"""The share of exchanges in which a tool is called."""

FAMILY_WORDS: dict[str, str] = {
    "weather": "weather rain snow sun wind cold warm hot degree humid storm umbrella jacket coat forecast outside",
    "orders": "order deliver ship arrive",
    "stocks": "stock share price market quote trade",
    "exchange": "exchange currency convert dollar euro pound money cash rate much worth",
    "clock": "time clock hour date day today zone",
    "units": "convert unit mile meter pound kilo ounce inch feet foot cup liter gallon many much conver",
    "search": "search find look what who where when which how why web internet google tell know news explain",
    "mail": "mail email message send write tell inform text letter",
    "tickets": "ticket issue problem report complain broken wrong help fix lost stolen error work damage",
    "tables": "table book reserve restaurant dinner lunch eat food meal",
    "customers": "customer client user account name who find profile",
    "dictionary": "word mean define definition dictionary what synonym spell describe explain",
    "translation": "translate language say speak spanish french german italian how word",
    "timers": "timer alarm wake remind countdown minute hour set clock",
    "calendar": "calendar meeting event appointment schedule remind book plan add party",
    "music": "music song play track listen album artist band radio podcast audio tune",
    "lights": "light lamp bright dark dim turn switch",
    "parcels": "package parcel track ship deliver order arrive mail post",
    "prices": "price cost much buy sell item product shop fee charge",
    "flights": "flight fly plane airport travel trip book ticket airline",
    "notes": "note list remind remember memo write save todo task add",
    "refunds": "refund money back return order charge reimburse",
    "routes": "route way direct far distance traffic drive map get long travel road mile",
    "people": "who person contact phone call email employee colleague address",
}
"""Words of wishes that a family's tools might serve; no such wish is set beside them as one that none does."""


FAMILY_WORDS |= {
    "temperatures": FAMILY_WORDS["weather"],
    "shop prices": FAMILY_WORDS["prices"],
    "stock counts": FAMILY_WORDS["prices"],
    "share prices": FAMILY_WORDS["stocks"],
    "order states": FAMILY_WORDS["orders"],
    "rates": FAMILY_WORDS["exchange"],
    "extensions": FAMILY_WORDS["people"],
    "holders": "account",
    "balances": "account balance money",
    "loans": "book library",
    "shelves": "book library find",
    "gates": "flight gate",
    "landings": "flight land arrive",
    "flight delays": "flight late delay",
    "buses": "bus train",
    "calories": "calorie food eat healthy",
    "songs": "song music sing artist play",
    "films": "movie film watch",
    "hours": "open close hour store shop",
    "tables free": "restaurant review rate good",
    "birthdays": "birthday born old",
    "leave": "vacation leave day holiday pto",
}
LOOKED_UP = frozenset(family.trade for family in LOOKUPS)


def related(text: str, one: Skill) -> bool:
    """Whether a tool might have to do with a text; said too often rather than too rarely."""
    words = {naming.stem(w) for w in tool_public.words_of(text)}
    if one.trade in SUM_TRADES:
        return bool(re.search(r"\d.*\d|\b(add|sum|plus|minus|times|total|calc)", text.lower()))
    family = FAMILY_WORDS.get(one.trade, "").split()
    if any(word.startswith(stem) for word in words for stem in family):
        return True
    named = tool_public.stems(f"{' '.join(tool_public.words_of(one.tool.name))} {one.tool.about}")
    return bool(named & tool_public.stems(text))


def _box(rng: Random, draw: Callable[[Random], Skill], size: int) -> list[Skill]:
    found: list[Skill] = []
    while len(found) < size:
        near = found and rng.random() < 0.55
        other = (
            sums(rng)
            if near and found[0].trade in SUM_TRADES
            else lookup(rng)
            if near and found[0].trade in LOOKED_UP
            else draw(rng)
        )
        if not any(kin(other, known) for known in found):
            found.append(other)
    return found


def _absent(rng: Random, box: Sequence[Skill], draw: Callable[[Random], Skill]) -> str | None:
    """A wish for a tool that is not there; None if what was drawn could be served after all."""
    sums_only = not any(s.trade in SUM_TRADES for s in box) and rng.random() < 0.45
    looked_up = any(s.trade in LOOKED_UP for s in box) and rng.random() < 0.5
    other = sums(rng) if sums_only else lookup(rng) if looked_up else draw(rng)
    near = other.trade.startswith("public") or any(s.trade.startswith("public") for s in box)
    wish = other.task(rng).wish
    if other.tool.name in wish or any(kin(other, known) for known in box):
        return None
    if other.trade in SUM_TRADES and any(s.trade in SUM_TRADES for s in box):
        return None
    return None if near and any(related(wish, known) for known in box) else wish


def _foreign(rng: Random, box: Sequence[Skill], requests: Sequence[str]) -> str | None:
    """A real request that has nothing to do with any of the tools."""
    text = rng.choice(requests) if requests else beyond(rng)
    return None if any(related(text, known) for known in box) else text


def unserved(
    rng: Random, box: Sequence[Skill], draw: Callable[[Random], Skill], requests: Sequence[str]
) -> list[Turn]:
    """A wish that none of the tools serves, or a remark, and what is said to it."""
    for _ in range(30):
        kind = rng.random()
        if kind < 0.5:
            wish = _absent(rng, box, draw)
        elif kind < 0.78:
            wish = _foreign(rng, box, requests)
        elif kind < 0.9:
            wish = beyond(rng)
            wish = None if any(related(wish, known) for known in box) else wish
        else:
            question, answer = polite_talk(rng)
            return [Turn("user", question), Turn("assistant", answer)]
        if wish is not None:
            return [Turn("user", wish), Turn("assistant", NONE_FITS)]
    question, answer = polite_talk(rng)
    return [Turn("user", question), Turn("assistant", answer)]


def session(rng: Random, requests: Sequence[str], records: Sequence[tool_public.Record]) -> Example:
    """Some exchanges beside the same one to four tools; in about half of them a tool is called."""

    def draw(r: Random) -> Skill:
        if records and r.random() < 0.12:
            return tool_public.skill(r, records)
        return any_skill(r)

    def write(r: Random) -> Example:
        box = _box(r, draw, r.choices((1, 2, 3, 4), (24, 28, 27, 21))[0])
        head = (Turn("system", text),) if (text := system_text(r)) else ()
        tools = listed(r, box, box)
        found: Example | None = None
        turns = list(head)
        for _ in range(r.choices((1, 2, 3, 4), (34, 26, 22, 18))[0]):
            served = r.random() < SERVED
            one = r.choice(box)
            turns += used(r, one, one.task(r)) if served else unserved(r, box, draw, requests)
            longer = Example(KIND, tuple(turns), tools=tools)
            if found is not None and size(longer) > MOST_CHARACTERS:
                break
            found = longer
        assert found is not None
        return found

    return fitting(rng, write)
