"""Every family that renga builds, against transformers on checkpoints that transformers wrote.

The plain graph gives its logits; the engine, paged, in chunks and for several at once, its greedy
text. A greedy text is checked in one pass: where each of its tokens is the likeliest behind those
before it, it is the greedy text, by induction.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3ForConditionalGeneration

from renga.engine.blocks import BLOCK_SIZE
from renga.engine.checkpoint import CheckpointError, read_config, read_weights, write_weights
from renga.engine.graph import build, convert, random_weights
from renga.engine.memory import token_bytes
from renga.engine.messages import Submit
from renga.errors import SetupError
from tests.checkpoints import FAMILIES, make_checkpoint, make_model
from tests.engine.harness import Workbench, run
from tests.engine.test_graph import Stateful
from tests.tiny_model import CONFIG

pytestmark = pytest.mark.timeout(300)

TOKENS = 64
# What float32 sums in another order differ by, beside the largest logit.
ROUNDING = 2e-4


@dataclass
class Made:
    """A checkpoint with the model that transformers reads from it."""

    folder: Path
    reference: Any

    def logits(self, ids: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = self.reference(torch.from_numpy(ids)).logits.numpy()
        return found


@pytest.fixture(scope="module", params=FAMILIES)
def made(request, tmp_path_factory) -> Made:
    folder = make_checkpoint(request.param, tmp_path_factory.mktemp("family") / request.param)
    return Made(folder, load(folder))


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def in_two_calls(model: ov.Model, ids: np.ndarray, first: int) -> np.ndarray:
    """The plain graph's logits, with its state carried from one call to the next."""
    graph, count = Stateful(model), ids.shape[1]
    places = np.tile(np.arange(count), (len(ids), 1))
    mask = np.ones_like(ids)
    head = graph.run(ids[:, :first], mask[:, :first], places[:, :first])
    return np.concatenate([head, graph.run(ids[:, first:], mask, places[:, first:])], axis=1)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() < ROUNDING * np.abs(expected).max()


def ids_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(3, 640, shape)


@pytest.mark.parametrize(("length", "first"), [(60, 25), (150, 110)])
def test_logits_are_those_of_transformers(made: Made, length: int, first: int) -> None:
    graph = build(read_config(made.folder), read_weights(made.folder), weight_bits=None)
    ids = ids_of(2, length)
    assert_close(in_two_calls(graph, ids, first), made.logits(ids))


def assert_greedy(made: Made, bench: Workbench, lengths: tuple[int, ...]) -> None:
    """That the engine's texts, all at once and in chunks, are the reference's greedy ones."""
    engine = bench.engine(max_running=len(lengths), step_tokens=32)
    prompts = {str(n): [int(i) for i in ids_of(1, n)[0]] for n in lengths}
    found = run(
        engine,
        [
            Submit(id=id, salt=id, prompt=prompt, max_tokens=TOKENS, temperature=0.0)
            for id, prompt in prompts.items()
        ],
    )
    for id, prompt in prompts.items():
        answer = found[id].tokens
        assert len(answer) == TOKENS
        logits = made.logits(np.array([prompt + answer]))[0, len(prompt) - 1 : -1]
        assert answer == logits.argmax(axis=1).tolist()


def workbench(made: Made, out: Path, **fields: Any) -> Workbench:
    convert(made.folder, out, weight_bits=None)
    return Workbench(out, precision="exact", draft_tokens=0, kv_bytes=20_000_000, **fields)


def test_greedy_text_of_the_engine_is_that_of_transformers(made: Made, tmp_path: Path) -> None:
    bench = workbench(made, tmp_path)
    config = read_config(tmp_path)
    # LongRoPE turns all of a window alike: what is shorter than the near part is tested below.
    lengths = (97, 120, 150) if made.folder.name == "phi4-mini" else (7, 70, 150)
    assert_greedy(made, bench, lengths)
    token = token_bytes(config, "f32")
    assert token is not None
    assert bench.model.kv_bytes == bench.model.blocks * BLOCK_SIZE * token


def test_longrope_turns_by_its_near_factors_in_a_window_that_ends_with_them(
    tmp_path: Path,
) -> None:
    folder = make_checkpoint("phi4-mini", tmp_path / "phi4-mini")
    found = Made(folder, load(folder))
    assert_greedy(found, workbench(found, tmp_path / "ir", window=96), (3, 17, 32))


