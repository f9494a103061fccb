"""Finding tools by what is written about them: by regular expression, or by the words of a query.

Owns what is searched (names, descriptions, argument names, their descriptions), how many are found,
and in which order. A pattern is followed by an engine whose time grows linearly with the text, so
that no pattern can hold the server up; what such an engine cannot follow (lookaround, references
back) is refused. Knows no requests, models or streams.

Sources: "Tool search tool" of the API's documentation for the fields, the limits and the order;
Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009) for the score.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

from renga.toolkit.client_tools import LONGEST_PATTERN, LONGEST_QUERY
from renga.toolkit.specs import ToolSpec

MOST_FOUND: Final = 5

# How fast repeated words count less, and how much long texts do: the paper's usual values.
_K1: Final = 1.2
_B: Final = 0.75

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


class InvalidSearch(ValueError):
    """The pattern or query cannot be followed; says why in one sentence."""


def find_by_pattern(specs: Sequence[ToolSpec], pattern: str) -> list[ToolSpec]:
    """The tools about which something is written that matches, those matching by name first.

    Matches anywhere in a text, as `re.search` does; `(?i)` makes it blind to case.

    Raises:
        InvalidSearch: `pattern` is too long, or no regular expression that can be followed.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidSearch(f"the pattern has {len(pattern)} characters; most: {LONGEST_PATTERN}")
    matches = _compiled(pattern)
    named = [matches(spec.name) for spec in specs]
    by_name = (spec for spec, is_named in zip(specs, named, strict=True) if is_named)
    others = (
        spec
        for spec, is_named in zip(specs, named, strict=True)
        if not is_named and any(matches(text) for text in _written(spec))
    )
    return list(islice(chain(by_name, others), MOST_FOUND))


def _compiled(pattern: str) -> Callable[[str], bool]:
    """Whether a text holds what `pattern` describes.

    It is Rust's regex engine, which pydantic brings: its time is linear in the text.
    """
    try:
        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
        validator = SchemaValidator(schema)
    except SchemaError as error:
        raise InvalidSearch(
            "the pattern is no regular expression that can be followed; lookaround, references "
            "back and very large repetitions are not supported"
        ) from error

    def matches(text: str) -> bool:
        try:
            validator.validate_python(text)
        except ValidationError:
            return False
        return True

    return matches


def find_by_words(specs: Sequence[ToolSpec], query: str) -> list[ToolSpec]:
    """The tools that share words with `query`, best first by BM25; equals in their own order.

    Raises:
        InvalidSearch: `query` is too long.
    """
    if len(query) > LONGEST_QUERY:
        raise InvalidSearch(f"the query has {len(query)} characters; most: {LONGEST_QUERY}")
    asked = set(_words(query))
    texts = [Counter(word for text in _written(spec) for word in _words(text)) for spec in specs]
    lengths = [counts.total() for counts in texts]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    weights = {word: _weight(sum(word in text for text in texts), len(texts)) for word in asked}
    scored = []
    for spec, text, length in zip(specs, texts, lengths, strict=True):
        score = sum(
            weights[word] * text[word] * (_K1 + 1)
            / (text[word] + _K1 * (1 - _B + _B * length / mean))
            for word in sorted(asked & text.keys())
        )  # fmt: skip
        if score:
            scored.append((score, spec))
    scored.sort(key=lambda found: -found[0])
    return [spec for _, spec in scored[:MOST_FOUND]]


def _weight(holding: int, total: int) -> float:
    """The inverse document frequency of a word that `holding` of `total` texts have; above 0."""
    return math.log(1 + (total - holding + 0.5) / (holding + 0.5))


def _words(text: str) -> Iterator[str]:
    """Lower-case words; `readFile` and `read_file` are two words each."""
    return (word.lower() for word in _WORD.findall(text))


def _written(spec: ToolSpec) -> Iterator[str]:
    """Everything that is searched of a tool."""
    yield spec.name
    yield spec.description
    waiting: list[Any] = [spec.schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting.extend(reversed(found))
        elif isinstance(found, dict):
            properties = found.get("properties")
            for name, what in properties.items() if isinstance(properties, dict) else ():
                yield name
                if isinstance(what, dict) and isinstance(what.get("description"), str):
                    yield what["description"]
            waiting.extend(value for value in found.values() if isinstance(value, (dict, list)))
