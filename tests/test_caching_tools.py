"""The rules of prompt caching where there are tools, calls, results and thinking."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.caching import Marked, breakpoints, check, is_marked, positions
from renga.errors import InvalidRequest
from renga.reading import is_longer, written_turns
from renga.types import CountRequest, Prompt

SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}

Blocks = list[dict[str, Any]]


def text(words: str, mark: Any = None) -> dict[str, Any]:
    return {"type": "text", "text": words, "cache_control": mark}


def call(id_: str = "t1", mark: Any = None, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "add", "input": given, "cache_control": mark}


def result(content: Any = "3", id_: str = "t1", mark: Any = None, **fields: Any) -> dict[str, Any]:
    told = {"type": "tool_result", "tool_use_id": id_, "content": content}
    return {**told, "cache_control": mark, **fields}


def thought(words: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": "s"}


def reference(name: str, mark: Any = None) -> dict[str, Any]:
    return {"type": "tool_reference", "tool_name": name, "cache_control": mark}


def tool(name: str = "add", mark: Any = None, **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    return {"name": name, "input_schema": schema, "cache_control": mark, **fields}


def prompt(*contents: Any, **fields: Any) -> Prompt:
    """Turns of user and assistant in alternation."""
    roles = ("user", "assistant") * len(contents)
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return CountRequest.model_validate({"model": "haiku", "messages": turns, **fields})


def ends(asked: Prompt) -> dict[str, bytes]:
    """The key of each position."""
    return {p.path: p.key for p in positions(asked, written_turns(asked))}


def marked(asked: Prompt) -> list[tuple[str, str]]:
    check(asked)
    turns = written_turns(asked)
    found = positions(asked, turns)
    return [(found[m.at].path, m.ttl) for m in breakpoints(asked, turns, found)]


def agent(**fields: Any) -> Prompt:
    return prompt("1+2?", [thought("hm"), text("So"), call(a=1)], [result(), text("?")], **fields)


# --- positions ------------------------------------------------------------------------------------


def test_positions_are_in_the_order_tools_system_messages() -> None:
    assert [*ends(agent(tools=[tool(), tool("sub")], system="s"))] == [
        "tools.0",
        "tools.1",
        "system.0",
        "messages.0.content.0",
        "messages.1.content.1",
        "messages.1.content.2",
        "messages.2.content.0",
        "messages.2.content.1",
    ]


def test_thinking_ends_nowhere_and_is_part_of_what_follows() -> None:
    one = ends(prompt("a", [thought("hm"), text("b")], "c"))
    other = ends(prompt("a", [thought("ah"), text("b")], "c"))
    assert one.keys() == other.keys()
    assert one["messages.0.content.0"] == other["messages.0.content.0"]
    assert one["messages.1.content.1"] != other["messages.1.content.1"]
    assert (
        ends(prompt("a", [thought(""), text("b")]))["messages.1.content.1"]
        == (ends(prompt("a", [text(""), text("b")]))["messages.1.content.1"])
    ), "thinking that was left out is not read"


def test_a_result_of_several_texts_ends_at_each_and_the_last_is_the_results_own() -> None:
    paths = [*ends(prompt("a", [call()], [result([text("1"), text(""), text("2"), text("")])]))]
    assert paths[-2:] == ["messages.2.content.0.content.0", "messages.2.content.0"]


def test_borders_of_results_and_kinds_of_blocks_are_part_of_a_key() -> None:
    forms = [
        prompt("a", [call(), call("t2")], [result("xy"), result("z", "t2")]),
        prompt("a", [call(), call("t2")], [result("x"), result("yz", "t2")]),
        prompt("a", [call(), call("t2")], [result([text("x"), text("y")]), result("z", "t2")]),
        prompt("a", [call(), call("t2")], [result("xy", is_error=True), result("z", "t2")]),
        prompt("a", [call(a=1), call("t2")], [result("xy"), result("z", "t2")]),
        prompt("a", [call(a=True), call("t2")], [result("xy"), result("z", "t2")]),
        prompt("a", [call(a=1.0), call("t2")], [result("xy"), result("z", "t2")]),
        prompt("a", [call(a="1"), call("t2")], [result("xy"), result("z", "t2")]),
    ]
    assert len({[*ends(form).values()][-1] for form in forms}) == len(forms)


def changed(one: Prompt, other: Prompt) -> str:
    """The first of tools, system, messages whose keys differ."""
    ours, theirs = ends(one), ends(other)
    both = [path for path in ours if path in theirs]
    first = next((path for path in both if ours[path] != theirs[path]), "")
    return first.partition(".")[0]


BASE: dict[str, Any] = {"tools": [tool(), tool("sub")], "system": "s"}


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({}, ""),
        ({"tool_choice": {"type": "auto"}}, ""),
        ({"thinking": {"type": "disabled"}}, ""),
        ({"output_config": {"effort": "high"}}, ""),
        ({"cache_control": LONG}, ""),
        ({"tools": [tool(mark=SHORT), tool("sub")]}, ""),
        ({"tools": [tool(), tool("sub"), tool("late", defer_loading=True)]}, ""),
        ({"tool_choice": {"type": "any"}}, "messages"),
        ({"tool_choice": {"type": "tool", "name": "add"}}, "messages"),
        ({"tool_choice": {"type": "none"}}, "messages"),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "messages"),
        ({"thinking": {"type": "adaptive"}}, "messages"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "messages"),
        ({"output_config": {"effort": "low"}}, "messages"),
        ({"system": "S"}, "system"),
        ({"tools": [tool(), tool("sub"), tool("more")]}, "system"),
        ({"tools": [tool(description="Adds."), tool("sub")]}, "tools"),
        ({"tools": [tool("sub"), tool()]}, "tools"),
        ({"tools": None}, "system"),
    ],
)
def test_what_the_apis_table_says_changes_a_level_changes_it_and_no_level_before(
    fields: dict[str, Any], level: str
) -> None:
    assert changed(agent(**BASE), agent(**{**BASE, **fields})) == level


def test_two_budgets_and_two_ways_of_forcing_are_not_the_same() -> None:
    def last(**fields: Any) -> bytes:
        return [*ends(agent(**BASE, **fields)).values()][-1]

    budgets = [last(thinking={"type": "enabled", "budget_tokens": n}) for n in (1024, 2048)]
    choices = [last(tool_choice={"type": "tool", "name": name}) for name in ("add", "sub")]
    assert len({*budgets, *choices}) == 4


def test_a_tool_that_is_found_later_leaves_all_before_it_as_it_was() -> None:
    tools = [tool(), tool("late", defer_loading=True)]
    turns: list[Any] = ["Find", [call()], [result([reference("late")])]]
    before, after = ends(prompt(*turns[:1], tools=tools)), ends(prompt(*turns, tools=tools))
    assert [*after.items()][: len(before)] == [*before.items()]
    other = [tool(), tool("late", defer_loading=True, description="Other.")]
    assert changed(prompt(*turns, tools=tools), prompt(*turns, tools=other)) == "messages"


# --- marks ----------------------------------------------------------------------------------------


def test_tools_calls_results_and_system_messages_can_be_marked() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [call(mark=LONG)]},
        {"role": "user", "content": [result(mark=SHORT)]},
        {"role": "system", "content": [text("now", SHORT)]},
    ]
    fields = {"tools": [tool(), tool("sub", LONG)]}
    asked = CountRequest.model_validate({"model": "haiku", "messages": turns, **fields})
    assert marked(asked) == [
        ("tools.1", "1h"),
        ("messages.1.content.0", "1h"),
        ("messages.2.content.0", "5m"),
        ("messages.3.content.0", "5m"),
    ]


@pytest.mark.parametrize(
    ("inner", "places"),
    [
        ([text("1", SHORT), text("2")], [("messages.2.content.0.content.0", "5m")]),
        ([text("1"), text("2", SHORT)], [("messages.2.content.0", "5m")]),
        ([text("1"), text("2", SHORT), text("")], [("messages.2.content.0", "5m")]),
        ([reference("add", LONG)], [("messages.2.content.0", "1h")]),
    ],
)
def test_what_is_in_a_result_can_be_marked(inner: Blocks, places: list[tuple[str, str]]) -> None:
    assert marked(prompt("a", [call()], [result(inner)], tools=[tool()])) == places


def test_a_mark_in_a_result_and_one_on_it_are_one_place_that_counts_twice() -> None:
    asked = prompt("a", [call()], [result([text("1", LONG)], mark=SHORT)])
    assert marked(asked) == [("messages.2.content.0", "1h")]
    full = [text("1", SHORT), text("2", SHORT), text("3", SHORT), text("4", SHORT)]
    with pytest.raises(InvalidRequest, match="Found 5"):
        check(prompt("a", [call()], [result(full, mark=SHORT)]))


@pytest.mark.parametrize(
    ("turns", "path"),
    [
        (["a", [call()], [result()]], "messages.2.content.0"),
        (["a", [call()], [result(""), text("")]], "messages.2.content.0"),
        (["a", [thought("hm")]], "messages.0.content.0"),
        (["a", [text("b"), thought("hm")]], "messages.1.content.0"),
        (["a", [call(), thought("hm")], [result(), text("c")]], "messages.2.content.1"),
    ],
)
def test_a_mark_on_the_request_walks_back_over_what_cannot_be_marked(
    turns: list[Any], path: str
) -> None:
    assert marked(prompt(*turns, cache_control=SHORT)) == [(path, "5m")]


def test_a_mark_on_the_request_beside_the_same_mark_in_the_last_result_is_one() -> None:
    inner = prompt("a", [call()], [result([text("1", SHORT)])], cache_control=SHORT)
    assert marked(inner) == [("messages.2.content.0", "5m")]
    with pytest.raises(
        InvalidRequest, match=r"^cache_control.ttl: '1h' for the last block, but mes"
    ):
        check(prompt("a", [call()], [result(mark=SHORT)], cache_control=LONG))


def test_a_mark_on_a_toolset_is_at_its_last_member() -> None:
    screen = {"type": "computer_toolset_20260801", "cache_control": SHORT}
    asked = prompt("a", tools=[tool(), screen])
    turns = written_turns(asked)
    found = positions(asked, turns)
    assert breakpoints(asked, turns, found) == [Marked(len(turns[0].blocks) - 1, "5m")]


ORDER = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            agent(tools=[tool(name, SHORT) for name in "abcd"], cache_control=SHORT),
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            agent(tools=[tool("add", SHORT)], system=[text("s", LONG)]),
            f"system.0.cache_control.ttl: {ORDER}",
        ),
        (
            prompt("a", [call(mark=SHORT)], [result(mark=LONG)], tools=[tool()]),
            f"messages.2.content.0.cache_control.ttl: {ORDER}",
        ),
        (
            prompt("a", [call(mark=SHORT)], [result([text("x"), text("y", LONG)])]),
            f"messages.2.content.0.content.1.cache_control.ttl: {ORDER}",
        ),
        (
            prompt("a", [call()], [result([text("", SHORT)])]),
            "messages.2.content.0.content.0.text: cache_control cannot be set for empty text",
        ),
        (
            prompt("a", tools=[tool(), tool("late", SHORT, defer_loading=True)]),
            "tools.1: Tool 'late' cannot have both defer_loading=true and cache_control set. Tools "
            "with defer_loading cannot use prompt caching.",
        ),
    ],
)  # fmt: skip
def test_marks_that_break_the_rules_are_refused_in_the_apis_words(
    asked: Prompt, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(asked)
    assert caught.value.message.startswith(message)


def test_a_mark_anywhere_is_seen() -> None:
    assert not is_marked(agent(tools=[tool()]))
    for asked in (
        agent(tools=[tool(mark=SHORT)]),
        prompt("a", [call(mark=SHORT)], [result()]),
        prompt("a", [call()], [result([text("x", SHORT)])]),
        prompt("a", [call()], [result([reference("add", SHORT)])], tools=[tool()]),
    ):
        assert is_marked(asked)


# --- size -----------------------------------------------------------------------------------------

words = st.text("ab", max_size=5)


@given(words, words, st.dictionaries(words, words | st.lists(words, max_size=2), max_size=2))
def test_a_prompt_is_longer_than_what_is_less_than_all_in_it(
    said: str, told: str, given: dict[str, Any]
) -> None:
    asked = prompt("x" + said, [text(said), thought("y"), call(**given)], [result(told)])
    spread = [*given, *given.values()]
    size = sum(len(s) if isinstance(s, str) else sum(map(len, s)) for s in spread)
    size += 2 * len(said) + 2 + len(told) + 5 * 10
    assert is_longer(asked, size - 1, per_block=10)
    assert not is_longer(asked, size, per_block=10)
