"""What is trained on: readers, generators, the split between training and scoring."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.small_data import PLANTED, TEST_WORDS
from training import classify, corpora, drills, extract, fields, mixture, support, world
from training.chat import Example
from training.corpora import Labelled, fingerprint

seeds = st.integers(0, 2**32)


def texts_of(example: Example) -> str:
    return "\n".join(turn.text for turn in example.turns) + example.prose


def flat_values(text: str) -> dict[str, object]:
    found = json.loads(text, parse_float=str, parse_int=str)
    assert isinstance(found, dict)
    return found


@given(seeds, st.booleans())
def test_every_extracted_value_stands_in_its_text(seed: int, held: bool) -> None:
    card = extract.card(Random(seed), held=held)
    for value in flat_values(card.answer).values():
        spellings = [str(value)]
        spellings += [word for n, word in enumerate(world.NUMBERS) if str(n) == value]
        assert value is None or any(spelling in card.text for spelling in spellings)


@given(seeds, st.booleans())
def test_an_extraction_answer_is_valid_under_its_own_schema_and_in_its_order(
    seed: int, held: bool
) -> None:
    card = extract.card(Random(seed), held=held)
    jsonschema.validate(json.loads(card.answer), extract.schema(card.fields))
    assert list(flat_values(card.answer)) == [key for key, _, _ in card.fields]


def test_held_out_wordings_are_disjoint_from_those_trained_on() -> None:
    for field in fields.FIELDS:
        assert not set(field.train) & set(field.held)
        assert len(field.held) >= 3
    assert not set(fields.FILLERS) & set(fields.HELD_FILLERS)


@given(seeds)
def test_a_held_out_text_is_made_of_held_out_wordings_alone(seed: int) -> None:
    card = extract.card(Random(seed), held=True, absent=0.0)
    trained = [
        part
        for field in fields.FIELDS
        for wording in field.train
        for part in [wording.split("{v}")[0]]
        if len(part) > 12 and "[" not in part
    ]
    assert not [part for part in trained if part in card.text]


@given(seeds)
def test_look_ups_and_tables_answer_with_text_of_the_prompt(seed: int) -> None:
    for write in (extract.lookup, drills.table_drill):
        example = write(Random(seed))
        first = example.turns[0].text
        for turn in example.turns:
            known = turn.text in first or turn.text in map(str, range(13))
            assert turn.role != "assistant" or known


@given(seeds)
def test_support_answers_give_the_facts_of_the_system_text(seed: int) -> None:
    rng = Random(seed)
    desk = support.desk(rng)
    system = desk.system(rng)
    assert all(" ".join(value.split()) in " ".join(system.split()) for _, value in desk.facts)
    assert desk.firm in system or desk.agent in system


def test_replies_have_no_placeholders_left(small_data: Path) -> None:
    records = corpora.bitext_support(small_data)
    for seed in range(50):
        text = texts_of(support.reply_chat(Random(seed), records))
        assert "{{" not in text
        assert "\r" not in text


@settings(deadline=None)
@given(seeds, st.integers(1, 6))
def test_a_classification_answers_with_labels_that_its_prompt_gives(seed: int, items: int) -> None:
    records = [Labelled(f"text {n} {label}", label) for n in range(3) for label in LABELS]
    example = classify.LabelPool("clinc150", records).draw(Random(seed), items)
    prompt = example.turns[0].text
    answers = [turn.text for turn in example.turns if turn.role == "assistant"]
    assert len(answers) == items
    assert all(answer in prompt for answer in answers)


LABELS = ("card_arrival", "card_lost", "PlayMusic", "set alarm", "bill", "exchange_rate", "oos")


@pytest.mark.parametrize(
    ("label", "words"), [("card_arrival", "card arrival"), ("AddToPlaylist", "add to playlist")]
)
def test_labels_of_any_spelling_have_plain_words(label: str, words: str) -> None:
    assert classify.plain_words(label) == words
    assert all(
        classify.plain_words(classify.spell(label, style)) == words for style in (1, 2, 3, 4)
    )


def test_no_scored_text_is_trained_on_even_in_another_spelling(small_data: Path) -> None:
    held = mixture.held_out(small_data)
    assert fingerprint(PLANTED) in held.marks
    parts = mixture.writers(small_data)
    drawn = list(mixture.draw(parts, dict.fromkeys(parts, 60), seed=1))
    scored = [r.text for r in (*held.sms_spam, *held.snips, *held.clinc150)]
    for example in drawn:
        text = texts_of(example)
        assert "AMBER" not in text
        assert not [s for s in scored if s in text]
        assert not [w for w in TEST_WORDS if f"flight to {w}" in text]


def test_spam_is_without_duplicates_and_its_parts_are_disjoint(small_data: Path) -> None:
    trained, scored = mixture.spam_split(small_data)
    marks = [fingerprint(r.text) for r in (*trained, *scored)]
    assert len(marks) == len(set(marks)) == 90
    assert 3 * len(scored) - len(trained) in (-1, 0, 1, 2, 3)


def test_no_share_alike_set_is_trained_on() -> None:
    used = {source.folder: source.licence for source in corpora.SOURCES}
    assert not used.keys() & {"sgd", "boolq_dev", "qed_dev", "wikitext2_eval", "snips"}
    allowed = ("MIT", "Apache", "CC0", "CC BY 3", "CC BY 4", "CDLA-Sharing")
    assert all(licence.startswith(allowed) for licence in used.values())


def test_every_part_of_every_stage_has_a_writer(small_data: Path) -> None:
    parts = mixture.writers(small_data)
    for stage in mixture.STAGES:
        assert stage.shares.keys() <= parts.keys()
    assert [stage.start for stage in mixture.STAGES][0] == 0.0
