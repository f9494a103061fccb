"""A question made of a row: a text with `{column}` in it, and what the answer becomes.

Owns what stands for what: `{name}` for the column's value, `{{` and `}}` for braces. And how an
answer becomes columns: its text as one, or the properties of an object by a JSON Schema.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from renga.bulk.files import Row, text_of
from renga.errors import SetupError

_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
TYPES: Final = ("string", "integer", "number", "boolean", "array", "object")
_LEAST, _MOST = -(2**63), 2**63 - 1
_LARGEST: Final = sys.float_info.max


class RowFault(Exception):
    """What is wrong with one row, or with its answer; a sentence."""


@dataclass(frozen=True)
class Template:
    """A text in which columns stand: texts, and names between them."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Template:
        """`text` taken apart. Raises SetupError for a brace that stands alone."""
        texts, names, held, at = [], [], "", 0
        for match in _PART.finditer(text):
            held += text[at : match.start()]
            at = match.end()
            if match[0] in ("{{", "}}"):
                held += match[0][0]
            elif match[1] is None:
                raise SetupError(
                    f"--prompt: a single {match[0]!r} at character {match.start() + 1}",
                    "columns stand as {name}; write {{ or }} for a brace",
                )
            else:
                texts.append(held)
                names.append(match[1].strip())
                held = ""
        return cls((*texts, held + text[at:]), tuple(names))

    def check(self, columns: Sequence[str]) -> None:
        """Raise SetupError where a name is none of `columns`, or no column is asked about."""
        if not self.names:
            raise SetupError(
                "--prompt names no column, so that every row would be asked the same",
                "columns stand as {name}: " + ", ".join(columns),
            )
        for name in self.names:
            if name not in columns:
                near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
                did = f"did you mean {{{near[0]}}}? " if near else ""
                raise SetupError(
                    f"--prompt names {{{name}}}, which is no column",
                    f"{did}columns: {', '.join(columns)}",
                )

    def fill(self, row: Row) -> str:
        """The text for `row`. Raises RowFault where a column is not there."""
        parts = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            if name not in row:
                raise RowFault(f"there is no column {name!r} in this row")
            parts += (text_of(row[name]), text)
        return "".join(parts)


@dataclass(frozen=True)
class Shape:
    """What an answer becomes: one column of text, or a column for each property of a schema."""

    columns: tuple[str, ...]
    types: Mapping[str, str]
    schema: Mapping[str, Any] | None = None

    @classmethod
    def text(cls, column: str) -> Shape:
        """One column of text."""
        return cls((column,), {column: "string"})

    @classmethod
    def of(cls, schema: object) -> Shape:
        """By a JSON Schema. Raises SetupError where it describes no object with properties."""
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(schema, dict) or not isinstance(properties, dict) or not properties:
            raise SetupError(
                "--schema describes no object with properties",
                'such as {"type": "object", "properties": {"topic": {"type": "string"}}}',
            )
        whole = {"type": "object", "additionalProperties": False, **schema}
        whole.setdefault("required", list(properties))
        types = {
            name: found["type"]
            for name, found in properties.items()
            if isinstance(found, dict) and found.get("type") in TYPES
        }
        return cls(tuple(properties), types, whole)

    def check(self, columns: Sequence[str]) -> None:
        """Raise SetupError where the input has a column of the same name."""
        for name in self.columns:
            if name in columns:
                raise SetupError(
                    f"the input has a column {name!r}, which the answers would overwrite",
                    "name another with --column" if self.schema is None else "rename the property",
                )

    def read(self, text: str) -> str:
        """What is kept of an answer, as JSON. Raises RowFault where it is no object asked for."""
        if self.schema is None:
            return json.dumps(text, ensure_ascii=False)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise RowFault(f"the answer is no JSON: {text[:200]!r}") from error
        if not isinstance(found, dict):
            raise RowFault(f"the answer is no JSON object: {text[:200]!r}")
        for name, type_ in self.types.items():
            if not _fits(found.get(name), type_):
                raise RowFault(f"{name!r} of the answer fits no column of {type_}: {text[:200]!r}")
        return text

    def values(self, kept: str) -> dict[str, Any]:
        """The columns of what `read` kept."""
        found = json.loads(kept)
        if self.schema is None:
            return {self.columns[0]: found}
        return {name: found.get(name) for name in self.columns}


def _fits(value: object, type_: str) -> bool:
    """Whether a column of `type_` holds `value`; those of numbers have 64 bits, as files do."""
    if value is None:
        return True
    if type_ == "boolean":
        return isinstance(value, bool)
    if type_ not in ("integer", "number"):
        return True  # it is written as text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if type_ == "number":
        return abs(value) <= _LARGEST
    return _LEAST <= value <= _MOST and value == int(value)


@dataclass(frozen=True)
class Question:
    """What is asked of every row, and what its answer becomes."""

    prompt: Template
    shape: Shape
    model: str
    max_tokens: int
    system: str | None = None
    temperature: float | None = None

    def body(self, row: Row) -> dict[str, Any]:
        """The request for `row`, as it is sent. Raises RowFault."""
        content = self.prompt.fill(row)
        if not content.strip():
            raise RowFault("its prompt is empty")
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": content}],
        }
        if self.system is not None:
            body["system"] = self.system
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.shape.schema is not None:
            body["output_config"] = {
                "format": {"type": "json_schema", "schema": dict(self.shape.schema)}
            }
        return body
