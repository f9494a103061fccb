"""A page of a browser, read from its picture.

`page.png` is `page.html` as Chromium 156 draws it: `chromium --headless --hide-scrollbars
--window-size=980,760 --screenshot=page.png page.html`; `page.txt` is what stands there.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from renga.media.documents import Documents
from renga.types import Base64Image, ImageParam

PAGE = Path(__file__).parent / "page"
MOST_WRONG = 0.05


def edits(one: str, other: str) -> int:
    """How many letters must be added, left out or changed to make one text the other."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != wanted))
    return row[-1]


@pytest.mark.timeout(300)
async def test_a_screenshot_is_read_with_few_wrong_letters() -> None:
    data = base64.b64encode((PAGE / "page.png").read_bytes()).decode()
    documents = Documents()
    try:
        read = await documents.text_in(
            ImageParam(source=Base64Image(media_type="image/png", data=data))
        )
    finally:
        await documents.aclose()
    wanted = " ".join((PAGE / "page.txt").read_text(encoding="utf-8").split())
    wrong = edits(" ".join(read.split()), wanted) / len(wanted)
    assert wrong <= MOST_WRONG, read


@pytest.mark.parametrize(
    ("one", "other", "count"), [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("a", "a", 0)]
)
def test_edits_are_counted(one: str, other: str, count: int) -> None:
    assert edits(one, other) == edits(other, one) == count
