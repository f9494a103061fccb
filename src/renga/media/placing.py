"""Images taken out of a prompt, for a model that is given pixels beside its text.

Owns the marks that stand in the text where an image was: each says which content belongs there, so
that prompts with other images are other prompts, to the prompt cache too; and no caller can write
one, since they are chosen so that no text of the request holds one already. What stands for an
image in a model's own prompt, its backend puts there instead.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, TypeVar

from renga.media.walking import Medium, changed, has_media
from renga.types import Base64Image, ImageParam, Prompt, TextParam

Asked = TypeVar("Asked", bound=Prompt)

# Characters without a meaning of their own: no template changes them.
_BEGIN, _END = "\ue1a0", "\ue1a1"


@dataclass(frozen=True)
class Placed(Generic[Asked]):
    """A request of text alone, and the images that belong at its marks, in their order.

    `paths` are where each of them stood.
    """

    request: Asked
    images: tuple[Base64Image, ...]
    paths: tuple[str, ...]
    salt: str

    def pieces(self, rendered: str) -> Iterator[str | int]:
        """A rendered prompt in pieces: text, and in between the index of each image."""
        marks = {mark_of(image, self.salt) for image in self.images}
        if not marks:
            yield rendered
            return
        at = 0
        any_mark = "|".join(map(re.escape, sorted(marks)))
        for n, piece in enumerate(re.split(f"({any_mark})", rendered)):
            if n % 2:
                yield at
                at += 1
            elif piece:
                yield piece


async def placed(request: Asked) -> Placed[Asked]:
    """`request` with a mark in place of each image, whose source is `base64`."""
    images: list[Base64Image] = []
    paths: list[str] = []
    salt = ""
    if not has_media(request):
        return Placed(request, (), (), salt)
    # Images come with it, and no mark can stand in them: it is long, and others should not wait.
    written = await asyncio.to_thread(request.model_dump_json, exclude={"model"})
    while f"{_BEGIN}image{salt}:" in written:
        salt += "'"

    async def take(path: str, block: Medium) -> Medium | TextParam:
        if not isinstance(block, ImageParam):
            return block
        assert isinstance(block.source, Base64Image), f"{path} is resolved before it comes here"
        images.append(block.source)
        paths.append(path)
        text = mark_of(block.source, salt)
        return TextParam(text=text, cache_control=block.cache_control)

    return Placed(await changed(request, take), tuple(images), tuple(paths), salt)


def mark_of(image: Base64Image, salt: str = "") -> str:
    """What stands in a text for `image`: the digest of its content between two odd characters."""
    digest = blake2b(image.data.encode(), digest_size=12).hexdigest()
    return f"{_BEGIN}image{salt}:{digest}{_END}"
