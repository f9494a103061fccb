"""JSON Schema, with the reference implementation for Python as the oracle."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga import schemas
from renga.schemas import TooMuchWork, Work, equal, flaw, mismatch, parts_of

NAMES = st.sampled_from("abc")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -2.0]),
    st.sampled_from(["", "a", "ab", "zz"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    many = st.lists(inner, min_size=1, max_size=3)
    sizes = st.integers(0, 3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(
                st.sampled_from(schemas.TYPES),
                st.lists(st.sampled_from(schemas.TYPES), min_size=1, max_size=3, unique=True),
            ),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "[bc]"]), inner),
            "additionalProperties": inner,
            "propertyNames": inner,
            "items": inner,
            "prefixItems": many,
            "contains": inner,
            "minContains": sizes,
            "maxContains": sizes,
            "allOf": many,
            "anyOf": many,
            "oneOf": many,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True)),
            "dependentSchemas": st.dictionaries(NAMES, inner),
            "pattern": st.sampled_from(["a", "^a.?$", "z{2}"]),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "uniqueItems": st.booleans(),
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "maximum": st.integers(-2, 2),
            "exclusiveMinimum": st.integers(-2, 2),
            "minLength": sizes,
            "maxLength": sizes,
            "minItems": sizes,
            "maxItems": sizes,
            "minProperties": sizes,
            "maxProperties": sizes,
            "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b"]),
        },
    )


def _without_ref(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$ref"}


SCHEMAS = st.recursive(st.booleans(), _objects, max_leaves=8)
LEAVES = st.recursive(st.booleans(), lambda inner: _objects(inner).map(_without_ref), max_leaves=3)


def oracle(schema: Any) -> Any:
    return jsonschema.Draft202012Validator(schema)


@given(value=VALUES, schema=_objects(SCHEMAS), a=LEAVES, b=LEAVES)
def test_a_value_meets_a_schema_where_the_reference_says_so(
    value: Any, schema: dict[str, Any], a: Any, b: Any
) -> None:
    schema = schema | {"$defs": {"a": a, "b": b}}
    assert flaw(schema) is None
    assert (mismatch(value, schema) is None) == oracle(schema).is_valid(value)


JUNK: st.SearchStrategy[Any] = st.one_of(
    SCALARS, st.just({}), st.lists(SCALARS, max_size=2), st.just([{}])
)
KEYWORDS = sorted({*schemas._PLAIN, *schemas._BY_NAME, *schemas._LISTED, *schemas._ONE} - {"$ref"})


@given(name=st.sampled_from(KEYWORDS), value=JUNK, deep=st.booleans())
def test_what_the_reference_calls_no_schema_has_a_flaw(name: str, value: Any, deep: bool) -> None:
    schema: Any = {name: value}
    if deep:
        schema = {"properties": {"a": {"anyOf": [schema]}}}
    found = flaw(schema)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError:
        # Lists of items are of an older draft; a type twice, or a name, is odd and does no harm.
        lenient = name in (
            "items",
            "type",
            "required",
            "dependentRequired",
            "format",
            "definitions",
        )
        assert found is not None or lenient or name in ("additionalItems",)
    else:
        assert found is None


@pytest.mark.parametrize(
    ("schema", "steps"),
    [
        ({"type": "text"}, ("type",)),
        ({"properties": {"a": {"minLength": -1}}}, ("properties", "a", "minLength")),
        ({"anyOf": [True, {"required": "a"}]}, ("anyOf", "1", "required")),
        ({"properties": []}, ("properties",)),
        ({"items": [{"type": "integer"}, 5]}, ("items", "1")),
        ({"properties": {"a": "string"}}, ("properties", "a")),
        ({"minItems": float("inf")}, ("minItems",)),
    ],
)
def test_a_flaw_is_told_by_its_place(schema: Any, steps: tuple[str, ...]) -> None:
    found = flaw(schema)
    assert found is not None
    assert found.steps == steps


def test_a_mismatch_is_told_by_its_place() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}}}
    found = mismatch({"a": [1, 2, "three"]}, schema)
    assert found is not None
    assert (found.steps, found.told) == (("a", "2"), "is not of type integer")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/x"},
        {"$ref": "#/$defs/none"},
        {"pattern": "(?=a)"},
        {"zork": 1},
    ],
)
def test_what_cannot_be_judged_is_no_reason_to_refuse(schema: dict[str, Any]) -> None:
    assert mismatch("text", schema) is None


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert mismatch(5, {"$ref": "#"}) is None
    tree = {"properties": {"next": {"$ref": "#"}}, "type": "object"}
    found = mismatch({"next": {"next": 5}}, tree)
    assert found is not None
    assert found.steps == ("next", "next")


def test_a_schema_that_doubles_with_each_level_is_judged_once_for_each() -> None:
    levels = {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 2} for i in range(60)}
    schema = {"$defs": {**levels, "l60": {"type": "string"}}, "$ref": "#/$defs/l0"}
    assert mismatch(5, schema) is not None


def test_the_work_of_one_judgement_has_a_bound() -> None:
    with pytest.raises(TooMuchWork):
        mismatch([[i] for i in range(60_000)], {"items": {"items": {"type": "integer"}}})
    with pytest.raises(TooMuchWork):
        mismatch(list(range(2_000)), {"uniqueItems": True})
    with pytest.raises(TooMuchWork):
        mismatch(list(range(-400, 0)), {"items": {"anyOf": [{"enum": list(range(400))}, True]}})
    with pytest.raises(TooMuchWork):
        mismatch({"a": 1}, {"patternProperties": {f"^{i}": True for i in range(400)}})


def test_judgements_share_the_work_of_their_request() -> None:
    work = Work(10)
    for _ in range(5):
        assert mismatch([1, 2], {"maxItems": 2}, work) is None
    with pytest.raises(TooMuchWork):
        mismatch(list(range(10)), {"items": {"type": "integer"}}, work)


def test_references_that_go_down_too_far_are_too_much_work() -> None:
    chain = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(5_000)}
    with pytest.raises(TooMuchWork):
        mismatch({}, {"$defs": chain, "$ref": "#/$defs/d0"})


def test_a_pattern_that_backtracks_elsewhere_is_quick() -> None:
    assert mismatch("a" * 50_000 + "b", {"pattern": "^(a+)+$"}) is not None


def test_truth_is_no_number() -> None:
    assert equal(1, 1.0)
    assert not equal(1, True)
    assert not equal([0], [False])


def test_the_parts_of_a_schema_are_those_at_every_depth() -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "null"}, True]}}, "items": [{"x": 1}]}
    assert len(list(parts_of(schema))) == 4
