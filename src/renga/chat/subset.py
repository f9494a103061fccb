"""What of JSON Schema an answer can be held to, and a schema as the grammar library is to read it.

Owned rules: what would keep the library busy, or break it, is refused by name and by a bound that
was measured; properties are written those required first, then the others, each in the schema's
order (the API's published order); objects that name their properties get no others, where that is
sound. It knows no grammars.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from renga.errors import InvalidRequest
from renga.schemas import flaw

DEEPEST = 64  # levels of nesting in a schema, references followed

# The library's work grows with the square of a pattern's length, and with the number of remainders
# of a step: at these bounds a grammar takes it some 50 ms, beyond them soon seconds.
LONGEST_PATTERNS = 4_000  # characters of all patterns
LARGEST_MULTIPLE = 10_000  # of all steps together, zeros at its end not counted
# What leaves no choice is written at once: so many characters take some 200 ms, ten times as many,
# in short strings, a hundred times as long.
LONGEST_CERTAIN = 20_000
# Beside each other in one object: at 500 the library gives up at the first token.
MOST_OPTIONAL = 400

# An object that names its properties and says nothing of others is written with those alone: what
# comes out satisfies the schema, and a small model does not go on inventing keys. Where these
# keywords combine schemas, closing one of them could forbid what another asks for.
COMBINING = frozenset({"allOf", "oneOf", "not", "if", "patternProperties", "unevaluatedProperties"})

# The library writes a February of 29 days in any year, and a 61st second in any minute, which most
# readers of dates refuse. So does Python with the year 0.
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_FOURTHS = "(?:0[48]|[2468][048]|[13579][26])"
_DAY = (
    f"(?:{_YEAR}-(?:(?:0[13-9]|1[0-2])-..|02-(?:[01].|2[0-8]))"
    f"|(?:[0-9]{{2}}{_FOURTHS}|{_FOURTHS}00)-02-29)"
)
_TIME = "..:..:[0-5]"
DATES = {"date": f"^{_DAY}", "time": f"^{_TIME}", "date-time": f"^{_DAY}.{_TIME}"}

# Sizes, and one that no answer comes to: the library breaks off at numbers of 64 bits.
SIZES = frozenset(
    f"{end}{of}" for end in ("min", "max") for of in ("Length", "Items", "Properties", "Contains")
)
UNREACHED = 10**9

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment"})

# Where schemas stand in a schema: by name, in a list, or alone.
BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
ALONE = frozenset({"items", "additionalProperties", "not", "if", "then", "else", "contains"})


def written(schema: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The schema as the grammar library is to read it. Raises InvalidRequest, about `field`."""
    _check_nesting(schema, field)
    check_form(schema, field)
    _check_cost(schema, field)
    _check_certain(schema, field)
    changes = [_bare, _sized, _ordered, _dated]
    if not any(key in COMBINING for key in _keys(schema)):
        changes.append(_closed)

    def change(node: dict[str, Any]) -> dict[str, Any]:
        for one in changes:
            node = one(node)
        return node

    found: dict[str, Any] = _rewritten(schema, change)
    # The grammar library would read options from this key, over ours.
    found.pop("x-guidance", None)
    return found


