"""Replicas: the same prompt to the same one, none of them drowned, and bad ones left alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from renga.backends.remote.affinity import heads_of
from renga.backends.remote.replicas import (
    BOUND,
    BUSY_SECONDS,
    IN_A_ROW,
    MOST_OUT_SECONDS,
    OUT_SECONDS,
    REMEMBERED,
    UNBOUND,
    Replica,
    Replicas,
)
from renga.types import MessagesRequest

URLS = [f"http://10.0.0.{i}:8000" for i in range(4)]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make(urls: list[str] = URLS, seed: int = 0) -> tuple[Replicas, Clock]:
    clock = Clock()
    return Replicas(urls, ticks=clock, rng=random.Random(seed)), clock


def ask(*texts: str, **fields: object) -> MessagesRequest:
    turns = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": text}
        for i, text in enumerate(texts)
    ]
    given = {"model": "m", "max_tokens": 5, "messages": turns, **fields}
    return MessagesRequest.model_validate(given)


def once(replicas: Replicas, request: MessagesRequest) -> str:
    replica = replicas.pick(heads_of(request))
    replicas.done(replica)
    replicas.answered(replica)
    return replica.url


def test_a_conversation_keeps_its_replica_while_it_grows() -> None:
    replicas, _ = make()
    for i in range(40):
        texts = [f"question {i}"]
        home = once(replicas, ask(*texts))
        for turn in range(6):
            texts += [f"answer {turn}", f"and {turn}?"]
            assert once(replicas, ask(*texts)) == home


def test_a_conversation_keeps_its_replica_behind_another_server_and_after_a_restart() -> None:
    for i in range(40):
        texts = [f"question {i}", "answer", "and now?"]
        first, _ = make(seed=1)
        other, _ = make(seed=2)
        assert once(first, ask(*texts[:1], system="Be brief.")) == once(
            other, ask(*texts, system="Be brief.")
        )


def test_questions_about_a_document_go_where_it_was_read() -> None:
    replicas, _ = make()
    document = {"type": "text", "text": "long " * 500, "cache_control": {"type": "ephemeral"}}
    asked = []
    for i in range(20):
        turn = {"role": "user", "content": [document, {"type": "text", "text": f"what is {i}?"}]}
        asked.append(once(replicas, parse(turn)))
    assert len(set(asked)) == 1
    # Unknown to a server, it is still the marked document that decides, and not the question.
    assert once(make(seed=9)[0], parse(turn)) == asked[0]


def parse(*turns: Mapping[str, object]) -> MessagesRequest:
    return MessagesRequest.model_validate({"model": "m", "max_tokens": 5, "messages": list(turns)})


def test_system_text_and_tools_lead_new_conversations_to_their_cache() -> None:
    replicas, _ = make()
    tools = [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}]
    homes = {once(replicas, ask(f"q{i}", system="A long text.", tools=tools)) for i in range(30)}
    assert len(homes) == 1


def test_thinking_and_cache_marks_change_no_head() -> None:
    mark = {"type": "ephemeral"}
    said = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "answer"},
    ]
    plain = parse(
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": said[1:]},
        {"role": "user", "content": "more"},
    )
    marked = parse(
        {"role": "user", "content": [{"type": "text", "text": "question"}]},
        {"role": "assistant", "content": said},
        {"role": "user", "content": [{"type": "text", "text": "more", "cache_control": mark}]},
    )
    assert heads_of(plain) == heads_of(marked)


def test_heads_grow_with_the_conversation_and_are_bounded() -> None:
    short, long = ask("a", "b", "c"), ask("a", "b", "c", "d", "e")
    assert heads_of(long).digests[: len(heads_of(short).digests)] == heads_of(short).digests
    many = heads_of(ask(*(str(i) for i in range(999))))
    assert len(many.digests) <= 64


def test_without_a_prompt_the_least_loaded_is_picked() -> None:
    replicas, _ = make()
    picked = Counter(replicas.pick().url for _ in range(40))
    assert set(picked.values()) == {10}


def test_a_prompt_that_all_ask_is_spread_once_its_replica_has_more_than_its_share() -> None:
    replicas, _ = make()
    heads = heads_of(ask("the same"))
    held = [replicas.pick(heads) for _ in range(100)]
    load = Counter(replica.url for replica in held)
    assert max(load.values()) <= BOUND * 100 / 4 + 1
    first = make()[0].pick(heads)
    assert load[first.url] == max(load.values())
    assert Counter(replica.url for replica in held[:UNBOUND]) == {first.url: UNBOUND}


def test_few_replicas_change_place_when_one_is_added() -> None:
    moved = 0
    for i in range(200):
        request = ask(f"question {i}")
        before, after = once(make()[0], request), once(make([*URLS, "http://new:1"])[0], request)
        moved += before != after
        assert after in (before, "http://new:1")
    assert 15 <= moved <= 65  # 40 are a fifth


def test_what_fails_in_a_row_is_left_out_each_time_longer_and_returns_by_a_probe() -> None:
    replicas, clock = make()
    bad = replicas.all[0]
    previous = 0.0
    for _ in range(8):
        out = [replicas.failed(bad, "status 500") for _ in range(IN_A_ROW)]
        assert out == [False] * (IN_A_ROW - 1) + [True]
        assert not bad.well
        assert bad.out_until is not None
        wait = bad.out_until - clock.now
        assert wait >= min(previous, MOST_OUT_SECONDS * 0.8)
        assert OUT_SECONDS * 0.8 <= wait <= MOST_OUT_SECONDS * 1.2
        previous = wait
        assert bad.url not in {replicas.pick().url for _ in range(20)}
        clock.now += wait / 2
        assert not replicas.may_return(bad)
        clock.now += wait
        assert replicas.may_return(bad)
        assert not bad.well  # nobody but a probe brings it back
        replicas.found(bad)
        assert bad.well
    clock.now += MOST_OUT_SECONDS * 2  # it was well for long: the next time is a first one
    for _ in range(IN_A_ROW):
        replicas.failed(bad, "status 500")
    assert bad.out_until is not None
    assert bad.out_until - clock.now <= OUT_SECONDS * 1.2


def test_what_fails_every_other_time_is_left_out_too() -> None:
    replicas, _ = make()
    bad = replicas.all[0]
    for _ in range(20):
        replicas.answered(bad)
        if replicas.failed(bad, "cut mid stream"):
            break
    assert not bad.well


def test_where_all_are_out_all_are_asked() -> None:
    replicas, _ = make()
    for replica in replicas.all:
        for _ in range(IN_A_ROW):
            replicas.failed(replica, "status 500")
    assert not replicas.reachable
    assert len({replicas.pick().url for _ in range(40)}) == 4


def test_a_try_after_a_fault_goes_elsewhere_and_comes_home_later() -> None:
    replicas, clock = make()
    request = ask("question")
    home = replicas.pick(heads_of(request))
    replicas.done(home)
    replicas.failed(home, "reset before headers")
    other = once(replicas, request)
    assert other != home.url
    clock.now += BUSY_SECONDS + 0.01
    assert once(replicas, request) == home.url


def test_one_that_says_it_is_overloaded_is_spared_as_long_as_it_says_and_is_no_outlier() -> None:
    replicas, clock = make()
    for _ in range(50):
        replicas.busy(replicas.all[0], 7.0)
    assert replicas.all[0].well
    assert replicas.all[0].url not in {replicas.pick().url for _ in range(30)}
    clock.now += 7.1
    assert replicas.all[0].url in {replicas.pick().url for _ in range(30)}


def test_what_was_restarted_is_no_longer_known_to_have_read_anything() -> None:
    replicas, _ = make()
    requests = [ask(f"question {i}") for i in range(40)]
    homes = {once(replicas, request) for request in requests}
    assert homes == set(URLS)
    lost = replicas.all[0]
    replicas.lost(lost, "refused")
    assert lost.url not in {once(replicas, request) for request in requests}
    replicas.found(lost)
    # Others have read those prompts by now, and keep them.
    assert lost.url not in {once(replicas, request) for request in requests}


def test_what_is_remembered_is_bounded() -> None:
    replicas, _ = make()
    for i in range(1_000):
        once(replicas, ask(f"question {i}", system=f"system {i}"))
    assert len(replicas._memory) == 2_000 <= REMEMBERED


class AnyOrder(RuleBasedStateMachine):
    """Any order of requests, faults, probes and time."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas, self.clock = make()
        self.open: list[Replica] = []

    @rule(i=st.integers(0, 5))
    def ask(self, i: int) -> None:
        able = [r for r in self.replicas.all if r.well and r.busy_until <= self.clock.now]
        total = sum(r.open for r in able)
        picked = self.replicas.pick(heads_of(ask(f"q{i}")))
        self.open.append(picked)
        if able:
            assert picked in able
            assert picked.open <= max(UNBOUND, -(-BOUND * (total + 1) // len(able)))

    @precondition(lambda self: self.open)
    @rule(i=st.integers(0, 99), how=st.sampled_from(["good", "bad", "busy", "lost", "left"]))
    def end(self, i: int, how: str) -> None:
        replica = self.open.pop(i % len(self.open))
        self.replicas.done(replica)
        match how:
            case "good":
                self.replicas.answered(replica)
                assert replica.well
            case "bad":
                self.replicas.failed(replica, how)
            case "busy":
                self.replicas.busy(replica, None)
            case "lost":
                self.replicas.lost(replica, how)
                assert not replica.well
            case _:
                pass  # whoever left says nothing of it

    @rule(seconds=st.floats(0, 300))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(i=st.integers(0, 3), well=st.booleans())
    def probe(self, i: int, well: bool) -> None:
        replica = self.replicas.all[i]
        if not replica.well and not self.replicas.may_return(replica):
            return
        if well:
            self.replicas.found(replica)
        else:
            self.replicas.lost(replica, "refused")
        assert replica.well == well

    @invariant()
    def what_is_open_is_counted(self) -> None:
        assert Counter(r.url for r in self.open) == +Counter(
            {r.url: r.open for r in self.replicas.all}
        )


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(deadline=None, max_examples=60)