def test_every_part_runs_in_the_runtimes_own_kernels(made: Made, tmp_path: Path) -> None:
    convert(made.folder, tmp_path)
    bench = Workbench(tmp_path, draft_tokens=0, kv_bytes=2_000_000)
    config = read_config(tmp_path)
    layers = config["num_hidden_layers"]
    nodes = bench.model._graphs[0]._request.get_compiled_model().get_runtime_model().get_ops()
    kinds = Counter(node.get_rt_info()["layerType"].astype(str) for node in nodes)
    norms = {"gemma2": 4, "qwen3": 4, "gemma3_text": 6}.get(config["model_type"], 2)
    products = 4 if config["model_type"] == "phi3" else 5  # phi stores gate and up as one
    assert kinds["PagedAttention"] == layers
    assert kinds["RoPE"] == 2 * sum(config.get("no_rope_layers") or [1] * layers)
    assert kinds["RMS"] == norms * layers + 1
    assert kinds["FullyConnected"] == products * layers + 1
    assert not kinds.keys() & {"Transpose", "StridedSlice", "SoftMax", "Broadcast", "Select"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("weights", [None, "stored"])
def test_shards_of_16_bits_are_read_as_they_are(tmp_path: Path, dtype: str, weights: Any) -> None:
    folder = make_checkpoint("qwen2", tmp_path / "qwen2", dtype=dtype, shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    graph = build(read_config(folder), read_weights(folder), weight_bits=weights)
    if weights == "stored":
        constants = [n for n in graph.get_ops() if n.get_type_name() == "Constant"]
        halves = {"float16": ov.Type.f16, "bfloat16": ov.Type.bf16}[dtype]
        assert sum(n.get_element_type() == halves for n in constants) == 1 + 5 * 2
    ids = ids_of(1, 40)
    found = in_two_calls(graph, ids, 20)
    assert_close(found, Made(folder, load(folder)).logits(ids))


def test_the_text_of_a_model_that_also_sees_is_built_from_its_part(tmp_path: Path) -> None:
    text = {key: value for key, value in FAMILIES["gemma3"].items() if key != "layer_types"}
    text |= {"sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision)
    config.mm_tokens_per_image = 4
    torch.manual_seed(1)
    model = Gemma3ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    graph = build(read_config(tmp_path), read_weights(tmp_path), weight_bits=None)
    ids = ids_of(1, 40)
    assert_close(in_two_calls(graph, ids, 20), Made(tmp_path, model).logits(ids))


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Any family, in any shape within small bounds."""
    config = dict(FAMILIES[draw(st.sampled_from(sorted(FAMILIES)))])
    kv_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    layers = draw(st.integers(1, 3))
    config |= {
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * groups,
        "num_hidden_layers": layers,
        "intermediate_size": draw(st.integers(1, 80)),
        "vocab_size": draw(st.integers(8, 90)),
        "tie_word_embeddings": draw(st.booleans()),
        "sliding_window": draw(st.none() | st.integers(1, 90)),
        "attention_bias": draw(st.booleans()),
        "hidden_size": kv_heads * groups * 16 * draw(st.integers(1, 2)),
    }
    if "head_dim" in config:
        config["head_dim"] = 2 * draw(st.integers(1, 20))
    else:
        config["hidden_size"] = kv_heads * groups * 32
    if "layer_types" in config:
        config["layer_types"] = (["sliding_attention", "full_attention"] * 2)[:layers]
    if "no_rope_layers" in config:
        config["no_rope_layers"] = ([1, 0] * 2)[:layers]
    if config["model_type"] in ("gemma2", "gemma3_text"):
        config["sliding_window"] = config["sliding_window"] or 8
    return config


@settings(max_examples=30, deadline=None)
@given(configs())
def test_any_configuration_of_a_family_builds_and_uses_every_weight(config: dict[str, Any]) -> None:
    if config.get("rope_parameters", {}).get("rope_type") == "longrope":
        config = {**config, "rope_parameters": FAMILIES["phi4-mini"]["rope_parameters"]}
    kind = AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(kind)
    tied = config["tie_word_embeddings"]
    weights = {
        name: np.ones(tuple(value.shape), np.float32)
        for name, value in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    architecture = {"architectures": [type(model).__name__]}
    graph = build({**kind.to_dict(), **architecture}, weights, weight_bits=None)
    assert graph.output("logits").get_partial_shape()[-1].get_length() == config["vocab_size"]


def test_a_tensor_that_no_part_of_the_graph_reads_is_named() -> None:
    weights = random_weights(CONFIG)
    weights["model.layers.0.self_attn.q_proj.lora_A.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(CheckpointError, match=r"tensor 'model\.layers\.0\.self_attn\.q_proj\.lor"):
        build(CONFIG, weights)
    with pytest.raises(CheckpointError, match=r"no tensor 'model\.layers\.0\.self_attn\.q_proj\.b"):
        build({**CONFIG, "architectures": ["Qwen2ForCausalLM"]}, random_weights(CONFIG))


def test_gemma_2_with_its_cap_on_attention_is_refused_by_name(tmp_path: Path) -> None:
    capped = {**FAMILIES["gemma2"], "attn_logit_softcapping": 50.0}
    make_model(capped).save_pretrained(tmp_path)
    with pytest.raises(SetupError, match="Gemma 2 caps its attention"):
        convert(tmp_path, tmp_path / "ir")
    assert not (tmp_path / "ir").exists()


def test_a_conversion_holds_the_weights_once_as_int8_and_little_beside(tmp_path: Path) -> None:
    config = {**CONFIG, "vocab_size": 60_000, "hidden_size": 256, "intermediate_size": 8_192}
    weights = random_weights(config)
    size = sum(value.size for value in weights.values())
    assert size > 25_000_000
    write_weights(tmp_path / "model.safetensors", weights)
    del weights
    tracemalloc.start()
    try:
        model = build(config, read_weights(tmp_path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del model
    assert peak < size * 1.1 + 24_000_000


def test_keys_and_values_take_what_was_said_however_they_are_stored(tmp_path: Path) -> None:
    folder = make_checkpoint("gemma3", tmp_path / "gemma3")
    convert(folder, tmp_path / "ir")
    for stored in ("u8", "f32"):
        bench = Workbench(tmp_path / "ir", kv_precision=stored, kv_bytes=4_000_000)
        token = token_bytes(read_config(tmp_path / "ir"), stored)
        assert token is not None
        assert bench.model.kv_bytes == bench.model.blocks * BLOCK_SIZE * token
