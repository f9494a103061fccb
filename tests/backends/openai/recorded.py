"""Answers in the published forms of the servers of OpenAI's chat API, and what each amounts to.

The forms are those of the servers' own types and documentation (`renga.backends.openai.quirks`
names them); llama.cpp's were taken from its running server. What is said in them is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from renga.types import MessagesRequest
from tests.backends.openai.replaying import TOOL, asking, delta, frames

CALL = {"type": "tool_use", "name": "get_weather", "input": {"city": "Oslo"}}
SECOND = {"type": "tool_use", "name": "get_weather", "input": {"city": "Rome"}}


@dataclass(frozen=True)
class Recorded:
    """An answer as bytes, the request it is for, and its message.

    `usage` are the prompt's tokens without those read from a cache, those, and those of the answer.
    """

    quirks: str
    data: bytes
    content: list[dict[str, Any]]
    usage: tuple[int, int, int]
    reason: str = "end_turn"
    stopped: str | None = None
    thinking: int | None = None
    request: MessagesRequest = field(default_factory=asking)
    estimated: bool = False


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _thought(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text}


THINKING = asking(max_tokens=2_000, thinking={"type": "enabled", "budget_tokens": 1_024})
CALLING = asking(tools=[TOOL])
BOTH = asking(max_tokens=2_000, tools=[TOOL], thinking={"type": "enabled", "budget_tokens": 1_024})


# --- vLLM -----------------------------------------------------------------------------------------


def _vllm(used: int, finish: str | None = None, stop: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish}
    if finish:
        choice |= {"stop_reason": stop, "token_ids": None}
    return {
        "id": "chatcmpl-0c1f6d2f5a5e4d5d9a0be1a1a7f3c9d2",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "model": "Qwen/Qwen3-4B",
        "choices": [choice],
        "usage": {"prompt_tokens": 21, "total_tokens": 21 + used, "completion_tokens": used},
    }


def _vllm_used(used: int, cached: int | None = None) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": 21,
        "total_tokens": 21 + used,
        "completion_tokens": used,
    }
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {**_vllm(used), "choices": [], "usage": usage}


def _vllm_call(index: int, **call: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **call}]}


VLLM_TEXT = Recorded(
    "vllm",
    frames(
        {**_vllm(0, role="assistant", content=""), "prompt_token_ids": None},
        _vllm(1, content="Rain"),
        _vllm(2, content=" — "),
        _vllm(3, content="東京 🦊"),
        _vllm(4, "stop", 151_645, content=""),
        _vllm_used(4, cached=16),
    ),
    [_text("Rain — 東京 🦊")],
    (5, 16, 4),
)
VLLM_STOPPED = Recorded(
    "vllm",
    frames(
        _vllm(0, role="assistant", content=""),
        _vllm(1, content="One"),
        _vllm(3, "stop", "END", content=" two "),
        _vllm_used(3),
    ),
    [_text("One two ")],
    (21, 0, 3),
    "stop_sequence",
    "END",
    request=asking(stop_sequences=["STOP", "END"]),
)
VLLM_CALLS = Recorded(
    "vllm",
    frames(
        _vllm(0, role="assistant", content=""),
        # Since 0.12 both names of the field come, with the same text.
        _vllm(1, reasoning="Two cities", reasoning_content="Two cities"),
        _vllm(2, reasoning=".", reasoning_content="."),
        _vllm(3, content="\n\n"),
        _vllm(4, **_vllm_call(0, id="chatcmpl-tool-1f", type="function",
                              function={"name": "get_weather"})),
        _vllm(5, **_vllm_call(0, function={"arguments": '{"ci'})),
        _vllm(6, **_vllm_call(0, function={"arguments": 'ty": "Os'})),
        _vllm(7, **_vllm_call(0, function={"arguments": 'lo"}'})),
        _vllm(8, **_vllm_call(1, id="chatcmpl-tool-2e", type="function",
                              function={"name": "get_weather"})),
        _vllm(9, **_vllm_call(1, function={"arguments": '{"city": "Rome"}'})),
        _vllm(10, "tool_calls", None, content=""),
        _vllm_used(10),
    ),
    [_thought("Two cities."), CALL, SECOND],
    (21, 0, 10),
    "tool_use",
    request=BOTH,
)  # fmt: skip
# A named tool is called, and the reason is as if nothing had been.
VLLM_NAMED = Recorded(
    "vllm",
    frames(
        _vllm(0, role="assistant", content=""),
        _vllm(1, **_vllm_call(0, id="chatcmpl-tool-9", type="function",
                              function={"name": "get_weather", "arguments": '{"city"'})),
        _vllm(2, **_vllm_call(0, function={"name": "get_weather", "arguments": ': "Oslo"}'})),
        _vllm(3, "stop"),
        _vllm_used(3),
    ),
    [CALL],
    (21, 0, 3),
    "tool_use",
    request=asking(tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"}),
)  # fmt: skip


# --- SGLang ---------------------------------------------------------------------------------------


def _sglang(finish: str | None = None, matched: Any = None, **fields: Any) -> dict[str, Any]:
    given = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None, **fields}
    return {
        "id": "a2c0b8c5d4f14a0c8a4e9f4f3b1d6e70",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "model": "Qwen/Qwen3-4B",
        "choices": [
            {"index": 0, "delta": given, "logprobs": None, "finish_reason": finish,
             "matched_stop": matched}
        ],
        "usage": None,
    }  # fmt: skip


SGLANG_USED = {
    **_sglang(),
    "choices": [],
    "usage": {
        "prompt_tokens": 30,
        "total_tokens": 39,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 12},
        "reasoning_tokens": 4,
    },
}
SGLANG_THINKING = Recorded(
    "sglang",
    frames(
        _sglang(role="assistant", content=""),
        _sglang(reasoning_content="\nIt is"),
        _sglang(reasoning_content=" autumn."),
        _sglang(content="Rain, "),
        _sglang(content="I guess."),
        _sglang("stop", 151_645),
        SGLANG_USED,
    ),
    [_thought("It is autumn."), _text("Rain, I guess.")],
    (18, 12, 9),
    thinking=4,
    request=THINKING,
)
SGLANG_CALL = Recorded(
    "sglang",
    frames(
        _sglang(role="assistant", content=""),
        _sglang(tool_calls=[{"id": "call_4e", "index": 0, "type": "function",
                             "function": {"name": "get_weather", "arguments": ""}}]),
        _sglang(tool_calls=[{"id": None, "index": 0, "type": "function",
                             "function": {"name": None, "arguments": '{"city": "Oslo"'}}]),
        _sglang(tool_calls=[{"id": None, "index": 0, "type": "function",
                             "function": {"name": None, "arguments": "}"}}]),
        _sglang("tool_calls", "NaN happened"),
        SGLANG_USED,
    ),
    [CALL],
    (18, 12, 9),
    "tool_use",
    request=CALLING,
)  # fmt: skip
SGLANG_STOPPED = Recorded(
    "sglang",
    frames(_sglang(content="One "), _sglang("stop", "END"), SGLANG_USED),
    [_text("One ")],
    (18, 12, 9),
    "stop_sequence",
    "END",
    request=asking(stop_sequences=["END"]),
)


# --- Ollama ---------------------------------------------------------------------------------------


def _ollama(finish: str | None = None, content: str = "", **fields: Any) -> dict[str, Any]:
    given = {"role": "assistant", "content": content, **fields}
    return {
        "id": "chatcmpl-548",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "model": "qwen3:4b",
        "system_fingerprint": "fp_ollama",
        "choices": [{"index": 0, "delta": given, "finish_reason": finish}],
    }


OLLAMA_USED = {
    **_ollama(),
    "choices": [],
    "usage": {"prompt_tokens": 26, "completion_tokens": 6, "total_tokens": 32},
}


def _ollama_call(city: str, id: str = "call_a", arguments: Any = None) -> dict[str, Any]:
    written = f'{{"city":"{city}"}}' if arguments is None else arguments
    function = {"name": "get_weather", "arguments": written}
    return {"id": id, "index": 0, "type": "function", "function": function}


OLLAMA_THINKING = Recorded(
    "ollama",
    frames(
        _ollama(reasoning="Cold"),
        _ollama(reasoning=" there."),
        _ollama(content="Bring"),
        _ollama(content=" a coat."),
        _ollama("stop"),
        OLLAMA_USED,
    ),
    [_thought("Cold there."), _text("Bring a coat.")],
    (26, 0, 6),
    thinking=3,
    request=THINKING,
)
# Every call is whole, and all of them have the index 0.
OLLAMA_CALLS = Recorded(
    "ollama",
    frames(
        _ollama(tool_calls=[_ollama_call("Oslo", "call_a")]),
        _ollama(tool_calls=[_ollama_call("Rome", "call_b")]),
        _ollama("tool_calls"),
        OLLAMA_USED,
    ),
    [CALL, SECOND],
    (26, 0, 6),
    "tool_use",
    request=CALLING,
)
# Its older releases named no id and ended with `stop`; its own form of arguments is an object.
OLLAMA_OLD = Recorded(
    "ollama",
    frames(
        _ollama(
            tool_calls=[_ollama_call("Oslo", ""), _ollama_call("", "", arguments={"city": "Rome"})]
        ),
        _ollama("stop"),
        done=False,
    ),
    [CALL, SECOND],
    (-1, 0, -1),
    "tool_use",
    request=CALLING,
    estimated=True,
)


# --- OpenRouter -----------------------------------------------------------------------------------


def _router(finish: str | None = None, native: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": "", **fields},
        "finish_reason": finish,
        "native_finish_reason": native,
        "logprobs": None,
    }
    return {
        "id": "gen-1763800000-AbCdEfGhIjKlMnOpQrSt",
        "provider": "Example",
        "model": "qwen/qwen3-4b",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "choices": [choice],
    }


ROUTER_USED = {
    **_router(),
    "usage": {
        "prompt_tokens": 40,
        "completion_tokens": 12,
        "total_tokens": 52,
        "cost": 0.0000156,
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5, "image_tokens": 0},
    },
}
ROUTER_THINKING = Recorded(
    "openrouter",
    b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"
    + frames(
        _router(
            reasoning="A guess.",
            reasoning_details=[{"type": "reasoning.text", "text": "A guess.", "index": 0}],
        ),
        ": OPENROUTER PROCESSING",
        _router(content="Snow"),
        _router("stop", "STOP", content="."),
        ROUTER_USED,
    ),
    [_thought("A guess."), _text("Snow.")],
    (40, 0, 12),
    thinking=5,
    request=THINKING,
)


# --- OpenAI ---------------------------------------------------------------------------------------


def _openai(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-C0sT2rT9Hn7oQ1vYb3kX5mZ8",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        "choices": [{"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish}],
        "usage": None,
        "obfuscation": "k3Jd0a",
    }


OPENAI_USED = {
    **_openai(),
    "choices": [],
    "usage": {
        "prompt_tokens": 1_200,
        "completion_tokens": 18,
        "total_tokens": 1_218,
        "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
}


def _openai_call(index: int, text: str, **first: Any) -> dict[str, Any]:
    name = {"name": "get_weather"} if first else {}
    return {"tool_calls": [{"index": index, **first, "function": {**name, "arguments": text}}]}


OPENAI_CALLS = Recorded(
    "openai",
    frames(
        _openai(role="assistant", content=None),
        _openai(**_openai_call(0, "", id="call_Kf3a", type="function")),
        _openai(**_openai_call(0, '{"ci')),
        _openai(**_openai_call(0, 'ty": "Oslo"}')),
        _openai(**_openai_call(1, "", id="call_Kf3b", type="function")),
        _openai(**_openai_call(1, '{"city": "Rome"}')),
        _openai("tool_calls"),
        OPENAI_USED,
    ),
    [CALL, SECOND],
    (176, 1_024, 18),
    "tool_use",
    request=CALLING,
)
OPENAI_REFUSAL = Recorded(
    "openai",
    frames(
        _openai(role="assistant", content="", refusal=None),
        _openai(refusal="I cannot"),
        _openai(refusal=" help with that."),
        _openai("stop"),
        OPENAI_USED,
    ),
    [_text("I cannot help with that.")],
    (176, 1_024, 18),
    "refusal",
)
OPENAI_STOPPED = Recorded(
    "openai",
    frames(
        _openai(role="assistant", content=""),
        _openai(content="One tw"),
        _openai(content="o E"),
        _openai(content="ND three"),
        _openai("stop"),
        OPENAI_USED,
    ),
    [_text("One two ")],
    (-1, 0, -1),
    "stop_sequence",
    "END",
    request=asking(stop_sequences=["END"]),
    estimated=True,
)


# --- others ---------------------------------------------------------------------------------------


def _llamacpp(told: int, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    chunk = {
        "choices": [{"finish_reason": finish, "index": 0, "delta": fields}],
        "created": 1_795_403_122,
        "id": "chatcmpl-ZiWaj1a3QBTc2pBEBVCgwuLpdJxqXf0L",
        "model": "haiku.gguf",
        "system_fingerprint": "b0-unknown",
        "object": "chat.completion.chunk",
    }
    timings = {"cache_n": 9, "prompt_n": 1, "prompt_ms": 16.169, "predicted_n": told}
    return {**chunk, "timings": timings} if told else chunk


LLAMACPP_TEXT = Recorded(
    "llamacpp",
    frames(
        _llamacpp(0, role="assistant", content=None),
        _llamacpp(1, content="Hi"),
        _llamacpp(2, content="!"),
        _llamacpp(0, "length"),
        {
            **_llamacpp(2),
            "choices": [],
            "usage": {
                "completion_tokens": 2,
                "prompt_tokens": 10,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 9},
            },
        },
    ),
    [_text("Hi!")],
    (1, 9, 2),
    "max_tokens",
    request=asking(max_tokens=2),
)
# With CRLF, comments against silence, and usage beside the end.
DEEPSEEK = Recorded(
    "generic",
    frames(
        ": keep-alive",
        delta(role="assistant", content=None, reasoning_content=""),
        delta(reasoning_content="Hm."),
        delta(content="Fog."),
        {
            **delta("stop", content="", reasoning_content=None),
            "usage": {
                "prompt_tokens": 14,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 4,
                "prompt_cache_miss_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        },
    ).replace(b"\n", b"\r\n"),
    [_text("Fog.")],
    (10, 4, 5),
)
MISTRAL = Recorded(
    "generic",
    frames(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm, "}]}]),
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "fog."}]}]),
        delta(content=[{"type": "text", "text": "Fog."}]),
        {
            **delta("model_length", content=""),
            "usage": {"prompt_tokens": 14, "total_tokens": 19, "completion_tokens": 5},
        },
    ),
    [_thought("Hm, fog."), _text("Fog.")],
    (14, 0, 5),
    "model_context_window_exceeded",
    thinking=3,
    request=THINKING,
)

RECORDED = {
    name.lower(): value for name, value in list(globals().items()) if isinstance(value, Recorded)
}
