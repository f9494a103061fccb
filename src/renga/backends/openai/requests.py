"""A Messages request as OpenAI's chat API has it: the body of `/chat/completions`.

Owns what becomes of each field. What a model reads is `renga.reading`'s, so that a remote model is
given what one here would be: blocks of a turn are paragraphs, results of tools are messages, system
text stands where it stood. Images become `data:` URLs in their places; in results of tools, which
hold text alone there, behind them. Where servers differ, the row in `quirks` is asked.

Source: the types of the official `openai` package, 3.54, and those named in `quirks`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from renga.backends.openai.quirks import Quirks
from renga.chat.demand import USUAL_EFFORT, effort_of, wants_thinking
from renga.conversation import is_prefilled
from renga.media.placing import Placed, mark_of
from renga.reading import Block, Call, Result, Text, Thought, WrittenTurn, written_turns
from renga.toolkit import ToolSpec, definition, visible
from renga.types import (
    AnyChoice,
    Base64Image,
    ChoiceFormat,
    Effort,
    JsonFormat,
    JsonObjectFormat,
    MessagesRequest,
    NamedChoice,
    NoChoice,
    Prompt,
    RegexFormat,
    ThinkingEnabled,
    TunedRequest,
)

Json = dict[str, Any]

BETWEEN: Final[Mapping[str, str]] = {"system": "\n\n", "user": "\n\n", "assistant": ""}
BETWEEN_PARTS: Final = "\n"  # of one result
BETWEEN_THOUGHTS: Final = "\n\n"
SEEN_BELOW: Final = "(the image is in the next message)"
SCHEMA_NAME: Final = "answer"  # theirs must have one

LEAST_TOP_P: Final = 1e-9  # the API's may be 0, theirs not

# Their words for effort, which end at `high` with most.
_EFFORTS: Final[Mapping[Effort, str]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
# A budget of thinking in tokens, up to which an effort is as much; `low` is no thinking with some.
_BUDGETS: Final = ((8_192, "medium"),)


@dataclass(frozen=True)
class Form:
    """How one server is asked: the model's name there, its row, and what holds of this model.

    `thinks` is whether the model can think; where it cannot, nothing is said of thinking. `fixed`:
    it takes no sampling.
    """

    model: str
    quirks: Quirks
    thinks: bool = True
    fixed: bool = False


def body_of(placed: Placed[MessagesRequest], form: Form, *, most: int, stream: bool) -> Json:
    """The body for a request whose images are `placed`; `most` tokens of answer, 1 or more."""
    request, quirks = placed.request, form.quirks
    body: Json = {
        "model": form.model,
        "messages": messages_of(placed, quirks),
        quirks.limit: most,
        **_tools(request, quirks),
        **_sampling(request, form),
        **_form(request, quirks),
        **(_thinking(request, quirks) if form.thinks else {}),
        **_prefill(request, quirks),
    }
    if quirks.stop == "told" and request.stop_sequences:
        body["stop"] = list(request.stop_sequences)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
        if quirks.progress == "usage":
            body["stream_options"]["continuous_usage_stats"] = True
        elif quirks.progress == "timings":
            body["timings_per_token"] = True
    return body


def count_body_of(placed: Placed[Any], form: Form) -> Json:
    """The body for the route that counts a prompt's tokens."""
    request, quirks = placed.request, form.quirks
    return {
        "model": form.model,
        "messages": messages_of(placed, quirks),
        **_tools(request, quirks),
        **(_thinking(request, quirks) if form.thinks else {}),
        **_prefill(request, quirks),
    }


# --- messages -------------------------------------------------------------------------------------


def messages_of(placed: Placed[Any], quirks: Quirks) -> list[Json]:
    """The conversation as messages."""
    pictures = _Pictures(placed)
    messages: list[Json] = []
    for turn in written_turns(placed.request):
        match turn.role:
            case "tools":
                pass  # they have a field of their own
            case "tool":
                messages += _results(turn, pictures)
            case "assistant":
                messages.append(_answer(turn, quirks))
            case _:
                content = pictures.content(BETWEEN[turn.role].join(_texts(turn.blocks)))
                if content:
                    messages.append({"role": turn.role, "content": content})
    return messages


def _texts(blocks: Sequence[Block]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Text)]


def _answer(turn: WrittenTurn, quirks: Quirks) -> Json:
    """An earlier answer; one that only called has no content, as they have it."""
    said = BETWEEN["assistant"].join(_texts(turn.blocks))
    thoughts = [block.text for block in turn.blocks if isinstance(block, Thought)]
    calls = [_call(block) for block in turn.blocks if isinstance(block, Call)]
    message: Json = {"role": "assistant", "content": said or (None if calls else "")}
    if thoughts and quirks.thought:
        message[quirks.thought] = BETWEEN_THOUGHTS.join(thoughts)
    return message | {"tool_calls": calls} if calls else message


def _call(call: Call) -> Json:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _results(turn: WrittenTurn, pictures: _Pictures) -> Iterator[Json]:
    """A message for each result, then one of the user's with what could not be in them."""
    found: list[tuple[Result, list[str]]] = []
    for block in turn.blocks:
        if isinstance(block, Result):
            if not block.goes_on:
                found.append((block, []))
            found[-1][1].append(block.text)
    seen: list[Json] = []
    for result, texts in found:
        content = pictures.content(BETWEEN_PARTS.join(texts))
        if not isinstance(content, str):
            seen += [part for part in content if part["type"] == "image_url"]
            content = "".join(part.get("text", SEEN_BELOW) for part in content)
        yield {"role": "tool", "tool_call_id": result.id, "content": content}
    if seen:
        yield {"role": "user", "content": seen}


