"""Conversations that choose a label from those the prompt gives.

Owns the wordings and spellings of classification: where the labels stand, how they are written and
how the answer is asked for. Knows nothing of where texts come from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from random import Random

from training.chat import Example, Turn
from training.corpora import Labelled
from training.world import spin

TASKS = (
    "[Classify|Categorize|Sort|Assign] the [following|given] {noun} [into|to] [one|exactly one] of "
    "[these|the following] {kinds}",
    "[Which|What] {kind} [fits|describes|matches|suits] [this|the] {noun} [best|]?",
    "[Choose|Pick|Select] the [best|right|correct|most fitting|] {kind} for [this|the] {noun}",
    "[Label|Tag] [this|the following|the] {noun} with one of [these|the following|the] {kinds}",
    "[Decide|Tell me|Determine|Identify] which [of these {kinds}|{kind}] the {noun} [belongs to|has]",
    "What is the {kind} of [this|the following] {noun}?",
    "[Detect|Find|Recognize] the {kind} of the [user's|customer's|] {noun}",
    "[Read|Look at] the {noun} and [choose|pick|give|name] [its|the right] {kind}",
)
ONLY = (
    "Answer with the {kind} only.",
    "Reply with the {kind} only.",
    "Only output the {kind}.",
    "Give just the {kind}, nothing else.",
    "Respond with exactly one {kind}.",
    "Return only the {kind}.",
    "Answer with one of the {kinds} and nothing else.",
    "Output one {kind}, no comment.",
)
NOUNS = ("message", "text", "utterance", "request", "query", "sentence", "question", "input")
KINDS = (
    ("category", "categories"),
    ("label", "labels"),
    ("intent", "intents"),
    ("class", "classes"),
    ("option", "options"),
    ("tag", "tags"),
    ("topic", "topics"),
)
SPAM_NAMES = (
    ("spam", "ham"),
    ("spam", "ham"),
    ("spam", "not_spam"),
    ("spam", "not spam"),
    ("spam", "legitimate"),
    ("spam", "normal"),
    ("unwanted", "wanted"),
    ("junk", "not_junk"),
)


def plain_words(label: str) -> str:
    """A label as lower-case words, whether it was snake_case or CamelCase."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return re.sub(r"[\s_\-/?]+", " ", parts).strip().lower()


def spell(label: str, style: int) -> str:
    """A label in one of six spellings; 0 leaves it as the set has it."""
    words = plain_words(label)
    return (
        label,
        words,
        words.replace(" ", "_"),
        words.title(),
        words.title().replace(" ", ""),
        words.replace(" ", "-"),
        words.upper().replace(" ", "_"),
    )[style]


def label_count(rng: Random, most: int) -> int:
    """How many labels a prompt shows: 2 to 15, often 5 or 10."""
    wanted = rng.choices(
        (rng.randint(2, 4), 5, rng.randint(6, 9), 10, rng.randint(11, 15)), (15, 17, 18, 30, 20)
    )[0]
    return min(wanted, most)


def listing(rng: Random, labels: Sequence[str], name: str) -> str:
    """The labels as a list in the prompt, with or without a heading."""
    form = rng.randrange(8)
    if form <= 2:
        return f"{name}: " + ", ".join(labels)
    if form <= 4:
        return f"{name}:\n" + "\n".join(f"- {label}" for label in labels)
    if form == 5:
        return f"{name}: " + json.dumps(list(labels))
    if form == 6:
        return f"{name}:\n" + "\n".join(f"{n}. {label}" for n, label in enumerate(labels, 1))
    return f"{name}: " + " | ".join(labels)


def _shown(rng: Random, noun: str, text: str) -> str:
    return rng.choice(
        (
            f"{noun.capitalize()}: {text}",
            f"{noun.capitalize()}: {text}",
            f'{noun.capitalize()}: "{text}"',
            f"{noun.capitalize()}:\n{text}",
            f"<{noun}>{text}</{noun}>",
            text,
        )
    )


def _one_prompt(rng: Random, labels: Sequence[str], text: str) -> tuple[str, str]:
    noun, (kind, kinds) = rng.choice(NOUNS), rng.choice(KINDS)
    task = spin(rng, rng.choice(TASKS)).format(noun=noun, kind=kind, kinds=kinds)
    task = " ".join(task.split())
    only = rng.choice(ONLY).format(kind=kind, kinds=kinds)
    shown = _shown(rng, noun, text)
    stop = "" if task.endswith("?") else "."
    form = rng.randrange(6)
    if form == 0 and not task.endswith("?"):
        return f"{task}: {', '.join(labels)}.", f"{shown}"
    if form == 1:
        return f"{task}{stop} {only}\n\n{listing(rng, labels, kinds.capitalize())}", shown
    if form == 2:
        return f"{task}{stop}\n{listing(rng, labels, kinds.capitalize())}", f"{shown}\n\n{only}"
    if form == 3:
        return f"{listing(rng, labels, 'Possible ' + kinds)}\n\n{task}{stop} {only}", shown
    if form == 4:
        return f"{task}{stop}\n\n{listing(rng, labels, 'The ' + kinds + ' are')}", shown
    return f"{task}{stop} {only} {kinds.capitalize()}: {', '.join(labels)}", shown


