"""What the engines are asked: tokens nobody asked before, tokens that many share, and real texts.

Every prompt is drawn from a seed, so that each engine of a round gets the same ones and no round
finds what another left in a cache.
"""

import numpy as np

from renga.bench.subject import Subject

FIRST_ID = 300  # below it are control tokens and single bytes

NAMES = "Dana Fields,Omar Haddad,Lucia Moretti,Jonas Weber,Priya Nair,Tom Becker".split(",")
PRODUCTS = "desk lamp,rain jacket,coffee grinder,travel bag,garden chair,phone case".split(",")
REASONS = [
    "it arrived broken",
    "it is the wrong size",
    "a part of it is missing",
    "it never arrived",
    "I ordered it twice by mistake",
    "it stopped working after a day",
]

SUPPORT = (
    "You are the support assistant of Birchwood Books, an online bookshop. Orders arrive within "
    "3 to 5 days. Returns are free within 30 days. Support is open from 9 to 5, Monday to Friday."
)
QUESTIONS = [
    "Hello! How long does delivery take?",
    "I would like to return a book. What do I have to do?",
    "When is the support open?",
    "My parcel is late. Can you help me?",
    "How much does it cost to send something back?",
    "Can I still change the address of my order?",
]
FIELDS = ("name", "email", "order_number", "product", "amount")
READ = f"Extract {', '.join(FIELDS)} from the letter as JSON."


class Prompts:
    """Token prompts for one round of one workload."""

    def __init__(self, subject: Subject, *seed: int) -> None:
        self._draw = np.random.default_rng([len(seed), *seed])
        self._vocab = subject.vocab

    def unique(self, tokens: int) -> list[int]:
        """So many tokens that nobody else was given."""
        found: list[int] = self._draw.integers(FIRST_ID, self._vocab, tokens).tolist()
        return found

    def sharing(self, count: int, shared: list[int], tokens: int) -> list[list[int]]:
        """`count` prompts of `tokens` that begin with `shared` and then part."""
        return [shared + self.unique(tokens - len(shared)) for _ in range(count)]


def letters(count: int) -> list[str]:
    """Letters from which the same five facts are to be read."""
    found = []
    for number in range(count):
        name, product = NAMES[number % 6], PRODUCTS[number * 5 % 6]
        address = name.lower().replace(" ", ".") + "@example.com"
        found.append(
            f"Hi, my name is {name}. I would like to return order {48_213 + 977 * number}: the "
            f"{product} I bought for ${19 + 7 * number}.90, because "
            f"{REASONS[number * 7 % 6]}. You can reach me at {address}. Thank you!"
        )
    return found
