"""What a file is called and what it is, by its bytes first."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renga.errors import InvalidRequest
from renga.files.kinds import FORBIDDEN, LONGEST_NAME, Kind, checked_name, is_text, name_for


def image(form: str) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (3, 2)).save(held, form)
    return held.getvalue()


def kind_of(data: bytes, declared: str = "", filename: str = "", step: int = 1 << 20) -> str:
    kind = Kind()
    for at in range(0, len(data), step):
        kind.see(data[at : at + step])
    return kind.found(declared, filename)


PNG, JPEG, GIF, WEBP = (image(form) for form in ("PNG", "JPEG", "GIF", "WEBP"))
PDF = b"junk before it\n%PDF-1.7\n\x00\xff"
ZIP = b"PK\x03\x04\x00\x00"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
CASES = [
    (PNG, "image/jpeg", "a.txt", "image/png"),
    (JPEG, "", "", "image/jpeg"),
    (GIF, "text/plain", "", "image/gif"),
    (WEBP, "", "a.png", "image/webp"),
    (PDF, "application/octet-stream", "", "application/pdf"),
    (b"%PDF-1.7\nall of it ASCII\n", "", "", "application/pdf"),
    (b"A PDF begins with %PDF-1.7\n", "", "", "text/plain"),
    (b"RIFF\x00\x00\x00\x00WAVE", "image/webp", "", "application/octet-stream"),
    (b"\x89PNG is not one", "image/png", "a.png", "application/octet-stream"),
    (b"plain words", "image/png", "a.png", "text/plain"),
    (b"plain words", "application/pdf", "", "text/plain"),
    (b"", "", "", "text/plain"),
    (b"a,b\n1,2\n", "", "a.csv", "text/csv"),
    (b"a,b\n1,2\n", "text/csv; charset=utf-8", "", "text/csv"),
    (b"# A", "text/plain", "a.md", "text/markdown"),
    (b'{"a": 1}', "application/json", "", "application/json"),
    ("Grüße".encode(), "", "", "text/plain"),
    ("Grüße".encode("latin-1"), "text/plain", "a.txt", "application/octet-stream"),
    ("Gr\u00fc".encode()[:-1], "", "", "application/octet-stream"),
    (b"a\x00b", "text/plain", "", "application/octet-stream"),
    (ZIP, "", "a.docx", DOCX),
    (ZIP, "", "", "application/zip"),
    (ZIP, "image/png", "", "application/zip"),
    (b"\x00\x01", "audio/x-odd", "", "audio/x-odd"),
    (b"\x00\x01", "no type at all", "", "application/octet-stream"),
    (b"\x00\x01", "", "a.docx", "application/octet-stream"),
]


@pytest.mark.parametrize(("data", "declared", "filename", "kind"), CASES)
def test_a_file_is_what_its_bytes_say_and_else_what_its_sender_says(
    data: bytes, declared: str, filename: str, kind: str
) -> None:
    assert kind_of(data, declared, filename) == kind


@given(st.sampled_from(CASES), st.integers(1, 40))
def test_however_its_bytes_are_cut_it_is_the_same(case: tuple[bytes, str, str, str], step: int):
    data, declared, filename, kind = case
    assert kind_of(data, declared, filename, step) == kind


@given(st.text())
def test_every_text_without_control_characters_is_text(text: str) -> None:
    allowed = "".join(c for c in text if c >= " " or c in "\t\n\r")
    assert is_text(kind_of(allowed.encode("utf-8", "ignore"))) or allowed.startswith(
        ("%PDF-", "PK\x03\x04", "GIF87a", "GIF89a")
    )


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a b.txt", "a b.txt"),
        ("folder/", ""),
        ("..", ""),
        ("", ""),
        ("Übersicht 你好.md", "Übersicht 你好.md"),
        ("x" * LONGEST_NAME, "x" * LONGEST_NAME),
    ],
)
def test_of_a_name_its_last_component_is_kept(given_: str, kept: str) -> None:
    assert checked_name(given_) == kept


@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "a\x7fb", *(f"a{c}b" for c in FORBIDDEN)])
def test_names_that_systems_cannot_write_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^file: its filename has "):
        checked_name(name)


def test_what_has_no_name_is_named_by_its_type() -> None:
    assert name_for("application/pdf") == "unnamed.pdf"
    assert name_for("text/plain") == "unnamed.txt"
    assert name_for("application/octet-stream") in ("unnamed", "unnamed.bin")
