"""A model's name leads to a whole folder, or to one line that says what is wrong and a hint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renga.errors import SetupError
from renga.models.find import DEFAULT_WINDOW, NEEDED, Sampling, find_model, read_template
from tests.tiny_model import CONFIG, TURN_END


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    copy = Path(shutil.copytree(whole, tmp_path / "models" / "tiny"))
    (copy / "model.safetensors").unlink()  # or what is broken would be converted from it
    return copy


JSON_FILES = ("config.json", "generation_config.json")


def write_json(file: Path, **changes: Any) -> int:
    value = json.loads(file.read_text())
    value.update(changes)
    return file.write_text(json.dumps(value))


def test_a_whole_folder_is_described(folder: Path, tmp_path: Path) -> None:
    found = find_model(str(folder), tmp_path)
    assert found.path == folder
    assert found.window == CONFIG["max_position_embeddings"]
    assert found.vocab == CONFIG["vocab_size"]
    assert found.eos == (TURN_END,)
    assert found.sampling == Sampling()
    assert found.weight_bytes == (folder / "openvino_model.bin").stat().st_size


def test_parameters_and_precision_are_those_of_the_graph(folder: Path, tmp_path: Path) -> None:
    import openvino

    found = find_model(str(folder), tmp_path)
    graph = openvino.Core().read_model(folder / "openvino_model.xml")
    shapes = [
        tuple(node.get_output_shape(0))
        for node in graph.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.i8
    ]
    assert found.parameters == sum(rows * columns for rows, columns in shapes)
    assert found.precision == "int8"


def test_a_pulled_model_is_found_by_its_name(folder: Path, tmp_path: Path) -> None:
    found = find_model("tiny", tmp_path)
    assert (found.name, found.path) == ("tiny", folder)


def test_the_window_is_never_larger_than_the_engine_takes(folder: Path, tmp_path: Path) -> None:
    write_json(folder / "config.json", max_position_embeddings=131_072)
    assert find_model(str(folder), tmp_path).window == DEFAULT_WINDOW


def test_a_models_own_sampling_is_read(folder: Path, tmp_path: Path) -> None:
    file = folder / "generation_config.json"
    write_json(file, temperature=0.7, top_p=0.9, top_k=40, min_p=None)
    assert find_model(str(folder), tmp_path).sampling == Sampling(0.7, 0.9, 40, 0.0)
    write_json(file, do_sample=False)
    assert find_model(str(folder), tmp_path).sampling == Sampling(temperature=0.0)


def test_the_end_of_a_turn_may_stand_in_the_configuration(folder: Path, tmp_path: Path) -> None:
    (folder / "generation_config.json").unlink()
    assert find_model(str(folder), tmp_path).eos == (TURN_END,)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_or_empty_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert_refused(str(folder), tmp_path, f"{name} is empty")
    (folder / name).unlink()
    assert_refused(str(folder), tmp_path, f"{name}: is missing")
    (folder / name).mkdir()
    assert_refused(str(folder), tmp_path, name)


TEMPLATE = "chat_template.jinja"


def test_a_template_may_stand_in_the_tokenizers_configuration(folder: Path):
    file = folder / "tokenizer_config.json"
    source = (folder / TEMPLATE).read_text()
    assert read_template(folder) == (folder / TEMPLATE, source)
    (folder / TEMPLATE).unlink()
    write_json(file, chat_template=source)
    assert read_template(folder) == (file, source)
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": source}]
    write_json(file, chat_template=named)
    assert read_template(folder) == (file, source)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "own"}))
    assert read_template(folder) == (folder / "chat_template.json", "own")


def test_a_model_without_a_template_is_refused_as_a_base_model(folder: Path, tmp_path: Path):
    (folder / TEMPLATE).write_bytes(b"\xff")
    assert_refused(str(folder), tmp_path, f"{TEMPLATE} is not text")
    (folder / TEMPLATE).write_bytes(b"")
    assert_refused(str(folder), tmp_path, f"{TEMPLATE} is empty")
    (folder / TEMPLATE).unlink()
    assert_refused(str(folder), tmp_path, "no chat template")


def assert_refused(name: str, home: Path, complaint: str) -> None:
    with pytest.raises(SetupError) as caught:
        find_model(name, home)
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


BREAKS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("not JSON", lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
    ("not text", lambda f: (f / "config.json").write_bytes(b"\xff"), "config.json is not JSON"),
    ("a list", lambda f: (f / "config.json").write_text("[1]"), "config.json holds no JSON object"),
    ("no vocab", lambda f: write_json(f / "config.json", vocab_size=None), "vocab_size = None"),
    (
        "no window",
        lambda f: write_json(f / "config.json", max_position_embeddings=0),
        "max_position_embeddings = 0",
    ),
    (
        "eos beyond the vocabulary",
        lambda f: write_json(f / "generation_config.json", eos_token_id=[640]),
        "generation_config.json: eos_token_id = [640]",
    ),
    (
        "no eos",
        lambda f: [write_json(f / n, eos_token_id=None) for n in JSON_FILES],
        "no eos_token_id",
    ),
    (
        "odd temperature",
        lambda f: write_json(f / "generation_config.json", temperature="hot"),
        "temperature = 'hot'",
    ),
    (
        "generation not JSON",
        lambda f: (f / "generation_config.json").write_text("x"),
        "generation_config.json is not JSON",
    ),
    (
        "weights cut off",
        lambda f: (f / "openvino_model.bin").write_bytes(b"x" * 1000),
        "openvino_model.bin has 1,000 bytes; its graph needs",
    ),
    (
        "a pointer instead of the graph",
        lambda f: (f / "openvino_model.xml").write_text("version https://git-lfs\n"),
        "openvino_model.xml describes no weights",
    ),
    (
        "a graph that is not text",
        lambda f: (f / "openvino_model.xml").write_bytes(b"\xff\xfe"),
        "openvino_model.xml is not a graph",
    ),
]


@pytest.mark.parametrize(
    ("break_it", "complaint"), [b[1:] for b in BREAKS], ids=[b[0] for b in BREAKS]
)
def test_a_broken_folder_is_refused_in_one_line(
    folder: Path, tmp_path: Path, break_it: Callable[[Path], Any], complaint: str
) -> None:
    break_it(folder)
    assert_refused(str(folder), tmp_path, complaint)


@pytest.mark.parametrize("name", ["shipped:epic", "unknown", "no/such/folder", "/no/such/folder"])
def test_a_model_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    assert_refused(name, tmp_path, f"model '{name}'")


def test_a_file_is_not_a_model(folder: Path, tmp_path: Path) -> None:
    assert_refused(str(folder / "config.json"), tmp_path, "is a file, not a folder")
