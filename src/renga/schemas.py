"""JSON Schema: whether something is one, and whether a value meets one.

Owns the well-formedness of schemas that callers send, and a judgement of values that never refuses
what meets the schema: keywords that it does not know, references out of the schema and patterns
that the linear engine does not take are no reason to refuse. It is bounded in work, whatever the
schema. What a model can be held to is another question: `renga.chat.schema`.

Source: JSON Schema, draft 2020-12, and of draft 7 lists in `items`, which clients still send.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final
from urllib.parse import unquote

from pydantic_core import SchemaError, SchemaValidator, core_schema

TYPES: Final = ("null", "boolean", "object", "array", "number", "integer", "string")
MOST_STEPS: Final = 100_000
"""What the judgements of one request may look at: about so many pairs of a value and a schema."""
_PATTERN: Final = (
    1_000  # steps that making a pattern ready is worth: it may take a third of a second
)


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong, and where: steps from the top. `told` is a sentence without its subject."""

    told: str
    steps: tuple[str, ...] = ()

    def under(self, step: str | int) -> Wrong:
        """The same, seen from one level higher."""
        return replace(self, steps=(str(step), *self.steps))


class TooMuchWork(Exception):
    """Judgements would take more than MOST_STEPS, or more levels than can be gone down."""


class Work:
    """What may still be done, by all judgements that share it."""

    def __init__(self, most: int = MOST_STEPS) -> None:
        self._left = most
        self._patterns: dict[str, SchemaValidator | None] = {}

    def spend(self, steps: int = 1) -> None:
        """Raise TooMuchWork where there is less than that left."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWork

    def matches(self, pattern: str, text: str) -> bool | None:
        """Whether `pattern` is found in `text`, in linear time; None where it cannot be told."""
        self.spend(1 + len(text) // 100)
        if pattern not in self._patterns:
            self.spend(_PATTERN)
            self._patterns[pattern] = _ready(pattern)
        ready = self._patterns[pattern]
        try:
            return None if ready is None else bool(ready.isinstance_python(text))
        except UnicodeError:
            return None


def _ready(pattern: str) -> SchemaValidator | None:
    """`pattern` for the linear engine; None where that does not take it."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except (SchemaError, UnicodeError):
        return None


# --- whether it is a schema -----------------------------------------------------------------------


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value % 1 == 0  # not so of infinity


def _is_step(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(t, str) and t in TYPES for t in value)
    return isinstance(value, str) and value in TYPES


def _is_texts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_texts, value.values()))


_SIZES = (
    "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains"
).split()
_NUMBERS = "minimum maximum exclusiveMinimum exclusiveMaximum".split()