def check_form(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what is no JSON Schema at all. Raises InvalidRequest, at the place in `field`."""
    wrong = flaw(schema)
    if wrong is not None:
        raise InvalidRequest(f"{'.'.join([field, *wrong.steps])}: {wrong.told}")


def without_patterns(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without its regular expressions, which may be in a dialect of another engine."""

    def drop(node: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in node.items() if k not in ("pattern", "patternProperties")}

    return dict(_rewritten(schema, drop))


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from (v for v in value.values() if isinstance(v, (Mapping, list)))
    elif isinstance(value, list):
        yield from (v for v in value if isinstance(v, (Mapping, list)))


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
    for child in _children(value):
        yield from _keys(child)


def _check_nesting(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what is nested too deeply, references followed, and what leads back to itself.

    The grammar library descends into references by recursion: a long chain would end the process.
    """
    heights: dict[int, int] = {}  # of the nodes that are done; those on the way down are 0

    def height(node: Any, level: int) -> int:
        known = heights.get(id(node), 1)
        if level + known - 1 > DEEPEST:
            raise InvalidRequest(
                f"{field}: nested more than {DEEPEST} levels deep, references followed"
            )
        if id(node) not in heights:
            heights[id(node)] = 0
            below = [height(child, level + 1) for child in _children(node)]
            if isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str):
                target = _at(schema, ref, field)
                if heights.get(id(target)) == 0:
                    raise InvalidRequest(
                        f"{field}: recursive definitions are not supported: {ref!r}"
                    )
                below.append(height(target, level + 1))
            heights[id(node)] = 1 + max(below, default=0)
        return heights[id(node)]

    height(schema, 1)


def _at(schema: Mapping[str, Any], ref: str, field: str) -> Any:
    """What a reference names. Those that only a library for references could follow are refused."""
    node: Any = schema
    try:
        if ref[:1] != "#" or ref[1:2] not in ("", "/"):
            raise KeyError(ref)
        for part in unquote(ref).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            node = node[int(key)] if isinstance(node, list) else node[key]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InvalidRequest(
            f"{field}: $ref {ref!r} names nothing in this schema; accepted: '#/$defs/NAME'"
        ) from error
    return node


def _check_cost(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what would keep the grammar library busy for seconds, and nested base addresses."""
    patterns, multiple = 0, 1
    nodes: list[Any] = [schema]
    while nodes:
        node = nodes.pop()
        nodes += _children(node)
        if not isinstance(node, Mapping):
            continue
        _check_optional(node, field)
        if node is not schema and isinstance(node.get("$id"), str):
            raise InvalidRequest(f"{field}: $id is accepted at the top of the schema only")
        patterns += sum(len(pattern) for pattern in _patterns(node))
        if patterns > LONGEST_PATTERNS:
            raise InvalidRequest(
                f"{field}: pattern: more than {LONGEST_PATTERNS} characters in all patterns"
            )
        multiple = math.lcm(multiple, _remainders(node.get("multipleOf")))
        if multiple > LARGEST_MULTIPLE:
            raise InvalidRequest(
                f"{field}: multipleOf: the least common multiple of the steps is {multiple}; "
                f"at most {LARGEST_MULTIPLE} is accepted"
            )


def _patterns(node: Mapping[str, Any]) -> Iterator[str]:
    """The regular expressions that stand in one node."""
    if isinstance(pattern := node.get("pattern"), str):
        yield pattern
    if isinstance(properties := node.get("patternProperties"), Mapping):
        yield from properties


def _remainders(step: Any) -> int:
    """How many remainders a digit-by-digit test of `multipleOf` tells apart, about."""
    if type(step) not in (int, float) or not 0 < step < math.inf:
        return 1
    whole = Fraction(str(step)).numerator
    while whole % 10 == 0:
        whole //= 10
    return whole


def _check_optional(node: Mapping[str, Any], field: str) -> None:
    named, required = node.get("properties"), node.get("required", [])
    if isinstance(named, Mapping) and isinstance(required, list):
        optional = len(named.keys() - {name for name in required if isinstance(name, str)})
        if optional > MOST_OPTIONAL:
            raise InvalidRequest(
                f"{field}: {optional} optional properties of one object; "
                f"at most {MOST_OPTIONAL} are accepted"
            )


def _check_certain(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what could have the library write a long text that leaves no choice."""
    known: dict[int, int] = {}

    def certain(node: Any) -> int:
        if not isinstance(node, Mapping):
            return 0
        if id(node) not in known:
            known[id(node)] = _certain_here(node, schema, field, certain)
        return known[id(node)]

    longest = certain(schema)
    if longest > LONGEST_CERTAIN:
        raise InvalidRequest(
            f"{field}: its constants and required names can be {longest} characters in a row; "
            f"at most {LONGEST_CERTAIN} are accepted"
        )


def _certain_here(
    node: Mapping[str, Any], schema: Mapping[str, Any], field: str, certain: Callable[[Any], int]
) -> int:
    """The most characters that one node can have written with no choice left, about."""

    def longest(*keys: str) -> int:
        return max((certain(one) for key in keys for one in node.get(key, ())), default=0)

    constants = [node["const"]] if "const" in node else node.get("enum", ())
    here = max((len(json.dumps(one)) for one in constants), default=0)
    here += longest("anyOf", "oneOf")
    named, required = node.get("properties", {}), node.get("required", ())
    lengths = {name: len(name) + 4 + certain(value) for name, value in named.items()}
    here += sum(lengths.pop(name, len(name) + 4) for name in required)
    here += max([*lengths.values(), certain(node.get("additionalProperties"))])
    here += sum(certain(one) for key in ("prefixItems", "allOf") for one in node.get(key, ()))
    if item := certain(node.get("items")):
        least = node.get("minItems", 1)
        here += (item + 1) * max(int(min(least, LONGEST_CERTAIN)), 1)
    if "$ref" in node:
        here += certain(_at(schema, node["$ref"], field))
    return here


def _rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """`schema` with that change made to every schema in it, the inner ones first."""
    if not isinstance(schema, Mapping):
        return schema
    found = dict(schema)
    for key, value in schema.items():
        if key in BY_NAME and isinstance(value, Mapping):
            found[key] = {name: _rewritten(v, change) for name, v in value.items()}
        elif key in LISTED and isinstance(value, list):
            found[key] = [_rewritten(v, change) for v in value]
        elif key in ALONE:
            found[key] = _rewritten(value, change)
    return change(found)


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what it says to people, most of its length where tools are described."""
    return {key: value for key, value in schema.items() if key not in ANNOTATIONS}


def _sized(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with sizes as the library reads them: 5.0 as 5, and none that nothing reaches."""
    for key in SIZES & schema.keys():
        size = int(schema[key])
        if size > UNREACHED and key.startswith("max"):
            del schema[key]
        else:
            schema[key] = min(size, UNREACHED)
    return schema


def _ordered(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the properties that it requires before the others."""
    named, required = schema.get("properties"), schema.get("required")
    if isinstance(named, Mapping) and isinstance(required, list):
        first = {name: value for name, value in named.items() if name in required}
        schema["properties"] = {**first, **named}
    return schema


def _dated(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, with dates and times that exist."""
    if isinstance(form := schema.get("format"), str) and form in DATES:
        schema.setdefault("pattern", DATES[form])
    return schema


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, closed to properties that it does not name if it names any."""
    if _names_all(schema) and not schema.keys() & {"additionalProperties", "anyOf", "$ref"}:
        schema["additionalProperties"] = False
    return schema


def _names_all(schema: Mapping[str, Any]) -> bool:
    """Whether the schema's `properties` has everything that it requires."""
    named, required = schema.get("properties"), schema.get("required", [])
    return (
        isinstance(named, Mapping)
        and isinstance(required, list)
        and all(isinstance(name, str) and name in named for name in required)
    )
