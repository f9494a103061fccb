"""The table of `docs/fields.md`: every field of both APIs, sent to a server, and what came back.

Owns the samples, at least one for each field that the official packages know, and how an answer is
judged: refused where a 400 names the field, ignored where `renga-ignored` does, else honoured. The
server is a whole one, in this process, with a model of random weights and the shipped one's form.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from anthropic.types.beta import message_create_params as theirs
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from docs.endpoints import table
from renga.app import App
from renga.config import BackendConfig, Config, TierConfig
from renga.http.app import create_http
from tests.tiny_model import write_model
from training.vocabulary import TEMPLATE

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
USER: Any = {"role": "user", "content": "hi"}
BASE: Any = {"model": "haiku", "max_tokens": 4, "messages": [USER]}
WINDOW = 32_768  # tokens
ENOUGH = 1025  # tokens, to think 1,024
HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}

ADD: Any = {"name": "add", "input_schema": {"type": "object"}}
FUNCTION: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL: Any = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}
RESULT: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}
SCHEMA: Any = {"type": "object", "properties": {}, "additionalProperties": False}
MARK: Any = {"type": "ephemeral"}


@dataclass(frozen=True)
class Sample:
    """One way to send a field: `name` as the table has it, and the fields that say it."""

    name: str
    fields: dict[str, Any]

    @property
    def top(self) -> str:
        """The top-level field that it is about."""
        return self.name.partition(".")[0].partition(" ")[0]

    def asking(self, model: str) -> Sample:
        """The same, of another model."""
        return Sample(self.name, {**self.fields, "model": model})


def _turns(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def _said(block: Any) -> dict[str, Any]:
    return {**_turns(USER, {"role": "assistant", "content": [block]}, USER), "tools": [ADD]}


def _of_user(block: Any) -> dict[str, Any]:
    return _turns({"role": "user", "content": [{"type": "text", "text": "hi"}, block]})


def _tool(type_: str, name: str = "", **more: Any) -> Sample:
    tool = {"type": type_, **({"name": name} if name else {}), **more}
    return Sample(f"tools {type_}", {"tools": [tool]})


def _edit(type_: str) -> Sample:
    return Sample(
        f"context_management.edits {type_}", {"context_management": {"edits": [{"type": type_}]}}
    )


def _form(type_: str, **more: Any) -> Sample:
    form = {"type": type_, **more}
    return Sample(f"output_config.format {type_}", {"output_config": {"format": form}})


CHOICES: Any = (
    {"type": "auto"},
    {"type": "any"},
    {"type": "tool", "name": "add"},
    {"type": "none"},
)
# 32 x 32 white pixels.
WHITE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAGElEQVR42mP8z4AfMDGMKhhVMKpghCoAAKM9"
    "AT8q/1PbAAAAAElFTkSuQmCC"
)
IMAGE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": WHITE_PNG},
}
DOCUMENT: Any = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
}
WORD: Any = {"type": "text", "text": "x"}
CITED: Any = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
SCREEN = {"display_width_px": 800, "display_height_px": 600}

MESSAGES_SAMPLES: tuple[Sample, ...] = (
    Sample("model", {"model": "haiku"}),
    Sample("messages", _turns(USER)),
    Sample("messages system", _turns(USER, {"role": "system", "content": "be brief"})),
    Sample("messages text", _of_user({"type": "text", "text": "more"})),
    Sample("messages image", _of_user(IMAGE)),
    Sample("messages document", _of_user(DOCUMENT)),
    Sample(
        "messages search_result",
        _of_user({"type": "search_result", "source": "s", "title": "t", "content": [WORD]}),
    ),
    Sample("messages document.citations", _of_user({**DOCUMENT, "citations": {"enabled": True}})),
    Sample("messages text.citations", _said({**WORD, "citations": [CITED]})),
    Sample(
        "messages tool_use, tool_result",
        {
            **_turns(
                USER,
                {"role": "assistant", "content": [CALL]},
                {"role": "user", "content": [RESULT]},
            ),
            "tools": [ADD],
        },
    ),
    Sample("messages thinking", _said({"type": "thinking", "thinking": "hm", "signature": "x"})),
    Sample("messages redacted_thinking", _said({"type": "redacted_thinking", "data": "x"})),
    Sample("messages compaction", _said({"type": "compaction", "content": "so far"})),
    Sample("messages container_upload", _of_user({"type": "container_upload", "file_id": "f"})),
    Sample("max_tokens", {"max_tokens": 5}),
    Sample("system", {"system": "be brief"}),
    Sample("stop_sequences", {"stop_sequences": ["x"]}),
    Sample("stream", {"stream": True}),
    Sample("metadata", {"metadata": {"user_id": "u"}}),
    Sample("temperature", {"temperature": 0.5}),
    Sample("top_p", {"top_p": 0.5}),
    Sample("top_k", {"top_k": 5}),
    Sample("tools custom", {"tools": [ADD]}),
    Sample("tools.strict", {"tools": [{**ADD, "input_schema": SCHEMA, "strict": True}]}),
    Sample("tools.cache_control", {"tools": [{**ADD, "cache_control": MARK}]}),
    Sample("tools.input_examples", {"tools": [{**ADD, "input_examples": [{}]}]}),
    Sample("tools.eager_input_streaming", {"tools": [{**ADD, "eager_input_streaming": True}]}),
    Sample("tools.allowed_callers", {"tools": [{**ADD, "allowed_callers": ["direct"]}]}),
    Sample(
        "tools.defer_loading",
        {
            "tools": [
                {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
                {**ADD, "defer_loading": True},
            ]
        },
    ),
    _tool("bash_20250124", "bash"),
    _tool("text_editor_20250124", "str_replace_editor"),
    _tool("text_editor_20250429", "str_replace_based_edit_tool"),
    _tool("text_editor_20250728", "str_replace_based_edit_tool"),
    _tool("memory_20250818", "memory"),
    _tool("computer_20241022", "computer", **SCREEN),
    _tool("computer_20250124", "computer", **SCREEN),
    _tool("computer_20251124", "computer", **SCREEN),
    _tool("computer_toolset_20260801"),
    _tool("tool_search_tool_regex_20251119", "tool_search_tool_regex"),
    _tool("tool_search_tool_bm25_20251119", "tool_search_tool_bm25"),
    _tool("web_search_20260318", "web_search"),
    _tool("web_fetch_20260318", "web_fetch"),
    _tool("code_execution_20260521", "code_execution"),
    _tool("browser_toolset_20260801"),
    _tool("mcp_toolset", mcp_server_name="m"),
    _tool("advisor_20260301", "advisor", model="opus"),
    *(
        Sample(f"tool_choice {c['type']}", {"tools": [ADD], "tool_choice": c})
        for c in (
            {"type": "auto"},
            {"type": "any"},
            {"type": "tool", "name": "add"},
            {"type": "none"},
        )
    ),
    Sample(
        "tool_choice.disable_parallel_tool_use",
        {"tools": [ADD], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    Sample(
        "thinking enabled",
        {"max_tokens": ENOUGH, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    Sample(
        "thinking extended",
        {"max_tokens": ENOUGH, "thinking": {"type": "extended", "budget": 1024}},
    ),
    Sample("thinking adaptive", {"thinking": {"type": "adaptive"}}),
    Sample("thinking disabled", {"thinking": {"type": "disabled"}}),
    Sample("thinking between_tools", {"thinking": {"type": "between_tools"}}),
    Sample("thinking.display", {"thinking": {"type": "adaptive", "display": "omitted"}}),
    _form("json_schema", schema=SCHEMA),
    Sample(
        "output_config.format json_object", {"output_config": {"format": {"type": "json_object"}}}
    ),
    Sample(
        "output_config.format regex",
        {"output_config": {"format": {"type": "regex", "pattern": "a"}}},
    ),
    _form("choice", choices=["a"]),
    Sample(
        "output_config.effort",
        {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}},
    ),
    Sample(
        "output_config.task_budget",
        {"output_config": {"task_budget": {"type": "tokens", "total": 9}}},
    ),
    Sample("output_format", {"output_format": {"type": "json_schema", "schema": SCHEMA}}),
    Sample("response_format", {"response_format": {"type": "json_object"}}),
    Sample("cache_control", {"cache_control": MARK}),
    Sample("service_tier", {"service_tier": "auto"}),
    Sample("speed standard", {"speed": "standard"}),
    Sample("speed fast", {"speed": "fast"}),
    Sample("diagnostics", {"diagnostics": {"previous_message_id": None}}),
    _edit("clear_tool_uses_20250919"),
    _edit("clear_thinking_20251015"),
    _edit("compact_20260112"),
    Sample("compaction", {"compaction": {"type": "summarize"}}),
    Sample("container", {"container": "c"}),
    Sample("inference_geo", {"inference_geo": "us"}),
    Sample("mcp_servers", {"mcp_servers": [{"type": "url", "name": "m", "url": "http://x"}]}),
    Sample("thread", {"thread": {"type": "create"}}),
    Sample("fallbacks", {"fallbacks": [{"model": "opus"}]}),
    Sample("fallback_credit_token", {"fallback_credit_token": "t"}),
    Sample("billing_policy", {"billing_policy": {"type": "x"}}),
    Sample("user_profile_id", {"user_profile_id": "u"}),
    Sample("workspace_id", {"workspace_id": "w"}),
    Sample("an unknown field", {"an_unknown_field": 1}),
)
# Sent as headers, and one that is only there for a type checker.
NO_FIELDS = {"betas"}


def _part(part: Any) -> dict[str, Any]:
    return _turns({"role": "user", "content": [{"type": "text", "text": "hi"}, part]})


TURN_OF_CALL: Any = {
    "role": "assistant",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    ],
}
RESULT_OF_CALL: Any = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
ALLOWED: Any = {
    "type": "allowed_tools",
    "allowed_tools": {
        "mode": "auto",
        "tools": [{"type": "function", "function": {"name": FUNCTION["function"]["name"]}}],
    },
}
CHAT_SAMPLES: tuple[Sample, ...] = (
    Sample("model", {"model": "haiku"}),
    Sample("messages user", _turns(USER)),
    Sample("messages system", _turns({"role": "system", "content": "x"}, USER)),
    Sample("messages developer", _turns({"role": "developer", "content": "x"}, USER)),
    Sample("messages assistant", _turns(USER, {"role": "assistant", "content": "x"}, USER)),
    Sample(
        "messages tool",
        {
            **_turns(
                USER, TURN_OF_CALL, {"role": "tool", "tool_call_id": "call_1", "content": "3"}
            ),
            "tools": [FUNCTION],
        },
    ),
    Sample("messages function", _turns(USER, {"role": "function", "name": "f", "content": "x"})),
    Sample("messages.name", _turns({**USER, "name": "me"})),
    Sample(
        "messages.reasoning_content",
        _turns(
            USER,
            {
                "role": "assistant",
                "content": "x",
                "reasoning_content": "hm",
                "reasoning_signature": "x",
            },
            USER,
        ),
    ),
    Sample("messages text", _part({"type": "text", "text": "more"})),
    Sample(
        "messages image_url",
        _part({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{WHITE_PNG}"}}),
    ),
    Sample("messages input_audio", _part({"type": "input_audio", "input_audio": {"data": ""}})),
    Sample(
        "messages file",
        _part({"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}}),
    ),
    Sample("max_tokens", {"max_tokens": 5}),
    Sample("max_completion_tokens", {"max_tokens": None, "max_completion_tokens": 5}),
    Sample("temperature", {"temperature": 1.5}),
    Sample("top_p", {"top_p": 0.5}),
    Sample("top_k", {"top_k": 5}),
    Sample("seed", {"seed": 5}),
    Sample("stop", {"stop": ["x"]}),
    Sample("stream", {"stream": True}),
    Sample("stream_options", {"stream": True, "stream_options": {"include_usage": True}}),
    Sample("tools function", {"tools": [FUNCTION]}),
    Sample("tools custom", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
    *(
        Sample(f"tool_choice {c}", {"tools": [FUNCTION], "tool_choice": c})
        for c in ("none", "auto", "required")
    ),
    Sample(
        "tool_choice function",
        {
            "tools": [FUNCTION],
            "tool_choice": {"type": "function", "function": {"name": "add"}},
        },
    ),
    Sample("tool_choice allowed_tools", {"tools": [FUNCTION], "tool_choice": ALLOWED}),
    Sample("parallel_tool_calls", {"tools": [FUNCTION], "parallel_tool_calls": False}),
    Sample("response_format text", {"response_format": {"type": "text"}}),
    Sample("response_format json_object", {"response_format": {"type": "json_object"}}),
    Sample(
        "response_format json_schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": SCHEMA},
            }
        },
    ),
    Sample("logprobs", {"logprobs": True}),
    Sample("top_logprobs", {"logprobs": True, "top_logprobs": 2}),
    Sample("reasoning_effort", {"reasoning_effort": "low"}),
    Sample("reasoning_effort none", {"reasoning_effort": "none"}),
    Sample("n", {"n": 2}),
    Sample("frequency_penalty", {"frequency_penalty": 0.5}),
    Sample("presence_penalty", {"presence_penalty": 0.5}),
    Sample("logit_bias", {"logit_bias": {"5": 1}}),
    Sample("audio", {"audio": {"voice": "x", "format": "wav"}}),
    Sample("modalities", {"modalities": ["text", "audio"]}),
    Sample("moderation", {"moderation": {"model": "m"}}),
    Sample("functions", {"functions": [{"name": "f"}]}),
    Sample("function_call", {"function_call": "auto"}),
    Sample("web_search_options", {"web_search_options": {}}),
    Sample("metadata", {"metadata": {"a": "b"}}),
    Sample("prediction", {"prediction": {"type": "content", "content": "x"}}),
    Sample("prompt_cache_key", {"prompt_cache_key": "k"}),
    Sample("prompt_cache_options", {"prompt_cache_options": {"mode": "implicit"}}),
    Sample("prompt_cache_retention", {"prompt_cache_retention": "24h"}),
    Sample("safety_identifier", {"safety_identifier": "s"}),
    Sample("service_tier", {"service_tier": "flex"}),
    Sample("store", {"store": True}),
    Sample("user", {"user": "u"}),
    Sample("verbosity", {"verbosity": "low"}),
    Sample("an unknown field", {"an_unknown_field": 1}),
)


def unsent() -> dict[str, set[str]]:
    """Fields of the official packages that no sample sends, by path; there must be none."""
    ours = {s.top for s in MESSAGES_SAMPLES}
    published = set(MessageCreateParamsBase.__annotations__)
    published |= set(theirs.MessageCreateParamsBase.__annotations__)
    chat = set(CompletionCreateParamsBase.__annotations__)
    return {
        MESSAGES: published - ours - NO_FIELDS,
        CHAT: chat - {s.top for s in CHAT_SAMPLES},
    }


@dataclass
class Verdict:
    """What became of a sample, and what was said about it."""

    what: str
    said: str = ""


Found = dict[str, list[tuple[Sample, Verdict]]]


async def send_all() -> Found:
    """What became of every sample, by path."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(
            Path(folder, "model"), template=TEMPLATE, max_position_embeddings=WINDOW
        )
        backend = BackendConfig(name="local", kind="local", model=str(model), threads=1)
        tier = TierConfig(name="haiku", backends=("local",))
        config = Config(home=Path(folder), backends={"local": backend}, tiers={"haiku": tier})
        async with AsyncExitStack() as stack:
            app = await App.start(config)
            stack.push_async_callback(app.aclose)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(create_http(app)),
                base_url="http://localhost",
                headers=HEADERS,
            )
            await stack.enter_async_context(client)
            return {
                path: [(sample, await send(client, path, sample)) for sample in samples]
                for path, samples in ((MESSAGES, MESSAGES_SAMPLES), (CHAT, CHAT_SAMPLES))
            }


