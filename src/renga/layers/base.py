"""What a layer is: it takes the ways through the server and gives them back, wrapped.

Owns the signatures. A layer sees a request before a backend does and an answer before the caller
does; what it asks of the way below is an attempt of its own under the same answer. It knows no
backends: below a layer is a way, whatever that consists of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from renga.caller import Caller
from renga.events import Event
from renga.types import MessagesRequest, Prompt, ScoreRequest, Scores, TokenCount

Path = Callable[[MessagesRequest, Caller], AsyncIterator[Event]]
Count = Callable[[Prompt, Caller], Awaitable[TokenCount]]
Score = Callable[[ScoreRequest, Caller], Awaitable[Scores]]


@dataclass(frozen=True, slots=True)
class Ways:
    """How a request is answered, how its prompt is counted, and how likely continuations are.

    `window` tells how many tokens the model that would answer reads and writes at most.
    """

    stream: Path
    count: Count
    window: Callable[[Prompt], int]
    score: Score


Layer = Callable[[Ways], Ways]
