"""The tokenizer: byte-level BPE whose pre-tokenizer is the SmolLM form.

Owns how the vocabulary is learned and the three tokenizer files of a model folder. The numbers of the
special tokens are fixed: end of text 0, start of turn 1, end of turn 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.chat import END_OF_TEXT, SPECIALS, TURN_END

TEMPLATE = (
    "{% macro listed() %}{{ '<tools>' }}"
    "{% for tool in tools %}{{ '\\n' + tool['function'] | tojson(separators=(',', ':')) }}{% endfor %}"
    "{{ '\\n</tools>' }}{% endmacro %}"
    "{% if tools and (not messages or messages[0]['role'] != 'system') %}"
    "{{ '<|im_start|>system\\n' }}{{ listed() }}{{ '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{% set content = message['content'] or '' %}"
    "{% if message['role'] == 'tool' %}"
    "{{ '<|im_start|>user\\n' if loop.first or loop.previtem['role'] != 'tool' else '\\n' }}"
    "{{ '<tool_response>\\n' + content + '\\n</tool_response>' }}"
    "{{ '<|im_end|>\\n' if loop.last or loop.nextitem['role'] != 'tool' }}"
    "{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' and message['reasoning_content'] %}"
    "{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}"
    "{% endif %}"
    "{{ content }}"
    "{% if tools and loop.first and message['role'] == 'system' %}"
    "{{ '\\n\\n' if content }}{{ listed() }}"
    "{% endif %}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '\\n' if content or not loop.first }}"
    "{{ '<tool_call>\\n{\"name\":' + call['function']['name'] | tojson(separators=(',', ':')) }}"
    "{{ ',\"arguments\":' + call['function']['arguments'] | tojson(separators=(',', ':')) }}"
    "{{ '}\\n</tool_call>' }}"
    "{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{{ '<think>\\n' if enable_thinking }}"
    "{% endif %}"
)


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of `size` entries in all, learned from `texts` (special tokens first)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [AddedToken(text, special=True, normalized=False) for text in SPECIALS]
    plain = (re.sub("|".join(map(re.escape, SPECIALS)), "", text) for text in texts)
    tokenizer.train_from_iterator(
        plain,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=specials,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return tokenizer


def write(tokenizer: Tokenizer, folder: Path, window: int) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": window,
        "bos_token": None,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
