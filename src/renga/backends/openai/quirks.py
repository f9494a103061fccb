"""Where servers of OpenAI's chat API differ from each other: a row for each kind of server.

Owns what each takes, what it tells and how, and by which signs one is known. Everything else in
this package asks the row and never the name. What is not in a row is OpenAI's published form.

Sources: vLLM `entrypoints/openai` (0.11 and later), SGLang `entrypoints/openai`, llama.cpp
`tools/server/README.md`, Ollama `openai/openai.go` and `docs/openai.md`, OpenRouter's "API
reference", OpenAI's "Chat Completions"; each with its published types, and for llama.cpp and renga
the running server (`tests/backends/openai`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from renga.errors import SetupError

Form = Literal["json_schema", "json_object", "regex", "choice"]
_JSON: Final[frozenset[Form]] = frozenset({"json_schema", "json_object"})
_ALL: Final[frozenset[Form]] = _JSON | {"regex", "choice"}


@dataclass(frozen=True)
class Quirks:
    """A kind of server.

    Attributes:
        about: what it is, for the documentation.
        limit: the field that bounds the answer's tokens.
        top_k: whether it takes `top_k`.
        thinking: how it is told to think: by variables of the model's `template`, by
            `reasoning_effort`, by OpenRouter's `reasoning` object, or not at all.
        unthinking: the effort that asks for no thinking; "" where there is none.
        thought: the field of a message in which it reads earlier thinking; "" where it reads none.
        stop: `told` where it says which stop sequence ended the answer; else they are found here.
        forms: the forms of an answer that it can be held to.
        constrained: whose words it takes for regular expressions and choices.
        forced_calls: whether it can be made to call a tool.
        prefill: how it goes on from a begun answer: of itself, by vLLM's `flags`, or not at all.
        logprobs: whether it tells likelihoods of tokens.
        progress: how each piece of a stream tells the tokens so far: as `usage`, as llama.cpp's
            `timings`, or not at all; then an answer that is cut is counted by its pieces.
        closes: it ends connections behind an answer without saying so; each is used once.
        window: tokens of context where neither the server nor the configuration says.
        fixed: a pattern of models that think, draw tokens their own way and take no sampling.
        count: the route that counts a prompt's tokens; `estimate` where there is none.
        owner: what `owned_by` of its models says.
        host: the host of the service that it is.
    """

    about: str
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    top_k: bool = True
    thinking: Literal["template", "effort", "openrouter", "none"] = "template"
    unthinking: str = "none"
    thought: str = ""
    stop: Literal["told", "ours"] = "ours"
    forms: frozenset[Form] = _JSON
    constrained: Literal["", "vllm", "sglang", "llamacpp"] = ""
    forced_calls: bool = True
    prefill: Literal["", "itself", "flags"] = ""
    logprobs: bool = True
    progress: Literal["", "usage", "timings"] = ""
    count: Literal["estimate", "tokenize", "input_tokens"] = "estimate"
    closes: bool = False
    window: int = 32_768
    fixed: str = ""
    owner: tuple[str, ...] = ()
    host: str = ""


QUIRKS: Final[Mapping[str, Quirks]] = {
    "vllm": Quirks(
        "vLLM",
        thought="reasoning_content",
        stop="told",
        forms=_ALL,
        constrained="vllm",
        prefill="flags",
        progress="usage",
        count="tokenize",
        owner=("vllm",),
    ),
    "sglang": Quirks(
        "SGLang",
        thought="reasoning_content",
        stop="told",
        forms=_ALL,
        constrained="sglang",
        prefill="flags",
        progress="usage",
        owner=("sglang",),
    ),
    "llamacpp": Quirks(
        "llama-server of llama.cpp",
        thought="reasoning_content",
        forms=_JSON | {"choice"},
        constrained="llamacpp",
        prefill="itself",
        progress="timings",
        count="input_tokens",
        closes=True,
        owner=("llamacpp",),
    ),
    "ollama": Quirks(
        "Ollama",
        top_k=False,
        thinking="effort",
        thought="reasoning",
        forced_calls=False,
        prefill="itself",
        logprobs=False,
        window=4_096,  # its own default, beyond which it cuts prompts without a word
        owner=("library",),
    ),
    "openrouter": Quirks(
        "OpenRouter",
        thinking="openrouter",
        thought="reasoning",
        prefill="itself",
        host="openrouter.ai",
    ),
    "openai": Quirks(
        "OpenAI",
        limit="max_completion_tokens",
        top_k=False,
        thinking="effort",
        unthinking="",
        window=128_000,
        fixed=r"(?:o\d|gpt-(?:[5-9]|\d\d)).*",
        host="api.openai.com",
    ),
    "renga": Quirks(
        "another renga",
        thinking="effort",
        prefill="itself",
        progress="usage",
        count="input_tokens",
        owner=("renga",),
    ),
    "generic": Quirks(
        "any other; nothing beyond OpenAI's published form is asked of it",
        top_k=False,
        thinking="none",
        logprobs=False,
    ),
}

AUTO: Final = "auto"

ABILITIES: Final = (
    "documents",
    "images",
    "logprobs",
    "prefill",
    "structured_output",
    "thinking",
    "tools",
)
"""What `has` and `lacks` of a backend's settings may name."""


