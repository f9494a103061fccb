"""Which families of checkpoints renga builds by itself, and what their `config.json` means.

Owns the table of families, one line each, and the reading of a configuration into a `Network`: all
the numbers that a graph depends on. A configuration that asks for what is not built here is refused
by name, before anything is read. Files, tensors and graphs are for others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from renga.errors import SetupError
from renga.models.rotation import Rotation, read_rotation

Config = Mapping[str, Any]
Activation = Literal["silu", "gelu_tanh"]

_FULL, _SLIDING = "full_attention", "sliding_attention"
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
# Beyond these a configuration is broken, and would take time and memory before a tensor is missed.
_MOST = {"num_hidden_layers": 1_000, "head_dim": 8_192}
_GGUF = "a GGUF of it may run: pip install 'renga[gguf]'"


@dataclass(frozen=True)
class Layer:
    """One layer: how many tokens back it looks, itself included (None: all), and how it turns."""

    window: int | None
    rotation: Rotation | None


@dataclass(frozen=True)
class Network:
    """All that a decoder's graph depends on beside its weights."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    layers: tuple[Layer, ...]
    eps: float
    tied: bool
    activation: Activation
    attention_scale: float
    norm_offset: float = 0.0
    """What is added to a stored norm gain: 1 where gains are stored as their distance from 1."""
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """What attention and feed-forward give is multiplied by this before it is added."""
    logit_divisor: float = 1.0
    logit_cap: float | None = None
    """Logits are kept within +-cap by `cap * tanh(logits / cap)`."""
    sandwich: bool = False
    """Whether attention and feed-forward are normed before and behind."""
    packed: bool = False
    """Whether q, k, v are stored as one matrix, and gate and up as another."""
    biased: bool = False
    """Whether q, k and v have biases in every checkpoint of the family."""


@dataclass(frozen=True)
class Family:
    """What all checkpoints of one architecture have in common.

    `defaults` are the values of fields that a `config.json` may leave out, as the family's own
    configuration class has them.
    """

    title: str
    such_as: str
    layer_types: Callable[[Config, int], list[str]]
    defaults: Config = field(default_factory=dict)
    packed: bool = False
    biased: bool = False
    gemma: bool = False
    sandwich: bool = False
    local_theta: str = ""
    """The field with the base of sliding layers, where it is theirs alone."""
    scaled: bool = False
    """Whether the configuration has factors for embeddings, attention, layers and logits."""
    unturned: bool = False
    """Whether some layers turn nothing: `no_rope_layers` has a 0 for each of them."""


def _never(_config: Config, layers: int) -> list[str]:
    return [_FULL] * layers


def _everywhere(config: Config, layers: int) -> list[str]:
    return [_SLIDING if config.get("sliding_window") else _FULL] * layers


def _above(config: Config, layers: int) -> list[str]:
    """Qwen's: from layer `max_window_layers` on, and only where `use_sliding_window` says so."""
    if not config.get("use_sliding_window") or not config.get("sliding_window"):
        return [_FULL] * layers
    first = _count(config, "max_window_layers") if "max_window_layers" in config else 28
    return config.get("layer_types") or [_SLIDING if n >= first else _FULL for n in range(layers)]


def _all_but_every(period: int) -> Callable[[Config, int], list[str]]:
    def types(config: Config, layers: int) -> list[str]:
        every = period
        if config.get("sliding_window_pattern") is not None:
            every = _count(config, "sliding_window_pattern")
        return config.get("layer_types") or [
            _SLIDING if (n + 1) % every else _FULL for n in range(layers)
        ]

    return types


_GEMMA: dict[str, Any] = {
    "head_dim": 256,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}
