"""What tool use is scored by: real functions, wishes in wordings never trained on, and what is right.

Owns the functions, the wordings and the rows; knows nothing of how the model is asked. The functions are
described to the model by the official SDK, from their signatures and docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from random import Random
from typing import Any

from training import world

Function = Callable[..., str]


def add(a: int, b: int) -> str:
    """Add two integers.

    Args:
        a: The first integer.
        b: The second integer.
    """
    return str(a + b)


def subtract(a: int, b: int) -> str:
    """Subtract the second integer from the first.

    Args:
        a: The integer to subtract from.
        b: The integer to subtract.
    """
    return str(a - b)


def multiply(x: int, y: int) -> str:
    """Multiply two integers."""
    return str(x * y)


def add_amounts(first: int, second: int) -> str:
    """Returns the sum of two amounts of money in cents."""
    return str(first + second)


def _choice(key: str, choices: Sequence[str]) -> str:
    """Always the same of some choices for one key."""
    return Random(key).choice(choices)


def order_status(order_id: str) -> str:
    """Get the shipping status of an order.

    Args:
        order_id: The order's number.
    """
    return _choice(order_id, ("shipped", "delivered", "being packed", "delayed", "on hold"))


def current_temperature(city: str) -> str:
    """Get the current temperature in a city, in degrees Celsius.

    Args:
        city: The name of the city.
    """
    return str(Random(city).randint(-12, 39))


def share_price(symbol: str) -> str:
    """Get the latest price of a share by its ticker symbol."""
    return f"{Random(symbol).randint(3, 800)}.{Random(symbol).randint(1, 9)}"


def phone_extension(employee: str) -> str:
    """Look up the phone extension of an employee.

    Args:
        employee: Full name of the employee.
    """
    return str(Random(employee).randint(100, 9999))


def loan_due_date(card_number: str) -> str:
    """Tell when the loans on a library card are due."""
    days = Random(card_number).randint(1, 28)
    return f"{days} {_choice(card_number, world.MONTHS)}"


def room_capacity(room: str) -> str:
    """Get how many people fit into a meeting room.

    Args:
        room: The name of the room.
    """
    return f'{{"room": "{room}", "capacity": {Random(room).randint(2, 300)}}}'


def departure_gate(flight: str) -> str:
    """Find the gate from which a flight departs."""
    return f"{_choice(flight, 'ABCDEF')}{Random(flight).randint(1, 60)}"


def item_price(item: str) -> str:
    """Get the price of an item in the shop, in dollars.

    Args:
        item: What the customer wants to buy.
    """
    return f"{Random(item).randint(1, 400)}.{Random(item).randint(1, 9)}5"


def account_holder(account: str) -> str:
    """Find out who holds an account, by the account's number."""
    return world.person(Random(account))


@dataclass(frozen=True)
class Subject:
    """A function to be called: its arguments' values, and wordings that no writer of `tools` has."""

    function: Function
    values: Callable[[Random], tuple[Any, ...]]
    wishes: tuple[str, ...]


def _pair(rng: Random) -> tuple[int, int]:
    low, high = rng.choice(((1, 99), (10, 99), (100, 999), (10, 999), (1000, 9999)))
    return rng.randint(low, high), rng.randint(low, high)


SUMS = (
    Subject(
        add,
        _pair,
        (
            "Compute {0}+{1} with the add tool and tell me",
            "Would you kindly add {0} and {1} up?",
            "I wonder what {0} plus {1} comes to.",
            "Figure out {0} + {1} for my homework.",
            "Quick question: {0}+{1}, how much?",
            "Mind telling me what {0} and {1} make together?",
            "{0} plus {1} equals what?",
            "Let me know the sum of {0} and {1}, will you?",
            "Show me what you get when adding {0} and {1}.",
        ),
    ),
    Subject(
        subtract,
        _pair,
        (
            "Quick question: {0}-{1}, how much?",
            "I wonder what {0} minus {1} comes to.",
            "Figure out {0} - {1} for my homework.",
            "Would you kindly subtract {1} from {0}?",
            "{0} minus {1} equals what?",
        ),
    ),
    Subject(
        multiply,
        _pair,
        (
            "Quick question: {0}*{1}, how much?",
            "I wonder what {0} times {1} comes to.",
            "Would you kindly multiply {0} by {1}?",
            "Figure out {0} * {1} for my homework.",
            "{0} times {1} equals what?",
        ),
    ),
    Subject(
        add_amounts,
        _pair,
        (
            "Let me know the sum of {0} and {1} cents, will you?",
            "One bill is {0} cents, the next {1} cents. What is the sum?",
            "Figure out the sum of the amounts {0} and {1}.",
        ),
    ),
)


