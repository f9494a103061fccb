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
from dataclasses import dataclass, replace
from typing import Any

from renga.chat.forms import FORMS, CallBegin, CallEnd, CallJson, Form, Part, Reader, Tool
from renga.chat.template import REFUSALS, THOUGHT_KEYS, ModelTemplate


@dataclass(frozen=True)
class ThoughtMarks:
    """What a template writes around thinking; `marker` is the one token that closes it."""

    opening: str
    closing: str
    marker: str


@dataclass(frozen=True)
class Forms:
    """How a model writes what is not plain text; None where it cannot, or nobody here knows.

    `ends` are the tokens, as text, that a template writes behind an answer: they end a turn.
    """

    call: Form | None = None
    thought: ThoughtMarks | None = None
    ends: tuple[str, ...] = ()


def words_of(forms: Forms) -> tuple[str, str]:
    """What a model can and cannot do with tools and thinking, as two phrases."""
    tools = "no tools: its chat template shows calls in no form that is known here"
    if forms.call is not None:
        several = "several at once" if forms.call.parallel else "one at a time"
        tools = f"tools: calls in the form '{forms.call.name}', {several}"
    thinking = "no thinking: its chat template shows none between marks of its own"
    if forms.thought is not None:
        begin, end = forms.thought.opening.strip(), forms.thought.closing.strip()
        thinking = f"thinking: between {begin} and {end}"
    return tools, thinking


_OPENED = re.compile(r"<(?P<tag>\w+)>\s*$")

_NAMES = ("look_outside", "ask_around")
_PLACE = "Kyoto"
_ARGUMENTS = {"place": _PLACE, "days": [1, 2]}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Tells the weather.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "array"}},
            },
        },
    }
    for name in _NAMES
]
_QUESTION = {"role": "user", "content": "How is it?"}
_THOUGHT, _ANSWER = "It may rain.", "Fine."


def forms_of(template: ModelTemplate, markers: Collection[str]) -> Forms:
    """The forms of a chat template, found by what it renders. `markers` are the added tokens."""
    call = _call_form(template)
    thought = _shown_marks(template, call, markers)
    if thought is None and template.abilities.thinking:
        thought = _opened_marks(template, markers)
    return Forms(call, thought, _ends(template, call, markers))


def _call_form(template: ModelTemplate) -> Form | None:
    """The form of its calls, with what the template says of it by the way."""
    if not template.abilities.tools:
        return None
    rendered = _with_calls(template, _NAMES[0])
    asked = _rendered(template, _QUESTION, tools=_TOOLS, answer=True)
    form = form_of(rendered, _NAMES[0], _ARGUMENTS, behind=asked)
    if form is None or not (template.abilities.definitions or form.prompt):
        return None
    both = _with_calls(template, *_NAMES)
    parallel = form.parallel and _is_read(form, both, _NAMES[1])
    spaced = json.dumps(_ARGUMENTS["days"]) in rendered.removeprefix(asked)
    return replace(form, parallel=parallel, spaced=spaced)


def _with_calls(template: ModelTemplate, *names: str) -> str:
    """What a template makes of a call of each of these tools, and of what came of them."""
    way = template.abilities.way
    message = way.message(*names, arguments=_ARGUMENTS)
    results = [way.result(n, name) for n, name in enumerate(names)]
    return _rendered(template, _QUESTION, message, *results, tools=_TOOLS)


def form_of(
    rendered: str, name: str, arguments: dict[str, Any], *, behind: str = ""
) -> Form | None:
    """The form in which a chat template wrote the call of `name` that stands in `rendered`.

    The first that writes exactly what stands there, or else that reads it. `behind` is what stands
    before the answer that has the call, for forms that know no mark.
    """
    tools = {name: Tool(name, {})}
    readers = []
    for form in FORMS:
        answer = rendered.removeprefix(behind) if form.bare else rendered
        if form.bare and answer == rendered:
            continue
        reader = Reader(form, tools)
        parts = reader.feed(answer) + reader.finish(cut=True)
        for i, part in enumerate(parts):
            if part == CallBegin(name) and _arguments(parts[i + 1 :]) == arguments:
                readers.append(form)
    for form in readers:
        if any(
            replace(form, spaced=s).write([(name, arguments)]) in rendered for s in (False, True)
        ):
            return form
    return readers[0] if readers else None


def _is_read(form: Form, rendered: str, name: str) -> bool:
    """Whether the form reads a call of that tool in what a template wrote."""
    reader = Reader(form, {one: Tool(one, {}) for one in _NAMES})
    return CallBegin(name) in reader.feed(rendered) + reader.finish(cut=True)


def _arguments(parts: Sequence[Part]) -> Any:
    """What the call was given whose first part stands before these; None where it broke off."""
    written = ""
    for part in parts:
        if isinstance(part, CallJson):
            written += part.json
        elif part == CallEnd(whole=True):
            return json.loads(written)
        else:
            break
    return None


def _ends(template: ModelTemplate, call: Form | None, markers: Collection[str]) -> tuple[str, ...]:
    """The tokens that come behind an answer of text, and behind one of a call."""
    answer = {"role": "assistant", "content": _ANSWER}
    behind = _rendered(template, _QUESTION, answer, _QUESTION).partition(_ANSWER)[2]
    found = [_leading(behind, markers)]
    if call is not None:
        rendered = _with_calls(template, _NAMES[0])
        last = max(rendered.rfind(value) + len(value) for value in (_PLACE, "2]"))
        called = rendered[last:].lstrip(" \n]}")
        closed = call.end or call.shape.end
        found.append(_leading(called.partition(closed)[2] if closed else called, markers))
    return tuple(dict.fromkeys(end for end in found if end))


def _leading(text: str, markers: Collection[str]) -> str:
    """The marker that `text` begins with, white space aside; the longest, or nothing."""
    text = text.lstrip()
    return max((one for one in markers if text.startswith(one)), key=len, default="")


def _shown_marks(
    template: ModelTemplate, call: Form | None, markers: Collection[str]
) -> ThoughtMarks | None:
    """What stands around a thought, where a token of its own closes it and another opens it."""
    answer = {"role": "assistant", "content": _ANSWER}
    text = ""
    for key in THOUGHT_KEYS:
        if _THOUGHT not in text:
            text = _rendered(template, _QUESTION, answer | {key: _THOUGHT})
    before, thought, after = text.partition(_THOUGHT)
    closing, answered, _ = after.partition(_ANSWER)
    openers = [marker for marker in markers if marker in before]
    closer = _leading(closing, markers)
    if not thought or not answered or not closer or not openers:
        return None
    asked = _rendered(template, _QUESTION, answer=True)
    opening = before.removeprefix(asked) if before.startswith(asked) else ""
    if not any(marker in opening for marker in openers):
        opening = before[max(before.rfind(marker) for marker in openers) :]
    if call is not None:
        closing = closing.removesuffix(call.opening)
    # Of an answer that is not the last no template shows thinking that is not there.
    plain = _rendered(template, _QUESTION, answer, _QUESTION)
    if opening.strip() in plain.replace(opening.strip() + closing.strip(), ""):
        return None
    return ThoughtMarks(opening, closing, closer)


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
