"""`model: "auto"`: the policy on scripted tiers, and what is said of a choice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from renga.auto.choosing import Auto
from renga.auto.difficulty import MOST_CHARACTERS, Chances, Difficulty, features_of
from renga.backends.scripted import ScriptedBackend
from renga.config import AutoConfig, BackendConfig
from renga.errors import InvalidRequest
from renga.prices import load_prices
from renga.routing import TIERS, Router, Tier
from renga.types import MessagesRequest
from tests.http.served import Served, asking, start

HARD = (
    "Let G be a finite group of order 120 and H a subgroup of index 5. Prove that G has a normal "
    "subgroup contained in H whose index divides 120, and determine whether the quotient ring "
    "Z[x]/(x^2+1) is a principal ideal domain. Justify each step."
)


class Told(Difficulty):
    """A difficulty that says what a test wants."""

    def __init__(self, small: float, large: float) -> None:
        object.__setattr__(self, "said", Chances(small, large))

    def chances(self, text: str) -> Chances:
        said: Chances = self.said  # type: ignore[attr-defined]
        return said


def router_of(*tiers: Tier, **options: Any) -> Router:
    return Router(
        {t: [ScriptedBackend(BackendConfig(t.upper(), "scripted", **options))] for t in tiers}
    )


def auto(
    small: float = 0.5,
    large: float = 0.9,
    *,
    worth: float = 0.05,
    router: Router | None = None,
    **more: Any,
) -> Auto:
    config = AutoConfig(worth_usd=worth, **more)
    return Auto(config, router or router_of(*TIERS), load_prices({}), Told(small, large))


def request(*turns: Any, **fields: Any) -> MessagesRequest:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    fields = {"max_tokens": 500, **fields}
    return MessagesRequest.model_validate({"model": "auto", "messages": messages, **fields})


# --- the policy -----------------------------------------------------------------------------------


def test_what_every_model_can_do_goes_to_the_smallest() -> None:
    assert auto(0.95, 0.95).choose(request("Hello"), "w").tier == "haiku"


def test_what_a_large_model_alone_can_do_goes_there_where_that_is_worth_its_price() -> None:
    assert auto(0.1, 0.9, worth=1.0).choose(request(HARD), "w").tier == "opus"
    assert auto(0.1, 0.9, worth=0.0).choose(request(HARD), "w").tier == "haiku"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0, 2))
def test_a_right_answer_that_is_worth_more_is_never_sent_to_a_smaller_tier(
    small: float, large: float, worth: float, more: float
) -> None:
    one = auto(small, large, worth=worth).choose(request("x"), "w").tier
    other = auto(small, large, worth=worth + more).choose(request("x"), "w").tier
    assert TIERS.index(other) >= TIERS.index(one)


def test_a_tier_that_cannot_serve_a_request_is_no_choice() -> None:
    router = Router(
        {
            "haiku": [ScriptedBackend(BackendConfig("H", "scripted"))],
            "sonnet": [ScriptedBackend(BackendConfig("S", "scripted"))],
        }
    )
    asked = request("x", output_config={"format": {"type": "json_object"}})
    with pytest.raises(InvalidRequest, match=r"^output_config\.format: "):
        auto(router=router).choose(asked, "w")


def test_a_conversation_is_never_answered_by_a_smaller_tier() -> None:
    chooser = auto(0.1, 0.9, worth=1.0)
    assert chooser.choose(request("hard"), "w").tier == "opus"
    chooser._difficulty = Told(0.9, 0.9)
    later = request("hard", "an answer", "thanks")
    chosen = chooser.choose(later, "w")
    assert (chosen.tier, chosen.before) == ("opus", "opus")
    assert chooser.choose(request("hard", "an answer", "thanks", "x", "bye"), "w").tier == "opus"
    assert chooser.choose(later, "another workspace").tier == "haiku"
    assert chooser.choose(request("thanks"), "w").tier == "haiku"


def test_a_turn_that_goes_on_stays_where_it_is() -> None:
    chooser = auto(0.95, 0.95)
    tool = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    assert chooser.choose(request("x", tools=[tool]), "w").tier == "haiku"
    chooser._difficulty = Told(0.0, 1.0)
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "hard to read"}
    assert chooser.choose(request("x", [call], [result], tools=[tool]), "w").tier == "haiku"


def test_a_long_prompt_that_was_read_is_left_only_for_what_pays_it() -> None:
    long = "word " * 20_000
    chooser = auto(0.9, 0.9)
    assert chooser.choose(request(long), "w").tier == "haiku"
    chooser._difficulty = Told(0.4, 0.9)
    assert chooser.choose(request("short", "a", "why?"), "w").tier != "haiku"
    assert chooser.choose(request(long, "a", "why?"), "w").tier == "haiku"


def test_only_so_many_conversations_are_remembered() -> None:
    chooser = auto(0.1, 0.9, worth=1.0, remembered=2)
    for text in ("a", "b", "c"):
        chooser.choose(request(text), "w")
    chooser._difficulty = Told(0.9, 0.9)
    found = [chooser.choose(request(text, "x", "y"), "w").before for text in ("c", "a")]
    assert found == ["opus", None]


# --- the fitted model -----------------------------------------------------------------------------


def test_a_proof_is_harder_than_a_greeting() -> None:
    model = Difficulty.load()
    easy, hard = model.chances("Hello, how are you?"), model.chances(HARD)
    assert easy.small > hard.small
    assert hard.large - hard.small > easy.large - easy.small


@given(st.text(max_size=200))
def test_any_text_has_chances(text: str) -> None:
    found = Difficulty.load().chances(text)
    assert 0 <= found.small <= 1
    assert 0 <= found.large <= 1


def test_of_a_long_text_both_ends_are_looked_at_and_nothing_more() -> None:
    middle = "x" * MOST_CHARACTERS
    text = f"begin {middle} end"
    assert len(features_of(text * 50).buckets) <= len(features_of(text).buckets) + 8


# --- over HTTP ------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        yield await start(stack, tmp_path, haiku={}, opus={})


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_chosen_is_said_and_kept(served: Served, stream: bool) -> None:
    response = await served.post(asking("Hello", model="auto", stream=stream))
    assert response.status_code == 200
    assert response.headers["renga-tier"] == "haiku"
    row = await served.row(response)
    assert (row.model_requested, row.tier, row.model) == ("auto", "haiku", "renga-haiku-1")
    assert row.notes is not None
    assert row.notes["auto"]["tier"] == "haiku"


async def test_every_edge_takes_it(served: Served) -> None:
    body = asking("Hello", model="auto")
    chat = await served.post(
        {"model": "auto", "messages": body["messages"]}, path="/v1/chat/completions"
    )
    assert (chat.status_code, chat.json()["model"]) == (200, "renga-haiku-1")
    count = await served.post(
        {"model": "auto", "messages": body["messages"]}, path="/v1/messages/count_tokens"
    )
    assert (count.status_code, count.headers["renga-tier"]) == (200, "haiku")


async def test_it_can_be_looked_up_and_is_not_listed(served: Served) -> None:
    found = await served.client.get("/v1/models/auto")
    assert (found.status_code, found.json()["id"]) == (200, "auto")
    listed = (await served.client.get("/v1/models")).json()["data"]
    assert "auto" not in [model["id"] for model in listed]


async def test_the_official_client_may_ask_for_it(served: Served) -> None:
    async with anthropic.AsyncAnthropic(
        base_url="http://localhost",
        api_key="any",
        http_client=httpx2.AsyncClient(transport=httpx2.ASGITransport(served.http)),
    ) as client:
        message = await client.messages.create(
            model="auto", max_tokens=20, messages=[{"role": "user", "content": "Hello"}]
        )
    assert message.model == "renga-haiku-1"
