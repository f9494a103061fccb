"""What the exported model can do, measured greedy on its int8 form through the engine.

Owns the scored prompts and the metrics. Answers are compared as they come: a label must be one of
the prompt's, letter for letter; JSON must hold every value. Extraction decodes under the schema's
grammar, as the API does for `output_config.format`; nothing else is constrained.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from renga.chat.schema import json_grammar
from renga.chat.tokenizer import Tokenizer
from renga.engine.client import EngineClient
from renga.engine.messages import EngineSettings, Output, Submit
from training import extract
from training.chat import Turn, render
from training.corpora import Labelled
from training.mixture import Held

LABEL_PROMPT = (
    "Classify the following message into one of these categories: {labels}.\n"
    "Answer with the category only.\n\nMessage: {text}"
)
LIST_PROMPT = (
    "Which of the labels below describes what this person wants? Write that label and stop.\n\n"
    "Labels:\n{bullets}\n\nThe person says: {text}"
)
JSON_PROMPT = (
    "Extract the following fields from the message and return JSON: {keys}.\n\nMessage: {text}"
)


@dataclass(frozen=True)
class Job:
    """A prompt for one answer; `grammar` constrains it unless None."""

    turns: tuple[Turn, ...]
    max_tokens: int
    grammar: str | None = None


@dataclass(frozen=True)
class Score:
    """A measured figure: what, over how many rows, in percent, beside the floor for it."""

    name: str
    rows: int
    percent: float
    floor: float
    floor_name: str


async def _answer(client: EngineClient, prompt: list[int], job: Job, name: str) -> str:
    submit = Submit(
        id=name,
        salt="score",
        prompt=prompt,
        max_tokens=job.max_tokens,
        temperature=0.0,
        grammar=job.grammar,
    )
    parts = [event.text async for event in client.generate(submit) if isinstance(event, Output)]
    return "".join(parts)


async def _answers(folder: Path, jobs: Sequence[Job], together: int) -> list[str]:
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    client = await EngineClient.start(EngineSettings(model=str(folder)))
    gate = asyncio.Semaphore(together)

    async def one(number: int, job: Job) -> str:
        async with gate:
            prompt = tokenizer.encode(render(job.turns))
            return await _answer(client, prompt, job, str(number))

    try:
        return list(await asyncio.gather(*(one(n, job) for n, job in enumerate(jobs))))
    finally:
        await client.aclose()


def answers(folder: Path, jobs: Sequence[Job], together: int = 32) -> list[str]:
    """Greedy answers of the model in `folder`, in the order of `jobs`."""
    return asyncio.run(_answers(folder, jobs, together))


def label_job(form: str, labels: Sequence[str], text: str) -> Job:
    """A classification prompt in a wording that may name `labels`, `bullets` and `text`."""
    bullets = "\n".join(f"- {label}" for label in labels)
    prompt = form.format(labels=", ".join(labels), bullets=bullets, text=text)
    return Job((Turn("user", prompt),), 24)


def label_rows(
    records: Sequence[Labelled], count: int, rows: int, seed: int
) -> list[tuple[Labelled, list[str]]]:
    """`rows` records, each with its label and `count - 1` random others, shuffled."""
    rng = Random(seed)
    every = sorted({record.label for record in records})
    chosen = rng.sample(list(records), min(rows, len(records)))
    found = []
    for record in chosen:
        others = [label for label in every if label != record.label]
        others = rng.sample(others, min(count - 1, len(others)))
        labels = [record.label, *others]
        rng.shuffle(labels)
        found.append((record, labels))
    return found


def accuracy(given: Sequence[str], right: Sequence[str]) -> float:
    """Percent of answers that are exactly right but for blanks around them."""
    hits = sum(a.strip() == b for a, b in zip(given, right, strict=True))
    return 100 * hits / len(right)


def f1(given: Sequence[str], right: Sequence[str], positive: str) -> float:
    """F1 of one label in percent; anything that is not `positive` counts as the other."""
    pairs = [(a.strip() == positive, b == positive) for a, b in zip(given, right, strict=True)]
    hits = sum(a and b for a, b in pairs)
    claimed, true = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    return 100 * 2 * hits / (claimed + true) if claimed + true else 0.0


def same_values(given: str, right: str) -> bool:
    """Whether two JSON objects hold the same keys and values."""
    try:
        return bool(json.loads(given) == json.loads(right))
    except ValueError:
        return False


def extraction_job(item: extract.Card) -> Job:
    """The fixed extraction prompt for a card, decoded under its schema."""
    keys = ", ".join(key for key, _, _ in item.fields)
    prompt = JSON_PROMPT.format(keys=keys, text=item.text)
    return Job((Turn("user", prompt),), 200, json_grammar(extract.schema(item.fields)))


Grade = Callable[[Sequence[str]], float]


@dataclass(frozen=True)
class Sheet:
    """One figure to measure: its prompts, how their answers are graded, and its floor."""

    name: str
    jobs: Sequence[Job]
    grade: Grade
    floor: float
    floor_name: str

    def score(self, given: Sequence[str]) -> Score:
        """The figure that these answers make."""
        percent = self.grade(given)
        return Score(self.name, len(self.jobs), percent, self.floor, self.floor_name)


def _labels(name: str, form: str, rows: Sequence[tuple[Labelled, list[str]]]) -> Sheet:
    jobs = [label_job(form, labels, record.text) for record, labels in rows]
    right = [record.label for record, _ in rows]
    chance = 100 / len(rows[0][1])
    return Sheet(name, jobs, lambda given: accuracy(given, right), chance, "a label at random")


def _spam(records: Sequence[Labelled]) -> Sheet:
    jobs = [label_job(LABEL_PROMPT, ("spam", "ham"), record.text) for record in records]
    right = [record.label for record in records]
    return Sheet(
        "SMS spam, deduplicated, spam F1",
        jobs,
        lambda given: f1(given, right, "spam"),
        96.1,
        "TF-IDF and a linear SVM",
    )


def _extraction(rows: int, seed: int) -> Sheet:
    rng = Random(seed)
    cards = [extract.card(rng, held=True, absent=0.0) for _ in range(rows)]

    def grade(given: Sequence[str]) -> float:
        pairs = zip(given, cards, strict=True)
        return 100 * sum(same_values(text, card.answer) for text, card in pairs) / rows

    name = "flat JSON extraction of 1 to 6 fields, wordings held out, every value exact"
    return Sheet(name, [extraction_job(card) for card in cards], grade, 0.0, "none")


def sheets(held: Held, rows: int) -> list[Sheet]:
    """Every figure of the model card, over at most `rows` rows each."""
    clinc = label_rows(held.clinc150, 10, rows, 10)
    snips = label_rows(held.snips, 5, rows, 5)
    return [
        _labels("CLINC150 test, 10 labels in the prompt", LABEL_PROMPT, clinc),
        _labels("the same, in a wording never trained on", LIST_PROMPT, clinc),
        _labels("SNIPS (held out whole), 5 labels in the prompt", LABEL_PROMPT, snips),
        _spam(held.sms_spam[:rows]),
        _extraction(rows, 70),
    ]


def score(folder: Path, held: Held, rows: int) -> list[Score]:
    """The figures of the model in `folder`, through one engine."""
    asked = sheets(held, rows)
    given = iter(answers(folder, [job for sheet in asked for job in sheet.jobs]))
    return [sheet.score([next(given) for _ in sheet.jobs]) for sheet in asked]


def read(path: Path) -> list[Score]:
    """Figures that `write` wrote."""
    return [Score(**found) for found in json.loads(path.read_text("utf-8"))]


def write(scores: Sequence[Score], path: Path) -> None:
    """Write figures as JSON."""
    path.write_text(json.dumps([asdict(s) for s in scores], indent=2) + "\n", "utf-8")
