"""Whether a prompt may have so many tokens, told from its characters alone.

Owns the bound that spares most requests a count: a token stands for one byte of text or more, a
character for four bytes or fewer. Knows no tokenizer and no template; what a template adds is
covered by what each block and the whole are taken to weigh.
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
