"""Headers of GGUF files: what they say, and what becomes of files that are none."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.errors import SetupError
from renga.models.gguf import find_gguf, is_gguf, read_header

TOKENS = ["<s>", "<|im_end|>", "a", "b", "<tool_call>", " "]
KINDS = [3, 3, 1, 1, 4, 4]


def write(path: Path, *, arch: str = "llama", tokens: bool = True, **more: int) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(more.get("context", 65_536))
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    if tokens:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(TOKENS)
        writer.add_token_types(KINDS)
        writer.add_token_scores([0.0] * len(TOKENS))
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_chat_template("{{ bos_token }}{{ messages }}")
    writer.add_tensor("one", np.ones((8, 32), np.float32))
    q8 = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("two", gguf.quants.quantize(np.ones((4, 64), np.float32), q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_header_says_what_its_writer_wrote(tmp_path):
    model = find_gguf(write(tmp_path / "m.gguf"))
    assert (model.vocab, model.longest, model.window) == (6, 65_536, 32_768)
    assert (model.parameters, model.precision) == (8 * 32 + 4 * 64, "q8_0")
    assert model.kv_bytes == 2 * 2 * 2 * (16 + 16)
    assert model.markers == {"<s>": 0, "<|im_end|>": 1, "<tool_call>": 4}
    assert model.special == {"bos_token": "<s>", "eos_token": "<|im_end|>"}
    assert model.template == "{{ bos_token }}{{ messages }}"
    assert model.begins_with_bos
    assert model.projector is None


def test_every_type_of_value_is_read_as_the_library_reads_it(tmp_path):
    path = tmp_path / "values.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    values = {
        "a": ("uint8", 200), "b": ("int8", -5), "c": ("uint16", 60_000), "d": ("int16", -7),
        "e": ("uint32", 1 << 31), "f": ("int32", -9), "g": ("float32", 0.5), "h": ("bool", True),
        "i": ("string", "Zürich 🦊"), "j": ("uint64", 1 << 40), "k": ("int64", -(1 << 40)),
        "l": ("float64", 0.1), "m": ("array", [1, 2, 3]), "n": ("array", ["x", "", "ü"]),
    }  # fmt: skip
    for key, (kind, value) in values.items():
        getattr(writer, f"add_{kind}")(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_header(path).metadata
    assert {key: found[key] for key in values} == {key: value for key, (_, value) in values.items()}


def test_a_folder_means_the_one_model_in_it_and_its_projector(tmp_path):
    model = write(tmp_path / "fox-q8_0.gguf")
    assert is_gguf(tmp_path)
    large, small = tmp_path / "mmproj-fox-f32.gguf", tmp_path / "mmproj-fox-q8_0.gguf"
    write(large, arch="clip", tokens=False)
    small.write_bytes(b"GGUF")
    found = find_gguf(tmp_path)
    assert (found.path, found.projector) == (model, small)  # the one with the model's own name
    small.unlink()
    assert find_gguf(model).projector == large
    write(tmp_path / "hen-q8_0.gguf")
    with pytest.raises(SetupError, match=r"has 2 models: fox-q8_0\.gguf, hen-q8_0\.gguf"):
        find_gguf(tmp_path)


def test_a_split_model_is_its_first_file_and_needs_all(tmp_path):
    first = write(tmp_path / "m-00001-of-00002.gguf")
    with pytest.raises(SetupError, match=r"m-00002-of-00002\.gguf is missing"):
        find_gguf(tmp_path)
    second = write(tmp_path / "m-00002-of-00002.gguf", tokens=False)
    found = find_gguf(tmp_path)
    assert found.path == first
    assert found.weight_bytes == first.stat().st_size + second.stat().st_size
    assert found.parameters == 2 * (8 * 32 + 4 * 64)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_bytes(b""), "is no GGUF file"),
        (lambda p: p.write_bytes(b"PK\x03\x04" * 99), "is no GGUF file"),
        (lambda p: p.write_bytes(b"GGUF" + b"\xff" * 999), "is GGUF version 4294967295"),
        (lambda p: p.write_bytes(write(p).read_bytes()[:400]), "ends within its header"),
        (lambda p: p.write_bytes(write(p).read_bytes()[:-64]), r"has [\d,]+ bytes; its header"),
        (lambda p: write(p, arch="clip", tokens=False), "is a projector"),
        (lambda p: write(p, arch="foo", tokens=False), r"\(foo\) has no vocabulary"),
        (lambda p: None, "is missing"),
    ],
)
def test_a_file_that_cannot_be_a_model_is_one_sentence(tmp_path, make, words):
    path = tmp_path / "bad.gguf"
    make(path)
    with pytest.raises(SetupError, match=words) as raised:
        find_gguf(path)
    assert str(path) in raised.value.message
    assert "\n" not in raised.value.message


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("whole") / "m.gguf")


@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(4, 700), st.integers(0, 255)), min_size=1))
def test_a_damaged_header_is_read_or_refused_and_nothing_else(whole, changes):
    data = bytearray(whole.read_bytes())
    for place, byte in changes:
        data[place % len(data)] = byte
    path = whole.with_name("damaged.gguf")
    path.write_bytes(data)
    refusals = []
    try:
        find_gguf(path)
    except SetupError as error:
        refusals.append(error.message)
    assert all(str(path) in words for words in refusals)
