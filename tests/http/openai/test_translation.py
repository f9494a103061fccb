"""What an OpenAI request means here, and how a wrong one is told."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from openai.types.chat import completion_create_params as theirs
from openai.types.chat.chat_completion_reasoning_effort import ChatCompletionReasoningEffort

from renga.conversation import check
from renga.errors import (
    AuthenticationFailed,
    BackendFailed,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    RengaError,
    RequestTooLarge,
)
from renga.http.openai.errors import body_of, envelope
from renga.http.openai.requests import IGNORED, REFUSED, ChatRequest, Effort
from renga.http.openai.translation import in_their_words, translate
from renga.types import (
    MAX_OUTPUT_TOKENS,
    DocumentParam,
    ImageParam,
    PlainText,
    ToolUseParam,
    TunedRequest,
)

USER: Any = {"role": "user", "content": "hi"}
CALL: Any = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RESULT: Any = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
ADD: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def some_of(*names: str, mode: str = "auto") -> Any:
    """A choice that allows only the tools of these names."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def asked(*messages: Any, **fields: Any) -> TunedRequest:
    body = {"model": "haiku", "messages": list(messages) or [USER], **fields}
    return translate(body).request


def turns(request: TunedRequest) -> list[Any]:
    """Role, and the type and text of each block."""
    return [
        (turn.role, [getattr(b, "text", None) or b.type for b in turn.content])
        for turn in request.messages
    ]


def test_every_field_of_the_package_is_honoured_refused_or_ignored():
    names = set(get_type_hints(theirs.CompletionCreateParamsBase)) | {"stream"}
    known = ChatRequest.model_fields.keys() | REFUSED.keys() | IGNORED.keys()
    assert names - known == set()
    assert known - names == {"top_k"}
    assert not (ChatRequest.model_fields.keys() & (REFUSED.keys() | IGNORED.keys()))
    assert not REFUSED.keys() & IGNORED.keys()


def test_every_effort_of_the_package_is_known():
    assert set(get_args(get_args(ChatCompletionReasoningEffort)[0])) == set(get_args(Effort))


def test_system_messages_go_where_the_messages_api_has_them():
    request = asked(
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        USER,
        {"role": "system", "content": "in place"},
        {"role": "assistant", "content": "yes"},
        {"role": "system", "content": "behind the next"},
        {"role": "user", "content": "more"},
    )
    assert [block.text for block in request.system or ()] == ["one", "two"]
    assert turns(request) == [
        ("user", ["hi"]),
        ("system", ["in place"]),
        ("assistant", ["yes"]),
        ("user", ["more"]),
        ("system", ["behind the next"]),
    ]


def test_a_system_message_behind_the_last_answer_is_system_text():
    request = asked(USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"})
    assert [block.text for block in request.system or ()] == ["s"]


def test_results_of_tools_and_what_the_user_says_then_are_one_turn():
    request = asked(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
        RESULT,
        {**RESULT, "tool_call_id": "call_2", "content": [{"type": "text", "text": "4"}]},
        {"role": "user", "content": "go on"},
        tools=[ADD],
    )
    assert turns(request)[1:] == [
        ("assistant", ["tool_use", "tool_use"]),
        ("user", ["3", "4", "go on"]),
    ]


def test_arguments_are_the_object_that_their_text_says():
    call = {**CALL, "function": {"name": "add", "arguments": '{"a": [1.5, "é"]}'}}
    request = asked(USER, {"role": "assistant", "tool_calls": [call]}, RESULT)
    assert request.messages[1].content[0].input == {"a": [1.5, "é"]}  # type: ignore[union-attr]
    empty = {**CALL, "function": {"name": "add", "arguments": ""}}
    request = asked(USER, {"role": "assistant", "tool_calls": [empty]}, RESULT)
    assert request.messages[1].content[0].input == {}  # type: ignore[union-attr]


def test_thinking_comes_back_with_its_signature_and_not_without():
    said = {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    signed = asked(USER, {**said, "reasoning_signature": "rg1.x"}, USER)
    assert [b.type for b in signed.messages[1].content] == ["thinking", "text"]
    assert [b.type for b in asked(USER, said, USER).messages[1].content] == ["text"]


def test_an_answer_may_be_sent_back_as_the_package_dumps_it():
    dumped = {
        "role": "assistant",
        "content": "yes",
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "parsed": {"a": 1},
    }
    assert turns(asked(USER, dumped, USER))[1] == ("assistant", ["yes"])


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto", "disable_parallel_tool_use": False}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": False}),
        ({"tool_choice": "none"}, {"type": "none"}),
        (
            {
                "tool_choice": {"type": "function", "function": {"name": "add"}},
                "parallel_tool_calls": False,
            },
            {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_a_choice_of_tools_is_the_same_choice(fields, choice):
    found = asked(tools=[ADD], **fields).tool_choice
    assert (None if found is None else found.model_dump()) == choice


@pytest.mark.parametrize(("mode", "choice"), [("auto", "auto"), ("required", "any")])
def test_of_some_allowed_tools_the_model_sees_no_others(mode, choice):
    named = [{**ADD, "function": {**ADD["function"], "name": name}} for name in ("a", "b", "c")]
    found = asked(tools=named, tool_choice=some_of("c", "b", mode=mode)).model_dump()
    assert [tool["name"] for tool in found["tools"]] == ["b", "c"]
    assert found["tool_choice"]["type"] == choice


def test_parallel_calls_mean_nothing_without_tools():
    assert asked(parallel_tool_calls=False).tool_choice is None


@pytest.mark.parametrize(
    ("form", "type_", "schema"),
    [
        ({"type": "json_object"}, "json_object", None),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "json_object", None),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            "json_schema",
            {"type": "object"},
        ),
    ],
)
def test_a_format_is_the_same_format(form, type_, schema):
    config = asked(response_format=form).output_config
    assert config is not None
    assert config.format is not None
    assert config.format.type == type_
    assert getattr(config.format, "json_schema", None) == schema