def classification(
    rng: Random,
    kind: str,
    labels: Sequence[str],
    items: Sequence[Labelled],
    names: Mapping[str, str],
) -> Example:
    """One conversation that labels every item; `names` gives each label's spelling in it.

    The instruction stands in the system text or in the first user message; later items are bare.
    """
    shown = [names[label] for label in labels]
    task, first = _one_prompt(rng, shown, items[0].text)
    rest = [item.text for item in items[1:]]
    if rng.random() < 0.4:
        turns = [Turn("system", task)]
        prompts = [first if rng.random() < 0.3 else items[0].text, *rest]
    else:
        turns = []
        swap = rng.random() < 0.15 and not rest
        prompts = [f"{first}\n\n{task}" if swap else f"{task}\n\n{first}", *rest]
    for prompt, item in zip(prompts, items, strict=True):
        turns += [Turn("user", prompt), Turn("assistant", names[item.label])]
    return Example(kind, tuple(turns))


class LabelPool:
    """Texts by label of one set, with the labels that are easily confused with each."""

    def __init__(self, kind: str, records: Sequence[Labelled]) -> None:
        self.kind = kind
        self.by_label: dict[str, list[Labelled]] = {}
        for record in records:
            self.by_label.setdefault(record.label, []).append(record)
        self.labels = sorted(self.by_label)
        self._words = {label: set(plain_words(label).split()) for label in self.labels}

    def near(self, label: str) -> list[str]:
        """Labels that share a word with `label`."""
        mine = self._words[label]
        return [other for other in self.labels if other != label and mine & self._words[other]]

    def draw(self, rng: Random, items: int) -> Example:
        """A conversation over a fresh choice of labels; a third of them has near labels."""
        count = label_count(rng, len(self.labels))
        labels = rng.sample(self.labels, count)
        if rng.random() < 0.3 and (near := self.near(labels[0])):
            labels = [labels[0], *rng.sample(near, min(len(near), count - 1, 3)), *labels[1:]]
            labels = list(dict.fromkeys(labels))[:count]
        chosen = [labels[0], *rng.choices(labels, k=items - 1)]
        rng.shuffle(labels)
        rng.shuffle(chosen)
        style = rng.choices(range(7), (28, 18, 18, 10, 15, 6, 5))[0]
        names = {label: spell(label, style) for label in labels}
        texts = [rng.choice(self.by_label[label]) for label in chosen]
        return classification(rng, self.kind, labels, texts, names)


def two_way(
    rng: Random, kind: str, names: Sequence[str], keys: Sequence[str], items: Sequence[Labelled]
) -> Example:
    """A conversation over the few fixed labels `keys`, spelled `names`, in any order."""
    order = list(zip(keys, names, strict=True))
    rng.shuffle(order)
    return classification(rng, kind, [key for key, _ in order], items, dict(order))


def echo_pool(labels: Sequence[str]) -> list[Labelled]:
    """Texts that say a label's own words: what teaches that a text is matched with the list."""
    forms = (
        "{}",
        "this is about {}",
        "i need {}",
        "{} please",
        "my question is on {}",
        "help: {}",
        "hi, {}",
        "can you help with {} now",
        "{} for me",
        "please tell me about {}",
        "about {}?",
    )
    return [Labelled(f.format(plain_words(label)), label) for label in labels for f in forms]


def word_echo(rng: Random, words: Sequence[str], items: int) -> Example:
    """Labels made of any words, and texts that hold some of a label's words among others.

    No label comes twice, so the list in the prompt is the only place to take the answer from.
    `words` are at least five different ones.
    """
    chosen = rng.sample(words, min(len(words), 60))
    style = rng.choice((1, 2, 3, 4, 4, 5, 6))
    parts = [
        [chosen.pop() for _ in range(rng.choice((1, 2, 2, 2, 3)))]
        for _ in range(min(label_count(rng, 12), len(chosen) // 4))
    ]
    names = {"_".join(own): spell("_".join(own), style) for own in parts}
    picked = []
    for _ in range(items):
        own = rng.choice(parts)
        said = rng.sample(own, rng.choice((1, len(own), len(own))))
        said += rng.sample(chosen, min(len(chosen), rng.randint(0, 6)))
        rng.shuffle(said)
        picked.append(Labelled(" ".join(said), "_".join(own)))
    return classification(rng, "label_echoes", list(names), picked, names)
