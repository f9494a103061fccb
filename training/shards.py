"""Conversations as rows of token numbers, packed ahead of training.

Owns the row format: `tokens.npy` (uint16), `weights.npy` (uint8, tenths of loss weight; 0 is not
learned) and `documents.npy` (uint8, which document of the row), each `[rows, length + 1]`. Documents
longer than a row are cut; padding has document number 255.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from training.batch import PADDING
from training.chat import END_OF_TEXT, Example, pieces

WEIGHTS: Mapping[str, int] = {
    "prose": 4,
    "support": 8,
    "facts": 15,
    "drill": 10,
    "extract": 15,
    "identity": 10,
    "tools": 12,
    "sums": 10,
}
"""Loss weight of a kind in tenths; classification is `LABEL_WEIGHT`."""

LABEL_WEIGHT = 25
DECISION_WEIGHT, CHOICE_WEIGHT = 60, 40
CHOICE_TOKENS = 9
"""What a turn beside tools begins with decides whether one is called; the tokens behind `<tool_call>` say
which. Both are few among many that are only copied."""

Array = npt.NDArray[np.uint16] | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Document:
    """Token numbers of one conversation and the loss weight of each, in tenths."""

    kind: str
    tokens: list[int]
    weights: list[int]


def encode(tokenizer: Tokenizer, examples: Sequence[Example]) -> list[Document]:
    """Token numbers of conversations; every piece is tokenized by itself, as turns are in use."""
    parts = [list(pieces(example)) for example in examples]
    texts = [
        text + (END_OF_TEXT if not example.turns else "")
        for example, group in zip(examples, parts, strict=True)
        for text, _ in group
    ]
    calling = tokenizer.token_to_id("<tool_call>")
    encoded = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    documents = []
    for example, group in zip(examples, parts, strict=True):
        tokens: list[int] = []
        weights: list[int] = []
        weight = WEIGHTS.get(example.kind, LABEL_WEIGHT)
        for _, learned in group:
            ids = next(encoded).ids
            tokens += ids
            given = [weight if learned else 0] * len(ids)
            if learned and example.tools and len(ids) > CHOICE_TOKENS:
                if ids[0] == calling:
                    given[1:CHOICE_TOKENS] = [CHOICE_WEIGHT] * (CHOICE_TOKENS - 1)
                given[0] = DECISION_WEIGHT
            weights += given
        documents.append(Document(example.kind, tokens, weights))
    return documents


def batches(examples: Iterable[Example], size: int = 2000) -> Iterator[list[Example]]:
    """Examples in lists of `size`."""
    source = iter(examples)
    while group := list(islice(source, size)):
        yield group


def pack(documents: Sequence[Document], length: int) -> list[list[Document]]:
    """Group documents into rows of at most `length` tokens: longest first, best fit."""
    room: dict[int, list[list[Document]]] = {}
    rows = []
    for document in sorted(documents, key=lambda d: -min(len(d.tokens), length)):
        size = min(len(document.tokens), length)
        fit = next((free for free in range(size, length + 1) if room.get(free)), None)
        if fit is None:
            row: list[Document] = []
            rows.append(row)
            fit = length
        else:
            row = room[fit].pop()
        row.append(document)
        if len(row) < PADDING:
            room.setdefault(fit - size, []).append(row)
    return rows


def fill(rows: Sequence[Sequence[Document]], length: int) -> dict[str, Array]:
    """The three arrays of packed rows."""
    tokens = np.zeros((len(rows), length), np.uint16)
    weights = np.zeros((len(rows), length), np.uint8)
    documents = np.full((len(rows), length), PADDING, np.uint8)
    for n, row in enumerate(rows):
        at = 0
        for number, document in enumerate(row):
            end = min(at + len(document.tokens), length)
            tokens[n, at:end] = document.tokens[: end - at]
            weights[n, at:end] = document.weights[: end - at]
            documents[n, at:end] = number
            at = end
    return {"tokens": tokens, "weights": weights, "documents": documents}


def write(
    tokenizer: Tokenizer, examples: Iterable[Example], folder: Path, length: int, seed: int
) -> dict[str, int]:
    """Pack all examples into rows in a random order; returns (and writes) token counts by kind."""
    counts: dict[str, int] = {}
    groups = []
    for group in batches(examples):
        documents = encode(tokenizer, group)
        for document in documents:
            counts[document.kind] = counts.get(document.kind, 0) + len(document.tokens)
        groups.append(fill(pack(documents, length + 1), length + 1))
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(sum(len(g["tokens"]) for g in groups))
    for name in ("tokens", "weights", "documents"):
        np.save(folder / f"{name}.npy", np.concatenate([g[name] for g in groups])[order])
    (folder / "counts.json").write_text(json.dumps(counts, indent=2) + "\n", "utf-8")
    return counts
