"""What a model reads as the messages and tools of its template's convention.

Owns: how blocks become messages (blocks of a turn are joined, each result is a message, a system
message that the template cannot keep in its place is the user's, and what a user says behind
results that nothing may stand behind is part of the last); that every string of a caller's in them
is shielded, keys and names included; and where in them the end of a block can be marked without
anything else being changed. It renders nothing and counts nothing.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

from renga.chat.template import Abilities, Message
from renga.chat.tokenizer import Tokenizer
from renga.errors import InvalidRequest
from renga.reading import Block, Call, Definition, Result, Role, Text, Thought, WrittenTurn

Place = tuple[int, int]
"""A block of written turns: the turn, and the block in it."""

# Blocks of one turn are paragraphs to the model; blocks of an answer were one text once.
BETWEEN: Final[Mapping[Role, str]] = {"system": "\n\n", "user": "\n\n", "assistant": ""}
BETWEEN_THOUGHTS = "\n\n"
BETWEEN_PARTS = "\n"  # of one result
SHORT_ID = 9  # characters of a call's id, in templates that refuse longer ones


# --- what a caller wrote --------------------------------------------------------------------------


def strings_of(turns: Iterable[WrittenTurn]) -> Iterator[tuple[str, str]]:
    """Every string in the blocks of `turns`, with the path of its block.

    Raises InvalidRequest for a number that no JSON can express.
    """
    for turn in turns:
        for block in turn.blocks:
            for value in _values(block):
                yield from ((block.path, text) for text in _strings(value, block.path))


def _values(block: Block) -> tuple[Any, ...]:
    match block:
        case Definition():
            return (block.function,)
        case Call():
            return block.id, block.name, block.arguments
        case Result():
            return block.id, block.name, block.text
        case _:
            return (block.text,)


def _strings(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"{path}: a number in it is larger than JSON's readers can take")


# --- safe and marked ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pen:
    """How strings are written: with control tokens parted, and with marks behind some blocks.

    Attributes:
        breaker: parts control tokens that someone wrote; None where nobody did.
        marks: the character that goes behind each of these blocks.
        careful: marks on tools go into descriptions alone, which no template looks into.
    """

    tokenizer: Tokenizer
    breaker: str | None = None
    marks: Mapping[Place, str] = field(default_factory=dict)
    careful: bool = False

    def text(self, parts: Sequence[tuple[Place, str]], between: str) -> str:
        """The texts of some blocks as one.

        Marks stand behind the last visible character of a block, so that a template that trims
        white space does so as without them.
        """
        whole = between.join(text for _, text in parts)
        shielded = self._shield(whole)
        if not self.marks:
            return shielded
        cuts = self._cuts(shielded)
        pieces, done, start, visible = [], 0, 0, 0
        for place, text in parts:
            if text.strip():
                visible = start + len(text.rstrip())
            start += len(text) + len(between)
            if visible and place in self.marks:
                at = visible + bisect_left(cuts, visible)
                pieces += [shielded[done:at], self.marks[place]]
                done = at
        return "".join([*pieces, shielded[done:]])

    def word(self, text: str) -> str:
        """A name or an id."""
        return self._shield(text)

    def definition(self, function: dict[str, Any], place: Place) -> dict[str, Any]:
        """A tool, marked behind the last string in it: keys are what templates look up."""
        safe: dict[str, Any] = self._safe(function) if self.breaker else function
        mark = self.marks.get(place)
        only = "description" if self.careful else None
        return safe if mark is None else _marked(safe, mark, only=only) or safe

    def call(self, name: str, arguments: dict[str, Any], place: Place) -> dict[str, Any]:
        """A call, marked behind the last string in its arguments, or behind its name."""
        safe = self._safe(arguments) if self.breaker else arguments
        written, mark = self.word(name), self.marks.get(place)
        if mark is not None:
            marked = _marked(safe, mark, names=True)
            written, safe = (written + mark, safe) if marked is None else (written, marked)
        return {"name": written, "arguments": safe}

    def _safe(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._shield(value)
        if isinstance(value, dict):
            return {self._shield(key): self._safe(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._safe(inner) for inner in value]
        return value

    def _shield(self, text: str) -> str:
        return self.tokenizer.shield(text, self.breaker) if self.breaker else text

    def _cuts(self, shielded: str) -> list[int]:
        """Before which characters of the original text a breaker stands."""
        if self.breaker is None:
            return []
        return [*accumulate(map(len, shielded.split(self.breaker)))][:-1]


def _marked(
    value: Any, mark: str, *, names: bool = False, only: str | None = None, key: str = ""
) -> Any:
    """`value` with `mark` behind the last string in it, or None where there is none.

    With `names`, keys are strings too; with `only`, strings under that key alone.
    """
    if isinstance(value, str):
        return _behind(value, mark) if only in (None, key) else None
    if isinstance(value, dict):
        items = list(value.items())
        for n, (name, inner) in reversed(list(enumerate(items))):
            marked = _marked(inner, mark, names=names, only=only, key=name)
            if marked is None and names and (name_marked := _behind(name, mark)):
                name, marked = name_marked, inner
            if marked is not None:
                items[n] = (name, marked)
                return dict(items)
    if isinstance(value, list):
        for n, inner in reversed(list(enumerate(value))):
            marked = _marked(inner, mark, names=names, only=only, key=key)
            if marked is not None:
                return [*value[:n], marked, *value[n + 1 :]]
    return None


def _behind(text: str, mark: str) -> str | None:
    """`text` with `mark` behind its last visible character."""
    visible = text.rstrip()
    return visible + mark + text[len(visible) :] if visible else None


# --- messages -------------------------------------------------------------------------------------

Part = tuple[Place, Block]


def tools_of(turns: Sequence[WrittenTurn], pen: Pen) -> list[Message]:
    """The definitions in `turns`."""
    return [
        {"type": "function", "function": pen.definition(block.function, (i, j))}
        for i, turn in enumerate(turns)
        if turn.role == "tools"
        for j, block in enumerate(turn.blocks)
        if isinstance(block, Definition)
    ]


def with_tools_told(messages: list[Message], tools: list[Message], prompt: str) -> list[Message]:
    """`messages` with the tools in the system text, where the template itself does not show them.

    `prompt` is what is said of them; `{tools}` in it stands for them.
    """
    told = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    said = prompt.replace("{tools}", told)
    if messages and messages[0]["role"] == "system":
        content = f"{messages[0]['content']}{BETWEEN['system']}{said}"
        return [{**messages[0], "content": content}, *messages[1:]]
    return [{"role": "system", "content": said}, *messages]


def messages_of(turns: Sequence[WrittenTurn], pen: Pen, abilities: Abilities) -> list[Message]:
    """The messages in `turns`."""
    messages: list[Message] = []
    for role, parts in _spoken(turns, abilities):
        if role == "tool":
            messages += _results(parts, pen, abilities)
        elif role == "assistant":
            messages.append(_answer(parts, pen, abilities))
        else:
            texts = [(place, block.text) for place, block in parts if isinstance(block, Text)]
            messages.append({"role": role, "content": pen.text(texts, BETWEEN[role])})
    return messages


def _spoken(turns: Sequence[WrittenTurn], abilities: Abilities) -> list[tuple[Role, list[Part]]]:
    """The turns that are messages, by the roles that the template can show."""
    spoken: list[tuple[Role, list[Part]]] = []
    for i, turn in enumerate(turns):
        parts: list[Part] = [((i, j), block) for j, block in enumerate(turn.blocks)]
        role = turn.role
        if role == "system" and spoken and not abilities.system_inside:
            role = "user"
        if (
            role == "user"
            and spoken
            and spoken[-1][0] == "tool"
            and not abilities.user_after_results
        ):
            role = "tool"
        if role == "tools":
            continue
        if spoken and spoken[-1][0] == role:
            spoken[-1][1].extend(parts)
        else:
            spoken.append((role, parts))
    return spoken


def _answer(parts: Sequence[Part], pen: Pen, abilities: Abilities) -> Message:
    texts = [(place, block.text) for place, block in parts if isinstance(block, Text)]
    thoughts = [(place, block.text) for place, block in parts if isinstance(block, Thought)]
    calls = [
        _call(place, block, pen, abilities) for place, block in parts if isinstance(block, Call)
    ]
    if calls and thoughts and abilities.thought_or_text:
        thoughts, texts = [*thoughts, *texts], []
    said = pen.text(texts, BETWEEN["assistant"])
    empty = not said and calls and abilities.no_content
    message: Message = {"role": "assistant", "content": None if empty else said}
    if thoughts:
        message[abilities.thought_key] = pen.text(thoughts, BETWEEN_THOUGHTS)
    return message | {"tool_calls": calls} if calls else message


def _call(place: Place, call: Call, pen: Pen, abilities: Abilities) -> Message:
    function = pen.call(call.name, call.arguments, place)
    if abilities.text_arguments:
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return {"type": "function", "id": _id(call.id, pen, abilities), "function": function}


def _results(parts: Sequence[Part], pen: Pen, abilities: Abilities) -> Iterator[Message]:
    """A message for each result, of all its parts."""
    results: list[tuple[Result, list[tuple[Place, str]]]] = []
    for place, block in parts:
        if isinstance(block, Result) and not block.goes_on:
            results.append((block, []))
        if isinstance(block, Result | Text):
            results[-1][1].append((place, block.text))
    for first, texts in results:
        yield {
            "role": "tool",
            "tool_call_id": _id(first.id, pen, abilities),
            "name": pen.word(first.name),
            "content": pen.text(texts, BETWEEN_PARTS),
        }


def _id(written: str, pen: Pen, abilities: Abilities) -> str:
    """A call's id as the template takes it: of nine letters and digits where it wants those."""
    if not abilities.short_ids:
        return pen.word(written)
    return blake2b(written.encode(), digest_size=SHORT_ID).hexdigest()[:SHORT_ID]
