"""A JSON Schema becomes a grammar for compact JSON, or a 400 that says what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from renga.chat.schema import FIELD, grammar_of, json_grammar
from renga.errors import InvalidRequest
from renga.types import CountRequest
from tests.tiny_model import TURN_END, train_tokenizer


@pytest.fixture(scope="module")
def vocabulary() -> LLTokenizer:
    return LLTokenizer(train_tokenizer().to_str(), eos_token=TURN_END)


def accepts(vocabulary: LLTokenizer, schema: dict[str, Any], text: str) -> bool:
    """Whether a model that follows the grammar of `schema` could write exactly `text`."""
    matcher = LLMatcher(vocabulary, json_grammar(schema))
    tokens = vocabulary.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "total": {"type": "number"},
        "paid": {"type": "boolean"},
        "kind": {"enum": ["refund", "order"]},
    },
    "required": ["name", "total", "paid", "kind"],
    "additionalProperties": False,
}
GOOD = {"name": "Zoë 🦊", "total": 12.5, "paid": True, "kind": "refund"}


def chained(length: int, defs: str = "$defs") -> dict[str, Any]:
    """References that lead from one definition to the next: flat to read, deep to follow."""
    chain: dict[str, Any] = {
        f"d{n}": {"type": "array", "items": {"$ref": f"#/{defs}/d{n + 1}"}} for n in range(length)
    }
    return {"$defs": {**chain, f"d{length}": {"type": "string"}}, "$ref": f"#/{defs}/d0"}


# Schema, and values that its grammar must allow.
ALLOWED: list[tuple[dict[str, Any], list[Any]]] = [
    (ORDER, [GOOD, {**GOOD, "total": -3}]),
    ({}, [1, "x", None, {"a": []}]),
    ({"type": ["string", "null"]}, ["x", None]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [[1], [1, 2]]),
    ({"anyOf": [{"type": "integer"}, {"const": "none"}]}, [7, "none"]),
    ({"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"}, ["AB-12"]),
    ({"type": "string", "format": "date"}, ["2026-11-22"]),
    ({"type": "string", "format": "email"}, ["ada@example.org"]),
    ({"type": "integer", "minimum": 3, "maximum": 5}, [3, 5]),
    ({"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}, [[1]]),
    (
        {
            "$defs": {"n": {"type": "integer"}},
            "properties": {"$ref": {"$ref": "#/$defs/n"}},
            "required": ["$ref"],
            "type": "object",
        },
        [{"$ref": 1}],
    ),
    (
        {
            "$defs": {"n": {"type": "integer"}},
            "type": "object",
            "required": ["a", "b"],
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}},
        },
        [{"a": 1, "b": 2}],
    ),
    (chained(12), [json.loads("[" * 12 + '"x"' + "]" * 12)]),
    (
        {"prefixItems": [{"type": "integer"}, {"$ref": "#/prefixItems/0"}], "type": "array"},
        [[1, 2]],
    ),
    ({"type": "number", "multipleOf": 0.01}, [0.25]),
    ({"type": "integer", "multipleOf": 1_000_000}, [3_000_000]),
    ({"$id": "https://example.org/a", "$defs": {"a b": {}}, "$ref": "#/$defs/a%20b"}, [1]),
    ({"type": "object"}, [{}, {"any": "thing"}]),
    ({"type": "object", "properties": {"a": {}}, "required": ["z"]}, [{"z": 1}]),
    ({"type": "object", "properties": {"properties": {"type": "string"}}}, [{"properties": "x"}]),
    (
        {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
        [{"a": 1, "b": 2}],
    ),
]


@pytest.mark.parametrize(("schema", "values"), ALLOWED)
def test_compact_json_that_the_schema_accepts_can_be_written(
    vocabulary: LLTokenizer, schema: dict[str, Any], values: list[Any]
) -> None:
    for value in values:
        jsonschema.validate(value, schema)
        assert accepts(vocabulary, schema, compact(value)), value


@pytest.mark.parametrize(
    "text",
    [
        compact({**GOOD, "kind": "other"}),
        compact({**GOOD, "more": 1}),
        compact({k: v for k, v in GOOD.items() if k != "paid"}),
        compact({k: GOOD[k] for k in ("kind", "name", "total", "paid")}),
        json.dumps(GOOD),
        " " + compact(GOOD),
        compact(GOOD) + "\n",
        compact(GOOD)[:-1],
        "",
    ],
)
def test_what_the_schema_forbids_cannot_be_written(vocabulary: LLTokenizer, text: str) -> None:
    assert not accepts(vocabulary, ORDER, text)


def test_an_object_that_names_its_properties_gets_no_others(vocabulary: LLTokenizer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert accepts(vocabulary, schema, '{"a":1}')
    assert not accepts(vocabulary, schema, '{"a":1,"b":2}')
    assert accepts(vocabulary, {**schema, "additionalProperties": True}, '{"a":1,"b":2}')


def test_options_hidden_in_a_schema_change_nothing(vocabulary: LLTokenizer) -> None:
    hidden = {**ORDER, "x-guidance": {"whitespace_flexible": True, "lenient": True}}
    assert not accepts(vocabulary, hidden, json.dumps(GOOD))
    assert accepts(vocabulary, hidden, compact(GOOD))
    with pytest.raises(InvalidRequest, match="uniqueItems"):
        json_grammar({"uniqueItems": True, "type": "array", "x-guidance": {"lenient": True}})


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "strin"}, "strin"),
    ({"type": "object", "properties": []}, "properties"),
    ({"type": "object", "properties": {"a": {"type": "nope"}}}, "nope"),
    ({"type": "string", "pattern": "(?=a)b"}, "pattern: .*look-around"),
    ({"type": "string", "pattern": "["}, "pattern: unclosed"),
    ({"type": "string", "format": "sonnet"}, "sonnet"),
    ({"$ref": "#/$defs/none"}, "none"),
    ({"$ref": "https://example.org/schema"}, "example.org"),
    ({"not": {"type": "string"}}, "not supported.*not"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"if": {}, "then": {}}, "not supported.*if"),
    ({"enum": []}, "."),
    ({"type": "object", "required": ["z"], "additionalProperties": False}, "z"),
    ({"type": "object", "properties": {"a": {}}, "required": "a"}, "required"),
    ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength"),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "incompatible"),
    ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 4}]}, "oneOf"),
    ({"$ref": "#"}, "recursive"),
    ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "recursive"),
    ({"type": "object", "properties": {"next": {"$ref": "#"}}}, "recursive"),
    (
        {
            "$defs": {
                "a": {"items": {"$ref": "#/$defs/b"}},
                "b": {"anyOf": [{"$ref": "#/$defs/a"}]},
            },
            "$ref": "#/$defs/a",
        },
        "recursive",
    ),
    (nested(200), "levels deep"),
    (nested(20_000), "levels deep"),
    (chained(2_000), "levels deep, references followed"),
    (chained(2_000, "%24defs"), "levels deep, references followed"),
    ({"anyOf": [{"type": "array", "items": {"$ref": "#/anyOf/0"}}]}, "recursive.*#/anyOf/0"),
    ({"$anchor": "top", "$ref": "#top"}, "[$]ref '#top' names nothing"),
    ({"$id": "https://example.org/a", "$ref": "a"}, "[$]ref 'a' names nothing"),
    ({"properties": {"a": {"$id": "https://example.org/a"}}}, "[$]id is accepted at the top"),
    ({"type": "integer", "multipleOf": 999_983}, "multipleOf: .* is 999983; at most 10000"),
    (
        {"allOf": [{"type": "integer", "multipleOf": 9_973}, {"multipleOf": 97}]},
        "multipleOf: .* is 967381; at most 10000",
    ),
    ({"type": "string", "pattern": "a?" * 5_000}, "pattern: more than 4000 characters"),
    ({"patternProperties": {"a?" * 5_000: {}}}, "pattern: more than 4000 characters"),
]


@pytest.mark.parametrize(("schema", "complaint"), REFUSED, ids=[r[1] for r in REFUSED])
def test_a_schema_that_cannot_be_honoured_is_refused_by_name(
    schema: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{FIELD}: .*{complaint}") as caught:
        json_grammar(schema)
    assert "\n" not in caught.value.message


def test_a_prompt_without_a_format_has_no_grammar() -> None:
    fields: dict[str, Any] = {"model": "haiku", "messages": [{"role": "user", "content": "Hi"}]}
    assert grammar_of(CountRequest.model_validate(fields)) is None
    fields["output_config"] = {"format": {"type": "json_schema", "schema": ORDER}}
    assert grammar_of(CountRequest.model_validate(fields)) == json_grammar(ORDER)
