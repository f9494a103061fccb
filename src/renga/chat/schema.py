"""`output_config.format` as a grammar that the engine's sampler can follow.

Owns two rules: a schema is accepted when every keyword in it is honoured, and refused by name
before the engine sees it; and JSON is written compactly, without white space between its parts,
since a model that may write white space may write nothing else (lessons, 15). Properties come in
the schema's order. It knows no models: the engine compiles the grammar against a vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from llguidance import LLMatcher

from renga.errors import InvalidRequest
from renga.types import Prompt

FIELD = "output_config.format.schema"
DEEPEST = 64  # levels of nesting in a schema, references followed

# The library's work grows with the square of a pattern's length, and with the number of remainders
# of a step: at these bounds a grammar takes it some 50 ms, beyond them soon seconds.
LONGEST_PATTERNS = 4_000  # characters of all patterns
LARGEST_MULTIPLE = 10_000  # of all steps together, zeros at its end not counted

# An object that names its properties and says nothing of others is written with those alone: what
# comes out satisfies the schema, and a small model does not go on inventing keys. Where these
# keywords combine schemas, closing one of them could forbid what another asks for.
COMBINING = frozenset({"allOf", "oneOf", "not", "if", "patternProperties", "unevaluatedProperties"})


def grammar_of(prompt: Prompt) -> str | None:
    """The grammar that the answer to `prompt` must follow, or None.

    Raises:
        InvalidRequest: the schema is wrong or uses what is not supported; begins with FIELD.
    """
    if prompt.output_config is None or prompt.output_config.format is None:
        return None
    return json_grammar(prompt.output_config.format.json_schema)


def json_grammar(schema: Mapping[str, Any]) -> str:
    """An llguidance grammar for compact JSON that `schema` accepts. Raises InvalidRequest."""
    _check_nesting(schema)
    _check_cost(schema)
    combined = any(key in COMBINING for key in _keys(schema))
    written = dict(schema) if combined else _closed(schema)
    # The grammar library would read options from this key, over ours.
    written.pop("x-guidance", None)
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            written,
            overrides={
                "whitespace_flexible": False,
                "item_separator": ",",
                "key_separator": ":",
                "coerce_one_of": False,
                "lenient": False,
            },
        )
    except ValueError as error:
        raise InvalidRequest(f"{FIELD}: {_sentence(str(error))}") from error
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if failed:
        raise InvalidRequest(f"{FIELD}: {_sentence(messages[0])}")
    return str(grammar)


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


def _check_nesting(schema: Mapping[str, Any]) -> None:
    """Refuse what is nested too deeply, references followed, and what leads back to itself.

    The grammar library descends into references by recursion: a long chain would end the process.
    """
    heights: dict[int, int] = {}  # of the nodes that are done; those on the way down are 0

    def height(node: Any, level: int) -> int:
        known = heights.get(id(node), 1)
        if level + known - 1 > DEEPEST:
            raise InvalidRequest(
                f"{FIELD}: nested more than {DEEPEST} levels deep, references followed"
            )
        if id(node) not in heights:
            heights[id(node)] = 0
            below = [height(child, level + 1) for child in _children(node)]
            if isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str):
                target = _at(schema, ref)
                if heights.get(id(target)) == 0:
                    raise InvalidRequest(
                        f"{FIELD}: recursive definitions are not supported: {ref!r}"
                    )
                below.append(height(target, level + 1))
            heights[id(node)] = 1 + max(below, default=0)
        return heights[id(node)]

    height(schema, 1)


def _at(schema: Mapping[str, Any], ref: str) -> Any:
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
            f"{FIELD}: $ref {ref!r} names nothing in this schema; accepted: '#/$defs/NAME'"
        ) from error
    return node


def _check_cost(schema: Mapping[str, Any]) -> None:
    """Refuse what would keep the grammar library busy for seconds, and nested base addresses."""
    patterns, multiple = 0, 1
    nodes: list[Any] = [schema]
    while nodes:
        node = nodes.pop()
        nodes += _children(node)
        if not isinstance(node, Mapping):
            continue
        if node is not schema and isinstance(node.get("$id"), str):
            raise InvalidRequest(f"{FIELD}: $id is accepted at the top of the schema only")
        patterns += sum(len(pattern) for pattern in _patterns(node))
        if patterns > LONGEST_PATTERNS:
            raise InvalidRequest(
                f"{FIELD}: pattern: more than {LONGEST_PATTERNS} characters in all patterns"
            )
        multiple = math.lcm(multiple, _remainders(node.get("multipleOf")))
        if multiple > LARGEST_MULTIPLE:
            raise InvalidRequest(
                f"{FIELD}: multipleOf: the least common multiple of the steps is {multiple}; "
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
    if lines and lines[0].startswith("regex parse error"):
        return "pattern: " + lines[-1].removeprefix("error: ")
    sentence = " ".join(lines)
    if sentence.startswith("Unimplemented keys: "):
        return "keywords that are not supported: " + sentence.removeprefix("Unimplemented keys: ")
    return sentence
