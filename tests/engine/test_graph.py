"""The graph we write against transformers' own Llama on the same random checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from renga.engine.checkpoint import CheckpointError, read_config, read_weights, write_weights
from renga.engine.graph import build, convert, random_weights
from renga.errors import SetupError
from tests.tiny_model import CONFIG

GROUPED = {**CONFIG, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
UNTIED = {**CONFIG, "tie_word_embeddings": False, "rope_theta": 500_000.0}
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def _reference(config: dict[str, Any], weights: dict[str, np.ndarray], **extra: Any) -> Any:
    names = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
    model = LlamaForCausalLM(LlamaConfig(**names, **extra)).eval()
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    return model


class Stateful:
    """The compiled graph, fed as exported models are."""

    def __init__(self, model: ov.Model, properties: dict[str, str] | None = None) -> None:
        compiled = ov.Core().compile_model(
            model, "CPU", EXACT if properties is None else properties
        )
        self.request = compiled.create_infer_request()

    def run(self, ids: np.ndarray, mask: np.ndarray, positions: np.ndarray) -> np.ndarray:
        beams = np.arange(len(ids), dtype=np.int32)
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "beam_idx": beams,
        }
        return np.array(self.request.infer(inputs)["logits"])


@pytest.mark.parametrize("config", [CONFIG, GROUPED, UNTIED], ids=["plain", "grouped", "untied"])
def test_logits_equal_those_of_transformers_also_over_two_calls(config):
    weights = random_weights(config, seed=1)
    ids = np.random.default_rng(0).integers(0, config["vocab_size"], (2, 50))
    with torch.no_grad():
        expected = _reference(config, weights)(torch.from_numpy(ids)).logits.numpy()
    graph = Stateful(build(config, weights, weight_bits=None))
    places = np.tile(np.arange(50), (2, 1))
    first = graph.run(ids[:, :30], np.ones((2, 30), np.int64), places[:, :30])
    second = graph.run(ids[:, 30:], np.ones((2, 50), np.int64), places[:, 30:])
    got = np.concatenate([first, second], axis=1)
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()


def test_heads_are_normed_where_the_checkpoint_has_such_norms():
    weights = random_weights(GROUPED, seed=6)
    random = np.random.default_rng(7)
    for layer in range(GROUPED["num_hidden_layers"]):
        for name in ("q_norm", "k_norm"):
            gain = random.uniform(0.5, 2, GROUPED["head_dim"])
            weights[f"model.layers.{layer}.self_attn.{name}.weight"] = gain.astype(np.float32)
    names = {k: v for k, v in GROUPED.items() if k not in ("architectures", "model_type")}
    reference = Qwen3ForCausalLM(Qwen3Config(**names, attention_bias=False)).eval()
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    assert not reference.load_state_dict(state, strict=False).unexpected_keys
    ids = random.integers(0, 600, (1, 40))
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids)).logits.numpy()
    graph = Stateful(build(GROUPED, weights, weight_bits=None))
    got = graph.run(ids, np.ones((1, 40), np.int64), np.arange(40)[None])
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()


def test_padding_on_the_left_changes_nothing():
    weights = random_weights(GROUPED, seed=2)
    ids = np.random.default_rng(1).integers(5, 600, (2, 20))
    mask = np.ones((2, 20), np.int64)
    mask[1, :7] = 0
    places = np.maximum(mask.cumsum(axis=1) - 1, 0)
    graph = Stateful(build(GROUPED, weights, weight_bits=None))
    padded = graph.run(ids, mask, places)[1, 7:]
    alone = Stateful(build(GROUPED, weights, weight_bits=None))
    expected = alone.run(ids[1:, 7:], np.ones((1, 13), np.int64), np.arange(13)[None])[0]
    assert np.abs(padded - expected).max() < 2e-3 * np.abs(expected).max()


def test_biases_of_a_checkpoint_are_added():
    config = {**GROUPED, "attention_bias": True, "mlp_bias": True}
    weights = random_weights(config, seed=3)
    random = np.random.default_rng(4)
    for name, value in list(weights.items()):
        if "_proj." in name:
            bias = random.normal(0, 0.1, value.shape[0])
            weights[name.replace("weight", "bias")] = np.asarray(bias, dtype=np.float32)
    ids = random.integers(0, 600, (1, 20))
    with torch.no_grad():
        expected = _reference(config, weights)(torch.from_numpy(ids)).logits.numpy()
    graph = Stateful(build(config, weights, weight_bits=None))
    got = graph.run(ids, np.ones((1, 20), np.int64), np.arange(20)[None])
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()


def test_int8_computes_with_weights_rounded_to_127_steps_a_row():
    weights = random_weights(CONFIG, seed=5)
    rounded: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if value.ndim == 1:
            rounded[name] = value
            continue
        step = np.abs(value).max(axis=1, keepdims=True) / 127
        rounded[name] = np.asarray(np.rint(value / step) * step, dtype=np.float32)
    ids = np.random.default_rng(0).integers(0, 600, (1, 40))
    with torch.no_grad():
        expected = _reference(CONFIG, rounded)(torch.from_numpy(ids)).logits.numpy()
    properties = {**EXACT, "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    graph = Stateful(build(CONFIG, weights, weight_bits=8), properties)
    got = graph.run(ids, np.ones((1, 40), np.int64), np.arange(40)[None])
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()


def test_int8_takes_a_quarter_of_the_space(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    weights = random_weights(CONFIG)
    write_weights(tmp_path / "model.safetensors", weights)
    convert(tmp_path, tmp_path / "out")
    size = (tmp_path / "out" / "openvino_model.bin").stat().st_size
    assert size < 1.1 * sum(value.size for value in weights.values())
    assert (tmp_path / "out" / "config.json").exists()


def test_checkpoints_of_torch_are_read_in_every_float_type(tmp_path: Path):
    values = torch.randn(3, 5)
    for kind in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        file = tmp_path / "model.safetensors"
        safetensors.torch.save_file({"w": values.to(kind)}, file)
        assert (read_weights(tmp_path)["w"][:] == values.to(kind).float().numpy()).all()


def test_what_we_write_the_safetensors_library_reads(tmp_path: Path):
    weights = random_weights(CONFIG)
    write_weights(tmp_path / "model.safetensors", weights)
    read = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert read.keys() == weights.keys()
    assert all((read[name] == weights[name]).all() for name in weights)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rope_scaling": {"rope_type": "dynamic"}}, "rope type 'dynamic'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"vocab_size": 641}, "model.embed_tokens.weight.*641"),
        ({"num_hidden_layers": 9}, "no tensor 'model.layers.2"),
    ],
)
def test_what_cannot_be_honoured_is_an_error_that_names_it(change, sentence):
    with pytest.raises((CheckpointError, SetupError), match=sentence):
        build({**CONFIG, **change}, random_weights(CONFIG))


def test_unreadable_checkpoints_are_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"config\.json: No such file"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors file"):
        read_weights(tmp_path)
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="an object is expected"):
        read_config(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_weights(tmp_path)