async def send(
    client: httpx.AsyncClient, path: str, sample: Sample, *, named: bool = True
) -> Verdict:
    """What becomes of one sample; where it is refused and `named`, by its own name."""
    response = await client.post(path, json={**BASE, **sample.fields})
    if response.status_code == 200:
        ignored = response.headers.get("renga-ignored", "").split(", ")
        about = {sample.name, sample.top, sample.name.rpartition(".")[2]}
        return Verdict("ignored" if about & set(ignored) else "honoured")
    if response.status_code == 400:
        told = response.json()["error"]["message"]
        if named and sample.top not in told and "unknown" not in sample.name:
            raise AssertionError(f"{sample.name}: refused without its name: {told}")
        return Verdict("refused", told.partition("; accepted: ")[0])
    raise AssertionError(f"{sample.name}: {response.status_code} {response.text}")


def tables() -> str:
    """Both tables, of one run."""
    found = asyncio.run(send_all())
    return "\n".join(_told(found[path], path) for path in (MESSAGES, CHAT))


def _told(found: list[tuple[Sample, Verdict]], path: str) -> str:
    return f"## `POST {path}`\n\n" + table(("field", "", "what the answer says"), _rows(found))


def _rows(found: list[tuple[Sample, Verdict]]) -> Iterator[list[str]]:
    for sample, verdict in found:
        name, _, form = sample.name.partition(" ")
        known = sample.top in {**BASE, **sample.fields}
        shown = f"`{name}`" + (f": `{form}`" if form else "") if known else sample.name
        yield [shown, verdict.what, verdict.said]
