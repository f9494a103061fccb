"""The compiled model: its facts, its memory, and that a batch is only read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as op

from renga.engine.batch import Batch, gather
from renga.engine.blocks import BLOCK_SIZE
from renga.engine.memory import stored_precision, token_bytes
from renga.engine.messages import EngineSettings
from renga.engine.model import Model, ModelError, ModelFiles
from renga.engine.sequence import Piece, Sequence
from tests.engine.harness import NAMES, model_folder


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory) -> Path:
    return model_folder(request.param, tmp_path_factory.mktemp("model"))


def _model(folder: Path, **settings) -> Model:
    return Model(ModelFiles.read(folder), EngineSettings(model=str(folder), **settings))


def _batch(tokens: list[int], computed: int, blocks: list[int], samples: bool = True) -> Batch:
    sequence = Sequence(id="s", workspace="w", lane="interactive", tokens=tokens, limit=999)
    sequence.computed, sequence.blocks = computed, blocks
    return gather([Piece(sequence, len(tokens) - computed, samples)])


def test_batches_of_the_same_shape_do_not_write_into_each_other(folder):
    model = _model(folder, precision="exact", kv_bytes=60_000_000)
    one = _batch(list(range(20, 60)), 0, [0, 1])
    other = _batch(list(range(60, 100)), 0, [2, 3])
    first = model.forward(one).copy()
    second = model.forward(other).copy()
    assert (model.forward(one) == first).all()
    assert (model.forward(other) == second).all()
    assert not (first == second).all()


def test_only_the_rows_asked_for_are_computed(folder):
    model = _model(folder, precision="exact", kv_bytes=60_000_000)
    text = list(range(20, 84))
    assert model.forward(_batch(text[:32], 0, [0, 1], samples=False)).shape == (0, model.vocab)
    split = model.forward(_batch(text, 32, [0, 1])).copy()
    whole = model.forward(_batch(text, 0, [2, 3]))
    assert split.shape == (1, model.vocab)
    assert np.abs(split - whole).max() < 1e-4 * np.abs(whole).max()


def test_memory_is_what_was_asked_for_and_the_window_fits_into_it(folder):
    small = _model(folder, kv_bytes=2_000_000)
    assert small.kv_bytes <= 2_000_000
    assert small.window <= small.blocks * small.block_size
    assert _model(folder, window=100, kv_bytes=60_000_000).window == 100


def test_without_a_setting_two_windows_or_as_many_as_fit_in_420_mib(folder):
    model = _model(folder)
    window = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    assert model.window == min(window, 32_768)
    one = -(-model.window // model.block_size)
    fit = 420 * 2**20 // (model.kv_bytes // model.blocks)
    assert model.blocks == max(one, min(2 * one, fit))


@pytest.mark.parametrize(
    "settings",
    [
        {"kv_precision": "u8"},
        {"kv_precision": "bf16"},
        {"kv_precision": "f32"},
        {"precision": "exact"},
        {"precision": "exact", "kv_precision": "f32"},
        {},
    ],
)
def test_a_token_takes_as_much_memory_as_was_said_before(folder, settings):
    model = _model(folder, kv_bytes=30_000_000, **settings)
    stored = stored_precision(EngineSettings(model=str(folder), **settings))
    said = token_bytes(json.loads((folder / "config.json").read_text()), stored)
    assert said is not None
    factor = 2 if stored == "bf16" and not _computes_in_bf16() else 1
    assert model.kv_bytes == model.blocks * BLOCK_SIZE * said * factor


def _computes_in_bf16() -> bool:
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("config", [{}, {"num_hidden_layers": "two"}, {"num_hidden_layers": 2}])
def test_a_config_without_the_shape_tells_no_memory(config):
    assert token_bytes(config, "u8") is None


def test_threads_are_the_ones_asked_for(folder):
    assert _model(folder, threads=1, kv_bytes=2_000_000).threads == 1


def test_kv_memory_for_less_than_two_blocks_is_refused(folder):
    with pytest.raises(ModelError, match=r"kv_bytes: 1000 holds 0 blocks"):
        _model(folder, kv_bytes=1_000)


def _copy(folder: Path, to: Path) -> Path:
    for file in folder.iterdir():
        if file.is_file():
            (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize(
    "name", ["openvino_model.xml", "openvino_model.bin", "config.json", "tokenizer.json"]
)
def test_a_missing_file_is_named(folder, tmp_path, name):
    (_copy(folder, tmp_path) / name).unlink()
    with pytest.raises(ModelError, match=f"no {name.replace('.', '[.]')}"):
        ModelFiles.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", "{", "not JSON"),
        ("config.json", "[]", "an object is expected"),
        ("generation_config.json", "{", "not JSON"),
    ],
)
def test_a_broken_file_is_named(folder, tmp_path, name, content, sentence):
    (_copy(folder, tmp_path) / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=f"{name.replace('.', '[.]')}: {sentence}"):
        ModelFiles.read(tmp_path)


def test_weights_that_were_cut_off_are_refused_before_the_runtime_maps_them(folder, tmp_path):
    weights = _copy(folder, tmp_path) / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"openvino_model.bin has [\d,]+ bytes; its graph needs"):
        ModelFiles.read(tmp_path)


def test_blocks_beyond_the_memory_are_refused(folder):
    with pytest.raises(ModelError, match=r"keys and values take 100,000\.\d GB; .* are free"):
        _model(folder, kv_bytes=10**14)


def _classifier() -> openvino.Model:
    pixels = op.parameter(openvino.PartialShape([-1, 32]), openvino.Type.f32)
    weights = op.constant(np.ones((32, 640), dtype=np.float32))
    classes = op.matmul(pixels, weights, False, False)
    return openvino.Model([op.result(classes)], [pixels], "classifier")


def _listener(graph: Path) -> openvino.Model:
    """A language model that reads one input more, as a decoder reads its encoder's."""
    model = openvino.Core().read_model(graph)
    heard = op.parameter(openvino.PartialShape([-1, -1]), openvino.Type.f32)
    heard.set_friendly_name("heard")
    heard.output(0).set_names({"heard"})
    [result] = model.get_results()
    logits = result.input_value(0)
    logits.set_names(set())
    total = op.reduce_sum(heard, op.constant(np.array([0, 1])), False)
    added = op.add(logits, total)
    added.output(0).set_names({"logits"})
    result.input(0).replace_source_output(added.output(0))
    model.add_parameters([heard])
    return model


