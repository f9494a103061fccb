"""Guesses of what a sequence says next, looked up in what it has said and read already.

Owned rules: a guess is what followed the longest earlier occurrence of the sequence's last tokens;
how much is guessed follows from how guesses held so far, so that a text that repeats nothing soon
costs nothing. It knows tokens only: the engine checks every guess, so none can change an answer.
"""

# How many of the places where a pair of tokens stood are looked at, the latest first.
_PLACES = 8
# A match longer than this is as good as any.
_LONGEST_MATCH = 8
# A prompt's tokens that are indexed before one guess: half a millisecond's work.
_INDEXED_AT_ONCE = 2_048
# A guess's length at first, and again after one of which only a part held.
_FIRST_GUESS, _PROVEN_GUESS = 2, 3
# A guess that failed is followed by steps without one: after the first in a row none, then 2, 6,
# 14, 30, and 62 at most.
_MOST_FAILURES = 6


class PromptLookup:
    """The guesses of one sequence. `tokens` is its own list, which it may extend and not change."""

    def __init__(self, tokens: list[int], most: int) -> None:
        self._tokens = tokens
        self._most = most
        self._places: dict[tuple[int, int], list[int]] = {}
        self._indexed = 1
        self._length = min(_FIRST_GUESS, most)
        self._pause = 0
        self._failures = 0

    def guess(self, room: int) -> list[int]:
        """At most `room` tokens that may follow; empty where nothing speaks for any."""
        if self._pause:
            self._pause -= 1
            return []
        self._index()
        length = min(self._length, room)
        begin = self._longest_match() if length > 0 else None
        if begin is None:
            return []
        # What repeats up to the very end is guessed to go on repeating.
        period = len(self._tokens) - begin
        return [self._tokens[begin + place % period] for place in range(length)]

    def learn(self, guessed: int, held: int) -> None:
        """Of so many tokens guessed, the first `held` were right."""
        if not guessed:
            return
        if held == guessed:
            self._length = min(max(self._length, 2 * guessed), self._most)
        else:
            self._length = min(max(held, _PROVEN_GUESS), self._most) if held else 1
        self._failures = 0 if held else min(self._failures + 1, _MOST_FAILURES)
        self._pause = max(2**self._failures - 2, 0)

    def _index(self) -> None:
        """Note where each pair of tokens stood. The last pair, which is looked up, is left out."""
        tokens, places = self._tokens, self._places
        end = min(len(tokens) - 1, self._indexed + _INDEXED_AT_ONCE)
        before = tokens[self._indexed - 1]
        for place in range(self._indexed, end):
            token = tokens[place]
            found = places.get((before, token))
            if found is None:
                places[before, token] = [place + 1]
            else:
                found.append(place + 1)
            before = token
        self._indexed = max(self._indexed, end)

    def _longest_match(self) -> int | None:
        """Where the text goes on that ends like the sequence does; None if none matches enough."""
        tokens = self._tokens
        end = len(tokens)
        if end < 2:
            return None
        best, longest = None, 0
        for place in reversed(self._places.get((tokens[-2], tokens[-1]), ())[-_PLACES:]):
            length = 2
            while (
                length < _LONGEST_MATCH
                and length < place
                and tokens[place - 1 - length] == tokens[end - 1 - length]
            ):
                length += 1
            if length > longest:
                best, longest = place, length
        return best
