"""What a model's text is made of, as it is read: text, and calls in pieces.

Owns the order of a call's parts: its name, its arguments as they come, its end. It knows no form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Names that a tool can have ("tools", in the API's reference); another name is of no tool.
NAME = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Text:
    """More of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call of the tool of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class CallJson:
    """More of the call's arguments: all of them joined are the beginning of a JSON object."""

    json: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """Nothing more of that call. `whole` is whether its arguments are a whole object."""

    whole: bool


Part = Text | CallBegin | CallJson | CallEnd
