"""How well the exported model uses tools, measured greedy on its int8 form.

Owns the loop of call, result and answer, and the two figures: sums and look-ups done right from wish to
answer, and calls made where no tool fits. The rows are in `tool_rows`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anthropic import beta_tool

from renga.chat.tokenizer import Tokenizer
from renga.engine.client import EngineClient
from renga.engine.messages import EngineSettings, Output, Submit
from training.chat import Call, Turn, render
from training.score import Score
from training.tool_rows import Function, Outcome, Row, no_work, right, work

ROUNDS = 4
MAX_TOKENS = 120
TOGETHER = 24
WORK_SEED, NO_WORK_SEED = 41, 42


def described(function: Function) -> dict[str, Any]:
    """A function as the model reads it, by the official SDK's description of it."""
    told = dict(beta_tool(function).to_dict())
    return {
        "name": told["name"],
        "description": told["description"],
        "parameters": told["input_schema"],
    }


def calls_in(text: str) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The text of an answer and the calls in it; what does not parse is text."""
    calls = []
    for written in re.findall(r"<tool_call>(.*?)</tool_call>", text, re.DOTALL):
        try:
            made = json.loads(written)
            calls.append((str(made["name"]), dict(made["arguments"])))
        except (ValueError, KeyError, TypeError):
            continue
    return re.sub(r"<tool_call>.*", "", text, flags=re.DOTALL).strip(), calls


def run(tools: Sequence[Function], name: str, given: Mapping[str, Any]) -> str:
    """The result of a call, or the error that a client reports."""
    known = {tool.__name__: tool for tool in tools}
    try:
        return known[name](**given)
    except (KeyError, TypeError, ValueError) as error:
        return f"Error: {error}"


class Engine:
    """A model's engine, asked in the chat form."""

    def __init__(self, client: EngineClient, tokenizer: Tokenizer) -> None:
        self._client, self._tokenizer = client, tokenizer
        self._count = 0

    async def says(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]]) -> str:
        """The greedy answer."""
        self._count += 1
        prompt = self._tokenizer.encode(render(turns, tools))
        submit = Submit(
            id=str(self._count),
            salt="score",
            prompt=prompt,
            max_tokens=MAX_TOKENS,
            temperature=0.0,
        )
        events = [e.text async for e in self._client.generate(submit) if isinstance(e, Output)]
        return "".join(events)

    async def outcome(self, row: Row) -> Outcome:
        """What comes of a row when every call is made and its result handed back."""
        tools = [described(function) for function in row.tools]
        turns, made, text = [Turn("user", row.wish)], [], ""
        for _ in range(ROUNDS):
            text, calls = calls_in(await self.says(turns, tools))
            if not calls:
                break
            made += calls
            turns.append(Turn("assistant", text, calls=tuple(Call(*call) for call in calls)))
            turns += [Turn("tool", run(row.tools, *call)) for call in calls]
        return Outcome(made, text)


async def _outcomes(folder: Path, rows: Sequence[Row]) -> list[Outcome]:
    client = await EngineClient.start(EngineSettings(model=str(folder)))
    engine = Engine(client, Tokenizer.load(folder / "tokenizer.json"))
    gate = asyncio.Semaphore(TOGETHER)

    async def one(row: Row) -> Outcome:
        async with gate:
            return await engine.outcome(row)

    try:
        return list(await asyncio.gather(*map(one, rows)))
    finally:
        await client.aclose()


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