def _replace_graph(folder: Path, model: openvino.Model) -> None:
    openvino.save_model(model, folder / "new.xml", compress_to_fp16=False)
    del model  # it has the old weights mapped
    (folder / "new.xml").replace(folder / "openvino_model.xml")
    (folder / "new.bin").replace(folder / "openvino_model.bin")


def test_a_graph_that_is_no_language_model_is_refused(folder, tmp_path):
    _replace_graph(_copy(folder, tmp_path), _classifier())
    with pytest.raises(ModelError, match="not a causal model that can be served"):
        _model(tmp_path)


def test_a_graph_that_needs_more_than_text_is_refused_by_the_inputs_name(folder, tmp_path):
    _copy(folder, tmp_path)
    _replace_graph(tmp_path, _listener(tmp_path / "openvino_model.xml"))
    with pytest.raises(ModelError, match="it also needs 'heard'"):
        _model(tmp_path)


def test_a_model_that_never_ends_a_turn_is_refused(folder, tmp_path):
    path = _copy(folder, tmp_path) / "config.json"
    config = json.loads(path.read_text())
    config.pop("eos_token_id", None)
    path.write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "generation_config.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="eos_token_id"):
        ModelFiles.read(tmp_path)


def test_a_generation_config_that_says_nothing_of_ends_leaves_them_to_the_config(folder, tmp_path):
    _copy(folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["eos_token_id"] = [2, 0]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": null}', encoding="utf-8")
    assert ModelFiles.read(tmp_path).end_ids == [2, 0]


def test_a_step_of_another_size_takes_the_copy_of_the_model_that_had_it_last(folder):
    model = Model(ModelFiles.read(folder), EngineSettings(model=str(folder), kv_bytes=10_000_000))
    first, second = model._graphs
    for count in (40, 1, 40, 1):
        sequence = Sequence("a", "t", "interactive", [9] * 41, 64)
        sequence.blocks = [0, 1]
        sequence.computed = 0 if count == 40 else 40
        model.forward(gather([Piece(sequence, count, True)]))
        assert model._graphs[0].tokens == count
    assert {first.tokens, second.tokens} == {1, 40}
