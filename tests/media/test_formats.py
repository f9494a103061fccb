"""What bytes are: sizes in headers against Pillow, and what an image costs a model that sees."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renga.media.formats import (
    LONG_EDGE,
    MOST_TOKENS,
    NotReadable,
    check_pdf,
    fitting,
    look,
    tokens,
)
from tests.media.pictures import TYPES, encoded, pdf, png_header

SIDES = st.integers(1, 300)


@settings(deadline=None)
@given(kind=st.sampled_from(sorted(TYPES)), width=SIDES, height=SIDES, mode=st.booleans())
def test_the_size_in_a_header_is_the_one_that_pillow_decodes(
    kind: str, width: int, height: int, mode: bool
) -> None:
    data = encoded(Image.new("L" if mode else "RGB", (width, height), "white"), kind)
    found = look(data)
    assert (found.media_type, found.width, found.height) == (TYPES[kind], width, height)


@pytest.mark.parametrize(
    "options",
    [
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + b"x" * 3_000, "comment": b"c" * 60_000}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM"}),
        ("PNG", {"optimize": True}),
        ("GIF", {"interlace": True}),
    ],
)
def test_every_variant_of_a_format_says_its_size(options) -> None:
    kind, more = options
    data = encoded(Image.new("RGB", (123, 45), "white"), kind, **more)
    assert (look(data).width, look(data).height) == (123, 45)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(sorted(TYPES)), st.integers(0, 200))
def test_no_bytes_break_it(noise: bytes, kind: str, cut: int) -> None:
    whole = encoded(Image.new("RGB", (9, 9), "white"), kind)
    for data in (noise, whole[:cut] + noise, whole[:cut]):
        with suppress(NotReadable):
            found = look(data)
            assert min(found.width, found.height) > 0


# Sizes and tokens as the API's documentation has them: ceil(w/28) x ceil(h/28), at most 1,568 of
# them and 1,568 pixels on the long edge.
@pytest.mark.parametrize(
    ("size", "shown", "cost"),
    [
        ((200, 200), (200, 200), 64),
        ((28, 28), (28, 28), 1),
        ((29, 28), (29, 28), 2),
        ((1_000, 1_000), (1_000, 1_000), 1_296),
        ((1_568, 784), (1_568, 784), 1_568),
        ((3_136, 28), (1_568, 14), 56),
    ],
)
def test_an_image_costs_what_is_published(size, shown, cost) -> None:
    assert fitting(*size) == shown
    assert tokens(*fitting(*size)) == cost


@settings(deadline=None)
@given(st.integers(1, 8_000), st.integers(1, 8_000))
def test_what_is_shown_fits_and_is_no_smaller_than_it_must(width: int, height: int) -> None:
    shown = fitting(width, height)
    assert max(shown) <= LONG_EDGE
    assert tokens(*shown) <= MOST_TOKENS
    assert fitting(*shown) == shown
    if max(width, height) <= LONG_EDGE and tokens(width, height) <= MOST_TOKENS:
        assert shown == (width, height)
    else:
        scale = max(shown) / max(width, height)
        larger = [min(round(side * scale * 1.05) + 28, LONG_EDGE + 28) for side in (width, height)]
        assert max(larger) > LONG_EDGE or tokens(*larger) > MOST_TOKENS


def test_a_large_size_is_known_from_a_small_file() -> None:
    data = png_header(100_000, 100_000)
    assert len(data) < 200
    assert look(data).width == 100_000


def test_a_word_in_the_pixels_is_no_other_file() -> None:
    """Only what makes a file another one is looked for, not what any bytes may spell."""
    pixels = b"PK\5\6 %PDF- <svg <html\0 <?php!" * 40
    data = encoded(Image.frombytes("L", (len(pixels), 1), pixels), "PNG", compress_level=0)
    padded = data[:33] + _text_chunk(b"x" * 1_100) + data[33:]
    assert look(padded).width == len(pixels)


def _text_chunk(text: bytes) -> bytes:
    image = io.BytesIO()
    info = PngInfo()
    info.add_text("note", text.decode())
    Image.new("L", (1, 1)).save(image, "PNG", pnginfo=info)
    whole = image.getvalue()
    at = whole.index(b"tEXt") - 4
    return whole[at : at + 12 + int.from_bytes(whole[at : at + 4], "big")]


def test_a_pdf_begins_as_one() -> None:
    check_pdf(pdf("a"))
    check_pdf(b"\xef\xbb\xbf\n" + pdf("a"))
    for data in (b"", b"hello %PDF-1.4", png_header(1, 1)):
        with pytest.raises(NotReadable):
            check_pdf(data)
