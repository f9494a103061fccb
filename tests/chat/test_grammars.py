"""Grammars put together, as the library that follows them takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

from renga.chat.calling import tools_grammar
from renga.chat.forms import HERMES
from renga.chat.grammars import either_grammar, text_grammar
from renga.chat.schema import choice_grammar, json_grammar, regex_grammar
from renga.toolkit import ToolSpec
from tests.tiny_model import CONFIG, TURN_END

CALL = '<tool_call>\n{"name":"add","arguments":{"a":17}}\n</tool_call>'
ADD = ToolSpec("add", "", {"type": "object", "properties": {"a": {"type": "integer"}}})


class Matching:
    """What a grammar says of texts, over one tokenizer."""

    def __init__(self, words: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(words / "tokenizer.json"))
        vocab = CONFIG["vocab_size"]
        self._tokens = LLTokenizer(self.tokenizer.to_str(), n_vocab=vocab, eos_token=[TURN_END])

    def accepts(self, grammar: str, text: str) -> bool:
        """Whether the text is a whole one by the grammar."""
        matcher = LLMatcher(self._tokens, grammar)
        assert not matcher.is_error(), matcher.get_error()
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        taken = matcher.validate_tokens(ids)
        return taken == len(ids) and matcher.consume_tokens(ids) and matcher.is_accepting()


@pytest.fixture(scope="module")
def matching(words: Path) -> Matching:
    return Matching(words)


@pytest.mark.parametrize("mark", [HERMES.begin, "[CALL/*]", "a\\b"])
def test_a_text_without_calls_is_any_but_one_with_the_mark(matching: Matching, mark: str) -> None:
    grammar = text_grammar(mark)
    for text in ("Hello\n\nthere, 東京 🦊", mark[:-1], mark[1:], mark[0] * 3, mark.upper() + "!"):
        assert matching.accepts(grammar, text) == (mark not in text)
    for text in (mark, f"Hello {mark} there", f"{mark}{mark}", f"\n{mark}"):
        assert not matching.accepts(grammar, text)


@pytest.mark.parametrize(
    ("answer", "good", "bad"),
    [
        (json_grammar({"type": "object", "properties": {"a": {"const": 1}}}), '{"a":1}', '{"a":2}'),
        (regex_grammar("[ab]{2}"), "ab", "abc"),
        (choice_grammar(["yes", "yes, sir"]), "yes, sir", "no"),
    ],
    ids=["json", "regex", "choice"],
)
def test_either_is_one_or_the_other_and_not_both(
    matching: Matching, answer: str, good: str, bad: str
) -> None:
    ids = matching.tokenizer.get_vocab()
    marks = {mark: ids[mark] for mark in (HERMES.begin, HERMES.end)}
    calls = tools_grammar([ADD], HERMES, lazy=False, parallel=False, markers=marks)
    grammar = either_grammar(answer, calls.grammar)
    assert matching.accepts(grammar, good)
    assert matching.accepts(grammar, CALL)
    for text in (bad, good + CALL, CALL + good, CALL * 2, CALL.replace("17", '"x"')):
        assert not matching.accepts(grammar, text)
