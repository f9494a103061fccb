"""A real model driven in this process: a random one, and the shipped one where it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from renga.engine.batch import Batch
from renga.engine.engine import Engine, Logits
from renga.engine.grammar import Grammars
from renga.engine.messages import (
    EngineSettings,
    Finished,
    Likely,
    Output,
    Refused,
    Started,
    Submit,
)
from renga.engine.model import Model, ModelFiles
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from tests.tiny_model import write_model

SHIPPED = Path(__file__).parents[2] / "src/renga/models/shipped/haiku"
NAMES = ["random", *(["shipped"] if (SHIPPED / "openvino_model.xml").exists() else [])]


def model_folder(name: str, scratch: Path) -> Path:
    """The folder of a model under test."""
    if name == "shipped":
        return SHIPPED
    return write_model(
        scratch / "random", num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2
    )


@dataclass
class Answer:
    """All that came back about one request."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    started: Started | None = None
    finished: Finished | None = None
    refused: Refused | None = None
    logprobs: list[Likely] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    """By how much the best logit led the second, for each token; only when it ran alone."""

    @property
    def reused(self) -> int:
        """Prompt tokens read from blocks, as said when it started."""
        assert self.started is not None
        return self.started.reused_tokens

    @property
    def end(self) -> Finished:
        """The last word about it."""
        assert self.finished is not None
        return self.finished


class Watched:
    """The model, noting for every row how far the best logit leads the second."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.vocab, self.window, self.blocks = model.vocab, model.window, model.blocks
        self.gaps: list[float] = []
        self.copy_block = model.copy_block

    def forward(self, batch: Batch) -> Logits:
        logits = self.model.forward(batch)
        if len(logits):
            second, best = np.partition(logits[0], -2)[-2:]
            self.gaps.append(float(best - second))
        return logits


class Workbench:
    """One compiled model and as many engines over it as a test wants, one after the other."""

    def __init__(self, folder: Path, **settings) -> None:
        self.settings = EngineSettings(model=str(folder), **settings)
        files = ModelFiles.read(folder)
        self.model = Model(files, self.settings)
        path = folder / "tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(path))
        self.model_ends = files.end_ids
        grammars = Grammars(path, self.model.vocab, files.end_ids)
        self.language = Language(Vocabulary.load(path), grammars, frozenset(files.end_ids))
        self.watched = Watched(self.model)

    def engine(
        self,
        *,
        ends: bool = False,
        blocks: int | None = None,
        model: Any = None,
        clock: Callable[[], float] = time.monotonic,
        **settings,
    ) -> Engine:
        """A fresh engine; unless it `ends`, no token ends a turn, so that lengths are known.

        It may run another `model` than the watched one, over the same blocks.
        """
        self.watched.blocks = blocks or self.model.blocks
        language = self.language
        if not ends:
            language = Language(language.vocabulary, language.grammars, frozenset())
        return Engine(
            model or self.watched,
            language,
            msgspec.structs.replace(self.settings, **settings),
            clock=clock,
            entropy=lambda: 1,
        )

    def prompts(self, count: int, longest: int = 300) -> list[list[int]]:
        """Half of them text, half any tokens; lengths on both sides of block borders."""
        random = np.random.default_rng(11)
        words = ["the", "order", "refund", "please", "Zürich", "東京", "when", "12", "{", '"name"']
        prompts: list[list[int]] = []
        for number in range(count):
            length = int(random.choice([1, 5, 31, 32, 33, 64, 100, 257, longest]))
            if number % 2:
                ids = random.integers(3, self.tokenizer.get_vocab_size(), length).tolist()
            else:
                text = " ".join(random.choice(words, length))
                ids = self.tokenizer.encode(text).ids[:length]
            prompts.append(ids)
        return prompts


def run(engine: Engine, submits: list[Submit]) -> dict[str, Answer]:
    """Submit all at once and step until everything has ended."""
    answers = {submit.id: Answer() for submit in submits}
    events = [event for submit in submits for event in engine.submit(submit)]
    while True:
        for event in events:
            _note(answers, event)
        if not engine.busy:
            return answers
        events = engine.step()


def alone(bench: Workbench, engine: Engine, submit: Submit) -> Answer:
    """Run one request by itself, with the lead of every greedy choice."""
    bench.watched.gaps.clear()
    [answer] = run(engine, [submit]).values()
    answer.gaps = list(bench.watched.gaps)
    return answer


def _note(answers: dict[str, Answer], event) -> None:
    match event:
        case Started(id=id):
            answers[id].started = event
        case Output(id=id, tokens=tokens, text=text):
            answers[id].tokens += tokens
            answers[id].text += text
            answers[id].logprobs += event.logprobs or []
        case Finished(id=id):
            assert answers[id].finished is None, "a request ended twice"
            answers[id].finished = event
        case Refused(id=id):
            answers[id].refused = event
        case _:
            raise AssertionError(f"unexpected: {event}")
