"""`output_config.format` as a grammar that the engine's sampler can follow.

Owns two rules: a format is accepted when everything in it is honoured, and refused by name before
the engine sees it; and JSON is written compactly, without white space between its parts, since a
model that may write white space may write nothing else (lessons, 15). It knows no models: the
engine compiles the grammar against a vocabulary. What a schema may hold is `subset`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from renga.chat.subset import LONGEST_PATTERNS, written
from renga.engine.messages import GRAMMAR_FUEL
from renga.errors import InvalidRequest
from renga.types import ChoiceFormat, JsonFormat, JsonObjectFormat, Prompt, RegexFormat

FORMAT = "output_config.format"
FIELD = f"{FORMAT}.schema"
MOST_CHOICES = 1_000
LONGEST_CHOICES = 20_000  # characters of all choices

OPTIONS: Any = {
    "whitespace_flexible": False,
    "item_separator": ",",
    "key_separator": ":",
    "coerce_one_of": False,
    "lenient": False,
}


def grammar_of(prompt: Prompt) -> str | None:
    """The grammar that the answer to `prompt` must follow, or None.

    Raises:
        InvalidRequest: the format is wrong or uses what is not supported; begins with FORMAT.
    """
    wanted = prompt.output_config.format if prompt.output_config is not None else None
    match wanted:
        case None:
            return None
        case JsonFormat():
            return json_grammar(wanted.json_schema)
        case JsonObjectFormat():
            return json_object_grammar()
        case RegexFormat():
            return regex_grammar(wanted.pattern)
        case ChoiceFormat():
            return choice_grammar(wanted.choices)


def json_grammar(schema: Mapping[str, Any]) -> str:
    """An llguidance grammar for compact JSON that `schema` accepts. Raises InvalidRequest."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(written(schema, FIELD), overrides=OPTIONS)
    except ValueError as error:
        raise InvalidRequest(f"{FIELD}: {_sentence(str(error))}") from error
    return compiled(str(grammar), FIELD)


def json_object_grammar() -> str:
    """A grammar for any JSON object, compact."""
    return str(LLMatcher.grammar_from_json_schema({"type": "object"}, overrides=OPTIONS))


def regex_grammar(pattern: str) -> str:
    """A grammar for texts that `pattern`, in Rust's syntax, matches whole. InvalidRequest."""
    field = f"{FORMAT}.pattern"
    if not pattern:
        raise InvalidRequest(f"{field}: it is empty; a regular expression is expected")
    if len(pattern) > LONGEST_PATTERNS:
        raise InvalidRequest(
            f"{field}: {len(pattern)} characters; at most {LONGEST_PATTERNS} are accepted"
        )
    return compiled(str(LLMatcher.grammar_from_regex(pattern)), field)


def choice_grammar(choices: Sequence[str]) -> str:
    """A grammar for exactly one of some strings, also where one begins another. InvalidRequest."""
    field = f"{FORMAT}.choices"
    if not choices:
        raise InvalidRequest(f"{field}: there are none; at least one string is expected")
    if len(choices) > MOST_CHOICES or sum(map(len, choices)) > LONGEST_CHOICES:
        raise InvalidRequest(
            f"{field}: at most {MOST_CHOICES:,} strings of {LONGEST_CHOICES:,} characters in all "
            f"are accepted, got {len(choices):,} of {sum(map(len, choices)):,}"
        )
    known: dict[str, int] = {}
    for place, choice in enumerate(choices):
        if not choice:
            raise InvalidRequest(f"{field}.{place}: it is empty; a string is expected")
        if choice in known:
            raise InvalidRequest(
                f"{field}.{place}: {choice!r} is there already, at {known[choice]}"
            )
        known[choice] = place
    return compiled("start: " + " | ".join(json.dumps(choice) for choice in choices), field)


def compiled(grammar: str, field: str) -> str:
    """The grammar, which is known to be one. Raises InvalidRequest."""
    limits = LLParserLimits(initial_lexer_fuel=GRAMMAR_FUEL)
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar, limits=limits)
    if failed:
        raise InvalidRequest(f"{field}: {_sentence(messages[0])}")
    return grammar


def _sentence(message: str) -> str:
    """The library's message on one line, in words that a caller knows."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reasons = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if reasons:
        # Of a schema's regular expression the place is not told; a format has but the one.
        return f"pattern: {reasons[0]}" if lines[0].startswith("regex parse") else reasons[0]
    if lines and lines[0].startswith("at "):
        del lines[1:]  # the grammar's text, which the caller never saw
    # A schema within a grammar comes with a place there.
    sentence = " ".join(lines).rpartition("failed to compile JSON schema: ")[2]
    if "lexer configuration" in sentence and "too big" in sentence:
        return "too large: its strings and patterns are more than can be followed"
    if sentence.startswith("Unimplemented keys: "):
        return "keywords that are not supported: " + sentence.removeprefix("Unimplemented keys: ")
    return sentence
