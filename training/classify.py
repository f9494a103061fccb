"""Conversations that choose a label from those the prompt gives.

Owns the wordings and spellings of classification: where the labels stand, how they are written and
how the answer is asked for. Knows nothing of where texts come from.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from training import naming
from training.chat import Example, Turn
from training.corpora import Labelled
from training.naming import plain_words, stem
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


def listing(
    rng: Random, labels: Sequence[str], name: str, notes: Mapping[str, str] | None = None
) -> str:
    """The labels as a list in the prompt, with or without a heading; `notes` explain labels."""
    if notes:
        mark = rng.choice((": ", ": ", " - ", " = ", " -> "))
        head = rng.choice(("- ", "", "* "))
        return f"{name}:\n" + "\n".join(f"{head}{label}{mark}{notes[label]}" for label in labels)
    return f"{name}:{_block(rng, labels)}"


def _inline(rng: Random, labels: Sequence[str]) -> str:
    """The labels within a line: after commas, in quotes, as JSON, with a last "or"."""
    form = rng.choices(range(7), (12, 3, 3, 2, 2, 1, 1))[0]
    if form == 0:
        return ", ".join(labels)
    if form == 1:
        return ", ".join(f'"{label}"' for label in labels)
    if form == 2:
        return json.dumps(list(labels), ensure_ascii=False)
    if form == 3:
        return ", ".join(labels[:-1]) + f" or {labels[-1]}"
    if form == 4:
        return " | ".join(labels)
    return (" / " if form == 5 else "; ").join(labels)


def _block(rng: Random, labels: Sequence[str]) -> str:
    """The labels behind a heading's colon: within the line, or one on each line below."""
    form = rng.choices(range(9), (8, 5, 3, 2, 2, 1, 1, 1, 1))[0]
    if form == 0:
        return " " + _inline(rng, labels)
    if form == 8:
        return "\n" + ",\n".join(json.dumps(label, ensure_ascii=False) for label in labels)
    heads = ("- {}", "{}", "{n}. {}", "* {}", "- `{}`", '- "{}"', "{n}) {}")
    return "\n" + "\n".join(heads[form - 1].format(x, n=n) for n, x in enumerate(labels, 1))


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


def _one_prompt(
    rng: Random, labels: Sequence[str], text: str, notes: Mapping[str, str] | None
) -> tuple[str, str]:
    noun, (kind, kinds) = rng.choice(NOUNS), rng.choice(KINDS)
    task = spin(rng, rng.choice(TASKS)).format(noun=noun, kind=kind, kinds=kinds)
    task = " ".join(task.split())
    only = rng.choice(ONLY).format(kind=kind, kinds=kinds)
    shown = _shown(rng, noun, text)
    stop = "" if task.endswith("?") else "."
    form = rng.randrange(8)
    if notes and form in (0, 5, 6, 7):
        form = rng.randint(1, 3)
    if form == 0 and not task.endswith("?"):
        return f"{task}: {_inline(rng, labels)}.", f"{shown}"
    if form in (6, 7) and not task.endswith("?"):
        return f"{task}: {_inline(rng, labels)}.{rng.choice((' ', chr(10)))}{only}", shown
    if form == 1:
        return f"{task}{stop} {only}\n\n{listing(rng, labels, kinds.capitalize(), notes)}", shown
    if form == 2:
        listed = listing(rng, labels, kinds.capitalize(), notes)
        return f"{task}{stop}\n{listed}", f"{shown}\n\n{only}"
    if form == 3:
        listed = listing(rng, labels, "Possible " + kinds, notes)
        return f"{listed}\n\n{task}{stop} {only}", shown
    if form == 4:
        return f"{task}{stop}\n\n{listing(rng, labels, 'The ' + kinds + ' are', notes)}", shown
    return f"{task}{stop} {only} {kinds.capitalize()}: {_inline(rng, labels)}", shown


