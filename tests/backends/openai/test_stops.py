"""Stop sequences that are found here: against the plain search in the whole text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from renga.backends.openai.stops import StopFinder

letters = st.text(alphabet="abü", max_size=12)


@given(st.lists(letters, max_size=12), st.lists(letters.filter(bool), min_size=1, max_size=3))
def test_what_is_shown_ends_before_the_first_stop_sequence(
    pieces: list[str], stops: list[str]
) -> None:
    finder, shown = StopFinder(stops), ""
    text = "".join(pieces)
    seen = ""
    for piece in pieces:
        shown += finder.feed(piece)
        seen += piece
        assert all(stop not in shown for stop in stops)
        assert seen.startswith(shown)
    shown += finder.finish()
    if finder.found is None:
        assert shown == text
        assert all(stop not in text for stop in stops)
    else:
        assert text.startswith(shown + finder.found)


def test_nothing_is_held_back_that_begins_no_stop_sequence() -> None:
    finder = StopFinder(["END"])
    assert [finder.feed(piece) for piece in ("a E", "N", "d", " EN", "D x", "y")] == [
        "a ", "", "ENd", " ", "", "",
    ]  # fmt: skip
    assert finder.found == "END"
