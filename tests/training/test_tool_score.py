"""The score of tool use: what counts as right, and that its wordings are never trained on."""

from __future__ import annotations

import re
from random import Random

import pytest

from training import mixture, tool_rows, tool_score, tool_sessions, tools, tools_unused
from training.chat import Example, Turn
from training.tool_rows import Outcome, Row, add, no_work, order_status, right, work

ROWS = work(80, 1)
IDLE = no_work(80, 1)
SUM = Row((add, order_status), "17+25?", ("add", {"a": 17, "b": 25}), "42")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wish)
def test_the_right_call_and_its_result_in_a_sentence_are_right(row: Row) -> None:
    assert row.call is not None
    name, given = row.call
    result = next(tool for tool in row.tools if tool.__name__ == name)(**given)
    assert right(row, Outcome([row.call], f"I looked: it is {result}."))


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ([], "17 + 25 is 42."),
        ([("add", {"a": 17, "b": 52})], "It is 42."),
        ([("add", {"a": "17", "b": "25"})], "It is 42."),
        ([("add", {"a": 17, "b": 25})], "It is 43."),
        ([("add", {"a": 17, "b": 25})], "It is 142."),
        ([("add", {"a": 17, "b": 25})], "It is 42.5."),
        ([("add", {"a": 17, "b": 25})], "It is -42."),
        ([("add", {"a": 17, "b": 25})] * 2, "It is 42."),
        ([("order_status", {"order_id": "17"})], "It is 42."),
    ],
)
def test_another_call_or_another_result_is_wrong(calls: list[object], text: str) -> None:
    assert not right(SUM, Outcome(calls, text))  # type: ignore[arg-type]


def test_without_work_any_call_is_wrong() -> None:
    for row in IDLE:
        assert right(row, Outcome([], "I cannot do that."))
        assert not right(row, Outcome([(row.tools[0].__name__, {})], "Done."))


def test_figures_count_right_rows_and_invented_calls() -> None:
    good, bad = Outcome([("add", {"a": 17, "b": 25})], "42"), Outcome([], "42")
    worked, invented = tool_score.figures(
        [(SUM, good), (SUM, bad), (SUM, good), (IDLE[0], good), (IDLE[1], bad)]
    )
    assert (worked.rows, round(worked.percent)) == (3, 67)
    assert (invented.rows, invented.percent) == (2, 50.0)


def test_wishes_without_work_are_not_about_a_tool_at_hand() -> None:
    """No wish of a subject is put to that subject's function, nor a sum to another sum's."""
    sums = {subject.function for subject in tool_rows.SUMS}
    for row in IDLE:
        for subject in tool_rows.ALL:
            if any(matches(wish, row.wish) for wish in subject.wishes):
                assert subject.function not in row.tools
                assert subject.function not in sums or not sums & set(row.tools)


def matches(wording: str, said: str) -> bool:
    """Whether a text is a wording with any values in it, however it is written."""
    literal = [re.escape(part.strip(" .?!")) for part in re.split(r"\{\d\}", wording)]
    return re.fullmatch(r"\W*.+\W*".join(literal) + r"\W*", said, re.IGNORECASE) is not None


def test_no_wording_that_is_scored_is_trained_on() -> None:
    """The writers hold none, so the mixture drops few rows."""
    rng = Random(9)
    trained = {
        turn.text
        for _ in range(700)
        for example in (
            tools.calling(rng),
            tools_unused.not_calling(rng, []),
            tool_sessions.session(rng, [], []),
        )
        for turn in example.turns
        if turn.role == "user"
    }
    scored = {wish for subject in tool_rows.ALL for wish in subject.wishes} | {*tool_rows.NO_WORK}
    for wording in scored:
        assert not [text for text in trained if matches(wording, text)]


def test_a_scored_wording_is_drawn_again_by_the_mixture() -> None:
    """With other values, case and marks it is still the wording."""
    texts = iter(
        ("find out who holds the account 12", "FIND OUT WHO HOLDS THE ACCOUNT X!", "hello", "no")
    )
    write = mixture.unscored(lambda _: Example("tools", (Turn("user", next(texts)),)))
    assert write(Random(0)).turns[0].text == "hello"
