"""What counts as JSON, wherever in a long body it stands."""

from __future__ import annotations

import json

import pytest

from renga.errors import InvalidRequest
from renga.http.body import decode

LARGE = 600_000  # bytes; more than are looked at together


@pytest.mark.parametrize("number", ["1e999", "-9E+400", "9" * 400 + ".0", "1" + "0" * 310 + ".5"])
def test_an_infinite_number_is_named_wherever_it_stands(number: str) -> None:
    for at in [*range(261_800, 262_500, 7), 5, 300_000, LARGE - 1_000]:
        text = "x" * at
        few = f'{{"text": "{text}", "n": {number}, "more": "{"y" * (LARGE - at)}"}}'
        many = few.replace("yyyyyyyyyy", ",,,,,,,,,,")
        for raw in (few, many):
            with pytest.raises(InvalidRequest, match=r"^n: the number is too large"):
                decode(raw.encode())


def test_what_looks_like_one_in_a_text_is_text() -> None:
    body = {"text": "1e999 " * 100_000, "n": 1e308}
    assert decode(json.dumps(body).encode()) == body
