"""The arrays of a step: pieces whole and apart, which rows are wanted, and the usual sizes."""

from __future__ import annotations

from renga.engine.batch import gather
from renga.engine.sequence import Piece, Sequence


def _sequence(tokens: int, computed: int, draft: list[int] | None = None) -> Sequence:
    sequence = Sequence("s", "w", "interactive", list(range(100, 100 + tokens)), 999)
    sequence.prompt_length = 40
    sequence.computed = computed
    sequence.draft = draft or []
    sequence.blocks = [7, 5, 9]
    return sequence


def test_a_piece_with_a_draft_wants_a_row_for_its_last_known_token_and_each_guess():
    batch = gather([Piece(_sequence(50, 48, [1, 2, 3]), 5, True, draft=3)])
    assert batch.input_ids.tolist() == [148, 149, 1, 2, 3]
    assert batch.position_ids.tolist() == [48, 49, 50, 51, 52]
    assert batch.rows.tolist() == [1, 2, 3, 4]
    assert batch.past_lens.tolist() == [48]
    assert batch.block_indices.tolist() == [7, 5]


def test_apart_each_token_is_a_sequence_of_its_own_over_the_blocks_it_needs():
    batch = gather([Piece(_sequence(64, 63, [1, 2, 3, 4]), 5, True, draft=4)], apart=True)
    assert batch.input_ids.tolist() == [163, 1, 2, 3, 4]
    assert batch.past_lens.tolist() == batch.position_ids.tolist() == [63, 64, 65, 66, 67]
    assert batch.subsequence_begins.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.block_indices_begins.tolist() == [0, 2, 5, 8, 11, 14]
    assert batch.rows.tolist() == [0, 1, 2, 3, 4]
    assert int(batch.max_context_len) == 68


def test_apart_a_step_is_filled_up_by_repeating_its_last_token_and_no_row_more():
    steady = _sequence(60, 59)
    guessing = _sequence(50, 49, [1])
    batch = gather([Piece(steady, 1, True), Piece(guessing, 2, True, draft=1)], apart=True)
    assert batch.input_ids.tolist() == [159, 149, 1, 1, 1, 1]
    assert batch.past_lens.tolist() == [59, 49, 50, 50, 50, 50]
    assert batch.rows.tolist() == [0, 1, 2]


def test_steady_decodes_and_prompts_are_as_large_as_they_are():
    decodes = [Piece(_sequence(60, 59), 1, True) for _ in range(3)]
    assert len(gather(decodes, apart=True).input_ids) == 3
    prompt = _sequence(40, 32)
    assert gather([Piece(prompt, 8, True)], apart=True).past_lens.tolist() == [32]