# keyword -> whether a value is allowed, and what is
_PLAIN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, f"one of {', '.join(TYPES)}, or a list of them"),
    "required": (_is_texts, "a list of strings"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "pattern": (_is_text, "a string"),
    "format": (_is_text, "a string"),
    "title": (_is_text, "a string"),
    "description": (_is_text, "a string"),
    "$ref": (_is_text, "a string"),
    "multipleOf": (_is_step, "a number above 0"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "dependentRequired": (_is_texts_by_name, "an object of lists of strings"),
    **dict.fromkeys(_SIZES, (_is_size, "a whole number, 0 or more")),
    **dict.fromkeys(_NUMBERS, (_is_number, "a number")),
}
_BY_NAME = frozenset("properties patternProperties $defs definitions dependentSchemas".split())
_LISTED = frozenset("allOf anyOf oneOf prefixItems".split())
_ONE = frozenset(
    "additionalProperties items not if then else contains propertyNames unevaluatedProperties "
    "unevaluatedItems".split()
)


def flaw(schema: Any) -> Wrong | None:
    """The first thing that makes `schema` no JSON Schema, or None."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), schema)]
    while waiting:
        steps, part = waiting.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            return Wrong("a schema is an object, or true or false", steps)
        for name, value in part.items():
            told = _keyword_flaw(name, value)
            if told is not None:
                return Wrong(told, (*steps, name))
            waiting += [((*steps, *below), inner) for below, inner in _parts(name, value)]
    return None


def _keyword_flaw(name: str, value: Any) -> str | None:
    plain = _PLAIN.get(name)
    if plain is not None:
        return None if plain[0](value) else f"{plain[1]} is expected"
    if name in _BY_NAME:
        return None if isinstance(value, dict) else "an object of schemas is expected"
    if name in _LISTED:
        return None if isinstance(value, list) and value else "a list of schemas is expected"
    return None


def _parts(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The schemas under one keyword, each with the steps to it."""
    if name in _BY_NAME:
        yield from (((name, key), inner) for key, inner in value.items())
    elif name in _LISTED or (name == "items" and isinstance(value, list)):
        yield from (((name, str(at)), inner) for at, inner in enumerate(value))
    elif name in _ONE:
        yield (name,), value


def parts_of(schema: Any) -> Iterator[Mapping[str, Any]]:
    """`schema` and every schema within it that is an object, references not followed."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += [inner for name, value in part.items() for _, inner in _parts(name, value)]


# --- whether a value meets it ---------------------------------------------------------------------


def mismatch(value: Any, schema: Any, work: Work | None = None) -> Wrong | None:
    """The first thing in `value` that `schema` does not accept, or None.

    `schema` is one that has no flaw; `work` is what this may take of. Raises TooMuchWork.
    """
    try:
        return _Judge(schema, work or Work()).see(value, schema)
    except RecursionError:
        raise TooMuchWork from None


class _Judge:
    """One judgement. What was found of a value and a schema is kept: both may come again."""

    def __init__(self, root: Any, work: Work) -> None:
        self.work = work
        self._root = root
        self._found: dict[tuple[int, int], Wrong | None] = {}
        self._alive: list[Any] = []

    def see(self, value: Any, schema: Any) -> Wrong | None:
        if isinstance(schema, bool):
            return None if schema else Wrong("nothing is accepted here")
        key = (id(value), id(schema))
        if key in self._found:
            return self._found[key]
        self.work.spend()
        self._alive.append(value)  # so that no other value gets its id
        self._found[key] = None  # what refers to itself without a step adds nothing
        found = self._found[key] = self._look(value, schema)
        return found

    def _look(self, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
        for name, asked in schema.items():
            rule = RULES.get(name)
            found = rule(self, asked, value, schema) if rule else None
            if found is not None:
                return found
        return None

    def resolve(self, reference: str) -> Any:
        """The schema that a reference within the root names; True where it names none there."""
        if not reference.startswith("#"):
            return True
        here = self._root
        for step in filter(None, unquote(reference[1:]).split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(here, dict) and name in here:
                here = here[name]
            elif isinstance(here, list) and name.isdecimal() and int(name) < len(here):
                here = here[int(name)]
            else:
                return True
        return here if isinstance(here, dict | bool) else True


Rule = Callable[[_Judge, Any, Any, Mapping[str, Any]], Wrong | None]

_CLASSES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": _is_text,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and math.isfinite(value) and value % 1 == 0,
}


def _free(steps: int = 1) -> None:
    """Nobody counts."""


def equal(one: Any, other: Any, spend: Callable[[int], None] = _free) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, and neither is true."""
    spend(1)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k], spend) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(equal(a, b, spend) for a, b in pairs)
    return bool(one == other)


