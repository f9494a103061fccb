"""Text to tokens, with a model's own `tokenizer.json`.

Owns the rule that control tokens come from templates alone: `encode` reads the markers in its text
as control tokens, and `shield` makes text that someone wrote safe to put beside them. And the rule
which of a text's tokens what follows it cannot change (`measure`). It knows no templates and no
decoding; the engine turns tokens back into text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer as Encoder

from renga.errors import InvalidRequest, SetupError

# Characters. Longer pieces are encoded part by part, so that a huge body costs time and not memory;
# a window's worth of ordinary text is half of it.
PART = 1 << 18

# Where a cut changes nothing for byte-level pre-tokenizers: before a single space between words.
_SEAM = re.compile(r"(?<=\w) (?=\w)")

# Characters at the end of a text in which its last words are looked for; more where they do not do.
TAIL = 96
LOOSE_WORDS = 2  # at the end of a text: "it'r" is three words, "it're" is two
CUT_WORDS = 6  # at the start of a tail, which may begin in the middle of one

# Planes for private use: no text needs them, and any that occurs in the text is passed over.
_PRIVATE = range(0xF0000, 0x10FFFE)
_PRIVATE_ONES = re.compile(f"[{chr(_PRIVATE[0])}-{chr(_PRIVATE[-1])}]")


class Tokenizer:
    """One model's tokenizer. Safe to use from several threads at once."""

    def __init__(self, encoder: Encoder) -> None:
        # What the file says of lengths is for training; a prompt is whole or refused.
        encoder.no_truncation()
        encoder.no_padding()
        self._encoder = encoder
        added = encoder.get_added_tokens_decoder()
        self._know({token.content: id_ for id_, token in added.items()})

    def _know(self, markers: Mapping[str, int]) -> None:
        """Take these tokens of their own for markers; whoever makes one calls it first."""
        # Some vocabularies add white space or single characters so; those are ordinary text.
        self.markers: dict[str, int] = {
            text: id_ for text, id_ in markers.items() if text.strip() and len(text) > 1
        }
        self._marker = re.compile("|".join(map(re.escape, self.markers))) if self.markers else None
        self._begun = {m[:n] for m in self.markers for n in range(1, len(m))}
        self._longest = max(map(len, self._begun), default=0)

    @classmethod
    def load(cls, file: Path) -> Tokenizer:
        """Read a `tokenizer.json`. Raises SetupError that names it."""
        try:
            return cls(Encoder.from_file(str(file)))
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise SetupError(
                f"model file {file} is no tokenizer: {reason}", "copy the model folder again"
            ) from error

    @property
    def size(self) -> int:
        """Number of tokens, control tokens included."""
        return int(self._encoder.get_vocab_size(with_added_tokens=True))

    def break_for(self, text: str) -> str:
        """A character that does not occur in `text`, to break markers with."""
        return self.unused(text, 1)[0]

    def unused(self, text: str, count: int) -> list[str]:
        """That many characters that occur neither in `text` nor in writing.

        Raises InvalidRequest where there are not so many.
        """
        taken = set(_PRIVATE_ONES.findall(text))
        found = list(islice((c for c in map(chr, _PRIVATE) if c not in taken), count))
        if len(found) < count:
            raise InvalidRequest(f"messages: they have more than {len(found):,} blocks to measure")
        return found

    def has_marker(self, text: str) -> bool:
        """Whether `text` holds something that `encode` would take for a control token."""
        return any(marker in text for marker in self.markers)

    def shield(self, text: str, breaker: str) -> str:
        """`text` with `breaker` inside each marker, after its first character."""
        for marker in self.markers:
            broken = marker[0] + breaker + marker[1:]
            # Once is not enough for a marker that overlaps itself.
            while marker in text:
                text = text.replace(marker, broken)
        return text

    def encode(self, text: str, breaker: str | None = None) -> list[int]:
        """Tokens of `text`: markers become control tokens, except where `breaker` parts them."""
        pieces = [text] if breaker is None else text.split(breaker)
        return [id_ for piece in pieces for part in _parts(piece) for id_ in self._ids(part)]

    def measure(
        self, text: str, breaker: str | None, places: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """The tokens that `encode` gives, and for each of the rising `places` how many are certain.

        A place is a number of characters of `text`. Its certain tokens are those that would be the
        same, whatever stood behind it: all but the ones of the last words before it.
        """
        tokens: list[int] = []
        counts: list[int] = []
        start = 0
        for piece in [text] if breaker is None else text.split(breaker):
            for part in _parts(piece):
                ids, begins = self._placed(part)
                while len(counts) < len(places) and places[len(counts)] <= start + len(part):
                    certain = self._certain(part, max(0, places[len(counts)] - start))
                    counts.append(len(tokens) + bisect_left(begins, certain))
                tokens += ids
                start += len(part)
            start += len(breaker or "")
        return tokens, counts + [len(tokens)] * (len(places) - len(counts))

    def begins(self, text: str, breaker: str | None = None) -> list[int]:
        """Where in `text` each of the tokens begins that `encode` gives."""
        found: list[int] = []
        start = 0
        for piece in [text] if breaker is None else text.split(breaker):
            for part in _parts(piece):
                found += (start + begin for begin in self._placed(part)[1])
                start += len(part)
            start += len(breaker or "")
        return found

    def _certain(self, text: str, end: int) -> int:
        """The last border of words in `text[:end]` that nothing behind `end` can move."""
        for reach in (TAIL, 8 * TAIL, 64 * TAIL, end):
            start = max(0, end - reach)
            tail = text[start:end]
            whole = start == 0
            for marker in self._marker.finditer(text, start, end) if self._marker else ():
                whole, tail = True, text[marker.end() : end]
            begin = end - len(tail)
            borders = self._borders(tail)
            if whole or len(borders) > LOOSE_WORDS + CUT_WORDS:
                return begin + (borders[-1 - LOOSE_WORDS] if len(borders) > LOOSE_WORDS else 0)
        return 0

    def _borders(self, text: str) -> list[int]:
        """Where words of `text` end, white space and half a control token at its end left out."""
        for size in range(min(self._longest, len(text)), 0, -1):
            if text[-size:] in self._begun:
                text = text[:-size]
                break
        return self._words(text.rstrip())

    # What follows is asked of the tokenizer itself; another kind of it has three of its own.

    def _words(self, text: str) -> list[int]:
        """Where words end, none of which is ever a token together with the next."""
        if self._encoder.pre_tokenizer is None:
            return []
        return [end for _, (_, end) in self._encoder.pre_tokenizer.pre_tokenize_str(text)]

    def _placed(self, text: str) -> tuple[list[int], list[int]]:
        """The tokens of `text`, and where in it each begins."""
        (encoded,) = self._encoder.encode_batch([text], add_special_tokens=False)
        return encoded.ids, [begin for begin, _ in encoded.offsets]

    def _ids(self, text: str) -> list[int]:
        """The tokens of `text`."""
        # Unlike `encode`, this lets other threads run meanwhile.
        (encoded,) = self._encoder.encode_batch_fast([text], add_special_tokens=False)
        ids: list[int] = encoded.ids
        return ids


def _parts(text: str) -> Iterator[str]:
    """`text` in parts of about PART characters, cut at seams where there are any."""
    start = 0
    while len(text) - start > PART:
        seam = _SEAM.search(text, start + PART, start + PART + 4_096)
        end = seam.start() if seam else start + PART
        yield text[start:end]
        start = end
    yield text[start:]
