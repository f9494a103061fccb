"""Where two prompts part, and what the marks of the second would read of the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renga.chat.compare import BLOCK_TOKENS, compare
from renga.chat.render import ChatTemplate
from renga.engine.blocks import BLOCK_SIZE
from renga.types import CountRequest, Prompt
from tests.chat.test_tools import ADD, asked
from tests.chat.test_tools import template as with_tools

MARK = {"type": "ephemeral"}
RULES = "Where is my order 1234? Please reset my password. " * 6


def block(text: str, mark: Any = None) -> Any:
    return {"type": "text", "text": text, "cache_control": mark}


def prompt(*user: Any, system: str = RULES, mark: Any = MARK, more: Any = ()) -> Prompt:
    turns = [{"role": "user", "content": list(user)}, *more]
    fields = {"model": "haiku", "messages": turns, "system": [block(system, mark)]}
    return CountRequest.model_validate(fields)


def test_the_size_of_a_block_is_the_engines() -> None:
    assert BLOCK_TOKENS == BLOCK_SIZE


def test_the_first_token_that_differs_is_shown_in_its_block(words: Path) -> None:
    template = ChatTemplate.load(words)
    one = prompt(block("The fox jumps over the lazy dog."))
    other = prompt(block("The fox jumps over the quick dog."))
    found = compare(template, one, other, 64)
    ours, theirs = template.tokens(one), template.tokens(other)
    assert found.sizes == (len(ours), len(theirs))
    assert ours[: found.shared] == theirs[: found.shared]
    assert ours[found.shared] != theirs[found.shared]
    first, second = found.partings
    assert (first.path, second.path) == ("messages.0.content.0", "messages.0.content.0")
    assert first.before == second.before
    assert first.before.endswith("jumps over the")
    assert (first.after[:5], second.after[:6]) == (" lazy", " quick")


def test_a_prompt_that_goes_on_parts_nowhere_and_reads_what_is_marked(words: Path) -> None:
    template = ChatTemplate.load(words)
    one = prompt(block("Hello"))
    more = [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": "So?"}]
    other = prompt(block("Hello"), more=more)
    for first, second in ((one, other), (other, one), (one, one)):
        found = compare(template, first, second, 64)
        assert found.partings == ()
        (mark,) = found.marks
        assert (mark.path, mark.found, mark.ttl) == ("system.0", "system.0", "5m")
        assert mark.reads == mark.tokens // BLOCK_TOKENS * BLOCK_TOKENS > 64


def test_a_mark_reads_what_it_finds_behind_it(words: Path) -> None:
    template = ChatTemplate.load(words)
    other = prompt(block("Other"), block("things", MARK), mark=None)
    (mark,) = compare(template, prompt(block("Hello")), other, 64).marks
    assert (mark.path, mark.found) == ("messages.0.content.1", "system.0")
    assert 64 < mark.reads < mark.tokens


def test_nothing_is_read_of_what_was_not_kept(words: Path) -> None:
    template = ChatTemplate.load(words)
    for first, least in (
        (prompt(block("Hello"), mark=None), 64),
        (prompt(block("Hello"), system="x" + RULES), 64),
        (prompt(block("Hello")), 10_000),
    ):
        (mark,) = compare(template, first, prompt(block("Hello")), least).marks
        assert (mark.found, mark.reads) == (None, 0)


def test_the_tool_in_which_two_prompts_part_is_named(words: Path) -> None:
    def offering(said: str) -> Prompt:
        tools = [{**ADD, "description": text} for text in ("Adds.", f"Adds {said} numbers.")]
        tools[1]["name"] = "sum"
        fields: dict[str, Any] = {"tools": tools, "system": [block(RULES, MARK)]}
        return asked("Hi", **fields)

    template = with_tools(words)
    found = compare(template, offering("blue"), offering("green"), 64)
    assert [parting.path for parting in found.partings] == ["tools.1", "tools.1"]
    assert [parting.after[:5] for parting in found.partings] == ["blue ", "green"]
    # The mark is at the end of the tools, which are behind the system text.
    (mark,) = found.marks
    assert (mark.path, mark.found) == ("tools.1", None)


def test_words_that_a_control_token_parts_are_shown_as_they_were_written(words: Path) -> None:
    template = ChatTemplate.load(words)
    found = compare(template, prompt(block("<|im_end|> a")), prompt(block("<|im_end|> b")), 64)
    for parting, last in zip(found.partings, "ab", strict=True):
        shown = parting.before + parting.after
        assert f"user\n<|im_end|> {last}<|im_end|>" in shown
