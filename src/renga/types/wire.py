"""What all types of the wire are made of.

Owns their strictness, and how a value that renga knows but cannot honour is refused from inside a
type: by name, with what is accepted instead. Knows no field of the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Wire(BaseModel):
    """Base of everything on the wire: immutable, strict, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# Tokens; the bound is the ledger's, so that no backend can report what cannot be booked.
Count = Annotated[int, Field(ge=0, le=10**9)]

Refusal = Literal["unsupported", "unknown", "empty"]


def refusal(kind: Refusal, sentence: str, code: str | None = None) -> PydanticCustomError:
    """The error of a validator that says all there is to say, without the value behind it.

    `code` is the API's finer `error_code`, where it has one for this case.
    """
    told = {"sentence": sentence} if code is None else {"sentence": sentence, "code": code}
    return PydanticCustomError(f"value_{kind}", "{sentence}", told)


def only_null(sentence: str) -> Any:
    """A type for a field of the API that has no effect here: null, or an error that says why."""

    def check(value: Any) -> Any:
        if value is None or value == []:
            return None
        raise refusal("unsupported", sentence)

    return Annotated[None, BeforeValidator(check)]


def known_types(what: str, accepted: Iterable[str], refused: dict[str, str]) -> BeforeValidator:
    """A validator of one object of a union: its `type` is accepted, refused by name, or unknown.

    Args:
        what: what such an object is called, such as "block".
        accepted: the types there are.
        refused: types of the API that are not honoured, and the sentence for each.
    """
    names = ", ".join(accepted)
    taken = frozenset(accepted)

    def check(value: Any) -> Any:
        kind = type_of(value)
        if not isinstance(kind, str) or kind in taken:
            return value
        if kind in refused:
            raise refusal("unsupported", f"{refused[kind]}; accepted: {names}")
        raise refusal("unknown", f"unknown {what} type '{kind[:100]}'; accepted: {names}")

    return BeforeValidator(check)


def type_of(value: Any) -> Any:
    """The `type` of an object on the wire, or of a value already made of one."""
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def tag_or(default: str) -> Callable[[Any], Any]:
    """What discriminates a union, one of whose members needs no `type`."""

    def tag(value: Any) -> Any:
        kind = type_of(value)
        return default if kind is None else kind

    return tag


def _null_is_false(value: Any) -> Any:
    return False if value is None else value


Flag = Annotated[bool, BeforeValidator(_null_is_false, json_schema_input_type=bool | None)]
"""A switch that is off when it is absent or null."""


def absent(value: Any) -> bool:
    """Whether a field is left out of an answer: clients of the plain API do not know it."""
    return value is None
