"""Calls as a name and a JSON object: `NAME` between two texts, then the arguments by themselves.

Owns how the name is found in front of the arguments, and that nothing is a call before they begin.
It knows no marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from renga.chat.forms.base import Body, Tool, Words, written_json
from renga.chat.forms.parts import CallBegin, CallEnd, CallJson, Part
from renga.chat.jsontext import JsonValue

# Characters between the mark of a call and its arguments: a name has at most 128 of them.
LONGEST_HEAD = 512


@dataclass(frozen=True)
class NamedCalls:
    """A name behind the mark, and between the name and the arguments some text.

    Attributes:
        head: a regular expression for all between mark and arguments, with a group `name`.
        behind: what is written between the name and the arguments.
    """

    head: str
    behind: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """`head`, compiled."""
        return re.compile(self.head)

    @property
    def end(self) -> str:
        """See `Shape`."""
        return ""

    def body(self, tools: Mapping[str, Tool]) -> Body:
        """See `Shape`."""
        return NamedBody(self.pattern)

    def rules(self, tool: Tool, number: int, words: Words) -> list[str]:
        """See `Shape`."""
        return [
            f"call_{number}: {words.literal(tool.name + self.behind)} arguments_{number}",
            f"arguments_{number}: %json {json.dumps(tool.followed)}",
        ]

    def write(self, name: str, arguments: Mapping[str, Any], *, spaced: bool) -> str:
        """See `Shape`."""
        return f"{name}{self.behind}{written_json(arguments, spaced=spaced)}"

    def texts(self) -> Iterable[str]:
        """See `Shape`."""
        return (self.behind,)


class NamedBody:
    """See `Body`."""

    def __init__(self, head: re.Pattern[str]) -> None:
        self.done = False
        self._head = head
        self._value: JsonValue | None = None

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """See `Body`. The head is taken when the arguments begin."""
        if self._value is not None:
            return self._feed_value(self._value, text, start)
        opens = text.find("{", start, start + LONGEST_HEAD)
        if opens < 0:
            self.done = len(text) - start >= LONGEST_HEAD
            return [], start
        named = self._head.fullmatch(text, start, opens)
        if named is None:
            self.done = True
            return [], start
        self._value = JsonValue()
        parts, at = self._feed_value(self._value, text, opens)
        return [CallBegin(named["name"]), *parts], at

    def finish(self) -> list[Part]:
        """See `Body`."""
        self.done = True
        return [] if self._value is None else [CallEnd(whole=False)]

    def _feed_value(self, value: JsonValue, text: str, start: int) -> tuple[list[Part], int]:
        accepted, at = value.feed(text, start)
        parts: list[Part] = [CallJson(accepted)] if accepted else []
        if value.done or value.broken:
            self.done, self._value = True, None
            parts.append(CallEnd(whole=value.done))
        return parts, at
