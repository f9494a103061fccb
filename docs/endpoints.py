"""The pages of `docs/endpoints`: what the OpenAPI document says of each endpoint, for people.

Owns how a schema is told in words. What is told stands in `renga.http.openapi`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from renga.http.described import Operation
from renga.http.multipart import FORM
from renga.http.openapi import STREAM, document
from renga.http.operations import OPERATIONS

JSON = "application/json"
Schema = dict[str, Any]

KEYED = "Asks for a key: `x-api-key: KEY` or `authorization: Bearer KEY`."
KEYLESS = "Asks for no key."


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(c.replace("|", "\\|") for c in r) + " |\n" for r in lines)


def slug(operation: Operation) -> str:
    """The name of its page."""
    return operation.name.replace("_", "-")


def index() -> str:
    """All endpoints, with their pages."""
    rows = [
        [f"[`{o.method.upper()} {o.path}`](endpoints/{slug(o)}.md)", o.about] for o in OPERATIONS
    ]
    return table(("endpoint", "what it does"), rows)


def page(operation: Operation) -> str:
    """What there is to know of one endpoint."""
    whole = document()
    described = whole["paths"][operation.path][operation.method]
    components: dict[str, Schema] = whole["components"]["schemas"]
    parts = [f"`{operation.method.upper()} {operation.path}`", operation.about]
    parts.append(KEYED if operation.keyed else KEYLESS)
    told: set[str] = set()
    if described.get("parameters"):
        parts += ["## Parameters", _parameters(described["parameters"])]
    if operation.body is not None:
        schema = described["requestBody"]["content"][JSON]["schema"]
        parts += ["## Request", *_types(schema, components, told)]
    if operation.form is not None:
        schema = described["requestBody"]["content"][FORM]["schema"]
        parts += ["## Request", f"`{FORM}` with these parts:", _fields(schema)]
    content = described["responses"]["200"]["content"]
    answer = content[JSON]["schema"] if JSON in content else content["*/*"]["schema"]
    parts += ["## Answer", *_types(answer, components, told)]
    if STREAM in content:
        about = "With `stream`, each event's data is one of these:"
        parts += ["## Stream", about, *_types(_data(content), components, told)]
    failures = {s: r for s, r in described["responses"].items() if s != "200"}
    if failures:
        rows = [[status, r["description"]] for status, r in failures.items()]
        parts += ["## Other statuses", table(("status", ""), rows)]
        schema = next(iter(failures.values()))["content"][JSON]["schema"]
        parts += _types(schema, components, told)
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _data(content: Schema) -> Schema:
    """What the data of an event is, the last one's left out where that is no JSON."""
    data = content[STREAM]["schema"]["properties"]["data"]
    found: Schema = data.get("anyOf", [data])[0]["contentSchema"]
    return found


def _parameters(found: list[Schema]) -> str:
    rows = (
        [
            f"`{p['name']}`",
            p["in"],
            "yes" if p["required"] else "",
            words(p["schema"]),
            p["description"],
        ]
        for p in found
    )
    return table(("name", "where", "needed", "type", "what it says"), rows)


def _types(schema: Schema, components: dict[str, Schema], told: set[str]) -> Iterator[str]:
    """`schema`, then every type that it leads to, each once a page."""
    if "$ref" not in schema:
        yield words(schema)
    waiting = list(_references(schema))
    while waiting:
        name = waiting.pop(0)
        if name in told:
            continue
        told.add(name)
        component = components[name]
        yield f"### {name}"
        yield component.get("description", "")
        yield _fields(component)
        waiting += _references(component)


def _fields(schema: Schema) -> str:
    properties: dict[str, Schema] = schema.get("properties", {})
    if not properties:
        return "" if schema.get("type") == "object" else words(schema)
    needed = schema.get("required", ())
    rows = (
        [
            f"`{name}`",
            "yes" if name in needed else "",
            words(field),
            field.get("description", ""),
        ]
        for name, field in properties.items()
    )
    return table(("field", "needed", "type", "what it says"), rows)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            elif key != "discriminator":
                yield from _references(value)


def words(schema: Schema) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(words(one) for one in schema[union])
    if schema.get("type") == "array":
        return f"list of {words(schema['items'])}" if schema.get("items") else "list"
    kind: str = schema.get("type", "any JSON")
    if schema.get("format") == "binary":
        return "bytes"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        inner = schema["additionalProperties"]
        return f"object of {words(inner)}" if inner else "object"
    return kind + _bounds(schema)


def _bounds(schema: Schema) -> str:
    told = [
        f"{sign} {schema[key]:,}" if isinstance(schema[key], int) else f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
            ("minLength", "length ≥"),
            ("maxLength", "length ≤"),
        )
        if key in schema
    ]
    return f" ({', '.join(told)})" if told else ""
