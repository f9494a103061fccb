"""A JSON Schema becomes a grammar for compact JSON, or a 400 that says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from renga.chat.calling import ToolGrammars, tools_grammar
from renga.chat.forms import HERMES
from renga.chat.schema import (
    FIELD,
    choice_grammar,
    grammar_of,
    json_grammar,
    json_object_grammar,
    regex_grammar,
)
from renga.chat.subset import MOST_OPTIONAL
from renga.engine.grammar import _without_names
from renga.errors import InvalidRequest
from renga.toolkit import ToolSpec
from renga.types import CountRequest
from tests.tiny_model import TURN_END, train_tokenizer

TOKENIZER = train_tokenizer()
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER


@pytest.fixture(scope="module")
def vocabulary() -> LLTokenizer:
    # As the engine has it: with no text that spells a special token.
    return LLTokenizer(_without_names(TOKENIZER.to_str()), eos_token=TURN_END)


def accepts(vocabulary: LLTokenizer, schema: dict[str, Any], text: str) -> bool:
    """Whether a model that follows the grammar of `schema` could write exactly `text`."""
    matcher = LLMatcher(vocabulary, json_grammar(schema))
    tokens = vocabulary.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


ORDER: dict[str, Any] = {
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
    ({"type": "strin"}, "one of null, boolean"),
    ({"type": "object", "properties": []}, "an object of schemas"),
    ({"type": "object", "properties": {"a": {"type": "nope"}}}, "one of null, boolean"),
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
    ({"type": "object", "properties": {"a": {}}, "required": "a"}, "a list of strings"),
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
    ({"const": "a" * 20_000}, "20002 characters in a row; at most 20000"),
    ({"items": {"const": "abc"}, "minItems": 10_000}, "60000 characters in a row"),
    ({"properties": {"a": {"const": "a" * 20_000}}}, "20007 characters in a row"),
    ({"prefixItems": [{"enum": ["a", "b" * 999]}] * 50}, "50050 characters in a row"),
    (
        {
            "$defs": {"a": {"prefixItems": [{"const": "a" * 999}] * 10}},
            "anyOf": [{"type": "null"}, {"prefixItems": [{"$ref": "#/$defs/a"}] * 10}],
        },
        "100100 characters in a row",
    ),
    (
        {"properties": {f"p{n}": {} for n in range(402)}, "required": ["p7"]},
        "401 optional properties of one object; at most 400",
    ),
]


@pytest.mark.parametrize(("schema", "complaint"), REFUSED, ids=[r[1] for r in REFUSED])
def test_a_schema_that_cannot_be_honoured_is_refused_by_name(
    schema: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{FIELD}(\.\S+)?: .*{complaint}") as caught:
        json_grammar(schema)
    assert "\n" not in caught.value.message


def test_a_schema_of_more_strings_than_can_be_followed_is_refused() -> None:
    many = [f"value {n}" for n in range(20_000)]
    with pytest.raises(InvalidRequest, match="schema: too large: its strings and patterns"):
        json_grammar({"enum": many})
    json_grammar({"enum": many[:5_000]})


def test_a_prompt_without_a_format_has_no_grammar() -> None:
    fields: dict[str, Any] = {"model": "haiku", "messages": [{"role": "user", "content": "Hi"}]}
    assert grammar_of(CountRequest.model_validate(fields)) is None
    fields["output_config"] = {"format": {"type": "json_schema", "schema": ORDER}}
    assert grammar_of(CountRequest.model_validate(fields)) == json_grammar(ORDER)


def follows(vocabulary: LLTokenizer, grammar: str, text: str) -> bool:
    matcher = LLMatcher(vocabulary, grammar)
    tokens = vocabulary.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_the_other_forms_become_their_grammars():
    fields: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    fields["output_config"] = {"format": {"type": "regex", "pattern": "a+"}}
    assert grammar_of(CountRequest.model_validate(fields)) == regex_grammar("a+")
    fields["output_config"] = {"format": {"type": "choice", "choices": ["a", "b"]}}
    assert grammar_of(CountRequest.model_validate(fields)) == choice_grammar(["a", "b"])


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("[A-Z]{2}-[0-9]+", ["AB-1"], ["AB-", "xAB-1", "AB-1 "]),
        ("^yes|no$", ["yes", "no"], ["maybe"]),
        (r"/\w+", ["/ü"], ["/"]),
        ("a*", ["", "aaa"], ["b"]),
    ],
)
def test_a_pattern_is_matched_whole(vocabulary, pattern, good, bad):
    grammar = regex_grammar(pattern)
    assert all(follows(vocabulary, grammar, text) for text in good)
    assert not any(follows(vocabulary, grammar, text) for text in bad)


CHOICES = [
    "card",
    "card payment",
    'say "hi"',
    "back\\slash",
    "new\nline",
    "Zoë 🦊",
    "\x7f",
    "<|im_end|>",
]


def test_a_choice_is_one_of_its_strings_and_no_more(vocabulary):
    grammar = choice_grammar(CHOICES)
    assert all(follows(vocabulary, grammar, text) for text in CHOICES)
    wrong = ["", "car", "cards", "card pay", "say hi"]
    assert not any(follows(vocabulary, grammar, text) for text in wrong)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: regex_grammar(""), "pattern: it is empty"),
        (lambda: regex_grammar("(a"), "pattern: unclosed group"),
        (lambda: regex_grammar("a(?=b)"), "pattern: look-around"),
        (lambda: regex_grammar("a" * 4_001), "pattern: 4001 characters; at most 4000"),
        (lambda: choice_grammar([]), "choices: there are none"),
        (lambda: choice_grammar(["a", ""]), "choices.1: it is empty"),
        (lambda: choice_grammar(["a", "b", "a"]), "choices.2: 'a' is there already, at 0"),
        (lambda: choice_grammar([str(n) for n in range(1_001)]), "choices: at most 1,000 strings"),
        (lambda: choice_grammar(["x" * 20_001]), "choices: at most"),
    ],
)
def test_a_wrong_form_is_refused_by_name(build, complaint):
    with pytest.raises(InvalidRequest) as caught:
        build()
    assert str(caught.value).startswith(f"output_config.format.{complaint}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            "date",
            ["2024-02-29", "2000-02-29", "2023-02-28", "1904-02-29", "2026-12-31"],
            ["2023-02-29", "1900-02-29", "2024-02-30", "2024-04-31", "0000-01-01"],
        ),
        ("time", ["23:59:59Z", "00:00:00.5+01:00"], ["23:59:60Z", "24:00:00Z", "23:59"]),
        (
            "date-time",
            ["2024-02-29T23:59:59Z", "0001-01-01t00:00:00.123-08:00"],
            ["2023-02-29T23:59:59Z", "2024-02-29T23:59:60Z", "2024-02-29"],
        ),
    ],
)
def test_dates_and_times_exist(vocabulary, form, good, bad):
    schema = {"type": "string", "format": form}
    for text in good:
        jsonschema.validate(text, schema, format_checker=CHECKER)
        assert accepts(vocabulary, schema, compact(text)), text
    assert not any(accepts(vocabulary, schema, compact(text)) for text in bad)
    assert accepts(vocabulary, {**schema, "pattern": "[-:]"}, compact(good[0]))


def test_any_object_is_an_object(vocabulary):
    grammar = json_object_grammar()
    assert follows(vocabulary, grammar, compact({"a": [1, {"b": None}], "c": "x"}))
    assert follows(vocabulary, grammar, "{}")
    assert not any(follows(vocabulary, grammar, text) for text in ["[]", "1", '{"a": 1}', ""])
    fields: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    fields["output_config"] = {"format": {"type": "json_object"}}
    assert grammar_of(CountRequest.model_validate(fields)) == grammar


def test_no_named_key_stands_twice_and_of_others_no_grammar_can_say_it(vocabulary):
    """A grammar of any object would have to remember every key; the documentation says so."""
    named = {"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": {}}
    assert accepts(vocabulary, named, '{"a":1,"b":2,"c":3}')
    assert not accepts(vocabulary, named, '{"a":1,"a":2}')
    assert not accepts(vocabulary, named, '{"a":1,"c":3,"a":2}')
    assert accepts(vocabulary, named, '{"a":1,"c":3,"c":4}')
    assert follows(vocabulary, json_object_grammar(), '{"c":3,"c":4}')


def test_required_properties_come_first_and_each_group_in_its_order(vocabulary):
    inner = {
        "type": "object",
        "properties": {name: {"const": name} for name in "zyx"},
        "required": ["x", "y"],
    }
    schema = {
        "type": "object",
        "properties": {"d": inner, "c": {"type": "integer"}, "b": {"const": 2}, "a": {"const": 1}},
        "required": ["a", "c"],
    }
    assert accepts(vocabulary, schema, compact({"c": 1, "a": 1, "d": {"y": "y", "x": "x"}, "b": 2}))
    assert accepts(vocabulary, schema, compact({"c": 1, "a": 1, "b": 2}))
    assert accepts(vocabulary, inner, compact({"y": "y", "x": "x", "z": "z"}))
    assert not accepts(vocabulary, inner, compact({"z": "z", "y": "y", "x": "x"}))
    assert not accepts(vocabulary, schema, compact({"a": 1, "c": 1}))


def test_as_many_optional_properties_as_are_accepted_can_be_followed(vocabulary):
    """One more type of value, and properties without a name, cost the library the most."""
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"type": ["integer", "null"]} for n in range(MOST_OPTIONAL)},
        "additionalProperties": {"type": "string"},
    }
    assert accepts(vocabulary, schema, '{"p3":1,"p390":null,"other":"x"}')


WEATHER = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}},
    "required": ["city"],
    "$defs": {"name": {"type": "string"}},
}
TOOLS = [
    ToolSpec("get_weather", "", WEATHER),
    ToolSpec('say "hi"', "", {"type": "object", "properties": {}}),
]


def call(name: str, arguments: Any) -> str:
    return f"<tool_call>\n{compact({'name': name, 'arguments': arguments})}\n</tool_call>"


def tool(schema: dict[str, Any], *, strict: bool = False) -> ToolSpec:
    return ToolSpec("f", "", schema, strict=strict, path="tools.4")


def calls(vocabulary: LLTokenizer, specs: list[ToolSpec], text: str, **form: bool) -> bool:
    """Whether a model without tokens for the marks may answer with exactly that text."""
    lazy, parallel = form.get("lazy", False), form.get("parallel", False)
    made = tools_grammar(specs, HERMES, lazy=lazy, parallel=parallel)
    return follows(vocabulary, made.grammar, text)


def test_a_call_names_a_tool_and_its_arguments_fit(vocabulary):
    assert calls(vocabulary, TOOLS, call("get_weather", {"city": "Zürich"}))
    assert calls(vocabulary, TOOLS, call('say "hi"', {}))
    assert not calls(vocabulary, TOOLS, call("get_weather", {}))
    assert not calls(vocabulary, TOOLS, call("get_weather", {"city": "Oslo", "day": 1}))
    assert not calls(vocabulary, TOOLS, call("get_whether", {"city": "Oslo"}))
    assert not calls(vocabulary, TOOLS[:1], call('say "hi"', {}))


TWO = call("get_weather", {"city": "Oslo"}) + "\n" + call('say "hi"', {})


@pytest.mark.parametrize("lazy", [False, True])
def test_calls_follow_one_another_where_that_is_allowed(vocabulary, lazy):
    assert calls(vocabulary, TOOLS, TWO, parallel=True, lazy=lazy)
    assert not calls(vocabulary, TOOLS, TWO, lazy=lazy)
    assert not calls(vocabulary, TOOLS, TWO + "\n", parallel=True, lazy=lazy)


@pytest.mark.parametrize(
    "text", ["", "It rains.", "a < b", "<tool_call", "</tool_call>", "Zoë 🦊\n\n", '{"name":1}']
)
def test_text_may_stand_before_a_call_or_instead_of_one(vocabulary, text):
    assert calls(vocabulary, TOOLS, text, lazy=True)
    assert calls(vocabulary, TOOLS, text + call('say "hi"', {}), lazy=True)
    assert not calls(vocabulary, TOOLS, text + call("shout", {}), lazy=True)
    assert not calls(vocabulary, TOOLS, text + call('say "hi"', {}) + " So.", lazy=True)
    assert not calls(vocabulary, TOOLS, text)


def test_where_there_is_a_token_for_it_the_grammar_begins_with_that(vocabulary):
    ids = TOKENIZER.get_vocab()
    begin, end = ids["<tool_call>"], ids["</tool_call>"]
    marks = {HERMES.begin: begin, HERMES.end: end}
    forced = tools_grammar(TOOLS, HERMES, lazy=False, parallel=False, markers=marks)
    lazy = tools_grammar(TOOLS, HERMES, lazy=True, parallel=False, markers=marks)
    assert (forced.trigger, lazy.trigger) == (None, begin)
    assert forced.grammar == lazy.grammar
    written = vocabulary.tokenize_str(compact({"name": 'say "hi"', "arguments": {}}))
    newline = vocabulary.tokenize_str("\n")
    matcher = LLMatcher(vocabulary, lazy.grammar)
    assert matcher.consume_tokens([begin, *newline, *written, *newline, end])
    assert matcher.is_stopped()


@pytest.mark.parametrize(
    ("specs", "complaint"),
    [
        ([], "tools: there are none"),
        ([tool({"type": "chair"})], "tools.4.input_schema.type: one of null"),
        ([tool({"properties": {"a": {"enum": 3}}})], "tools.4.input_schema.properties.a.enum: a"),
        ([tool({"$ref": "#/nowhere"}, strict=True)], "tools.4.input_schema: $ref '#/nowhere' name"),
        ([tool({"not": {}}, strict=True)], "tools.4.input_schema: keywords that are not supported"),
        ([tool({"$ref": "#"}, strict=True)], "tools.4.input_schema: recursive definitions"),
    ],
)
def test_tools_that_cannot_be_followed_are_refused_by_name(specs, complaint):
    with pytest.raises(InvalidRequest) as caught:
        tools_grammar(specs, HERMES, lazy=False, parallel=False)
    assert str(caught.value).startswith(complaint)


CODE: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
}
# Schemas of tools that are not strict, and whether their arguments are held to the rest of it.
LOOSE: list[tuple[dict[str, Any], bool]] = [
    ({**CODE, "not": {"required": ["b"]}}, True),
    ({**CODE, "patternProperties": {"(?=x)": {}}, "minProperties": 1}, True),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"format": "x"}}}, True),
    ({**CODE, "properties": {**CODE["properties"], "b": {"pattern": "^(?!x)"}}}, True),
    ({**CODE, "properties": {**CODE["properties"], "next": {"$ref": "#"}}}, False),
    ({**CODE, "properties": {**CODE["properties"], "b": {"$ref": "https://a.org/b"}}}, False),
    ({**CODE, "properties": {**CODE["properties"], "b": {"const": "x" * 30_000}}}, False),
]


@pytest.mark.parametrize("size", [5.0, 2**53 - 1, 2**63 - 1, 2**64, 1e30])
def test_sizes_are_followed_however_they_are_written_and_however_large(vocabulary, size):
    text = {"type": "string", "minLength": 1.0, "maxLength": size}
    sized = {**CODE, "properties": {"a": text}}
    for strict in (True, False):
        assert calls(vocabulary, [tool(sized, strict=strict)], call("f", {"a": "12345"}))
        assert not calls(vocabulary, [tool(sized, strict=strict)], call("f", {"a": ""}))
        assert not calls(vocabulary, [tool(sized, strict=strict)], call("f", {}))


@pytest.mark.parametrize(("schema", "held"), LOOSE)
def test_what_cannot_be_followed_of_another_tool_is_passed_over(vocabulary, schema, held):
    assert calls(vocabulary, [tool(schema)], call("f", {"a": 1}))
    assert calls(vocabulary, [tool(schema)], call("f", {"a": "x"})) != held
    with pytest.raises(InvalidRequest):
        tools_grammar([tool(schema, strict=True)], HERMES, lazy=False, parallel=False)


def test_what_is_too_much_together_is_followed_in_strict_tools_alone(vocabulary):
    choices = {"type": "object", "properties": {"a": {"enum": ["x", *map(str, range(4_000))]}}}
    specs = [ToolSpec(f"tool_{n}", "", {**choices, "title": str(n)}) for n in range(8)]
    assert calls(vocabulary, specs[:1], call("tool_0", {"a": "x"}))
    assert not calls(vocabulary, specs[:1], call("tool_0", {"a": "y"}))
    assert calls(vocabulary, [*specs, *TOOLS], call("tool_0", {"a": "y"}))
    strict = ToolSpec("f", "", WEATHER, strict=True)
    assert calls(vocabulary, [*specs, strict], call("f", {"city": "Oslo"}))
    assert not calls(vocabulary, [*specs, strict], call("f", {"city": 1}))
    with pytest.raises(InvalidRequest, match="tools: too large"):
        every = [replace(spec, strict=True) for spec in specs]
        tools_grammar(every, HERMES, lazy=False, parallel=False)


def test_what_a_schema_says_to_people_is_no_part_of_its_grammar():
    said: dict[str, Any] = {
        "title": "A",
        "description": "words " * 99,
        "examples": [1],
        "$comment": "?",
    }
    plain: dict[str, Any] = {
        **ORDER,
        "properties": {**ORDER["properties"], "title": {"type": "string"}},
    }
    told = {
        **plain,
        **said,
        "properties": {k: {**v, **said} for k, v in plain["properties"].items()},
    }
    assert json_grammar(told) == json_grammar(plain)
    assert '"title"' in json_grammar(plain)


def test_many_tools_can_be_followed(vocabulary):
    specs = [ToolSpec(f"tool_{n}", "", {**WEATHER, "title": str(n)}) for n in range(200)]
    assert calls(vocabulary, specs, call("tool_150", {"city": "Oslo"}), lazy=True)


def test_grammars_of_tools_are_remembered_by_all_that_they_depend_on():
    known = ToolGrammars(most=3)
    loose, strict = tool(ORDER), tool(ORDER, strict=True)
    other = tool({"type": "object", "properties": {"z": {"type": "string"}}})
    marks = {"<tool_call>": 7, "</tool_call>": 8}
    for specs in ([loose], [strict], [other], [loose, other], [loose]):
        for lazy, parallel in ((False, False), (True, True), (False, True)):
            for _ in range(2):
                found = known(specs, HERMES, lazy=lazy, parallel=parallel, markers=marks)
                made = tools_grammar(specs, HERMES, lazy=lazy, parallel=parallel, markers=marks)
                assert found == made
    assert known([loose], HERMES, lazy=True, parallel=True, markers=marks) is known(
        [loose], HERMES, lazy=True, parallel=True, markers=marks
    )
    with pytest.raises(InvalidRequest):
        known([], HERMES, lazy=True, parallel=True, markers=marks)
