"""Conversations with tools: whether what is learned from them is true and could have been known."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import (
    arithmetic,
    invented_tools,
    tool_families,
    tool_lookups,
    tool_public,
    tool_sessions,
    tool_table,
    tool_thoughts,
    tools,
    tools_unused,
)
from training.chat import Call, Example
from training.corpora import Labelled

seeds = st.integers(0, 2**32)
many = settings(max_examples=60, deadline=None)
PUBLIC = [
    {
        "api_name": "getPollenCount",
        "api_description": "Retrieve the pollen count of a city",
        "parameters": {
            "city": {"type": "str", "description": "The city (e.g., Rome, Lima)"},
            "radius": {"type": "int", "description": "How far around the city"},
        },
        "required": ["city"],
        "responses": {"pollen_count": {"type": "int", "description": "The count"}},
    }
]
WISHES = [Labelled("will it rain in rome", "weather"), Labelled("play some jazz", "play_music")]


def drawn(seed: int) -> Example:
    """A conversation of any of the writers."""
    write = (
        lambda rng: tools.calling(rng, WISHES),
        lambda rng: tools_unused.not_calling(rng, WISHES),
        lambda rng: tool_thoughts.thinking(rng, WISHES),
        lambda rng: tool_sessions.session(rng, [w.text for w in WISHES], PUBLIC),
    )
    return write[seed % 4](Random(seed))


def calls_of(example: Example) -> Iterator[tuple[Call, Mapping[str, Any], str]]:
    """Each call, its tool's parameters, and all that was said before it."""
    parameters = {tool["name"]: tool["parameters"] for tool in example.tools}
    for number, turn in enumerate(example.turns):
        for call in turn.calls:
            before = "\n".join(t.text for t in example.turns[:number])
            yield call, parameters[call.name], before


@given(seeds)
@many
def test_every_call_names_a_given_tool_and_keeps_to_its_schema(seed: int) -> None:
    for call, parameters, _ in calls_of(drawn(seed)):
        jsonschema.validate(call.arguments, parameters)
        keys = [key for key in parameters["properties"] if key in call.arguments]
        assert list(call.arguments) == keys


@given(seeds)
@many
def test_every_value_of_a_call_was_said_before(seed: int) -> None:
    for call, parameters, before in calls_of(drawn(seed)):
        for key, value in call.arguments.items():
            chosen = "enum" in parameters["properties"][key] or isinstance(value, bool)
            if not chosen:
                assert str(value) in before


@given(seeds)
@many
def test_every_number_of_an_answer_behind_a_result_was_said_before(seed: int) -> None:
    turns = tools.calling(Random(seed), WISHES).turns
    for number, turn in enumerate(turns):
        if turn.role == "assistant" and not turn.calls and turns[number - 1].role == "tool":
            before = "\n".join(t.text for t in turns[:number])
            for digits in re.findall(r"\d+(?:\.\d+)?", turn.text):
                assert digits in before


@given(seeds)
@many
def test_without_need_no_tool_is_called_though_some_are_there(seed: int) -> None:
    example = tools_unused.not_calling(Random(seed), WISHES)
    assert example.tools
    assert not any(turn.calls or turn.role == "tool" for turn in example.turns)


@given(seeds)
@many
def test_conversations_begin_with_the_user_and_end_with_an_answer(seed: int) -> None:
    spoken = [turn for turn in drawn(seed).turns if turn.role != "system"]
    assert spoken[0].role == "user"
    assert spoken[-1].role == "assistant"
    assert spoken[-1].text.strip()
    assert not spoken[-1].calls


@given(seeds)
@many
def test_nothing_is_left_to_fill_in_and_no_choice_open(seed: int) -> None:
    example = tools.calling(Random(seed), WISHES)
    said = "\n".join(turn.text for turn in example.turns if not turn.text.startswith("{"))
    said += "\n".join(str(tool.get("description", "")) for tool in example.tools)
    assert not re.search(r"\{(?!\")|\[[^\]]*\||  ", said)


