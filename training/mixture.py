"""What the model is trained on: which generator writes how large a share of the tokens.

Owns the shares, the splits and the rule that no text that is scored is learned from: texts of test
splits and of the set held out whole are dropped from every training pool by fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from training import (
    arithmetic,
    corpora,
    drills,
    extract,
    smalltalk,
    support,
    tool_public,
    tool_sessions,
    tool_thoughts,
    tools,
    tools_unused,
)
from training.chat import Example, pieces
from training.classify import SPAM_NAMES, Echoes, LabelPool, echo_pool, two_way, word_echo
from training.corpora import Labelled, fingerprint
from training.naming import plain_words
from training.tool_rows import scored
from training.tool_wishes import TALK

Writer = Callable[[Random], Example]


@dataclass(frozen=True)
class Stage:
    """A mixture used from `start` (share of the run done) on; `pool` is its share of the tokens."""

    start: float
    pool: float
    shares: Mapping[str, float]


BEGINNING: Mapping[str, float] = {
    "clinc150": 13,
    "banking77": 4,
    "hwu64": 9,
    "hwu64_groups": 1,
    "exact_echoes": 24,
    "label_echoes": 4,
    "echoes": 5,
    "spam": 5,
    "feelings": 0.5,
    "word_kinds": 1,
    "extraction": 13,
    "lookup": 3,
    "tables": 2,
    "copies": 2.5,
    "repeats": 2,
    "facts": 6,
    "orders": 1,
    "replies": 3,
    "identity": 1.5,
    "plain_facts": 0.5,
}
MATCHED: Mapping[str, float] = {
    "clinc150": 11,
    "banking77": 5,
    "hwu64": 11,
    "hwu64_groups": 2,
    "bitext_intents": 1,
    "echoes": 22,
    "exact_echoes": 8,
    "spam": 9,
    "abuse": 0.3,
    "feelings": 0.5,
    "word_kinds": 0.5,
    "extraction": 14,
    "lookup": 2,
    "tables": 0.7,
    "copies": 1,
    "repeats": 0.5,
    "facts": 6,
    "orders": 1.5,
    "replies": 2.5,
    "ordering": 0.2,
    "identity": 1.5,
    "plain_facts": 0.3,
    "declines": 0.2,
}
CALLING: Mapping[str, float] = {
    "clinc150": 9,
    "banking77": 4,
    "hwu64": 9,
    "hwu64_groups": 1.5,
    "bitext_intents": 0.7,
    "echoes": 16,
    "exact_echoes": 4,
    "spam": 9,
    "abuse": 0.2,
    "feelings": 0.4,
    "word_kinds": 0.4,
    "extraction": 15,
    "lookup": 1.5,
    "tables": 0.5,
    "copies": 0.7,
    "repeats": 0.4,
    "facts": 5.5,
    "orders": 1.3,
    "replies": 2,
    "ordering": 0.2,
    "identity": 1.5,
    "plain_facts": 0.3,
    "declines": 0.2,
    "calling": 13.5,
    "not_calling": 5.5,
    "thinking": 2,
}
LAST: Mapping[str, float] = {
    "clinc150": 10,
    "banking77": 3.5,
    "hwu64": 9.5,
    "hwu64_groups": 1.5,
    "bitext_intents": 0.5,
    "echoes": 11,
    "exact_echoes": 2,
    "spam": 11,
    "abuse": 0.2,
    "feelings": 0.4,
    "word_kinds": 0.4,
    "extraction": 18,
    "lookup": 1.5,
    "slots": 0.2,
    "tables": 0.5,
    "copies": 0.5,
    "repeats": 0.4,
    "facts": 6,
    "orders": 1.3,
    "replies": 2.3,
    "ordering": 0.2,
    "identity": 2.2,
    "plain_facts": 0.4,
    "declines": 0.3,
    "prose": 0.2,
    "calling": 38,
    "not_calling": 15,
    "thinking": 3.5,
}
CHOOSING: Mapping[str, float] = {
    "clinc150": 6,
    "banking77": 2.2,
    "hwu64": 5.6,
    "hwu64_groups": 0.8,
    "bitext_intents": 0.3,
    "echoes": 5.5,
    "exact_echoes": 0.8,
    "spam": 6,
    "abuse": 0.1,
    "feelings": 0.2,
    "word_kinds": 0.2,
    "extraction": 10,
    "lookup": 0.9,
    "slots": 0.1,
    "tables": 0.3,
    "copies": 0.3,
    "repeats": 0.2,
    "facts": 3.2,
    "orders": 0.7,
    "replies": 1.2,
    "ordering": 0.1,
    "identity": 1.3,
    "plain_facts": 0.3,
    "declines": 0.2,
    "prose": 0.1,
    "sums": 2.5,
    "sessions": 38,
    "calling": 19,
    "not_calling": 5,
    "thinking": 2,
}
SETTLING: Mapping[str, float] = {
    "clinc150": 9.2,
    "banking77": 2.4,
    "hwu64": 8.2,
    "hwu64_groups": 1.2,
    "bitext_intents": 0.2,
    "echoes": 8,
    "exact_echoes": 0.9,
    "spam": 4.4,
    "abuse": 0.1,
    "feelings": 0.1,
    "word_kinds": 0.1,
    "extraction": 15.4,
    "lookup": 1.1,
    "slots": 0.1,
    "tables": 0.2,
    "copies": 0.2,
    "repeats": 0.1,
    "facts": 4.7,
    "orders": 0.7,
    "replies": 1.1,
    "ordering": 0.1,
    "identity": 1.4,
    "plain_facts": 0.2,
    "declines": 0.1,
    "prose": 0.1,
    "sums": 1.5,
    "sessions": 32,
    "calling": 16,
    "not_calling": 4,
    "thinking": 1.5,
}
STAGES: tuple[Stage, ...] = (
    Stage(0.0, 0.08, BEGINNING),
    Stage(0.06, 0.1, MATCHED),
    Stage(0.13, 0.12, CALLING),
    Stage(0.22, 0.2, LAST),
    Stage(0.4, 0.32, CHOOSING),
    Stage(0.74, 0.27, SETTLING),
)
"""What a run reads, in order: first what is matched and copied word for word, then labels under other
names than their set's, so that a list is to be read and not known by heart, then tools, then mostly which of
them to call, and in the end, while the rate is low, all of it in proportion."""

PROSE_WORDS = 330


@dataclass(frozen=True)
class Held:
    """Texts that are scored and never trained on."""

    clinc150: list[Labelled]
    snips: list[Labelled]
    sms_spam: list[Labelled]
    marks: frozenset[str] = field(repr=False)


def spam_split(data: Path) -> tuple[list[Labelled], list[Labelled]]:
    """SMS spam for training and for scoring: every fourth message of a fixed shuffle is scored."""
    records = corpora.sms_spam(data)
    Random(150).shuffle(records)
    scored = records[::4]
    return [r for n, r in enumerate(records) if n % 4], scored


def held_out(data: Path) -> Held:
    """The scored texts and the fingerprints of all of them, other test splits included."""
    clinc, snips = corpora.clinc150(data, "test"), corpora.snips(data)
    _, spam = spam_split(data)
    others = corpora.banking77(data, "test") + corpora.hwu64(data, "test")
    texts = [r.text for r in (*clinc, *snips, *spam, *others)]
    return Held(clinc, snips, spam, frozenset(map(fingerprint, texts)))


def without(records: list[Labelled], marks: frozenset[str]) -> list[Labelled]:
    """The records whose text is not among the scored ones."""
    return [record for record in records if fingerprint(record.text) not in marks]


RENAMED = 0.7
"""The share of conversations over an intent set in which its labels are not called by their names."""


def _several(rng: Random) -> int:
    return rng.choices((1, 2, 4, 6, 8, 11, 14), (30, 10, 15, 12, 13, 10, 10))[0]


def _pool_writer(kind: str, records: list[Labelled], renamed: float = RENAMED) -> Writer:
    pool = LabelPool(kind, records)
    return lambda rng: pool.draw(rng, _several(rng), renamed)


SPAM_SHARE = 0.14
"""How much of the messages is spam where people live, as in most conversations on it here."""


def _altered(rng: Random, text: str) -> str:
    """A message with other digits, or without one of its words: what it is does not hang on them."""
    if rng.random() < 0.5:
        text = "".join(rng.choice("0123456789") if c.isdigit() else c for c in text)
    words = text.split(" ")
    if len(words) > 8 and rng.random() < 0.3:
        words.pop(rng.randrange(len(words)))
    return " ".join(words)


def _spam_writer(records: list[Labelled]) -> Writer:
    spam = [r for r in records if r.label == "spam"]
    ham = [r for r in records if r.label == "ham"]

    def write(rng: Random) -> Example:
        share = SPAM_SHARE if rng.random() < 0.75 else 0.4
        drawn = [rng.choice(spam if rng.random() < share else ham) for _ in range(_several(rng))]
        items = [Labelled(_altered(rng, r.text), r.label) for r in drawn]
        return two_way(rng, "spam", rng.choice(SPAM_NAMES), ("spam", "ham"), items)

    return write


def _abuse_writer(tweets: list[Labelled], turns: list[Labelled]) -> Writer:
    by_label: dict[str, list[Labelled]] = {}
    for record in (*tweets, *turns):
        by_label.setdefault(record.label, []).append(record)
    three, two = ("hate_speech", "offensive_language", "neither"), ("abusive", "not_abusive")

    def write(rng: Random) -> Example:
        keys = three if rng.random() < 0.6 else two
        names = [k.replace("_", " ") for k in keys] if rng.random() < 0.3 else list(keys)
        items = [rng.choice(by_label[rng.choice(keys)]) for _ in range(_several(rng))]
        return two_way(rng, "abuse", names, keys, items)

    return write


def _feeling_writer() -> Writer:
    def write(rng: Random) -> Example:
        keys = ("positive", "negative", "neutral")
        names = [k.capitalize() for k in keys] if rng.random() < 0.2 else keys
        items = [smalltalk.feeling(rng) for _ in range(_several(rng))]
        return two_way(rng, "feeling", names, keys, items)

    return write


def _prose_writer(data: Path) -> Writer:
    paragraphs = [p for p in corpora.books(data) if p] or [""]
    pages = corpora.handbook(data)

    def write(rng: Random) -> Example:
        if pages and rng.random() < 0.35:
            words = rng.choice(pages).split(" ")
            at = rng.randrange(max(1, len(words) - PROSE_WORDS))
            return Example("prose", prose=" ".join(words[at : at + PROSE_WORDS]).strip())
        at, taken = rng.randrange(len(paragraphs)), 0
        chosen: list[str] = []
        while at < len(paragraphs) and taken < PROSE_WORDS:
            chosen.append(paragraphs[at])
            taken, at = taken + len(paragraphs[at].split()), at + 1
        return Example("prose", prose="\n\n".join(chosen))

    return write


def _sentences(data: Path, marks: frozenset[str]) -> list[str]:
    """Sentences of every kind that people write or say, none of them scored."""
    sets = (
        corpora.clinc150(data, "train")
        + corpora.hwu64(data, "train")
        + corpora.banking77(data, "train")
    )
    found = [r.text for r in sets]
    found += [r.request for r in corpora.bitext_support(data) if "{" not in r.request]
    found += [t for talk in corpora.taskmaster4(data) for speaker, t in talk if speaker == "user"]
    found += [item.text for item in corpora.spans(data)]
    prose = " ".join((*corpora.books(data)[::5], *corpora.handbook(data)))
    found += [corpora.clean(part) for part in re.split(r"(?<=[.!?;])\s+", prose)][:12000]
    return [text for text in found if fingerprint(text) not in marks]


def unscored(write: Writer) -> Writer:
    """A writer that draws again where a turn has a wording that tool use is scored by."""

    def draw_unscored(rng: Random) -> Example:
        while True:
            example = write(rng)
            if not any(t.role == "user" and scored(t.text) for t in example.turns):
                return example

    return draw_unscored


def writers(data: Path) -> dict[str, Writer]:
    """Every part of the mixture as a function from a random source to a conversation."""
    marks = held_out(data).marks
    records = corpora.bitext_support(data)
    intents = without(
        [Labelled(r.request, r.intent) for r in records if "{" not in r.request], marks
    )
    dialogues, spans = corpora.taskmaster4(data), corpora.spans(data)
    wishes = without(corpora.clinc150(data, "train") + corpora.hwu64(data, "train"), marks)
    words = sorted({w for r in wishes for w in r.text.split() if w.isalpha()})
    every_label = sorted({plain_words(r.label) for r in (*wishes, *intents)})
    slot_names = sorted({name for item in spans for name in item.slots})
    spam, _ = spam_split(data)
    kinds = [smalltalk.word_kind(Random(n)) for n in range(600)]
    echoes = Echoes(_sentences(data, marks))
    hwu64 = without(corpora.hwu64(data, "train"), marks)
    banking = without(corpora.banking77(data, "train"), marks)
    asked = [r.text for r in (*wishes, *intents, *banking) if r.label not in TALK]
    asked += [text for text in corpora.instructions(data) if fingerprint(text) not in marks] * 8
    public = [tool for tool in corpora.public_tools(data) if tool_public.usable(tool)]
    return {
        "clinc150": _pool_writer("clinc150", without(corpora.clinc150(data, "train"), marks)),
        "banking77": _pool_writer("banking77", without(corpora.banking77(data, "train"), marks)),
        "hwu64": _pool_writer("hwu64", hwu64),
        "hwu64_groups": _pool_writer(
            "hwu64", [Labelled(r.text, r.label.split("_")[0]) for r in hwu64]
        ),
        "bitext_intents": _pool_writer("bitext_intents", intents),
        "spam": _spam_writer(without(spam, marks)),
        "abuse": _abuse_writer(
            without(corpora.davidson(data), marks), without(corpora.convabuse(data), marks)
        ),
        "feelings": _feeling_writer(),
        "word_kinds": _pool_writer("word_kinds", kinds, 0.0),
        "extraction": extract.extraction,
        "lookup": extract.lookup,
        "slots": lambda rng: extract.slots(rng, spans, slot_names),
        "tables": drills.table_drill,
        "copies": drills.copy_drill,
        "repeats": lambda rng: drills.repeat_drill(rng, words),
        "respellings": lambda rng: drills.respell_drill(rng, words),
        "nexts": lambda rng: drills.next_drill(rng, words),
        "label_echoes": _pool_writer("label_echoes", echo_pool(every_label), 0.0),
        "echoes": lambda rng: echoes.draw(rng, _several(rng)),
        "exact_echoes": lambda rng: echoes.draw_exact(rng, rng.choice((1, 1, 2, 5, 8, 12, 16))),
        "word_echoes": lambda rng: word_echo(rng, words, _several(rng)),
        "declines": lambda rng: smalltalk.decline(rng, wishes),
        "facts": support.fact_chat,
        "orders": support.order_chat,
        "replies": lambda rng: support.reply_chat(rng, records),
        "ordering": lambda rng: smalltalk.order_talk(rng, dialogues),
        "identity": smalltalk.about_itself,
        "plain_facts": smalltalk.plain_fact,
        "prose": _prose_writer(data),
        "calling": unscored(lambda rng: tools.calling(rng, wishes)),
        "not_calling": unscored(lambda rng: tools_unused.not_calling(rng, wishes)),
        "thinking": unscored(lambda rng: tool_thoughts.thinking(rng, wishes)),
        "sessions": unscored(lambda rng: tool_sessions.session(rng, asked, public)),
        "sums": arithmetic.small_sum,
    }


def counts(
    parts: Mapping[str, Writer], shares: Mapping[str, float], characters: int
) -> dict[str, int]:
    """How many conversations of each part give its share of `characters`, at least one each."""
    total, found = sum(shares.values()), {}
    for name, share in shares.items():
        rng = Random(5)
        size = sum(len(t) for _ in range(200) for t, _ in pieces(parts[name](rng))) / 200
        found[name] = max(1, int(characters * share / total / max(size, 1)))
    return found


def draw(parts: Mapping[str, Writer], counts: Mapping[str, int], seed: int) -> Iterator[Example]:
    """`counts` conversations of each part, shuffled together."""
    rng = Random(seed)
    order = [name for name, count in counts.items() for _ in range(count)]
    rng.shuffle(order)
    return (parts[name](rng) for name in order)
