"""Images in a prompt's text: what stands for one while it is text, and what llama.cpp is given.

Owns the rule that nothing a caller writes can stand for an image: a mark holds a word that nobody
outside knows, the image's digest, so that other pixels are another prompt, and how many tokens it
takes, so that a text can be counted by itself. It decodes nothing.
"""

import base64
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from hashlib import blake2b
from typing import Final

from renga.llamacpp.asking import Prompt

# A zero-width space: where an image is among them, words cannot be handed over as tokens, and what
# parts a control token that somebody wrote has to stay in the text.
APART: Final = "\u200b"

_REMEMBERED = 4_096  # images whose size in tokens is known


class Pictures:
    """The images of one model. `count` tells the tokens of one, which is given in base64."""

    def __init__(self, count: Callable[[str], Awaitable[int]]) -> None:
        self._count = count
        self._word = secrets.token_hex(8)
        self._mark = re.compile(rf"\[image {self._word} (?P<digest>[0-9a-f]{{32}}) (?P<size>\d+)\]")
        self._sizes: OrderedDict[str, int] = OrderedDict()

    async def add(self, width: int, height: int, pixels: bytes) -> tuple[str, str]:
        """The mark of an image of so many pixels, in rows of RGB, and the image in base64."""
        data = base64.b64encode(b"P6 %d %d 255\n" % (width, height) + pixels).decode("ascii")
        digest = blake2b(data.encode(), digest_size=16).hexdigest()
        if digest not in self._sizes:
            self._sizes[digest] = await self._count(data)
        self._sizes.move_to_end(digest)
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)
        return f"[image {self._word} {digest} {self._sizes[digest]}]", data

    def parts(self, text: str) -> Iterator[tuple[str, int]]:
        """`text` in parts: text and 0, or a mark and its tokens."""
        at = 0
        for match in self._mark.finditer(text):
            if match.start() > at:
                yield text[at : match.start()], 0
            yield match[0], int(match["size"])
            at = match.end()
        if at < len(text):
            yield text[at:], 0

    def prompt(self, text: str, data: dict[str, str], media: str) -> Prompt:
        """What llama.cpp is given of a prompt: `media` for each mark, whose images `data` has."""
        images = [data[match[0]] for match in self._mark.finditer(text)]
        return Prompt(text=self._mark.sub(lambda _: media, text), images=images)
