"""A whole model folder with random weights, made on the spot: everything a real one has but sense.

The tokenizer is trained here, byte-level, with the control tokens of the shipped one's form.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from renga.engine.checkpoint import write_weights
from renga.engine.graph import convert, random_weights
from training import gguf_export

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TURN_END = SPECIAL.index("<|im_end|>")
# Tokens of their own that are text all the same, as models of today have them.
MARKS = (
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>", "<tools>", "</tools>"),
)

TEMPLATE = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] -}}
    {%- if not loop.last or add_generation_prompt %}{{ '<|im_end|>\\n' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Where is my order 1234?",
    "Please reset my password; I cannot log in since Monday. Thank you very much!",
    '{"name":"Ada","email":"ada@example.org","total":12.5,"paid":true,"items":["pen","ink"]}',
    "Überraschung: 3 Gänse flogen über Zürich. 東京は日本の首都です。 🦊🦆",
    "system user assistant haiku sonnet opus refund invoice shipping returns label category",
] * 20

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 256,
    "vocab_size": 640,
    "max_position_embeddings": 2_048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "eos_token_id": TURN_END,
}


def train_tokenizer(size: int = 640) -> Tokenizer:
    """A byte-level BPE tokenizer over CORPUS, in SmolLM's form."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(MARKS),
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKS])
    return tokenizer


def write_words(folder: Path, template: str = TEMPLATE) -> None:
    """The files that turn a conversation into tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(CONFIG["vocab_size"]).save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")


def write_gguf(folder: Path) -> Path:
    """The GGUF of a model folder, with the numbers that its graph computes with, in one below."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    file = folder / "gguf" / f"{folder.name}.gguf"
    file.parent.mkdir(exist_ok=True)
    gguf_export.write(config, gguf_export.weights_of(folder), gguf_export.Words.of(folder), file)
    return file


def write_model(folder: Path, *, seed: int = 0, template: str = TEMPLATE, **changes: Any) -> Path:
    """A model folder with random weights; `changes` go into its config.json. Returns `folder`."""
    write_words(folder, template)
    config = {**CONFIG, **changes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    generation = {"eos_token_id": [TURN_END], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    write_weights(folder / "model.safetensors", random_weights(config, seed=seed))
    convert(folder, folder)
    return folder
