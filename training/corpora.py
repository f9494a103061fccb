"""Readers of the public data sets: each gives plain records, in the file's own order.

Owns which sets may be trained on (their licences and attributions) and where their files lie under
the data folder. Test splits are read here too, by the scorer; keeping them out of training is the
mixture's rule, not this module's.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A set that is trained on: its folder, licence, and the credit its licence asks for."""

    folder: str
    licence: str
    credit: str


SOURCES: tuple[Source, ...] = (
    Source("clinc150", "CC BY 3.0", "Larson et al. 2019, clinc/oos-eval (training split)"),
    Source("banking77", "CC BY 4.0", "Casanueva et al. 2020, PolyAI (training split)"),
    Source("hwu64", "CC BY 4.0", "Liu et al. 2019, via Few-Shot-Intent-Detection (training split)"),
    Source("bitext_support", "CDLA-Sharing 1.0", "Bitext Innovations, customer support sample"),
    Source("sms_spam", "CC BY 4.0", "Almeida, Hidalgo and Yamakami 2011, UCI (four fifths)"),
    Source("davidson_hate_offensive", "MIT", "Davidson et al. 2017"),
    Source("convabuse", "CC BY 4.0", "Cercas Curry, Abercrombie and Rieser 2021 (training split)"),
    Source("restaurant8k_dstc8_spans", "CC BY 4.0", "Coope et al. 2020, PolyAI (training split)"),
    Source("taskmaster4", "CC BY 4.0", "Google Research, Taskmaster-4"),
    Source("corpus_standardebooks", "CC0 1.0", "Standard Ebooks; Austen, Carroll, Dickens, Doyle"),
    Source("handbook_18f", "CC0 1.0", "18F handbook"),
    Source("seal_tools", "Apache 2.0", "Wu et al. 2024, fairyshine/Seal-Tools (the tools alone)"),
    Source(
        "self_instruct_human", "Apache 2.0", "Wang et al. 2022, yizhongw/self-instruct (requests)"
    ),
)


@dataclass(frozen=True)
class Labelled:
    """One text of a classification set and its label as the set spells it."""

    text: str
    label: str


@dataclass(frozen=True)
class Support:
    """A request to a support desk and the reply, placeholders still in double braces."""

    request: str
    reply: str
    intent: str


@dataclass(frozen=True)
class Spans:
    """A sentence and the slots a person marked in it (name to exact text)."""

    text: str
    slots: dict[str, str]


def clean(text: str) -> str:
    """Collapse white space to single blanks."""
    return " ".join(text.split())


