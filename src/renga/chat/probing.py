"""How a model writes what is not plain text, found by what its chat template renders.

Owns the rule that a model's forms are those of its template, whatever it is called: a form of calls
is its own where that form's reader reads a call back that the template wrote, and thinking stands
between what the template writes around it. It knows no prompts and no engine.

Source of the convention: "Chat templates" of the documentation of `transformers`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from renga.chat.forms import FORMS, CallBegin, CallJson, Form, Reader
from renga.chat.template import REFUSALS, ModelTemplate


@dataclass(frozen=True)
class ThoughtMarks:
    """What a template writes around thinking; `marker` is the one token that closes it."""

    opening: str
    closing: str
    marker: str


@dataclass(frozen=True)
class Forms:
    """How a model writes what is not plain text; None where it cannot, or nobody here knows."""

    call: Form | None = None
    thought: ThoughtMarks | None = None


_OPENED = re.compile(r"<(?P<tag>\w+)>\s*$")

_NAME_ASKED, _ARGUMENTS = "look_outside", {"place": "Kyoto", "days": [1, 2]}
_FUNCTION = {
    "name": _NAME_ASKED,
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "array"}},
    },
}
_QUESTION = {"role": "user", "content": "How is it?"}
_THOUGHT, _ANSWER = "It may rain.", "Fine."


def forms_of(template: ModelTemplate, markers: Collection[str]) -> Forms:
    """The forms of a chat template, found by what it renders. `markers` are the added tokens."""
    thought = None
    if template.abilities.thinking:
        thought = _shown_marks(template, markers) or _opened_marks(template, markers)
    return Forms(_call_form(template) if template.abilities.tools else None, thought)


def _call_form(template: ModelTemplate) -> Form | None:
    id_ = "abcdefghi" if template.abilities.short_ids else "toolu_0123456789abcdefghijklmn"
    function = {"name": _NAME_ASKED, "arguments": _ARGUMENTS}
    calls = [{"type": "function", "id": id_, "function": function}]
    rendered = _rendered(
        template,
        _QUESTION,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "sunny", "tool_call_id": id_, "name": _NAME_ASKED},
        tools=[{"type": "function", "function": _FUNCTION}],
    )
    return form_of(rendered, _NAME_ASKED, _ARGUMENTS)


def form_of(rendered: str, name: str, arguments: dict[str, Any]) -> Form | None:
    """The form in which a chat template wrote the call of `name` that stands in `rendered`."""
    for form in FORMS:
        reader = Reader(form)
        parts = reader.feed(rendered) + reader.finish(cut=True)
        for i, part in enumerate(parts):
            if part == CallBegin(name):
                written = [p.json for p in parts[i:] if isinstance(p, CallJson)]
                if json.loads("".join(written)) == arguments:
                    return form
    return None


def _shown_marks(template: ModelTemplate, markers: Collection[str]) -> ThoughtMarks | None:
    """What stands around a thought, where a token of its own closes it and another opens it."""
    answer = {"role": "assistant", "content": _ANSWER}
    text = _rendered(template, _QUESTION, answer | {"reasoning_content": _THOUGHT})
    before, thought, after = text.partition(_THOUGHT)
    closing, answered, _ = after.partition(_ANSWER)
    closers = [marker for marker in markers if marker in closing]
    openers = [marker for marker in markers if marker in before]
    if not thought or not answered or len(closers) != 1 or not openers:
        return None
    at = max(before.rfind(marker) for marker in openers)
    # Of an answer that is not the last no template shows thinking that is not there.
    plain = _rendered(template, _QUESTION, answer, _QUESTION)
    if any(before.startswith(marker, at) and marker in plain for marker in openers):
        return None
    return ThoughtMarks(before[at:], closing, closers[0])


def _opened_marks(template: ModelTemplate, markers: Collection[str]) -> ThoughtMarks | None:
    """The tag that an answer begins with, in templates that show no thoughts, and its end."""
    opened = _OPENED.search(_rendered(template, _QUESTION, answer=True))
    if opened is None or (closer := f"</{opened['tag']}>") not in markers:
        return None
    return ThoughtMarks(opened[0], f"\n{closer}\n\n", closer)


def _rendered(
    template: ModelTemplate,
    *messages: dict[str, Any],
    tools: Sequence[dict[str, Any]] = (),
    answer: bool = False,
) -> str:
    try:
        return template.render(messages, tools, answer=answer, thinking=True)
    except REFUSALS:
        return ""