def _one(make: Callable[[Random], str]) -> Callable[[Random], tuple[str]]:
    return lambda rng: (make(rng),)


def _symbol(rng: Random) -> str:
    return "".join(rng.choices("ABCDEFGHKLMNPRSTUVWXYZ", k=rng.randint(3, 4)))


LOOKUPS = (
    Subject(
        order_status,
        _one(lambda rng: world.digits(rng, 5, 7)),
        (
            "Mind checking how my order {0} is doing?",
            "Please look into order {0} and let me know its status.",
            "I wonder about the status of my order, number {0}.",
            "How is order {0} coming along?",
        ),
    ),
    Subject(
        current_temperature,
        _one(lambda rng: rng.choice(world.CITIES)),
        (
            "Mind telling me how warm {0} is at the moment?",
            "I wonder what the temperature in {0} might be.",
            "How many degrees does {0} have right now?",
            "Find out the temperature in {0} for my trip.",
        ),
    ),
    Subject(
        share_price,
        _one(_symbol),
        (
            "Mind checking what {0} shares cost?",
            "I wonder what the share price of {0} is.",
            "Find out the price of {0} shares before I sell.",
        ),
    ),
    Subject(
        phone_extension,
        _one(world.person),
        (
            "Which extension do I dial to reach {0}?",
            "I wonder what extension {0} has.",
            "Find out the phone extension of {0} so that I can ring.",
        ),
    ),
    Subject(
        loan_due_date,
        _one(lambda rng: world.digits(rng, 5, 8)),
        (
            "My library card is {0}. When are my loans due?",
            "By when must I bring back the loans on library card {0}?",
            "Find out the due date of the loans on card {0}.",
        ),
    ),
    Subject(
        room_capacity,
        _one(lambda rng: world.word(rng).capitalize()),
        (
            "How many people does the meeting room {0} hold?",
            "I wonder what capacity the room {0} has.",
            "Find out how many people fit into room {0}.",
        ),
    ),
    Subject(
        departure_gate,
        _one(lambda rng: f"{_symbol(rng)[:2]}{rng.randint(100, 9999)}"),
        (
            "My flight is {0}. Where do I have to go, which gate?",
            "I wonder from which gate flight {0} departs.",
            "Find out the gate of flight {0} before I miss it.",
        ),
    ),
    Subject(
        item_price,
        _one(lambda rng: rng.choice(world.GOODS)),
        (
            "I wonder what the {0} costs in your shop.",
            "Mind checking the price tag of the {0}?",
            "Find out the price of the {0} before I buy it.",
        ),
    ),
    Subject(
        account_holder,
        _one(lambda rng: world.digits(rng, 6, 8)),
        (
            "Whose account is {0}, who holds it?",
            "I wonder who the holder of account {0} is.",
            "Find out who holds the account {0}.",
        ),
    ),
)
ALL = (*SUMS, *LOOKUPS)

NO_WORK: tuple[str, ...] = (
    "Morning! Everything fine with you?",
    "Cheers, that was all for today.",
    "Pleased to make your acquaintance.",
    "Have a pleasant evening.",
    "You did well, I am glad.",
    "Would you say you are a person?",
    "Compose a short poem about autumn leaves.",
    "Do you have a joke for my children?",
    "Please paint a sunset for me.",
    "Which film should we watch tonight?",
    "Turn this sentence into Latin: the sky is blue.",
    "Recommend a good novel to me.",
    "How do I bake an apple pie?",
    "What happened in the year 1789?",
    "Who wrote Hamlet?",
    "Why is the sea salty?",
    "Please book me a hotel for Saturday.",
    "Play something by the Beatles.",
    "Wake me up at half past six.",
    "Lower the blinds in the bedroom.",
    "Send my sister a birthday card.",
    "Who is the president of Brazil?",
    "Help me plan a garden.",
    "What is the meaning of life?",
    "Repeat after me: good things take time.",
    "Which is the longest river of Africa?",
    "How many legs does a spider have?",
    "Is it healthy to drink coffee?",
    "Sing me a song.",
    "Order two pizzas, please.",
    "Could you proofread my essay?",
    "Are you listening?",
    "I feel a little sad today.",
    "My dog is called Rex.",
    "What do you think of modern art?",
    "Give me advice on learning the piano.",
    "Which language is spoken in Peru?",
    "Tell my boss that I am ill.",
    "Rename my photo folder, please.",
    "How old are you?",
)


