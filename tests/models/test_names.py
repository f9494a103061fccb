"""Names of models, and which files of many are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.errors import SetupError
from renga.models.names import ModelName, is_inside, is_repository
from renga.models.selection import (
    file_size,
    gguf_choices,
    projector_of,
    quantization_of,
    select,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Qwen/Qwen3-0.6B", ("Qwen/Qwen3-0.6B", "", "")),
        ("Qwen/Qwen3-0.6B-GGUF:Q4_K_M", ("Qwen/Qwen3-0.6B-GGUF", "Q4_K_M", "")),
        ("a/b:sub/c.gguf@refs/pr/1", ("a/b", "sub/c.gguf", "refs/pr/1")),
        ("a/b@v1.0", ("a/b", "", "v1.0")),
        ("https://huggingface.co/a/b", ("a/b", "", "")),
        ("hf.co/a/b:Q8_0", ("a/b", "Q8_0", "")),
    ],
)
def test_the_parts_of_a_name(text: str, parts: tuple[str, str, str]):
    name = ModelName.parse(text)
    assert (name.repo, name.file, name.revision) == parts
    assert ModelName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    "qwen a/b/c ../b a/.. /a/b a/b/ a//b .a/b a/b- a--b/c a/b: a/b@ a/b:../c a/b:/etc/passwd "
    "a/b:c/../d a/b@../c a/b@a//b a/b:c\\d a/b:x:y a/ü".split()
    + ["", "a b/c", "a/b\n", "a/b:c\x1b[0m", "a/" + "b" * 97, "a/b@/x"],
)
def test_what_is_no_name_is_refused_in_one_line(text: str):
    if text == "a/b\n":  # white space around a name is no part of it
        assert ModelName.parse(text).repo == "a/b"
        return
    with pytest.raises(SetupError) as caught:
        ModelName.parse(text)
    assert caught.value.hint


@given(st.text(max_size=40))
def test_a_name_that_is_accepted_leads_nowhere_else(text: str):
    try:
        name = ModelName.parse(text)
    except SetupError:
        return
    assert is_repository(name.repo)
    assert not name.file or is_inside(name.file)
    assert not {"..", ""} & {*name.repo.split("/")}
    assert name.repo.isprintable()


# Names of files as they stand in well-known repositories.
@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("gemma-3-4b-it-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Mistral-7B-IQ2_XXS.gguf", "IQ2_XXS"),
        ("Qwen2.5-0.5B-fp16.gguf", "FP16"),
        ("BF16/Qwen3-30B-BF16-00001-of-00002.gguf", "BF16"),
        ("ggml-model-i2_s.gguf", ""),
        ("model.gguf", ""),
        ("TriLM-TQ1_0.GGUF", "TQ1_0"),
    ],
)
def test_the_quantization_in_a_files_name(path: str, quantization: str):
    assert quantization_of(path) == quantization


def test_two_models_of_one_quantization_are_named_by_their_files():
    sizes = {"a-Q4_K_M.gguf": 2, "b-Q4_K_M.gguf": 3, "a-Q8_0.gguf": 4}
    labels = [choice.label for choice in gguf_choices(sizes)]
    assert labels == ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "Q8_0"]
    with pytest.raises(SetupError, match="none is the usual one"):
        select(sizes, "", "o/n")
    with pytest.raises(SetupError, match="'Q4_K_M' means several"):
        select(sizes, "Q4_K_M", "o/n")
    assert select(sizes, "b-Q4_K_M.gguf", "o/n").paths == ("b-Q4_K_M.gguf",)


def test_of_several_forms_the_one_that_needs_least_is_taken_and_said():
    sizes = {
        "openvino_model.xml": 1,
        "openvino_model.bin": 1,
        "model.safetensors": 1,
        "model.Q8_0.gguf": 1,
        "config.json": 1,
        "pytorch_model.bin": 1,
    }
    chosen = select(sizes, "", "o/n")
    assert chosen.paths == ("openvino_model.bin", "openvino_model.xml", "config.json")
    assert chosen.reason == "OpenVINO of OpenVINO, safetensors and GGUF"
    assert select(sizes, "model.safetensors", "o/n").format == "safetensors"
    assert select(sizes, "Q8_0", "o/n").paths == ("model.Q8_0.gguf",)


def test_shards_and_their_index_are_taken_and_other_safetensors_are_not():
    sizes = dict.fromkeys(
        [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "adapter_model.safetensors",
            "config.json",
        ],
        1,
    )
    assert set(select(sizes, "", "o/n").paths) == {
        path for path in sizes if not path.startswith(("consolidated", "adapter"))
    }


def test_the_projector_that_loses_least_for_its_size_is_taken():
    names = ["mmproj-BF16.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf", "m-F16.gguf"]
    assert projector_of(dict.fromkeys(names, 1)) == "mmproj-F16.gguf"
    assert projector_of({"m-F16.gguf": 1}) is None


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (812, "812 bytes"), (4_100, "4.1 kB"), (66_000_000, "66.0 MB"),
     (805_000_000, "805 MB"), (13_300_000_000, "13.3 GB"), (141_000_000_000, "141 GB")],
)  # fmt: skip
def test_sizes_for_a_person(size: int, words: str):
    assert file_size(size) == words
