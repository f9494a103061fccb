"""Chat templates as models are published with them, rendered as `transformers` renders them.

Their texts come with the source of llama.cpp, which collects them; none of them is kept here.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from renga.chat.forms import FORMS, CallBegin, CallEnd, CallJson, Form, Reader, Tool
from renga.chat.probing import Forms, forms_of
from renga.chat.template import REFUSALS, ModelTemplate
from tests.chat.test_call_forms import SCHEMA, arguments
from tests.clients.packages import TEMPLATES, TEMPLATES_HASH, from_source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SPECIAL = {"bos_token": "<BOS>", "eos_token": "<EOS>"}

# Which form each of them writes calls in; the others write none, or one that is not known here.
FOUND = {
    "Apriel-1.6-15b-Thinker-fixed": "apriel",
    "Bielik-11B-v3.0-Instruct": "hermes",
    "ByteDance-Seed-OSS": "seed",
    "Cohere2MoE": "cohere",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "cohere",
    "GLM-4.6": "glm",
    "GLM-4.7-Flash": "glm-tight",
    "MiMo-VL": "hermes",
    "MiniMax-M1": "apriel",
    "MiniMax-M2": "minimax",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral-named",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen-coder",
    "NVIDIA-Nemotron-Nano-v2": "nemotron",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen-coder",
    "Qwen3.5-4B": "qwen-coder",
    "Reka-Edge": "hermes",
    "Spark2.5": "glm-tight",
    "StepFun3.5-Flash": "qwen-coder",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek",
    "deepseek-ai-DeepSeek-V3.1": "deepseek-bare",
    "deepseek-ai-DeepSeek-V3.2": "deepseek-function-calls",
    "deepseek-ai-DeepSeek-V4": "deepseek-tool-calls",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "deepseek-tool-calls",
    "google-gemma-4-31B-it": "gemma",
    "google-gemma-4-31B-it-interleaved": "gemma",
    "ibm-granite-granite-4.0": "hermes",
    "ibm-granite-granite-4.1": "hermes",
    "inclusionai-ling-3.0-flash": "glm",
    "meta-llama-Llama-3.1-8B-Instruct": "llama",
    "meta-llama-Llama-3.2-3B-Instruct": "llama",
    "meta-llama-Llama-3.3-70B-Instruct": "llama",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral-named",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
    "moonshotai-Kimi-K2": "kimi",
    "openai-gpt-oss-120b": "harmony",
    "poolside-Laguna-S-2.1": "glm-tight",
    "poolside-Laguna-XS-2.1": "glm",
    "poolside-Laguna-XS.2": "glm",
    "unsloth-Apriel-1.5": "apriel",
    "unsloth-mistral-Devstral-Small-2507": "mistral-named",
}
# What stands around thinking, in some of them.
THOUGHTS = {
    "Qwen-Qwen3-0.6B": ("<think>\n", "\n</think>\n\n"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ("<think>\n", "\n</think>\n\n"),
    "GLM-4.7-Flash": ("<think>", "</think>"),
    "openai-gpt-oss-120b": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
    "ByteDance-Seed-OSS": ("<seed:think>", "</seed:think>\n"),
}
# What ends a turn, in some of them.
ENDS = {
    "Qwen-Qwen3-0.6B": ("<|im_end|>",),
    "meta-llama-Llama-3.1-8B-Instruct": ("<|eot_id|>",),
    "mistralai-Mistral-Nemo-Instruct-2407": ("<EOS>",),
    "openai-gpt-oss-120b": ("<|end|>", "<|call|>"),
    "GLM-4.6": ("<|user|>", "<|observation|>"),
    "google-gemma-4-31B-it": ("<turn|>", "<|tool_response>"),
    "moonshotai-Kimi-K2": ("<|im_end|>",),
}

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "look_outside",
            "description": 'Tells the weather, in "words" & <signs>.',
            "parameters": SCHEMA,
        },
    },
    {
        "type": "function",
        "function": {
            "name": "ask-2",
            "description": "Asks.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]


def said(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def called(*calls: tuple[str, Any], content: Any = "", **fields: Any) -> dict[str, Any]:
    made = [
        {"type": "function", "id": f"abcdefgh{n}", "function": {"name": name, "arguments": given}}
        for n, (name, given) in enumerate(calls)
    ]
    return said("assistant", content, tool_calls=made, **fields)


def result(content: str, number: int = 0, name: str = "look_outside") -> dict[str, Any]:
    return said("tool", content, tool_call_id=f"abcdefgh{number}", name=name)


HI, FINE, GIVEN = said("user", "Hi"), said("assistant", "Fine."), {"place": "Kyōto <b>", "days": 2}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "plain": [HI],
    "system": [said("system", "Be kind."), HI],
    "turns": [said("system", "Be kind."), HI, FINE, said("user", "And now?"), FINE, HI],
    "unicode": [
        said("user", "東京 🦊\u2028 \u00a0ß <|im_end|> {{ x }} {% y %} &amp; 'q' \"q\" \\n")
    ],
    "white space": [said("user", "  Hi \n\n"), said("assistant", "\n Fine.\n"), said("user", " ")],
    "empty": [said("user", ""), said("assistant", ""), HI],
    "system inside": [HI, FINE, said("system", "Be brief."), HI],
    "system last": [HI, FINE, said("system", "Be brief.")],
    "users in a row": [HI, HI, FINE, FINE, HI],
    "an answer last": [HI, FINE],
    "call": [HI, called(("look_outside", GIVEN)), result("sunny")],
    "call in text": [HI, called(("look_outside", json.dumps(GIVEN))), result("sunny")],
    "call of nothing": [HI, called(("ask-2", {}), content=None), result("yes", name="ask-2")],
    "text and call": [HI, called(("ask-2", {}), content="I ask."), result("yes", name="ask-2"), HI],
    "calls": [
        said("system", "Be kind."),
        HI,
        called(("look_outside", GIVEN), ("ask-2", {})),
        result("sunny"),
        result('{"a": 1}', 1, "ask-2"),
        FINE,
        HI,
    ],
    "thought": [HI, said("assistant", "Fine.", reasoning_content="It may rain."), HI],
    "thought before a call": [
        HI,
        called(("look_outside", GIVEN), reasoning_content="Look.", thinking="Look."),
        result("Error: dark"),
    ],
}


# Tools, whether thinking is asked for, and whether an answer is.
WAYS = ((None, False, True), (TOOLS, True, True), (TOOLS, False, False))


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """Every template's text by its name."""
    folder = from_source("templates", TEMPLATES, TEMPLATES_HASH, "models/templates/*.jinja")
    return {file.stem: file.read_text("utf-8") for file in sorted(folder.glob("*.jinja"))}


