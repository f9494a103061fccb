"""Small rules of the edge: paths of errors, pages."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field

from renga.errors import InvalidRequest
from renga.http.validation import parse, path_of
from renga.http.versions import VERSIONS

BODY = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "system": "s"}


@pytest.mark.parametrize(
    ("loc", "missing", "path"),
    [
        (("messages", 0, "content", 0, "text"), False, "messages.0.content.0.text"),
        (("messages", 0, "role"), True, "messages.0.role"),
        (("messages", 0, "content", 0, "text", "text"), False, "messages.0.content.0.text"),
        (("messages", 0, "content", 0, "text", "id"), True, "messages.0.content.0.id"),
        (("messages", 0, "function-before[f(), list]", "content"), False, "messages.0.content"),
        (("system", 0, "text"), False, "system"),  # the caller wrote a string
        (("messages", 3), False, "messages"),
        (("max_tokens",), True, "max_tokens"),
        ((), False, ""),
    ],
)
def test_a_path_is_in_the_callers_own_terms(loc, missing, path):
    assert path_of(loc, BODY, missing=missing) == path


class Model(BaseModel):
    """Not ours, so that the words of pydantic alone are seen."""

    size: int = Field(strict=True)
    other: int = 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 500, '"' + "x" * 59 + "..."),
        ({"a": 1}, "got an object"),
        ([1, 2], "got a list of 2"),
        (None, "got null"),
        ("é", 'got "é"'),
    ],
)
def test_a_value_is_shown_when_it_is_short(value, shown):
    with pytest.raises(InvalidRequest) as refused:
        parse(Model, {"size": value})
    assert refused.value.message.startswith("size: Input should be a valid integer, got ")
    assert shown in refused.value.message
    assert len(refused.value.message) < 130


def test_two_versions_are_spoken():
    assert VERSIONS == ("2023-06-01", "2026-10-21")
