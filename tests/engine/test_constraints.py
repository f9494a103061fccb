"""Patterns, choices and calls of tools, as the engine writes them: whatever is drawn, they hold."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from renga.chat.calling import tools_grammar
from renga.chat.forms import HERMES
from renga.chat.schema import choice_grammar, json_grammar, regex_grammar
from renga.engine.messages import Submit
from renga.toolkit import ToolSpec
from tests.engine.harness import NAMES, Answer, Workbench, model_folder, run

pytestmark = pytest.mark.timeout(120)

DRAWS = [(0.0, 0), (1.0, 1), (1.5, 2)]


@pytest.fixture(scope="module", params=NAMES)
def bench(request, tmp_path_factory) -> Workbench:
    folder = model_folder(request.param, tmp_path_factory.mktemp("constraints"))
    return Workbench(folder, kv_bytes=100_000_000)


def _answers(bench: Workbench, grammar: str, prompt: str = "Say it.") -> list[Answer]:
    submits = [
        Submit(
            id=str(seed),
            salt="t",
            prompt=bench.tokenizer.encode(prompt).ids,
            max_tokens=300,
            temperature=temperature,
            seed=seed,
            grammar=grammar,
        )
        for temperature, seed in DRAWS
    ]
    return list(run(bench.engine(ends=True), submits).values())


def test_a_pattern_holds_whatever_is_drawn(bench):
    for answer in _answers(bench, regex_grammar(r"[A-Z]{2}-[0-9]{3,5}( urgent)?")):
        assert re.fullmatch(r"[A-Z]{2}-[0-9]{3,5}( urgent)?", answer.text)
        assert answer.end.reason == "end_turn"


CHOICES = ["card", "card payment", "cash on delivery", "Überweisung"]


def test_a_choice_ends_right_after_its_string(bench):
    for answer in _answers(bench, choice_grammar(CHOICES)):
        assert answer.text in CHOICES
        assert answer.end.reason == "end_turn"


@pytest.mark.parametrize("label", CHOICES[:2])
def test_a_label_that_begins_another_is_reachable_and_so_is_the_other(bench, label):
    """A model that wants one of them gets it: the mask leaves it and the end of the turn."""
    mask = bench.language.grammars.compile(choice_grammar(CHOICES))
    for token in bench.tokenizer.encode(label).ids:
        assert mask.allowed()[token]
        mask.accept(token)
    ends = mask.complete or any(mask.allowed()[end] for end in bench.model_ends)
    assert ends


def test_json_is_written_without_white_space(bench):
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
            "paid": {"type": "boolean"},
        },
        "required": ["tags", "paid"],
    }
    for answer in _answers(bench, json_grammar(schema)):
        found = json.loads(answer.text)
        jsonschema.validate(found, schema)
        assert answer.text == json.dumps(found, separators=(",", ":"))


TOOLS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 3, 7]}},
        "required": ["city"],
    },
    "end_call": {"type": "object", "properties": {}},
}
SPECS = [ToolSpec(name, "", schema) for name, schema in TOOLS.items()]


def _marks(bench: Workbench) -> dict[str, int]:
    ids = bench.tokenizer.get_vocab()
    return {mark: ids[mark] for mark in ("<tool_call>", "</tool_call>")}


def _calls(text: str) -> list[dict[str, Any]]:
    """The calls in a text, each on lines of its own. Arguments may hold anything but a new line."""
    return [json.loads(line) for line in text.split("\n") if line.startswith('{"name":')]


@pytest.mark.parametrize("parallel", [False, True])
def test_a_tool_call_is_framed_by_its_tokens_and_its_arguments_fit(bench, parallel):
    marks = _marks(bench)
    grammar = tools_grammar(SPECS, HERMES, lazy=False, parallel=parallel, markers=marks).grammar
    for answer in _answers(bench, grammar, "Call a tool."):
        if answer.end.reason == "max_tokens":
            continue  # a model may call for ever where that is allowed
        assert answer.tokens[0] == marks["<tool_call>"]
        assert marks["</tool_call>"] in answer.tokens
        calls = _calls(answer.text)
        assert len(calls) >= 1 if parallel else len(calls) == 1
        for call in calls:
            assert list(call) == ["name", "arguments"]
            jsonschema.validate(call["arguments"], TOOLS[call["name"]])


def test_without_such_tokens_a_tool_call_is_framed_by_text(bench):
    grammar = tools_grammar(SPECS, HERMES, lazy=False, parallel=False).grammar
    for answer in _answers(bench, grammar, "Call a tool."):
        found = re.fullmatch(r"<tool_call>\n(.*)\n</tool_call>", answer.text)
        assert found
        call = json.loads(found[1])
        jsonschema.validate(call["arguments"], TOOLS[call["name"]])
        assert not set(_marks(bench).values()) & set(answer.tokens)