_GEMMA2: dict[str, Any] = {
    **_GEMMA,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
}
_GEMMA3: dict[str, Any] = {
    **_GEMMA2,
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
}
_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
_QWEN = {"max_position_embeddings": 32_768}
_SMOLLM3 = {"rope_theta": 2_000_000.0, "tie_word_embeddings": True}
_PHI3 = {"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4_096}

FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family("Llama", "Llama 2 and 3, SmolLM 2, TinyLlama", _never),
    "MistralForCausalLM": Family("Mistral", "Mistral 7B, Mistral Nemo", _everywhere),
    "Qwen2ForCausalLM": Family("Qwen 2", "Qwen 2 and 2.5", _above, _QWEN, biased=True),
    "Qwen3ForCausalLM": Family("Qwen 3", "Qwen 3", _above, {**_QWEN, "head_dim": 128}),
    "Phi3ForCausalLM": Family(
        "Phi 3", "Phi 3 and 3.5 mini, Phi 4, Phi 4 mini", _everywhere, _PHI3, packed=True
    ),
    "SmolLM3ForCausalLM": Family("SmolLM 3", "SmolLM 3", _never, _SMOLLM3, unturned=True),
    "GraniteForCausalLM": Family("Granite", "Granite 3, dense ones", _never, scaled=True),
    "GemmaForCausalLM": Family("Gemma", "Gemma 1.1", _never, _GEMMA, gemma=True),
    "Gemma2ForCausalLM": Family(
        "Gemma 2",
        "none that caps its attention, as the published ones do",
        _all_but_every(2),
        {**_GEMMA2, **_CAPS},
        gemma=True,
        sandwich=True,
    ),
    "Gemma3ForCausalLM": Family(
        "Gemma 3",
        "Gemma 3 270M and 1B",
        _all_but_every(6),
        _GEMMA3,
        gemma=True,
        sandwich=True,
        local_theta="rope_local_base_freq",
    ),
}
TEXT_PARTS = {
    "Gemma3ForConditionalGeneration": ("gemma3_text", "Gemma3ForCausalLM"),
    "Mistral3ForConditionalGeneration": ("mistral", "MistralForCausalLM"),
}
"""Models that also see: the part that reads and writes text, its `model_type` and architecture."""

_BY_TYPE = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "granite": "GraniteForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}


def text_config(config: Config, name: str) -> dict[str, Any]:
    """The configuration of the model's text alone, with the family's defaults filled in.

    Args:
        config: a `config.json`.
        name: the model's, for sentences.

    Raises:
        SetupError: the architecture is not one that renga builds.
    """
    architecture, found = _architecture(config), dict(config)
    if architecture in TEXT_PARTS:
        kind, architecture = TEXT_PARTS[architecture]
        inner = config.get("text_config")
        if not isinstance(inner, Mapping) or inner.get("model_type", kind) != kind:
            raise _unsupported(f"{config['architectures'][0]} with such a text_config", name)
        outer = {key: value for key, value in found.items() if not key.endswith("_config")}
        found = {**outer, **inner, "model_type": kind}
    if architecture not in FAMILIES:
        raise _unsupported(architecture, name)
    return {**FAMILIES[architecture].defaults, **found, "architectures": [architecture]}


