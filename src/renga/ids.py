"""Ids of messages, requests and instances, in the API's form: a prefix and 24 letters and digits.

Randomness is a parameter, so that tests and replays name the same things alike.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable

_ALPHABET = string.ascii_letters + string.digits

Ids = Callable[[str], str]


def make_ids(source: random.Random | None = None) -> Ids:
    """A function from prefix ("msg", "req") to a fresh id such as `msg_01...`."""
    source = source or random.Random()  # seeded by the system; an id is a name, not a secret

    def new(prefix: str) -> str:
        return f"{prefix}_01" + "".join(source.choices(_ALPHABET, k=22))

    return new
