"""What a request may hold, and how it is refused. The table of bad requests is in tests/http."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from renga.types import (
    KNOWN_BLOCKS,
    UNSUPPORTED_FIELDS,
    CountRequest,
    MessagesRequest,
    ignored_fields,
)


def body(**more: object) -> dict[str, object]:
    turns = [{"role": "user", "content": "hi"}]
    return {"model": "haiku", "max_tokens": 5, "messages": turns, **more}


def test_a_string_is_short_for_one_text_block() -> None:
    long = body(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    assert MessagesRequest.model_validate(body()) == MessagesRequest.model_validate(long)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_FIELDS))
def test_a_field_of_a_later_edition_is_refused_by_name_and_null_is_not_sent(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        MessagesRequest.model_validate(body(**{name: {"any": 1}}))
    assert MessagesRequest.model_validate(body(**{name: None})).model == "haiku"


@pytest.mark.parametrize("kind", sorted(KNOWN_BLOCKS))
def test_a_block_of_a_later_edition_is_refused_by_name(kind: str) -> None:
    turns = [{"role": "user", "content": [{"type": kind}]}]
    with pytest.raises(ValidationError, match=f"`{kind}` blocks are not supported"):
        MessagesRequest.model_validate(body(messages=turns))


def test_a_sampling_field_has_no_meaning_for_counting() -> None:
    turns = [{"role": "user", "content": "hi"}]
    with pytest.raises(ValidationError, match="temperature"):
        CountRequest.model_validate({"model": "haiku", "messages": turns, "temperature": 0.5})


def test_ignored_fields_are_named() -> None:
    request = MessagesRequest.model_validate(body(metadata={"user_id": "u"}))
    assert ignored_fields(request) == ["metadata"]
    assert ignored_fields(MessagesRequest.model_validate(body())) == []
