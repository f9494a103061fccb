"""What a request is expected to take, before anybody has counted: learned from the last ones.

Owns the guess of what is counted against limits of tokens. Of input that is less than the prompt
where much of it is read from the cache; of output it has nothing to do with `max_tokens`, except
that it cannot be more. A guess that was wrong is made up for when the request is settled.
"""

from __future__ import annotations

from typing import Any, Final

from renga.prices import Price, Tokens
from renga.types import Prompt

PER_LETTER: Final = 0.3
"""Tokens for each letter of a prompt, before one was counted; in English it is some 0.25."""

MOST_PER_LETTER: Final = 0.6
"""More than any text that models are asked in takes, for what may be spent at most."""

FIRST_OUTPUT: Final = 256
PICTURE: Final = 5_000
"""Letters that an image or a document counts for: their tokens are known when they are read."""

SCHEMA: Final = 400
"""Letters that a tool takes beside its description, about: writing them out would take time."""

WEIGHT: Final = 0.2  # of the newest request


class Expected:
    """What the requests of one key take. Tokens, on average over the last few."""

    __slots__ = ("_output", "_per_letter")

    def __init__(self) -> None:
        self._per_letter = PER_LETTER
        self._output = float(FIRST_OUTPUT)

    def input(self, letters: int) -> int:
        """Tokens of a prompt that count; one at least."""
        return max(1, round(letters * self._per_letter))

    def output(self, most: int) -> int:
        """Tokens of the answer, `most` at most."""
        return min(round(self._output), most)

    def learn(self, letters: int, counted: int, output: int) -> None:
        """A prompt of so many letters counted for `counted` tokens, its answer for `output`."""
        self._per_letter += WEIGHT * (counted / max(letters, 1) - self._per_letter)
        self._output += WEIGHT * (output - self._output)


def counted_input(tokens: Tokens) -> int | None:
    """Tokens of a prompt that count against a limit: what was read from the cache does not.

    None where they are not known.
    """
    if tokens.input is None or tokens.cache_write_5m is None or tokens.cache_write_1h is None:
        return None
    return tokens.input + tokens.cache_write_5m + tokens.cache_write_1h


def dearest(letters: int, max_tokens: int, price: Price) -> int:
    """Pico-dollars that an answer costs at most, all of the prompt written into the cache."""
    prompt = int(letters * MOST_PER_LETTER) + 1
    return prompt * max(price.input, price.cache_write_5m) + max_tokens * price.output


def letters_of(prompt: Prompt) -> int:
    """How long a prompt is, about: all that a model reads of it."""
    total = sum(len(block.text) for block in prompt.system or ())
    for message in prompt.messages:
        for block in message.content:
            total += _letters(block)
    for tool in prompt.tools or ():
        total += SCHEMA + len(getattr(tool, "description", None) or "")
    return total


def _letters(block: Any) -> int:
    text = getattr(block, "text", None)
    if isinstance(text, str):
        return len(text)
    inner = getattr(block, "content", None)
    if isinstance(inner, str):
        return len(inner)
    if isinstance(inner, list | tuple):
        return sum(_letters(part) for part in inner)
    if getattr(block, "source", None) is not None:
        return PICTURE
    given = getattr(block, "input", None)
    return len(repr(given)) if given is not None else len(getattr(block, "thinking", "") or "")