def _rows(path: Path, delimiter: str = ",") -> Iterator[dict[str, str]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from csv.DictReader(io.StringIO(raw.decode("utf-8", "replace")), delimiter=delimiter)


def clinc150(data: Path, split: str) -> list[Labelled]:
    """CLINC150 in-scope texts; `split` is train, val or test."""
    content = json.loads(gzip.decompress((data / "clinc150/data_full.json.gz").read_bytes()))
    return [Labelled(clean(text), label) for text, label in content[split]]


def banking77(data: Path, split: str) -> list[Labelled]:
    """Banking77; `split` is train or test."""
    rows = _rows(data / f"banking77/{split}.csv")
    return [Labelled(clean(row["text"]), row["category"]) for row in rows]


def hwu64(data: Path, split: str) -> list[Labelled]:
    """HWU64; `split` is train, valid or test."""
    folder = data / "hwu64" / split
    texts = (folder / "seq.in").read_text("utf-8").splitlines()
    labels = (folder / "label").read_text("utf-8").splitlines()
    return [Labelled(clean(t), label.strip()) for t, label in zip(texts, labels, strict=True)]


def snips(data: Path) -> list[Labelled]:
    """SNIPS, all of it (2017-06 custom intents): held out of training whole."""
    found = []
    for path in sorted((data / "snips").glob("*.json")):
        intent = path.stem.split("_")[1]
        for row in json.loads(path.read_bytes().decode("utf-8", "replace"))[intent]:
            text = clean("".join(part["text"] for part in row["data"]))
            found.append(Labelled(text, intent))
    return found


def sms_spam(data: Path) -> list[Labelled]:
    """SMS Spam Collection without duplicates (letter case, digits and blanks ignored)."""
    seen: set[str] = set()
    found = []
    for line in (data / "sms_spam/SMSSpamCollection").read_text("utf-8").splitlines()[1:]:
        label, _, text = line.partition("\t")
        if (key := fingerprint(text)) not in seen:
            seen.add(key)
            found.append(Labelled(clean(text), label))
    return found


def davidson(data: Path) -> list[Labelled]:
    """Tweets judged hate speech, offensive language or neither."""
    names = {"0": "hate_speech", "1": "offensive_language", "2": "neither"}
    rows = _rows(data / "davidson_hate_offensive/labeled_data.csv.gz")
    return [Labelled(clean(row["tweet"]), names[row["class"]]) for row in rows]


def convabuse(data: Path) -> list[Labelled]:
    """What users wrote to a chat agent, abusive or not by the mean of its annotators."""
    found = []
    for row in _rows(data / "convabuse/ConvAbuseEMNLPtrain.csv"):
        votes = [
            int(key[-2:].strip("."))
            for key, value in row.items()
            if value == "1" and re.search(r"_is_abuse\.-?\d$", key)
        ]
        if votes and row["user"].strip() and abs(mean := sum(votes) / len(votes)) >= 0.5:
            found.append(Labelled(clean(row["user"]), "abusive" if mean < 0 else "not_abusive"))
    return found


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def bitext_support(data: Path) -> list[Support]:
    """Requests to a support desk with replies, placeholders unfilled."""
    rows = _rows(data / "bitext_support/bitext_support.csv.gz")
    return [Support(clean(r["instruction"]), _lines(r["response"]), r["intent"]) for r in rows]


def spans(data: Path) -> list[Spans]:
    """Sentences of restaurant8k with marked slots (training split).

    The DSTC8 domains beside it come from a share-alike set and are left alone.
    """
    found = []
    for path in sorted((data / "restaurant8k_dstc8_spans/restaurant8k").glob("train_0.json*")):
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        for row in json.loads(raw):
            text, slots = row["userInput"]["text"], {}
            for label in row.get("labels", []):
                start = label["valueSpan"].get("startIndex", 0)
                slots[label["slot"]] = text[start : label["valueSpan"]["endIndex"]]
            if slots:
                found.append(Spans(text, slots))
    return found


def taskmaster4(data: Path) -> list[list[tuple[str, str]]]:
    """Ordering dialogues as lists of (speaker, text)."""
    files = sorted((data / "taskmaster4/data").glob("*.json.xz"))
    return [
        [(turn["speaker"], clean(turn["text"])) for turn in row["utterances"]]
        for path in files
        for row in json.loads(lzma.decompress(path.read_bytes()))
    ]


def instructions(data: Path) -> list[str]:
    """Short instructions of the self-instruct set, all written by people."""
    found = []
    for name in ("seed_tasks", "user_oriented_instructions"):
        path = data / f"self_instruct_human/{name}.jsonl"
        found += [
            clean(json.loads(line)["instruction"]) for line in path.read_text("utf-8").splitlines()
        ]
    return [text for text in found if len(text) < 120]


def public_tools(data: Path) -> list[dict[str, Any]]:
    """Seal-Tools: tools with name, description, parameters and what they answer."""
    raw = gzip.decompress((data / "seal_tools/tool.jsonl.gz").read_bytes()).decode("utf-8")
    return [json.loads(line) for line in raw.splitlines()]


def _archives(folder: Path) -> Iterator[tuple[str, str]]:
    for archive in sorted(folder.glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            for member in tar:
                handle = tar.extractfile(member) if member.isfile() else None
                if handle is not None:
                    yield member.name, handle.read().decode("utf-8", "replace")


def books(data: Path) -> list[str]:
    """Paragraphs of the novels, markup removed, in reading order."""
    found = []
    for name, text in _archives(data / "corpus_standardebooks"):
        if re.search(r"chapter|[ivx]+\.xhtml|the-", name):
            for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
                plain = clean(re.sub(r"<[^>]+>", "", paragraph))
                plain = plain.replace("\u2060", "").replace("\u200a", "")
                found.append(plain.translate(_PLAIN))
    return found


_PLAIN: dict[int, Any] = {0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"', 0x2014: " - "}


def handbook(data: Path) -> list[str]:
    """Pages of the handbook, front matter and link targets removed."""
    found = []
    for _, text in _archives(data / "handbook_18f"):
        body = re.sub(r"\A---.*?---", "", text, flags=re.DOTALL)
        body = re.sub(r"\{[%{].*?[%}]\}|<[^>]+>", "", body, flags=re.DOTALL)
        body = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", body).translate(_PLAIN)
        found.append(re.sub(r"\n{3,}", "\n\n", body).strip())
    return found


def fingerprint(text: str) -> str:
    """What two texts share when they are the same but for case, digits, marks and blanks."""
    return re.sub(r"[^a-z#]+", "", re.sub(r"\d+", "#", text.lower()))
