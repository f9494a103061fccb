"""Whether a prompt has room in a backend's window, found out before it is sent there.

Owns the rule that no prompt is sent where it cannot be read. Most are so short that their length
tells it; of the others the backend itself is asked how many tokens they are. A token stands for
one character or more in nearly every script; where it does not, the backend refuses it in its own
words. A model on this machine counts every prompt before it computes anything: it is asked only
where another could take what it cannot.
"""

from __future__ import annotations

import asyncio
from typing import Final

from renga.backends.base import Backend
from renga.config import REMOTE_KINDS
from renga.errors import InvalidRequest, RengaError
from renga.reading import is_longer
from renga.types import Prompt

PER_BLOCK: Final = 64
"""Characters that a block counts for beside its own: far more than templates write around one."""
FOR_TEMPLATE: Final = 1_024
"""Tokens that a template may add to the whole."""
COUNT_SECONDS: Final = 10.0
"""Another server that does not count by then is asked for the answer itself."""


class Room:
    """The room that one prompt needs. `alone` is whether there is only one candidate."""

    def __init__(self, prompt: Prompt, *, alone: bool) -> None:
        self._prompt = prompt
        self._alone = alone
        self._largest = (0, 0)  # window, tokens of the prompt there

    async def fits(self, backend: Backend) -> bool:
        """Whether `backend` can read the prompt and say a word to it."""
        window = backend.capabilities.window
        if self._alone and backend.kind not in REMOTE_KINDS:
            return True
        if not is_longer(self._prompt, window - FOR_TEMPLATE, PER_BLOCK):
            return True
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                tokens = await backend.count_tokens(self._prompt)
        except (RengaError, TimeoutError):
            return True  # whatever is wrong with it, the try will tell
        if tokens < window:
            return True
        self._largest = max(self._largest, (window, tokens))
        return False

    def refusal(self) -> InvalidRequest:
        """The API's 400 for a prompt that is too long everywhere, by the largest window of all."""
        window, tokens = self._largest
        return InvalidRequest(f"prompt is too long: {tokens} tokens > {window - 1} maximum")
