"""OpenAI's chat request as a request of the Messages API, and its paths as those of the caller.

Owns what their words mean here: system messages that stand first are the system text, later ones
stay where they stand; results of tools are part of the user's turn behind the call; an absent limit
is the largest there is; efforts are those of adaptive thinking; ids of calls need only differ
within a turn. And the rule that an error names the field that the caller wrote, whichever rule of
the path found it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jiter

from renga.errors import InvalidRequest
from renga.http.body import refuse_infinite
from renga.http.openai.requests import (
    AllowedChoice,
    AssistantMessage,
    ChatRequest,
    FilePart,
    FunctionChoice,
    ImagePart,
    ObjectFormat,
    RefusalPart,
    SchemaFormat,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
    ignored_in,
)
from renga.http.validation import parse
from renga.types import MAX_OUTPUT_TOKENS, TunedRequest
from renga.types.blocks import ID as CALL_ID

Block = dict[str, Any]

EFFORTS = {"minimal": "low"}  # the least that the Messages API has; the others are the same words
KEPT_FOR = "1h"  # the longest that a prefix is kept; they ask for half an hour, or for twelve

_PATH = re.compile(r"[a-z_]+(?:\.\w+)*(?=: )")


@dataclass(frozen=True)
class Translated:
    """A request for the path. `places`: its paths by those that the caller wrote."""

    request: TunedRequest
    places: Mapping[str, str]
    ignored: Sequence[str]
    include_usage: bool
    continuous_usage: bool


def translate(body: dict[str, Any]) -> Translated:
    """What `body` asks. Raises InvalidRequest in the caller's own paths."""
    asked = parse(ChatRequest, body)
    places: dict[str, str] = {}
    conversation = _Conversation(places)
    for at, message in enumerate(asked.messages):
        conversation.add(message, f"messages.{at}")
    conversation.end_turn()
    if not conversation.messages:
        raise InvalidRequest(
            "messages: there are only system messages; one of the user is expected"
        )
    fields = {
        "model": asked.model,
        "messages": conversation.messages,
        "system": conversation.system or None,
        "stream": bool(asked.stream),
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "seed": asked.seed,
        "stop_sequences": _stop(asked, places),
        "max_tokens": _limit(asked, places),
        "logprobs": _logprobs(asked),
        **_tools(asked, places),
        **_output(asked, places),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        request = parse(TunedRequest, given)
    except InvalidRequest as error:
        raise in_their_words(error, places) from error
    options = asked.stream_options
    usage = bool(options and options.include_usage)
    continuous = usage and bool(options and options.continuous_usage_stats)
    return Translated(request, places, ignored_in(body), usage, continuous)


def in_their_words(error: InvalidRequest, places: Mapping[str, str]) -> InvalidRequest:
    """`error` with the path that it begins with as the caller wrote it."""
    found = _PATH.match(error.message)
    if found is None:
        return error
    steps = found[0].split(".")
    for size in range(len(steps), 0, -1):
        place = places.get(".".join(steps[:size]))
        if place is not None:
            path = ".".join([place, *steps[size:]])
            told = InvalidRequest(path + error.message[found.end() :], code=error.code)
            return told
    return error


# --- the conversation -----------------------------------------------------------------------------


@dataclass
class _Conversation:
    """Turns as they are made of messages, and where each of their blocks comes from."""

    places: dict[str, str]
    system: list[Block] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    _waiting: list[tuple[Block, str]] = field(default_factory=list)
    _ids: dict[str, str] = field(
        default_factory=dict
    )  # of the latest turn's calls, as we name them
    _named: set[str] = field(default_factory=set)

    def add(
        self, message: SystemMessage | UserMessage | AssistantMessage | ToolMessage, path: str
    ) -> None:
        """Take the next message."""
        match message:
            case SystemMessage():
                self._say(_texts(message.content, f"{path}.content"), path)
            case UserMessage():
                self._put("user", _texts(message.content, f"{path}.content"), path)
            case ToolMessage():
                id = self._ids.get(message.tool_call_id, message.tool_call_id)
                self._put("user", [(_result(message) | {"tool_use_id": id}, path)], path)
            case AssistantMessage():
                self.end_turn()
                if self.messages and self.messages[-1]["role"] != "assistant":
                    self._ids = {}
                said = list(_spoken(message, path))
                for block, _ in said:
                    if block["type"] == "tool_use":
                        block["id"] = self._id(block["id"])
                self._put("assistant", said, path)

    def _id(self, theirs: str) -> str:
        """A call's id as the Messages API has them, other than those of earlier turns.

        Other servers count calls anew in each turn, and write ids with dots and colons.
        """
        if theirs not in self._ids:
            ours, number = theirs, len(self._named)
            while ours in self._named or not re.fullmatch(CALL_ID, ours):
                ours, number = f"call_{number}", number + 1
            self._named.add(ours)
            self._ids[theirs] = ours
        return self._ids[theirs]

    def _say(self, blocks: list[tuple[Block, str]], path: str) -> None:
        if self.messages:
            self._waiting += blocks
            return
        for block, place in blocks:
            self._place(f"system.{len(self.system)}", block, place)
            self.system.append(block)
        self.places.setdefault("system", path)

    def end_turn(self) -> None:
        """A system message may only follow a user's turn: those that waited for its end come now.

        Where none came, they belong to the system text.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self.messages and self.messages[-1]["role"] == "user":
            self._put("system", waiting, waiting[0][1])
            return
        for block, place in waiting:
            self._place(f"system.{len(self.system)}", block, place)
            self.system.append(block)

    def _put(self, role: str, blocks: list[tuple[Block, str]], path: str) -> None:
        if not self.messages or self.messages[-1]["role"] != role:
            self.places[f"messages.{len(self.messages)}"] = path
            self.messages.append({"role": role, "content": []})
        content = self.messages[-1]["content"]
        for block, place in blocks:
            self._place(f"messages.{len(self.messages) - 1}.content.{len(content)}", block, place)
            content.append(block)

    def _place(self, path: str, block: Block, place: str) -> None:
        self.places[path] = place
        if block["type"] in ("image", "document"):
            self._place_source(path, place)
        if block["type"] == "text" and place.endswith(".content"):
            self.places[f"{path}.text"] = place  # the caller wrote a string
        if block["type"] == "tool_use":
            self.places[f"{path}.name"] = f"{place}.function.name"
            self.places[f"{path}.input"] = f"{place}.function.arguments"
        if block["type"] == "tool_result":
            self.places[f"{path}.tool_use_id"] = f"{place}.tool_call_id"

    def _place_source(self, path: str, place: str) -> None:
        """Whatever is wrong with a source is wrong with the one string that the caller wrote."""
        self.places[f"{path}.source"] = place
        for kind in ("base64", "url", "file", "text"):
            self.places[f"{path}.source.{kind}"] = place
        for name in ("data", "media_type", "url", "file_id"):
            for kind in ("", ".base64", ".url", ".file", ".text"):
                self.places[f"{path}.source{kind}.{name}"] = place


Part = TextPart | RefusalPart | ImagePart | FilePart


def _texts(content: str | Sequence[Part] | None, path: str) -> list[tuple[Block, str]]:
    """The blocks of a content, each with the caller's path of it; empty texts are left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [({"type": "text", "text": content}, path)] if content else []
    said = [_block(part, f"{path}.{at}") for at, part in enumerate(content)]
    return [(block, place) for block, place in said if block["type"] != "text" or block["text"]]


def _block(part: Part, path: str) -> tuple[Block, str]:
    match part:
        case RefusalPart():
            return {"type": "text", "text": part.refusal}, path
        case TextPart():
            block: Block = {"type": "text", "text": part.text}
        case ImagePart():
            path = f"{path}.image_url.url"
            block = {"type": "image", "source": _image_source(part.image_url.url, path)}
        case FilePart():
            block = {"type": "document", "title": part.file.filename}
            path = f"{path}.file.file_id"
            block["source"] = {"type": "file", "file_id": part.file.file_id}
            if part.file.file_data is not None:
                path = f"{path.removesuffix('file_id')}file_data"
                block["source"] = _file_source(part.file.file_data, path)
    if part.prompt_cache_breakpoint is not None:
        block["cache_control"] = {"type": "ephemeral", "ttl": KEPT_FOR}
    return block, path


def _image_source(url: str, path: str) -> Block:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    kind, data = _data_url(url, path)
    return {"type": "base64", "media_type": kind, "data": data}


def _file_source(url: str, path: str) -> Block:
    kind, data = _data_url(url, path)
    if kind != "text/plain":
        return {"type": "base64", "media_type": kind, "data": data}
    try:
        text = base64.b64decode(data, validate=True).decode()
    except ValueError as error:
        raise InvalidRequest(f"{path}: it is not base64 of UTF-8 text: {error}") from error
    return {"type": "text", "media_type": kind, "data": text}


def _data_url(url: str, path: str) -> tuple[str, str]:
    """The media type and the base64 of a `data:` URL (RFC 2397); its parameters say nothing."""
    head, comma, data = url.partition(",")
    kind, *parameters = head.removeprefix("data:").split(";")
    if not comma or not head.startswith("data:") or parameters[-1:] != ["base64"]:
        raise InvalidRequest(f"{path}: `data:TYPE;base64,DATA` is expected, not '{url[:40]}'")
    return kind.lower(), data


def _result(message: ToolMessage) -> Block:
    texts = [block for block, _ in _texts(message.content, "")]
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": texts}


def _spoken(message: AssistantMessage, path: str) -> Iterable[tuple[Block, str]]:
    # Only a signature says that the thinking is ours; without one a model would not read it.
    if message.reasoning_content and message.reasoning_signature:
        yield (
            {
                "type": "thinking",
                "thinking": message.reasoning_content,
                "signature": message.reasoning_signature,
            },
            f"{path}.reasoning_content",
        )
    yield from _texts(message.content, f"{path}.content")
    if message.refusal:
        yield {"type": "text", "text": message.refusal}, f"{path}.refusal"
    for at, call in enumerate(message.tool_calls or ()):
        yield _call(call, f"{path}.tool_calls.{at}"), f"{path}.tool_calls.{at}"


def _call(call: ToolCall, path: str) -> Block:
    text = call.function.arguments
    try:
        arguments = jiter.from_json(text.encode(), allow_inf_nan=False) if text.strip() else {}
    except ValueError as error:
        raise InvalidRequest(f"{path}.function.arguments: it is not valid JSON: {error}") from error
    refuse_infinite(arguments, text.encode(), f"{path}.function.arguments")
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"{path}.function.arguments: Input should be a JSON object as text")
    name = call.function.name
    return {"type": "tool_use", "id": call.id, "name": name, "input": arguments}


