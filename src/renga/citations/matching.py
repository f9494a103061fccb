"""Which passages of the sources support a sentence: what it says is found again in them.

Owns the measure. A sentence is supported by a passage that holds most of its weight in words, rare
ones weighing more; that holds every number and name of it; that denies what it denies and nothing
else; and in which some of its words stand side by side as they do there. Words that only repeat the
question, or name what the passage is about, weigh little either way. Where that holds for no
passage, two together may do; and where for none of those, the sentence has no support: a citation
that is missing costs less than one that is wrong. It knows no locations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from renga.citations.words import Words, is_dense, words_of

ENOUGH: Final = 0.65
"""Of a sentence's weight, what one passage has to hold."""
ENOUGH_OF_TWO: Final = 0.8
OF_TOLD: Final = 0.6
"""Of the weight of words that the question does not have, what a passage has to hold."""
ECHO: Final = 0.3
"""How much of its weight a word counts that is missing, but in the question or around a passage."""
NOVEL: Final = 3.0
"""How much of its weight a word counts that stands in no source and not in the question."""
PARTED: Final = 0.5
"""The same for two characters of a script without spaces, which may be of two words."""
WHOLE: Final = 0.6
"""Of a passage's words, how many a short sentence repeats that is cited whatever was asked."""
SHORT: Final = 3
"""Words up to which a sentence is looked for as it stands."""
OF_QUESTION: Final = 0.45
"""Of the question's weight, what the passage of a short answer has to hold."""
NEARBY: Final = 3
"""Passages before one that may name what it is about."""
MOST_CANDIDATES: Final = 12
MOST_CITED: Final = 3
AS_GOOD: Final = 0.95
MOST_POSTINGS: Final = 5_000
"""Passages with a word beyond which the word does not lead to any of them."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a source that can be cited; `about` is said of the whole source."""

    source: int
    text: str
    about: str = ""


