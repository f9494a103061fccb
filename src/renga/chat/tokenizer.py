"""Text to tokens, with a model's own `tokenizer.json`.

Owns the rule that control tokens come from templates alone: `encode` reads the markers in its text
as control tokens, and `shield` makes text that someone wrote safe to put beside them. It knows no
templates and no decoding; the engine turns tokens back into text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer as Encoder

from renga.errors import SetupError

# Characters. Longer pieces are encoded part by part, so that a huge body costs time and not memory;
# a window's worth of ordinary text is half of it.
PART = 1 << 18

# Where a cut changes nothing for byte-level pre-tokenizers: before a single space between words.
_SEAM = re.compile(r"(?<=\w) (?=\w)")

# Planes for private use: no text needs them, and any that occurs in the text is passed over.
_PRIVATE = range(0xF0000, 0x10FFFE)


class Tokenizer:
    """One model's tokenizer. Safe to use from several threads at once."""

    def __init__(self, encoder: Encoder) -> None:
        # What the file says of lengths is for training; a prompt is whole or refused.
        encoder.no_truncation()
        encoder.no_padding()
        self._encoder = encoder
        added = encoder.get_added_tokens_decoder()
        # Some vocabularies add white space or single characters so; those are ordinary text.
        self.markers: dict[str, int] = {
            token.content: id_
            for id_, token in added.items()
            if token.content.strip() and len(token.content) > 1
        }

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
        return next(c for c in map(chr, _PRIVATE) if c not in text)

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

    def _ids(self, text: str) -> list[int]:
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
