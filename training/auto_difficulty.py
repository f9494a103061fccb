"""The recipe of `model: "auto"`: from prompts with what two models made of them to the weights.

`python -m training.auto_difficulty EVALS EVERYDAY WEIGHTS` fits on the prompts of RouteLLM's
evaluation (Apache 2.0; MMLU and GSM8K, with whether Mixtral 8x7B and GPT-4 were right), four of five
of them, and prints what the fitted model is worth on the fifth. EVERYDAY is a file of plain requests,
one a line, that are taken to be within every model's reach: nothing was measured there.

A prompt is held out by its digest, so that the split is the same everywhere. Questions with choices
are fitted with and without those, since few people ask with them.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from renga.auto.difficulty import BUCKETS, MEASURES, Difficulty, Features, features_of

Floats = npt.NDArray[np.float64]
STEPS, RATE, DECAY = 400, 0.1, 3e-3
HELD_OUT = 5  # one of so many prompts
_CHOICES = re.compile(r"\nA\. .*", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A prompt, and whether the small and the large model were right."""

    text: str
    small: bool
    large: bool
    measured: bool = True

    @property
    def held_out(self) -> bool:
        """Whether it is one of those that nothing is fitted on."""
        return blake2b(self.text.encode(), digest_size=8).digest()[0] % HELD_OUT == 0


def rows_of(folder: Path) -> Iterator[Row]:
    """The prompts of RouteLLM's `evals` folder."""
    csv.field_size_limit(1 << 30)
    for path in sorted(folder.rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for one in csv.reader(file):
                if one[1] in ("True", "False"):
                    yield Row(one[0], one[1] == "True", one[2] == "True")


def everyday(path: Path) -> list[Row]:
    """Plain requests, one a line."""
    lines = path.read_text("utf-8").splitlines()
    return [Row(line, True, True, measured=False) for line in lines if line.strip()]


class Matrix:
    """The features of some texts: rows of buckets, and measures."""

    def __init__(self, texts: Sequence[str]) -> None:
        found: list[Features] = [features_of(text) for text in texts]
        sizes = [len(one.buckets) for one in found]
        self.row = np.repeat(np.arange(len(found)), sizes)
        self.column = np.concatenate([one.buckets for one in found])
        self.value = 1 / np.sqrt(np.maximum(1, np.repeat(sizes, sizes)))
        self.measures = np.stack([one.measures for one in found]).astype(np.float64)

    def times(self, words: Floats, measures: Floats) -> Floats:
        """The scores of all texts."""
        said = np.bincount(self.row, words[self.column] * self.value, len(self.measures))
        return np.asarray(said + self.measures @ measures)

    def back(self, error: Floats) -> tuple[Floats, Floats]:
        """What an error of each text says of each weight."""
        words = np.bincount(self.column, error[self.row] * self.value, BUCKETS).astype(np.float64)
        return words, error @ self.measures


def fit(matrix: Matrix, wanted: Floats, weight: Floats) -> tuple[Floats, Floats, float]:
    """A logistic regression by Adam over all texts at once."""
    size = BUCKETS + MEASURES + 1
    at, first, second = np.zeros(size), np.zeros(size), np.zeros(size)
    for step in range(1, STEPS + 1):
        words, measures, bias = at[:BUCKETS], at[BUCKETS:-1], at[-1]
        guess = 1 / (1 + np.exp(-(matrix.times(words, measures) + bias)))
        error = (guess - wanted) * weight / weight.sum()
        down = np.concatenate([*matrix.back(error), [error.sum()]])
        down[:BUCKETS] += DECAY / BUCKETS * words
        first = 0.9 * first + 0.1 * down
        second = 0.999 * second + 0.001 * down * down
        rate = RATE * (1 - step / STEPS)
        moved = first / (1 - 0.9**step)
        at = at - rate * moved / (np.sqrt(second / (1 - 0.999**step)) + 1e-9)
    return at[:BUCKETS], at[BUCKETS:-1], float(at[-1])


def fitted(rows: Sequence[Row]) -> Difficulty:
    """The model of `rows`, its words in 8 bits."""
    more = [
        Row(_CHOICES.sub("", row.text), row.small, row.large)
        for row in rows
        if row.measured and _CHOICES.search(row.text)
    ]
    every = [*rows, *more]
    matrix = Matrix([row.text for row in every])
    weight = np.array([1.0 if row.measured else 0.5 for row in every])
    heads = [
        fit(matrix, np.array([float(getattr(row, name)) for row in every]), weight)
        for name in ("small", "large")
    ]
    scale = np.array([np.abs(words).max() / 127 for words, _, _ in heads])
    words = np.stack([np.rint(w / s) for (w, _, _), s in zip(heads, scale, strict=True)])
    return Difficulty(
        words.astype(np.int8),
        scale.astype(np.float32),
        np.stack([measures for _, measures, _ in heads]).astype(np.float32),
        np.array([bias for _, _, bias in heads], dtype=np.float32),
    )


# --- what it is worth -----------------------------------------------------------------------------

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def recovered(rows: Sequence[Row], order: npt.NDArray[np.int64], share: float) -> float:
    """Of the large model's lead over the small one, how much is had by asking it that share."""
    small = np.array([row.small for row in rows], dtype=float)
    large = np.array([row.large for row in rows], dtype=float)
    asked = np.zeros(len(rows), dtype=bool)
    asked[order[: round(share * len(rows))]] = True
    right = np.where(asked, large, small).mean()
    return float((right - small.mean()) / (large.mean() - small.mean()))


def table(rows: Sequence[Row], model: Difficulty) -> list[str]:
    """The curve on `rows`, beside a random choice and one that knows the answers."""
    found = [model.chances(row.text) for row in rows]
    gain = np.array([one.large - one.small for one in found])
    known = np.array([float(row.large) - float(row.small) for row in rows])
    order, best = np.argsort(-gain, kind="stable"), np.argsort(-known, kind="stable")
    lines = ["| asked of the large model | right, of the lead | at random | at best |"]
    lines.append("|---|---|---|---|")
    for share in SHARES:
        ours, theirs = recovered(rows, order, share), recovered(rows, best, share)
        lines.append(f"| {share:.0%} | {ours:.0%} | {share:.0%} | {theirs:.0%} |")
    return lines


def main(words: Sequence[str]) -> int:
    """See the module."""
    evals, plain, out = (Path(word) for word in words)
    measured = list(rows_of(evals))
    train = [row for row in measured if not row.held_out]
    test = [row for row in measured if row.held_out]
    model = fitted([*train, *(row for row in everyday(plain) if not row.held_out)])
    np.savez_compressed(
        out, words=model.words, scale=model.scale, measures=model.measures, bias=model.bias
    )
    small, large = (np.mean([getattr(row, name) for row in test]) for name in ("small", "large"))
    print(f"{len(train)} fitted, {len(test)} held out; right: {small:.1%} small, {large:.1%} large")
    print("\n".join(table(test, model)))
    without = [Row(_CHOICES.sub("", row.text), row.small, row.large) for row in test]
    print("without choices:")
    print("\n".join(table(without, model)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
