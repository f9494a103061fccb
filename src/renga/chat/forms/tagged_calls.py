"""Calls with a tag around each argument: text as it is, everything else as JSON.

Owns how such a call is read, an argument at a time, and how a schema's properties become the rules
of a grammar: the required ones first, as everywhere (`chat.subset`). It knows no marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from renga.chat.forms.base import Body, Tool, Unfollowable, Words, regex, written_json
from renga.chat.forms.kinds import Kind, choices_of, kind_of, object_of, property_of, value_of
from renga.chat.forms.parts import NAME, CallBegin, CallEnd, CallJson, Part

# Characters of a tag with a name in it. Names are short; what is longer is none.
LONGEST_TAG = 1_024
# What says of an object how its properties go together, which here are written one by one.
COMBINING = frozenset(
    {
        *("anyOf", "oneOf", "allOf", "not", "if", "minProperties", "maxProperties"),
        *("patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"),
        *("dependencies", "unevaluatedProperties", "enum", "const"),
    }
)
_PLACES = re.compile(r"\{(name|key|kind)\}")
_PLACED = {
    "name": r"(?P<name>[^<>\s]+)",
    "key": r"(?P<name>[^<>]+?)",
    "kind": r"(?P<kind>\w*)",
}


@dataclass(frozen=True)
class TaggedCalls:
    """A name, then arguments, each between tags, then an end.

    White space that a tag is written with belongs to no value.

    Attributes:
        head: what is written behind the mark, with `{name}` for the tool's name.
        opens: what is written before an argument, with `{key}` for its name.
        closes: what is written behind an argument.
        end: what is written behind the last argument.
        typed: what `{kind}` in `opens` is, for a text and for anything else.
        many: whether several calls may stand behind one mark.
    """

    head: str
    opens: str
    closes: str
    end: str
    typed: tuple[str, str] = ("", "")
    many: bool = False

    @cached_property
    def stop(self) -> str:
        """Where a value ends, whatever stands around it."""
        return self.closes.strip()

    @cached_property
    def name_tag(self) -> Tag:
        """What a tool's name stands in."""
        return Tag(self.head)

    @cached_property
    def key_tag(self) -> Tag:
        """What an argument's name stands in."""
        return Tag(self.opens)

    def body(self, tools: Mapping[str, Tool]) -> Body:
        """See `Shape`."""
        return TaggedBody(self, tools)

    def write(self, name: str, arguments: Mapping[str, Any], *, spaced: bool) -> str:
        """See `Shape`."""
        written = [self.head.replace("{name}", name)]
        for key, value in arguments.items():
            text = isinstance(value, str)
            said = value if text else written_json(value, spaced=spaced)
            written += [self.opened(key, "text" if text else "json"), said, self.closes]
        return "".join([*written, self.end])

    def texts(self) -> Iterable[str]:
        """See `Shape`."""
        return self.head, self.opens, self.closes, self.end, *self.typed

    def opened(self, key: str, kind: Kind) -> str:
        """What stands before the argument of that name."""
        return self.opens.replace("{kind}", self.typed[kind != "text"]).replace("{key}", key)

    def rules(self, tool: Tool, number: int, words: Words) -> list[str]:
        """See `Shape`."""
        return _Rules(self, tool, str(number), words).lines()


class Tag:
    """A text around a name, with white space in it as it may be."""

    def __init__(self, written: str) -> None:
        pieces = _PLACES.split(written.strip())
        self.begin = pieces[0].split()[0] if pieces[0].strip() else ""
        """What it begins with; nothing where that is the name."""
        self._end = pieces[-1].split()[-1] if pieces[-1].strip() else ""
        self._pattern = re.compile("".join(map(self._part, range(len(pieces)), pieces)))

    def take(self, text: str, start: int) -> re.Match[str] | None:
        """The tag at `start`, with its name; None where it is not whole yet.

        Raises ValueError where there is no such tag.
        """
        found = None
        if self._end:
            place = text.find(self._end, start + len(self.begin), start + LONGEST_TAG)
            if place >= 0:
                found = self._pattern.fullmatch(text, start, place + len(self._end))
        else:
            behind = NAME.match(text, start)
            place = behind.end() if behind is not None else start
            place = -1 if place == len(text) else place
            found = self._pattern.fullmatch(text, start, place) if place >= 0 else None
        if found is not None:
            return found
        if place >= 0 or len(text) - start >= LONGEST_TAG:
            raise ValueError("no tag")
        return None

    @staticmethod
    def _part(place: int, piece: str) -> str:
        """A piece of the pattern: what is written, or, between two of those, a name."""
        if place % 2 == 0:
            return r"\s*".join(map(re.escape, piece.split()))
        return _PLACED[piece]


