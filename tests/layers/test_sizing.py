"""A prompt that is told to be short is short, whatever its characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from renga.layers.sizing import FOR_TEMPLATE, may_have, within_reach
from renga.types import MessagesRequest
from tests.layers.below import assistant, request, user

words = st.text(min_size=1, max_size=2_000).filter(str.strip)


def conversation(turns: list[str]) -> MessagesRequest:
    tools = [{"name": "add", "input_schema": {"type": "object"}}]
    messages = [user("Go.")]
    for i, said in enumerate(turns):
        call = {"type": "tool_use", "id": f"toolu_{i}", "name": "add", "input": {"said": said}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": said}
        messages += [assistant(call), user([result, {"type": "text", "text": said}])]
    return request(messages, tools=tools)


@given(st.lists(words, max_size=4), st.integers(0, 60_000))
def test_no_prompt_has_more_bytes_than_it_is_told_to_have_tokens(
    turns: list[str], tokens: int
) -> None:
    if not may_have(conversation(turns), tokens):
        read = sum(3 * len(said.encode("utf-8", "surrogatepass")) for said in turns)
        assert read + FOR_TEMPLATE <= tokens


def test_a_short_prompt_is_not_worth_counting_and_a_long_one_is() -> None:
    assert not may_have(conversation(["word " * 100]), 50_000)
    assert may_have(conversation(["word " * 10_000]), 50_000)
    assert may_have(conversation([]), 10)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 5_000))
def test_a_trigger_is_the_callers_where_the_model_can_meet_it_and_in_its_window_always(
    trigger: int, window: int, reserved: int
) -> None:
    meant = within_reach(trigger, window - reserved, window)
    assert meant == trigger or (trigger > window - reserved and meant == window * 3 // 4)
    assert meant <= window
