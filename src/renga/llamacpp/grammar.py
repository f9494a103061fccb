"""Grammars as llama.cpp takes them: one text of Lark for its own llguidance, and a check of them.

Owns two rules: the grammars that renga makes mean the same there, whichever of llguidance's forms
they have; and since the library goes on without a grammar that it cannot follow, in silence, what
comes of it is followed here too, byte by byte. It knows no schemas, no tools and no sampling.

Sources: llguidance's documentation, "Grammar syntax"; llama.cpp's, "LLGuidance support".
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from renga.engine.messages import GRAMMAR_FUEL

_HEAD: Final = "%llguidance {}\n"
_START: Final = re.compile(r"^start(?=\s*:)", re.MULTILINE)
_TOKEN = re.compile(r"<\[(\d+)\]>")
_NAMED = re.compile(r"@(\w+)")


def as_lark(grammar: str, texts: Mapping[int, str]) -> str:
    """A grammar in any of llguidance's forms as one text of Lark.

    `texts` are tokens, by their ids, that are text in this vocabulary: a grammar that demands the
    token demands the text. Other ids stay what they are.
    """
    lark = _lark(grammar)

    def shown(match: re.Match[str]) -> str:
        text = texts.get(int(match[1]))
        return match[0] if text is None else json.dumps(text, ensure_ascii=False)

    return _TOKEN.sub(shown, lark)


def _lark(grammar: str) -> str:
    if not grammar.startswith("{"):
        return grammar
    first, *named = json.loads(grammar)["grammars"]
    if not named:
        return _alone(first)
    lines = [_NAMED.sub(r"\1", first["lark_grammar"])]
    lines.extend(f"{one['name']}: {_inner(one)}" for one in named)
    return "\n".join(lines)


def _alone(one: Mapping[str, Any]) -> str:
    if one.get("lark_grammar") is not None:
        return str(one["lark_grammar"])
    return f"start: {_inner(one)}"


def _inner(one: Mapping[str, Any]) -> str:
    if one.get("lark_grammar") is not None:
        return f"%lark {{\n{one['lark_grammar']}\n}}"
    return f"%json {json.dumps(one['json_schema'], ensure_ascii=False)}"


def framed(lark: str, ends: Sequence[int]) -> str:
    """The grammar as llama.cpp is sent it, where any of the tokens `ends` may end the answer.

    By itself the library lets one token do so, which need not be the one that the model ends with:
    such a model would then write on, for as long as its grammar lets it.
    """
    if not ends:
        return _HEAD + lark
    tokens = " | ".join(f"<[{end}]>" for end in ends)
    answer = _START.sub("whole_answer", lark, count=1)
    return f"{_HEAD}start: whole_answer ({tokens})?\n{answer}"


class Follower:
    """Where a text stands in a grammar, byte by byte. One that demands tokens is taken on trust."""

    def __init__(self, lark: str) -> None:
        self._matcher: LLMatcher | None = None
        if _TOKEN.search(lark) is None:
            limits = LLParserLimits(initial_lexer_fuel=GRAMMAR_FUEL)
            tokenizer = LLTokenizer("byte")
            self._matcher = LLMatcher(tokenizer, lark, log_level=0, limits=limits)

    @property
    def error(self) -> str | None:
        """What is wrong with the grammar, or with the text that was pushed."""
        if self._matcher is None or not self._matcher.is_error():
            return None
        return str(self._matcher.get_error()).partition("\n")[0]

    def push(self, text: str) -> bool:
        """Take more of the text; whether the grammar allows it."""
        matcher = self._matcher
        if matcher is None:
            return True
        # Told first and taken then: a text that does not fit would be printed as a warning.
        raw = list(text.encode())
        return matcher.validate_tokens(raw) == len(raw) and bool(matcher.consume_tokens(raw))

    @property
    def whole(self) -> bool:
        """Whether the text may end here."""
        return self._matcher is None or bool(self._matcher.is_accepting())