def read_network(config: Config, name: str = "the model") -> Network:
    """What the graph of that configuration depends on.

    Raises:
        SetupError: the architecture, or something that its configuration asks for, is not built.
    """
    config = text_config(config, name)
    family = FAMILIES[config["architectures"][0]]
    _check_refused(config, family, name)
    heads = _count(config, "num_attention_heads")
    hidden = _count(config, "hidden_size")
    kv_heads = _count({"num_key_value_heads": heads, **_said(config)}, "num_key_value_heads")
    head_dim = _count({"head_dim": hidden // heads, **_said(config)}, "head_dim")
    if heads % kv_heads:
        raise _wrong(f"num_key_value_heads = {kv_heads}", f"a divisor of {heads} heads")
    return Network(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        inner=_count(config, "intermediate_size"),
        vocab=_count(config, "vocab_size"),
        layers=_layers(config, family, head_dim),
        eps=_number(config, "rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        activation=_activation(config, family),
        attention_scale=_attention_scale(config, family, head_dim),
        norm_offset=1.0 if family.gemma else 0.0,
        embedding_scale=_embedding_scale(config, family),
        residual_scale=_number(config, "residual_multiplier", 1.0) if family.scaled else 1.0,
        logit_divisor=_number(config, "logits_scaling", 1.0) if family.scaled else 1.0,
        logit_cap=_number(config, "final_logit_softcapping", 0.0) or None,
        sandwich=family.sandwich,
        packed=family.packed,
        biased=family.biased,
    )


def _architecture(config: Config) -> str:
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        return named[0]
    kind = config.get("model_type")
    return _BY_TYPE.get(kind, f"model_type {kind!r}") if isinstance(kind, str) else "of no name"


def _check_refused(config: Config, family: Family, name: str) -> None:
    """What a configuration may ask for that would be computed wrongly."""
    stored = config.get("quantization_config")
    if stored:
        method = stored.get("quant_method") if isinstance(stored, Mapping) else stored
        raise SetupError(
            f"{name} is stored quantized by {method!r}; accepted: weights as numbers of 16 or 32 "
            "bits",
            "take the repository that it was quantized from, or a GGUF: pip install 'renga[gguf]'",
        )
    if family.unturned and config.get("use_sliding_window"):
        raise _wrong("use_sliding_window = true", f"false: {family.title} sees all of its context")
    if config.get("use_bidirectional_attention"):
        raise _wrong("use_bidirectional_attention = true", "false: a model that writes text")
    if family.title == "Gemma 2" and config.get("attn_logit_softcapping"):
        raise SetupError(
            f"{name}: attn_logit_softcapping = {config['attn_logit_softcapping']}: {family.title} "
            "caps its attention, which paged attention cannot compute; answers would be wrong",
            _GGUF,
        )


def _attention_scale(config: Config, family: Family, head_dim: int) -> float:
    if family.scaled:
        return _number(config, "attention_multiplier", 1.0)
    scalar = _number(config, "query_pre_attn_scalar", float(head_dim)) if family.gemma else head_dim
    return float(scalar**-0.5)


def _embedding_scale(config: Config, family: Family) -> float:
    if family.scaled:
        return _number(config, "embedding_multiplier", 1.0)
    return math.sqrt(_count(config, "hidden_size")) if family.gemma else 1.0


def _layers(config: Config, family: Family, head_dim: int) -> tuple[Layer, ...]:
    count = _count(config, "num_hidden_layers")
    types = family.layer_types(config, count)
    if not isinstance(types, list) or len(types) != count:
        raise _wrong(f"layer_types = {types!r}", f"{count} types of layers")
    kinds: dict[str, Layer] = {}
    for kind in {str(kind) for kind in types}:
        if kind not in (_FULL, _SLIDING):
            raise _wrong(f"layer_types has {kind!r}", f"{_FULL}, {_SLIDING}")
        window = _count(config, "sliding_window") if kind == _SLIDING else None
        kinds[kind] = Layer(window, _rotation(config, family, head_dim, kind))
    turning = _turning(config, family, count)
    return tuple(
        kinds[kind] if turns else replace(kinds[kind], rotation=None)
        for kind, turns in zip(types, turning, strict=True)
    )


def _turning(config: Config, family: Family, count: int) -> list[bool]:
    """Which layers turn queries and keys."""
    if not family.unturned:
        return [True] * count
    found = config.get("no_rope_layers")
    if found is None:
        every = _count({"no_rope_layer_interval": 4, **_said(config)}, "no_rope_layer_interval")
        return [(number + 1) % every != 0 for number in range(count)]
    if not isinstance(found, list) or len(found) < count:
        raise _wrong(f"no_rope_layers = {found!r}", f"{count} times 0 or 1")
    return [bool(turns) for turns in found[:count]]


def _rotation(config: Config, family: Family, head_dim: int, kind: str) -> Rotation:
    if kind == _SLIDING and family.local_theta:
        theta = _number(config, family.local_theta, 10_000.0)
        nested = config.get("rope_parameters")
        if not (isinstance(nested, Mapping) and nested.get(_SLIDING)):
            # The older form: a base of their own, and no scaling.
            plain = {"max_position_embeddings": config.get("max_position_embeddings")}
            return read_rotation(plain, head_dim, layer_type=kind, theta=theta)
    return read_rotation(config, head_dim, layer_type=kind)


def _activation(config: Config, family: Family) -> Activation:
    named = config.get("hidden_act", "silu")
    if family.gemma:
        # Its first releases say `hidden_act` "gelu" and mean the tanh form, as all others do.
        named = config.get("hidden_activation") or "gelu_pytorch_tanh"
    found = _ACTIVATIONS.get(named) if isinstance(named, str) else None
    if found is None:
        raise _wrong(f"hidden_act = {named!r}", ", ".join(_ACTIVATIONS))
    return found


def _said(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.items() if value is not None}


def _count(config: Config, key: str) -> int:
    value, most = config.get(key), _MOST.get(key, 100_000_000)
    if type(value) is not int or not 1 <= value <= most:
        raise _wrong(f"{key} = {value!r}", f"a whole number from 1 to {most}")
    return value


def _number(config: Config, key: str, default: float) -> float:
    value = config.get(key)
    if value is None:
        return default
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise _wrong(f"{key} = {value!r}", "a number above 0")
    return float(value)


def _wrong(what: str, accepted: str) -> SetupError:
    return SetupError(
        f"config.json: {what}; accepted: {accepted}",
        "the checkpoint is not one that renga can build; " + _GGUF,
    )


def _unsupported(architecture: str, name: str) -> SetupError:
    known = ", ".join([*FAMILIES, *TEXT_PARTS])
    return SetupError(
        f"architecture {architecture} of {name} is not one that renga builds; supported: {known}",
        _GGUF,
    )