# --- the other fields -----------------------------------------------------------------------------


def _stop(asked: ChatRequest, places: dict[str, str]) -> list[str] | None:
    places["stop_sequences"] = "stop"
    if isinstance(asked.stop, str):
        places["stop_sequences.0"] = "stop"
        return [asked.stop]
    return asked.stop


def _limit(asked: ChatRequest, places: dict[str, str]) -> int:
    newer, older = asked.max_completion_tokens, asked.max_tokens
    if newer is not None and older is not None and newer != older:
        raise InvalidRequest(
            f"max_completion_tokens: it is {newer} and `max_tokens` is {older}; send one of them"
        )
    places["max_tokens"] = "max_completion_tokens" if newer is not None else "max_tokens"
    return newer or older or MAX_OUTPUT_TOKENS


def _logprobs(asked: ChatRequest) -> int | None:
    if asked.logprobs:
        return asked.top_logprobs or 0
    if asked.top_logprobs:
        raise InvalidRequest("top_logprobs: it needs `logprobs` to be true")
    return None


def _tools(asked: ChatRequest, places: dict[str, str]) -> dict[str, Any]:
    tools = _allowed(asked)
    for at, (theirs, _) in enumerate(tools):
        places[f"tools.{at}"] = f"tools.{theirs}.function"
        places[f"tools.{at}.input_schema"] = f"tools.{theirs}.function.parameters"
    places["tool_choice.name"] = "tool_choice.function.name"
    return {"tools": [_tool(tool) for _, tool in tools] or None, "tool_choice": _choice(asked)}


