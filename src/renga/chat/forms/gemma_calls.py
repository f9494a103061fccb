"""Calls as Gemma writes them: `call:NAME{key:value,...}`, keys bare and in the alphabet's order.

Strings stand between marks instead of quotes and are not escaped; everything else is as in JSON.

Owns how such a text becomes JSON, and how a schema becomes a grammar of it. It knows no marks but
the one around strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from renga.chat.forms.base import Body, Tool, Unfollowable, Words
from renga.chat.forms.kinds import choices_of, kind_of, object_of
from renga.chat.forms.parts import NAME, CallBegin, CallEnd, CallJson, Part
from renga.chat.jsontext import MOST_LEVELS, JsonValue

LONGEST_NAME = 512
_HEAD = "call:"
_SAID = frozenset({"title", "description", "default", "examples", "$comment", "nullable"})
_SCALARS = frozenset({"integer", "number", "boolean", "null"})
_OBJECT = frozenset({"type", "properties", "required", "additionalProperties", "$defs"})
_ARRAY = frozenset({"type", "items", "minItems", "maxItems"})
_DEEPEST = 32
_MOST_ITEMS = 1_000


@dataclass(frozen=True)
class GemmaCalls:
    """`call:NAME{...}`, with strings between two `quote`s; `end` is what is written behind it."""

    quote: str
    end: str

    def body(self, tools: Mapping[str, Tool]) -> Body:
        """See `Shape`."""
        return GemmaBody(self.quote)

    def write(self, name: str, arguments: Mapping[str, Any], *, spaced: bool) -> str:
        """See `Shape`."""
        return f"{_HEAD}{name}{self._written(arguments)}{self.end}"

    def _written(self, value: Any) -> str:
        if isinstance(value, str):
            return f"{self.quote}{value}{self.quote}"
        if isinstance(value, Mapping):
            keys = sorted(value, key=str.lower)
            return "{" + ",".join(f"{key}:{self._written(value[key])}" for key in keys) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(self._written, value)) + "]"
        return json.dumps(value)

    def texts(self) -> Iterable[str]:
        """See `Shape`."""
        return self.quote, self.end

    def rules(self, tool: Tool, number: int, words: Words) -> list[str]:
        """See `Shape`."""
        made = _Rules(self.quote, str(number), words, tool)
        value = made.value(object_of(tool.schema) or {"type": "object"}, 0)
        head = words.literal(_HEAD + tool.name)
        return [f"call_{number}: {head} {value} {words.literal(self.end)}", *made.lines]


# --- reading --------------------------------------------------------------------------------------


class GemmaBody:
    """See `Body`. The name is passed on at once, the arguments when all of them are there."""

    def __init__(self, quote: str) -> None:
        self.done = False
        self._quote = quote
        self._marks = re.compile(f"{re.escape(quote)}|[{{}}\\[\\]]")
        self._named = False
        self._seen = 0  # characters of the arguments that were looked at
        self._depth = 0
        self._quoted = False

    def feed(self, text: str, start: int) -> tuple[list[Part], int]:
        """See `Body`."""
        if self._named:
            return self._arguments(text, start)
        at = start + len(text[start:]) - len(text[start:].lstrip())
        opens = text.find("{", at, at + LONGEST_NAME)
        if opens < 0:
            wrong = not _HEAD.startswith(text[at : at + len(_HEAD)])
            self.done = wrong or len(text) - at >= LONGEST_NAME
            return [], start
        name = text[at:opens].removeprefix(_HEAD).strip()
        if not text.startswith(_HEAD, at) or not NAME.fullmatch(name):
            self.done = True
            return [], start
        self._named = True
        parts, end = self._arguments(text, opens)
        return [CallBegin(name), *parts], end

    def finish(self) -> list[Part]:
        """See `Body`."""
        self.done = True
        return [CallEnd(whole=False)] if self._named else []

    def _arguments(self, text: str, start: int) -> tuple[list[Part], int]:
        """The arguments, where they end in `text[start:]`; nothing is taken before."""
        end = self._end(text, start)
        if end is None:
            return [], start
        self.done = True
        try:
            written = _Text(text[start:end], self._quote).json()
        except ValueError:
            return [CallEnd(whole=False)], end
        return [CallJson(written), CallEnd(whole=True)], end

    def _end(self, text: str, start: int) -> int | None:
        """Where the bracket that opens at `start` is closed again."""
        for found in self._marks.finditer(text, start + self._seen):
            self._seen = found.end() - start
            if found[0] == self._quote:
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if found[0] in "{[" else -1
                if not self._depth:
                    return found.end()
        # The beginning of a mark may stand at the end.
        self._seen = max(self._seen, len(text) - start - len(self._quote) + 1)
        return None


class _Text:
    """Arguments as Gemma writes them, whole. `json` raises ValueError where they are not so."""

    def __init__(self, text: str, quote: str) -> None:
        self._text, self._quote, self._at = text, quote, 0

    def json(self) -> str:
        """The same as JSON."""
        return self._value(0)

    def _value(self, level: int) -> str:
        self._space()
        if level > MOST_LEVELS:
            raise ValueError("nested too deeply")
        if self._takes("{"):
            return "{" + ",".join(self._items("}", level, keyed=True)) + "}"
        if self._takes("["):
            return "[" + ",".join(self._items("]", level, keyed=False)) + "]"
        if self._takes(self._quote):
            return self._string()
        if self._takes("None"):  # as the template writes it
            return "null"
        reader = JsonValue()
        value, end = reader.feed(self._text + " ", self._at)
        if not reader.done:
            raise ValueError("no value")
        self._at = end
        return value

    def _items(self, close: str, level: int, *, keyed: bool) -> Iterator[str]:
        """What stands in brackets up to `close`, which is taken."""
        self._space()
        if self._takes(close):
            return
        while True:
            key = f"{self._key()}:" if keyed else ""
            yield key + self._value(level + 1)
            self._space()
            if self._takes(close):
                return
            if not self._takes(","):
                raise ValueError("no comma")

    def _key(self) -> str:
        self._space()
        if self._takes(self._quote):
            key = self._string()
            self._space()
        else:
            end = self._text.find(":", self._at)
            key = json.dumps(self._text[self._at : max(end, self._at)].strip(), ensure_ascii=False)
            self._at = max(end, self._at)
        if not self._takes(":"):
            raise ValueError("no colon")
        return key

    def _string(self) -> str:
        end = self._text.find(self._quote, self._at)
        if end < 0:
            raise ValueError("no end of a string")
        text, self._at = self._text[self._at : end], end + len(self._quote)
        return json.dumps(text, ensure_ascii=False)

    def _space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _takes(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True


# --- writing --------------------------------------------------------------------------------------


class _Rules:
    """The rules of one call's values, as they are needed. Raises Unfollowable."""

    def __init__(self, quote: str, id_: str, words: Words, tool: Tool) -> None:
        self.lines: list[str] = []
        self._quote, self._id, self._words = quote, id_, words
        self._root = tool.schema
        self._options = (tool.followed or {}).get("x-guidance", {})
        self._count = 0
        self._known: dict[str, str] = {}

    def value(self, schema: Any, level: int) -> str:
        """What stands for a value of that schema in a rule."""
        if level > _DEEPEST:
            raise Unfollowable(f"nested more than {_DEEPEST} levels deep, references followed")
        own = self._plain(schema)
        kind = kind_of(own, self._quote)
        if kind == "any":
            return self._any()
        if kind == "text":
            return self._string(own)
        if isinstance(own.get("anyOf"), list) and own.keys() == {"anyOf"}:
            return "(" + " | ".join(self.value(one, level + 1) for one in own["anyOf"]) + ")"
        types = own.get("type")
        if isinstance(types, list):
            each = [self.value({**own, "type": one}, level + 1) for one in types]
            return f"({' | '.join(each)})"
        return self._typed(own, types, level)

    def _typed(self, own: Mapping[str, Any], type_: Any, level: int) -> str:
        if type_ == "object" or (type_ is None and "properties" in own):
            return self._object(own, level)
        if type_ == "array":
            return self._array(own, level)
        choices = own.get("enum", [own.get("const", "")])
        if type_ in _SCALARS or not any(isinstance(one, str | list | dict) for one in choices):
            return self._rule(f"%json {json.dumps({'x-guidance': self._options, **own})}")
        raise Unfollowable(
            f"{', '.join(sorted(own.keys() - {'type'}))}: not supported by this model's form of "
            "calls"
        )

    def _plain(self, schema: Any) -> dict[str, Any]:
        """A schema's own keywords, references followed, without what is said to people."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping):
                return {}
            if not isinstance(ref := schema.get("$ref"), str):
                break
            schema = object_of({**self._root, "$ref": ref})
        return {key: value for key, value in schema.items() if key not in _SAID}

    def _object(self, own: Mapping[str, Any], level: int) -> str:
        named = own.get("properties", {})
        self._check(own, _OBJECT)
        required = set(own.get("required", ()))
        free = own.get("additionalProperties", "properties" not in own) is not False
        if free and not named and not required:
            return self._mapping(own, level)
        if own.get("additionalProperties", False) not in (False, True) or required - set(named):
            raise Unfollowable(
                "additionalProperties, required: names that the schema does not describe are not "
                "supported by this model's form of calls"
            )
        # Behind each key it is known whether a comma is due: two rules for each place.
        first, later = '"}"', '"}"'
        for key in sorted(named, key=str.lower, reverse=True):
            if not NAME.fullmatch(key):
                raise Unfollowable(f"properties.{key}: a name that this form cannot write")
            item = self._rule(f"{json.dumps(key + ':')} {self.value(named[key], level + 1)}")
            behind = self._rule(later)
            skipped = "" if key in required else f" | {self._rule(first)}"
            first = f"{item} {behind}{skipped}"
            skipped = "" if key in required else f" | {behind}"
            later = f'"," {item} {behind}{skipped}'
        return f'"{{" {self._rule(first)}'

    def _mapping(self, own: Mapping[str, Any], level: int) -> str:
        """An object under names of the model's own."""
        within = own.get("additionalProperties", True)
        item = self._rule(f"{self._bare_key()} {self.value(within, level + 1)}")
        return self._rule(f'"{{" ({item} ("," {item})*)? "}}"')

    def _array(self, own: Mapping[str, Any], level: int) -> str:
        self._check(own, _ARRAY)
        item = self._rule(self.value(own.get("items", True), level + 1))
        least, most = int(own.get("minItems", 0)), own.get("maxItems")
        if least > _MOST_ITEMS or (most is not None and most > _MOST_ITEMS):
            raise Unfollowable(f"minItems, maxItems: at most {_MOST_ITEMS} are supported")
        if most == 0:
            return '"[]"'
        repeated = f"{{{max(least - 1, 0)},{'' if most is None else int(most) - 1}}}"
        items = f'{item} ("," {item}){repeated}'
        return self._rule(f'"[" {items} "]"' if least else f'"[" ({items})? "]"')

    def _string(self, own: Mapping[str, Any]) -> str:
        opens = self._words.literal(self._quote)
        if choices := choices_of(own):
            return f"{opens} ({' | '.join(map(json.dumps, choices))}) {opens}"
        least, most = int(own.get("minLength", 0)), own.get("maxLength", "")
        key = f"string {least} {most}"
        if key not in self._known:
            text = f"(?s:.{{{least},{int(most) if most != '' else ''}}})"
            name = f"TEXT_{self._id}_{len(self._known)}"
            rule, lines = self._words.until(self._quote, name, text)
            self.lines += lines
            self._known[key] = self._rule(f"{opens} {rule}")
        return self._known[key]

    def _bare_key(self) -> str:
        if "key" not in self._known:
            self.lines.append(f"KEY_{self._id}: /[A-Za-z0-9_-]{{1,64}}:/")
            self._known["key"] = f"KEY_{self._id}"
        return self._known["key"]

    def _any(self) -> str:
        """Any value."""
        if "any" not in self._known:
            name = f"any_{self._id}"
            self._known["any"] = name
            scalar = self._rule('%json {"type": ["number", "boolean", "null"]}')
            item = f"{self._bare_key()} {name}"
            either = [self._string({}), scalar]
            either += [f'"[" ({name} ("," {name})*)? "]"', f'"{{" ({item} ("," {item})*)? "}}"']
            self.lines.append(f"{name}: {' | '.join(either)}")
        return self._known["any"]

    def _check(self, own: Mapping[str, Any], known: frozenset[str]) -> None:
        if unknown := sorted(own.keys() - known - {"definitions", "$schema", "$id", "x-guidance"}):
            raise Unfollowable(f"{', '.join(unknown)}: not supported by this model's form of calls")

    def _rule(self, body: str) -> str:
        """A rule of its own for `body`; its name."""
        self._count += 1
        name = f"v_{self._id}_{self._count}"
        self.lines.append(f"{name}: {body}")
        return name
