"""The API's rules of prompt caching: what a prompt consists of, and which marks it may carry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.caching import (
    LOOK_BACK,
    Marked,
    breakpoints,
    check,
    is_marked,
    positions,
)
from renga.errors import InvalidRequest
from renga.reading import written_turns
from renga.types import CountRequest, Prompt

SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}


def text(words: str, mark: dict[str, str] | None = None) -> dict[str, Any]:
    return {"type": "text", "text": words, **({"cache_control": mark} if mark else {})}


def prompt(*contents: Any, **fields: Any) -> Prompt:
    """Turns of user and assistant in alternation."""
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]
    return CountRequest.model_validate({"model": "haiku", "messages": turns, **fields})


def keys(asked: Prompt) -> list[bytes]:
    return [position.key for position in positions(asked, written_turns(asked))]


def marked(asked: Prompt) -> list[Marked]:
    turns = written_turns(asked)
    check(asked)
    return breakpoints(asked, turns, positions(asked, turns))


# --- positions ------------------------------------------------------------------------------------


def test_positions_are_the_blocks_in_the_order_system_then_messages() -> None:
    asked = prompt([text("a"), text("b")], "c", "d", system=[text("s"), text("t")])
    assert [p.path for p in positions(asked, written_turns(asked))] == [
        "system.0",
        "system.1",
        "messages.0.content.0",
        "messages.0.content.1",
        "messages.1.content.0",
        "messages.2.content.0",
    ]


def test_a_prompt_that_goes_on_keeps_the_keys_of_what_it_had() -> None:
    before = keys(prompt("a", system="s"))
    assert keys(prompt("a", "b", [text("c"), text("d")], system="s"))[:2] == before


def test_marks_and_short_forms_do_not_change_a_key() -> None:
    plain = prompt("a", "b", "c", system="s")
    written = prompt([text("a", SHORT)], "b", [text("c")], system=[text("s", LONG)])
    assert keys(plain) == keys(written)


@pytest.mark.parametrize(
    "other",
    [
        prompt("a", "b", "c", system="S"),
        prompt("a", "b", "C", system="s"),
        prompt("a", "bc", system="s"),
        prompt([text("a"), text("b"), text("c")], system="s"),
        prompt("s", "a", "b", "c"),
        prompt("ab", "", "c", system="s"),
    ],
)
def test_another_text_or_role_or_border_is_another_key(other: Prompt) -> None:
    assert keys(other)[-1] not in keys(prompt("a", "b", "c", system="s"))


def test_what_a_client_keeps_its_books_with_is_no_part_of_the_prompt() -> None:
    lines = [f"x-anthropic-billing-header: cc_version=2.1.{n}; cch={n:04x};" for n in range(3)]
    heads: list[list[Any]] = [[text(lines[0])], [text(lines[1] + "\n" + lines[2])], []]
    asked = [prompt("hi", system=[*head, text("Be kind.", SHORT)]) for head in heads]
    assert keys(asked[0]) == keys(asked[1]) == keys(asked[2])
    assert [marked(a)[0].at for a in asked] == [0, 0, 0]
    inside = prompt("hi", system=[text(lines[0] + "\nBe kind.")])
    assert keys(inside) == keys(asked[0])


def test_a_mark_on_bookkeeping_alone_marks_nothing() -> None:
    head = text("x-anthropic-billing-header: 1", SHORT)
    assert marked(prompt("hi", system=[head, text("Be kind.")])) == []


def test_empty_blocks_are_no_positions() -> None:
    assert keys(prompt([text("a"), text("")], "", "b")) != keys(prompt([text("a"), text("b")]))
    assert len(keys(prompt([text("a"), text("")], "b"))) == 2


blocks = st.lists(st.text("ab<|", min_size=1, max_size=3), min_size=1, max_size=3)


@given(st.lists(blocks, min_size=1, max_size=4), st.lists(blocks, min_size=1, max_size=4))
def test_equal_keys_are_equal_beginnings(one: list[list[str]], other: list[list[str]]) -> None:
    def read(turns: list[list[str]]) -> list[list[tuple[int, str]]]:
        """Everything up to each block, with the borders of turns."""
        flat = [(i, block) for i, turn in enumerate(turns) for block in turn]
        return [flat[: n + 1] for n in range(len(flat))]

    def made(turns: list[list[str]]) -> Prompt:
        return prompt(*([text(block) for block in turn] for turn in turns))

    for a, ours in zip(read(one), keys(made(one)), strict=True):
        for b, theirs in zip(read(other), keys(made(other)), strict=True):
            assert (a == b) == (ours == theirs)


# --- marks ----------------------------------------------------------------------------------------


def test_explicit_marks_are_breakpoints_in_order() -> None:
    asked = prompt([text("a", LONG), text("b")], "c", [text("d", SHORT)], system=[text("s", LONG)])
    assert marked(asked) == [Marked(0, "1h"), Marked(1, "1h"), Marked(4, "5m")]


def test_a_mark_on_the_request_falls_on_its_last_block() -> None:
    assert marked(prompt("a", "b", [text("c"), text("d")], cache_control=LONG)) == [Marked(3, "1h")]
    assert is_marked(prompt("a", cache_control=SHORT))
    assert not is_marked(prompt("a", system=[text("s")]))


def test_a_mark_on_the_request_walks_back_to_a_block_that_can_be_marked() -> None:
    assert marked(prompt([text("a"), text("")], "", cache_control=SHORT)) == [Marked(0, "5m")]


def test_a_mark_on_the_request_beside_the_same_mark_on_the_block_is_one() -> None:
    explicit = {"type": "ephemeral", "ttl": "5m"}
    assert marked(prompt([text("a", explicit)], cache_control=SHORT)) == [Marked(0, "5m")]
    assert len(marked(prompt(FOUR[:3], cache_control=SHORT))) == 3


def test_a_breakpoint_looks_at_twenty_positions_itself_included() -> None:
    assert LOOK_BACK == 20
    assert list(Marked(30, "5m").looks_at) == list(range(30, 10, -1))
    assert list(Marked(3, "5m").looks_at) == [3, 2, 1, 0]
    assert list(Marked(19, "5m").looks_at)[-1] == 0


# --- results of the server's own tools ------------------------------------------------------------

SEARCH = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
WEATHER = {
    "name": "get_weather",
    "description": "Weather.",
    "input_schema": {"type": "object"},
    "defer_loading": True,
}


def searched(mark: dict[str, str] | None = None, number: int = 1) -> list[dict[str, Any]]:
    """A search that the server made, and what it found, with `mark` on the result."""
    id_ = f"srvtoolu_{number}"
    call = {"type": "server_tool_use", "id": id_, "name": SEARCH["name"], "input": {"query": "x"}}
    found = {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "get_weather"}],
    }
    result = {"type": "tool_search_tool_result", "tool_use_id": id_, "content": found}
    return [call, {**result, **({"cache_control": mark} if mark else {})}]


def searching(*contents: Any, **fields: Any) -> Prompt:
    return prompt(*contents, tools=[SEARCH, WEATHER], **fields)


def ends(asked: Prompt) -> list[tuple[str, str]]:
    """The role of the turn that each breakpoint ends in, and its lifetime."""
    turns = written_turns(asked)
    found = positions(asked, turns)
    return [(turns[found[mark.at].turn].role, mark.ttl) for mark in marked(asked)]


@pytest.mark.parametrize("mark", [SHORT, LONG])
def test_the_last_result_of_a_search_is_marked_where_anything_before_it_is(mark: Any) -> None:
    twice = [*searched(number=1), *searched(number=2)]
    asked = searching([text("a", mark)], twice)
    assert ends(asked) == [("user", mark.get("ttl", "5m")), ("tool", "5m")]
    turns = written_turns(asked)
    assert marked(asked)[-1].at == len(positions(asked, turns)) - 1


def test_an_answers_words_behind_a_search_are_not_in_its_mark() -> None:
    asked = searching([text("a", LONG)], [*searched(), text("It is warm.")], "thanks")
    assert ends(asked) == [("user", "1h"), ("tool", "5m")]


def test_a_search_is_not_marked_where_nothing_is_or_where_a_later_block_is() -> None:
    assert ends(searching("a", searched(), "b")) == []
    assert ends(searching("a", searched(), [text("b", LONG)])) == [("user", "1h")]
    assert ends(searching("a", searched(), "b", cache_control=LONG)) == [("user", "1h")]


def test_the_mark_on_a_search_is_the_callers_where_there_is_one_and_takes_no_slot() -> None:
    assert ends(searching("a", searched(LONG))) == [("tool", "1h")]
    assert ends(searching("a", searched(), cache_control=LONG)) == [("tool", "1h")]
    assert ends(searching(FOUR, searched())) == [("user", "5m")] * 4 + [("tool", "5m")]


def five(**fields: Any) -> Prompt:
    return prompt([text(str(n), SHORT) for n in range(4)], system=[text("s", SHORT)], **fields)


ORDER = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that "
    "blocks are processed in the following order: `tools`, `system`, `messages`."
)
TTL = ".cache_control.ttl: "
FOUR = [text(str(n), SHORT) for n in range(4)]
MOST = "A maximum of 4 blocks with cache_control may be provided. Found "


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (five(), MOST + "5."),
        (five(cache_control=SHORT), MOST + "6."),
        (prompt(FOUR, cache_control=SHORT), MOST + "5."),
        (prompt([*FOUR, text("x")], cache_control=SHORT), MOST + "5."),
        (prompt([text(str(n), SHORT) for n in range(7)]), MOST + "7."),
        (prompt([text("a", SHORT), text("b", LONG)]), f"messages.0.content.1{TTL}{ORDER}"),
        (prompt([text("a", LONG)], system=[text("s", SHORT)]), f"messages.0.content.0{TTL}{ORDER}"),
        (prompt([text("a", SHORT), text("b")], cache_control=LONG), f"cache_control.ttl: {ORDER}"),
        (
            prompt([text("a"), text("", SHORT)]),
            "messages.0.content.1.text: cache_control cannot be set for empty text blocks",
        ),
        (
            prompt("a", system=[text("", LONG)]),
            "system.0.text: cache_control cannot be set for empty text blocks",
        ),
        (
            prompt([text("a", SHORT)], cache_control=LONG),
            "cache_control.ttl: '1h' for the last block, but messages.0.content.0 is marked with "
            "ttl='5m'; accepted: the same ttl in both, or only one of the two marks",
        ),
    ],
)  # fmt: skip
def test_marks_that_break_the_rules_are_refused_in_the_apis_words(
    asked: Prompt, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(asked)
    assert caught.value.message == message