def test_text_is_no_format():
    assert asked(response_format={"type": "text"}).output_config is None


@pytest.mark.parametrize(
    ("effort", "thinking", "found"),
    [
        (None, None, None),
        ("none", "disabled", None),
        ("minimal", "adaptive", "low"),
        ("low", "adaptive", "low"),
        ("max", "adaptive", "max"),
    ],
)
def test_an_effort_is_adaptive_thinking_of_that_effort(effort, thinking, found):
    request = asked(reasoning_effort=effort)
    assert (request.thinking and request.thinking.type) == thinking
    assert (request.output_config and request.output_config.effort) == found


def test_drawing_is_asked_for_in_full():
    request = asked(temperature=1.7, top_p=0.5, top_k=4, seed=-3, logprobs=True, top_logprobs=2)
    assert (request.temperature, request.top_p, request.top_k) == (1.7, 0.5, 4)
    assert (request.seed, request.logprobs) == (-3, 2)
    assert asked(logprobs=True).logprobs == 0
    assert asked(logprobs=False).logprobs is None


def test_without_a_limit_an_answer_may_be_as_long_as_it_gets():
    assert asked().max_tokens == MAX_OUTPUT_TOKENS


def test_a_breakpoint_keeps_a_prefix_for_the_longest_time_there_is():
    part = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    request = asked({"role": "user", "content": [part]})
    control = request.messages[0].content[0].cache_control  # type: ignore[union-attr]
    assert control is not None
    assert control.ttl == "1h"


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def said(**fields: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": "assistant", **fields}]}


def image(url: str, **more: Any) -> dict[str, Any]:
    return user({"type": "image_url", "image_url": {"url": url, **more}})


def document(**file: Any) -> dict[str, Any]:
    return {"type": "file", "file": file}


IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
TEXT = "data:text/plain;base64,SMO8dHRl"


def test_images_and_files_of_the_user_are_images_and_documents():
    kept = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    seen = {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}, **kept}
    named = document(file_data=TEXT, filename="note.txt")
    pdf = document(file_data="data:application/pdf;base64,eA==")
    body = user(seen, IMAGE, named, pdf, document(file_id="file_1"))
    image, linked, note, *others = asked(*body["messages"]).messages[0].content
    assert isinstance(image, ImageParam)
    assert image.cache_control is not None
    assert isinstance(linked, ImageParam)
    assert (image.source.type, linked.source.type) == ("base64", "url")
    assert isinstance(note, DocumentParam)
    assert note.title == "note.txt"
    assert isinstance(note.source, PlainText)
    assert note.source.data == "Hütte"
    assert [o.source.type for o in others if isinstance(o, DocumentParam)] == ["base64", "file"]


