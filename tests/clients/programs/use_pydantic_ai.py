"""Run with pydantic-ai: a text, a typed answer, a tool and a stream, as JSON. Usage: URL."""

import asyncio
import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider


class Visit(BaseModel):
    """A visit to a city."""

    city: str
    days: int


async def main(url: str) -> None:
    """Use the server at `url` and print what came of it."""
    model = AnthropicModel("haiku", provider=AnthropicProvider(base_url=url, api_key="any"))
    calls: list[tuple[int, int]] = []
    plain = Agent(model, instructions="Be brief.", model_settings={"max_tokens": 100})
    typed = Agent(model, output_type=Visit, model_settings={"max_tokens": 200})
    tooled = Agent(model, model_settings={"max_tokens": 200})

    @tooled.tool_plain
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        calls.append((a, b))
        return a + b

    async with plain.run_stream("Where is my order?") as streaming:
        streamed = [piece async for piece in streaming.stream_text(delta=True)]
    visit = await typed.run("I will be in Oslo for 3 days.")
    summed = await tooled.run("Compute 17+25 with the add tool and tell me")
    found: dict[str, Any] = {
        "text": (await plain.run("Where is my order?")).output,
        "streamed": "".join(streamed),
        "visit": visit.output.model_dump(),
        "calls": calls,
        "sum": summed.output,
    }
    json.dump(found, sys.stdout)


asyncio.run(main(sys.argv[1]))
