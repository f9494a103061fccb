"""Guesses of what a sequence says next, looked up in what it has said and read already.

Owned rules: a guess is what followed the longest earlier occurrence of the sequence's last tokens;
how much is guessed follows from how guesses held so far, so that a text that repeats nothing soon
costs nothing. Where values are copied, as they are into JSON of a schema, one token is enough to
look for, and a space before it makes no difference: a value seldom begins as the word in the prompt
does. It knows tokens only: the engine checks every guess, so none can change an answer.
"""

from collections.abc import Sequence

# How many of the places where a pair of tokens stood are looked at, the latest first.
_PLACES = 8
# A match longer than this is as good as any.
_LONGEST_MATCH = 8
# A prompt's tokens that are indexed before one guess: half a millisecond's work.
_INDEXED_AT_ONCE = 2_048
# A guess's length at first, and again after one of which only a part held.
_FIRST_GUESS, _PROVEN_GUESS = 2, 3
# A value's guess by its first token alone, where that stood in a few places; how it ends is no sign
# of anything, for it may be any of them.
_VALUE_GUESS, _VALUE_PLACES = 4, 4
# A match that is worth a guess while others pause, where values are copied.
_SURE_MATCH = 3
# A guess that failed is followed by steps without one: after the first in a row none, then 2, 6,
# 14, 30, and 62 at most.
_MOST_FAILURES = 6


class PromptLookup:
    """The guesses of one sequence. `tokens` is its own list, which it may extend and not change.

    `alike` is given where values are copied: for each token id the one that stands for it.
    """

    def __init__(self, tokens: list[int], most: int, alike: Sequence[int] | None = None) -> None:
        self._tokens = tokens
        self._most = most
        self._alike = alike
        # The tokens as they are compared; and where a pair, or one of them, was followed.
        self._compared: list[int] = tokens if alike is None else []
        self._pairs: dict[tuple[int, int], list[int]] = {}
        self._singles: dict[int, list[int]] = {}
        self._indexed = 1
        self._length = min(_FIRST_GUESS, most)
        self._tried = False
        self._pause = 0
        self._failures = 0

    def guess(self, room: int) -> list[int]:
        """At most `room` tokens that may follow; empty where nothing speaks for any."""
        if self._pause and self._alike is None:
            self._pause -= 1
            return []
        self._index()
        begin, matched = self._longest_match() if room > 0 else (0, 0)
        if self._pause and matched < _SURE_MATCH:
            self._pause -= 1
            return []
        if not matched:
            return []
        self._tried = matched == 1
        length = min(self._length, room)
        if self._tried:
            length = min(_VALUE_GUESS, self._most, room)
        # What repeats up to the very end is guessed to go on repeating.
        period = len(self._tokens) - begin
        return [self._tokens[begin + place % period] for place in range(length)]

    def learn(self, guessed: int, held: int) -> None:
        """Of so many tokens guessed, the first `held` were right."""
        if not guessed or self._tried:
            return
        if held == guessed:
            self._length = min(max(self._length, 2 * guessed), self._most)
        else:
            self._length = min(max(held, _PROVEN_GUESS), self._most) if held else 1
        self._failures = 0 if held else min(self._failures + 1, _MOST_FAILURES)
        self._pause = max(2**self._failures - 2, 0)

    def _index(self) -> None:
        """Note where each token and pair stood. The last, which is looked up, is left out."""
        if self._alike is not None:
            self._compare(self._alike)
        tokens, pairs, singles = self._compared, self._pairs, self._singles
        end = min(len(tokens) - 1, self._indexed + _INDEXED_AT_ONCE)
        before = tokens[self._indexed - 1]
        for place in range(self._indexed, end):
            token = tokens[place]
            found = pairs.get((before, token))
            if found is None:
                pairs[before, token] = [place + 1]
            else:
                found.append(place + 1)
            if self._alike is not None:
                singles.setdefault(token, []).append(place + 1)
            before = token
        self._indexed = max(self._indexed, end)

    def _compare(self, alike: Sequence[int]) -> None:
        """Bring the tokens as they are compared up to date; an id beyond the table is itself."""
        known = len(alike)
        for token in self._tokens[len(self._compared) :]:
            self._compared.append(alike[token] if token < known else token)

    def _longest_match(self) -> tuple[int, int]:
        """Where the text goes on that ends like the sequence does, and how many tokens match.

        No tokens, where none matches enough.
        """
        tokens = self._compared
        end = len(tokens)
        if end < 2:
            return 0, 0
        best, longest = 0, 0
        for place in reversed(self._pairs.get((tokens[-2], tokens[-1]), ())[-_PLACES:]):
            length = 2
            while (
                length < _LONGEST_MATCH
                and length < place
                and tokens[place - 1 - length] == tokens[end - 1 - length]
            ):
                length += 1
            if length > longest:
                best, longest = place, length
        single = self._singles.get(tokens[-1], [])
        if not longest and 0 < len(single) <= _VALUE_PLACES:
            return single[-1], 1
        return best, longest
