"""`renga bench gateway`: its stub upstream as the official SDKs read it, its sums, and a run."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from renga.bench import upstream
from renga.bench.calls import Target, free_port, processes_at
from renga.bench.gateway import MESSAGE, PLAIN, STREAMED, Peer, Plan, as_json, bars, lines, measure
from renga.bench.load import BenchError

TURNS = [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def stub() -> AsyncIterator[str]:
    port = free_port()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(upstream.Answering, "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()


async def test_the_stub_answers_openai_clients_whole_and_streamed() -> None:
    async with stub() as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="x") as client:
        told = await client.chat.completions.create(model="stub", messages=TURNS)  # type: ignore[arg-type]
        assert told.choices[0].message.content == upstream.REPLY
        assert told.usage is not None
        assert told.usage.total_tokens == upstream.PROMPT_TOKENS + upstream.OUTPUT_TOKENS
        pieces, usage = [], None
        async for chunk in await client.chat.completions.create(  # type: ignore[union-attr]
            model="stub",
            messages=TURNS,  # type: ignore[arg-type]
            stream=True,
        ):
            pieces += [choice.delta.content or "" for choice in chunk.choices]
            usage = chunk.usage or usage
        assert "".join(pieces) == "word " * upstream.PIECES
        assert usage is not None
        assert usage.completion_tokens == upstream.OUTPUT_TOKENS


async def test_the_stub_answers_messages_clients_whole_and_streamed() -> None:
    async with stub() as url, AsyncAnthropic(base_url=url, api_key="x") as client:
        message = await client.messages.create(model="stub", max_tokens=9, messages=TURNS)  # type: ignore[arg-type]
        assert message.content[0].type == "text"
        assert message.content[0].text == upstream.REPLY
        async with client.messages.stream(model="stub", max_tokens=9, messages=TURNS) as stream:  # type: ignore[arg-type]
            assert await stream.get_final_text() == "word " * upstream.PIECES
            final = await stream.get_final_message()
        assert final.usage.output_tokens == upstream.OUTPUT_TOKENS


def filled(name: str, ms: float, rate: float) -> Target:
    target = Target(name, (), 0)
    for work in (PLAIN, STREAMED, MESSAGE):
        target.alone_ms[work.name] = [ms, ms, 100 * ms]
        target.rates[work.name] = [rate, rate, rate / 100]
    return target


def test_bars_are_ratios_of_the_medians_in_one_run() -> None:
    direct, ours, peer = filled("direct", 1, 9e9), filled("renga", 1.9, 1000), filled("p", 9, 110)
    found = {bar.name: bar for bar in bars(direct, ours, [peer])}
    assert found["added, plain (p50, ms)"].value == pytest.approx(0.9)
    assert found["added, plain (p50, ms)"].holds
    assert found["plain, times p"].value == pytest.approx(1000 / 110)
    assert found["plain, times p"].holds
    assert not found["streamed, times p"].holds
    table = {line.name: line for line in lines([direct, ours, peer])}
    assert table["plain: alone"].values == {"direct": 1, "renga": 1.9, "p": 9}
    assert table["memory"].values["p"] is None


def test_an_address_that_is_none_is_refused_by_name() -> None:
    for url in ("localhost:1", "https://x", "http://", "http://h:99999"):
        with pytest.raises(BenchError, match="--against"):
            _ = Peer(url).target


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_who_listens_on_a_port_is_found() -> None:
    port = free_port()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    assert os.getpid() in processes_at(port)
    server.close()
    assert processes_at(free_port()) == ()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_measures_every_workload_through_both_kinds_of_backend() -> None:
    told: list[str] = []
    report = measure(Plan(rounds=1, calls=64), told.append, time.time)
    assert told[-1] == "round 1 of 1"
    ours = {line.name: line.values["renga"] for line in report.lines}
    assert all(value is not None and value > 0 for value in ours.values())
    assert [bar.name for bar in report.bars] == [
        "added, plain (p50, ms)",
        "added, message (p50, ms)",
    ]
    assert '"load_share"' in as_json(report)
