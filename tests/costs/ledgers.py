"""A ledger of many kinds of answers, made through the ledger itself, and an oracle that counts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from renga.caller import Receipt
from renga.ledger import Ledger
from renga.prices import NO_TOKENS, Price, Service, Tokens, load_prices

NOW = 1_800_000_000.0
DAY = 86_400
CARD = load_prices()


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Told:
    """What was put in: sums of money in pico-dollars and of everything else, by any names."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def by(self, *names: str) -> dict[tuple[Any, ...], Counter[str]]:
        """Sums of each group."""
        found: dict[tuple[Any, ...], Counter[str]] = {}
        for row in self.rows:
            group = found.setdefault(tuple(row[name] for name in names), Counter())
            group.update({k: v for k, v in row.items() if isinstance(v, int) and k not in names})
        return found


def tokens_of(draw: random.Random) -> Tokens:
    read, short, long = (draw.choice((0, draw.randrange(5_000))) for _ in range(3))
    given, output = draw.randrange(1, 3_000), draw.randrange(800)
    return Tokens(
        input=given,
        cache_read=read,
        cache_write_5m=short,
        cache_write_1h=long,
        output=output,
        reused=draw.randrange(given),
        thinking=draw.randrange(output + 1),
    )


async def filled(ledger: Ledger, clock: Clock, count: int = 120, seed: int = 7) -> Told:
    """Answers of all statuses, tiers, services and days; failed attempts before good ones."""
    draw, told = random.Random(seed), Told()
    for number in range(count):
        clock.now = NOW + draw.randrange(4) * DAY + draw.randrange(DAY)
        tier = draw.choice(("haiku", "haiku", "sonnet", "opus"))
        service: Service = draw.choice(("standard", "standard", "batch"))
        row: dict[str, Any] = {
            "id": f"req_{number:05}",
            "tier": tier,
            "key": draw.choice(("", "key_a", "key_b")),
            "workspace": draw.choice(("team", "other")),
            "service": service,
            "day": int(clock.now // DAY),
        }
        ledger.open_answer(
            request_id=row["id"],
            workspace=row["workspace"],
            key_id=row["key"] or None,
            tier=tier,
            model_requested=tier,
            model=f"renga-{tier}-1",
            backend=None,
            service=service,
            price=CARD[tier],
            received_at=clock.now,
        )
        told.rows.append(row | _answered(ledger, draw, row, CARD[tier]))
    await ledger.flush()
    return told


def _answered(
    ledger: Ledger, draw: random.Random, row: dict[str, Any], price: Price
) -> dict[str, Any]:
    """Close an answer in one of the ways it may end; what that adds up to."""
    status = draw.choice(("ok", "ok", "ok", "error", "cancelled", "refused", "open"))
    receipt, own_costs = Receipt(), []
    attempts = 0 if status == "refused" else draw.randrange(1, 4)
    for number in range(1, attempts + 1):
        ledger.open_attempt(request_id=row["id"], number=number, backend="small")
        if status == "open":
            continue
        own = draw.choice((None, draw.randrange(10**9)))
        ended = status if number == attempts else "error"
        used = tokens_of(draw) if number == attempts else NO_TOKENS
        ledger.close_attempt(
            row["id"],
            number,
            status=ended,  # type: ignore[arg-type]
            tokens=used,
            cause="status_500" if ended == "error" else None,
            own_cost_pico=own,
        )
        receipt.charge(used, ended)
        own_costs.append(own or 0)
    sums = {"status": status, "backend": "", "answers": 1, "attempts": attempts, "cost": 0}
    sums |= {"own_cost": sum(own_costs), "uncached": 0, "full": 0, "unpriced": 0}
    if status == "open":
        return sums | {"unpriced": 1}
    if row["service"] == "batch" and status != "ok":
        receipt.tokens = NO_TOKENS
    ledger.close_answer(
        row["id"],
        status=status,  # type: ignore[arg-type]
        tokens=receipt.tokens,
        served_tier=row["tier"],
        backend="small" if attempts else None,
    )
    paid = price.for_service(row["service"])
    used = receipt.tokens
    cost = paid.cost(used) or 0
    return sums | {
        "backend": "small" if attempts else "",
        "cost": cost,
        "full": price.cost(used) or 0,
        "uncached": (used.prompt or 0) * paid.input + (used.output or 0) * paid.output,
        "input_tokens": used.input,
        "cache_read_tokens": used.cache_read,
        "output_tokens": used.output,
        "thinking_tokens": used.thinking,
    }
