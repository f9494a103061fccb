"""From conversations to packed rows: template, tokens, masks."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from training import drills, extract, shards, smalltalk, support, vocabulary
from training.batch import PADDING, masked
from training.chat import SPECIALS, Call, Example, Turn, pieces, render
from training.shards import Document


def some_examples(count: int) -> list[Example]:
    write = (extract.extraction, support.fact_chat, smalltalk.about_itself, drills.copy_drill)
    return [write[n % len(write)](Random(n)) for n in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    texts = ("".join(text for text, _ in pieces(example)) for example in some_examples(200))
    vocabulary.write(vocabulary.learn(texts, 700), path, 32_768)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return vocabulary.load(folder)


turn_texts = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=40)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | turn_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(turn_texts, inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(Call, turn_texts, st.dictionaries(turn_texts, json_values, max_size=2))
turns_of_any_kind = st.one_of(
    st.builds(Turn, st.sampled_from(("system", "user", "tool", "assistant")), turn_texts),
    st.builds(Turn, st.just("assistant"), turn_texts, turn_texts, st.lists(calls, max_size=2)),
)
tools_of_any_kind = st.fixed_dictionaries(
    {
        "name": turn_texts,
        "description": turn_texts,
        "parameters": st.dictionaries(turn_texts, json_values, max_size=2),
    }
)


def message(turn: Turn) -> dict[str, Any]:
    """A turn in the form that templates take."""
    found: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.thinking:
        found["reasoning_content"] = turn.thinking
    if turn.calls:
        found["tool_calls"] = [
            {"type": "function", "id": "0", "function": {"name": c.name, "arguments": c.arguments}}
            for c in turn.calls
        ]
    return found


@given(
    st.lists(turns_of_any_kind, min_size=1, max_size=6),
    st.lists(tools_of_any_kind, max_size=2),
    st.booleans(),
)
@settings(deadline=None)
def test_the_template_gives_byte_for_byte_what_is_trained_on(
    folder: Path, turns: list[Turn], tools: list[dict[str, Any]], thinking: bool
) -> None:
    reference = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    reference.chat_template = (folder / "chat_template.jinja").read_text("utf-8")
    assert render(turns, tools, thinking=thinking) == reference.apply_chat_template(
        [message(turn) for turn in turns],
        tools=[{"type": "function", "function": tool} for tool in tools] or None,
        enable_thinking=thinking,
        tokenize=False,
        add_generation_prompt=True,
    )


def test_special_tokens_have_their_fixed_numbers(tokenizer: Tokenizer, folder: Path) -> None:
    assert [tokenizer.token_to_id(text) for text in SPECIALS] == list(range(len(SPECIALS)))
    settings_ = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert tokenizer.token_to_id(settings_["eos_token"]) == 2


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_survives_the_tokenizer(folder: Path, text: str) -> None:
    tokenizer = vocabulary.load(folder)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_pieces_give_the_tokens_of_the_whole_text(tokenizer: Tokenizer) -> None:
    for example in some_examples(80):
        document = shards.encode(tokenizer, [example])[0]
        whole = tokenizer.encode(
            "".join(text for text, _ in pieces(example)), add_special_tokens=False
        )
        assert document.tokens == whole.ids


@given(st.from_regex(r"[a-z]{1,14}", fullmatch=True))
@settings(deadline=None)
def test_a_word_is_cut_at_the_same_places_in_all_its_forms(folder: Path, word: str) -> None:
    tokenizer = vocabulary.load(folder)
    bare, *others = (
        [token.removeprefix(vocabulary.BLANK).lower() for token in tokenizer.encode(form).tokens]
        for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
    )
    assert others == [bare] * 3


@given(st.lists(st.from_regex(r"[A-Z][a-z]{0,9}", fullmatch=True), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_name_of_joined_words_is_the_pieces_of_its_words(folder: Path, words: list[str]) -> None:
    tokenizer = vocabulary.load(folder)
    apart = [token for word in words for token in tokenizer.encode(word).tokens]
    assert tokenizer.encode("".join(words)).tokens == apart


def test_kin_are_the_forms_of_one_piece_and_nothing_else(tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size() + 3
    bases, forms = vocabulary.kinship(tokenizer, size)
    for number in range(tokenizer.get_vocab_size()):
        token, base = tokenizer.id_to_token(number), tokenizer.id_to_token(bases[number])
        assert token is not None
        assert base is not None
        if forms[number] == vocabulary.ALONE:
            assert bases[number] == number
        else:
            assert token in {base[:1].upper() + base[1:], vocabulary.BLANK + base} | {
                base,
                vocabulary.BLANK + base[:1].upper() + base[1:],
            }
    assert bases[-3:] == [size - 3, size - 2, size - 1]
    vocab = tokenizer.get_vocab()
    family = [vocab[token] for token in ("a", "A", "\u0120a", "\u0120A")]
    assert [forms[n] for n in family] == [0, 1, 2, 3]
    assert len({bases[n] for n in family}) == 1


def test_marks_of_tools_and_thinking_are_seen_in_decoded_text(folder: Path) -> None:
    tokenizer = vocabulary.load(folder)
    text = "<think>\nx\n</think>\n\n<tool_call>\n{}\n</tool_call>"
    ids = tokenizer.encode(f"{text}<|im_end|>", add_special_tokens=False).ids
    assert len([n for n in ids if n < len(SPECIALS)]) == 5
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_thinking_and_calls_are_learned_and_results_are_not(tokenizer: Tokenizer) -> None:
    turns = (
        Turn("user", "2 + 3?"),
        Turn("assistant", "", "A sum.", [Call("add", {"a": 2, "b": 3})]),
        Turn("tool", "5"),
        Turn("assistant", "It is 5."),
    )
    tool = {"name": "add", "description": "", "parameters": {}}
    example = Example("tools", turns, tools=[tool])
    document = shards.encode(tokenizer, [example])[0]
    learned = [t for t, w in zip(document.tokens, document.weights, strict=True) if w]
    assert tokenizer.decode(learned, skip_special_tokens=False) == (
        'A sum.\n</think>\n\n<tool_call>\n{"name":"add","arguments":{"a":2,"b":3}}\n</tool_call>'
        "<|im_end|>It is 5.<|im_end|>"
    )
    whole = "".join(text for text, _ in pieces(example))
    assert document.tokens == tokenizer.encode(whole, add_special_tokens=False).ids


def test_only_answers_and_their_ends_are_learned(tokenizer: Tokenizer) -> None:
    turns = (Turn("system", "Be kind."), Turn("user", "Hello"), Turn("assistant", "Hi there"))
    document = shards.encode(tokenizer, [Example("identity", turns)])[0]
    learned = [t for t, w in zip(document.tokens, document.weights, strict=True) if w]
    assert tokenizer.decode(learned, skip_special_tokens=False) == "Hi there<|im_end|>"


@given(st.lists(st.integers(1, 60), max_size=50))
def test_packing_keeps_every_document_once_and_within_the_row(sizes: list[int]) -> None:
    documents = [Document("drill", [n + 1] * size, [1] * size) for n, size in enumerate(sizes)]
    rows = shards.pack(documents, 40)
    assert sorted(d.tokens[0] for row in rows for d in row) == [n + 1 for n in range(len(sizes))]
    assert all(sum(min(len(d.tokens), 40) for d in row) <= 40 for row in rows)
    filled = shards.fill(rows, 40)
    assert int((filled["documents"] != PADDING).sum()) == sum(min(s, 40) for s in sizes)


def test_written_rows_hold_the_counted_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    counts = shards.write(tokenizer, some_examples(100), tmp_path, 1024, seed=1)
    documents = np.load(tmp_path / "documents.npy")
    assert int((documents != PADDING).sum()) == sum(counts.values())
    assert documents.shape[1] == 1025


def test_a_document_sees_itself_alone_and_counts_from_zero() -> None:
    mask, positions = masked(torch.tensor([[0, 0, 1, 1, 1, PADDING]]))
    assert positions.tolist() == [[0, 1, 0, 1, 2, 0]]
    assert mask[0, 0].int().tolist()[3] == [0, 0, 1, 1, 0, 0]
    assert mask[0, 0].diagonal().all()
