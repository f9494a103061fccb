"""Tools as clients send them: names, descriptions and JSON Schemas in the hands of many writers.

Owns how a tool and its arguments are spelled; each client library has its own order of keys, titles and
ways to say "optional". Knows nothing of what a tool is for or of who calls it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

Value = int | float | str | bool | list[int] | list[float]
Kind = Literal["integer", "number", "string", "boolean", "numbers"]
Schema = dict[str, Any]


@dataclass(frozen=True)
class Argument:
    """One argument of a tool: its key, its type, what is said of it, and the values it may have."""

    key: str
    kind: Kind = "string"
    about: str = ""
    choices: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True)
class Tool:
    """A tool before anybody has written its schema."""

    name: str
    about: str
    arguments: tuple[Argument, ...] = ()


def spell(rng: Random, words: Sequence[str], shares: tuple[int, int, int, int]) -> str:
    """Lower-case words as one name: snake_case, camelCase, kebab-case or PascalCase by `shares`."""
    style = rng.choices(range(4), shares)[0]
    if style in (0, 2):
        return "_-"[style // 2].join(words)
    head, *rest = words
    first = head if style == 1 else head.capitalize()
    return first + "".join(word.capitalize() for word in rest)


def tool_name(rng: Random, words: str) -> str:
    """A tool's name: mostly snake_case."""
    return spell(rng, words.split(), (66, 18, 11, 5))


def argument_key(rng: Random, words: str) -> str:
    """An argument's key: mostly snake_case, often camelCase."""
    return spell(rng, words.split(), (80, 18, 2, 0))


def _base(argument: Argument) -> Schema:
    if argument.kind == "numbers":
        return {"type": "array", "items": {"type": "number"}}
    if argument.choices:
        return {"type": "string", "enum": list(argument.choices)}
    return {"type": argument.kind}


def _title(key: str) -> str:
    return re.sub(r"[_-]+", " ", key).title()


def _titled(argument: Argument) -> Schema:
    """A property as pydantic writes it: keys sorted, a title, null for what may be left out."""
    base, found = _base(argument), {"title": _title(argument.key)}
    if not argument.required:
        base = {"anyOf": [base, {"type": "null"}], "default": None}
    if argument.about:
        found = {"description": argument.about, **found}
    return dict(sorted({**base, **found}.items()))


def _plain(argument: Argument) -> Schema:
    base = _base(argument)
    return {**base, "description": argument.about} if argument.about else base


def _needed(tool: Tool) -> list[str]:
    return [argument.key for argument in tool.arguments if argument.required]


def _handwritten(tool: Tool, *, closed: bool = False) -> Schema:
    found: Schema = {
        "type": "object",
        "properties": {a.key: _plain(a) for a in tool.arguments},
        "required": _needed(tool),
    }
    return {**found, "additionalProperties": False} if closed else found


def _decorated(tool: Tool) -> Schema:
    """As the official Python SDK makes it of a function and its docstring."""
    properties = {a.key: _titled(a) for a in tool.arguments}
    found = {"additionalProperties": False, "properties": properties, "type": "object"}
    return dict(sorted({**found, "required": _needed(tool)}.items()))


def _modelled(tool: Tool) -> Schema:
    """As pydantic makes it of a class."""
    properties = {a.key: _titled(a) for a in tool.arguments}
    title = "".join(part.capitalize() for part in re.split(r"[_-]", tool.name))
    return {
        "properties": properties,
        "required": _needed(tool),
        "title": title,
        "type": "object",
    }


def _dialect(tool: Tool) -> Schema:
    """As zod makes it: the draft is named first or last, nothing else is allowed."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_handwritten(tool, closed=True),
    }


def _bare(tool: Tool) -> Schema:
    properties = {a.key: _base(a) for a in tool.arguments}
    return {"type": "object", "properties": properties}


def _short(tool: Tool) -> Schema:
    return {**_bare(tool), "required": _needed(tool)}


HANDS = (_handwritten, _decorated, _short, _modelled, _dialect, _bare)
SHARES = (27, 38, 12, 8, 7, 8)


@dataclass(frozen=True)
class Hand:
    """One writer's habits, the same for all tools of a request."""

    write: int
    closed: bool
    describes_tool: bool
    describes_arguments: bool

    @classmethod
    def draw(cls, rng: Random) -> Hand:
        """Somebody's habits."""
        return cls(
            rng.choices(range(len(HANDS)), SHARES)[0],
            rng.random() < 0.25,
            rng.random() < 0.94,
            rng.random() < 0.6,
        )

    def function(self, tool: Tool) -> Schema:
        """The function object of a tool: name, description and parameters."""
        if not self.describes_arguments:
            bare = tuple(replace(argument, about="") for argument in tool.arguments)
            tool = replace(tool, arguments=bare)
        write = HANDS[self.write]
        schema = _handwritten(tool, closed=self.closed) if write is _handwritten else write(tool)
        about = tool.about if self.describes_tool else ""  # as the server writes none
        return {"name": tool.name, "description": about, "parameters": schema}


def ordered(tool: Tool, given: Mapping[str, Value]) -> dict[str, Value]:
    """The given arguments in the schema's order."""
    return {a.key: given[a.key] for a in tool.arguments if a.key in given}
