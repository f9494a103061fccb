"""A function of a row: the gateway of this process, asked what a template makes of it.

Owns that a row's outcome and the closing of its answer are written together, so that a row that is
done is charged once and one that is not is not charged. Rows are of the service "batch": they give
way to everything else, and pay what batches pay. What is no fault of a row (a backend that is full
or on its way) is waited for; what may be is tried a few times, and then is the row's outcome.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from renga.bulk.files import Row
from renga.bulk.jobs import Keep, Trial
from renga.bulk.prompts import Question, RowFault
from renga.caller import Caller
from renga.errors import Overloaded, RateLimited, RengaError, Unavailable
from renga.events import Fold
from renga.gateway import Gateway
from renga.http.validation import parse
from renga.ids import Ids
from renga.ledger import Operation
from renga.types import Message, MessagesRequest

TRIES: Final = 3
MOST_WAITS: Final = 20
"""How often one row waits for a backend that is full or away, before the job ends: some minutes."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

Sleep = Callable[[float], Awaitable[Any]]


@dataclass
class Spent:
    """What a run has used. `cost_usd` counts what is known, `cost_known` whether that is all."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    cost_known: bool = True

    def add(self, message: Message) -> None:
        """The tokens of an answer."""
        usage = message.usage
        self.input_tokens += (
            usage.input_tokens
            + (usage.cache_read_input_tokens or 0)
            + (usage.cache_creation_input_tokens or 0)
        )
        self.output_tokens += usage.output_tokens

    def charge(self, cost_usd: str | None) -> None:
        """What an answer cost."""
        if cost_usd is None:
            self.cost_known = False
        else:
            self.cost_usd += Decimal(cost_usd)


def text_of_message(message: Message) -> str:
    """The text of an answer. Raises RowFault where it is not whole, or none."""
    if message.stop_reason in ("max_tokens", "model_context_window_exceeded"):
        raise RowFault(
            f"the answer was cut after {message.usage.output_tokens} tokens "
            f"({message.stop_reason}); allow more with --max-tokens"
        )
    if message.stop_reason == "refusal":
        raise RowFault("the model refused to answer")
    return "".join(block.text for block in message.content if block.type == "text")


def backoff(tried: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds before try number `tried` + 1: exponential, spread, and not before it was said."""
    seconds: float = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(tried, 10))
    return max(retry_after or 0.0, seconds * rng.uniform(0.5, 1.0))


class Asking:
    """Call it with a row. Raises RengaError where no row could be answered."""

    def __init__(
        self,
        gateway: Gateway,
        question: Question,
        *,
        ids: Ids,
        workspace: str = "default",
        rng: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.spent = Spent()
        self._gateway, self._question, self._ids = gateway, question, ids
        self._workspace = workspace
        self._rng, self._sleep = rng or random.Random(), sleep

    async def __call__(self, row: Row, keep: Keep | Trial) -> None:
        """Answer `row` and keep what comes of it."""
        try:
            request = parse(MessagesRequest, self._question.body(row))
        except RowFault as fault:
            keep.fault(str(fault))
            return
        failures = waits = 0
        while not keep.kept:
            error = await self._try(request, keep, last=failures + 1 >= TRIES)
            if keep.kept or error is None:
                return
            if isinstance(error, Overloaded | RateLimited | Unavailable):
                waits += 1
                gone = isinstance(error, Unavailable) and error.retry_after is None
                if gone or waits > MOST_WAITS:
                    raise error
                await self._sleep(backoff(waits, error.retry_after, self._rng))
            elif isinstance(error, RengaError) and error.status < 500:
                keep.fault(error.message)  # refused before it had a row in the ledger
            else:
                failures += 1
                if failures >= TRIES:
                    raise error
                await self._sleep(backoff(failures, None, self._rng))

    async def _try(
        self, request: MessagesRequest, keep: Keep | Trial, *, last: bool
    ) -> Exception | None:
        """One answer; the error that it ended in, whose outcome may be kept or not."""
        caller = Caller(self._workspace, self._ids("req"), service="batch")
        ending = _Ending(self._question, keep, last)
        try:
            answer = self._gateway.stream(request, caller, beside=ending)
            async with aclosing(answer) as events:  # type: ignore[type-var]
                async for event in events:
                    ending.fold.see(event)
        except Exception as error:  # noqa: BLE001  the caller decides what it means for the row
            return error
        self.spent.add(ending.fold.message())
        self.spent.charge(caller.receipt.cost_usd)
        return None


class _Ending:
    """What is written with the closing of an answer: the gateway asks it, once."""

    def __init__(self, question: Question, keep: Keep | Trial, last: bool) -> None:
        self.fold = Fold()
        self._question, self._keep, self._last = question, keep, last

    def __call__(self, status: str, error: BaseException | None) -> Operation | None:
        """The row's outcome, or None where this was not it."""
        if status == "ok":
            try:
                kept = self._question.shape.read(text_of_message(self.fold.message()))
            except RowFault as fault:
                return self._keep.operation(None, str(fault))
            return self._keep.operation(kept)
        if isinstance(error, Overloaded | RateLimited | Unavailable):
            return None
        if isinstance(error, RengaError) and (error.status < 500 or self._last):
            return self._keep.operation(None, error.message)
        return None
