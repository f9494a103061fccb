"""Answers that begin with thinking, and grammars that begin with a token: what rules when."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from tokenizers import Tokenizer

from renga.engine.batch import Batch
from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import EngineSettings, Finished, Output, Submit, Thinking
from renga.engine.process import Outbox
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from tests.engine.fakes import CountingModel
from tests.tiny_model import TURN_END, write_words

VOCAB = 640
PROMPT = "Thank you"


class Reciting(CountingModel):
    """Has one text in mind, and at each place of it says what stands there."""

    def __init__(self, text: list[int]) -> None:
        super().__init__(vocab=VOCAB)
        self.text = text

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        logits = np.zeros((len(batch.rows), self.vocab), dtype=np.float32)
        for row, place in enumerate(batch.rows):
            following = int(batch.position_ids[place]) + 1
            if following < len(self.text):
                logits[row, self.text[following]] = 20.0
        return logits


class Words:
    """The words of the tiny model: its tokenizer, and what an engine needs of it."""

    def __init__(self, folder: Path) -> None:
        write_words(folder)
        path = folder / "tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(path))
        self.vocabulary = Vocabulary.load(path)
        grammars = Grammars(path, VOCAB, [TURN_END])
        self.language = Language(self.vocabulary, grammars, frozenset([TURN_END]))

    def encode(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text).ids
        return found

    def id(self, text: str) -> int:
        found = self.tokenizer.token_to_id(text)
        assert found is not None
        return found

    def thinking(self, budget: int | None = None) -> Thinking:
        end = self.encode("\n</think>\n\n")
        return Thinking(end=end, marker=self.id("</think>"), budget=budget)

    def says(self, said: str, **changes: Any) -> Said:
        """What comes of a request to a model that has `said` in mind."""
        return self.tells(self.encode(said), **changes)

    def tells(self, said: list[int], **changes: Any) -> Said:
        """The same for what tokens say."""
        draft_tokens = changes.pop("draft_tokens", 8)
        prompt = self.encode(PROMPT)
        engine = Engine(
            Reciting(prompt + said),
            self.language,
            EngineSettings(model="reciting", draft_tokens=draft_tokens, kv_precision="f32"),
            clock=itertools.count().__next__,
            entropy=lambda: 0,
        )
        wanted: dict[str, Any] = {"max_tokens": 100, "temperature": 0.0, **changes}
        said_of_it = engine.submit(Submit(id="a", salt="t", prompt=prompt, **wanted))
        while engine.busy:
            said_of_it += engine.step()
        return Said(said_of_it)


class Said:
    """All that an engine said about one request."""

    def __init__(self, events: list[Any]) -> None:
        self.outputs = [event for event in events if isinstance(event, Output)]
        [self.end] = [event for event in events if isinstance(event, Finished)]
        parts = [output.thinking for output in self.outputs]
        assert parts == sorted(parts, reverse=True), "thinking comes first"
        assert self.end.output_tokens == len(self.tokens)
        thought = [output for output in self.outputs if output.thinking]
        assert self.end.thinking_tokens == sum(len(output.tokens) for output in thought)
        self.thinking = "".join(output.text for output in thought)
        self.text = "".join(output.text for output in self.outputs if not output.thinking)

    @property
    def tokens(self) -> list[int]:
        return [token for output in self.outputs for token in output.tokens]


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Words:
    return Words(tmp_path_factory.mktemp("thinking"))


THOUGHT = "The order is 1234.\n\nSo it was.\n</think>\n\nWhere is my order?<|im_end|>"


def test_thinking_and_answer_are_told_apart_and_what_closes_it_is_neither(words):
    said = words.says(THOUGHT, thinking=words.thinking())
    assert said.thinking == "The order is 1234.\n\nSo it was."
    assert said.text == "Where is my order?"
    assert said.tokens == words.encode(THOUGHT)
    assert said.end.reason == "end_turn"


def test_without_thinking_its_marks_are_text(words):
    said = words.says("<think>\nSo it was.\n</think>\n\nMy order <tool_call><|im_end|>")
    assert said.text == "<think>\nSo it was.\n</think>\n\nMy order <tool_call>"
    assert said.end.thinking_tokens == 0


def test_the_engine_writes_the_space_that_follows_the_marker(words):
    said = words.says("My order.</think>", thinking=words.thinking(), max_tokens=20)
    closing = words.encode("</think>\n\n")
    written = words.encode("My order.")
    assert said.tokens[: len(written) + len(closing)] == written + closing
    assert said.thinking == "My order."


def test_a_marker_that_is_spelled_out_closes_thinking_too(words):
    parts = ["The order", "\n", "<", "/", "t", "h", "i", "n", "k", ">"]
    said = words.tells(
        [token for part in parts for token in words.encode(part)], thinking=words.thinking()
    )
    assert said.thinking == "The order"
    assert words.id("</think>") not in said.tokens
    assert said.end.thinking_tokens < said.end.output_tokens


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_the_engine_closes_thinking_when_its_budget_is_spent(words, budget):
    end = words.encode("\n</think>\n\n")
    thought = words.encode("the lazy dog jumps over the quick brown fox. " * 5)
    answer = words.encode("Where is my order?")
    text = thought[: budget + len(end)] + answer + [TURN_END]
    said = words.tells(text, thinking=words.thinking(budget))
    assert said.tokens == thought[:budget] + end + answer + [TURN_END]
    assert said.end.thinking_tokens == budget + len(end)
    assert said.text == "Where is my order?"
    assert said.thinking == words.vocabulary.text(thought[:budget])


def test_thinking_that_ends_at_its_budget_is_closed_once(words):
    thought = words.encode("So it was.\n")
    text = [*thought, words.id("</think>"), *words.encode("\n\nFox.<|im_end|>")]
    said = words.tells(text, thinking=words.thinking(len(thought) + 1))
    assert said.tokens == text
    assert (said.thinking, said.text) == ("So it was.", "Fox.")


def test_whoever_ends_the_turn_while_thinking_closes_it_and_answers(words):
    end = words.encode("\n</think>\n\n")
    thought, answer = words.encode("The lazy dog."), words.encode("Fox.")
    text = [*thought, TURN_END, *end[1:], *answer, TURN_END]
    said = words.tells(text, thinking=words.thinking())
    assert said.tokens == [*thought, *end, *answer, TURN_END]
    assert (said.thinking, said.text) == ("The lazy dog.", "Fox.")


@pytest.mark.parametrize("max_tokens", [1, 4, 7, 8, 9, 10])
def test_max_tokens_counts_thinking_and_may_end_it(words, max_tokens):
    said = words.says("Thank you.", thinking=words.thinking(4), max_tokens=max_tokens)
    assert said.end.reason == "max_tokens"
    assert said.end.output_tokens == max_tokens
    assert said.end.thinking_tokens == min(max_tokens, 4 + len(words.encode("\n</think>\n\n")))
    assert "think>" not in said.thinking + said.text


def test_stop_sequences_are_looked_for_in_the_answer_alone(words):
    said = words.says(THOUGHT, thinking=words.thinking(), stop=["order", "1234", "\n\n", ">\n"])
    assert said.thinking == "The order is 1234.\n\nSo it was."
    assert said.text == "Where is my "
    assert (said.end.reason, said.end.stop_sequence) == ("stop_sequence", "order")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_rules_the_answer_alone(words, temperature):
    grammar = LLMatcher.grammar_from_regex("(yes|no), Ada")
    wanted = {"grammar": grammar, "thinking": words.thinking(40), "temperature": temperature}
    said = words.says(THOUGHT, **wanted)
    assert said.thinking.startswith("The order is 1234.")
    assert said.text in ("yes, Ada", "no, Ada")
    assert said.end.reason == "end_turn"


@pytest.fixture(scope="module")
def call(words) -> str:
    begin, end = words.id("<tool_call>"), words.id("</tool_call>")
    return f'start: <[{begin}]> "\\n" BODY "\\n" <[{end}]>\nBODY: /[0-9]{{2}}|order/'


def test_a_grammar_with_a_trigger_rules_from_that_token_on(words, call):
    said = words.says(
        "My order:\n<tool_call>\nfox 1234\n</tool_call> and so on",
        grammar=call,
        trigger=words.id("<tool_call>"),
    )
    begin = "My order:\n<tool_call>\n"
    assert said.text.startswith(begin)
    assert said.text.removeprefix(begin) in [f"{body}\n</tool_call>" for body in (*TENS, "order")]
    assert said.end.reason == "end_turn"


TENS = [f"{number:02}" for number in range(100)]


def test_without_the_trigger_the_answer_is_free(words, call):
    said = words.says("The lazy dog.<|im_end|>", grammar=call, trigger=words.id("<tool_call>"))
    assert said.text == "The lazy dog."
    assert said.end.reason == "end_turn"


def test_stop_sequences_do_not_reach_into_a_call(words, call):
    stops = ["order\n", "</tool", "<tool_call>", "\n\n"]
    said = words.says(
        "Thank you.\n<tool_call>\norder\n</tool_call>",
        grammar=call,
        trigger=words.id("<tool_call>"),
        stop=stops,
    )
    assert said.text == "Thank you.\n<tool_call>\norder\n</tool_call>"
    assert said.end.reason == "end_turn"
    before = words.says(
        "My order\n<tool_call>", grammar=call, trigger=words.id("<tool_call>"), stop=stops
    )
    assert (before.text, before.end.stop_sequence) == ("My ", "order\n")


def test_the_trigger_is_a_thought_like_another_while_thinking(words, call):
    said = words.says(
        "Say <tool_call>.\n</think>\n\n<tool_call>\n12\n</tool_call>",
        grammar=call,
        trigger=words.id("<tool_call>"),
        thinking=words.thinking(),
    )
    assert said.thinking == "Say <tool_call>."
    assert said.text == "<tool_call>\n12\n</tool_call>"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"trigger": 7}, "trigger: 7; there is no grammar"),
        ({"trigger": 7, "grammar": LLMatcher.grammar_from_regex("[0-9]")}, "cannot begin with"),
        ({"thinking": Thinking(end=[7], marker=8)}, "thinking.marker: 8"),
        ({"thinking": Thinking(end=[], marker=8)}, "thinking.marker: 8"),
        ({"thinking": Thinking(end=[VOCAB], marker=VOCAB)}, "thinking.end: token ids from 0"),
        ({"thinking": Thinking(end=[-1], marker=-1)}, "thinking.end: token ids from 0"),
        ({"thinking": Thinking(end=[7], marker=7, budget=-1)}, "thinking.budget: -1"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(words, wrong, complaint):
    said = words.says("x", **wrong)
    assert complaint in said.end.error
    assert said.end.reason in ("error", "grammar")


def pieces(words: Words) -> st.SearchStrategy[list[int]]:
    """Texts of tokens that matter here, some of which come again so that they can be guessed."""
    marks = [words.id(mark) for mark in ("<tool_call>", "</tool_call>", "</think>")]
    few = [*marks, TURN_END, *words.encode("\n12 order: fox\n\nyes, Ada")]
    return st.lists(st.sampled_from(few), max_size=60)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_guess_and_no_question_for_likelihoods_changes_anything(words, call, data):
    wanted = {
        "thinking": data.draw(st.sampled_from([None, None, *map(words.thinking, BUDGETS)])),
        "stop": data.draw(st.sampled_from([[], ["order"], ["\n", "12 "]])),
        "temperature": data.draw(st.sampled_from([0.0, 0.0, 1.0])),
        "max_tokens": data.draw(st.integers(0, 60)),
        "seed": 3,
    }
    trigger = data.draw(st.sampled_from([None, words.id("<tool_call>")]))
    if trigger is not None or data.draw(st.booleans()):
        wanted |= {"grammar": call, "trigger": trigger}
    text = data.draw(pieces(words))
    seen = []
    for changes in ({"draft_tokens": 0}, {"draft_tokens": 8}, {"logprobs": 1}):
        said = words.tells(text, **wanted, **changes)
        end = msgspec.structs.replace(said.end, steps=0)  # guesses are there to save some
        seen.append((said.thinking, said.text, said.tokens, end))
        for output in said.outputs:
            assert (output.logprobs is None) == ("logprobs" not in changes)
            assert output.logprobs is None or len(output.logprobs) == len(output.tokens)
    assert seen[0] == seen[1] == seen[2]


BUDGETS = [None, 0, 1, 3, 20]


def test_a_special_marker_has_no_text_either(words):
    end = [*words.encode("\n"), 1, *words.encode("\n\n")]
    said = words.tells(
        [*words.encode("The lazy dog\n"), 1, *words.encode("\n\nfox")],
        thinking=Thinking(end=end, marker=1),
        stop=["x"],
    )
    assert said.thinking == "The lazy dog\n"
    assert said.text == "fo"


def test_thinking_and_answer_never_leave_as_one():
    outbox = Outbox()
    written: list[Any] = []
    outbox.add([Output("a", [1], "x", thinking=True), Output("a", [2], "y")])
    outbox.add([Output("a", [3], "z")])
    outbox.write(written.append)
    assert written == [[Output("a", [1], "x", thinking=True), Output("a", [2, 3], "yz")]]