class Passages:
    """The passages of all sources of one request, with what finds them."""

    def __init__(self, passages: Sequence[Passage], question: str = "") -> None:
        self._passages = passages
        self._words = [words_of(passage.text) for passage in passages]
        self._sets = [frozenset(words.row) for words in self._words]
        self._about = {p.about: frozenset(words_of(p.about).row) for p in passages}
        self._question = frozenset(words_of(question).row)
        self._where: dict[str, list[int]] = defaultdict(list)
        for at, words in enumerate(self._sets):
            for word in words:
                self._where[word].append(at)

    def support(self, sentence: str) -> list[int]:
        """The places of the passages that support `sentence`; none where none does."""
        said = words_of(sentence)
        if not said.row:
            return []
        candidates = self._candidates(said.row)
        if len(said.row) <= SHORT:
            found = self._short(said, candidates)
            if found or len(said.row) < SHORT:
                return found
        scores = {at: self._score(said, (at,)) for at in candidates}
        best = max(scores.values(), default=0.0)
        if best >= ENOUGH:
            return self._as_good(scores, best)
        return self._two(said, candidates)

    def _candidates(self, row: Sequence[str]) -> list[int]:
        """The passages that share the most weight with `row`, the question breaking ties."""
        shared: dict[int, float] = defaultdict(float)
        for word in dict.fromkeys(row):
            places = self._where.get(word, ())
            if len(places) <= MOST_POSTINGS:
                weight = self._weight(word)
                for at in places:
                    shared[at] += weight
        if not shared:
            return []
        # The question breaks ties of the few that are left, since asking it takes time.
        least = nlargest(MOST_CANDIDATES, shared.values())[-1]
        near = [at for at in shared if shared[at] >= least]
        ranked = sorted(near, key=lambda at: (-shared[at], -self._of_question(at), at))
        return ranked[:MOST_CANDIDATES]

    def _weight(self, word: str) -> float:
        """How much finding `word` says: the rarer, the more."""
        return math.log(1 + (len(self._sets) + 1) / (len(self._where.get(word, ())) + 0.5))

    def _around(self, at: int) -> frozenset[str]:
        """Words that name what a passage is about: its source's, and of passages just before it."""
        around = set(self._about[self._passages[at].about])
        for before in range(max(0, at - NEARBY), at):
            if self._passages[before].source == self._passages[at].source:
                around |= self._sets[before]
        return frozenset(around)

    def _score(self, said: Words, places: Iterable[int]) -> float:
        """How much of what is said some passages hold together; 0 where they cannot support it."""
        places = tuple(places)
        held = frozenset[str]().union(*(self._sets[at] for at in places))
        around = frozenset[str]().union(*(self._around(at) for at in places))
        if not said.numbers <= held or not said.names <= held | around:
            return 0.0
        if said.negated != any(self._words[at].negated for at in places):
            return 0.0
        if not any(said.pairs & self._words[at].pairs for at in places):
            return 0.0
        about = frozenset[str]().union(*(self._about[self._passages[at].about] for at in places))
        told = [word for word in said.row if word not in self._question | about]
        if self._share(told, held, frozenset()) < OF_TOLD and told:
            return 0.0
        return self._share(said.row, held, around | self._question)

    def _share(self, row: Iterable[str], held: frozenset[str], known: frozenset[str]) -> float:
        """The share of the weight of `row` that is held; what is only `known` counts little."""
        found = total = 0.0
        for word in set(row):
            weight = self._weight(word)
            if word in held:
                found += weight
            else:
                weight *= self._missing(word, known)
            total += weight
        return found / total if total else 0.0

    def _missing(self, word: str, known: frozenset[str]) -> float:
        """How heavy it weighs that a word is not held."""
        if word in known:
            return ECHO
        if is_dense(word):
            return PARTED
        return 1.0 if word in self._where else NOVEL

    def _as_good(self, scores: dict[int, float], best: float) -> list[int]:
        """The best passage of each source that is about as good as the best of all."""
        chosen: dict[int, int] = {}
        for at in sorted(scores, key=lambda at: (-scores[at], -self._of_question(at), at)):
            if scores[at] >= max(ENOUGH, AS_GOOD * best):
                chosen.setdefault(self._passages[at].source, at)
        return sorted([*chosen.values()][:MOST_CITED])

    def _two(self, said: Words, candidates: Sequence[int]) -> list[int]:
        """Two passages that hold together what neither holds alone."""
        best, found = ENOUGH_OF_TWO, []
        for nth, first in enumerate(candidates):
            for second in candidates[nth + 1 :]:
                score = self._score(said, (first, second))
                if score >= best and self._need_each_other(said, first, second):
                    best, found = score + 1e-9, sorted((first, second))
        return found

    def _need_each_other(self, said: Words, first: int, second: int) -> bool:
        row = set(said.row)
        ours, theirs = row & self._sets[first], row & self._sets[second]
        return len(ours - theirs) > 1 and len(theirs - ours) > 1

    def _short(self, said: Words, candidates: Sequence[int]) -> list[int]:
        """The passage that has a few words as they stand, and is what the question is about."""
        holding = [at for at in candidates if _in_a_row(said.row, self._words[at].row)]
        if not holding:
            return []
        best = max(holding, key=lambda at: (self._of_question(at), -at))
        if self._of_question(best) >= OF_QUESTION:
            return [best]
        return next(([at] for at in holding if self._repeats(said, at)), [])

    def _repeats(self, said: Words, at: int) -> bool:
        """Whether a short sentence is most of what a passage says."""
        words = self._words[at]
        whole = len(said.row) > 1 and WHOLE * len(words.row) <= len(said.row)
        return whole and said.negated == words.negated

    def _of_question(self, at: int) -> float:
        """The share of the question's weight that a passage holds, or that is said around it.

        Words of the question that stand nowhere in the sources ask for something, and say nothing.
        """
        asked = [word for word in self._question if word in self._where]
        return self._share(asked, self._sets[at], self._around(at))


def _in_a_row(row: Sequence[str], within: Sequence[str]) -> bool:
    """Whether `row` stands in `within`, with nothing between."""
    size = len(row)
    return any(tuple(within[at : at + size]) == tuple(row) for at in range(len(within) - size + 1))
