"""Calls as JSON: an object with a name and arguments, or a list of such objects.

Owns how such an object is read while it comes: keys in any order, white space and other keys too,
arguments before the name, and arguments that are JSON inside of a JSON string. It knows no marks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from renga.chat.forms.base import Body, Tool, Words, written_json
from renga.chat.forms.parts import NAME, CallBegin, CallEnd, CallJson, Part
from renga.chat.jsontext import JsonValue

NAMES = frozenset({"name", "tool_name"})
ARGUMENTS = frozenset({"arguments", "parameters"})


@dataclass(frozen=True)
class JsonCalls:
    """`{"name": ..., "arguments": ...}`, with these keys, behind each other or in a list.

    Attributes:
        name, arguments: the keys that are written; any of NAMES and ARGUMENTS are read.
        known: whether an object is a call only where it names a tool that was given.
        many: whether several objects may stand behind one mark without being a list.
    """

    name: str = "name"
    arguments: str = "arguments"
    known: bool = False
    many: bool = False

    @property
    def end(self) -> str:
        """See `Shape`."""
        return ""

    def body(self, tools: Mapping[str, Tool]) -> Body:
        """See `Shape`."""
        return JsonBody(tools if self.known else None, many=self.many)

    def rules(self, tool: Tool, number: int, words: Words) -> list[str]:
        """See `Shape`."""
        name = f'"{self.name}"{words.colon}{json.dumps(tool.name)}'
        keys = f'{name}{words.comma}"{self.arguments}"{words.colon}'
        return [
            f'call_{number}: {json.dumps("{" + keys)} arguments_{number} "}}"',
            f"arguments_{number}: %json {json.dumps(tool.followed)}",
        ]

    def write(self, name: str, arguments: Mapping[str, Any], *, spaced: bool) -> str:
        """See `Shape`."""
        return written_json({self.name: name, self.arguments: arguments}, spaced=spaced)

    def texts(self) -> Iterable[str]:
        """See `Shape`."""
        return ()


class JsonBody:
    """See `Body`. `tools` are those that may be called, None where any name is one."""

    def __init__(self, tools: Mapping[str, Tool] | None = None, *, many: bool = False) -> None:
        self.done = False
        self._tools = tools
        self._many = many
        self._listed = False
        self._object: _Object | None = None
        self._found = False  # a call, whole or begun

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """See `Body`."""
        parts: list[Part] = []
        at = start
        while at < len(text) and not self.done:
            if self._object is not None:
                found, at = self._object.feed(text, at)
                parts += found
                self._found = self._found or bool(found)
                self._end_object()
            elif text[at].isspace():
                at += 1
            else:
                at = self._between(text[at], at)
        return parts, at

    def finish(self) -> list[Part]:
        """See `Body`."""
        self.done = True
        return [] if self._object is None else self._object.finish()

    def _end_object(self) -> None:
        """Go on behind an object that is complete, where another may follow."""
        assert self._object is not None, "one was read"
        if self._object.done:
            goes_on = self._found and self._object.whole and (self._listed or self._many)
            self.done, self._object = not goes_on, None

    def _between(self, char: str, at: int) -> int:
        """A character before the first object, or between two."""
        if char == "{":
            self._object = _Object(self._tools)
            return at
        if char == "[" and not self._listed and not self._found:
            self._listed = True
        elif not (char in ",;" and self._found):
            self.done = True
            return at + 1 if char == "]" and self._listed else at
        return at + 1


class _Object:
    """One call as an object. `whole` is whether it came to its own end."""

    def __init__(self, tools: Mapping[str, Tool] | None) -> None:
        self.done = self.whole = False
        self._tools = tools
        self._begun = self._ended = False
        self._value: JsonValue | None = None  # the key or value that is being read
        self._place = "{"  # what is expected next, where none is
        self._key = ""
        self._name: str | None = None
        self._read = ""  # of the value, where it is not passed on at once
        self._arguments: str | None = None
        self._streaming = False

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """Take `text[start:]`: the parts, and where the object ends, or what is none."""
        parts: list[Part] = []
        at = start
        while at < len(text) and not self.done:
            if self._value is not None:
                at = self._feed_value(self._value, text, at, parts)
            elif text[at].isspace():
                at += 1
            else:
                at = self._mark(text[at], at, parts)
        return parts, at

    def finish(self) -> list[Part]:
        """Nothing more comes. Arguments without a name were no call; a call begun is one, cut."""
        self.done = True
        if not self._begun or self._ended:
            return []
        self._ended = True
        return [CallEnd(whole=False)]

    def _mark(self, char: str, at: int, parts: list[Part]) -> int:
        """A character between keys and values, or the first of one."""
        if self._place in ("key", "key or }") and char == '"':
            self._begin("key")
            return at
        if self._place == "value":
            self._begin("value")
            self._streaming = self._starts_call(char, parts)
            return at
        if char == "}" and self._place in (", or }", "key or }"):
            parts += self._close()
        elif char == self._place == "{":
            self._place = "key or }"
        elif char == self._place == ":":
            self._place = "value"
        elif char == "," and self._place == ", or }":
            self._place = "key"
        else:
            parts += self.finish()
            return at
        return at + 1

    def _begin(self, kind: str) -> None:
        self._value, self._read, self._place = JsonValue(), "", kind

    def _starts_call(self, char: str, parts: list[Part]) -> bool:
        """Whether what begins here are the arguments of a call whose name is known."""
        if self._begun or self._name is None or char != "{" or self._key not in ARGUMENTS:
            return False
        self._begun = True
        parts.append(CallBegin(self._name))
        return True

    def _feed_value(self, value: JsonValue, text: str, at: int, parts: list[Part]) -> int:
        accepted, at = value.feed(text, at)
        if not self._streaming:
            self._read += accepted
        elif accepted:
            parts.append(CallJson(accepted))
        if value.broken:
            parts += self.finish()
        elif value.done:
            self._value = None
            self._end_value(parts)
        return at

    def _end_value(self, parts: list[Part]) -> None:
        was_key, self._place = self._place == "key", ", or }"
        if was_key:
            self._key, self._place = json.loads(self._read), ":"
        elif self._streaming:
            self._streaming, self._ended = False, True
            parts.append(CallEnd(whole=True))
        elif self._key in NAMES and self._name is None:
            name = json.loads(self._read)
            if self._is_name(name):
                self._name = name
            else:
                self.done = True
        elif self._key in ARGUMENTS and self._arguments is None:
            self._arguments = self._read

    def _is_name(self, name: Any) -> bool:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return False
        return self._tools is None or name in self._tools

    def _close(self) -> list[Part]:
        """The object is complete: the call, where it was not passed on already."""
        self.done = self.whole = True
        if self._begun or self._name is None:
            return []
        arguments = _as_object(self._arguments)
        if arguments is None:
            return []
        self._begun = self._ended = True
        return [CallBegin(self._name), CallJson(arguments), CallEnd(whole=True)]


def _as_object(arguments: str | None) -> str | None:
    """The JSON text of an object of arguments; none given are none, and null neither."""
    if arguments is None:
        return "{}"
    value: Any = json.loads(arguments)
    if isinstance(value, str):
        inner = JsonValue()
        arguments, end = inner.feed(value + " ")  # behind a space, a number has ended too
        if not inner.done or value[end:].strip():
            return None
        value = json.loads(arguments)
    if value is None:
        return "{}"
    return arguments if isinstance(value, dict) else None
