"""What configurations mean, in the forms of real repositories, against transformers' reading."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from renga.errors import SetupError
from renga.models.families import FAMILIES, Layer, read_network
from renga.models.rotation import KINDS, Rotation, read_rotation

pytestmark = pytest.mark.timeout(240)

# As these models' repositories have them, in the form of their time; what no graph depends on is
# left out.
REAL: dict[str, dict[str, Any]] = {
    "Llama 3.2 1B": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "vocab_size": 128256,
    },
    "Qwen 2.5 0.5B": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Qwen 3 with YaRN": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
        },
        "rope_theta": 1000000,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Mistral 7B": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "vocab_size": 32000,
    },
    "Phi 3 mini 4k": {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": 2047,
        "vocab_size": 32064,
    },
    "Phi 4 mini": {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "num_attention_heads": 24,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "original_max_position_embeddings": 4096,
        "partial_rotary_factor": 0.75,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "long_factor": [1.0 + n for n in range(48)],
            "short_factor": [1.0] * 48,
            "type": "longrope",
        },
        "rope_theta": 10000.0,
        "sliding_window": 262144,
        "tie_word_embeddings": True,
        "vocab_size": 200064,
    },
    "Gemma 2B": {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "head_dim": 256,
        "hidden_act": "gelu",
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "max_position_embeddings": 8192,
        "num_attention_heads": 8,
        "num_hidden_layers": 18,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "vocab_size": 256000,
    },
    "Gemma 3 1B": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "max_position_embeddings": 32768,
        "num_attention_heads": 4,
        "num_hidden_layers": 26,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "vocab_size": 262144,
    },
    "Gemma 3 4B's text": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
}


@pytest.mark.parametrize("name", REAL)
def test_both_forms_of_a_configuration_mean_the_same(name: str) -> None:
    older = REAL[name]
    given = {key: value for key, value in older.items() if key != "architectures"}
    newer = AutoConfig.for_model(**given).to_dict()
    assert "rope_parameters" in newer
    assert "rope_theta" not in newer
    network = read_network(older)
    assert network == read_network({**newer, "architectures": older["architectures"]})
    assert len(network.layers) == newer["num_hidden_layers"]


def test_layers_that_slide_are_told_from_those_that_see_all() -> None:
    gemma = read_network(REAL["Gemma 3 1B"])
    windows = [layer.window for layer in gemma.layers]
    assert windows == ([512] * 5 + [None]) * 4 + [512] * 2
    near, far = gemma.layers[0].rotation, gemma.layers[5].rotation
    assert near is not None
    assert far is not None
    assert near.frequencies[-1] > 10 * far.frequencies[-1]
    assert {layer.window for layer in read_network(REAL["Qwen 2.5 0.5B"]).layers} == {None}
    assert {layer.window for layer in read_network(REAL["Mistral 7B"]).layers} == {4096}


def test_a_model_that_also_sees_is_read_by_its_text() -> None:
    text = {k: v for k, v in REAL["Gemma 3 4B's text"].items() if k != "architectures"}
    outer = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text,
        "vision_config": {"hidden_size": 1152},
    }
    assert read_network(outer) == read_network(REAL["Gemma 3 4B's text"])
    with pytest.raises(SetupError, match="Gemma3ForConditionalGeneration with such a text_config"):
        read_network({**outer, "text_config": {"model_type": "llama"}})


def test_a_configuration_without_architectures_is_known_by_its_type() -> None:
    for name, family in REAL.items():
        bare = {key: value for key, value in family.items() if key != "architectures"}
        assert read_network(bare) == read_network(family), name
    with pytest.raises(SetupError, match="architecture model_type 'gpt2' of the model is not one"):
        read_network({"model_type": "gpt2"})
    with pytest.raises(SetupError, match="architecture of no name"):
        read_network({})


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_configuration_is_refused_and_never_a_trace(family: str) -> None:
    with pytest.raises(SetupError, match=r"config\.json: .* = None; accepted"):
        read_network({"architectures": [family], "attn_logit_softcapping": None})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**12) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
_KEYS = sorted(
    {key for config in REAL.values() for key in config}
    | {"no_rope_layers", "no_rope_layer_interval", "layer_types", "rope_parameters"}
    | {"text_config", "quantization_config", "attention_multiplier", "residual_multiplier"}
    | {"embedding_multiplier", "logits_scaling", "attn_logit_softcapping", "hidden_activation"}
)
_ROPE_KEYS = ["type", "rope_type", "factor", "rope_theta", "low_freq_factor", "beta_fast", "mscale"]
_ROPE_KEYS += ["original_max_position_embeddings", "short_factor", "truncate", "full_attention"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(REAL)),
    st.sampled_from([*sorted(FAMILIES), "Gemma3ForConditionalGeneration", ""]),
    st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=2),
    st.none() | st.dictionaries(st.sampled_from(_ROPE_KEYS), _JSON),
    st.sampled_from(["default", *KINDS]),
)
def test_whatever_a_configuration_says_it_is_read_or_refused_in_a_sentence(
    name: str, architecture: str, changes: dict[str, Any], rope: dict[str, Any] | None, kind: str
) -> None:
    config = {**REAL[name], **changes}
    if architecture:
        config["architectures"] = [architecture]
    if rope is not None:
        config["rope_scaling"] = {"rope_type": kind, **rope}
    for layer in _layers(config):
        turned = layer.rotation
        assert turned is None or all(math.isfinite(f) for f in turned.frequencies)
        assert turned is None or math.isfinite(turned.gain)


def _layers(config: dict[str, Any]) -> tuple[Layer, ...]:
    """What was read of its layers; none where it was refused."""
    try:
        return read_network(config).layers
    except SetupError:
        return ()


_FACTORS = st.floats(1.0, 64.0)


@st.composite
def rope_parameters(draw: st.DrawFn) -> tuple[dict[str, Any], int, int]:
    """A scaling with the head's size and the longest context."""
    kind = draw(st.sampled_from(["linear", "llama3", "yarn", "longrope"]))
    width = 2 * draw(st.integers(2, 64))
    original = draw(st.integers(64, 8192))
    found: dict[str, Any] = {
        "rope_type": kind,
        "rope_theta": draw(st.floats(100.0, 1e6)),
        "factor": draw(_FACTORS),
        "original_max_position_embeddings": original,
    }
    if kind == "llama3":
        low = draw(st.floats(0.5, 4.0))
        found |= {"low_freq_factor": low, "high_freq_factor": low + draw(st.floats(0.5, 4.0))}
    if kind == "yarn":
        found |= draw(st.sampled_from([{}, {"beta_fast": 16, "beta_slow": 2}, {"truncate": False}]))
        found |= draw(
            st.sampled_from([{}, {"attention_factor": 1.5}, {"mscale": 0.7, "mscale_all_dim": 1.0}])
        )
    if kind == "longrope":
        found["short_factor"] = [draw(_FACTORS) for _ in range(width // 2)]
        found["long_factor"] = [draw(_FACTORS) for _ in range(width // 2)]
    return found, width, original * draw(st.integers(1, 16))


@settings(max_examples=60, deadline=None)
@given(rope_parameters())
def test_scaled_frequencies_are_those_of_transformers(drawn: Any) -> None:
    given_, width, longest = drawn
    config = AutoConfig.for_model(
        "llama",
        head_dim=width,
        hidden_size=2 * width,
        num_attention_heads=2,
        max_position_embeddings=longest,
        rope_parameters=dict(given_),
    )
    kind = given_["rope_type"]
    raw = {"rope_parameters": given_, "max_position_embeddings": longest}
    found = read_rotation(raw, width, layer_type="full_attention")
    expected, gain = ROPE_INIT_FUNCTIONS[kind](config, None)
    _same(found.frequencies, expected)
    assert found.gain == pytest.approx(gain)
    assert (found.far is None) == (kind != "longrope")
    if found.far is not None:
        beyond = found.beyond or 0
        assert beyond == given_["original_max_position_embeddings"]
        _same(found.far, ROPE_INIT_FUNCTIONS[kind](config, None, seq_len=beyond + 1)[0])


def _same(found: tuple[float, ...], expected: torch.Tensor) -> None:
    assert torch.allclose(torch.tensor(found), expected, rtol=2e-5, atol=0)


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "rope type 'dynamic'; accepted: default, linear"),
        ({"rope_type": "linear", "factor": "2"}, "factor = '2'; accepted: a number above 0"),
        ({"rope_type": "longrope", "short_factor": [1.0]}, "short_factor .*; accepted: 16 numbers"),
        ({"rope_theta": 0.5}, "rope_theta = 0.5; accepted: a number above 1"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor = 1.5"),
        ({"partial_rotary_factor": 0.1}, "heads of 32 values, of which 3 turn"),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 4.0,
                "high_freq_factor": 4.0,
            },
            "high_freq_factor = 4.0; accepted: more than",
        ),
    ],
)
def test_rotations_that_make_no_sense_are_refused(given_: dict[str, Any], sentence: str) -> None:
    config = {"rope_parameters": given_, "max_position_embeddings": 2048}
    with pytest.raises(SetupError, match=sentence):
        read_rotation(config, 32, layer_type="full_attention")


def test_a_plain_rotation_turns_the_first_pair_once_a_position() -> None:
    found = read_rotation({}, 4, layer_type="full_attention", theta=100.0)
    assert found == Rotation(frequencies=(1.0, 0.1))