class TaggedBody:
    """See `Body`. `tools` say which values are text."""

    def __init__(self, shape: TaggedCalls, tools: Mapping[str, Tool]) -> None:
        self.done = False
        self._shape, self._tools = shape, tools
        self._name: str | None = None
        self._key: str | None = None  # of the argument that is being read
        self._searched = 0  # characters of it in which its end is not
        self._said = ""  # whether it is a text, in forms that say so
        self._keys: set[str] = set()
        self._called = False  # whether a call was whole

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """See `Body`. What is no such call ends it there."""
        parts: list[Part] = []
        at, before = start, -1
        while not self.done and at != before:
            before = at
            at = self._step(text, at, parts)
        return parts, at

    def finish(self) -> list[Part]:
        """See `Body`."""
        self.done = True
        return [] if self._name is None else [CallEnd(whole=False)]

    def _step(self, text: str, at: int, parts: list[Part]) -> int:
        if self._key is not None:
            return self._value(self._key, text, at, parts)
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return at
        try:
            return self._between(text, at, parts)
        except ValueError:
            parts += self.finish()
            return at

    def _between(self, text: str, at: int, parts: list[Part]) -> int:
        """What follows is the name, a tag, or the end. Raises ValueError where it is none."""
        if self._name is not None and _is_at(text, at, self._shape.end):
            if text.startswith(self._shape.end, at):
                parts += [CallJson("}" if self._keys else "{}"), CallEnd(whole=True)]
                self.done, self._called, self._name = not self._shape.many, True, None
                self._keys = set()
                return at + len(self._shape.end)
            return at
        tag = self._shape.name_tag if self._name is None else self._shape.key_tag
        if not _is_at(text, at, tag.begin):
            raise ValueError("no tag")
        found = tag.take(text, at)
        if found is None:
            return at
        if self._name is None:
            self._named(found["name"], parts)
        else:
            self._key, self._searched = found["name"], 0
            self._said = found.groupdict().get("kind", "")
        return found.end()

    def _named(self, name: str, parts: list[Part]) -> None:
        if not NAME.fullmatch(name):
            raise ValueError("no name of a tool")
        self._name = name
        parts.append(CallBegin(name))

    def _value(self, key: str, text: str, at: int, parts: list[Part]) -> int:
        """An argument, once all of it is there. The first of a name counts."""
        stop = self._shape.stop
        end = text.find(stop, at + max(0, self._searched - len(stop)))
        if end < 0:
            self._searched = len(text) - at
            return at
        self._key = None
        if key not in self._keys:
            value = _inner(text[at:end], self._shape)
            before = "," if self._keys else "{"
            written = value_of(value, self._kind(key))
            parts.append(CallJson(f"{before}{json.dumps(key, ensure_ascii=False)}:{written}"))
            self._keys.add(key)
        return end + len(stop)

    def _kind(self, key: str) -> Kind:
        if self._said:
            return "text" if self._said == self._shape.typed[0] else "json"
        tool = self._tools.get(self._name or "")
        return "any" if tool is None else kind_of(property_of(tool.schema, key), self._shape.stop)


def _inner(text: str, shape: TaggedCalls) -> str:
    """A value without the white space that the tags are written with."""
    before = shape.opens[len(shape.opens.rstrip()) :]
    after = shape.closes[: len(shape.closes) - len(shape.closes.lstrip())]
    return text.removeprefix(before).removesuffix(after)


def _is_at(text: str, at: int, wanted: str) -> bool:
    """Whether `wanted` stands at that place, as far as there is text."""
    return wanted.startswith(text[at : at + len(wanted)])


