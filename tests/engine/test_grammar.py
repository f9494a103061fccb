"""Masks from grammars: what is allowed, where an answer is complete, and what is an error."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from llguidance import LLMatcher
from tokenizers import Tokenizer

from renga.engine.grammar import GrammarError, GrammarMask, Grammars
from tests.tiny_model import TURN_END, write_words

VOCAB = 700


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("grammar")
    write_words(folder)
    return Path(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def grammars(path) -> Grammars:
    return Grammars(path, VOCAB, [TURN_END, 0])


@pytest.fixture(scope="module")
def tokenizer(path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def test_only_tokens_that_can_go_on_are_allowed(grammars, tokenizer):
    mask = grammars.compile(LLMatcher.grammar_from_regex("yes|no"))
    texts = {tokenizer.id_to_token(int(token)) for token in np.flatnonzero(mask.allowed())}
    assert texts
    assert all("yes".startswith(text) or "no".startswith(text) for text in texts)
    assert mask.allowed().shape == (VOCAB,)


def test_a_turn_may_end_only_where_the_grammar_accepts(grammars, tokenizer):
    mask = grammars.compile(LLMatcher.grammar_from_regex("[a-z]{2}[0-9]?"))
    ends = []
    for token in tokenizer.encode("q").ids + tokenizer.encode("z").ids:
        ends.append(bool(mask.allowed()[TURN_END]))
        mask.accept(token)
    ends.append(bool(mask.allowed()[TURN_END]))
    assert ends == [False, False, True]
    assert not mask.complete
    [digit] = tokenizer.encode("7").ids
    mask.accept(digit)
    assert mask.complete


def test_a_refused_token_is_an_error_and_the_mask_never_pretends_to_be_complete(
    grammars, tokenizer
):
    mask = grammars.compile(LLMatcher.grammar_from_regex("[a-z]{5}"))
    [digit] = tokenizer.encode("7").ids
    with pytest.raises(GrammarError, match="refused"):
        mask.accept(digit)
    with pytest.raises(GrammarError, match="no token may follow"):
        mask.allowed()


@pytest.mark.parametrize("grammar", ["{ not json", "start: missing", ""])
def test_an_invalid_grammar_is_an_error(grammars, grammar):
    with pytest.raises(GrammarError, match="grammar: "):
        grammars.compile(grammar)


def test_answers_under_one_grammar_do_not_move_each_other(grammars, tokenizer):
    grammar = LLMatcher.grammar_from_regex("[a-z][0-9]")
    grammars.prepare(grammar)
    first, second = grammars.compile(grammar), grammars.compile(grammar)
    [letter] = tokenizer.encode("q").ids
    first.accept(letter)
    assert second.allowed()[letter]
    assert not first.allowed()[letter]
    assert grammars.compile(grammar).allowed()[letter]


def test_a_grammar_that_broke_under_one_answer_is_whole_for_the_next(grammars):
    grammar = LLMatcher.grammar_from_regex("(.{0,50}[a-m].{0,60}[n-z]?.{0,70}){20,50}")
    lengths = []
    for _ in range(2):
        mask, length, choose = grammars.compile(grammar), 0, np.random.default_rng(0)
        with pytest.raises(GrammarError, match=r"no token may follow: .*too many"):
            while True:
                mask.accept(int(choose.choice(np.flatnonzero(mask.allowed()))))
                length += 1
        lengths.append(length)
    assert lengths[0] == lengths[1] > 0


def test_a_repetition_of_millions_is_given_up_before_it_holds_a_step_up(grammars):
    mask = grammars.compile(LLMatcher.grammar_from_regex("((a{100}){100}){100}"))
    forced = mask.forced()
    assert 0 < len(forced) < 100_000
    with pytest.raises(GrammarError, match="too many"):
        mask.accept(forced[0])


def test_a_prepared_grammar_costs_the_steps_next_to_nothing(grammars):
    words = "|".join(f"word{n}{n * 7919 % 10007}" for n in range(5_000))
    grammar = LLMatcher.grammar_from_regex(words)
    begun = time.perf_counter()
    grammars.prepare(grammar)
    prepared = time.perf_counter()
    grammars.compile(grammar)
    assert time.perf_counter() - prepared < (prepared - begun) / 4


def test_an_invalid_grammar_may_be_prepared_and_is_an_error_each_time(grammars):
    grammars.prepare("start: missing")
    for _ in range(2):
        with pytest.raises(GrammarError, match="missing"):
            grammars.compile("start: missing")


def test_what_went_wrong_is_one_line(path):
    grammars = Grammars(path, VOCAB, [TURN_END])
    mask = grammars.compile(LLMatcher.grammar_from_regex("a?" * 5_000))
    with pytest.raises(GrammarError, match="too many expressions") as caught:
        _follow(mask, 50)
    assert "\n" not in str(caught.value)


def _follow(mask: GrammarMask, steps: int) -> None:
    random = np.random.default_rng(5)
    for _ in range(steps):
        mask.accept(int(random.choice(np.flatnonzero(mask.allowed()))))


def test_a_vocabulary_smaller_than_the_tokenizers_is_an_error_of_the_request(path):
    with pytest.raises(GrammarError, match="cannot follow"):
        Grammars(path, 100, [2]).compile(LLMatcher.grammar_from_regex("a"))


@pytest.mark.parametrize("name", ["<|im_end|>", "<tool_call>"])
def test_the_name_of_a_token_is_written_as_text(grammars, tokenizer, name):
    schema = {
        "type": "object",
        "properties": {name: {"const": name}},
        "required": [name],
        "additionalProperties": False,
    }
    grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
    mask = grammars.compile(grammar)
    written: list[int] = []
    while not mask.complete and len(written) < 50:
        token = next(iter(mask.forced()), int(np.flatnonzero(mask.allowed())[-1]))
        assert token != tokenizer.token_to_id(name)
        if token in (TURN_END, 0):
            break
        written.append(token)
        mask.accept(token)
    assert json.loads(tokenizer.decode(written)) == {name: name}


def test_a_token_whose_text_is_shown_may_be_named_by_its_number(grammars, tokenizer):
    mark = tokenizer.token_to_id("<tool_call>")
    mask = grammars.compile(f'start: <[{mark}]> "1"', mark)
    assert np.flatnonzero(mask.allowed()).tolist() == [mark]
    with pytest.raises(GrammarError, match="cannot begin with"):
        grammars.compile(f'start: <[{mark}]> "1"', mark + 1)
