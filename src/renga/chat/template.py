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
from typing import Any, Final

from jinja2 import TemplateError

from renga.chat.sandbox import USUAL, Bounds, Sandbox

Now = Callable[[], datetime]
Message = dict[str, Any]
"""A message by the convention: role, content, and what goes with tools and thinking."""

# What a template may raise over a conversation: its own errors, and what its operators do.
REFUSALS: Final = (TemplateError, TypeError, ValueError, KeyError, RecursionError)

# How a thought begins in the templates that always begin one, whether it is asked for or not.
_OPENED = re.compile(r"<think(ing)?>\s*$")


@dataclass(frozen=True)
class Way:
    """A way to put calls into messages, of those that templates differ in: see `Abilities`."""

    short_ids: bool = False
    text_arguments: bool = False
    no_content: bool = False

    def message(
        self, *names: str, arguments: Message | None = None, content: str = "", thought: str = ""
    ) -> Message:
        """An answer with a call of each of the tools; `thought` is the key of its thinking."""
        given: Any = arguments or {"place": _VALUE}
        given = json.dumps(given) if self.text_arguments else given
        calls = [
            {"type": "function", "id": self._id(n), "function": {"name": name, "arguments": given}}
            for n, name in enumerate(names or [_NAME])
        ]
        said = None if self.no_content and not content else content
        message = {"role": "assistant", "content": said, "tool_calls": calls}
        return {**message, thought: _THOUGHT} if thought else message

    def result(self, number: int = 0, name: str = "look_outside") -> Message:
        """What came of the call of that number in a message."""
        return _said("tool", _RESULT) | {"tool_call_id": self._id(number), "name": name}

    def _id(self, number: int) -> str:
        long = f"toolu_0123456789abcdefghijklm{number}"
        return f"abcdefgh{number}" if self.short_ids else long


@dataclass(frozen=True)
class Abilities:
    """What a template can express.

    Attributes:
        tools: calls of tools and their results are shown.
        definitions: the tools themselves are shown, too.
        text_arguments: arguments of calls are taken as JSON text alone.
        no_content: a message of calls alone is one without content, not with an empty one.
        thought_key: what of a message holds its thinking.
        thought_or_text: beside a call there is room for one of the two alone.
        system_first: the system text stands before the tools.
        system_inside: a system message in mid-conversation stays where it is.
        user_after_results: the user may say something right behind the results of tools.
        short_ids: calls have ids of nine letters and digits, and no others.
        thinking: it makes a difference whether thinking is asked for.
        begins_thinking: where it is asked for, the answer begins inside a thought.
    """

    tools: bool
    definitions: bool
    text_arguments: bool
    no_content: bool
    thought_key: str
    thought_or_text: bool
    system_first: bool
    system_inside: bool
    user_after_results: bool
    short_ids: bool
    thinking: bool
    begins_thinking: bool

    @property
    def way(self) -> Way:
        """How calls are put into its messages."""
        return Way(self.short_ids, self.text_arguments, self.no_content)


class ModelTemplate:
    """A template that was compiled. Safe to use from several threads at once.

    Raises TemplateError where the source is none.
    """

    def __init__(
        self, source: str, special: dict[str, str], now: Now, bounds: Bounds = USUAL
    ) -> None:
        self._special = special
        self._sandbox = Sandbox(now, bounds)
        self._template = self._sandbox.compile_template(source)
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
        return self._sandbox.run(
            self._template,
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

_SYSTEM, _QUESTION, _LATER, _FINE = "Answer shortly.", "How is it?", "And now?", "Fine."
_RESULT, _VALUE, _NAME, _THOUGHT = "sunny", "Kyoto", "look_outside", "It may rain."
THOUGHT_KEYS: Final = ("reasoning_content", "thinking", "reasoning")
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "A town."}},
            "required": ["place"],
        },
    },
}


def _probe(template: ModelTemplate) -> Abilities:
    def shown(*messages: Message, tools: Sequence[Message] = (), thinking: bool = False) -> str:
        try:
            return template.render(messages, tools, thinking=thinking)
        except REFUSALS:
            return ""

    system, question = _said("system", _SYSTEM), _said("user", _QUESTION)
    head = shown(system, question, tools=[_TOOL])
    fine, later = _said("assistant", _FINE), _said("user", _LATER)
    inside = shown(question, fine, later, system, fine, question)
    thoughtful, plain = shown(question, thinking=True), shown(question)
    way = _way_to_call(lambda *messages: shown(question, *messages, tools=[_TOOL])) or Way()
    called = way.message(), way.result()
    with_call = shown(question, *called, tools=[_TOOL])
    key = _thought_key(lambda *messages: shown(question, *messages, tools=[_TOOL]), way)
    shows_calls = _VALUE in with_call and _RESULT in with_call
    both = way.message(content=_FINE, thought=key), way.result()
    return Abilities(
        tools=shows_calls,
        definitions="A town." in with_call,
        text_arguments=way.text_arguments,
        no_content=way.no_content,
        thought_key=key,
        thought_or_text=with_call != "" == shown(question, *both, tools=[_TOOL]),
        # Tools that are told in the system text stand at its end.
        system_first=-1 < head.find(_SYSTEM) < head.find("A town.")
        or (shows_calls and "A town." not in with_call),
        system_inside=-1 < inside.find(_LATER) < inside.find(_SYSTEM),
        user_after_results=shows_calls and _LATER in shown(question, *called, later, tools=[_TOOL]),
        short_ids=way.short_ids,
        thinking=thoughtful != plain or _OPENED.search(plain) is not None,
        begins_thinking=len(thoughtful) > len(plain) > 0
        and thoughtful.startswith(plain)
        or _OPENED.search(thoughtful) is not None,
    )


def _way_to_call(shown: Callable[..., str]) -> Way | None:
    """The first way in which calls and results are shown; without content where that says less."""
    for short, text in ((False, False), (True, False), (False, True), (True, True)):
        way, bare = Way(short, text), Way(short, text, no_content=True)
        full, empty = shown(way.message(), way.result()), shown(bare.message(), bare.result())
        if _is_called(empty) and not _is_called(full):
            return bare
        if _is_called(full):
            # Some write an answer of its own for an empty text, and no such for none.
            shorter = _is_called(empty) and len(empty) < len(full) and "None" not in empty
            return bare if shorter else way
    return None


def _is_called(text: str) -> bool:
    return _VALUE in text and _RESULT in text and '\\"' not in text


def _thought_key(shown: Callable[..., str], way: Way) -> str:
    """Under which key thinking is shown beside a call, in the words of the templates."""
    for key in THOUGHT_KEYS:
        if _THOUGHT in shown(way.message(thought=key), way.result()):
            return key
    return THOUGHT_KEYS[0]


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}