def classification(
    rng: Random,
    kind: str,
    labels: Sequence[str],
    items: Sequence[Labelled],
    names: Mapping[str, str],
    notes: Mapping[str, str] | None = None,
) -> Example:
    """One conversation that labels every item; `names` gives each label's spelling in it.

    The instruction stands in the system text or in the first user message; later items are bare.
    `notes` are explanations of labels, by their spelling.
    """
    shown = [names[label] for label in labels]
    task, first = _one_prompt(rng, shown, items[0].text, notes)
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


def content_words(text: str) -> list[str]:
    """The words of a text that say what it is about, each once."""
    found = re.findall(r"[a-z]{3,14}", text.lower().replace("'", ""))
    return list(dict.fromkeys(word for word in found if word not in COMMON))


COMMON = frozenset(
    "the and for that this with you your can could would should will what when where which who how "
    "why are was were have has had not but from they them then than there here please tell want need "
    "like just get got let its his her our any all some does did doing been being about into over "
    "out off one two may might must also very too yes okay hey hello thanks thank ive im id youre "
    "dont cant whats isnt thats know make use see way more much many now say says said she him "
    "himself herself such only other because these those their upon well".split()
)
KEYWORDS = 24
"""How many typical words of a label's texts its names may be made of."""

WANTS = (
    "the user wants {}",
    "{}",
    "questions about {}",
    "the person asks for {}",
    "anything on {}",
    "the customer needs {}",
    "requests that have to do with {}",
    "texts about {}",
)


class LabelPool:
    """Texts by label of one set, with the labels that are easily confused with each."""

    def __init__(self, kind: str, records: Sequence[Labelled]) -> None:
        self.kind = kind
        self.by_label: dict[str, list[Labelled]] = {}
        for record in records:
            self.by_label.setdefault(record.label, []).append(record)
        self.labels = sorted(self.by_label)
        self._words = {label: set(plain_words(label).split()) for label in self.labels}
        self._keywords = self._typical()

    def _typical(self) -> dict[str, list[str]]:
        counted = {
            label: Counter(w for r in records for w in set(content_words(r.text)))
            for label, records in self.by_label.items()
        }
        spread = Counter(w for counts in counted.values() for w in counts)
        return {
            label: sorted(
                (w for w in counts if counts[w] > 1),
                key=lambda w: (-counts[w] * math.log(1.3 * len(counted) / spread[w]), w),
            )[:KEYWORDS]
            for label, counts in counted.items()
        }

    def near(self, label: str) -> list[str]:
        """Labels that share a word with `label`."""
        mine = self._words[label]
        return [other for other in self.labels if other != label and mine & self._words[other]]

    def _choose(self, rng: Random) -> list[str]:
        count = label_count(rng, len(self.labels))
        labels = rng.sample(self.labels, count)
        if rng.random() < 0.3 and (near := self.near(labels[0])):
            labels = [labels[0], *rng.sample(near, min(len(near), count - 1, 3)), *labels[1:]]
            labels = list(dict.fromkeys(labels))[:count]
        return labels

    def _renamed(self, rng: Random, labels: Sequence[str]) -> dict[str, str]:
        """New names for labels: other words of like meaning, or words that their texts use."""
        share, style = rng.choice((0.0, 0.3, 0.6, 1.0)), naming.any_style(rng)
        names: dict[str, str] = {}
        for label in labels:
            others = {
                stem(w)
                for other in labels
                if other != label
                for w in (*self._words[other], *self._keywords[other][:10])
            }
            own = [w for w in self._keywords[label] if stem(w) not in others]
            words = plain_words(label).split()
            if own and rng.random() < share:
                new = naming.from_keywords(rng, own, words)
            else:
                new = naming.reworded(rng, words)
            names[label] = naming.spelled(new, style)
        if len(set(names.values())) < len(names):
            names = {label: naming.spelled(plain_words(label).split(), style) for label in labels}
        return names

    def _noted(self, rng: Random, labels: Sequence[str], *, examples: bool) -> dict[str, str]:
        """An explanation of every label: what it is about, or one or two of its texts."""
        form = rng.choice(WANTS)
        notes = {}
        for label in labels:
            if examples:
                shown = rng.sample(self.by_label[label], min(len(self.by_label[label]), 2))
                notes[label] = ", ".join(json.dumps(r.text) for r in shown[: rng.randint(1, 2)])
            else:
                words = plain_words(label).split()
                notes[label] = form.format(
                    " ".join(naming.reworded(rng, words) if rng.random() < 0.5 else words)
                )
        return notes

    def draw(self, rng: Random, items: int, renamed: float = 0.0) -> Example:
        """A conversation over a fresh choice of labels; a third of them has near labels.

        `renamed` is the share of conversations whose labels are not called what the set calls them.
        """
        labels, notes = self._choose(rng), None
        if rng.random() >= renamed:
            style = rng.choices(range(7), (28, 18, 18, 10, 15, 6, 5))[0]
            names = {label: spell(label, style) for label in labels}
        elif rng.random() < 0.12:
            labels = labels[: rng.randint(2, 6)]
            codes = naming.code_names(rng, len(labels))
            noted = self._noted(rng, labels, examples=rng.random() < 0.6)
            names = dict(zip(labels, codes, strict=True))
            notes = {names[label]: note for label, note in noted.items()}
        else:
            names = self._renamed(rng, labels)
            if rng.random() < 0.12:
                noted = self._noted(rng, labels, examples=False)
                notes = {names[label]: note for label, note in noted.items()}
        chosen = [labels[0], *rng.choices(labels, k=items - 1)]
        rng.shuffle(labels)
        rng.shuffle(chosen)
        texts = [rng.choice(self.by_label[label]) for label in chosen]
        return classification(rng, self.kind, labels, texts, names, notes)


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


