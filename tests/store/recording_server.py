"""A process that keeps a ledger until it is killed; run by test_kill.py.

Prints a row's state only after a flush has acknowledged it: `open ID` or `ok ID COST`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from renga.ledger import Ledger, Tokens
from renga.prices import load_prices


async def main(url: str, instance: str, now: float, answers: int, seed: int) -> None:
    """Open and close answers at random; end after `answers` of them."""
    ledger = await Ledger.start(url, clock=lambda: now, instance_id=instance, group_seconds=0.002)
    price = load_prices()["haiku"]
    random_ = random.Random(seed)
    running: list[str] = []
    news: list[str] = []
    for number in range(answers):
        request_id = f"{instance}-{number}"
        ledger.open_answer(
            request_id=request_id,
            workspace=instance,
            key_id=None,
            tier="haiku",
            model_requested="claude-haiku-4-5",
            model="renga-haiku-1",
            backend="small",
            service="standard",
            price=price,
            received_at=now,
        )
        ledger.open_attempt(request_id=request_id, number=1, backend="small")
        running.append(request_id)
        news.append(f"open {request_id}")
        while running and random_.random() < 0.5:
            done = running.pop(random_.randrange(len(running)))
            tokens = Tokens(
                input=number, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=1
            )
            ledger.close_attempt(done, 1, status="ok", tokens=tokens)
            cost = ledger.close_answer(done, status="ok", tokens=tokens, served_tier="haiku")
            news.append(f"ok {done} {cost}")
        if random_.random() < 0.3:
            await ledger.flush()
            os.write(1, "".join(f"{line}\n" for line in news).encode())
            news.clear()
        await asyncio.sleep(0)
    await ledger.aclose()


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    )
