"""Values that a form writes as they are, and values that it writes as JSON: told by their schema.

Owns the one rule that the grammar and the reader of such forms share, so that a value is read as
what it was written as. It knows no form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from renga.chat.jsontext import JsonValue

Kind = Literal["text", "text or null", "json", "any"]
"""Text as it is; the same, where `null` is none; JSON; JSON where it is some, else text."""

SIZES = frozenset({"minLength", "maxLength"})
_SAID = frozenset({"title", "description", "default", "examples", "$comment", "deprecated"})
_DEEPEST = 32
# Some templates write these as Python does, and models with them.
_PYTHON = {"True": "true", "False": "false", "None": "null"}


def kind_of(schema: Any, stop: str) -> Kind:
    """How a value of that schema is written, where `stop` ends one."""
    if not isinstance(schema, Mapping):
        return "any"
    told = {key: value for key, value in schema.items() if key not in _SAID}
    if not told:
        return "any"
    if _is_text(told):
        return "json" if any(stop in choice for choice in choices_of(told) or ()) else "text"
    return "text or null" if _is_nullable_text(told) else "json"


def choices_of(schema: Mapping[str, Any]) -> list[str] | None:
    """The strings that a text is one of; None where it may be any."""
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return list(found) if isinstance(found, list) else None


def value_of(text: str, kind: Kind) -> str:
    """What was written as a value of that kind, as JSON."""
    if kind == "text or null" and text in ("null", "None"):
        return "null"
    if kind in ("json", "any"):
        reader = JsonValue()
        value, end = reader.feed(text.strip() + " ")  # behind a space, a number has ended too
        whole = reader.done and not text.strip()[end:]
        if whole and not (kind == "any" and value.startswith('"')):
            return value
        if kind == "json" and text.strip() in _PYTHON:
            return _PYTHON[text.strip()]
    return json.dumps(text, ensure_ascii=False)


def object_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of an object, where it is but a reference to another."""
    found: Any = schema
    for _ in range(_DEEPEST):
        if not isinstance(found, Mapping) or not isinstance(ref := found.get("$ref"), str):
            break
        found = _at(schema, ref)
    return found if isinstance(found, Mapping) else {}


def property_of(schema: Mapping[str, Any], name: str) -> Any:
    """The schema of one property of an object's; True where anything may be in it."""
    own = object_of(schema)
    named = own.get("properties")
    if isinstance(named, Mapping) and name in named:
        return named[name]
    return own.get("additionalProperties", True)


def _at(schema: Mapping[str, Any], ref: str) -> Any:
    node: Any = schema
    for part in ref.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _is_text(told: Mapping[str, Any]) -> bool:
    choices = told.get("enum", [told["const"]] if "const" in told else None)
    if choices is not None:
        if not isinstance(choices, list) or not all(isinstance(one, str) for one in choices):
            return False
        return told.keys() <= {"type", "enum", "const"} and _typed(told)
    return "type" in told and _typed(told) and told.keys() <= {"type", *SIZES}


def _typed(told: Mapping[str, Any]) -> bool:
    return bool(told.get("type", "string") == "string")


def _is_nullable_text(told: Mapping[str, Any]) -> bool:
    either = told.get("anyOf")
    if told.keys() == {"anyOf"} and isinstance(either, list) and len(either) == 2:
        types = [one.get("type") if isinstance(one, Mapping) else None for one in either]
        plain = all(isinstance(one, Mapping) and one.keys() - _SAID == {"type"} for one in either)
        return plain and sorted(map(str, types)) == ["null", "string"]
    named = told.get("type")
    return (
        told.keys() == {"type"}
        and isinstance(named, list)
        and sorted(map(str, named)) == ["null", "string"]
    )
