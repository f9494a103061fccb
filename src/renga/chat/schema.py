"""`output_config.format`, and calls of tools, as grammars that the engine's sampler can follow.

Owns two rules: a format is accepted when everything in it is honoured, and refused by name before
the engine sees it; and JSON is written compactly, without white space between its parts, since a
model that may write white space may write nothing else (lessons, 15). Properties come in the
schema's order. It knows no models: the engine compiles the grammar against a vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from llguidance import LLMatcher, LLParserLimits

from renga.engine.messages import GRAMMAR_FUEL
from renga.errors import InvalidRequest
from renga.types import ChoiceFormat, JsonFormat, JsonObjectFormat, Prompt, RegexFormat

FORMAT = "output_config.format"
FIELD = f"{FORMAT}.schema"
DEEPEST = 64  # levels of nesting in a schema, references followed

# The library's work grows with the square of a pattern's length, and with the number of remainders
# of a step: at these bounds a grammar takes it some 50 ms, beyond them soon seconds.
LONGEST_PATTERNS = 4_000  # characters of all patterns
LARGEST_MULTIPLE = 10_000  # of all steps together, zeros at its end not counted
MOST_CHOICES = 1_000
LONGEST_CHOICES = 20_000  # characters of all choices

OPTIONS: Any = {
    "whitespace_flexible": False,
    "item_separator": ",",
    "key_separator": ":",
    "coerce_one_of": False,
    "lenient": False,
}

# An object that names its properties and says nothing of others is written with those alone: what
# comes out satisfies the schema, and a small model does not go on inventing keys. Where these
# keywords combine schemas, closing one of them could forbid what another asks for.
COMBINING = frozenset({"allOf", "oneOf", "not", "if", "patternProperties", "unevaluatedProperties"})


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
            return json_grammar({"type": "object"})
        case RegexFormat():
            return regex_grammar(wanted.pattern)
        case ChoiceFormat():
            return choice_grammar(wanted.choices)


def json_grammar(schema: Mapping[str, Any]) -> str:
    """An llguidance grammar for compact JSON that `schema` accepts. Raises InvalidRequest."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(_written(schema, FIELD), overrides=OPTIONS)
    except ValueError as error:
        raise InvalidRequest(f"{FIELD}: {_sentence(str(error))}") from error
    return _compiled(str(grammar), FIELD)


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


def tool_call_grammar(
    tools: Mapping[str, Mapping[str, Any]],
    *,
    begin: int | None = None,
    end: int | None = None,
    parallel: bool = False,
) -> str:
    """A grammar for a call of one of `tools`, name -> schema of its arguments, in Hermes' form.

    `<tool_call>`, a line of compact JSON with `name` and `arguments`, `</tool_call>`. `begin` and
    `end` are the ids of the tokens that a tokenizer has for the two; None writes them as text.
    `parallel` allows more than one call, each on lines of its own. Raises InvalidRequest.
    """
    if not tools:
        raise InvalidRequest("tools: there are none; at least one is expected")
    opens = '"<tool_call>"' if begin is None else f"<[{begin}]>"
    closes = '"</tool_call>"' if end is None else f"<[{end}]>"
    lines = [
        'start: call ("\\n" call)*' if parallel else "start: call",
        f'call: {opens} "\\n" body "\\n" {closes}',
        "body: " + " | ".join(f"body_{number}" for number in range(len(tools))),
    ]
    for number, (name, schema) in enumerate(tools.items()):
        head = json.dumps(f'{{"name":{json.dumps(name)},"arguments":')
        written = {"x-guidance": OPTIONS, **_written(schema, f"tools.{number}.input_schema")}
        lines += [
            f'body_{number}: {head} arguments_{number} "}}"',
            f"arguments_{number}: %json {json.dumps(written)}",
        ]
    return _compiled("\n".join(lines), "tools")


