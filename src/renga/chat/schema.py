"""`output_config.format` as a grammar that the engine's sampler can follow.

Owns two rules: a schema is accepted when every keyword in it is honoured, and refused by name
before the engine sees it; and JSON is written compactly, without white space between its parts,
since a model that may write white space may write nothing else (lessons, 15). Properties come in
the schema's order. It knows no models: the engine compiles the grammar against a vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llguidance import LLMatcher

from renga.errors import InvalidRequest
from renga.types import Prompt

FIELD = "output_config.format.schema"
DEEPEST = 64  # levels of nesting in a schema

# An object that names its properties and says nothing of others is written with those alone: what
# comes out satisfies the schema, and a small model does not go on inventing keys. Where these
# keywords combine schemas, closing one of them could forbid what another asks for.
COMBINING = frozenset({"allOf", "oneOf", "not", "if", "patternProperties", "unevaluatedProperties"})


def grammar_of(prompt: Prompt) -> str | None:
    """The grammar that the answer to `prompt` must follow, or None.

    Raises:
        InvalidRequest: the schema is wrong or uses what is not supported; begins with FIELD.
    """
    if prompt.output_config is None or prompt.output_config.format is None:
        return None
    return json_grammar(prompt.output_config.format.json_schema)


def json_grammar(schema: Mapping[str, Any]) -> str:
    """An llguidance grammar for compact JSON that `schema` accepts. Raises InvalidRequest."""
    if _depth(schema) > DEEPEST:
        raise InvalidRequest(f"{FIELD}: nested more than {DEEPEST} levels deep")
    if (cycle := _cycle(schema)) is not None:
        raise InvalidRequest(f"{FIELD}: recursive definitions are not supported: {cycle!r}")
    combined = any(key in COMBINING for key in _keys(schema))
    written = dict(schema) if combined else _closed(schema)
    # The grammar library would read options from this key, over ours.
    written.pop("x-guidance", None)
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            written,
            overrides={
                "whitespace_flexible": False,
                "item_separator": ",",
                "key_separator": ":",
                "coerce_one_of": False,
                "lenient": False,
            },
        )
    except ValueError as error:
        raise InvalidRequest(f"{FIELD}: {_sentence(str(error))}") from error
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if failed:
        raise InvalidRequest(f"{FIELD}: {_sentence(messages[0])}")
    return str(grammar)


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion, since the caller chose the depth."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        level = [v for parent in level for v in _children(parent)]
        depth += 1
    return depth


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


def _cycle(schema: Mapping[str, Any]) -> str | None:
    """A local `$ref` that leads back to itself, or None. The API refuses recursion too."""
    finished: set[str] = set()

    def follow(node: Any, path: tuple[str, ...]) -> str | None:
        if isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str):
            if ref in path:
                return ref
            if ref not in finished and (found := follow(_at(schema, ref), (*path, ref))):
                return found
            finished.add(ref)
        return next((found for child in _children(node) if (found := follow(child, path))), None)

    return follow(schema, ("#",))


def _at(schema: Mapping[str, Any], ref: str) -> Any:
    """What a local reference names; None where there is nothing, which the library refuses."""
    node: Any = schema
    for part in ref.removeprefix("#").split("/")[1:] if ref.startswith("#") else ():
        key = part.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if ref.startswith("#") else None


def _closed(schema: Any) -> Any:
    """`schema` with every object that names its properties closed to others."""
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            closed[key] = {name: _closed(v) for name, v in value.items()}
        elif key in ("anyOf", "prefixItems") and isinstance(value, list):
            closed[key] = [_closed(v) for v in value]
        elif key in ("items", "additionalProperties"):
            closed[key] = _closed(value)
    if _names_all(schema) and not schema.keys() & {"additionalProperties", "anyOf", "$ref"}:
        closed["additionalProperties"] = False
    return closed


def _names_all(schema: Mapping[str, Any]) -> bool:
    """Whether the schema's `properties` has everything that it requires."""
    named, required = schema.get("properties"), schema.get("required", [])
    return (
        isinstance(named, Mapping)
        and isinstance(required, list)
        and all(isinstance(name, str) and name in named for name in required)
    )


def _sentence(message: str) -> str:
    """The library's message on one line, in words that a caller knows."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines and lines[0].startswith("regex parse error"):
        return "pattern: " + lines[-1].removeprefix("error: ")
    sentence = " ".join(lines)
    if sentence.startswith("Unimplemented keys: "):
        return "keywords that are not supported: " + sentence.removeprefix("Unimplemented keys: ")
    return sentence
