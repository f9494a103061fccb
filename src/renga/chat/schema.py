"""`output_config.format`, and calls of tools, as grammars that the engine's sampler can follow.

Owns three rules: a format is accepted when everything in it is honoured, and refused by name before
the engine sees it; a call always parses and names a tool that was given; and JSON is written
compactly, without white space between its parts, since a model that may write white space may
write nothing else (lessons, 15). It knows no models: the engine compiles the grammar against a
vocabulary. What a schema may hold is `subset`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from renga.chat.subset import LONGEST_PATTERNS, check_form, without_patterns, written
from renga.engine.messages import GRAMMAR_FUEL
from renga.errors import InvalidRequest
from renga.toolkit.specs import ToolSpec
from renga.types import ChoiceFormat, JsonFormat, JsonObjectFormat, Prompt, RegexFormat

FORMAT = "output_config.format"
FIELD = f"{FORMAT}.schema"
MOST_CHOICES = 1_000
LONGEST_CHOICES = 20_000  # characters of all choices
LONGEST_KEPT = 1_000_000  # characters of a grammar of tools that is remembered: some thousand tools

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
    return _compiled(str(grammar), FIELD)


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
    return _compiled(str(LLMatcher.grammar_from_regex(pattern)), field)


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
    return _compiled("start: " + " | ".join(json.dumps(choice) for choice in choices), field)


Marks = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class ToolGrammar:
    """What an answer with calls must follow; with a `trigger`, from that token on."""

    grammar: str
    trigger: int | None = None


def tools_grammar(
    specs: Sequence[ToolSpec],
    *,
    lazy: bool,
    parallel: bool,
    begin: int | None = None,
    end: int | None = None,
) -> ToolGrammar:
    """A grammar for calls of some tools, in Hermes' form.

    `<tool_call>`, a line of compact JSON with `name` and `arguments`, `</tool_call>`. `begin` and
    `end` are the ids of the tokens that a tokenizer has for the two; None writes them as text.
    A `lazy` one lets any text come before the first call, or alone; else the answer is calls.
    `parallel` allows more than one call, each on lines of its own.

    The arguments of a strict tool meet its schema. Those of another do as far as the grammar
    library can follow: keywords that it lacks are passed over, and where nothing else helps, the
    arguments are any JSON object. Raises InvalidRequest, which names the tool's schema.
    """
    if not specs:
        raise InvalidRequest("tools: there are none; at least one is expected")
    opens = json.dumps(CALL_BEGINS) if begin is None else f"<[{begin}]>"
    closes = json.dumps(CALL_ENDS) if end is None else f"<[{end}]>"
    rest = '"\\n" body "\\n" ' + closes
    more = f' ("\\n" {opens} {rest})*' if parallel else ""
    frame = [f"start: {opens} {rest}{more}"]
    if lazy and begin is None:
        frame = [f"start: TEXT | HEAD {rest}{more}", *_TEXT_AND_HEAD]
    trigger = begin if lazy else None
    # Most can be followed as they are. Else each is looked at by itself; and where one by one they
    # can be followed, they may be too much all together.
    with contextlib.suppress(InvalidRequest):
        return ToolGrammar(_compiled(_calls(frame, specs, _as_they_are), "tools"), trigger)
    grammar = _calls(frame, specs, _arguments)
    with contextlib.suppress(InvalidRequest):
        return ToolGrammar(_compiled(grammar, "tools"), trigger)
    return ToolGrammar(_compiled(_calls(frame, specs, _any_arguments), "tools"), trigger)


class ToolGrammars:
    """`tools_grammar`, remembering what it gave: an agent's tools come again with every turn.

    Raises what it raises. Threads may share one.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, ToolGrammar] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self, specs: Sequence[ToolSpec], *, lazy: bool, parallel: bool, marks: Marks
    ) -> ToolGrammar:
        """The grammar of these tools. `marks` are the ids of the tokens around a call."""
        begin, end = marks
        said = [[spec.name, spec.strict, spec.schema] for spec in specs]
        key = hashlib.sha256(json.dumps([said, lazy, parallel, begin, end]).encode()).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = tools_grammar(specs, lazy=lazy, parallel=parallel, begin=begin, end=end)
        if len(made.grammar) > LONGEST_KEPT:
            return made
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def _calls(
    frame: Sequence[str], specs: Sequence[ToolSpec], arguments: Callable[[ToolSpec], Any]
) -> str:
    lines = [*frame, "body: " + " | ".join(f"body_{number}" for number in range(len(specs)))]
    for number, spec in enumerate(specs):
        head = json.dumps(f'{{"name":{json.dumps(spec.name)},"arguments":')
        lines += [
            f'body_{number}: {head} arguments_{number} "}}"',
            f"arguments_{number}: %json {json.dumps(arguments(spec))}",
        ]
    return "\n".join(lines)


CALL_BEGINS, CALL_ENDS = "<tool_call>", "</tool_call>"
# Text without a call, and text up to where the first one begins.
_TEXT_AND_HEAD = (
    f"TEXT: /(?s:.*)/ & ~/(?s:.*{CALL_BEGINS}.*)/",
    f"HEAD: /(?s:.*){CALL_BEGINS}/ & ~/(?s:.*{CALL_BEGINS}.+)/",
)


def _arguments(spec: ToolSpec) -> dict[str, Any]:
    """The schema of a tool's arguments as the grammar library can read it. InvalidRequest."""
    field = f"{spec.path or 'tools'}.input_schema"
    if spec.strict:
        return _followed(spec.schema, field, OPTIONS)
    check_form(spec.schema, field)
    # Patterns for other engines look around, which ours does not.
    for weaker in (spec.schema, without_patterns(spec.schema)):
        with contextlib.suppress(InvalidRequest):
            return _followed(weaker, field, {**OPTIONS, "lenient": True})
    return _any_arguments(spec)


def _as_they_are(spec: ToolSpec) -> dict[str, Any]:
    """The same, where it is not known yet whether it can be followed. InvalidRequest."""
    options = OPTIONS if spec.strict else {**OPTIONS, "lenient": True}
    return {"x-guidance": options, **written(spec.schema, spec.path)}


def _any_arguments(spec: ToolSpec) -> dict[str, Any]:
    """The same, where nothing but a strict tool's is held to its schema."""
    return _arguments(spec) if spec.strict else {"x-guidance": OPTIONS, "type": "object"}


def _followed(schema: Mapping[str, Any], field: str, options: Any) -> dict[str, Any]:
    """The schema with the library's options, once it is known that it can follow them."""
    found = {"x-guidance": options, **written(schema, field)}
    _compiled(f"start: %json {json.dumps(found)}", field)
    return found


def _compiled(grammar: str, field: str) -> str:
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
