"""Images and PDFs made for tests, by libraries or byte by byte, and the blocks that hold them."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from typing import Any

from PIL import Image, ImageDraw, ImageFont

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


def picture(
    text: str = "", *, size: tuple[int, int] = (480, 120), kind: str = "PNG", mode: str = "RGB"
) -> bytes:
    """A white image with dark letters on it."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    pen.multiline_text((20, 20), text, fill="black", font=ImageFont.load_default(28))
    return encoded(image.convert(mode), kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds next to nothing of it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1_000)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    )


def pdf(*pages: str | bytes | None, encrypted: bool = False) -> bytes:
    """A PDF: a page of text for each string, one with an image for each JPEG, an empty for None."""
    objects: list[bytes] = [b"", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = [_add_page(objects, page) for page in pages]
    refs = " ".join(f"{kid} 0 R" for kid in kids)
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = f"<< /Type /Pages /Kids [{refs}] /Count {len(kids)} >>".encode()
    more = ""
    if encrypted:
        objects.append(
            b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <"
            + b"ab" * 32
            + b"> /U <"
            + b"cd" * 32
            + b"> >>"
        )
        more = f" /Encrypt {len(objects)} 0 R /ID [<00> <00>]"
    return _joined(objects, more)


def _add_page(objects: list[bytes], page: str | bytes | None) -> int:
    inside = "/Font << /F 3 0 R >>"
    match page:
        case str():
            lines = [re.sub(r"([\\()])", r"\\\1", line) for line in page.split("\n")]
            shown = " ".join(f"({line}) Tj T*" for line in lines)
            content = f"BT /F 14 Tf 18 TL 60 720 Td {shown} ET".encode("latin-1")
        case bytes():
            with Image.open(io.BytesIO(page)) as image:
                width, height = image.size
            objects.append(
                f"<< /Type /XObject /Subtype /Image /Width {width} /Height {height} "
                f"/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode "
                f"/Length {len(page)} >>\nstream\n".encode()
                + page
                + b"\nendstream"
            )
            inside = f"/XObject << /I {len(objects)} 0 R >>"
            content = f"q 500 0 0 {500 * height // width} 50 400 cm /I Do Q".encode()
        case None:
            content = b""
    objects.append(f"<< /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream")
    objects.append(
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << {inside} >> "
        f"/Contents {len(objects)} 0 R >>".encode()
    )
    return len(objects)


def _joined(objects: list[bytes], more: str) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for n, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{n} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    for place in places:
        out += f"{place:010} 00000 n \n".encode()
    out += (
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R{more} >>\nstartxref\n{start}\n".encode()
    )
    return bytes(out + b"%%EOF\n")


def image_block(data: bytes, media_type: str = "image/png", **more: Any) -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source, **more}


def pdf_block(data: bytes, **more: Any) -> dict[str, Any]:
    source = {
        "type": "base64",
        "media_type": "application/pdf",
        "data": base64.b64encode(data).decode(),
    }
    return {"type": "document", "source": source, **more}
