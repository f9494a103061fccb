"""Drills of copying: tables to look things up in, strings to repeat, words to echo.

They carry no knowledge. They are there because a model learns late, and only from many examples, to
fetch a thing from its prompt; extraction and labels given in the prompt both stand on that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from training import naming, world
from training.chat import Example, Turn, ask
from training.extract import Asked, flat
from training.fields import FIELDS
from training.world import spin


def table_drill(rng: Random) -> Example:
    """A list of keys and values, then questions for some of the values."""
    make: list[Callable[[Random], str]] = [
        world.word,
        world.code,
        lambda r: world.digits(r, 2, 6),
        world.person,
        world.email,
        world.city,
        world.order_number,
        world.product,
        world.amount,
        world.date,
        world.phone,
    ]
    key_of, value_of = rng.choice((world.word, world.product, world.first_name)), rng.choice(make)
    pairs = {key_of(rng): value_of(rng) for _ in range(rng.randint(2, 8))}
    mark = rng.choice((": ", " = ", " -> ", " is ", ", "))
    table = "\n".join(f"{key}{mark}{value}" for key, value in pairs.items())
    turns: list[Turn] = []
    for key in rng.sample(list(pairs), min(len(pairs), 3)):
        question = spin(
            rng,
            rng.choice(
                (
                    f"What is the value of {key}?",
                    f"[Give me|Tell me] {key}.",
                    f"{key}?",
                    f"Look up {key}.",
                    f"What [stands|is written] next to {key}?",
                )
            ),
        )
        turns += [
            Turn("user", question if turns else f"{table}\n\n{question}"),
            Turn("assistant", pairs[key]),
        ]
    return Example("drill", tuple(turns))


def copy_drill(rng: Random) -> Example:
    """Repeat a string, or write given pairs as JSON."""
    if rng.random() < 0.5:
        parts = [
            rng.choice(
                (
                    world.word(rng),
                    world.code(rng),
                    world.email(rng),
                    world.person(rng),
                    world.digits(rng, 3, 8),
                    world.product(rng),
                    world.phone(rng),
                )
            )
            for _ in range(rng.randint(1, 5))
        ]
        text = " ".join(parts)
        head = spin(rng, "[Repeat|Copy|Write again|Say] [exactly|this|the following]: ")
        return ask("drill", head + text, text)
    chosen = rng.sample(FIELDS, rng.randint(1, 6))
    fields: list[Asked] = [(rng.choice(f.keys), f, f.value(rng)) for f in chosen]
    shown = rng.choice((", ", "\n", "; ")).join(f"{key}: {value}" for key, _, value in fields)
    head = spin(rng, "[Write|Give|Show] this as [JSON|a JSON object]:")
    return ask("drill", f"{head}\n{shown}", flat(fields))


def repeat_drill(rng: Random, words: Sequence[str]) -> Example:
    """Real and invented words in random order, to be written again, two or three times over."""
    turns: list[Turn] = []
    for _ in range(rng.randint(1, 3)):
        count = rng.randint(3, 18)
        chosen = [
            rng.choice(words) if rng.random() < 0.8 else world.word(rng) for _ in range(count)
        ]
        if rng.random() < 0.3:
            chosen = [rng.choice((word, world.digits(rng, 2, 6))) for word in chosen]
        text = rng.choice((" ", " ", ", ", "\n")).join(chosen)
        turns += [Turn("user", f"Repeat: {text}"), Turn("assistant", text)]
    return Example("drill", tuple(turns))


def next_drill(rng: Random, words: Sequence[str]) -> Example:
    """A list of words, then questions for the word after, before or that begins like another."""
    chosen = list(dict.fromkeys(rng.choice(words) for _ in range(rng.randint(4, 14))))
    turns: list[Turn] = []
    for _ in range(rng.randint(2, 5)):
        at = rng.randrange(len(chosen) - 1) if len(chosen) > 1 else 0
        after = min(at + 1, len(chosen) - 1)
        question, answer = rng.choice(
            (
                (f"What comes after {chosen[at]}?", chosen[after]),
                (f"What comes before {chosen[after]}?", chosen[at]),
            )
        )
        head = "" if turns else "\n".join(chosen) + "\n\n"
        turns += [Turn("user", head + question), Turn("assistant", answer)]
    return Example("drill", tuple(turns))


SPELLINGS = (
    (0, "[in lower case|as plain words]"),
    (1, "[in snake_case|with underscores]"),
    (2, "[in CamelCase|as one CamelCase word]"),
    (3, "[in Title Case|with capitals]"),
    (5, "in UPPER_CASE"),
)


def respell_drill(rng: Random, words: Sequence[str]) -> Example:
    """Names written again, one a line, in the same spelling or another.

    A word has other tokens behind a blank, at a line's start and in a longer name; this is where the
    model learns that they are one word.
    """
    pairs = [
        [rng.choice(words) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(3, 9))
    ]
    given = naming.any_style(rng)
    shown = rng.choice((", ", "\n- ", " | ", ", ")).join(naming.spelled(p, given) for p in pairs)
    if rng.random() < 0.45:
        task, style = (
            "[Repeat|List] [these names|the labels|these][, one per line| line by line]:",
            given,
        )
    else:
        style, how = rng.choice(SPELLINGS)
        task = f"[Write|Spell] [these names|the labels|these] {how}, one per line:"
    answer = "\n".join(naming.spelled(p, style) for p in pairs)
    return ask("drill", f"{spin(rng, task)} {shown}", answer)
