"""From tokens to text while they come: exact bytes, whole characters, and stop sequences.

Owned rules: however a text is cut into tokens and pushes, the pieces that come out join to the same
text; special tokens have no text; what may still become a stop sequence or a character is held
back. It knows byte-level BPE as a `tokenizer.json` describes it, and nothing of models or requests.
"""

from __future__ import annotations

import codecs
import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any


class TokenizerError(Exception):
    """A `tokenizer.json` that cannot be read or is of another kind; the sentence names it."""


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token id; special ones and ids that nobody defined have none.

    `names` are what the special ones are written as.
    """

    pieces: list[bytes]
    special: frozenset[int]
    names: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a Hugging Face `tokenizer.json` of a byte-level BPE."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TokenizerError(f"{path}: {error.strerror or error}") from error
        except ValueError as error:
            raise TokenizerError(f"{path}: not JSON: {error}") from error
        if not _is_byte_level(found.get("decoder")):
            raise TokenizerError(f"{path}: its decoder is not ByteLevel, the only kind supported")
        return cls.of(found["model"]["vocab"], found.get("added_tokens", []))

    @classmethod
    def of(cls, vocab: dict[str, int], added: list[dict[str, Any]]) -> Vocabulary:
        """From the vocabulary and the added tokens of a `tokenizer.json`."""
        byte_of = _byte_alphabet()
        size = 1 + max([*vocab.values(), *(entry["id"] for entry in added)])
        pieces = [b""] * size
        for text, number in vocab.items():
            pieces[number] = b"".join(
                bytes([byte_of[char]]) if char in byte_of else char.encode() for char in text
            )
        names = {one["id"]: one["content"].encode() for one in added if one.get("special")}
        for entry in added:
            pieces[entry["id"]] = b"" if entry["id"] in names else entry["content"].encode()
        return cls(pieces, frozenset(names), names)

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def alike(self) -> array[int]:
        """For each id the one of the same text without a space before it; itself where none is."""
        ids = {piece: number for number, piece in enumerate(self.pieces) if piece}
        return array(
            "q",
            (
                ids.get(piece[1:], number) if piece[:1] == b" " else number
                for number, piece in enumerate(self.pieces)
            ),
        )

    def piece(self, token: int) -> bytes:
        """The bytes of one token. A model's ids may go beyond its tokenizer's: those have none."""
        return self.pieces[token] if token < len(self.pieces) else b""

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; bytes that are no whole character become U+FFFD."""
        return b"".join(map(self.piece, tokens)).decode(errors="replace")


class TextStream:
    """One answer's text as its tokens come. After `stopped` is set nothing more is wanted.

    `shown` are special tokens that have a text in this answer: what each is written as.
    """

    def __init__(
        self, vocabulary: Vocabulary, stops: Sequence[str] = (), shown: Iterable[int] = ()
    ) -> None:
        self.stopped: str | None = None
        self.rest = ""
        """What came behind the stop sequence in the same push."""
        self._pieces = vocabulary.pieces
        self._shown = {one: vocabulary.names[one] for one in shown if one in vocabulary.names}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # A caller may send thousands: what is looked up for a token must not grow with them.
        self._stops = sorted({stop for stop in stops if stop})
        self._known = frozenset(self._stops)
        self._lengths = sorted({len(stop) for stop in self._stops}, reverse=True)
        self._held = ""

    def push(self, token: int) -> str:
        """The text that this token makes certain; a token beyond the vocabulary has none."""
        piece = self._pieces[token] if token < len(self._pieces) else b""
        return self._release(self._decoder.decode(self._shown.get(token, piece)))

    def push_text(self, text: str) -> str:
        """The same for text that is whole characters already."""
        return self._release(text)

    def finish(self) -> str:
        """The text still held back, an incomplete character as U+FFFD."""
        if self.stopped is not None:
            return ""
        rest = self._release(self._decoder.decode(b"", final=True))
        rest += self._held
        self._held = ""
        return rest

    def _release(self, text: str) -> str:
        if not self._stops:
            return text
        if self.stopped is not None:
            return ""
        buffer = self._held + text
        found = self._first_stop(buffer)
        if found is not None:
            begin, self.stopped = found
            self.rest = buffer[begin + len(self.stopped) :]
            self._held = ""
            return buffer[:begin]
        kept = self._held_length(buffer)
        self._held = buffer[len(buffer) - kept :]
        return buffer[: len(buffer) - kept]

    def _first_stop(self, buffer: str) -> tuple[int, str] | None:
        """The stop that is complete first, the longest of those, and where it begins.

        First by its end: a rule by its beginning would depend on how the text was cut.
        """
        for end in range(len(self._held) + 1, len(buffer) + 1):
            for length in self._lengths:
                if length <= end and (stop := buffer[end - length : end]) in self._known:
                    return end - length, stop
        return None

    def _held_length(self, buffer: str) -> int:
        """Length of the longest end of the buffer that is a beginning of some stop sequence."""
        for length in range(min(self._lengths[0] - 1, len(buffer)), 0, -1):
            end = buffer[len(buffer) - length :]
            place = bisect_left(self._stops, end)
            if place < len(self._stops) and self._stops[place].startswith(end):
                return length
        return 0


def _is_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    if decoder.get("type") == "Sequence":
        return any(_is_byte_level(one) for one in decoder.get("decoders", []))
    return decoder.get("type") == "ByteLevel"


def _byte_alphabet() -> dict[str, int]:
    """The 256 characters that byte-level BPE writes for the 256 bytes.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 on.
    """
    themselves = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet = {chr(byte): byte for byte in themselves}
    others = [byte for byte in range(256) if byte not in themselves]
    alphabet.update({chr(0x100 + place): byte for place, byte in enumerate(others)})
    return alphabet
