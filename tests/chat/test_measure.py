"""Where blocks end in the tokens: certain, whatever follows, and no token changes for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from renga.caching import positions
from renga.chat.render import ChatTemplate, Measured
from renga.chat.tokenizer import TAIL, Tokenizer
from renga.reading import written_turns
from renga.types import CountRequest, Prompt
from tests.chat.test_render import ORNATE
from tests.tiny_model import SPECIAL, TEMPLATE

# Shows of a text only what stands behind a border, as published templates do with thoughts.
THOUGHTLESS = TEMPLATE.replace("message['content']", "message['content'].split('|||')[-1]")
# Looks at how a text ends, so that a mark there changes what it writes.
NOSY = TEMPLATE.replace(
    "message['content']",
    "message['content'] + ('(!)' if message['content'].endswith('x') else '(.)')",
)
BACKWARDS = TEMPLATE.replace("in messages", "in messages | reverse")
TEMPLATES = {
    "plain": TEMPLATE,
    "ornate": ORNATE,
    "thoughtless": THOUGHTLESS,
    "nosy": NOSY,
    "backwards": BACKWARDS,
}


def template(words: Path, source: str = TEMPLATE) -> ChatTemplate:
    return ChatTemplate(source, Tokenizer.load(words / "tokenizer.json"), special={"bos_token": ""})


def prompt(turns: Sequence[Sequence[str]], system: Sequence[str] = ()) -> Prompt:
    def blocks(texts: Sequence[str]) -> list[Any]:
        return [{"type": "text", "text": text} for text in texts]

    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": blocks(t)} for i, t in enumerate(turns)]
    body = {"model": "haiku", "messages": messages, "system": blocks(system)}
    return CountRequest.model_validate(body)


def measured(ours: ChatTemplate, asked: Prompt) -> Measured:
    turns = ours.read(asked)
    return ours.measure(asked, turns, positions(asked, turns))


def test_a_block_is_as_long_as_all_but_its_last_two_words(words: Path) -> None:
    ours = template(words)
    found = measured(ours, prompt([["one two three four five", "six"]]))
    tokens = ours.tokenizer.encode(found.text)
    begins = [ours.tokenizer.encode(found.text[:end]) for end in found.ends]
    assert found.tokens == tokens
    for begin, length in zip(begins, found.lengths, strict=True):
        assert begin[:length] == tokens[:length]
    certain = found.text[: found.text.index(" four")]
    assert found.lengths[0] == len(ours.tokenizer.encode(certain))
    assert found.text[: found.ends[0]].endswith("five")


def test_ends_are_found_where_a_template_trims(words: Path) -> None:
    ours = template(words, ORNATE)
    asked = prompt([["a b c d e f \n\n", "  "], ["  g h i \n"], ["j"]], ["s \n"])
    found = measured(ours, asked)
    shown = [found.text[:end] for end in found.ends]
    assert shown[0].endswith("system\ns")
    # JSON spells the white space out, so that the later block is seen to end behind it.
    assert shown[1].endswith('"a b c d e f')
    assert shown[3].endswith("assistant\ng h i")
    assert found.tokens == ours.tokens(asked)


def test_what_a_template_hides_ends_where_the_block_before_it_does(words: Path) -> None:
    ours = template(words, THOUGHTLESS)
    asked = prompt([["first"], ["hidden", "|||", "shown"], ["last"]])
    found = measured(ours, asked)
    assert "hidden" not in found.text
    assert found.ends[0] == found.ends[1] < found.ends[2] < found.ends[3] < found.ends[4]


def test_where_a_template_looks_at_the_end_the_common_beginning_counts(words: Path) -> None:
    asked = prompt([["a b c x"], ["d"], ["e f g"]])
    found = measured(template(words, NOSY), asked)
    parting = found.text.index("(!)") + 1
    assert found.ends == [parting - 1, parting, parting]


def test_control_tokens_that_someone_wrote_are_measured_as_text(words: Path) -> None:
    ours = template(words)
    asked = prompt([["Say <|im_end|> and <|im_start|> twice, please.", "Go on <|im_end|> now."]])
    found = measured(ours, asked)
    assert found.breaker is not None
    assert found.tokens == ours.tokens(asked)
    shown = found.text[: found.ends[0]].replace(found.breaker, "")
    assert shown.endswith("Say <|im_end|> and <|im_start|> twice, please.")


def test_a_prefilled_answer_is_measured_to_its_end(words: Path) -> None:
    ours = template(words)
    asked = prompt([["Name?"], ['{"name": "Ada Lovelace", "age":', ' "36']])
    found = measured(ours, asked)
    assert found.tokens == ours.tokens(asked)
    assert found.ends[-1] == len(found.text)


def test_long_texts_without_spaces_and_long_words_have_ends_too(words: Path) -> None:
    ours = template(words)
    for text in ("東京," * 4 * TAIL, "x" * 9 * TAIL + ". That was it, was it?", "1" * 9 * TAIL):
        found = measured(ours, prompt([[text, "more"]]))
        assert found.lengths[0] > len(ours.tokens(prompt([[text]]))) // 2
    found = measured(ours, prompt([["y" * 9 * TAIL, "more"]]))
    assert found.lengths[0] < 10, "one word may grow"


def test_parts_of_a_huge_text_are_measured_as_a_whole(words: Path) -> None:
    ours = template(words)
    huge = "The quick brown fox jumps over the lazy dog. " * 14_000
    asked = prompt([[huge, "and on"], ["yes"], ["so"]])
    found = measured(ours, asked)
    assert found.tokens == ours.tokens(asked)
    alone = ours.tokens(prompt([[huge]]))
    assert len(alone) - 15 < found.lengths[0] < len(alone)
    assert alone[: found.lengths[0]] == found.tokens[: found.lengths[0]]


pieces = st.sampled_from(
    [*SPECIAL[:3], "<|", "im_", "end", "|>", "\n", " ", "  \n", "it'", "re", "s", "12", "345", "🦊"]
    + ["e", "\u0301", "x", ".", "The quick brown fox", "\U000f0000", "東京"]
)
texts = st.lists(pieces, min_size=1, max_size=6).map("".join)
contents = st.lists(texts, min_size=1, max_size=3).filter(lambda t: bool("".join(t).strip()))
conversations = st.lists(contents, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2 == 1)


@settings(max_examples=80, deadline=None)
@given(conversations, st.lists(texts, max_size=2), st.sampled_from(sorted(TEMPLATES)))
def test_lengths_never_fall_and_marks_change_no_token(
    words: Path, turns: list[list[str]], system: list[str], name: str
) -> None:
    ours, asked = template(words, TEMPLATES[name]), prompt(turns, system)
    found = measured(ours, asked)
    assert found.tokens == ours.tokens(asked)
    assert found.lengths == sorted(found.lengths)
    assert found.ends == sorted(found.ends)
    assert all(0 <= n <= len(found.tokens) for n in found.lengths)
    assert len(found.lengths) == len(positions(asked, written_turns(asked)))


@settings(max_examples=120, deadline=None)
@given(
    conversations, conversations, st.lists(texts, max_size=2), st.sampled_from(["plain", "ornate"])
)
def test_prompts_that_begin_alike_have_equal_tokens_up_to_the_length_of_the_beginning(
    words: Path, one: list[list[str]], other: list[list[str]], system: list[str], name: str
) -> None:
    ours = template(words, TEMPLATES[name])
    grown = [*one[:-1], [*one[-1], *other[0]], *other[1:]]
    first, second = prompt(one, system), prompt(grown, system)
    keys = [p.key for p in positions(first, written_turns(first))]
    shared = [p.key for p in positions(second, written_turns(second))][: len(keys)]
    assert keys == shared
    a, b = measured(ours, first), measured(ours, second)
    for length, again in zip(a.lengths, b.lengths[: len(keys)], strict=True):
        least = min(length, again)
        assert a.tokens[:least] == b.tokens[:least]
