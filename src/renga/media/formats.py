"""What bytes are, read from their first ones: the format of an image, its size, a PDF.

Owns the published limits of images and PDFs, what an image costs a model that sees, and the rule
that nothing is decoded here: sizes stand in the headers, so that an image which would fill the
memory is refused before anything unpacks it. A file that is two formats at once is none. It knows
no requests.

Sources: "Vision" and "PDF support" of the API's documentation; PNG (RFC 2083), GIF89a, JPEG
(ITU-T T.81), the WebP container's specification, ZIP's APPNOTE 6.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MOST_BASE64: Final = 10_000_000  # characters of an image
MOST_IMAGE_BYTES: Final = MOST_BASE64 * 3 // 4
MOST_PDF_BYTES: Final = 32_000_000
MOST_SIDE: Final = 8_000  # pixels
MANY_IMAGES: Final = 20
MOST_SIDE_OF_MANY: Final = 2_000  # pixels, where a request has more than MANY_IMAGES
LONG_EDGE: Final = 1_568  # pixels that a model is shown
MOST_TOKENS: Final = 1_568  # of one image
_PATCH: Final = 28  # pixels on a side that are one token

PDF: Final = "application/pdf"
IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")

# How other formats begin, to be told by name.
_STRANGERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF-", "a PDF"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\3\4", "a ZIP archive, as office documents are"),
    (b"\x1f\x8b", "a gzip archive"),
)
_END_OF_ZIP: Final = b"PK\5\6"
_END_OF_ZIP_BYTES: Final = 22
_ZIP_COMMENT: Final = 65_535
_HEADER: Final = 1_024  # bytes in which readers look for a PDF's beginning
# With what follows in each: five letters alone stand in some large images by chance.
_CODE: Final = re.compile(rb"<html[\s>]|<script[\s>]|<\?php\s|<!doctype html", re.IGNORECASE)


class NotReadable(Exception):
    """Bytes that are not what they should be; the sentence says what they are."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its header. Sizes are pixels, as stored: a camera's turn is not in them."""

    media_type: str
    width: int
    height: int

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as a model is shown it: scaled down until it fits."""
        return fitting(self.width, self.height)

    @property
    def fits(self) -> bool:
        """Whether a model is shown every pixel."""
        return self.shown == (self.width, self.height)


def fitting(width: int, height: int) -> tuple[int, int]:
    """The largest size of the same shape that a model is shown, in pixels."""
    scale = min(1.0, LONG_EDGE / max(width, height))
    while True:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if tokens(*size) <= MOST_TOKENS:
            return size
        scale *= min(0.999, math.sqrt(MOST_TOKENS / tokens(*size)))


def tokens(width: int, height: int) -> int:
    """What the API charges for an image of this size in pixels, which is one that fits."""
    return math.ceil(width / _PATCH) * math.ceil(height / _PATCH)


# --- what bytes are -------------------------------------------------------------------------------


def look(data: bytes) -> Image:
    """What image `data` is, by its header. Raises NotReadable."""
    for kind, begins, measure in _READERS:
        if begins(data):
            size = measure(data)
            if size is None or not all(size):
                raise NotReadable(f"the {kind.removeprefix('image/')} header is broken or cut off")
            _only_one(data)
            return Image(kind, *size)
    raise NotReadable(f"{_stranger(data)} is not one of {', '.join(IMAGES)}")


def check_pdf(data: bytes) -> None:
    """Raise NotReadable where `data` cannot be a PDF alone."""
    head = data[:_HEADER].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"%PDF-"):
        found = _image_type(data) or _stranger(data)
        raise NotReadable(f"{found} is not {PDF}")
    if _ends_as_zip(data):
        raise NotReadable("the file is a PDF and a ZIP archive at once")


def _image_type(data: bytes) -> str | None:
    return next((kind for kind, begins, _ in _READERS if begins(data)), None)


def _stranger(data: bytes) -> str:
    if not data:
        return "an empty file"
    for begin, name in _STRANGERS:
        if data.startswith(begin):
            return name
    if data[4:8] == b"ftyp":
        return f"an image or a video of type '{data[8:12].decode('ascii', 'replace')}'"
    if b"<svg" in data[:_HEADER].lower():
        return "an SVG drawing"
    if _CODE.search(data, 0, _HEADER):
        return "a web page"
    return "this file"


def _only_one(data: bytes) -> None:
    """Raise NotReadable where an image is another kind of file as well."""
    if b"%PDF-" in data[:_HEADER]:
        raise NotReadable("the file is an image and a PDF at once")
    if _ends_as_zip(data):
        raise NotReadable("the file is an image and a ZIP archive at once")
    if _CODE.search(data):
        raise NotReadable("the file is an image and a web page or a program at once")


def _ends_as_zip(data: bytes) -> bool:
    """Whether a ZIP's directory ends where `data` does: its last record counts what follows it."""
    least = max(0, len(data) - _END_OF_ZIP_BYTES - _ZIP_COMMENT)
    at = data.rfind(_END_OF_ZIP, least)
    while at >= least:
        comment = int.from_bytes(data[at + 20 : at + 22], "little")
        if at + _END_OF_ZIP_BYTES + comment == len(data):
            return True
        at = data.rfind(_END_OF_ZIP, least, at)
    return False


# --- sizes in headers -----------------------------------------------------------------------------

Size = tuple[int, int]


def _is_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def _png(data: bytes) -> Size | None:
    if data[12:16] != b"IHDR" or len(data) < 33:
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _is_gif(data: bytes) -> bool:
    return data[:6] in (b"GIF87a", b"GIF89a")


def _gif(data: bytes) -> Size | None:
    """The canvas; a first frame that is larger is refused when it is decoded."""
    if len(data) < 13:
        return None
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp(data: bytes) -> Size | None:
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        wide, high = body[4:7], body[7:10]
        return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        wide, high = body[6:8], body[8:10]
        return int.from_bytes(wide, "little") & 0x3FFF, int.from_bytes(high, "little") & 0x3FFF
    if kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _is_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


# Start of frame: all of 0xC0-0xCF but the tables of Huffman, arithmetic coding and JPG itself.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN, _END = 0xDA, 0xD9


def _jpeg(data: bytes) -> Size | None:
    """The size in the first frame's header, which stands before the first scan."""
    for marker, body in _segments(data):
        if marker in _FRAMES and len(body) == 5:  # precision, then lines, then samples of a line
            return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, head of its body) of the segments before the first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            return
        yield marker, data[at + 4 : at + 9]
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


_READERS: Final = (
    ("image/jpeg", _is_jpeg, _jpeg),
    ("image/png", _is_png, _png),
    ("image/gif", _is_gif, _gif),
    ("image/webp", _is_webp, _webp),
)
