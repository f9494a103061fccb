"""One JSON value as it is being written: how far it is one, and where it ends.

Owns the rule that what was accepted so far is always the beginning of a JSON text, and of one that
every client's parser takes: halves of characters become U+FFFD, and a value ends at a number that
would not fit into one, and where it is nested too deeply. It builds no values and knows no calls.

Source: RFC 8259. `json` and `jiter`, which the official SDK reads partial input with, are oracles.
"""

from __future__ import annotations

import re
from typing import Literal

# Digits and signs of one number. Python's own integers are read up to 4,300 digits.
LONGEST_NUMBER = 1_000
MOST_LEVELS = 100
"""Objects and lists within each other. `jiter` reads 200, in a request's body too."""

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = frozenset("0123456789abcdefABCDEF")
_ESCAPED = frozenset('"\\/bfnrt')
_ESCAPE_LENGTH = len("\\u0000")
_NO_CHARACTER = "\\ufffd"

# state of a number -> kind of character -> next state. What is not here ends it.
_NUMBER: dict[str, dict[str, str]] = {
    "minus": {"0": "zero", "d": "whole"},
    "zero": {".": "point", "e": "exponent"},
    "whole": {"0": "whole", "d": "whole", ".": "point", "e": "exponent"},
    "point": {"0": "fraction", "d": "fraction"},
    "fraction": {"0": "fraction", "d": "fraction", "e": "exponent"},
    "exponent": {"0": "power", "d": "power", "+": "sign", "-": "sign"},
    "sign": {"0": "power", "d": "power"},
    "power": {"0": "power", "d": "power"},
}
_KINDS = {**dict.fromkeys("123456789", "d"), **{c: c for c in "0.e+-"}, "E": "e"}
_WHOLE_NUMBERS = frozenset({"zero", "whole", "fraction", "power"})

_State = Literal[
    "value", "first", "key", "first_key", "colon", "after", "string", "escape", "number", "word",
    "done", "broken",
]  # fmt: skip


class JsonValue:
    """Feed text; `feed` gives what was accepted of it. `done` and `broken` say how it ended.

    A number by itself has no end of its own: it is `done` at the first character that is not of it.
    """

    def __init__(self) -> None:
        self._state: _State = "value"
        self._open: list[str] = []  # "{" and "[" that are not closed
        self._in_key = False
        self._number = ""
        self._digits = 0
        self._word = ""
        self._escape = ""  # as far as it is there
        self._half = ""  # the first escape of a pair, kept until the second is there

    @property
    def done(self) -> bool:
        """Whether the value is complete: nothing more belongs to it."""
        return self._state == "done"

    @property
    def broken(self) -> bool:
        """Whether what came next was no JSON: nothing more is accepted."""
        return self._state == "broken"

    def feed(self, text: str, start: int = 0) -> tuple[str, int]:
        """Take `text[start:]`: what was accepted, as it is to be written on, and where that ends.

        The end is short of the text's own only where the value is done or broken.
        """
        out: list[str] = []
        at = start
        while at < len(text) and self._state not in ("done", "broken"):
            at = self._step(text, at, out)
        return "".join(out), at

    def _step(self, text: str, at: int, out: list[str]) -> int:
        if self._state == "string":
            return self._string(text, at, out)
        if self._state == "escape":
            return self._more_escape(text, at, out)
        if self._state == "number":
            return self._more_number(text, at, out)
        if self._state == "word":
            return self._more_word(text, at, out)
        space = _SPACE.match(text, at)
        assert space is not None, "no white space is white space, too"
        out.append(space[0])
        if space.end() < len(text):
            return self._mark(text[space.end()], space.end(), out)
        return space.end()

    def _mark(self, char: str, at: int, out: list[str]) -> int:
        """The first character of a value or key, or what stands between two."""
        state = self._state
        if state in ("value", "first") and self._begin_value(char):
            pass
        elif char == '"' and state in ("key", "first_key"):
            self._state, self._in_key = "string", True
        elif char == ":" and state == "colon":
            self._state = "value"
        elif char == "," and state == "after":
            self._state = "key" if self._open[-1] == "{" else "value"
        elif self._closes(char):
            self._open.pop()
            self._end_value()
        else:
            self._state = "broken"
            return at
        out.append(char)
        return at + 1

    def _closes(self, char: str) -> bool:
        if self._state not in ("after", "first", "first_key"):
            return False
        return char == ("}" if self._open[-1] == "{" else "]")

    def _begin_value(self, char: str) -> bool:
        if char == '"':
            self._state, self._in_key = "string", False
        elif char in "{[":
            if len(self._open) == MOST_LEVELS:
                return False
            self._open.append(char)
            self._state = "first_key" if char == "{" else "first"
        elif char in "tfn":
            self._state = "word"
            self._word = {"t": "rue", "f": "alse", "n": "ull"}[char]
        elif char == "-" or char in "0123456789":
            self._state, self._digits = "number", 1
            self._number = {"-": "minus", "0": "zero"}.get(char, "whole")
        else:
            return False
        return True

    def _end_value(self) -> None:
        self._state = "after" if self._open else "done"

    def _more_number(self, text: str, at: int, out: list[str]) -> int:
        following = _NUMBER[self._number].get(_KINDS.get(text[at], ""))
        if following is None:
            whole = self._number in _WHOLE_NUMBERS
            self._state = "broken"
            if whole:
                self._end_value()
            return at
        self._digits += 1
        if self._digits > LONGEST_NUMBER:
            self._state = "broken"
            return at
        self._number = following
        out.append(text[at])
        return at + 1

    def _more_word(self, text: str, at: int, out: list[str]) -> int:
        if text[at] != self._word[0]:
            self._state = "broken"
            return at
        out.append(text[at])
        self._word = self._word[1:]
        if not self._word:
            self._end_value()
        return at + 1

    def _string(self, text: str, at: int, out: list[str]) -> int:
        plain = _PLAIN.match(text, at)
        assert plain is not None, "nothing is plain text, too"
        end = plain.end()
        if text[at] != "\\":
            self._drop_half(out)
        out.append(plain[0])
        if end == len(text):
            return end
        if text[end] == "\\":
            self._state, self._escape = "escape", "\\"
            return end + 1
        if text[end] != '"':
            self._state = "broken"  # a control character
            return end
        out.append('"')
        if self._in_key:
            self._state = "colon"
        else:
            self._end_value()
        return end + 1

    def _drop_half(self, out: list[str]) -> None:
        """The second half of a pair is not what follows the first."""
        if self._half:
            out.append(_NO_CHARACTER)
            self._half = ""

    def _more_escape(self, text: str, at: int, out: list[str]) -> int:
        char = text[at]
        if self._escape == "\\" and char != "u":
            self._drop_half(out)
            if char not in _ESCAPED:
                self._state = "broken"
                return at
            out.append(self._escape + char)
            self._state = "string"
        elif len(self._escape) > 1 and char not in _HEX:
            self._drop_half(out)
            self._state = "broken"
            return at
        else:
            self._escape += char
            if len(self._escape) == _ESCAPE_LENGTH:
                self._end_escape(out)
        return at + 1

    def _end_escape(self, out: list[str]) -> None:
        """Four digits are there: a character, or half of one."""
        self._state = "string"
        code = int(self._escape[2:], 16)
        if 0xDC00 <= code < 0xE000:
            out.append(self._half + self._escape if self._half else _NO_CHARACTER)
            self._half = ""
            return
        self._drop_half(out)
        if 0xD800 <= code < 0xDC00:
            self._half = self._escape
        else:
            out.append(self._escape)
