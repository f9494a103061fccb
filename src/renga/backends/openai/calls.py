"""Calls of tools out of pieces, as servers of OpenAI's chat API stream them.

Owns which piece belongs to which call: by index where there is one, by id, else by what came last.
Servers leave out ids or indices, give every call the index 0, say the name again with each piece,
or bring calls at once; and the pieces of two calls may come by turns, where an answer of ours has
one call after the other. So a call is passed on while it comes, and one that begins before the last
is whole waits for it. Arguments must be a JSON object in the end, of which none may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from renga.backends.openai.chunks import CallPiece

NOTHING: Final = ("", "null")  # what some write for arguments where there are none


class BrokenCall(ValueError):
    """Pieces that make no call."""


class Begun(NamedTuple):
    """A call begins."""

    name: str


class Arguments(NamedTuple):
    """More of its arguments, as JSON text."""

    text: str


class Ended(NamedTuple):
    """The call is whole, or cut with the answer."""


Part = Begun | Arguments | Ended


@dataclass
class _Call:
    """A call so far. `unsent` are the pieces of its arguments that were not passed on yet."""

    index: int | None
    id: str | None
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    begun: bool = False
    opened: bool = False
    ended: bool = False
    _whole: tuple[int, bool] = (0, True)  # by number of pieces

    def add(self, text: str) -> None:
        """Take more of the arguments."""
        self.pieces.append(text)
        self.unsent.append(text)

    def take(self) -> str:
        """What can be passed on of the arguments, once they are an object's."""
        if not self.unsent:
            return ""
        text = "".join(self.unsent)
        if not self.opened and not text.lstrip().startswith("{"):
            return ""
        self.opened, self.unsent = True, []
        return text

    @property
    def whole(self) -> bool:
        """Whether the arguments are a JSON object by now, or nothing."""
        if self._whole[0] != len(self.pieces):
            text = "".join(self.pieces).strip()
            self._whole = len(self.pieces), text in NOTHING or _is_object(text)
        return self._whole[1]


def _is_object(text: str) -> bool:
    if not text.endswith("}"):
        return False
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


class CallReader:
    """One answer's calls. `single`: one is wanted at most, and those after it are dropped."""

    def __init__(self, *, single: bool = False) -> None:
        self.called = False
        """Whether a call began."""
        self._single = single
        self._calls: list[_Call] = []
        self._at = 0  # the call that is passed on

    def feed(self, piece: CallPiece) -> Iterator[Part]:
        """What a piece amounts to. Raises BrokenCall."""
        call = self._of(piece)
        function = piece.function
        if function is not None:
            call.name = call.name or function.name or ""
            given = function.arguments
            text = given if isinstance(given, str) or given is None else _written(given)
            if text and call.ended:
                raise BrokenCall("more arguments of a call that was over")
            if text:
                call.add(text)
        yield from self._go_on()

    def finish(self, *, cut: bool) -> Iterator[Part]:
        """Nothing of calls follows; `cut`: the answer ended in the middle. Raises BrokenCall."""
        for call in self._calls[self._at :]:
            if self._drops(call):
                continue
            if not call.name:
                raise BrokenCall("a call without a name")
            if not (call.whole or cut):
                raise BrokenCall(f"the arguments of '{call.name[:100]}' are no JSON object")
            yield from self._pass_on(call)
            call.ended = True
            yield Ended()
        self._at = len(self._calls)

    def _of(self, piece: CallPiece) -> _Call:
        """The call that a piece belongs to, which may begin with it."""
        known = self._known(piece)
        if known is None:
            known = _Call(piece.index, piece.id)
            self._calls.append(known)
        known.id = known.id or piece.id
        return known

    def _known(self, piece: CallPiece) -> _Call | None:
        name = piece.function.name if piece.function is not None else None
        if piece.index is None or piece.index < 0:
            if piece.id:
                return next((c for c in self._calls if c.id == piece.id), None)
            return None if name or not self._calls else self._calls[-1]
        found = [call for call in self._calls if call.index == piece.index]
        if not found or not name:
            return found[-1] if found else None
        last = found[-1]
        if piece.id and last.id:
            return last if piece.id == last.id else None
        # Named again: another call where this one is whole, else the same name once more.
        return None if last.pieces and last.whole and not piece.id else last

    def _go_on(self) -> Iterator[Part]:
        while self._at < len(self._calls):
            call = self._calls[self._at]
            if self._drops(call) or not call.name:
                return
            yield from self._pass_on(call)
            # Without arguments, it may be that those are yet to come.
            if self._at + 1 == len(self._calls) or not (call.opened and call.whole):
                return
            call.ended = True
            yield Ended()
            self._at += 1

    def _pass_on(self, call: _Call) -> Iterator[Part]:
        """Its beginning, and what of its arguments was not passed on yet."""
        if not call.begun:
            call.begun = self.called = True
            yield Begun(call.name)
        text = call.take()
        if text:
            yield Arguments(text)

    def _drops(self, call: _Call) -> bool:
        return self._single and call is not self._calls[0]


def _written(arguments: dict[str, object]) -> str:
    return msgspec.json.encode(arguments).decode()
