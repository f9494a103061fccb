"""A model's answer, read while it comes: text, and the calls in it.

Owns four rules: however a text is cut, the same parts come of it; white space around a call is no
text; what looks like a call and names no tool is text; and what a form writes before plain text is
no part of it. It knows no form in particular, no events and no templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from renga.chat.forms.base import Body, Form, Tool
from renga.chat.forms.parts import Part, Text


class Reader:
    """A model's text in parts, while it comes. Without a form all of it is text, as it is.

    `tools` are those that may be called, by name. `begun` is whether the text goes on from another,
    to which white space at its beginning belongs.
    """

    def __init__(
        self, form: Form | None, tools: Mapping[str, Tool] | None = None, *, begun: bool = False
    ) -> None:
        self._form = form
        self._tools = tools or {}
        self._buffer = ""
        self._body: Body | None = None
        self._raw = ""  # what was read of a body, while it may turn out to be text
        self._past = False  # whether a call was read, and the mark behind it is awaited
        self._bare = (
            form is not None and not begun
        )  # whether white space here stands before any text
        self._space = ""  # white space that is text if text follows
        self._opening = form.opening if form is not None and not begun else ""
        if form is not None and form.bare and not begun:
            self._body = form.shape.body(self._tools)

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
            known = parts or self._past  # that it was a call
            rest = "" if cut or known else self._raw + self._buffer
        elif self._opening:
            rest = "" if cut else self._buffer
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
        if self._opening:
            return self._open()
        if self._body is not None:
            return self._read_body(self._body, parts)
        if self._past:
            return self._skip_to_mark(form)
        at, mark = _first(self._buffer, form.marks)
        if mark:
            before, after = self._buffer[:at], self._buffer[at + len(mark) :]
        else:
            kept = max((_begun(self._buffer, one) for one in form.marks), default=0)
            at = len(self._buffer) - kept
            before, after = self._buffer[:at], self._buffer[at:]
        self._add_text(before, parts)
        self._buffer = after
        if mark:
            self._body, self._raw = form.shape.body(self._tools), mark
        return bool(mark)

    def _open(self) -> bool:
        """Drop what stands before plain text; whether it is decided that it does."""
        if self._buffer.startswith(self._opening):
            self._buffer = self._buffer[len(self._opening) :]
        elif self._opening.startswith(self._buffer):
            return False
        self._opening = ""
        return True

    def _read_body(self, body: Body, parts: list[Part]) -> bool:
        found, at = body.feed(self._buffer, 0)
        parts += found
        if found:  # it is a call
            self._raw, self._space, self._bare, self._past = "", "", True, True
        elif not self._past:
            self._raw += self._buffer[:at]
        self._buffer = self._buffer[at:]
        if not body.done:
            return False
        self._body = None
        self._add_text(self._raw, parts)
        self._raw = ""
        return True

    def _skip_to_mark(self, form: Form) -> bool:
        """Drop all up to the call's end, or the next call: what stands there is no text."""
        ends = self._buffer.find(form.end)
        begins, mark = _first(self._buffer, form.marks)
        if ends >= 0 and not (mark and begins < ends):
            self._buffer = self._buffer[ends + len(form.end) :]
        elif mark:
            self._buffer = self._buffer[begins:]
        else:
            longest = max(map(len, [form.end, *form.marks]))
            self._buffer = self._buffer[-longest:]
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


def _first(text: str, marks: Sequence[str]) -> tuple[int, str]:
    """Where the first of `marks` stands in `text`, and which it is, the longest there; or -1."""
    found = [(text.find(mark), -len(mark), mark) for mark in marks if mark in text]
    if not found:
        return -1, ""
    at, _, mark = min(found)
    return at, mark


def _begun(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[len(text) - length :]):
            return length
    return 0
