"""The recipe from data to model folder, step by step, in two sizes.

Owns the sizes, the order of the steps and the files they leave in the work folder. A step whose
files are there is not run again, and training resumes from its checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training import card, export, mixture, score, shards, tool_score, vocabulary
from training.batch import Rows
from training.chat import pieces
from training.loop import Plan, Run
from training.model import Shape

Log = Callable[[str], None]
Stop = Callable[[], bool]

CHARACTERS_PER_TOKEN = 3.7


@dataclass(frozen=True)
class Size:
    """One size of model: its shape, how it is trained, and the tokens its rows hold in all."""

    shape: Shape
    plan: Plan
    row: int
    tokens: int
    sample_characters: int
    scored_rows: int


SIZES: Mapping[str, Size] = {
    "haiku": Size(Shape(), Plan(), 512, 32_000_000, 14_000_000, 1000),
    "miniature": Size(
        Shape(vocab=1024, width=64, layers=2, heads=4, kv_heads=4, inner=128, head_dim=16),
        Plan(steps=60, rows=4, micro=2, workers=2, warmup=3, compiled=False, save_seconds=0.5),
        256,
        60_000,
        400_000,
        20,
    ),
}


@dataclass(frozen=True)
class Recipe:
    """A size, where the data lies, where work is kept and where the model folder goes."""

    size: Size
    data: Path
    work: Path
    out: Path
    log: Log = field(repr=False)
    stop: Stop = field(default=lambda: False, repr=False)

    @property
    def vocabulary(self) -> Path:
        """The folder of the learned tokenizer."""
        return self.work / "tokenizer"

    @property
    def checkpoint(self) -> Path:
        """The Llama checkpoint folder that the model folder is made from."""
        return self.work / "checkpoint"

    def rows(self, stage: int) -> Path:
        """The folder of a stage's packed rows."""
        return self.work / f"rows-{stage}"


def learn_vocabulary(recipe: Recipe) -> None:
    """Learn the tokenizer from a sample of the last stage's mixture."""
    if (recipe.vocabulary / "tokenizer.json").exists():
        return
    parts = mixture.writers(recipe.data)
    counts = mixture.counts(parts, mixture.STAGES[-1].shares, recipe.size.sample_characters)
    examples = mixture.draw(parts, counts, seed=7)
    texts = ("".join(text for text, _ in pieces(example)) for example in examples)
    learned = vocabulary.learn(texts, recipe.size.shape.vocab)
    vocabulary.write(learned, recipe.vocabulary, export.WINDOW)


def write_rows(recipe: Recipe) -> None:
    """Write the packed rows of every stage of the mixture."""
    parts = mixture.writers(recipe.data)
    tokenizer = vocabulary.load(recipe.vocabulary)
    for number, stage in enumerate(mixture.STAGES):
        if (recipe.rows(number) / "counts.json").exists():
            continue
        characters = recipe.size.tokens * stage.pool * CHARACTERS_PER_TOKEN
        counts = mixture.counts(parts, stage.shares, int(characters))
        examples = mixture.draw(parts, counts, seed=11 + number)
        found = shards.write(tokenizer, examples, recipe.rows(number), recipe.size.row, seed=3)
        recipe.log(f"rows of stage {number}: {json.dumps(found)}")


def train(recipe: Recipe) -> None:
    """Train, or go on where a killed run stopped. Raises Interrupted when told to stop."""
    kin = vocabulary.kinship(vocabulary.load(recipe.vocabulary), recipe.size.shape.vocab)
    run = Run(recipe.size.shape, recipe.size.plan, recipe.work / "run", kin=kin)
    stages = [(stage.start, Rows(recipe.rows(n))) for n, stage in enumerate(mixture.STAGES)]
    try:
        done = run.train(stages, time.monotonic, recipe.log, recipe.stop)
    finally:
        run.close()
    if not done:
        raise Interrupted(f"stopped at step {run.progress.step}; the same command goes on")
    progress = json.dumps(asdict(run.progress), indent=2)
    (recipe.work / "progress.json").write_text(progress + "\n", "utf-8")


def make_model(recipe: Recipe) -> None:
    """Write the Llama checkpoint folder and from it the int8 model folder."""
    export.checkpoint_folder(
        recipe.work / "run/checkpoint.pt", recipe.vocabulary, recipe.checkpoint
    )
    size = export.model_folder(recipe.checkpoint, recipe.out)
    recipe.log(f"model folder {recipe.out}: {size / 1e6:.1f} MB")


def measure(recipe: Recipe) -> None:
    """Score the model folder through the engine, and tools through the whole server."""
    rows = recipe.size.scored_rows
    scores = score.score(recipe.out, mixture.held_out(recipe.data), rows)
    scores += tool_score.score(recipe.out, rows // 5)
    for found in scores:
        recipe.log(f"{found.name}: {found.percent:.1f}% of {found.rows} rows")
    score.write(scores, recipe.work / "scores.json")


def describe(recipe: Recipe) -> None:
    """Write the model card."""
    counted = [
        json.loads((recipe.rows(n) / "counts.json").read_text("utf-8"))
        for n in range(len(mixture.STAGES))
    ]
    progress = json.loads((recipe.work / "progress.json").read_text("utf-8"))
    scores = score.read(recipe.work / "scores.json")
    text = card.text(
        recipe.size.shape, recipe.size.plan, recipe.size.row, progress, counted, scores
    )
    (recipe.out / "MODEL_CARD.md").write_text(text, "utf-8")


class Interrupted(Exception):
    """Training was told to stop before its end; its checkpoint is saved."""


STEPS: Mapping[str, Callable[[Recipe], None]] = {
    "tokenizer": learn_vocabulary,
    "data": write_rows,
    "train": train,
    "export": make_model,
    "score": measure,
    "card": describe,
}


def run(recipe: Recipe, steps: Sequence[str] = tuple(STEPS)) -> None:
    """Run the named steps, in the recipe's order."""
    recipe.work.mkdir(parents=True, exist_ok=True)
    for name, step in STEPS.items():
        if name in steps:
            recipe.log(f"step {name}")
            step(recipe)
