"""The tool runner of the official SDK against the shipped model: call, result, sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import beta_async_tool, beta_tool

import renga
from tests.serving import serving

CONFIG = """
[backends.small]
kind = "local"
model = "shipped:haiku"
[tiers.haiku]
backends = ["small"]
"""
SHIPPED = Path(renga.__path__[0], "models", "shipped", "haiku", "openvino_model.xml")
ASKED: Any = {
    "model": "haiku",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Compute 17+25 with the add tool and tell me."}],
}

pytestmark = pytest.mark.skipif(not SHIPPED.exists(), reason="the shipped model is not built")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server that answers with the shipped model."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, CONFIG, home=folder / "home") as served:
        yield served.url


def assert_told(message: Any) -> None:
    assert message.stop_reason == "end_turn"
    assert "42" in "".join(block.text for block in message.content if block.type == "text")


def test_a_sum_is_computed_by_the_tool_and_told(url: str) -> None:
    given: list[tuple[int, int]] = []

    @beta_tool
    def add(a: int, b: int) -> str:
        """Add two numbers.

        Args:
            a: the first number
            b: the second number
        """
        given.append((a, b))
        return str(a + b)

    with anthropic.Anthropic(base_url=url, api_key="any") as client:
        runner = client.beta.messages.tool_runner(**ASKED, tools=[add])
        assert_told(runner.until_done())
    assert sorted(given[0]) == [17, 25]
    assert len(given) == 1


async def test_a_sum_is_computed_by_an_async_tool_and_told(url: str) -> None:
    given: list[tuple[int, int]] = []

    @beta_async_tool
    async def add(a: int, b: int) -> str:
        """Add two numbers.

        Args:
            a: the first number
            b: the second number
        """
        given.append((a, b))
        return str(a + b)

    async with anthropic.AsyncAnthropic(base_url=url, api_key="any") as client:
        runner = client.beta.messages.tool_runner(**ASKED, tools=[add])
        assert_told(await runner.until_done())
    assert sorted(given[0]) == [17, 25]
    assert len(given) == 1
