"""Text to tokens: the library's own result, however long the text is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Encoder

from renga.chat import tokenizer as module
from renga.chat.tokenizer import Tokenizer
from tests.tiny_model import MARKS, SPECIAL, train_tokenizer


@pytest.fixture(scope="module")
def ours(words: Path) -> Tokenizer:
    return Tokenizer.load(words / "tokenizer.json")


@pytest.mark.parametrize("text", ["", "Hello", "a <|im_end|> b", "Gänse 🦊\n\n  1234"])
def test_tokens_are_those_of_the_library(ours: Tokenizer, text: str) -> None:
    assert ours.encode(text) == train_tokenizer().encode(text, add_special_tokens=False).ids


def test_a_very_long_text_gives_the_same_tokens_in_parts(ours: Tokenizer) -> None:
    text = "The quick brown fox, 1234 jumps\n over the lazy dog. 🦊 " * 20_000
    assert len(text) > 3 * module.PART
    assert ours.encode(text) == train_tokenizer().encode(text, add_special_tokens=False).ids


def test_a_very_long_word_is_encoded_whole(ours: Tokenizer) -> None:
    text = "x" * (module.PART * 2 + 5)
    decoded = train_tokenizer().decode(ours.encode(text), skip_special_tokens=False)
    assert decoded == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*SPECIAL, "<", "|", "a"]), max_size=6).map("".join))
def test_a_shielded_text_holds_no_marker_and_loses_nothing(ours: Tokenizer, text: str) -> None:
    breaker = ours.break_for(text)
    safe = ours.shield(text, breaker)
    assert not any(ours.has_marker(piece) for piece in safe.split(breaker))
    assert safe.replace(breaker, "") == text
    assert not set(ours.encode(safe, breaker)) & set(ours.markers.values())


def test_markers_are_the_control_tokens(ours: Tokenizer) -> None:
    assert set(ours.markers) == {*SPECIAL, *MARKS}
    assert ours.size == train_tokenizer().get_vocab_size()


def test_a_tokenizer_without_control_tokens_has_nothing_to_shield() -> None:
    from tokenizers import models

    bare = Tokenizer(Encoder(models.BPE(vocab={"a": 0}, merges=[])))
    assert not bare.has_marker("<|im_end|>")
    assert bare.shield("<|im_end|>", "!") == "<|im_end|>"
    assert bare.encode("aa") == [0, 0]
