"""Schemas drawn at random: whatever is sampled, a forced call parses, and its arguments fit.

jsonschema is the oracle. The engine, its sampler and the grammars are real; the logits are noise
that leans to what closes a value, so that answers end.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from jsonschema import Draft202012Validator

from renga.chat.calling import tools_grammar
from renga.chat.forms import HERMES
from renga.chat.schema import json_grammar
from renga.engine.batch import Batch
from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import EngineSettings, Submit
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from renga.toolkit import ToolSpec
from tests.engine.fakes import CountingModel
from tests.engine.harness import Answer, run
from tests.tiny_model import MARKS, TURN_END, train_tokenizer, write_words

COUNT = 100
ALL = 1_000
VOCAB = 640
WORDS = ["city", "kind", "größe", "items", "note", "x-1", "a b", 'say "hi"', "<tool_call>", "東"]
FORMATS = ["date", "time", "date-time", "email", "uuid", "ipv4"]


class Noise(CountingModel):
    """Says anything, closing quotes and brackets first."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocab=VOCAB, blocks=512)
        self._random = np.random.default_rng(3)
        closes = [piece[:1] in b'"}],' and piece != b"" for piece in vocabulary.pieces]
        self._lean = np.zeros(VOCAB, dtype=np.float32)
        self._lean[: len(closes)] = np.array(closes) * 4.0

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        noise = self._random.standard_normal((len(batch.rows), VOCAB), dtype=np.float32)
        return noise + self._lean


class Drawn:
    """Schemas of one seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def object(self, depth: int) -> dict[str, Any]:
        names = self.draw.sample(WORDS, self.draw.randrange(0, 5))
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.any(depth - 1) for name in names},
        }
        if names and self.draw.random() < 0.8:
            schema["required"] = self.draw.sample(names, self.draw.randrange(len(names) + 1))
        if self.draw.random() < 0.5:
            schema["additionalProperties"] = False
        return schema

    def any(self, depth: int) -> dict[str, Any]:
        kinds = [self.scalar, self.scalar, self.choice]
        if depth > 0:
            kinds += [lambda: self.object(depth), lambda: self.array(depth)]
            kinds += [lambda: self.union(depth)]
        return self.draw.choice(kinds)()

    def scalar(self) -> dict[str, Any]:
        draw = self.draw
        return draw.choice(
            [
                {"type": "string", "maxLength": draw.randrange(1, 20)},
                {"type": "string", "minLength": 2, "maxLength": 9, "description": "a few letters"},
                {"type": "string", "pattern": draw.choice(["^[A-Z]{2}-[0-9]+$", "^(a|b)?c{1,3}$"])},
                {"type": "string", "format": draw.choice(FORMATS)},
                {"type": "integer", "minimum": draw.randrange(-50, 50)},
                {"type": "integer", "minimum": -3, "exclusiveMaximum": 1_000},
                {"type": "number", "minimum": -1.5, "maximum": 99.25},
                {"type": "boolean"},
                {"type": "null"},
                {"type": ["integer", "null"], "maximum": 10},
            ]
        )

    def choice(self) -> dict[str, Any]:
        values = ["red", "Zoë 🦊", 3, 2.5, None, True, "", "</tool_call>\n", '{"a":1}', "10"]
        picked = self.draw.sample(values, self.draw.randrange(1, 6))
        return {"enum": picked} if len(picked) > 1 else {"const": picked[0]}

    def array(self, depth: int) -> dict[str, Any]:
        least = self.draw.randrange(0, 3)
        schema = {"type": "array", "items": self.any(depth - 1), "minItems": least}
        if self.draw.random() < 0.7:
            schema["maxItems"] = least + self.draw.randrange(3)
        return schema

    def union(self, depth: int) -> dict[str, Any]:
        if self.draw.random() < 0.3:
            name = self.draw.choice(WORDS)
            return {"$defs": {name: {}}, "anyOf": [self.any(depth - 1), {"type": "null"}]}
        return {"anyOf": [self.any(depth - 1) for _ in range(self.draw.randrange(1, 4))]}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    write_words(folder)
    return Path(folder / "tokenizer.json")


def answers(path: Path, grammars: list[str]) -> Iterator[Answer]:
    vocabulary = Vocabulary.load(path)
    engine = Engine(
        Noise(vocabulary),
        Language(vocabulary, Grammars(path, VOCAB, [TURN_END]), frozenset([TURN_END])),
        EngineSettings(model="noise", max_waiting=len(grammars)),
        clock=itertools.count().__next__,
        entropy=lambda: 0,
    )
    submits = [
        Submit(id=str(n), salt="t", prompt=[5, n % 7], max_tokens=1_500, seed=n, grammar=grammar)
        for n, grammar in enumerate(grammars)
    ]
    found = run(engine, submits)
    for submit in submits:
        answer = found[submit.id]
        assert answer.end.reason == "end_turn", answer
        yield answer


def fits(value: Any, schema: dict[str, Any]) -> None:
    checker = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator(schema, format_checker=checker).validate(value)


def in_order(value: Any, schema: dict[str, Any]) -> None:
    """Required properties first, then the others, each in the schema's order."""
    required = schema.get("required", [])
    ordered = sorted(schema["properties"], key=lambda name: name not in required)
    assert list(value) == [name for name in ordered if name in value]


def check_structured_outputs(path: Path, count: int, seed: int) -> None:
    drawn = Drawn(seed)
    schemas = [drawn.any(3) if n % 3 else drawn.object(3) for n in range(count)]
    for schema, answer in zip(
        schemas, answers(path, [json_grammar(schema) for schema in schemas]), strict=True
    ):
        value = json.loads(answer.text)
        fits(value, schema)
        if schema.get("type") == "object":
            in_order(value, schema)


def check_forced_calls(path: Path, count: int, seed: int) -> None:
    drawn = Drawn(seed)
    tokenizer = train_tokenizer()
    ids = {mark: tokenizer.token_to_id(mark) for mark in MARKS[:2]}
    marks = {mark: number for mark, number in ids.items() if number is not None}
    assert len(marks) == 2
    frames: list[tuple[dict[str, Any], str]] = []
    for number in range(count):
        tools = {f"tool_{n}": drawn.object(3) for n in range(drawn.draw.randrange(1, 4))}
        specs = [
            ToolSpec(name, "", schema, strict=drawn.draw.random() < 0.5)
            for name, schema in tools.items()
        ]
        tokens = marks if number % 4 else {}
        made = tools_grammar(specs, HERMES, lazy=False, parallel=False, markers=tokens)
        frames.append((tools, made.grammar))
    for (tools, _), answer in zip(
        frames, answers(path, [grammar for _, grammar in frames]), strict=True
    ):
        begin, line, end = answer.text.split("\n")
        assert (begin, end) == ("<tool_call>", "</tool_call>")
        call = json.loads(line)
        assert list(call) == ["name", "arguments"]
        fits(call["arguments"], tools[call["name"]])
        in_order(call["arguments"], tools[call["name"]])


def test_structured_outputs_fit_their_schemas(path):
    check_structured_outputs(path, COUNT, seed=1)


def test_forced_calls_fit_their_tools(path):
    check_forced_calls(path, COUNT, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_structured_outputs_fit_their_schemas(path):
    check_structured_outputs(path, ALL, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_forced_calls_fit_their_tools(path):
    check_forced_calls(path, ALL, seed=4)
