"""Why the cache missed, from one answer to the next."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from renga.diagnostics import Comparisons
from renga.types import Diagnostics, MessagesRequest, Usage

BASE: dict[str, Any] = {"system": "Be kind.", "messages": ["Hello", "Hi!", "Where is it?"]}


def asking(previous: str | None, **changes: Any) -> MessagesRequest:
    fields = {**BASE, "diagnostics": {"previous_message_id": previous}, **changes}
    roles = itertools.cycle(("user", "assistant"))
    turns = [{"role": next(roles), "content": c} for c in fields.pop("messages")]
    body = {"model": "haiku", "max_tokens": 5, "messages": turns, **fields}
    return MessagesRequest.model_validate(body)


def judge(
    kept: Comparisons,
    request: MessagesRequest,
    message: str,
    *,
    workspace: str = "w",
    served_by: str = "small",
    read: int = 0,
    written: int = 0,
) -> Diagnostics | None:
    usage = Usage(
        input_tokens=7,
        output_tokens=0,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
    )
    return kept.judge(
        request, workspace=workspace, served_by=served_by, message=message, usage=usage
    )


@pytest.fixture
def kept() -> Comparisons:
    """After one answer, `m1`, which left 640 tokens in the cache."""
    comparisons = Comparisons()
    assert judge(comparisons, asking(None), "m1", written=640) is None
    return comparisons


def reason(found: Diagnostics | None) -> Any:
    return None if found is None else found.model_dump()["cache_miss_reason"]


GROWN = [*BASE["messages"], "There.", "Thanks"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"messages": GROWN},
        {"messages": ["Hello", "Hi!", [{"type": "text", "text": "Where is it?"}], "There.", "Ah"]},
        {"cache_control": {"type": "ephemeral"}},
        {"system": "x-anthropic-billing-header: cch=1;\nBe kind."},
        {"max_tokens": 9, "stop_sequences": ["x"]},
    ],
)
def test_a_prompt_that_goes_on_has_nothing_to_explain(
    kept: Comparisons, changes: dict[str, Any]
) -> None:
    assert judge(kept, asking("m1", **changes), "m2", read=640) is None


ADD: dict[str, Any] = {"name": "add", "input_schema": {"type": "object"}}
SUB: dict[str, Any] = {"name": "sub", "input_schema": {"type": "object"}}
CALLED = [
    "1+2?",
    [{"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1, "b": 2}}],
    [{"type": "tool_result", "tool_use_id": "t", "content": "3"}],
]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"messages": [*CALLED, "It is 3.", "Thanks"]}, None),
        ({"tools": [ADD, {**SUB, "cache_control": {"type": "ephemeral"}}]}, None),
        ({"tools": [ADD, SUB, {**ADD, "name": "late", "defer_loading": True}]}, None),
        ({"tools": [ADD]}, "tools_changed"),
        ({"tools": None}, "tools_changed"),
        ({"tools": [SUB, ADD]}, "tools_changed"),
        ({"tools": [ADD, {**SUB, "description": "Subtracts."}]}, "tools_changed"),
        ({"tools": [ADD], "system": "Be rude."}, "tools_changed"),
        ({"system": "Be rude."}, "system_changed"),
        ({"system": None}, "system_changed"),
        ({"tool_choice": {"type": "any"}}, "messages_changed"),
        ({"thinking": {"type": "adaptive"}}, "messages_changed"),
        ({"output_config": {"effort": "low"}}, "messages_changed"),
        ({"messages": CALLED[:1]}, "messages_changed"),
        (
            {
                "messages": [
                    *CALLED[:2],
                    [{"type": "tool_result", "tool_use_id": "t", "content": "4"}],
                ]
            },
            "messages_changed",
        ),
    ],
)
def test_with_tools_too_the_first_part_that_differs_is_named(
    changes: dict[str, Any], kind: str | None
) -> None:
    base = {"tools": [ADD, SUB], "messages": CALLED}
    kept = Comparisons()
    judge(kept, asking(None, **base), "m1", written=640)
    found = reason(judge(kept, asking("m1", **{**base, **changes}), "m2", read=96))
    assert found == (kind and {"type": kind, "cache_missed_input_tokens": 544})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"system": "Be rude."}, "system_changed"),
        ({"system": None}, "system_changed"),
        ({"system": "Be rude.", "messages": ["Other"]}, "system_changed"),
        ({"messages": ["Hello!", "Hi!", "Where is it?"]}, "messages_changed"),
        ({"messages": ["Hello"]}, "messages_changed"),
        ({"messages": ["Hello", "Hi!", "Where is it"]}, "messages_changed"),
    ],
)
def test_the_first_part_that_differs_is_named_with_what_it_cost(
    kept: Comparisons, changes: dict[str, Any], kind: str
) -> None:
    found = reason(judge(kept, asking("m1", **changes), "m2", read=96))
    assert found == {"type": kind, "cache_missed_input_tokens": 544}


def test_another_backend_has_another_cache(kept: Comparisons) -> None:
    asked = asking("m1", system="Be rude.")
    found = reason(judge(kept, asked, "m2", served_by="large"))
    assert found == {"type": "model_changed", "cache_missed_input_tokens": 640}


def test_an_answer_of_another_workspace_or_of_nobody_is_not_found(kept: Comparisons) -> None:
    missing = {"type": "previous_message_not_found"}
    assert reason(judge(kept, asking("m1"), "m2", workspace="other")) == missing
    assert reason(judge(kept, asking("m9"), "m3")) == missing


def test_only_answers_to_requests_that_asked_are_kept(kept: Comparisons) -> None:
    assert judge(kept, asking(None, diagnostics=None), "m2") is None
    found = reason(judge(kept, asking("m2"), "m3"))
    assert found == {"type": "previous_message_not_found"}


def test_what_is_kept_is_bounded_for_each_workspace_and_in_all() -> None:
    kept = Comparisons(most=5, most_of_a_workspace=3)
    for n in range(4):
        judge(kept, asking(None), f"a{n}", workspace="a")
    assert reason(judge(kept, asking("a0"), "a4", workspace="a")) is not None
    assert judge(kept, asking("a2"), "a5", workspace="a") is None
    for n in range(3):
        judge(kept, asking(None), f"b{n}", workspace="b")
    # Five in all: the three of b, and the two last of a.
    assert reason(judge(kept, asking("a3"), "c0", workspace="a")) is not None
    assert judge(kept, asking("b2"), "b3", workspace="b") is None
