"""From a decoded body to a typed request; from pydantic's findings to one sentence.

Owns how a bad field is told: its path as the caller wrote it, what is wrong, the value where that
is short, and how many more there are. Knows no fields: those stand in `renga.types`.
"""

from __future__ import annotations

import difflib
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from renga.errors import InvalidRequest

Model = TypeVar("Model", bound=BaseModel)

LONGEST_VALUE = 60  # characters of a value that a message repeats
_OF_UNIONS = ("union_tag_not_found", "union_tag_invalid")
MOST_TOLD = 1000  # pydantic makes an object of each error, all or none


def parse(model: type[Model], body: dict[str, Any]) -> Model:
    """`body` as a `model`. Raises InvalidRequest that begins with the first bad field's path."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        count = error.error_count()
        if count > MOST_TOLD:
            raise InvalidRequest(f"body: {count:,} fields are wrong or unknown") from None
        found = error.errors(include_url=False)
        code = found[0].get("ctx", {}).get("code")
        raise InvalidRequest(_sentence(found, model, body), code=code) from error


def unknown_fields(
    model: type[BaseModel], body: dict[str, Any], known: frozenset[str]
) -> list[str]:
    """Top-level names of `body` that neither `model` nor the table `known` has heard of."""
    return [name for name in body if name not in model.model_fields and name not in known]


def _sentence(found: list[ErrorDetails], model: type[BaseModel], body: dict[str, Any]) -> str:
    first, others = found[0], found[1:]
    path = path_of(first["loc"], body, missing=first["type"] == "missing")
    if first["type"] in _OF_UNIONS and isinstance(first["input"], dict):
        path = f"{path}.type" if path else "type"
    told = f"{path}: {_what(first)}" if path else first["msg"]
    if first["type"] == "extra_forbidden":
        told += _nearest(first["loc"], model)
    if not others:
        return told
    paths = dict.fromkeys(path_of(e["loc"], body, missing=e["type"] == "missing") for e in others)
    return f"{told} (and {len(others)} more: {', '.join(list(paths)[:3])})"


def path_of(loc: tuple[int | str, ...], body: Any, *, missing: bool) -> str:
    """`loc` in the caller's own terms, such as `messages.0.content.1.text`.

    Pydantic puts names of unions and validators between the steps, and indices into lists that it
    made itself; what does not lead anywhere in `body` is one of those.
    """
    steps: list[str] = []
    here = body
    for at, step in enumerate(loc):
        last = at == len(loc) - 1
        if not last and isinstance(here, dict) and _is_tag(step, here):
            continue
        if isinstance(here, dict) and isinstance(step, str) and step in here:
            steps.append(step)
            here = here[step]
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            steps.append(str(step))
            here = here[step]
        elif last and missing and isinstance(here, dict):
            steps.append(str(step))
    return ".".join(steps)


def _is_tag(step: int | str, here: dict[str, Any]) -> bool:
    """Whether `step` only says which of a union's types was tried: nothing is below it."""
    return step == here.get("type") and not isinstance(here.get(str(step)), dict | list)


def _what(error: ErrorDetails) -> str:
    """The message, with the value where it helps and is short."""
    kind, value = error["type"], error["input"]
    if kind in _OF_UNIONS and isinstance(value, dict):
        return _of_union(error.get("ctx", {}).get("expected_tags", ""), value)
    if kind in ("model_type", "model_attributes_type"):
        return f"Input should be an object, got {_shown(value)}"
    if kind in ("missing", "extra_forbidden", "string_too_short") or not _is_builtin(kind):
        return error["msg"]
    return f"{error['msg']}, got {_shown(value)}"


def _of_union(expected: str, value: dict[str, Any]) -> str:
    """What is said of an object of which none of a union's types is the right one."""
    if "type" not in value:
        return "Field required"
    return f"Input should be one of {expected}, got {_shown(value['type'])}"


def _is_builtin(kind: str) -> bool:
    """Whether the message is pydantic's own: ours name the value where it matters."""
    return not kind.endswith(("_unsupported", "_unknown", "_empty"))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _nearest(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    if len(loc) != 1:
        return ""
    near = difflib.get_close_matches(str(loc[0]), model.model_fields, n=1, cutoff=0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""
