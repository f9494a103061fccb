"""What a request demands of its answer: how long it may think, what it must follow, where it ends.

Owns four rules: how much thinking an effort is worth, and that an effort worth none begins none;
how the choice of tools becomes a grammar, a trigger, or neither; that an answer with a form and
with tools is one or the other; and that where only calls are wanted, no stop sequence ends them.
It submits nothing and renders nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from renga.chat.calling import ToolGrammars
from renga.chat.forms import Form, Tool, Words
from renga.chat.grammars import either_grammar, text_grammar
from renga.chat.render import ChatTemplate
from renga.chat.schema import FIELD, grammar_of
from renga.conversation import is_prefilled
from renga.engine.messages import Thinking
from renga.errors import InvalidRequest
from renga.toolkit import ToolSpec, specs_of, visible
from renga.types import (
    AnyChoice,
    AutoChoice,
    Effort,
    JsonFormat,
    JsonObjectFormat,
    MessagesRequest,
    NamedChoice,
    NoChoice,
    Prompt,
    ThinkingAdaptive,
    ThinkingEnabled,
)

# Tokens of thinking that an effort is worth, at most half of what may come; None is that half.
EFFORTS: Final[dict[Effort, int | None]] = {
    "low": 0,
    "medium": 1_024,
    "high": 4_096,
    "xhigh": 16_384,
    "max": None,
}
# Of one number, in a row: room for every integer of 64 bits, and for more than a float keeps.
MOST_DIGITS: Final = 20
USUAL_EFFORT: Final[Effort] = "high"


@dataclass(frozen=True)
class Demand:
    """What becomes of one request.

    Attributes:
        prompt: the request as it is to be rendered: with thinking asked for, or without.
        thinks: whether the answer begins with thinking.
        grammar: what the answer follows; with a `trigger`, from that token on.
        quiet: the token from which on no stop sequence holds, where that is not the trigger.
        digits: the most of a number in JSON, in a row, where the grammar writes JSON.
        blamed: the field whose fault it is where the grammar cannot be followed.
        form: how calls are written, where there may be some.
        tools: those that may be called, by name.
        shown: special tokens that the form's reader must see.
        opening: what the answer begins with, where it can be nothing but plain text.
        stop: the stop sequences that hold.
        toolsets: the sets of the tools that are members of one.
    """

    prompt: Prompt
    thinks: bool = False
    grammar: str | None = None
    trigger: int | None = None
    quiet: int | None = None
    digits: int | None = None
    blamed: str = FIELD
    form: Form | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)
    shown: tuple[int, ...] = ()
    opening: str = ""
    stop: tuple[str, ...] = ()
    toolsets: dict[str, str] = field(default_factory=dict)


def prompt_of(request: Prompt, template: ChatTemplate) -> Demand:
    """As much of what `request` demands as its prompt's tokens depend on; makes no grammar.

    Raises InvalidRequest where that cannot be.
    """
    thinks = template.forms.thought is not None and wants_thinking(request)
    prompt = request if thinks else request.model_copy(update={"thinking": None})
    form, begun = template.forms.call, is_prefilled(request)
    if begun and request.output_config is not None and request.output_config.format is not None:
        raise InvalidRequest(
            "output_config.format: cannot be combined with a final assistant message; "
            "leave one of them out"
        )
    if form is None and request.tools:
        raise InvalidRequest(
            "tools: this model writes calls in a form that this server does not know; "
            "leave them out or ask another model"
        )
    opening = form.opening if form is not None and not begun else ""
    return Demand(prompt, thinks, opening="" if opening and _callable(request) else opening)


def demand_of(request: Prompt, template: ChatTemplate, grammars: ToolGrammars) -> Demand:
    """What `request` demands. Raises InvalidRequest where that cannot be."""
    read = prompt_of(request, template)
    config = request.output_config
    in_json = config is not None and isinstance(config.format, JsonFormat | JsonObjectFormat)
    answer = grammar_of(request)
    plain = replace(read, grammar=answer, digits=MOST_DIGITS if in_json else None)
    if isinstance(request, MessagesRequest):
        plain = replace(plain, stop=tuple(request.stop_sequences))
    form = template.forms.call
    if form is None or not request.tools:
        return plain
    if isinstance(request.tool_choice, NoChoice):
        return replace(plain, grammar=answer or _without_calls(form))
    return _with_tools(request, form, plain, grammars, template.tokenizer.markers)


def _callable(request: Prompt) -> list[ToolSpec]:
    """The tools that the answer may call."""
    if not request.tools or isinstance(request.tool_choice, NoChoice):
        return []
    if isinstance(request.tool_choice, NamedChoice):
        name = request.tool_choice.name
        return [spec for spec in specs_of(request) if spec.name == name]
    return visible(request)


def _with_tools(
    request: Prompt, form: Form, plain: Demand, grammars: ToolGrammars, markers: Mapping[str, int]
) -> Demand:
    """`plain`, with calls of tools as the request's choice has it."""
    choice, tools = request.tool_choice or AutoChoice(), _callable(request)
    if not tools:  # all of them are yet to be found
        return replace(plain, grammar=plain.grammar or _without_calls(form))
    forced = isinstance(choice, AnyChoice | NamedChoice)
    if is_prefilled(request) and (form.bare or form.opening):
        # The text that is begun is no place for a call in such forms.
        if forced:
            raise InvalidRequest(
                "tool_choice: this model cannot call a tool behind a final assistant message; "
                "leave one of them out"
            )
        return plain
    calls = grammars(
        tools,
        form,
        lazy=not forced and plain.grammar is None,
        parallel=isinstance(choice, NoChoice) or not choice.disable_parallel_tool_use,
        markers=_known(form, markers),
    )
    grammar, quiet = calls.grammar, markers.get(form.quiet or form.begin)
    if plain.grammar is not None and not forced:
        opening = Words(markers).literal(form.opening) if form.opening else ""
        grammar = either_grammar(plain.grammar, grammar, opening)
    return replace(
        plain,
        grammar=grammar,
        trigger=calls.trigger,
        quiet=None if calls.trigger is not None else quiet,
        digits=MOST_DIGITS,
        blamed="tools",
        form=form,
        tools={spec.name: Tool(spec.name, spec.schema) for spec in tools},
        shown=tuple(form.shown(markers)),
        opening="",
        stop=() if forced else plain.stop,
        toolsets={spec.name: spec.toolset for spec in tools if spec.toolset is not None},
    )