def _written(schema: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The schema as the grammar library is to read it. Raises InvalidRequest."""
    _check_nesting(schema, field)
    _check_cost(schema, field)
    combined = any(key in COMBINING for key in _keys(schema))
    written = dict(schema) if combined else dict(_closed(schema))
    # The grammar library would read options from this key, over ours.
    written.pop("x-guidance", None)
    return written


def _compiled(grammar: str, field: str) -> str:
    """The grammar, which is known to be one. Raises InvalidRequest."""
    limits = LLParserLimits(initial_lexer_fuel=GRAMMAR_FUEL)
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar, limits=limits)
    if failed:
        raise InvalidRequest(f"{field}: {_sentence(messages[0])}")
    return grammar


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from (v for v in value.values() if isinstance(v, (Mapping, list)))
    elif isinstance(value, list):
        yield from (v for v in value if isinstance(v, (Mapping, list)))


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
    for child in _children(value):
        yield from _keys(child)


def _check_nesting(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what is nested too deeply, references followed, and what leads back to itself.

    The grammar library descends into references by recursion: a long chain would end the process.
    """
    heights: dict[int, int] = {}  # of the nodes that are done; those on the way down are 0

    def height(node: Any, level: int) -> int:
        known = heights.get(id(node), 1)
        if level + known - 1 > DEEPEST:
            raise InvalidRequest(
                f"{field}: nested more than {DEEPEST} levels deep, references followed"
            )
        if id(node) not in heights:
            heights[id(node)] = 0
            below = [height(child, level + 1) for child in _children(node)]
            if isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str):
                target = _at(schema, ref, field)
                if heights.get(id(target)) == 0:
                    raise InvalidRequest(
                        f"{field}: recursive definitions are not supported: {ref!r}"
                    )
                below.append(height(target, level + 1))
            heights[id(node)] = 1 + max(below, default=0)
        return heights[id(node)]

    height(schema, 1)


def _at(schema: Mapping[str, Any], ref: str, field: str) -> Any:
    """What a reference names. Those that only a library for references could follow are refused."""
    node: Any = schema
    try:
        if ref[:1] != "#" or ref[1:2] not in ("", "/"):
            raise KeyError(ref)
        for part in unquote(ref).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            node = node[int(key)] if isinstance(node, list) else node[key]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InvalidRequest(
            f"{field}: $ref {ref!r} names nothing in this schema; accepted: '#/$defs/NAME'"
        ) from error
    return node


def _check_cost(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what would keep the grammar library busy for seconds, and nested base addresses."""
    patterns, multiple = 0, 1
    nodes: list[Any] = [schema]
    while nodes:
        node = nodes.pop()
        nodes += _children(node)
        if not isinstance(node, Mapping):
            continue
        if node is not schema and isinstance(node.get("$id"), str):
            raise InvalidRequest(f"{field}: $id is accepted at the top of the schema only")
        patterns += sum(len(pattern) for pattern in _patterns(node))
        if patterns > LONGEST_PATTERNS:
            raise InvalidRequest(
                f"{field}: pattern: more than {LONGEST_PATTERNS} characters in all patterns"
            )
        multiple = math.lcm(multiple, _remainders(node.get("multipleOf")))
        if multiple > LARGEST_MULTIPLE:
            raise InvalidRequest(
                f"{field}: multipleOf: the least common multiple of the steps is {multiple}; "
                f"at most {LARGEST_MULTIPLE} is accepted"
            )


def _patterns(node: Mapping[str, Any]) -> Iterator[str]:
    """The regular expressions that stand in one node."""
    if isinstance(pattern := node.get("pattern"), str):
        yield pattern
    if isinstance(properties := node.get("patternProperties"), Mapping):
        yield from properties


def _remainders(step: Any) -> int:
    """How many remainders a digit-by-digit test of `multipleOf` tells apart, about."""
    if type(step) not in (int, float) or not 0 < step < math.inf:
        return 1
    whole = Fraction(str(step)).numerator
    while whole % 10 == 0:
        whole //= 10
    return whole


def _closed(schema: Any) -> Any:
    """`schema` with every object that names its properties closed to others."""
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            closed[key] = {name: _closed(v) for name, v in value.items()}
        elif key in ("anyOf", "prefixItems") and isinstance(value, list):
            closed[key] = [_closed(v) for v in value]
        elif key in ("items", "additionalProperties"):
            closed[key] = _closed(value)
    if _names_all(schema) and not schema.keys() & {"additionalProperties", "anyOf", "$ref"}:
        closed["additionalProperties"] = False
    return closed


def _names_all(schema: Mapping[str, Any]) -> bool:
    """Whether the schema's `properties` has everything that it requires."""
    named, required = schema.get("properties"), schema.get("required", [])
    return (
        isinstance(named, Mapping)
        and isinstance(required, list)
        and all(isinstance(name, str) and name in named for name in required)
    )


def _sentence(message: str) -> str:
    """The library's message on one line, in words that a caller knows."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reasons = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if reasons:
        # Of a schema's regular expression the place is not told; a format has but the one.
        return f"pattern: {reasons[0]}" if lines[0].startswith("regex parse") else reasons[0]
    if lines and lines[0].startswith("at "):
        del lines[1:]  # the grammar's text, which the caller never saw
    sentence = " ".join(lines)
    if "lexer configuration" in sentence and "too big" in sentence:
        return "too large: its strings and patterns are more than can be followed"
    if sentence.startswith("Unimplemented keys: "):
        return "keywords that are not supported: " + sentence.removeprefix("Unimplemented keys: ")
    return sentence
