"""Grammars made of grammars: one or another of two, and any text that holds no call.

Owns the rule that what is put together means what its parts meant alone: each stays a grammar of
its own, with its own names. It knows no schemas and no tools.

Source: llguidance's documentation, "Grammar syntax": a JSON object of named grammars, which a first
one calls by `@name`.
"""

from __future__ import annotations

import json
import re
from typing import Any


def text_grammar(mark: str) -> str:
    """A grammar for any text in which `mark` does not stand."""
    literal = re.escape(mark).replace("/", r"\/")
    return f"start: TEXT\nTEXT: /(?s:.*)/ & ~/(?s:.*){literal}(?s:.*)/\n"


def either_grammar(one: str, other: str, opening: str = "") -> str:
    """A grammar for what one of two follows; `opening`, as Lark, stands before the first."""
    first = {"lark_grammar": f"start: {opening} @one | @other"}
    return json.dumps({"grammars": [first, *_named(one, "one"), *_named(other, "other")]})


def _named(grammar: str, name: str) -> list[dict[str, Any]]:
    """A grammar by itself, which is Lark text or an object with one grammar, under a name."""
    if not grammar.startswith("{"):
        return [{"name": name, "lark_grammar": grammar}]
    (alone,) = json.loads(grammar)["grammars"]
    return [{**alone, "name": name}]
