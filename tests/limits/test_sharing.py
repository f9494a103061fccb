"""Several servers on one database share a limit: random traffic beside a bucket that only counts.

The statements are the real ones, on SQLite in memory; servers crash, clocks go wrong a little.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import create_engine, insert, select, update
from sqlalchemy.pool import StaticPool

from renga.limits.allowances import Allowance
from renga.limits.buckets import UNIT, Outcome, trade
from renga.store import limiting
from renga.store.limiting import Bucket, Place, Share
from renga.store.schema import answers, instances, limit_buckets, limit_shares, metadata

START_US = 1_800_000_000_000_000
DAY_US = START_US // 86_400_000_000 * 86_400_000_000
REQUESTS = Place("key:k", "requests_per_minute", 0)
TOKENS = Place("key:k", "input_tokens_per_minute", 0)
SLOTS = Place("key:k", "concurrent", 0)
DOLLARS = Place("key:k", "usd_per_day", DAY_US)
MOST = {REQUESTS: 30 * UNIT, TOKENS: 1_000 * UNIT, SLOTS: 6, DOLLARS: 1_000_000}
LEASE_US = 15_000_000


class Oracle:
    """A token bucket by the book: who takes more than is in it goes into debt."""

    def __init__(self, most: int) -> None:
        self.most, self.level, self.at_us = most, float(most), START_US

    def pass_to(self, now_us: int) -> None:
        """Fill for the time that passed; for none where the clock went back."""
        passed = max(now_us - self.at_us, 0)
        self.level = min(self.most, self.level + passed * self.most / 60_000_000)
        self.at_us = max(now_us, self.at_us)


@dataclass(eq=False)
class Server:
    """One server: its part of each limit, and what runs on it."""

    name: str
    allowances: dict[Place, Allowance]
    running: list[tuple[int, int]] = field(default_factory=list)


class Sharing(RuleBasedStateMachine):
    """Requests on several servers."""

    servers = Bundle("servers")

    def __init__(self) -> None:
        super().__init__()
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        metadata.create_all(self.engine)
        self.now_us = START_US
        self.latest_us = START_US
        self.ticks = 1_000.0
        self.alive: list[Server] = []
        self.count = 0
        self.requests, self.tokens = Oracle(MOST[REQUESTS]), Oracle(MOST[TOKENS])
        self.largest_cost = 0

    def teardown(self) -> None:
        self.engine.dispose()

    @rule(target=servers)
    def start(self) -> Server:
        self.count += 1
        made = Server(
            f"inst_{self.count}", {p: Allowance(p, most, "default") for p, most in MOST.items()}
        )
        with self.engine.begin() as connection:
            values: dict[str, object] = {"started_us": self.now_us, "renewed_us": self.now_us}
            values |= {"instance_id": made.name, "expires_us": self.now_us + LEASE_US}
            connection.execute(insert(instances).values(**values))
        self.alive.append(made)
        return made

    @rule(server=servers, tokens=st.integers(1, 400), cost=st.integers(1, 300_000))
    def one_asks(self, server: Server, tokens: int, cost: int) -> None:
        """A request."""
        self.ask(server, tokens, cost)

    def ask(self, server: Server, tokens: int, cost: int) -> bool:
        """A request: admitted if all that it needs is there, after an exchange at most."""
        if server not in self.alive:
            return False
        needs = {REQUESTS: UNIT, TOKENS: tokens * UNIT, SLOTS: 1, DOLLARS: cost}
        short = {p: n for p, n in needs.items() if server.allowances[p].credit < n}
        for place, need in short.items():
            server.allowances[place].needs.append(need)
        if short:
            self.exchange(server, *short)
        if any(server.allowances[p].credit < need for p, need in needs.items()):
            return False
        unseen = sum(max(-s.allowances[TOKENS].credit, 0) for s in self.alive)
        for place, need in needs.items():
            server.allowances[place].take(need, self.ticks)
        server.running.append((tokens, cost))
        self.largest_cost = max(self.largest_cost, cost)
        for oracle, need in ((self.requests, UNIT), (self.tokens, tokens * UNIT)):
            oracle.pass_to(self.now_us)
            oracle.level -= need
        assert self.requests.level >= -1, "more requests than the bucket had"
        # What was underestimated and not yet told is all that may be missing.
        assert self.tokens.level >= -unseen - 1, "more tokens than the bucket had"
        return True

    @rule(server=servers, share=st.floats(0, 2), spent=st.floats(0, 1))
    def one_ends(self, server: Server, share: float, spent: float) -> None:
        """A request ends; it took another number of tokens, and cost less."""
        self.end(server, share, spent)

    def end(self, server: Server, share: float, spent: float) -> None:
        """The oldest request ends."""
        if server not in self.alive or not server.running:
            return
        tokens, cost = server.running.pop(0)
        used, paid = int(tokens * share), int(cost * spent)
        server.allowances[REQUESTS].settle(UNIT, UNIT)
        server.allowances[TOKENS].settle(tokens * UNIT, used * UNIT)
        server.allowances[SLOTS].settle(1, 0)
        server.allowances[DOLLARS].settle(cost, paid)
        self.tokens.pass_to(self.now_us)
        self.tokens.level += (tokens - used) * UNIT
        self.enter(server, paid)

    @rule(server=servers, count=st.integers(2, 35))
    def burst(self, server: Server, count: int) -> None:
        """Many small ones, until one is refused."""
        while count and self.ask(server, 1, 1):
            self.end(server, 1, 1)
            count -= 1

    def enter(self, server: Server, cost: int) -> None:
        """The answer's row in the ledger."""
        self.count += 1
        prices = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
        values: dict[str, object] = {f"{name}_price_pico": 1 for name in prices}
        values |= {"request_id": f"req_{self.count}", "instance_id": server.name, "key_id": "k"}
        values |= {"workspace": "w", "tier": "haiku", "model_requested": "m", "model": "m"}
        values |= {"service": "standard", "status": "ok", "received_us": self.now_us}
        with self.engine.begin() as connection:
            connection.execute(insert(answers).values(**values, cost_pico=cost))

    @rule(server=servers)
    def tell(self, server: Server) -> None:
        """What is due is exchanged, as by the server's task."""
        if server in self.alive:
            due = [p for p, a in server.allowances.items() if a.is_due(self.ticks)]
            self.exchange(server, *due)

    def exchange(self, server: Server, *places: Place) -> None:
        orders = {place: server.allowances[place].draft(self.ticks) for place in places}
        outcomes: dict[Place, Outcome] = {}

        def change(place: Place, bucket: Bucket, share: Share, others: int, now_us: int) -> None:
            outcomes[place] = trade(orders[place], bucket, share, others, now_us)

        if orders:
            with self.engine.begin() as connection:
                limiting._exchange(
                    connection, server.name, list(orders), change, lambda: self.now_us
                )
        for place, order in orders.items():
            server.allowances[place].apply(order, outcomes[place], self.ticks)

    @rule(seconds=st.floats(0.001, 20))
    def wait(self, seconds: float) -> None:
        """Time passes; those that live renew their leases."""
        self.now_us += int(seconds * 1_000_000)
        self.ticks += seconds
        for oracle in (self.requests, self.tokens):
            oracle.pass_to(self.now_us)
        with self.engine.begin() as connection:
            for server in self.alive:
                which = instances.c.instance_id == server.name
                until = self.now_us + LEASE_US
                connection.execute(update(instances).where(which).values(expires_us=until))

    @precondition(lambda self: len(self.alive) > 1)
    @rule(server=servers)
    def crash(self, server: Server) -> None:
        """A server is gone, with what it held; its requests are not heard of again."""
        if server in self.alive and len(self.alive) > 1:
            self.alive.remove(server)
            with self.engine.begin() as connection:
                which = instances.c.instance_id == server.name
                connection.execute(update(instances).where(which).values(expires_us=0))

    @rule(seconds=st.floats(0.001, 100))
    def set_back(self, seconds: float) -> None:
        """The clock goes back, never so far behind the latest time that it would be believed."""
        self.latest_us = max(self.latest_us, self.now_us)
        earliest = max(START_US, self.latest_us - 110_000_000)
        self.now_us = max(self.now_us - int(seconds * 1_000_000), earliest)

    @invariant()
    def no_more_run_than_may(self) -> None:
        assert sum(s.allowances[SLOTS].busy for s in self.alive) <= MOST[SLOTS]

    @invariant()
    def no_more_is_spent_than_may_be_but_for_one_request(self) -> None:
        with self.engine.begin() as connection:
            spent = sum(connection.execute(select(answers.c.cost_pico)).scalars())
        assert spent <= MOST[DOLLARS] + self.largest_cost

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """Once all is quiet and told, each bucket misses what was used, and nobody holds any."""
        if any(s.running for s in self.alive) or not self.alive:
            return
        quiet = all(a.is_quiet for s in self.alive for a in s.allowances.values())
        if not quiet:
            return
        self.exchange(self.alive[0], *MOST)
        with self.engine.begin() as connection:
            held = list(connection.execute(select(limit_shares.c.held)).scalars())
            spent = sum(connection.execute(select(answers.c.cost_pico)).scalars())
            used = connection.execute(
                select(limit_buckets.c.used).where(limit_buckets.c.kind == "usd_per_day")
            ).scalar_one()
        mine = sum(a.credit for a in self.alive[0].allowances.values())
        assert sum(held) == mine
        assert used == spent


Sharing.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestSharing = Sharing.TestCase
