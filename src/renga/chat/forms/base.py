"""What a form of calls is: where calls begin, how they are read, and the grammar they are held to.

Owns the two protocols that every form fills, and how a text becomes a grammar's words: marks that a
vocabulary has a token for are those tokens, and nothing else may spell them. It knows no form.

Source of the grammars: llguidance's documentation, "Grammar syntax": a variant of Lark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from renga.chat.forms.parts import Part


@dataclass(frozen=True)
class Tool:
    """A tool as a form writes and reads calls of it.

    Attributes:
        name: what the model calls it.
        schema: of its arguments, as the caller gave it.
        followed: the same as the grammar library reads it, with the library's options; None where
            only the reading is asked for.
    """

    name: str
    schema: Mapping[str, Any]
    followed: Mapping[str, Any] | None = None


class Unfollowable(Exception):
    """A schema that a form's grammar cannot hold a call to; the sentence says what is in it."""


class Body(Protocol):
    """What stands behind the mark of a call. `done` when it is complete, or cannot be one."""

    done: bool

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """Take `text[start:]`: the parts, and where what is taken of it ends.

        What is left while it is not done comes again with more behind it.
        """

    def finish(self) -> list[Part]:
        """Nothing more comes: the parts that are still owed."""


class Words:
    """Texts as parts of a grammar, for one vocabulary's `markers` (added tokens and their ids).

    `spaced` is whether JSON is written with a space behind each colon and comma.
    """

    def __init__(self, markers: Mapping[str, int], *, spaced: bool = False) -> None:
        self.markers = markers
        self.colon, self.comma = (": ", ", ") if spaced else (":", ",")
        self._marker = None
        if markers:
            longest_first = sorted(markers, key=len, reverse=True)
            self._marker = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def literal(self, text: str) -> str:
        """Exactly `text`, as the model's tokenizer would read it in a prompt."""
        pieces = [text] if self._marker is None else self._marker.split(text)
        found = [
            f"<[{self.markers[piece]}]>" if piece in self.markers else json.dumps(piece)
            for piece in pieces
            if piece
        ]
        return " ".join(found) or '""'

    def until(self, end: str, name: str, text: str = "(?s:.*)") -> tuple[str, list[str]]:
        """Any text that `text` (a regular expression) matches, up to and with the first `end`.

        Returns what stands for it in a rule, and the terminal that it needs, which `name` names.
        """
        before, mark, behind = self._split(end)
        stop = regex(mark)
        if mark in self.markers:
            lexeme = f"/{text}{regex(before)}/ & ~/(?s:.*){stop}(?s:.*)/"
            return f"{name} {self.literal(mark + behind)}", [f"{name}: {lexeme}"]
        # A lexer takes the longest text that it can: the end must be a part of what it takes.
        lexeme = f"/{text}{regex(before)}{stop}/ & ~/(?s:.*){stop}(?s:.+)/"
        rest = f" {self.literal(behind)}" if behind else ""
        return f"{name}{rest}", [f"{name}: {lexeme}"]

    def _split(self, end: str) -> tuple[str, str, str]:
        """What no text may hold that ends with `end`: its first mark, or else all of it.

        With what stands in `end` before and behind that; white space is no part of it.
        """
        found = self._marker.search(end) if self._marker is not None else None
        if found is not None:
            return end[: found.start()], found[0], end[found.end() :]
        mark = end.strip()
        before, _, behind = end.partition(mark)
        return before, mark, behind


class Shape(Protocol):
    """How a call is written between a form's frames: read piece by piece, or held to a grammar."""

    @property
    def end(self) -> str:
        """What it writes behind a call by itself; the frame may write more."""

    def body(self, tools: Mapping[str, Tool]) -> Body:
        """A reader of one call, or of as many as stand behind one mark."""

    def rules(self, tool: Tool, number: int, words: Words) -> list[str]:
        """Lark's rules for a call of `tool`; the first is `call_{number}`. Raises Unfollowable."""

    def write(self, name: str, arguments: Mapping[str, Any], *, spaced: bool) -> str:
        """A call as templates write it; the order of arguments is the caller's."""

    def texts(self) -> Iterable[str]:
        """Every text that the shape writes around names and values."""


@dataclass(frozen=True)
class Form:
    """How a model writes calls of tools, and what it says beside them.

    Attributes:
        name: of the form.
        shape: of one call.
        marks: what calls begin with in an answer; the first is what a model here is made to write,
            the others are read as well.
        bare: an answer that is calls is so from its first character on, without a mark.
        before, between, after: what stands around calls. `before` begins with the first mark.
        end: up to where what follows a call is no text; empty where all of it is.
        opening: what the model writes before an answer that is plain text.
        quiet: a mark that stands in every call and in no text: where stop sequences end.
        parallel: whether one answer may hold several calls.
        spaced: whether the template puts spaces between the parts of JSON.
        prompt: what tells a model of its tools whose template does not: `{tools}` stands for them.
    """

    name: str
    shape: Shape
    marks: tuple[str, ...] = ()
    bare: bool = False
    before: str = ""
    between: str = ""
    after: str = ""
    end: str = ""
    opening: str = ""
    quiet: str = ""
    parallel: bool = True
    spaced: bool = False
    prompt: str = ""

    @property
    def begin(self) -> str:
        """What a call begins with; empty where nothing but its own first character says so."""
        return "" if self.bare else self.marks[0]

    def write(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        """Calls, each a name and arguments, as templates write them."""
        written = [self.shape.write(name, given, spaced=self.spaced) for name, given in calls]
        return f"{self.before}{self.between.join(written)}{self.after}"

    def texts(self) -> list[str]:
        """Every text that the form knows, in which marks may stand."""
        own = [*self.marks, self.before, self.between, self.after, self.end, self.opening]
        return [*own, self.quiet, *self.shape.texts()]

    def shown(self, markers: Mapping[str, int]) -> list[int]:
        """The tokens that are marks of the form: readers must see them, special or not."""
        texts = "\n".join(self.texts())
        return sorted({token for marker, token in markers.items() if marker in texts})


def written_json(value: Any, *, spaced: bool) -> str:
    """JSON as templates write it, with or without spaces between its parts."""
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(value, ensure_ascii=False, separators=separators)


def regex(text: str) -> str:
    """`text` as a part of a regular expression between slashes."""
    return re.escape(text).replace("/", r"\/").replace("\\\n", r"\n").replace("\\ ", " ")
