"""Sizes of prompts against triggers: whether a count is worth it, and where a trigger can be met.

Owns two rules. Most requests are spared a count, since a token stands for one byte of text or more,
and a character for four bytes or fewer. And a trigger that lies beyond the model's window stands
for three quarters of that window, which the API's own default is of the window it was made for.
Knows no tokenizer and no template; what a template adds is covered by what each block and the whole
are taken to weigh.
"""

from __future__ import annotations

from typing import Final

from renga.reading import is_longer
from renga.types import Prompt

BYTES_PER_CHARACTER: Final = 4
PER_BLOCK: Final = 64
"""Characters that a block counts for beside its own: far more than templates write around one."""
FOR_TEMPLATE: Final = 4_096
"""Tokens that a template may add to the whole."""


def may_have(prompt: Prompt, tokens: int) -> bool:
    """Whether it is worth counting `prompt`, to find out if it has `tokens` or more."""
    characters = (tokens - FOR_TEMPLATE) // BYTES_PER_CHARACTER
    return characters < 0 or is_longer(prompt, characters, PER_BLOCK)


def within_reach(trigger: int, room: int, window: int) -> int:
    """A trigger that prompts of a model can get to: they have at most `room` of its `window`."""
    return trigger if trigger <= room else window * 3 // 4
