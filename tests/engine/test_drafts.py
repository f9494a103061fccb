"""Guesses from a sequence's own text: what is guessed, how much, and what it costs to be wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from renga.engine.drafts import PromptLookup
from renga.engine.text import Vocabulary

TEXT = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]


def test_what_followed_the_same_tokens_is_guessed():
    lookup = PromptLookup([*TEXT, 99, 11, 12, 13], 8)
    assert lookup.guess(8) == [14, 15]


def test_one_equal_token_says_nothing():
    assert PromptLookup([*TEXT, 99, 13], 8).guess(8) == []
    assert PromptLookup([*TEXT, 99, 12, 13], 8).guess(8) == [14, 15]


def test_the_longest_of_several_matches_counts_and_the_latest_of_equals():
    assert PromptLookup([1, 2, 3, 50, 8, 2, 3, 60, 9, 1, 2, 3], 8).guess(1) == [50]
    assert PromptLookup([1, 2, 3, 50, 1, 2, 3, 60, 1, 2, 3], 8).guess(1) == [60]


def test_a_repetition_up_to_the_end_is_guessed_to_go_on():
    lookup = PromptLookup([7, 8, 9] * 3, 8)
    assert lookup.guess(8) == [7, 8]
    lookup.learn(2, 2)
    assert lookup.guess(8) == [7, 8, 9, 7]
    lookup.learn(4, 4)
    assert lookup.guess(8) == [7, 8, 9, 7, 8, 9, 7, 8]


def test_guesses_grow_where_they_hold_and_shrink_where_they_fail():
    lookup = PromptLookup([7] * 40, 8)
    lengths = []
    for held in (True, True, True, True):
        guessed = len(lookup.guess(8))
        lengths.append(guessed)
        lookup.learn(guessed, guessed if held else 0)
    assert lengths == [2, 4, 8, 8]
    lookup.learn(len(lookup.guess(8)), 5)
    assert len(lookup.guess(8)) == 5
    lookup.learn(5, 1)
    assert len(lookup.guess(8)) == 3
    lookup.learn(3, 0)
    assert len(lookup.guess(8)) == 1


def test_a_text_whose_guesses_fail_is_soon_left_alone():
    lookup = PromptLookup([7] * 40, 8)
    asked = 0
    for _ in range(1_000):
        guessed = lookup.guess(8)
        asked += bool(guessed)
        lookup.learn(len(guessed), 0)
    assert asked < 22


def test_a_guess_stays_within_the_room_there_is():
    lookup = PromptLookup([7] * 40, 8)
    assert lookup.guess(1) == [7]
    assert lookup.guess(0) == []


def test_a_long_prompt_is_indexed_over_several_steps():
    tokens = list(range(9_000))
    tokens += [8_000, 8_001, 8_002]
    lookup = PromptLookup(tokens, 8)
    found = [lookup.guess(8) for _ in range(6)]
    assert found[0] == []
    assert found[-1] == [8_003, 8_004]


# Of each pair of ids the odd one is the same word with a space before it.
ALIKE = [token - token % 2 for token in range(100)]


def test_where_values_are_copied_a_space_before_a_word_makes_no_difference():
    assert PromptLookup([50, 13, 15, 17, 99, 12, 14], 8, ALIKE).guess(8) == [17, 99]
    assert PromptLookup([50, 13, 15, 17, 99, 12, 14], 8).guess(8) == []


def test_where_values_are_copied_one_token_that_is_rare_is_enough():
    assert PromptLookup([50, 13, 15, 17, 20, 22, 99, 12], 8, ALIKE).guess(8) == [15, 17, 20, 22]
    assert PromptLookup([50, *[13, 15] * 5, 99, 12], 8, ALIKE).guess(8) == []


def test_a_value_that_goes_on_otherwise_says_nothing_of_the_next():
    lookup = PromptLookup([50, 13, 15, 17, 20, 22, 99, 12], 4, ALIKE)
    for _ in range(20):
        assert len(lookup.guess(8)) == 4
        lookup.learn(4, 0)


def test_a_token_beyond_the_table_is_itself():
    assert PromptLookup([50, 200, 201, 17, 99, 200, 201], 8, ALIKE).guess(8) == [17, 99]


def test_tokens_are_alike_that_differ_in_a_space_before_them():
    vocabulary = Vocabulary([b"Dana", b" Dana", b" ", b"", b"  Dana", b"\n"], frozenset({3}))
    assert list(vocabulary.alike) == [0, 0, 2, 3, 1, 5]


tokens_of_few_kinds = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@given(tokens_of_few_kinds, st.lists(st.integers(0, 3), max_size=30), st.integers(1, 8))
def test_a_guess_is_always_what_followed_an_earlier_occurrence(prompt, following, room):
    """Against a search through the whole list."""
    tokens = list(prompt)
    lookup = PromptLookup(tokens, 8)
    for token in [*following, 0]:
        guess = lookup.guess(room)
        assert len(guess) <= room
        if guess:
            whole = tokens + guess
            assert any(_occurs(whole, place, len(tokens), guess) for place in range(2, len(tokens)))
        lookup.learn(len(guess), 1 if guess and guess[0] == token else 0)
        tokens.append(token)


def _occurs(whole: list[int], place: int, end: int, guess: list[int]) -> bool:
    same = whole[place - 2 : place] == whole[end - 2 : end]
    return same and whole[place : place + len(guess)] == guess
