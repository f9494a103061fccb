"""How the parts of a request go together. The table of what is refused is in tests/http."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.conversation import check, effort_of, is_prefilled, merged
from renga.errors import InvalidRequest
from renga.types import MessagesRequest

ADD = {
    "name": "add",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
}


def request(*messages: dict[str, Any], **more: Any) -> MessagesRequest:
    body = {"model": "haiku", "max_tokens": 5_000, "messages": list(messages), **more}
    return MessagesRequest.model_validate(body)


def says(role: str, *content: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": b} if isinstance(b, str) else b for b in content]
    return {"role": role, "content": blocks}


def call(id_: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "add", "input": {}}


def result(id_: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": "5"}


SEARCH = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25", "input": {}},
    {
        "type": "tool_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {
            "type": "tool_search_tool_search_result",
            "tool_references": [{"type": "tool_reference", "tool_name": "add"}],
        },
    },
]


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Legal ones: each turn's calls are answered in the next, in any order, in any split."""
    ids = (f"toolu_{n}" for n in count())
    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        messages.append(says("user", "go on"))
        called = [next(ids) for _ in range(draw(st.integers(0, 3)))]
        said = ["let me see"] if draw(st.booleans()) or not called else []
        messages += [says("assistant", *said), says("assistant", *map(call, called))]
        if called:
            results = [result(id_) for id_ in draw(st.permutations(called))]
            cut = draw(st.integers(0, len(results)))
            messages += [says("user", *part) for part in (results[:cut], results[cut:]) if part]
            if draw(st.booleans()):
                messages.append(says("user", "and then?"))
    kept = [m for m in messages if m["content"]]
    return kept if kept[-1]["role"] == "user" else [*kept, says("user", "so?")]


@given(conversations())
def test_calls_that_are_answered_in_the_next_turn_are_accepted(
    messages: list[dict[str, Any]],
) -> None:
    check(request(*messages, tools=[ADD]))


@given(conversations(), st.data())
def test_a_conversation_without_one_of_its_calls_or_results_is_refused(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    places = [
        (i, j)
        for i, message in enumerate(messages)
        for j, block in enumerate(message["content"])
        if block["type"] != "text"
    ]
    if not places:
        return
    i, j = data.draw(st.sampled_from(places))
    rest = messages[i]["content"][:j] + messages[i]["content"][j + 1 :]
    changed = [*messages[:i], {**messages[i], "content": rest or SAID}, *messages[i + 1 :]]
    with pytest.raises(InvalidRequest, match=r"^messages\.\d+"):
        check(request(*changed, tools=[ADD]))


SAID = [{"type": "text", "text": "nothing"}]


def test_messages_of_one_role_in_a_row_are_one_turn() -> None:
    turns = merged(request(says("user", "a"), says("user", "b"), says("assistant", "c")))
    assert [(t.role, t.at, len(t.blocks)) for t in turns] == [("user", 0, 2), ("assistant", 2, 1)]


def test_results_may_come_in_messages_of_their_own() -> None:
    called = says("assistant", call("a"), call("b"))
    check(request(says("user", "hi"), called, says("user", result("b")), says("user", result("a"))))


def test_system_messages_may_stand_behind_the_user_and_before_the_answer() -> None:
    system = says("system", "be brief")
    check(request(says("user", "hi"), system, system))
    check(request(says("user", "hi"), system, says("assistant", "yes"), says("user", "more")))
    searched = says("assistant", *SEARCH)
    check(request(says("user", "hi"), searched, system, tools=[ADD]))


def test_a_system_message_may_bring_an_effort_alone_and_the_last_one_counts() -> None:
    quiet = {"role": "system", "content": [], "output_config": {"effort": "low"}}
    asked = request(says("user", "hi"), quiet, output_config={"effort": "max"})
    check(asked)
    assert effort_of(asked) == "low"
    assert effort_of(request(says("user", "hi"), output_config={"effort": "max"})) == "max"
    assert effort_of(request(says("user", "hi"))) is None


@pytest.mark.parametrize(
    ("last", "prefilled"),
    [
        (says("user", "hi"), False),
        (says("assistant", "Once"), True),
        (says("assistant"), False),
        (says("assistant", " "), False),
        (says("assistant", *SEARCH), False),
        (says("assistant", *SEARCH, "I found"), True),
        (says("assistant", {"type": "compaction", "content": "so far"}), False),
    ],
)
def test_a_prefill_is_text_at_the_end_and_a_paused_turn_is_none(
    last: dict[str, Any], prefilled: bool
) -> None:
    assert is_prefilled(request(says("user", "hi"), last, tools=[ADD])) is prefilled


def test_thinking_goes_with_what_the_api_allows_beside_it() -> None:
    enabled = {"type": "enabled", "budget_tokens": 1024}
    check(request(says("user", "hi"), thinking=enabled, temperature=1.0, top_p=0.95))
    for kind in ("any", "tool"):
        choice = {"type": kind} | ({"name": "add"} if kind == "tool" else {})
        more = {"tools": [ADD], "tool_choice": choice, "thinking": {"type": "adaptive"}}
        check(request(says("user", "hi"), **more))


def test_examples_that_meet_their_schema_are_accepted() -> None:
    check(request(says("user", "hi"), tools=[ADD | {"input_examples": [{"a": 5}, {}]}]))
    bash = {"type": "bash_20250124", "name": "bash", "input_examples": [{"command": "ls"}]}
    check(request(says("user", "hi"), tools=[bash]))


def test_a_tool_may_have_no_parameters_in_each_way_to_say_so() -> None:
    ways: list[dict[str, Any]] = [{}, {"properties": {}}, {"properties": None, "required": None}]
    for parts in ways:
        tool = {"name": "now", "input_schema": {"type": "object", **parts}}
        check(request(says("user", "what time is it?"), tools=[tool]))


def strict(name: str, optional: int = 0, unions: int = 0) -> dict[str, Any]:
    names = [f"p{i}" for i in range(optional)]
    twofold = {f"u{i}": {"anyOf": [{"type": "null"}, {"type": "string"}]} for i in range(unions)}
    schema = {
        "type": "object",
        "properties": {n: {"type": "string"} for n in names} | twofold,
        "required": list(twofold),
        "additionalProperties": False,
    }
    return {"name": name, "strict": True, "input_schema": schema}


def test_the_bounds_of_strict_tools_are_reached_and_no_further() -> None:
    hi = says("user", "hi")
    check(request(hi, tools=[strict(f"t{i}") for i in range(20)]))
    check(request(hi, tools=[strict("a", optional=12), strict("b", optional=12)]))
    check(request(hi, tools=[strict("a", unions=16)]))
    loose = strict("loose", optional=100, unions=100) | {"strict": False}
    check(request(hi, tools=[loose]))


def test_the_latest_words_for_an_answers_form_and_for_thinking_are_those_kept() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    newest = {"type": "json_schema", "schema": schema}
    other = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    asked = request(says("user", "hi"), output_config={"format": newest})
    assert request(says("user", "hi"), output_format=newest) == asked
    assert request(says("user", "hi"), response_format=other) == asked
    assert request(says("user", "hi"), response_format={"type": "text"}).output_config is None
    kept = request(says("user", "hi"), output_format=newest, output_config={"effort": "low"})
    assert kept.output_config is not None
    assert (kept.output_config.format, kept.output_config.effort) == (
        asked.output_config and asked.output_config.format,
        "low",
    )
    extended = request(says("user", "hi"), thinking={"type": "extended", "budget": 2_000})
    enabled = {"type": "enabled", "budget_tokens": 2_000}
    assert extended == request(says("user", "hi"), thinking=enabled)