def _type(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    names = asked if isinstance(asked, list) else [asked]
    if any(_CLASSES[name](value) for name in names):
        return None
    return Wrong(f"is not of type {' or '.join(names)}")


def _enum(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    return (
        None
        if any(equal(value, one, judge.work.spend) for one in asked)
        else Wrong("is none of the enum's")
    )


def _const(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    return None if equal(value, asked, judge.work.spend) else Wrong("is not the const")


def _reference(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    return judge.see(value, judge.resolve(asked))


def _required(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    judge.work.spend(len(asked))
    missing = [name for name in asked if name not in value] if isinstance(value, dict) else []
    return Wrong(f"lacks '{missing[0]}', which is required") if missing else None


def _properties(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    judge.work.spend(len(asked))
    for name, inner in asked.items() if isinstance(value, dict) else ():
        found = judge.see(value[name], inner) if name in value else None
        if found is not None:
            return found.under(name)
    return None


def _patterns(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    for pattern, inner in asked.items() if isinstance(value, dict) else ():
        for name in value:
            found = (
                judge.see(value[name], inner) if judge.work.matches(pattern, name) is True else None
            )
            if found is not None:
                return found.under(name)
    return None


def _additional(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    if not isinstance(value, dict):
        return None
    named, patterns = schema.get("properties") or {}, schema.get("patternProperties") or {}
    for name in value:
        # A pattern that cannot be judged may be the one that the name meets.
        if name not in named and all(judge.work.matches(p, name) is False for p in patterns):
            found = judge.see(value[name], asked)
            if found is not None:
                told = Wrong("is not among the properties") if asked is False else found
                return told.under(name)
    return None


def _names(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    found = [judge.see(name, asked) for name in value] if isinstance(value, dict) else []
    return next((Wrong("has a name that is not accepted") for one in found if one), None)


def _items(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    if not isinstance(value, list):
        return None
    if isinstance(asked, list):
        return _in_order(judge, asked, value)
    first = len(schema.get("prefixItems") or ())
    for at in range(first, len(value)):
        found = judge.see(value[at], asked)
        if found is not None:
            return found.under(at)
    return None


def _prefix(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    return _in_order(judge, asked, value) if isinstance(value, list) else None


def _in_order(judge: _Judge, schemas: Sequence[Any], values: Sequence[Any]) -> Wrong | None:
    for at, (value, inner) in enumerate(zip(values, schemas, strict=False)):
        found = judge.see(value, inner)
        if found is not None:
            return found.under(at)
    return None


def _contains(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    if not isinstance(value, list):
        return None
    count = sum(1 for item in value if judge.see(item, asked) is None)
    least, most = schema.get("minContains", 1), schema.get("maxContains", math.inf)
    return None if least <= count <= most else Wrong(f"contains {count} of what is counted")


def _all_of(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    return next((found for one in asked if (found := judge.see(value, one))), None)


def _any_of(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    met = any(judge.see(value, one) is None for one in asked)
    return None if met else Wrong("meets none of anyOf")


def _one_of(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    count = sum(1 for one in asked if judge.see(value, one) is None)
    return None if count == 1 else Wrong(f"meets {count} of oneOf")


def _not(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    return Wrong("is what it must not be") if judge.see(value, asked) is None else None


def _if(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    then = "then" if judge.see(value, asked) is None else "else"
    return judge.see(value, schema.get(then, True))


def _dependent(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    for name, needed in asked.items() if isinstance(value, dict) else ():
        judge.work.spend(len(needed))
        if name in value and not all(other in value for other in needed):
            return Wrong(f"has '{name}' without what it needs")
    return None


def _dependent_schemas(
    judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]
) -> Wrong | None:
    inner = [one for name, one in asked.items() if isinstance(value, dict) and name in value]
    return _all_of(judge, inner, value, schema)


def _pattern(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    wrong = isinstance(value, str) and judge.work.matches(asked, value) is False
    return Wrong("does not match the pattern") if wrong else None


def _multiple(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    if not _is_number(value) or not (math.isfinite(value) and math.isfinite(asked)):
        return None
    whole = Fraction(str(value)) / Fraction(str(asked))
    return None if whole.denominator == 1 else Wrong(f"is no multiple of {asked}")


def _unique(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
    if not asked or not isinstance(value, list):
        return None
    spend = judge.work.spend
    twice = any(equal(one, other, spend) for at, one in enumerate(value) for other in value[:at])
    return Wrong("has an item twice") if twice else None


def _bound(size: Callable[[Any], Any], holds: Callable[[Any, Any], bool], told: str) -> Rule:
    """A rule of sizes: `size` of a value, None where the keyword says nothing of it."""

    def rule(judge: _Judge, asked: Any, value: Any, schema: Mapping[str, Any]) -> Wrong | None:
        is_ = size(value)
        return None if is_ is None or holds(is_, asked) else Wrong(f"{told} {asked}")

    return rule


def _number(value: Any) -> Any:
    return value if _is_number(value) else None


def _sized(kind: type[str] | type[list[Any]] | type[dict[str, Any]]) -> Callable[[Any], Any]:
    return lambda value: len(value) if isinstance(value, kind) else None


def _at_least(one: Any, other: Any) -> bool:
    return bool(one >= other)


def _at_most(one: Any, other: Any) -> bool:
    return bool(one <= other)


RULES: dict[str, Rule] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "$ref": _reference,
    "required": _required,
    "properties": _properties,
    "patternProperties": _patterns,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "prefixItems": _prefix,
    "contains": _contains,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentRequired": _dependent,
    "dependentSchemas": _dependent_schemas,
    "pattern": _pattern,
    "multipleOf": _multiple,
    "uniqueItems": _unique,
    "minimum": _bound(_number, _at_least, "is below"),
    "maximum": _bound(_number, _at_most, "is above"),
    "exclusiveMinimum": _bound(_number, lambda one, other: bool(one > other), "is not above"),
    "exclusiveMaximum": _bound(_number, lambda one, other: bool(one < other), "is not below"),
    "minLength": _bound(_sized(str), _at_least, "is shorter than"),
    "maxLength": _bound(_sized(str), _at_most, "is longer than"),
    "minItems": _bound(_sized(list), _at_least, "has fewer items than"),
    "maxItems": _bound(_sized(list), _at_most, "has more items than"),
    "minProperties": _bound(_sized(dict), _at_least, "has fewer properties than"),
    "maxProperties": _bound(_sized(dict), _at_most, "has more properties than"),
}