@given(seeds)
@many
def test_thinking_goes_before_every_answer_and_call(seed: int) -> None:
    example = tool_thoughts.thinking(Random(seed), WISHES)
    answers = [turn for turn in example.turns if turn.role == "assistant"]
    assert all(turn.thinking for turn in answers)


@given(seeds)
@many
def test_a_conversation_fits_into_a_row(seed: int) -> None:
    assert tools.size(drawn(seed)) <= tools.MOST_CHARACTERS + 400 * (seed % 4 == 2)


@given(seeds, st.sampled_from(arithmetic.OPERATIONS))
@many
def test_results_of_sums_are_true(seed: int, op: arithmetic.Operation) -> None:
    a, b = arithmetic.numbers(Random(seed), op, whole=False)
    x, y = Fraction(a), Fraction(b)
    apply = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
    right = apply[op.sign](x, y)
    assert abs(Fraction(arithmetic.worked(op, a, b)) - right) <= Fraction(1, 20000)


@given(seeds)
@many
def test_small_sums_are_true(seed: int) -> None:
    turns = arithmetic.small_sum(Random(seed)).turns
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        a, b = map(int, re.findall(r"\d+", question.text))
        minus = re.search(r"-|minus|difference|less", question.text) is not None
        assert int(re.findall(r"\d+", answer.text)[-1]) == (abs(a - b) if minus else a + b)


@given(seeds, st.sampled_from((*tool_table.FAMILIES, *tool_lookups.LOOKUPS)))
@settings(max_examples=200, deadline=None)
def test_no_family_lacks_an_argument_that_its_tool_needs(
    seed: int, family: tool_families.Family
) -> None:
    rng = Random(seed)
    one = tool_families.skill(rng, family)
    needed = {a.key for a in one.tool.arguments if a.required}
    assert needed <= one.task(rng).given.keys() <= {a.key for a in one.tool.arguments}


def test_tools_are_many() -> None:
    rng = Random(1)
    names = [tool["name"] for _ in range(300) for tool in tools.calling(rng).tools]
    assert len(set(names)) > 0.5 * len(names)
    invented = [invented_tools.skill(rng).tool.name for _ in range(300)]
    assert len(set(invented)) > 280


@pytest.mark.parametrize(
    ("deed", "participle"),
    [("copy", "copied"), ("feed", "fed"), ("move", "moved"), ("play", "played")],
)
def test_deeds_have_their_participles(deed: str, participle: str) -> None:
    assert invented_tools.done(deed) == participle


def test_calls_side_by_side_and_one_after_another_both_come() -> None:
    rng = Random(2)
    found = [tools.calling(rng).turns for _ in range(400)]
    assert any(len(turn.calls) > 1 for turns in found for turn in turns)
    assert any(sum(bool(turn.calls) for turn in turns) > 1 for turns in found)
    assert any(t.text.startswith("Error: ") for turns in found for t in turns if t.role == "tool")


def test_a_session_calls_a_tool_in_about_half_of_its_exchanges_and_else_says_that_none_fits() -> (
    None
):
    rng, served, refused = Random(3), 0, 0
    for _ in range(300):
        turns = tool_sessions.session(rng, [w.text for w in WISHES], PUBLIC).turns
        for before, turn in zip(turns, turns[1:], strict=False):
            if before.role == "user":
                served += bool(turn.calls)
                refused += turn.text == tools_unused.NONE_FITS
    assert 0.8 < served / refused < 2.2


@given(seeds)
@many
def test_what_a_session_refuses_names_none_of_its_public_tools(seed: int) -> None:
    example = tool_sessions.session(Random(seed), ["count the pollen in this city"], PUBLIC)
    if any(tool["name"] == "getPollenCount" for tool in example.tools):
        asked = [t.text for t in example.turns if t.role == "user"]
        assert "count the pollen in this city" not in asked


def test_a_public_tool_is_usable_only_where_its_values_can_be_thought_of() -> None:
    (record,) = PUBLIC
    assert tool_public.usable(record)
    assert not tool_public.usable({**record, "required": ["city", "unknown"]})
    assert not tool_public.usable({**record, "responses": {}})
