"""PDFs and images opened: the text of pages, and the pixels of pages and images.

Runs in a process of its own (`renga.media.process`): what it opens is hostile until it is read.
Owns how a PDF's text layer is read, which pages show something that no text stands for, and how
large a page is drawn. An image is turned upright as its camera says, laid on white, and of several
frames the first is taken. It does not recognize letters.

Sources: PDF 1.7 (ISO 32000-1), by pdfium; "Vision" of the API's documentation.
"""

from __future__ import annotations

import io
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pypdfium2 as pdfium

from renga.media.formats import MOST_SIDE, NotReadable, check_pdf, fitting, look
from renga.media.jobs import Decode, Decoded, Draw, Drawn, PdfRead

if TYPE_CHECKING:
    from PIL.Image import Image

# Package -> the extra that brings it.
EXTRAS: Final = {"PIL": "ocr", "rapidocr": "ocr", "cv2": "ocr"}

MOST_CHARACTERS: Final = 20_000_000  # of all pages of a PDF
_POINTS: Final = 72  # of an inch, the unit of a PDF
_DPI: Final = 200  # at which recognition reads body text well
_BICUBIC: Final = 3
_SHORT_SIDE: Final = 2_000  # pixels of a page drawn, at most


def read_pdf(data: bytes, most_pages: int) -> PdfRead:
    """The text layer of a PDF. Raises NotReadable: encrypted, broken, or of too many pages."""
    texts: list[str] = []
    drawn: list[int] = []
    room = MOST_CHARACTERS
    with closing(_open(data)) as pdf:
        if len(pdf) > most_pages:
            raise NotReadable(f"the PDF has {len(pdf)} pages; at most {most_pages} can be read")
        for at in range(len(pdf)):
            text = _text(pdf, at)
            room -= len(text)
            if room < 0:
                raise NotReadable(f"the PDF holds more than {MOST_CHARACTERS:,} characters of text")
            if not text.strip() and _shows_something(pdf, at):
                drawn.append(at)
            texts.append(text)
    return PdfRead(texts, drawn)


def _open(data: bytes) -> pdfium.PdfDocument:
    check_pdf(data)
    try:
        pdf = pdfium.PdfDocument(data)
        if not len(pdf):
            raise NotReadable("the PDF has no pages")
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise NotReadable("the PDF is encrypted; send it without a password") from error
        raise NotReadable("the PDF is broken: it cannot be opened") from error
    return pdf


def _page(pdf: pdfium.PdfDocument, at: int) -> pdfium.PdfPage:
    try:
        return pdf[at]
    except (pdfium.PdfiumError, IndexError) as error:
        raise NotReadable(f"page {at + 1} of the PDF is broken") from error


def _text(pdf: pdfium.PdfDocument, at: int) -> str:
    """The text layer of a page, with plain line ends and without what has no character."""
    with closing(_page(pdf, at)) as page, closing(page.get_textpage()) as layer:
        if layer.count_chars() > MOST_CHARACTERS:
            raise NotReadable(f"page {at + 1} holds more than {MOST_CHARACTERS:,} characters")
        text: str = layer.get_text_range(errors="ignore")
    # pdfium writes a hyphen at a line's end, and what a font has no character for, as these.
    for written, read in (("\r\n", "\n"), ("\r", "\n"), ("\x02", "-"), ("\ufffe", "-"), ("\0", "")):
        text = text.replace(written, read)
    return text.strip()


def _shows_something(pdf: pdfium.PdfDocument, at: int) -> bool:
    with closing(_page(pdf, at)) as page:
        return next(iter(page.get_objects(max_depth=1)), None) is not None


# --- pixels ---------------------------------------------------------------------------------------


def decode(job: Decode) -> Decoded:
    """The pixels that a model is shown."""
    image = _shown(opened(job.data))
    return Decoded(*image.size, image.tobytes())


def draw(job: Draw) -> Drawn:
    """A page of a PDF as a model is shown it."""
    written = io.BytesIO()
    _shown(opened(job.data, job.page)).save(written, "PNG")
    return Drawn(written.getvalue())


def _shown(image: Image) -> Image:
    size = fitting(*image.size)
    return image if size == image.size else image.resize(size, resample=_BICUBIC)


def opened(data: bytes, page: int | None = None) -> Image:
    """An image, or a page of a PDF drawn, in red, green and blue. Raises NotReadable."""
    return _drawn(data, page) if page is not None else _decoded(data)


def _decoded(data: bytes) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    kind = look(data)
    formats = [kind.media_type.removeprefix("image/").upper()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hint at a bomb: the size was looked at before
            image: Image.Image = Image.open(io.BytesIO(data), formats=formats)
            if max(image.size) > MOST_SIDE:
                raise NotReadable(f"the image is {image.size[0]} x {image.size[1]} pixels large")
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                shown = image.convert("RGBA")
                ground = Image.new("RGBA", shown.size, "white")
                return Image.alpha_composite(ground, shown).convert("RGB")
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise NotReadable(f"the image is not the {kind.media_type} it begins as") from error
    # Pillow's readers raise these of broken data, each its own.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, OverflowError,
            Image.DecompressionBombError) as error:  # fmt: skip
        raise NotReadable(f"the image is broken or cut off: {error}") from error


def _drawn(data: bytes, at: int) -> Image:
    with closing(_open(data)) as pdf, closing(_page(pdf, at)) as page:
        width, height = page.get_size()
        short, long = sorted((max(width, 1.0), max(height, 1.0)))
        scale = min(_DPI / _POINTS, _SHORT_SIDE / short, MOST_SIDE / long)
        drawn = page.render(scale=scale, rev_byteorder=True, draw_annots=True)
        image: Image = drawn.to_pil()
        return image.convert("RGB")
