"""How well the exported model uses tools, measured through the whole server with the official SDK.

Owns the two figures: sums and look-ups done right from wish to answer, and calls made where no tool fits.
The SDK's tool runner describes real functions, makes the calls and hands their results back; the rows are in
`tool_rows`. Answers are greedy, as the server gives them where a request names no sampling.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from anthropic import Anthropic, beta_tool

from renga.app import App
from renga.config import BackendConfig, Config, TierConfig
from renga.http.server import Stop, serve
from training.score import Score
from training.tool_rows import Outcome, Row, no_work, right, work

ROUNDS = 4
MAX_TOKENS = 120
TOGETHER = 12
WORK_SEED, NO_WORK_SEED = 41, 42


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """The URL of a server whose haiku is the model in `folder`; no state outlives it."""
    loop = asyncio.get_running_loop()
    with TemporaryDirectory() as home:
        backend = BackendConfig(name="scored", kind="local", model=str(folder))
        tier = TierConfig(name="haiku", backends=("scored",))
        config = Config(home=Path(home), backends={"scored": backend}, tiers={"haiku": tier})
        app = await App.start(config)
        stop, url = Stop(), loop.create_future()
        server = asyncio.create_task(
            serve(
                app, host="127.0.0.1", port=0, drain_seconds=1, on_ready=url.set_result, stop=stop
            )
        )
        try:
            yield await url
        finally:
            stop()
            await server
            await app.aclose()


def outcome(client: Anthropic, row: Row) -> Outcome:
    """What comes of a row when the official tool runner makes the calls."""
    runner = client.beta.messages.tool_runner(
        model="haiku",
        max_tokens=MAX_TOKENS,
        max_iterations=ROUNDS,
        messages=[{"role": "user", "content": row.wish}],
        tools=[beta_tool(function) for function in row.tools],
    )
    calls, text = [], ""
    for message in runner:
        calls += [(b.name, b.input) for b in message.content if b.type == "tool_use"]
        text = "".join(b.text for b in message.content if b.type == "text")
    return Outcome(calls, text)


async def _outcomes(folder: Path, rows: Sequence[Row]) -> list[Outcome]:
    gate = asyncio.Semaphore(TOGETHER)
    async with serving(folder) as url:
        client = Anthropic(base_url=url, api_key="any", max_retries=0)

        async def one(row: Row) -> Outcome:
            async with gate:
                return await asyncio.to_thread(outcome, client, row)

        return list(await asyncio.gather(*map(one, rows)))


def outcomes(folder: Path, rows: Sequence[Row]) -> list[Outcome]:
    """What comes of the rows with the model in `folder`."""
    return asyncio.run(_outcomes(folder, rows))


def figures(done: Sequence[tuple[Row, Outcome]]) -> list[Score]:
    """The two figures of rows with work and rows without."""
    working = [right(row, outcome) for row, outcome in done if row.call is not None]
    idle = [bool(outcome.calls) for row, outcome in done if row.call is None]
    return [
        Score(
            "sums and look-ups with tools, right call and result told",
            len(working),
            100 * sum(working) / len(working),
            0.0,
            "no tool",
        ),
        Score(
            "calls where no given tool fits (less is better)",
            len(idle),
            100 * sum(idle) / len(idle),
            0.0,
            "never calling",
        ),
    ]


def score(folder: Path, rows: int = 200) -> list[Score]:
    """The figures of the model in `folder`: `rows` with work for a tool, half as many without."""
    asked = [*work(rows, WORK_SEED), *no_work(rows // 2, NO_WORK_SEED)]
    return figures(list(zip(asked, outcomes(folder, asked), strict=True)))