def _pattern(wording: str) -> str:
    parts = (re.escape(part.strip(" .?!")) for part in re.split(r"\{\d\}", wording))
    return r"\W*.+\W*".join(parts) + r"\W*"


_SCORED = re.compile(
    "|".join(map(_pattern, (*(wish for s in ALL for wish in s.wishes), *NO_WORK))), re.IGNORECASE
)


def scored(text: str) -> bool:
    """Whether a text is one of the wordings above with any values in it, however it is written."""
    return _SCORED.fullmatch(text) is not None


@dataclass(frozen=True)
class Row:
    """A wish with tools at hand: the call that is right (None: no call is) and what must be told."""

    tools: tuple[Function, ...]
    wish: str
    call: tuple[str, Mapping[str, Any]] | None = None
    told: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a row: every call that was made, and the last text."""

    calls: Sequence[tuple[str, Mapping[str, Any]]]
    text: str


def _others(rng: Random, known: Subject, most: int) -> list[Function]:
    kindred = {add, add_amounts}
    near = kindred if known.function in kindred else {known.function}
    others = [s.function for s in ALL if s.function not in near]
    chosen = rng.sample(others, rng.randint(0, most))
    return [f for f in chosen if f is not add_amounts or add not in chosen]


def _result(function: Function, values: tuple[Any, ...]) -> str:
    """What must be told: the function's result, or the one value that its JSON result adds."""
    found = re.search(r'": (\d+)\}$', text := function(*values))
    return found[1] if found else text


def work(rows: int, seed: int) -> list[Row]:
    """Sums and look-ups by turns, each with its tool among none to three others."""
    rng, found = Random(seed), []
    for number in range(rows):
        subject = rng.choice(SUMS if number % 2 == 0 else LOOKUPS)
        values = subject.values(rng)
        function = subject.function
        given = dict(zip(signature(function).parameters, values, strict=True))
        tools = [function, *_others(rng, subject, 3)]
        rng.shuffle(tools)
        wish = rng.choice(subject.wishes).format(*values)
        call = (function.__name__, given)
        found.append(Row(tuple(tools), wish, call, _result(function, values)))
    return found


def no_work(rows: int, seed: int) -> list[Row]:
    """Wishes that no given tool serves: another tool's, small talk, and what no tool here does."""
    rng, found = Random(seed), []
    for number in range(rows):
        subject = rng.choice(ALL)
        others = _others(rng, subject, 3) or [
            f for f in (add, order_status) if f is not subject.function
        ]
        if subject in SUMS:
            sums = {s.function for s in SUMS}
            others = [f for f in others if f not in sums] or [order_status]
        lacking = rng.choice(subject.wishes).format(*subject.values(rng))
        wish = NO_WORK[number // 2 % len(NO_WORK)] if number % 2 else lacking
        if "add tool" not in wish:
            found.append(Row(tuple(others), wish))
        else:
            found.append(Row(tuple(others), wish.replace(" with the add tool", "")))
    return found


def right(row: Row, outcome: Outcome) -> bool:
    """Whether the right call was made, once and alone, and its result told; or none where none is due."""
    if row.call is None:
        return not outcome.calls
    calls = [(name, dict(given)) for name, given in outcome.calls]
    told = re.search(rf"(?<![\w.-]){re.escape(row.told)}(?!\w|\.\d)", outcome.text)
    return calls == [(row.call[0], dict(row.call[1]))] and told is not None
