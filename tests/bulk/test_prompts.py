"""A question made of a row, and what its answer becomes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from renga.bulk.files import open_sink, open_table
from renga.bulk.prompts import RowFault, Shape, Template
from renga.errors import SetupError

SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string"}, "n": {"type": "integer"}},
}


def test_columns_stand_in_braces_and_braces_are_doubled():
    template = Template.read('{{"q": "{ text }"}} {n}')
    template.check(["text", "n", "other"])
    assert template.fill({"text": "a {n}", "n": 3}) == '{"q": "a {n}"} 3'


@given(text=st.text())
def test_any_text_can_be_written_with_doubled_braces(text):
    template = Template.read(text.replace("{", "{{").replace("}", "}}") + "{x}")
    assert template.fill({"x": "!"}) == text + "!"


@pytest.mark.parametrize("text", ["{", "a } b {x}", "{a{b}}", "{x}}"])
def test_a_brace_that_stands_alone_is_refused_with_its_place(text):
    with pytest.raises(SetupError, match="character"):
        Template.read(text)


def test_a_column_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(SetupError, match=r"\{txet\}") as caught:
        Template.read("{txet}").check(["id", "text"])
    assert "{text}" in caught.value.hint
    with pytest.raises(SetupError, match="names no column"):
        Template.read("hello").check(["id"])
    with pytest.raises(RowFault, match="'text'"):
        Template.read("{text}").fill({"id": 1})


def test_a_schema_becomes_columns_of_its_properties():
    shape = Shape.of(SCHEMA)
    assert shape.columns == ("topic", "n")
    assert shape.types == {"topic": "string", "n": "integer"}
    assert shape.schema is not None
    assert shape.schema["required"] == ["topic", "n"]
    assert shape.schema["additionalProperties"] is False
    assert shape.values(shape.read('{"n": 2}')) == {"topic": None, "n": 2}
    for answer in ("[]", "no", '{"n":'):
        with pytest.raises(RowFault):
            shape.read(answer)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("integer", "three"),
        ("integer", 2**63),
        ("integer", -(2**63) - 1),
        ("integer", 1.5),
        ("integer", True),
        ("number", "3"),
        ("number", 10**400),
        ("boolean", 1),
    ],
)
def test_an_answer_that_a_typed_column_cannot_hold_is_the_fault_of_its_row(type_, value):
    shape = Shape.of({"type": "object", "properties": {"n": {"type": type_}}})
    with pytest.raises(RowFault, match="'n'"):
        shape.read(json.dumps({"n": value}))


@given(value=st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_what_a_typed_column_is_said_to_hold_can_be_written(tmp_path_factory, value):
    type_ = "integer" if isinstance(value, int) else "number"
    shape = Shape.of({"properties": {"a": {"type": type_}, "b": {"type": "number"}}})
    kept = shape.read(json.dumps({"a": value, "b": value}))
    folder = tmp_path_factory.mktemp("sink")
    (folder / "in.csv").write_text("id\n1\n")
    table = open_table(folder / "in.csv")
    sink = open_sink(folder / "out.parquet.part", shape.columns, shape.types, table)
    sink.write(shape.values(kept))
    sink.close()
    found = parquet.read_table(folder / "out.parquet.part").to_pylist()
    assert found == [{"a": value, "b": float(value)}]


@pytest.mark.parametrize("schema", [[], {}, {"type": "object"}, {"properties": []}, "x"])
def test_a_schema_without_properties_is_refused(schema):
    with pytest.raises(SetupError, match="--schema"):
        Shape.of(schema)


def test_an_answer_may_not_hide_a_column_of_the_input():
    with pytest.raises(SetupError, match="'topic'"):
        Shape.of(SCHEMA).check(["id", "topic"])
