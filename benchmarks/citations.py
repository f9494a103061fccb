"""How well citations are found: `python -m benchmarks.citations FOLDER`, with QED's dev set in it.

QED (Lamm et al., 2020) names for each question the one sentence of a paragraph that answers it. An
answer is made of that in three ways, and looked for among the sentences of its paragraph and of two
others. Precision is of what was cited, recall of all answers; what is cited where the paragraph is
left out has no support. No model is asked: this measures the looking alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from renga.citations.matching import Passage, Passages

Row = dict[str, Any]
FILE = "qed-dev.jsonlines.gz"


def rows_of(folder: Path) -> list[Row]:
    """The rows whose evidence is one sentence of the paragraph."""
    with gzip.open(folder / FILE, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        row
        for row in rows
        if row["annotation"]["explanation_type"] == "single_sentence"
        and row["annotation"]["answer"]
        and row["annotation"]["selected_sentence"]["start"] in row["sentence_starts"]
    ]


def passages_of(row: Row, source: int) -> list[Passage]:
    """The sentences of its paragraph."""
    text, starts = row["paragraph_text"], row["sentence_starts"]
    ends = [*starts[1:], len(text)]
    return [
        Passage(source, text[start:end].strip(), row["title_text"])
        for start, end in zip(starts, ends, strict=True)
    ]


def words_alone(row: Row) -> str:
    """The short answer."""
    return f"{row['annotation']['answer'][0]['sentence_reference']['string']}."


def in_a_sentence(row: Row) -> str:
    """The question, turned into a statement of the short answer."""
    asked = row["question_text"].split(" ", 1)[-1]
    return f"{asked} is {words_alone(row)}".capitalize()


def in_the_questions_words(row: Row) -> str:
    """The evidence, with the question's words for what both speak of."""
    chosen = row["annotation"]["selected_sentence"]
    text, offset = chosen["string"], chosen["start"]
    for equal in sorted(
        row["annotation"]["referential_equalities"],
        key=lambda equal: -equal["sentence_reference"]["start"],
    ):
        said = equal["sentence_reference"]
        if not said.get("bridge") and said["start"] >= offset:
            start, end = said["start"] - offset, said["end"] - offset
            text = text[:start] + equal["question_reference"]["string"] + text[end:]
    return str(text)


WAYS: tuple[Callable[[Row], str], ...] = (words_alone, in_a_sentence, in_the_questions_words)


def measured(rows: Sequence[Row], say: Callable[[Row], str]) -> dict[str, float]:
    """Shares of one way of answering."""
    cited = right = unsupported = 0
    for n, row in enumerate(rows):
        others = [rows[(n * 7 + 13) % len(rows)], rows[(n * 11 + 5) % len(rows)]]
        beside = [p for k, other in enumerate(others, 1) for p in passages_of(other, k)]
        evidence = row["sentence_starts"].index(row["annotation"]["selected_sentence"]["start"])
        question, answer = row["question_text"], say(row)
        found = Passages([*passages_of(row, 0), *beside], question).support(answer)
        cited += bool(found)
        right += evidence in found
        unsupported += bool(Passages(beside, question).support(answer))
    return {
        "precision": right / max(1, cited),
        "recall": right / len(rows),
        "cited without support": unsupported / len(rows),
    }


def main() -> None:
    """Print a line for each way of answering."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help=f"where {FILE} is")
    rows = rows_of(parser.parse_args().folder)
    print(f"{len(rows):,} questions")
    for say in WAYS:
        shares = ", ".join(f"{k} {v:.1%}" for k, v in measured(rows, say).items())
        print(f"{say.__name__.replace('_', ' ')}: {shares}")


if __name__ == "__main__":
    main()
