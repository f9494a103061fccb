"""How long the numbers may become in JSON that a grammar has a model write.

Owned rule: a number that its grammar lets end has at most so many digits in a row, and at most two
in an exponent, which no reader of JSON takes for infinity. A small model repeats itself, and in a
number nothing but the limit of the whole answer would end that. Digits in strings, and those that
the grammar demands, are not counted against anybody. It knows no schemas and no matcher.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from renga.engine.text import Vocabulary

EXPONENT_DIGITS = 2

_DIGITS = frozenset(b"0123456789")
_EXPONENTS = frozenset(b"eE")
_SIGNS = frozenset(b"+-")
_BEHIND = (b",", b"}", b"]")


@dataclass(frozen=True)
class NumberTokens:
    """What a vocabulary's tokens are to a number. One for all answers.

    Attributes:
        leads: how many digits each token begins with, `[vocab]`.
        behind: tokens that may only come where a number may end.
        quote: the token that may end a string.
    """

    pieces: list[bytes]
    leads: npt.NDArray[np.int16]
    behind: npt.NDArray[np.int64]
    quote: int | None

    @classmethod
    def of(cls, vocabulary: Vocabulary, vocab: int, end_ids: Iterable[int]) -> "NumberTokens":
        """From a model's vocabulary of `vocab` ids, of which `end_ids` end the turn."""
        pieces = vocabulary.pieces[:vocab]
        leads = np.zeros(vocab, dtype=np.int16)
        for token, piece in enumerate(pieces):
            if piece[:1].isdigit():
                leads[token] = len(piece) - len(piece.lstrip(b"0123456789"))
        singles = {piece: token for token, piece in enumerate(pieces) if len(piece) == 1}
        behind = [*end_ids, *(singles[piece] for piece in _BEHIND if piece in singles)]
        return cls(pieces, leads, np.array(behind, dtype=np.int64), singles.get(b'"'))


class NumberBound:
    """Where one answer stands in a number, and what the bound leaves of a mask."""

    def __init__(self, tokens: NumberTokens, most: int) -> None:
        self._tokens = tokens
        self._most = most
        self._run = 0
        self._in_exponent = False

    def push(self, token: int) -> None:
        """Move on by a token."""
        pieces = self._tokens.pieces
        for byte in pieces[token] if token < len(pieces) else b"":
            if byte in _DIGITS:
                self._run += 1
            elif byte in _EXPONENTS and self._run and not self._in_exponent:
                self._run, self._in_exponent = 0, True
            elif not (byte in _SIGNS and self._in_exponent and not self._run):
                self._run, self._in_exponent = 0, False

    def narrow(self, flags: npt.NDArray[np.bool_]) -> None:
        """Take tokens from a mask that would make the number too long; some are always left."""
        tokens = self._tokens
        if not (self._run or self._in_exponent) or tokens.quote is None or flags[tokens.quote]:
            return
        left = (EXPONENT_DIGITS if self._in_exponent else self._most) - self._run
        # Before the bound single digits are left, behind it what ends the number.
        if left > 0 or flags[tokens.behind].any():
            flags[tokens.leads > max(left, 0)] = False
