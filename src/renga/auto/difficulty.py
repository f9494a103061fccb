"""How likely a small and a large model are right about a text, told from the text alone.

A logistic regression over hashed words, pairs of words and a few measures of the text. What it was
fitted on, and how well it does, stands in docs/auto.md; the recipe is `training.auto_difficulty`.
It knows no tiers and no prices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from zlib import crc32

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 15
MOST_CHARACTERS = 6_000  # read of a text: half at its beginning, half at its end
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_MATH = re.compile(r"[=+*/^<>%√∑∫π≤≥]|\\[a-z]+")
_CODE = re.compile(r"```|\bdef \w+\(|[{};]\s*$|\bclass \w+|#include|=>|</\w+>", re.MULTILINE)
MEASURES = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Chances:
    """That a small model is right, and that a large one is; each between 0 and 1."""

    small: float
    large: float


@dataclass(frozen=True)
class Features:
    """A text: the buckets of its words, each once, and its measures."""

    buckets: npt.NDArray[np.int64]
    measures: Floats


def features_of(text: str) -> Features:
    """What of `text` is looked at. Takes a time that MOST_CHARACTERS bounds."""
    if len(text) > MOST_CHARACTERS:
        half = MOST_CHARACTERS // 2
        text = f"{text[:half]}\n{text[-half:]}"
    words = _WORD.findall(text.lower())
    found = np.fromiter({crc32(one) % BUCKETS for one in _terms(words)}, dtype=np.int64)
    found.sort()
    size = max(1, len(text))
    measures = (
        math.log1p(len(text)) / 10,
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isupper, text)) / size,
        min(1.0, len(_MATH.findall(text)) / 20),
        min(1.0, len(_CODE.findall(text)) / 5),
        min(1.0, text.count("?") / 3),
        min(1.0, text.count("\n") / 20),
        sum(not char.isascii() for char in text) / size,
    )
    return Features(found, np.array(measures, dtype=np.float32))


def _terms(words: list[str]) -> Iterator[bytes]:
    """Words and pairs of words; a number is its length."""
    last = ""
    for word in words:
        word = "0" * len(word) if word.isdigit() else word
        yield word.encode("utf-8", "replace")
        yield f"{last} {word}".encode("utf-8", "replace")
        last = word


@dataclass(frozen=True)
class Difficulty:
    """The fitted model. Row 0 of each array is of the small model, row 1 of the large one."""

    words: npt.NDArray[np.int8]
    scale: Floats
    measures: Floats
    bias: Floats

    @classmethod
    def load(cls) -> Difficulty:
        """The one that comes with the package."""
        with (files("renga.auto") / "weights.npz").open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return cls(found["words"], found["scale"], found["measures"], found["bias"])

    def chances(self, text: str) -> Chances:
        """How likely each is right about `text`."""
        found = features_of(text)
        count = max(1, len(found.buckets))
        said = self.words[:, found.buckets].sum(axis=1, dtype=np.int64) * self.scale
        score = said / math.sqrt(count) + self.measures @ found.measures + self.bias
        small, large = (1 / (1 + np.exp(-score.astype(np.float64)))).tolist()
        return Chances(small, large)