def check_settings(quirks: str, has: Iterable[str], lacks: Iterable[str], where: str) -> None:
    """Raise SetupError for a word that is in no table here. `where` names the backend."""
    if quirks != AUTO and quirks not in QUIRKS:
        raise SetupError(f"{where}: quirks = {quirks!r}", _accepted(quirks, (AUTO, *QUIRKS)))
    for setting, names in (("has", has), ("lacks", lacks)):
        for name in names:
            if name not in ABILITIES:
                raise SetupError(f"{where}: {setting} names {name!r}", _accepted(name, ABILITIES))
    both = sorted(set(has) & set(lacks))
    if both:
        raise SetupError(f"{where}: `has` and `lacks` both name '{both[0]}'", "leave one out")


def _accepted(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names := tuple(names), n=1)
    return f"did you mean '{near[0]}'?" if near else "accepted: " + ", ".join(names)


def known_by(urls: Iterable[str], models: Any) -> str | None:
    """Which server this is, by its addresses and what its `/models` says; None where no sign does.

    `models` is the decoded answer, of whatever form, or None where there is none.
    """
    hosts = {urlsplit(url).hostname for url in urls}
    for name, row in QUIRKS.items():
        if row.host and row.host in hosts:
            return name
    owners = {str(entry.get("owned_by")) for entry in entries(models)}
    if any("renga" in entry for entry in entries(models)):
        return "renga"  # its own list of models, which callers without a key are shown
    return next((name for name, row in QUIRKS.items() if owners.intersection(row.owner)), None)


def entries(models: Any) -> list[dict[str, Any]]:
    """The models that an answer of `/models` lists; none where it has another form."""
    data = models.get("data") if isinstance(models, dict) else None
    return [entry for entry in data or () if isinstance(entry, dict)]


def entry_of(models: Any, model: str) -> dict[str, Any]:
    """What an answer of `/models` says of `model`; where it lists one only, that is the one."""
    listed = entries(models)
    found = next((entry for entry in listed if entry.get("id") == model), None)
    return found or (listed[0] if len(listed) == 1 else {})


# Where a server writes how long its context is: beside the model, or in a table there.
_WINDOWS: Final = (
    ("max_model_len",),  # vLLM, SGLang
    ("meta", "n_ctx"),  # llama.cpp: of a slot
    ("context_window",),  # renga, in its two lists
    ("max_input_tokens",),
    ("context_length",),  # OpenRouter
    ("meta", "n_ctx_train"),
)


def window_of(entry: Mapping[str, Any]) -> int | None:
    """The model's context in tokens, as the server tells it."""
    for path in _WINDOWS:
        value: Any = entry
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if type(value) is int and value > 0:
            return value
    return None


def sees(entry: Mapping[str, Any]) -> bool:
    """Whether the server says that the model takes images."""
    told = entry.get("architecture")  # OpenRouter
    inputs = told.get("input_modalities") if isinstance(told, dict) else None
    able = entry.get("capabilities")  # llama.cpp
    return "image" in (inputs or ()) or (isinstance(able, list) and "multimodal" in able)
