"""A data folder in the public sets' own formats, made of a few invented texts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INTENTS = {
    "play_music": "play {} on the radio",
    "set_alarm": "wake me at {} tomorrow",
    "pay_bill": "please pay the {} bill",
    "book_flight": "book a flight to {}",
    "card_lost": "i lost my {} card",
}
WORDS = "one two three four five six seven eight nine ten red blue green old new".split()
TEST_WORDS = "amber brass cedar delta ember".split()
PLANTED = "book a flight to AMBER!"
"""A test text in other case and marks, put into every training split."""


def _texts(words: Sequence[str]) -> list[tuple[str, str]]:
    return [(form.format(w), label) for w in words for label, form in INTENTS.items()]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def _archive(path: Path, name: str, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))


def _intent_sets(data: Path) -> None:
    train = [*_texts(WORDS), (PLANTED, "book_flight")]
    test = _texts(TEST_WORDS)
    full = {"train": train, "val": [], "test": test}
    _write(data / "clinc150/data_full.json.gz", gzip.compress(json.dumps(full).encode()))
    for split, rows in (("train", train), ("test", test)):
        _write(data / f"banking77/{split}.csv", _table([("text", "category"), *rows]))
        texts, labels = zip(*rows, strict=True)
        _write(data / f"hwu64/{split}/seq.in", "\n".join(texts).encode())
        _write(data / f"hwu64/{split}/label", "\n".join(labels).encode())
    for intent in ("GetWeather", "RateBook", "PlayMusic", "AddToPlaylist", "BookRestaurant"):
        parts: list[Any] = [{"data": [{"text": f"snips {intent} "}, {"text": w}]} for w in WORDS]
        content = json.dumps({intent: parts}).encode()
        _write(data / f"snips/train_{intent}_full.json", content)


def _spam(data: Path) -> None:
    letters = "abcdefghijklmnopqrst"
    ham = [f"ham\tsee you at the {w} {a}" for w in WORDS for a in letters[:4]]
    spam = [f"spam\twin a {w} prize {a}, call 0800 {n}" for n, w in enumerate(WORDS) for a in "xy"]
    lines = ["Label\tSMS", *ham, *spam, spam[0].replace("0800 0", "0800 9")]
    _write(data / "sms_spam/SMSSpamCollection", "\n".join(lines).encode())


def _abuse(data: Path) -> None:
    rows = [("", "class", "tweet")]
    rows += [(str(n), str(n % 3), f"tweet about {w}") for n, w in enumerate(WORDS)]
    packed = gzip.compress(_table(rows))
    _write(data / "davidson_hate_offensive/labeled_data.csv.gz", packed)
    head = ["user", "Annotator1_is_abuse.1", "Annotator1_is_abuse.-2"]
    turns = [[f"you {w}", str(n % 2), str(1 - n % 2)] for n, w in enumerate(WORDS)]
    _write(data / "convabuse/ConvAbuseEMNLPtrain.csv", _table([head, *turns]))


def _support(data: Path) -> None:
    reply = "You can cancel order {{Order Number}} at {{Website Name}}.\r\nCall {{Support Phone}}."
    rows = [("instruction", "intent", "response")]
    rows += [(f"cancel my {w} order 12345", "cancel_order", reply) for w in WORDS]
    rows += [(f"where is my {w} invoice", "get_invoice", "See {{Invoices}}.") for w in WORDS]
    _write(data / "bitext_support/bitext_support.csv.gz", gzip.compress(_table(rows)))
    spans = []
    for word in WORDS:
        place = {"startIndex": 12, "endIndex": 12 + len(word)}
        text = {"text": f"a table for {word} people"}
        spans.append({"userInput": text, "labels": [{"slot": "people", "valueSpan": place}]})
    path = data / "restaurant8k_dstc8_spans/restaurant8k/train_0.json"
    _write(path, json.dumps(spans).encode())
    talk = [("user", "one tea please"), ("assistant", "Here you are."), ("user", "thanks")]
    dialogue = {"utterances": [{"speaker": s, "text": t} for s, t in talk]}
    packed = lzma.compress(json.dumps([dialogue] * 3).encode())
    _write(data / "taskmaster4/data/data_00.json.xz", packed)


def _tools(data: Path) -> None:
    """Public tools, and instructions that none of them serves."""
    kinds = {"city": "The city (e.g., Rome, Lima)", "user_id": "The user's id"}
    tool = {
        "api_name": "getPollenCount",
        "api_description": "Retrieve the pollen count of a city",
        "parameters": {k: {"type": "str", "description": v} for k, v in kinds.items()},
        "required": ["city"],
        "responses": {"pollen_count": {"type": "int", "description": "The count"}},
    }
    other = {**tool, "parameters": {"raw": {"type": "array", "description": "-"}}, "required": []}
    lines = "\n".join(json.dumps(record) for record in (tool, other))
    _write(data / "seal_tools/tool.jsonl.gz", gzip.compress(lines.encode()))
    for name in ("seed_tasks", "user_oriented_instructions"):
        line = json.dumps({"instruction": "Rewrite the sentence as a question."})
        _write(data / f"self_instruct_human/{name}.jsonl", line.encode())


def write_small_data(data: Path) -> Path:
    """Write the folder and return it."""
    _intent_sets(data)
    _spam(data)
    _abuse(data)
    _support(data)
    _tools(data)
    chapter = "".join(f"<p>It was a {w} day, \u201cshe\u201d said.</p>" for w in WORDS)
    _archive(data / "corpus_standardebooks/novel.tar.xz", "src/epub/text/chapter-1.xhtml", chapter)
    page = "---\ntitle: x\n---\n" + "\n\n".join(f"We [work]({w}) openly." for w in WORDS)
    _archive(data / "handbook_18f/pages_md.tar.xz", "pages/a.md", page)
    return data