def _without_calls(form: Form) -> str | None:
    """A grammar for text that is no call, where a mark would say that it is one."""
    return text_grammar(form.begin) if form.begin else None


def _known(form: Form, markers: Mapping[str, int]) -> dict[str, int]:
    """The markers that stand in what the form writes."""
    shown = set(form.shown(markers))
    return {marker: token for marker, token in markers.items() if token in shown}


def effort_of(prompt: Prompt) -> Effort:
    """The effort that the answer is worth: what was said of it last."""
    for message in reversed(prompt.messages):
        if message.output_config is not None and message.output_config.effort is not None:
            return message.output_config.effort
    config = prompt.output_config
    return config.effort if config is not None and config.effort is not None else USUAL_EFFORT


def wants_thinking(prompt: Prompt) -> bool:
    """Whether the answer is to begin with thinking; one that is begun already cannot."""
    if isinstance(prompt.thinking, ThinkingAdaptive):
        return EFFORTS[effort_of(prompt)] != 0 and not is_prefilled(prompt)
    return isinstance(prompt.thinking, ThinkingEnabled) and not is_prefilled(prompt)


def budget_of(request: MessagesRequest, room: int) -> int:
    """How many tokens of thinking the answer may begin with, where the window has `room` for it."""
    if isinstance(request.thinking, ThinkingEnabled):
        return request.thinking.budget_tokens
    worth = EFFORTS[effort_of(request)]
    half = min(request.max_tokens, room) // 2
    return half if worth is None else min(worth, half)


def opened_by(tokens: list[int], demand: Demand, template: ChatTemplate) -> list[int]:
    """The prompt's tokens, with the beginning of a thought where one is wanted and not there.

    Where none is, with that of a plain answer, if it can be nothing else.
    """
    marks = template.forms.thought
    wanted = marks.opening if marks is not None and demand.thinks else demand.opening
    if not wanted:
        return tokens
    opening = template.tokenizer.encode(wanted)
    return tokens if tokens[-len(opening) :] == opening else tokens + opening


def thinking_of(
    tokens: list[int], demand: Demand, template: ChatTemplate, window: int
) -> Thinking | None:
    """What the engine is told of thinking, for a prompt of these tokens; None where it has none.

    A template may begin a thought that nobody wants: it is closed at once.
    """
    marks = template.forms.thought
    if marks is None:
        return None
    tokenizer = template.tokenizer
    opening = tokenizer.encode(marks.opening)
    if tokens[-len(opening) :] != opening or is_prefilled(demand.prompt):
        return None
    request = demand.prompt
    end = tokenizer.encode(marks.closing + demand.opening)
    budget = 0
    if demand.thinks and isinstance(request, MessagesRequest):
        # What closes a thought is part of it.
        budget = max(0, budget_of(request, window - len(tokens)) - len(end))
    return Thinking(end=end, marker=tokenizer.markers[marks.marker], budget=budget)
