"""Large prompts are read and measured with work that grows as they do, and no faster.

Work is counted, not timed: every call of a function, in Python or right beneath it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from renga.caching import breakpoints, check, positions
from renga.chat.compare import compare
from renga.chat.demand import prompt_of
from renga.chat.render import ChatTemplate
from renga.reading import is_longer
from renga.toolkit import specs_of, visible
from renga.types import CountRequest, Prompt
from tests.chat.test_tools import ADD, call, result, template, words_of

SHORT: Any = {"type": "ephemeral"}


def calls_of(work: Callable[[], object]) -> int:
    """How many calls `work` makes."""
    count = 0

    def see(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def prompt(**body: Any) -> Prompt:
    return CountRequest.model_validate({"model": "haiku", "cache_control": SHORT, **body})


def tools(size: int) -> Prompt:
    offered = [{**ADD, "name": f"tool_{n}"} for n in range(size)]
    offered[-1]["cache_control"] = SHORT
    return prompt(tools=offered, messages=[{"role": "user", "content": "Hi"}])


def blocks(size: int, text: str = "word") -> Prompt:
    content = [words_of("first"), *(words_of(text) for _ in range(size))]
    return prompt(messages=[{"role": "user", "content": content}])


def agent(size: int) -> Prompt:
    turns: list[Any] = [{"role": "user", "content": "Go"}]
    for n in range(size // 3):
        said = [words_of("So"), call(f"t{n}", a="<tool_call>")]
        turns += [
            {"role": "assistant", "content": said},
            {"role": "user", "content": [result(f"t{n}", "ok")]},
        ]
    return prompt(messages=turns, tools=[ADD])


PROMPTS: dict[str, Callable[[int], Prompt]] = {
    "tools": tools,
    "blocks": blocks,
    "blank blocks": lambda size: blocks(size, " "),
    "blocks of control tokens": lambda size: blocks(size, "<|im_end|>"),
    "agent": agent,
}


def read(ours: ChatTemplate, asked: Prompt) -> None:
    check(asked)
    turns = ours.read(asked)
    found = positions(asked, turns)
    marks = breakpoints(asked, turns, found)
    wanted = sorted({at for mark in marks for at in mark.looks_at})
    ours.measure(asked, turns, [found[at] for at in wanted])


@pytest.mark.parametrize("kind", sorted(PROMPTS))
def test_twice_the_prompt_is_twice_the_work(words: Path, kind: str) -> None:
    ours = template(words)
    read(ours, PROMPTS[kind](10))  # what is done once is no part of it
    size = 300 if kind == "tools" else 2_000
    works = []
    for factor in (1, 2, 4):
        asked = PROMPTS[kind](factor * size)
        works.append(calls_of(partial(read, ours, asked)))
    assert works[1] < 2.2 * works[0]
    assert works[2] < 2.2 * works[1]


def test_two_prompts_of_twice_the_size_are_compared_with_twice_the_work(words: Path) -> None:
    ours = template(words)
    works = []
    for size in (150, 300, 600):
        one, other = agent(size), agent(size + 3)
        works.append(calls_of(partial(compare, ours, one, other, 64)))
    assert works[1] < 2.2 * works[0]
    assert works[2] < 2.2 * works[1]


def test_a_thousand_tools_and_ten_thousand_blocks_are_read_whole(words: Path) -> None:
    ours = template(words)
    text = ours.text(tools(1_000))
    assert all(f'"name":"tool_{n}"' in text for n in (0, 999))
    assert ours.text(blocks(10_000)).count("word") == 10_000


def test_what_need_not_know_all_tools_does_not_make_them_out(words: Path) -> None:
    ours = template(words)
    assert ours.forms.call is not None
    few, many = tools(200), tools(2_000)
    works: list[Callable[[Prompt], object]] = [
        partial(prompt_of, template=ours),
        partial(is_longer, most=8_192, per_block=64),
    ]
    for work in works:
        assert calls_of(partial(work, many)) <= calls_of(partial(work, few)) * 2


def test_tools_in_view_are_made_out_once() -> None:
    """Thousands of them take a while."""
    later = [{**ADD, "name": f"later_{n}", "defer_loading": True} for n in range(1_000)]
    asked = prompt(tools=[ADD, *later], messages=[{"role": "user", "content": "Hi"}])
    once = calls_of(partial(specs_of, asked))
    assert calls_of(partial(visible, asked)) <= once * 1.2
