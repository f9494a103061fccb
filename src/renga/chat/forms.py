"""What a model writes, read while it comes: text, and the calls of tools in it.

Owns the table of forms in which models write calls, and four rules: however a text is cut, the same
parts come of it; arguments are passed on as they come, always as the beginning of a JSON object;
white space around a call is no text; and what looks like a call and names no tool is text. It knows
no events, no schemas and no templates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from renga.chat.jsontext import JsonValue

# Names that a tool can have ("tools", in the API's reference); another name is of no tool.
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Text:
    """More of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call of the tool of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class CallJson:
    """More of the call's arguments: all of them joined are the beginning of a JSON object."""

    json: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """Nothing more of that call. `whole` is whether its arguments are a whole object."""

    whole: bool


Part = Text | CallBegin | CallJson | CallEnd


class Body(Protocol):
    """What stands between the marks of one call. `done` when it is complete, or cannot be one."""

    done: bool

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """Take `text[start:]`: the parts, and where what belongs to the body ends."""

    def finish(self) -> list[Part]:
        """Nothing more comes: the parts that are still owed."""


@dataclass(frozen=True)
class Form:
    """How a model writes a call: what it begins and ends with, and what stands between."""

    name: str
    begin: str
    end: str
    body: Callable[[], Body]


class JsonBody:
    """A call as an object: `{"name": ..., "arguments": {...}}`, white space and other keys too.

    Keys may come in any order; arguments before the name wait for it. Arguments that are a string
    are JSON inside of JSON, as some models write it.
    """

    def __init__(self) -> None:
        self.done = False
        self._begun = self._ended = False
        self._value: JsonValue | None = None  # the key or value that is being read
        self._place = "{"  # what is expected next, where none is
        self._key = ""
        self._name: str | None = None
        self._read = ""  # of the value, where it is not passed on at once
        self._arguments: str | None = None
        self._streaming = False

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """See `Body`. What is no such object ends it there."""
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
        """See `Body`. Arguments without a name were no call; what was passed on is one, cut."""
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
        if self._begun or self._name is None or char != "{" or not _is_arguments(self._key):
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
        elif self._key == "name" and self._name is None:
            name = json.loads(self._read)
            if isinstance(name, str) and _NAME.fullmatch(name):
                self._name = name
            else:
                self.done = True
        elif _is_arguments(self._key) and self._arguments is None:
            self._arguments = self._read

    def _close(self) -> list[Part]:
        """The object is complete: the call, where it was not passed on already."""
        self.done = True
        if self._begun or self._name is None:
            return []
        arguments = _as_object(self._arguments)
        if arguments is None:
            return []
        self._begun = self._ended = True
        return [CallBegin(self._name), CallJson(arguments), CallEnd(whole=True)]


def _is_arguments(key: str) -> bool:
    return key in ("arguments", "parameters")


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


# One line for each form of calls that is understood; the first that reads a template's call is it.
FORMS: tuple[Form, ...] = (Form("hermes", "<tool_call>", "</tool_call>", JsonBody),)


class Reader:
    """A model's text in parts, while it comes. Without a form all of it is text, as it is.

    `begun` is whether it goes on from a text, to which white space at its beginning belongs.
    """

    def __init__(self, form: Form | None, *, begun: bool = False) -> None:
        self._form = form
        self._buffer = ""
        self._body: Body | None = None
        self._raw = ""  # what was read of a body, while it may turn out to be text
        self._past = False  # whether a call was read, and the mark behind it is awaited
        self._bare = (
            form is not None and not begun
        )  # whether white space here stands before any text
        self._space = ""  # white space that is text if text follows

    def feed(self, text: str) -> list[Part]:
        """The parts that are certain with `text`."""
        if self._form is None:
            return [Text(text)] if text else []
        self._buffer += text
        parts: list[Part] = []
        while self._advance(self._form, parts):
            pass
        return parts

    def finish(self, *, cut: bool) -> list[Part]:
        """Nothing more comes: what was held back.

        `cut` is whether the model was stopped. What it had written of a call is dropped then, where
        the call's name was not there yet; otherwise it is the text that it looks like.
        """
        if self._form is None:
            return []
        parts: list[Part] = []
        if self._body is not None:
            parts += self._body.finish()
            rest = "" if cut else self._raw
        else:
            rest = "" if self._past else self._buffer
        self._add_text(rest, parts)
        if self._space and not self._bare:
            parts.append(Text(self._space))
        self._buffer = self._raw = self._space = ""
        self._body = None
        return parts

    def _advance(self, form: Form, parts: list[Part]) -> bool:
        """Take what can be taken of the buffer; whether there may be more."""
        if self._body is not None:
            return self._read_body(self._body, parts)
        if self._past:
            return self._skip_to_mark(form)
        before, mark, after = self._buffer.partition(form.begin)
        if not mark:
            before, after = _before_mark(self._buffer, form.begin)
        self._add_text(before, parts)
        self._buffer = after
        if mark:
            self._body, self._raw = form.body(), mark
        return bool(mark)

    def _read_body(self, body: Body, parts: list[Part]) -> bool:
        found, at = body.feed(self._buffer, 0)
        parts += found
        if found:  # it is a call
            self._raw, self._space, self._bare = "", "", True
        elif self._raw:
            self._raw += self._buffer[:at]
        self._buffer = self._buffer[at:]
        if not body.done:
            return False
        self._body = None
        self._past = not self._raw
        self._add_text(self._raw, parts)
        self._raw = ""
        return True

    def _skip_to_mark(self, form: Form) -> bool:
        """Drop all up to the call's end, or the next call: what stands there is no text."""
        ends, begins = self._buffer.find(form.end), self._buffer.find(form.begin)
        if ends >= 0 and not 0 <= begins < ends:
            self._buffer = self._buffer[ends + len(form.end) :]
        elif begins >= 0:
            self._buffer = self._buffer[begins:]
        else:
            self._buffer = self._buffer[-max(len(form.end), len(form.begin)) :]
            return False
        self._past = False
        return True

    def _add_text(self, text: str, parts: list[Part]) -> None:
        """Text, without white space before the first of it, and with that at its end held back."""
        if self._bare:
            text = text.lstrip()
        kept = text.rstrip()
        if kept:
            parts.append(Text(self._space + kept))
            self._space, self._bare = "", False
        self._space += text[len(kept) :]


def _before_mark(text: str, mark: str) -> tuple[str, str]:
    """`text` in two: what is certain, and the end of it that may be the beginning of `mark`."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[len(text) - length :]):
            return text[: len(text) - length], text[len(text) - length :]
    return text, ""