def ours(source: str) -> ModelTemplate:
    return ModelTemplate(source, SPECIAL, datetime.now)


def found(source: str) -> Forms:
    """The forms of a template; its tokens are all that look like some."""

    marks = re.findall(r"<[^<>\s]{1,40}>", source)
    return forms_of(ours(source), {*marks, "<BOS>", "<EOS>", "<think>", "</think>"})


def test_every_conversation_is_written_as_transformers_writes_it(sources: dict[str, str]) -> None:
    assert len(sources) >= 60
    refused = 0
    for name, source in sources.items():
        template = ours(source)
        for title, messages in CONVERSATIONS.items():
            for tools, thinking, answer in WAYS:
                where = f"{name}: {title}, {bool(tools)}, {thinking}"
                try:
                    theirs, _ = render_jinja_template(
                        [messages],
                        tools=tools,
                        chat_template=source,
                        add_generation_prompt=answer,
                        enable_thinking=thinking,
                        thinking=thinking,
                        **SPECIAL,
                    )
                except REFUSALS as refusal:
                    refused += 1
                    with pytest.raises(type(refusal)):
                        template.render(messages, tools, answer=answer, thinking=thinking)
                else:
                    text = template.render(messages, tools, answer=answer, thinking=thinking)
                    assert text == theirs[0], where
    assert 0 < refused < 0.3 * 3 * len(sources) * len(CONVERSATIONS)


def test_the_form_of_every_template_is_known_or_none(sources: dict[str, str]) -> None:
    forms = {name: found(source) for name, source in sources.items()}
    assert {name: one.call.name for name, one in forms.items() if one.call is not None} == FOUND
    for name, (opening, closing) in THOUGHTS.items():
        thought = forms[name].thought
        assert thought is not None
        assert (thought.opening, thought.closing) == (opening, closing)
    assert {name: forms[name].ends for name in ENDS} == ENDS


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_calls_that_a_template_writes_are_read_as_they_were(
    form: Form, sources: dict[str, str]
) -> None:
    names = [name for name, known in FOUND.items() if known == form.name]
    if not names:
        assert form.name in ("phi", "function-gemma"), "no template with it is in the collection"
        return
    template = ours(sources[names[-1]])
    tools = {"look_outside": Tool("look_outside", SCHEMA)}
    way = template.abilities.way
    head = template.render([HI], TOOLS)

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arguments)
    def check(given: dict[str, Any]) -> None:
        if form.name == "seed":  # its template writes lists as Python does
            given = {key: value for key, value in given.items() if key not in ("within", "tags")}
        messages = [HI, way.message("look_outside", arguments=given), way.result()]
        try:
            written = template.render(messages, TOOLS, answer=False)
        except TemplateError:
            return
        reader = Reader(form, tools)
        text = written.removeprefix(head) if form.bare else written
        parts = reader.feed(text) + reader.finish(cut=True)
        read = []
        for kind, group in groupby(parts, key=type):
            if kind is CallBegin:
                read.append(([part for part in group if isinstance(part, CallBegin)][0].name, ""))
            elif kind is CallJson and read:
                json_ = "".join(part.json for part in group if isinstance(part, CallJson))
                read[-1] = (read[-1][0], read[-1][1] + json_)
        assert CallEnd(whole=True) in parts
        calls = [(name, json.loads(text)) for name, text in read if name == "look_outside"]
        assert calls[-1] == ("look_outside", given)

    check()