def _allowed(asked: ChatRequest) -> list[tuple[int, Tool]]:
    """The tools that may be called, each with its index: a model does not see the others."""
    tools = list(enumerate(asked.tools or []))
    if not isinstance(asked.tool_choice, AllowedChoice):
        return tools
    names = [tool.function.name for tool in asked.tool_choice.allowed_tools.tools]
    known = {tool.function.name for _, tool in tools}
    for at, name in enumerate(names):
        if name not in known:
            raise InvalidRequest(
                f"tool_choice.allowed_tools.tools.{at}.function.name: '{name[:100]}' is none of "
                "`tools`"
            )
    return [(at, tool) for at, tool in tools if tool.function.name in names]


def _tool(tool: Tool) -> Block:
    function = tool.function
    described = {} if function.description is None else {"description": function.description}
    return {
        "name": function.name,
        **described,
        "input_schema": function.parameters or {"type": "object", "properties": {}},
        "strict": bool(function.strict),
    }


def _choice(asked: ChatRequest) -> Block | None:
    choice: Block
    match asked.tool_choice:
        case "none":
            return {"type": "none"}
        case FunctionChoice():
            choice = {"type": "tool", "name": asked.tool_choice.function.name}
        case "required":
            choice = {"type": "any"}
        case AllowedChoice():
            mode = asked.tool_choice.allowed_tools.mode
            choice = {"type": "any" if mode == "required" else "auto"}
        case _:
            choice = {"type": "auto"}
            if asked.tool_choice is None and (not asked.tools or asked.parallel_tool_calls is None):
                return None
    if asked.parallel_tool_calls is False:
        choice["disable_parallel_tool_use"] = True
    return choice


def _output(asked: ChatRequest, places: dict[str, str]) -> dict[str, Any]:
    places["output_config.format"] = "response_format"
    places["output_config.format.schema"] = "response_format.json_schema.schema"
    places["output_config.effort"] = places["thinking"] = "reasoning_effort"
    config: Block = {}
    fields: dict[str, Any] = {}
    form = asked.response_format
    if isinstance(form, SchemaFormat) and form.json_schema.json_schema is not None:
        config["format"] = {"type": "json_schema", "schema": form.json_schema.json_schema}
    elif isinstance(form, SchemaFormat | ObjectFormat):
        config["format"] = {"type": "json_object"}
    if asked.reasoning_effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif asked.reasoning_effort is not None:
        fields["thinking"] = {"type": "adaptive"}
        config["effort"] = EFFORTS.get(asked.reasoning_effort, asked.reasoning_effort)
    return {**fields, "output_config": config or None}