class _Pictures:
    """The images of a request, and how a text with their marks is content."""

    def __init__(self, placed: Placed[Any]) -> None:
        self._urls = {mark_of(image, placed.salt): _url(image) for image in placed.images}
        self._marks = re.compile(f"({'|'.join(map(re.escape, self._urls))})")

    def content(self, text: str) -> str | list[Json]:
        """`text` as it is, or in parts where images stand in it."""
        if not self._urls:
            return text
        pieces = self._marks.split(text)
        if len(pieces) == 1:
            return text
        return [
            {"type": "image_url", "image_url": {"url": self._urls[piece]}}
            if n % 2
            else {"type": "text", "text": piece}
            for n, piece in enumerate(pieces)
            if n % 2 or piece.strip()
        ]


def _url(image: Base64Image) -> str:
    return f"data:{image.media_type};base64,{image.data}"


# --- the other fields -----------------------------------------------------------------------------


def _tools(request: Prompt, quirks: Quirks) -> Json:
    """The tools that may be called, those that the conversation brought into view among them.

    A server that heeds no choice is not shown what may not be called.
    """
    specs, choice = visible(request), request.tool_choice
    if not specs or (isinstance(choice, NoChoice) and not quirks.forced_calls):
        return {}
    fields: Json = {"tools": [_tool(spec) for spec in specs]}
    match choice:
        case NoChoice():
            fields["tool_choice"] = "none"
        case AnyChoice():
            fields["tool_choice"] = "required"
        case NamedChoice():
            fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        case _:
            pass  # `auto` is theirs too
    if is_single(request):
        fields["parallel_tool_calls"] = False
    return fields


def is_single(request: Prompt) -> bool:
    """Whether the answer may hold one call at most."""
    choice = request.tool_choice
    return bool(getattr(choice, "disable_parallel_tool_use", False))


def _tool(spec: ToolSpec) -> Json:
    function = definition(spec)
    if spec.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _sampling(request: MessagesRequest, form: Form) -> Json:
    tuned = request if isinstance(request, TunedRequest) else None
    likely = tuned.logprobs if tuned else None
    drawn: Json = {
        "temperature": request.temperature,
        "top_p": None if request.top_p is None else max(request.top_p, LEAST_TOP_P),
        "top_k": (request.top_k or None) if form.quirks.top_k else None,
    }
    fields: Json = {
        **({} if form.fixed else drawn),
        "seed": tuned.seed if tuned else None,
        "logprobs": True if likely is not None else None,
        "top_logprobs": likely or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _form(request: Prompt, quirks: Quirks) -> Json:
    """What the answer is held to."""
    config = request.output_config
    asked = config.format if config is not None else None
    match asked:
        case None:
            return {}
        case JsonFormat():
            schema = {"name": SCHEMA_NAME, "schema": asked.json_schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case JsonObjectFormat():
            return {"response_format": {"type": "json_object"}}
        case RegexFormat():
            if quirks.constrained == "sglang":
                return {"regex": asked.pattern}
            return {"structured_outputs": {"regex": asked.pattern}}
        case ChoiceFormat():
            return _choice(asked.choices, quirks)


def _choice(choices: Sequence[str], quirks: Quirks) -> Json:
    """One of some texts."""
    if quirks.constrained == "llamacpp":
        # Strings of its grammars are written as those of JSON.
        texts = (json.dumps(choice, ensure_ascii=False) for choice in choices)
        return {"grammar": f"root ::= {' | '.join(texts)}"}
    if quirks.constrained == "sglang":
        return {"regex": _any_of(choices)}
    return {"structured_outputs": {"choice": list(choices)}}


def _any_of(choices: Sequence[str]) -> str:
    return "(" + "|".join(re.escape(choice) for choice in choices) + ")"


def _thinking(request: Prompt, quirks: Quirks) -> Json:
    """Whether and how much to think. Silence means no thinking, as in the API."""
    wanted = wants_thinking(request)
    match quirks.thinking:
        case "template":
            # The two names that templates of today know; others look at neither.
            return {"chat_template_kwargs": {"enable_thinking": wanted, "thinking": wanted}}
        case "openrouter":
            return {"reasoning": _reasoning(request) if wanted else {"enabled": False}}
        case "effort":
            effort = _effort(request) if wanted else quirks.unthinking
            return {"reasoning_effort": effort} if effort else {}
        case "none":
            return {}


def _reasoning(request: Prompt) -> Json:
    """OpenRouter's object: it takes a budget where there is one."""
    if isinstance(request.thinking, ThinkingEnabled):
        return {"max_tokens": request.thinking.budget_tokens}
    return {"effort": _effort(request)}


def _effort(request: Prompt) -> str:
    thinking = request.thinking
    if isinstance(thinking, ThinkingEnabled):
        found = (word for most, word in _BUDGETS if thinking.budget_tokens <= most)
        return next(found, _EFFORTS[USUAL_EFFORT])
    return _EFFORTS[effort_of(request)]


def _prefill(request: Prompt, quirks: Quirks) -> Json:
    """VLLM's flags for going on from what the caller wrote of the answer."""
    if quirks.prefill != "flags" or not is_prefilled(request):
        return {}
    return {"continue_final_message": True, "add_generation_prompt": False}
