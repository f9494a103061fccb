"""What the shipped haiku does with tools, through a running server and the official tool runner."""

from __future__ import annotations

from pathlib import Path

import pytest

import renga
from training import tool_score
from training.tool_rows import Row, add, order_status, right

HAIKU = Path(renga.__path__[0], "models", "shipped", "haiku")
CANONICAL = Row(
    (add, order_status),
    "Compute 17+25 with the add tool and tell me",
    ("add", {"a": 17, "b": 25}),
    "42",
)

pytestmark = pytest.mark.timeout(400)


def test_it_adds_with_the_tool_and_tells_the_sum() -> None:
    (outcome,) = tool_score.outcomes(HAIKU, [CANONICAL])
    assert right(CANONICAL, outcome), outcome


def test_a_sample_of_the_score_holds() -> None:
    """40 rows of its kind; the bounds leave room for what another processor rounds otherwise."""
    worked, invented = tool_score.score(HAIKU, 40)
    assert worked.percent >= 85
    assert invented.percent <= 15


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nine_in_ten_sums_and_lookups_are_right_and_few_calls_invented() -> None:
    """The bar that was set for this model: 200 and 100 rows."""
    worked, invented = tool_score.score(HAIKU, 200)
    assert (worked.rows, invented.rows) == (200, 100)
    assert worked.percent >= 90
    assert invented.percent <= 10