class _Rules:
    """The rules of one call, whose names end in `id_`."""

    def __init__(self, shape: TaggedCalls, tool: Tool, id_: str, words: Words) -> None:
        self._shape, self._tool, self._id, self._words = shape, tool, id_, words
        self._own = object_of(tool.schema)
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        """The rules; the first is of the whole call. Raises Unfollowable."""
        if combining := sorted(COMBINING & self._own.keys()):
            raise Unfollowable(
                f"{', '.join(combining)}: not supported at the top by this model's form of calls"
            )
        named = list(self._own.get("properties", ()))
        required = set(self._own.get("required", ()))
        ordered = [key for key in named if key in required]
        ordered += sorted(required - set(named))
        ordered += [key for key in named if key not in required]
        parts = []
        for n, key in enumerate(ordered):
            parts.append(f"value_{self._id}_{n}" + ("" if key in required else "?"))
            self._argument(f"{self._id}_{n}", key)
        if self._is_open():
            parts.append(f"more_{self._id}*")
            self._others(ordered)
        head = self._words.literal(self._shape.head.replace("{name}", self._tool.name))
        end = self._words.literal(self._shape.end)
        return [f"call_{self._id}: {head} {' '.join(parts)} {end}", *self._lines]

    def _is_open(self) -> bool:
        """Whether there may be arguments that the schema does not name."""
        if "additionalProperties" in self._own:
            return self._own["additionalProperties"] is not False
        # As with JSON, an object that names its properties is written with those alone.
        return "properties" not in self._own

    def _argument(self, id_: str, key: str) -> None:
        if re.search(r"[<>\"\s]", key) or not key:
            raise Unfollowable(f"properties.{key}: a name that this model's form cannot write")
        schema = property_of(self._own, key)
        followed = property_of(self._tool.followed or {}, key)
        kind = kind_of(schema, self._shape.stop)
        kinds: list[Kind] = [kind]
        if self._shape.typed[0] and kind in ("text or null", "any"):
            kinds = ["text", "json"]
        either = []
        for n, one in enumerate(kinds):
            opens = self._words.literal(self._shape.opened(key, one))
            either.append(f"{opens} {self._value(f'{id_}_{n}', schema, followed, one)}")
        self._lines.append(f"value_{id_}: {' | '.join(either)}")

    def _others(self, named: list[str]) -> None:
        """Arguments under names of the model's own."""
        id_ = f"{self._id}_more"
        schema = self._own.get("additionalProperties", True)
        followed = object_of(self._tool.followed or {}).get("additionalProperties", True)
        kind = kind_of(schema, self._shape.stop)
        if self._shape.typed[0] and kind in ("text or null", "any"):
            kind = "text"
        before, after = map(self._words.literal, self._shape.opened("\0", kind).split("\0"))
        other = f" & ~/({'|'.join(map(regex, named))})/" if named else ""
        value = self._value(id_, schema, followed, kind)
        self._lines += [
            f"more_{self._id}: {before} KEY_{id_.upper()} {after} {value}",
            f"KEY_{id_.upper()}: /[A-Za-z0-9_.-]{{1,64}}/{other}",
        ]

    def _value(self, id_: str, schema: Any, followed: Any, kind: Kind) -> str:
        """The rest of an argument's rule: its value, and what closes it."""
        closes = self._words.literal(self._shape.closes)
        if kind == "json":
            self._lines.append(f"json_{id_}: %json {json.dumps(self._schema(followed))}")
            return f"json_{id_} {closes}"
        own = schema if isinstance(schema, Mapping) else {}
        if choices := choices_of(own):
            return f"({' | '.join(map(json.dumps, choices))}) {closes}"
        least, most = own.get("minLength", 0), own.get("maxLength", "")
        text = f"(?s:.{{{int(least)},{int(most) if most != '' else ''}}})" if own else "(?s:.*)"
        rule, lines = self._words.until(self._shape.closes, f"TEXT_{id_.upper()}", text)
        self._lines += lines
        return rule

    def _schema(self, followed: Any) -> dict[str, Any]:
        """The schema of one value, as the grammar library reads it by itself."""
        whole = self._tool.followed or {}
        shared = {key: whole[key] for key in ("x-guidance", "$defs", "definitions") if key in whole}
        return {**shared, **(followed if isinstance(followed, Mapping) else {})}
