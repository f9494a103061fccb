"""The tokenizer: byte-level BPE whose pre-tokenizer is the SmolLM form.

Owns how the vocabulary is learned and the three tokenizer files of a model folder. The numbers of the
special tokens are fixed: end of text 0, start of turn 1, end of turn 2.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.chat import END_OF_TEXT, MARKS, SPECIALS, TURN_END

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


FORMS = 4
"""In which a word comes: as it is, with a capital, behind a blank, and both."""

BLANK = "\u0120"
"""How byte-level BPE writes a blank."""

CONTRACTIONS = ("s", "t", "m", "d", "re", "ve", "ll")
"""What the pre-tokenizer cuts off together with an apostrophe."""

Merge = tuple[str, str]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def forms(piece: str) -> tuple[str, ...]:
    """A lower-case piece in all its forms, the longest first.

    First because the merge at a word's start must come before the same merge further on, as it does
    where the word is bare ("a" in " aaa").
    """
    return (BLANK + _capital(piece), BLANK + piece, _capital(piece), piece)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _trained(counted: Mapping[str, int], alphabet: Sequence[str], count: int) -> list[Merge]:
    """The first `count` merges that BPE learns from words, each with how often it stands."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + count, show_progress=False, initial_alphabet=list(alphabet)
    )
    tokenizer.train_from_iterator((f"{w} " * n for w, n in counted.items()), trainer)
    found = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(m) for m in found]


def _counted(texts: Iterable[str]) -> tuple[dict[str, int], dict[str, int]]:
    """How often each word stands in texts, without case, and each run of marks and white space."""
    words: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in texts:
        plain = re.sub("|".join(map(re.escape, SPECIALS)), "", text)
        words.update(word.lower() for word in re.findall("[A-Za-z][a-z]*", plain))
        marks.update(re.findall(r" ?[^\s\w]+|_+|\s+(?!\S)|\s+", plain))
    written: Counter[str] = Counter()
    for mark, count in marks.items():
        written[split.pre_tokenize_str(mark)[0][0]] += count
    return dict(words), dict(written)


def _merges(texts: Iterable[str], room: int) -> list[Merge]:
    """Merges that make at most `room` new tokens: for words in all their forms, then for marks."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words, marks = _counted(texts)
    merges = [(BLANK, letter) for a in letters for letter in (a, a.upper())]
    made = {a + b for a, b in merges}
    for first, second in _trained(words, letters, room // FORMS):
        if len(made) + FORMS > room * (1 - MARKS_SHARE):
            break
        merges += [(form, second) for form in forms(first)]
        made.update(forms(first + second))
    endings = [("'", ending) for ending in CONTRACTIONS if len(ending) == 1 or ending in made]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for merge in (*endings, *_trained(marks, alphabet, room)):
        if len(made) < room:
            merges.append(merge)
            made.add("".join(merge))
    return merges


MARKS_SHARE = 0.02
"""The part of the merges that punctuation and white space get."""


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of `size` entries in all, learned from `texts` (special tokens first).

    A word is cut at the same places in all its forms: "play", "Play", " play" and " Play" differ in
    their first piece alone, and a name as "PlayMusic" is the pieces of its words. So what a model
    learns of a word in one form can hold for the others (`kinship`).
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(texts, size - len(SPECIALS) - len(alphabet))
    tokens = dict.fromkeys((*SPECIALS, *alphabet, *(a + b for a, b in merges)))
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=merges))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    for text in SPECIALS:
        shown = text in MARKS
        token = AddedToken(text, special=not shown, normalized=False)
        (tokenizer.add_tokens if shown else tokenizer.add_special_tokens)([token])
    return tokenizer


def kinship(tokenizer: Tokenizer, size: int) -> tuple[list[int], list[int]]:
    """Of each of `size` tokens, the number of the one that has its letters bare, and its form.

    Forms are 0 bare, 1 capital, 2 behind a blank, 3 both; 4 is of a token that has no kin.
    """
    numbers = tokenizer.get_vocab()
    bases, kinds = list(range(size)), [0] * size
    for token, number in numbers.items():
        bare = token.removeprefix(BLANK)
        base = bare[:1].lower() + bare[1:]
        if token not in SPECIALS and base in numbers:
            bases[number] = numbers[base]
            kinds[number] = 2 * (bare != token) + (base != bare)
    kin = Counter(bases)
    return bases, [
        kind if kin[base] > 1 else ALONE for base, kind in zip(bases, kinds, strict=True)
    ]


ALONE = FORMS


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