class Echoes:
    """Real sentences whose labels are made of their own words: no label set ever comes twice.

    A name holds some words of its sentence, sometimes in another form, as a synonym, behind a verb or
    beside a word that the sentence lacks; no other name of the list fits as well. Sentences that have
    too much in common give their words alone.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        self._texts: list[tuple[str, list[str]]] = []
        self._with: dict[str, list[int]] = {}
        for text in dict.fromkeys(sentences):
            words = content_words(text)
            if len(words) >= 2 and len(text) <= LONGEST_ECHO:
                for word in words:
                    self._with.setdefault(stem(word), []).append(len(self._texts))
                self._texts.append((text, words))
        counts = Counter(w for _, words in self._texts for w in words)
        self._vocabulary = sorted(counts)
        self._common = sorted(w for w in counts if counts[w] >= COMMON_ENOUGH) or self._vocabulary
        self._holding: dict[str, list[int]] = {}
        for at, (text, words) in enumerate(self._texts):
            if len(text) <= SHORT_ECHO:
                for word in words:
                    self._holding.setdefault(word, []).append(at)

    def _name(self, rng: Random, own: Sequence[str], verb: str) -> list[str]:
        words = []
        for word in own:
            luck = rng.random()
            if luck < 0.2:
                word = naming.inflected(rng, word)
            elif luck < 0.4:
                word = naming.synonym(rng, word)
            words.append(word)
        if verb and words[0] not in naming.VERB_LIKE:
            words.insert(0, verb)
        elif rng.random() < 0.12:
            words.insert(rng.randint(0, len(words)), rng.choice(self._vocabulary))
        if rng.random() < 0.08:
            words.append(rng.choice(naming.TAILS))
        words = list(dict.fromkeys(words))[:4]
        if len(words) > 1 and rng.random() < 0.15:
            words.insert(rng.randint(1, len(words) - 1), rng.choice(naming.JOINTS))
        return words

    def draw(self, rng: Random, items: int) -> Example:
        """A conversation over labels of two to fifteen sentences, some with further texts."""
        verb = rng.choice(
            (*naming.VERBS, *self._vocabulary[:: max(1, len(self._vocabulary) // 40)])
        )
        shared, style = rng.choice((0.0, 0.0, 0.4, 1.0)), naming.any_style(rng)
        labels: dict[str, str] = {}
        clues: dict[str, set[str]] = {}
        origin: dict[str, int] = {}
        said: list[set[str]] = []
        for _ in range(label_count(rng, 15)):
            at = rng.randrange(len(self._texts))
            words = self._texts[at][1]
            own = rng.sample(words, min(len(words), rng.choice((1, 1, 1, 2, 2, 2, 3))))
            marks = {stem(w) for word in own for w in (word, *naming.SYNONYMS.get(word, ()))}
            taken = {stem(w) for w in words}
            if any(taken & known for known in clues.values()) or any(marks & t for t in said):
                continue
            first = verb if rng.random() < shared else rng.choice(naming.VERBS)
            has_verb = rng.random() < max(shared, 0.35)
            name = naming.spelled(self._name(rng, own, first if has_verb else ""), style)
            if name in labels.values():
                continue
            key = str(len(labels))
            labels[key], clues[key], origin[key] = name, marks, at
            said.append(taken)
        keys = list(labels)
        if len(keys) < 2:
            return word_echo(rng, self._vocabulary, items)
        picked = []
        for _ in range(items):
            key = rng.choice(keys)
            picked.append(Labelled(self._text(rng, key, clues, origin[key]), key))
        rng.shuffle(keys)
        return classification(rng, "echoes", keys, picked, labels)

    def draw_exact(self, rng: Random, items: int) -> Example:
        """The same at its plainest: labels of one or two common words that stand in the text as they are.

        Half of the texts are common words in any order, so that nothing but the list tells the answer.
        """
        loose, style = rng.random() < 0.5, rng.choice((0, 0, 0, 0, 1, 2, 2, 3, 4, 5))
        size = 1 if rng.random() < 0.6 else 2
        words = rng.sample(self._common, min(len(self._common), 80))
        count = min(rng.choice((2, 3, 4, 5, 5, 6, 8, 10)), len(words) // (2 * size))
        owned = [[words.pop() for _ in range(size)] for _ in range(max(1, count))]
        taken = {word: n for n, own in enumerate(owned) for word in own}
        names = {str(n): naming.spelled(own, style) for n, own in enumerate(owned)}
        picked = []
        for _ in range(items):
            n = rng.randrange(len(owned))
            word = rng.choice(owned[n])
            at = rng.choice(self._holding.get(word, [-1]))
            clash = at < 0 or any(taken.get(w, n) != n for w in self._texts[at][1])
            if loose or clash:
                said = [*(owned[n] if rng.random() < 0.5 else [word])]
                said += rng.sample(words, min(len(words), rng.randint(1, 6)))
                rng.shuffle(said)
                picked.append(Labelled(" ".join(said), str(n)))
            else:
                picked.append(Labelled(self._texts[at][0], str(n)))
        keys = list(names)
        return classification(rng, "echoes", keys, picked, names)

    def _text(self, rng: Random, key: str, clues: Mapping[str, set[str]], at: int) -> str:
        """The label's own sentence, or another one that it fits and no other label does."""
        known = [n for mark in sorted(clues[key]) for n in self._with.get(mark, ())[:400]]
        for _ in range(3 if rng.random() < 0.6 else 0):
            text, words = self._texts[rng.choice(known)]
            marks = {stem(word) for word in words}
            if not any(marks & other for name, other in clues.items() if name != key):
                return text
        return self._texts[at][0]


COMMON_ENOUGH = 8
"""In how many sentences a word stands that the plainest labels are made of."""
SHORT_ECHO = 60
LONGEST_ECHO = 150
"""Longest sentence, in characters, that a label is made from."""
