"""A model's chat template: set up as `transformers` sets it up, and asked what it can express.

Owns: which functions and filters a template finds, and that what a template can express is found by
rendering with it, never by a model's name. It knows no prompts, no tokens and no cache.

Source of the convention: "Chat templates" and "Tool use" of the documentation of `transformers`,
which is the oracle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

Now = Callable[[], datetime]
Message = dict[str, Any]
"""A message by the convention: role, content, and what goes with tools and thinking."""

# What a template may raise over a conversation: its own errors, and what its operators do.
REFUSALS: Final = (TemplateError, TypeError, ValueError, KeyError, RecursionError)

# How a thought begins in the templates that always begin one, whether it is asked for or not.
_OPENED = re.compile(r"<think(ing)?>\s*$")


@dataclass(frozen=True)
class Abilities:
    """What a template can express.

    Attributes:
        tools: definitions of tools, calls and results are all shown.
        system_first: the system text stands before the tools.
        system_inside: a system message in mid-conversation stays where it is.
        user_after_results: the user may say something right behind the results of tools.
        short_ids: calls have ids of nine letters and digits, and no others.
        thinking: it makes a difference whether thinking is asked for.
        begins_thinking: where it is asked for, the answer begins inside a thought.
    """

    tools: bool
    system_first: bool
    system_inside: bool
    user_after_results: bool
    short_ids: bool
    thinking: bool
    begins_thinking: bool


class ModelTemplate:
    """A template that was compiled. Safe to use from several threads at once.

    Raises TemplateError where the source is none.
    """

    def __init__(self, source: str, special: dict[str, str], now: Now) -> None:
        self._special = special
        self._template = _compile(source, now)
        self.abilities = _probe(self)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None = None,
        *,
        answer: bool = True,
        thinking: bool = False,
    ) -> str:
        """What the template makes of a conversation; with `answer`, the beginning of one too.

        Raises one of REFUSALS.
        """
        return self._template.render(
            messages=messages,
            tools=tools or None,
            documents=None,
            add_generation_prompt=answer,
            # One word for it in most templates, another in some.
            enable_thinking=thinking,
            thinking=thinking,
            **self._special,
        )


# --- what it can express --------------------------------------------------------------------------

_SYSTEM, _QUESTION, _LATER = "Answer shortly.", "How is it?", "And now?"
_RESULT, _VALUE = "sunny", "Kyoto"
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "look_outside",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "A town."}},
            "required": ["place"],
        },
    },
}
_LONG_ID, _SHORT_ID = "toolu_0123456789abcdefghijklmn", "abcdefghi"


def _probe(template: ModelTemplate) -> Abilities:
    def shown(*messages: Message, tools: Sequence[Message] = (), thinking: bool = False) -> str:
        try:
            return template.render(messages, tools, thinking=thinking)
        except REFUSALS:
            return ""

    def with_call(id_: str, *behind: Message) -> str:
        """The text, where all of a tool, a call and its result is in it."""
        text = shown(_said("user", _QUESTION), *_called(id_), *behind, tools=[_TOOL])
        whole = all(part in text for part in ("look_outside", "A town.", _VALUE, _RESULT))
        return text if whole else ""

    system, question = _said("system", _SYSTEM), _said("user", _QUESTION)
    head = shown(system, question, tools=[_TOOL])
    fine, later = _said("assistant", "Fine."), _said("user", _LATER)
    inside = shown(question, fine, later, system, fine, question)
    thoughtful, plain = shown(question, thinking=True), shown(question)
    short_ids = with_call(_LONG_ID) == "" != with_call(_SHORT_ID)
    id_ = _SHORT_ID if short_ids else _LONG_ID
    return Abilities(
        tools=with_call(id_) != "",
        system_first=-1 < head.find(_SYSTEM) < head.find("look_outside"),
        system_inside=-1 < inside.find(_LATER) < inside.find(_SYSTEM),
        user_after_results=_LATER in with_call(id_, _said("user", _LATER)),
        short_ids=short_ids,
        thinking=thoughtful != plain or _OPENED.search(plain) is not None,
        begins_thinking=len(thoughtful) > len(plain) > 0
        and thoughtful.startswith(plain)
        or _OPENED.search(thoughtful) is not None,
    )


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _called(id_: str) -> list[Message]:
    """A call and its result."""
    call = {"name": "look_outside", "arguments": {"place": _VALUE}}
    return [
        _said("assistant", "")
        | {"tool_calls": [{"type": "function", "id": id_, "function": call}]},
        _said("tool", _RESULT) | {"tool_call_id": id_, "name": "look_outside"},
    ]


# --- how it is set up -----------------------------------------------------------------------------


class _Generation(Extension):
    """`{% generation %}` marks answers for training; for us its body is all there is to it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Replace the block by its body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compile(source: str, now: Now) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )

    def strftime_now(form: str) -> str:
        return now().strftime(form)

    environment.filters["tojson"] = _to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=strftime_now)
    return environment.from_string(source)


def _refuse(message: str) -> NoReturn:
    """What templates call where a conversation does not suit them."""
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without jinja2's escapes for HTML, which no model was trained on."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        allow_nan=False,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
