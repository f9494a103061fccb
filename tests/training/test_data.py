"""What is trained on: readers, generators, the split between training and scoring."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.small_data import PLANTED, TEST_WORDS
from training import classify, corpora, drills, extract, fields, mixture, naming, support, world
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
    assert len({value for _, value in desk.facts}) == len(desk.facts)


@given(seeds)
def test_times_and_amounts_in_a_support_answer_stand_in_its_system_text(seed: int) -> None:
    turns = support.fact_chat(Random(seed)).turns
    for question, answer in zip(turns[1::2], turns[2::2], strict=True):
        for value in re.findall(
            r"[$€£]\d+(?:\.\d\d)?|\d+ (?:to \d+ )?(?:\w+ )?(?:days|weeks)", answer.text
        ):
            assert value in turns[0].text, (question.text, answer.text)


def test_some_desks_state_several_facts_whose_values_look_alike() -> None:
    for family in support.FAMILIES:
        assert len(family) >= 10
        assert len({topic.name for topic in family}) == len(family)
        questions = [question for topic in family for question in topic.questions]
        assert len(questions) == len(set(questions))


def test_replies_have_no_placeholders_left(small_data: Path) -> None:
    records = corpora.bitext_support(small_data)
    for seed in range(50):
        text = texts_of(support.reply_chat(Random(seed), records))
        assert "{{" not in text
        assert "\r" not in text


def assert_answers_stand_in_the_prompt(example: Example, items: int) -> None:
    prompt = example.turns[0].text
    answers = [turn.text for turn in example.turns if turn.role == "assistant"]
    assert len(answers) == items
    assert all(answer in prompt for answer in answers)


@settings(deadline=None)
@given(seeds, st.integers(1, 6), st.sampled_from((0.0, 1.0)))
def test_a_classification_answers_with_labels_that_its_prompt_gives(
    seed: int, items: int, renamed: float
) -> None:
    records = [Labelled(f"text {n} {label}", label) for n in range(3) for label in LABELS]
    example = classify.LabelPool("clinc150", records).draw(Random(seed), items, renamed)
    assert_answers_stand_in_the_prompt(example, items)


def test_renamed_labels_are_mostly_not_called_what_the_set_calls_them() -> None:
    records = [Labelled(f"text {n} {label}", label) for n in range(3) for label in LABELS]
    pool = classify.LabelPool("clinc150", records)
    drawn = [pool.draw(Random(n), 1, 1.0).turns[-1].text for n in range(300)]
    known = {naming.plain_words(label) for label in LABELS}
    assert sum(naming.plain_words(answer) in known for answer in drawn) < 100


def some_sentences() -> list[str]:
    words = "amber brass cedar delta ember flint grove hazel inlet jasper".split()
    return [f"please tell the {a} of the {b}" for a in words for b in words if a < b]


@settings(deadline=None)
@given(seeds, st.integers(1, 6))
def test_an_echo_answers_with_a_label_of_its_list(seed: int, items: int) -> None:
    echoes = classify.Echoes(some_sentences())
    assert_answers_stand_in_the_prompt(echoes.draw(Random(seed), items), items)


def test_echo_labels_hardly_ever_come_twice() -> None:
    words = [f"{a}{b}" for a in "bdfglmnprst" for b in ("amer", "olid", "inter", "ustom", "even")]
    sentences = [f"show the {a} of the {b}" for a in words for b in words if a < b]
    echoes = classify.Echoes(sentences)
    drawn = [echoes.draw(Random(n), 1).turns[-1].text for n in range(200)]
    assert len(set(drawn)) > 180


def test_forms_of_a_word_have_one_stem() -> None:
    assert len({naming.stem(word) for word in ("play", "plays", "played", "playing")}) == 1
    assert naming.stem("cash") != naming.stem("card")


@given(seeds)
def test_names_spelled_again_keep_their_letters_and_are_one_a_line(seed: int) -> None:
    question, answer = drills.respell_drill(Random(seed), ["amber", "brass", "cedar"]).turns
    letters = "".join(c for c in question.text.partition(":")[2].lower() if c.isalpha())
    assert letters == "".join(c for c in answer.text.lower() if c.isalpha())
    assert len(answer.text.split("\n")) >= 3


def test_code_names_are_as_many_as_asked_for_and_all_different() -> None:
    for seed in range(60):
        names = naming.code_names(Random(seed), 2 + seed % 5)
        assert len(names) == len(set(names)) == 2 + seed % 5


LABELS = ("card_arrival", "card_lost", "PlayMusic", "set alarm", "bill", "exchange_rate", "oos")


@pytest.mark.parametrize(
    ("label", "words"), [("card_arrival", "card arrival"), ("AddToPlaylist", "add to playlist")]
)
def test_labels_of_any_spelling_have_plain_words(label: str, words: str) -> None:
    assert naming.plain_words(label) == words
    assert all(naming.plain_words(classify.spell(label, style)) == words for style in (1, 2, 3, 4))


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


def test_most_messages_in_conversations_on_spam_are_harmless(small_data: Path) -> None:
    write = mixture.writers(small_data)["spam"]
    asked = harmful = 0
    for seed in range(300):
        example = write(Random(seed))
        said = [turn.text for turn in example.turns if turn.role == "assistant"]
        asked += len(said)
        harmful += sum(text in {name for name, _ in classify.SPAM_NAMES} for text in said)
    assert 0.14 < harmful / asked < 0.28


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