def test_how_closely_an_image_is_looked_at_is_not_for_the_caller_to_say():
    body = {"model": "haiku", **image("https://x", detail="low")}
    assert translate(body).ignored == ["messages.content.image_url.detail"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages: ", "at least 1"),
    ({"model": None}, "model: ", "string"),
    ({"messages": "hi"}, "messages: ", "list"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0: ", "'robot'"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages.0: ", "`tool`"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: ", "required"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content: ", "non-empty"),
    ({"messages": [{"role": "user", "content": "x", "text": 1}]}, "messages.0.text: ", "permitted"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id: ", "required"),
    (image("data:,"), "messages.0.content.0.image_url.url: ", "base64"),
    (image("data:image/tiff;base64,eA=="), "messages.0.content.0.image_url.url: ", "image/png"),
    (image("http://x", detail="best"), "messages.0.content.0.image_url.detail: ", "auto"),
    (said(content=[IMAGE]), "messages.1.content.0: ", "message of the user"),
    (user({"type": "file", "file": {}}), "messages.0.content.0.file: ", "`file_id`"),
    (user(document(file_data="x")), "messages.0.content.0.file.file_data: ", "base64"),
    (user(document(file_data=TEXT[:-1])), "messages.0.content.0.file.file_data: ", "base64"),
    (user(document(file_id="f" * 300)), "messages.0.content.0.file.file_id: ", "256"),
    (user({"type": "text", "text": 5}), "messages.0.content.0.text: ", "string"),
    (user({"type": "video"}), "messages.0.content.0: ", "'video'"),
    (said(function_call={"name": "f"}), "messages.1.function_call: ", "`tool_calls`"),
    (said(audio={"id": "a"}), "messages.1.audio: ", "sound"),
    (
        said(tool_calls=[{**CALL, "function": {"name": "a", "arguments": "{"}}]),
        "messages.1.tool_calls.0.function.arguments: ",
        "not valid JSON",
    ),
    (
        said(tool_calls=[{**CALL, "function": {"name": "a", "arguments": "[1]"}}]),
        "messages.1.tool_calls.0.function.arguments: ",
        "object",
    ),
    ({"n": 2}, "n: ", "accepted: 1"),
    ({"n": True}, "n: ", "accepted: 1"),
    ({"logit_bias": {"5": 1}}, "logit_bias: ", "leave it out"),
    ({"functions": [{"name": "f"}]}, "functions: ", "`tools`"),
    ({"function_call": "auto"}, "function_call: ", "`tool_choice`"),
    ({"modalities": ["audio"]}, "modalities: ", "text"),
    ({"audio": {"voice": "x"}}, "audio: ", "sound"),
    ({"web_search_options": {}}, "web_search_options: ", "web"),
    ({"moderation": {"model": "m"}}, "moderation: ", "moderation"),
    ({"temperature": 2.1}, "temperature: ", "2"),
    ({"temperature": -1}, "temperature: ", "0"),
    ({"top_p": 1.5}, "top_p: ", "1"),
    ({"max_tokens": 0}, "max_tokens: ", "1"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens: ", "one of them"),
    ({"stop": [""]}, "stop.0: ", "at least 1"),
    ({"stop": ""}, "stop: ", "at least 1"),
    ({"stop": 5}, "stop: ", "string"),
    ({"seed": 1.5}, "seed: ", "integer"),
    ({"top_logprobs": 3}, "top_logprobs: ", "`logprobs`"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs: ", "20"),
    ({"logprobs": 5}, "logprobs: ", "boolean"),
    ({"stream": "yes"}, "stream: ", "boolean"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage: ", "boolean"),
    ({"reasoning_effort": "huge"}, "reasoning_effort: ", "'max'"),
    ({"response_format": {"type": "yaml"}}, "response_format: ", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: ", "required"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools.0: ", "function"),
    ({"tools": [{"type": "function"}]}, "tools.0.function: ", "required"),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools.0.function.name: ",
        "pattern",
    ),
    ({"tool_choice": "maybe"}, "tool_choice: ", "'required'"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools: ", "required"),
    (
        {"tools": [ADD], "tool_choice": some_of("add", "sub")},
        "tool_choice.allowed_tools.tools.1.function.name: ",
        "'sub' is none of `tools`",
    ),
    ({"tools": [ADD], "tool_choice": some_of()}, "tool_choice.allowed_tools.tools: ", "at least"),
    (
        {"tools": [ADD], "tool_choice": some_of("add", mode="none")},
        "tool_choice.allowed_tools.mode: ",
        "'required'",
    ),
    ({"tool_choice": {"name": "add"}}, "tool_choice", "type"),
    ({"tool_choice": {"type": "custom"}}, "tool_choice: ", "function"),
    ({"temprature": 1}, "temprature: ", "did you mean `temperature`?"),
    ({"thinking": {"type": "enabled"}}, "thinking: ", "not permitted"),
]


@pytest.mark.parametrize(("fields", "path", "says"), WRONG, ids=[f"{w[1]}{w[2]}" for w in WRONG])
def test_what_is_wrong_is_named_as_the_caller_wrote_it(fields, path, says):
    body = {"model": "haiku", "messages": [USER], **fields}
    with pytest.raises(InvalidRequest) as refused:
        translate(body)
    assert refused.value.message.startswith(path)
    assert says in refused.value.message


def test_errors_of_the_path_are_told_in_the_callers_paths():
    translated = translate(
        {
            "model": "haiku",
            "messages": [
                {"role": "system", "content": "s"},
                USER,
                {"role": "assistant", "content": "x", "tool_calls": [CALL]},
                RESULT,
            ],
            "tools": [ADD],
            "stop": ["a"],
        }
    )
    for inside, outside in [
        ("messages.1.content.1: no result", "messages.2.tool_calls.0: no result"),
        ("messages.1.content.1.input.a: bad", "messages.2.tool_calls.0.function.arguments.a: bad"),
        ("messages.2.content.0.tool_use_id: which?", "messages.3.tool_call_id: which?"),
        ("tools.0.input_schema.type: bad", "tools.0.function.parameters.type: bad"),
        ("messages.0.content.0.text: bad", "messages.1.content: bad"),
        ("messages.0.content.0.text", "messages.0.content.0.text"),
        ("prompt is too long: 5", "prompt is too long: 5"),
    ]:
        assert in_their_words(InvalidRequest(inside), translated.places).message == outside


@pytest.mark.parametrize(
    ("error", "status", "type_", "code", "param"),
    [
        (InvalidRequest("messages.0.content.1: bad"), 400, "invalid_request_error", None,
         "messages[0].content[1]"),
        (InvalidRequest("prompt is too long: 9 tokens"), 400, "invalid_request_error",
         "context_length_exceeded", "messages"),
        (AuthenticationFailed("no key"), 401, "invalid_request_error", "invalid_api_key", None),
        (NotFound("model: x"), 404, "invalid_request_error", "model_not_found", "model"),
        (NotFound("no such path: /v1/x"), 404, "invalid_request_error", None, None),
        (RequestTooLarge("too large"), 413, "invalid_request_error", None, None),
        (RateLimited("slow", retry_after=2), 429, "rate_limit_error", "rate_limit_exceeded", None),
        (BackendFailed("broke"), 500, "server_error", None, None),
        (Overloaded("full", retry_after=2), 503, "server_error", "server_overloaded", None),
    ],
)  # fmt: skip
def test_an_error_has_the_envelope_of_their_api(error, status, type_, code, param):
    found = body_of(error)["error"]
    assert found == {"message": error.message, "type": type_, "param": param, "code": code}
    response = envelope(error, "req_1")
    assert response.status_code == status
    assert response.headers["x-request-id"] == "req_1"
    assert ("retry-after" in response.headers) == (error.retry_after is not None)


def test_every_error_has_an_envelope():
    assert len(RengaError.__subclasses__()) > 10
    for cls in RengaError.__subclasses__():
        assert body_of(cls("x"))["error"]["type"]


def call(id: str) -> Any:
    return {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": id}]}


def result(id: str) -> Any:
    return {**RESULT, "tool_call_id": id}


@pytest.mark.parametrize("id", ["call_0", "functions.add:0", "", "call_1", "x" * 300])
def test_ids_of_calls_are_told_apart_by_their_turns(id):
    """As other servers write them: counted anew in each turn, with dots, or not at all."""
    turns = [call(id), result(id), call(id), result(id), call("call_1"), result("call_1")]
    request = asked(USER, *turns, tools=[ADD])
    calls = [b.id for m in request.messages for b in m.content if b.type == "tool_use"]
    results = [
        b.tool_use_id for m in request.messages for b in m.content if b.type == "tool_result"
    ]
    assert calls == results
    assert len(set(calls)) == 3
    shorter = asked(USER, *turns[:2], tools=[ADD])
    assert shorter.messages == request.messages[:3]


def test_ids_that_are_good_stay_and_one_turn_needs_different_ones():
    request = asked(USER, call("call_9"), result("call_9"), tools=[ADD])
    assert [b.id for b in request.messages[1].content if isinstance(b, ToolUseParam)] == ["call_9"]
    twice = {**call("a"), "tool_calls": [{**CALL, "id": "a"}] * 2}
    request = asked(USER, twice, result("a"), tools=[ADD])
    with pytest.raises(InvalidRequest, match=r"^messages\.1\.content\.1\.id: .* unique"):
        check(request)


def test_empty_parts_are_left_out():
    parts = [{"type": "text", "text": ""}, {"type": "text", "text": "hi"}]
    assert turns(asked({"role": "user", "content": parts})) == [("user", ["hi"])]


def test_a_conversation_of_system_messages_alone_is_told_as_such():
    with pytest.raises(InvalidRequest, match=r"^messages: there are only system messages"):
        asked({"role": "system", "content": "Be kind."})
