"""Grammars on their way to llama.cpp: the same language, as one text of Lark."""

from __future__ import annotations

import json

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from renga.chat.grammars import either_grammar, text_grammar
from renga.chat.schema import choice_grammar, json_grammar, json_object_grammar, regex_grammar
from renga.llamacpp.grammar import Follower, as_lark, framed

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", '"<|im_end|>"', "ü🦊"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
GOOD = {"a": 17, "b": "ü🦊"}


def follows(grammar: str, text: str, texts: dict[int, str] | None = None) -> bool:
    follower = Follower(as_lark(grammar, texts or {}))
    assert follower.error is None
    return follower.push(text) and follower.whole


CASES = [
    (json_grammar(SCHEMA), [json.dumps(GOOD, ensure_ascii=False, separators=(",", ":"))], ["{}"]),
    (json_object_grammar(), ["{}", '{"a":[1]}'], ["[]", "{", "{} "]),
    (regex_grammar("[a-c]{3}"), ["abc"], ["ab", "abcd", "abx"]),
    (choice_grammar(["yes", "yes please", "no"]), ["yes", "yes please", "no"], ["ye", "not"]),
    (text_grammar("<tool_call>"), ["", "no call", "<tool_cal"], ["a <tool_call> b"]),
    (either_grammar(json_grammar(SCHEMA), choice_grammar(["no"])), ["no"], ["yes", ""]),
    (either_grammar(regex_grammar("a+"), json_object_grammar()), ["aaa", "{}"], ["b"]),
]


@pytest.mark.parametrize(("grammar", "good", "bad"), CASES)
def test_a_grammar_of_ours_means_the_same_as_lark(grammar, good, bad):
    tokenizer = LLTokenizer("byte")
    for text in (*good, *bad):
        own = LLMatcher(tokenizer, grammar, log_level=0)
        raw = list(text.encode())
        expected = own.validate_tokens(raw) == len(raw)
        expected = expected and own.consume_tokens(raw) and own.is_accepting()
        assert follows(grammar, text) == expected == (text in good)


def test_a_token_that_is_text_here_is_demanded_as_text():
    grammar = 'start: <[7]> "x" <[8]>'
    assert as_lark(grammar, {7: "<tool_call>"}) == 'start: "<tool_call>" "x" <[8]>'
    assert follows(grammar, "<t>x<u>", {7: "<t>", 8: "<u>"})
    assert Follower(as_lark(grammar, {})).push("anything")  # which only llama.cpp can follow


def test_any_of_the_tokens_that_end_a_turn_may_end_an_answer():
    for grammar, *_ in CASES:
        sent = framed(as_lark(grammar, {}), [2, 0])
        assert sent.startswith("%llguidance {}\nstart: whole_answer (<[2]> | <[0]>)?\n")
        failed, messages = LLMatcher.validate_grammar_with_warnings(sent)
        assert not failed, messages


def test_what_does_not_follow_is_seen_at_the_first_byte():
    follower = Follower(as_lark(json_grammar(SCHEMA), {}))
    assert follower.push('{"a":1')
    assert not follower.push('7,"c"')
    assert not follower.whole
    assert Follower("start: nonsense (").error is not None


def test_a_text_comes_in_any_pieces():
    text = json.dumps(GOOD, ensure_ascii=False, separators=(",", ":"))
    jsonschema.validate(GOOD, SCHEMA)
    for cut in range(len(text)):
        follower = Follower(as_lark(json_grammar(SCHEMA), {}))
        assert follower.push(text[:cut])
        assert follower.push(text[cut:])
        assert follower.whole
