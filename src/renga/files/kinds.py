"""What a file is, by its bytes, and what it may be called.

Owns two rules: the type of a file is what its content says, and what its sender says counts only
where the content does not contradict it; and of a name its last component is kept, which must be
one that every system can write down. It reads no files.

Source: "Files API" of the API's documentation; the docstrings of `files.upload` in the official
`anthropic` package, 2.12.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
from typing import Final

from renga.errors import InvalidRequest

UNKNOWN: Final = "application/octet-stream"
PLAIN: Final = "text/plain"
LONGEST_NAME: Final = 255  # characters
FORBIDDEN: Final = '<>:"|?*'
"""In names, beside control characters; separators end a component."""

HEAD: Final = 1_024
"""Bytes in which a file says what it is; readers of PDF look no further either."""

# Beginnings that only such a file has: (offset, bytes, type).
_SIGNATURES: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"PK\x03\x04", "application/zip"),
)

# Types that are ZIP archives or text of a certain form: the sender knows which.
_IN_ZIP: Final = re.compile(
    r"application/(vnd\.(openxmlformats|oasis)[\w.+-]*|epub\+zip|[\w-]*zip)"
)
_AS_TEXT: Final = re.compile(
    r"text/[\w.+-]+|image/svg\+xml|application/([\w.-]+\+)?(json|xml|yaml|x-yaml|toml|javascript|"
    r"x-ndjson|x-sh|sql|rtf|x-tex|x-python-code|x-httpd-php)"
)
_BEGINS_PDF: Final = (b"%PDF-", b"\xef\xbb\xbf%PDF-")
_TYPE: Final = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}")

# Bytes that no text has: control characters but for those that move a pen.
_NOT_TEXT: Final = bytes(b for b in range(32) if b not in b"\t\n\r\f\b\x1b")


class Kind:
    """The type of a file, found while its bytes come."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True

    def see(self, data: bytes) -> None:
        """Take the next bytes."""
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
        if self._is_text:
            self._is_text = self._continues_text(data)

    def _continues_text(self, data: bytes, *, final: bool = False) -> bool:
        if len(data.translate(None, _NOT_TEXT)) != len(data):
            return False
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            return False
        return True

    def found(self, declared: str, filename: str) -> str:
        """The type of the whole file. `declared` and `filename` are its sender's, or empty."""
        text = self._is_text and self._continues_text(b"", final=True)
        by_name = mimetypes.guess_type(filename)[0] or ""
        hints = [h for h in (_bare(declared), by_name) if _TYPE.fullmatch(h) and h != UNKNOWN]
        signed = _signature(self._head)
        if text and signed == "application/pdf" and not self._head.startswith(_BEGINS_PDF):
            signed = ""  # a text that speaks of PDFs
        if signed == "application/zip":
            return next((h for h in hints if _IN_ZIP.fullmatch(h)), signed)
        if signed:
            return signed
        if text:
            # What is text anyway is better told by the name than by "plain text".
            hints = [h for h in hints if _AS_TEXT.fullmatch(h)]
            return next((h for h in hints if h != PLAIN), PLAIN)
        return next((h for h in hints if not _is_told_by_bytes(h)), UNKNOWN)


def is_text(mime_type: str) -> bool:
    """Whether a file of this type is text that can be read as it is."""
    return _AS_TEXT.fullmatch(mime_type) is not None


def _bare(declared: str) -> str:
    """A content type without its parameters."""
    return declared.partition(";")[0].strip().lower()


def _signature(head: bytes) -> str:
    for offset, signature, kind in _SIGNATURES:
        riff = kind != "image/webp" or head[:4] == b"RIFF"
        if head[offset : offset + len(signature)] == signature and riff:
            return kind
    return "application/pdf" if b"%PDF-" in head else ""


def _is_told_by_bytes(kind: str) -> bool:
    """Whether a file of this type would have shown it, so that one that did not is none."""
    signed = {signed for _, _, signed in _SIGNATURES} | {"application/pdf"}
    return kind in signed or _AS_TEXT.fullmatch(kind) is not None or bool(_IN_ZIP.fullmatch(kind))


def checked_name(given: str) -> str:
    """The last component of a name as it was sent; empty where there is none.

    Raises:
        InvalidRequest: it has characters that names cannot have, or too many.
    """
    name = re.split(r"[/\\]", given)[-1].strip()
    if name in (".", ".."):
        return ""
    if len(name) > LONGEST_NAME:
        raise InvalidRequest(
            f"file: its filename has {len(name):,} characters; accepted: 1 to {LONGEST_NAME}"
        )
    bad = next((c for c in name if c in FORBIDDEN or ord(c) < 32 or ord(c) == 127), None)
    if bad is not None:
        raise InvalidRequest(
            f"file: its filename has the forbidden character {bad!r}; not accepted: "
            f"{' '.join(FORBIDDEN)} and control characters"
        )
    return name


def name_for(mime_type: str) -> str:
    """What a file without a name is called."""
    return "unnamed" + (mimetypes.guess_extension(mime_type) or "")
