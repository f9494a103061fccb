"""Text to tokens, by llama.cpp's own reading of a GGUF's vocabulary.

Owns the rule where a token begins in a text, told from what each token stands for; where these do
not add up to the text, nothing of it counts as certain, and nothing is cached. The rest is
`renga.chat.tokenizer`'s.
"""

import asyncio
import re
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from renga.chat.tokenizer import Tokenizer
from renga.llamacpp.pictures import Pictures
from renga.llamacpp.server import LlamacppServer

T = TypeVar("T")

# Every byte-level pre-tokenizer ends a word where one of these does, or sooner.
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+")
_WAIT_SECONDS = 120.0


class GgufTokenizer(Tokenizer):
    """The tokenizer of a running model. To be used from threads other than the event loop's.

    An image's mark is as many tokens as the image, each of them the first one of the vocabulary.
    """

    def __init__(
        self,
        server: LlamacppServer,
        size: int,
        markers: Mapping[str, int],
        pictures: Pictures | None = None,
    ) -> None:
        self._server, self._size, self._pictures = server, size, pictures
        self._loop = asyncio.get_running_loop()
        self._know(markers)

    @property
    def size(self) -> int:
        return self._size

    def _words(self, text: str) -> list[int]:
        return [match.end() for match in _WORD.finditer(text)]

    def _placed(self, text: str) -> tuple[list[int], list[int]]:
        if self._pictures is None:
            return self._placed_text(text)
        ids: list[int] = []
        begins: list[int] = []
        at = 0
        for part, size in self._pictures.parts(text):
            found = ([0] * size, [0] * size) if size else self._placed_text(part)
            ids += found[0]
            begins += (at + begin for begin in found[1])
            at += len(part)
        return ids, begins

    def _ids(self, text: str) -> list[int]:
        if self._pictures is None:
            return self._text_ids(text)
        parts = self._pictures.parts(text)
        return [id_ for part, size in parts for id_ in ([0] * size or self._text_ids(part))]

    def _placed_text(self, text: str) -> tuple[list[int], list[int]]:
        if not text:
            return [], []
        pieces = self._wait(self._server.pieces(text))
        ids = [id_ for id_, _ in pieces]
        raw, written = text.encode(), b"".join(piece for _, piece in pieces)
        # Some vocabularies put a space before the first word.
        ahead = 1 if written == b" " + raw else 0
        if written[ahead:] != raw:
            return ids, [len(text)] * len(ids)
        return ids, _starts(text, [len(piece) for _, piece in pieces], ahead)

    def _text_ids(self, text: str) -> list[int]:
        return self._wait(self._server.tokens(text)) if text else []

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(_WAIT_SECONDS)


def _starts(text: str, lengths: list[int], ahead: int) -> list[int]:
    """Where tokens of so many bytes begin in `text`, in characters; inside one, where it ends."""
    places: dict[int, int] = {}
    at = 0
    for number, char in enumerate(text):
        places[at] = number
        width = len(char.encode())
        for inside in range(1, width):
            places[at + inside] = number + 1
        at += width
    starts, byte = [], -ahead
    for length in lengths:
        starts.append(places.get(max(byte, 0), len(text)))
        byte += length
    return starts
