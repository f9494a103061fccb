"""Receipts as people photograph them, read as the server reads them: the figure that docs state.

The images are not ours to give away (SROIE, CC BY 4.0, beside the repository where there are some).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from renga.media.documents import Documents
from renga.types import Base64Image, ImageParam

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "sroie" / "images_sample"
COUNT = 20
LEAST = 0.70


def total_of(key: Path) -> str:
    told = json.loads(key.read_text(encoding="utf-8"))["total"]
    found = re.search(r"\d+\.\d\d", told)
    assert found, f"{key.name}: {told}"
    return found[0]


def holds(text: str, amount: str) -> bool:
    """Whether an amount stands in a text by itself, not as a part of a longer number."""
    return re.search(rf"(?<![\d.]){re.escape(amount)}(?!\d)", text) is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the receipts of SROIE are not beside the checkout")
async def test_the_total_of_most_receipts_is_in_their_transcripts() -> None:
    keys = sorted((SAMPLE / "key").glob("*.json"))[:COUNT]
    documents = Documents()
    try:
        found = []
        for key in keys:
            data = (SAMPLE / "img" / f"{key.stem}.jpg").read_bytes()
            source = Base64Image(media_type="image/jpeg", data=base64.b64encode(data).decode())
            text = await documents.text_in(ImageParam(source=source))
            found.append(holds(text, total_of(key)))
    finally:
        await documents.aclose()
    assert len(found) == COUNT
    right = sum(found)
    assert right >= LEAST * COUNT, [k.stem for k, one in zip(keys, found, strict=True) if not one]


@pytest.mark.parametrize(
    ("text", "amount", "there"),
    [("Total 9.00", "9.00", True), ("19.00", "9.00", False), ("9.001", "9.00", False)],
)
def test_an_amount_is_found_by_itself(text: str, amount: str, there: bool) -> None:
    assert holds(text, amount) is there
