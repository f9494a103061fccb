"""What a model of another server can do, by what that server's list of models says of it.

Source: `ModelInfo` of the official `anthropic` package, 2.12. Where nothing is said, everything is
believed to be possible: the server refuses in its own words what is not.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from renga.backends.base import Capabilities
from renga.config import BackendConfig
from renga.errors import SetupError
from renga.types import MAX_OUTPUT_TOKENS, Effort

WINDOW: Final = 200_000  # tokens: of every Claude model; where neither side says another
THINKING: Final = ("adaptive", "enabled", "disabled")
UNTHINKING: Final[frozenset[str]] = frozenset({"disabled"})
EFFORTS: Final[frozenset[Effort]] = frozenset(get_args(Effort))

# What `has` and `lacks` may name -> the capabilities with it, and without.
ABILITIES: Final[Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]] = {
    **{
        name: ({name: True}, {name: False})
        for name in (
            "documents",
            "images",
            "pdfs",
            "prefill",
            "prompt_caching",
            "sampling",
            "stop_sequences",
            "structured_output",
            "tools",
        )
    },
    "thinking": (
        {"thinking": frozenset(THINKING), "efforts": EFFORTS},
        {"thinking": UNTHINKING, "efforts": frozenset()},
    ),
}


def check_abilities(config: BackendConfig) -> None:
    """Raise SetupError for an ability that is none, or that it is said to have and to lack."""
    where = f"backend '{config.name}'"
    for setting, names in (("has", config.has), ("lacks", config.lacks)):
        for name in names:
            if name not in ABILITIES:
                near = difflib.get_close_matches(name, ABILITIES, n=1)
                mend = f"did you mean '{near[0]}'?" if near else f"accepted: {', '.join(ABILITIES)}"
                raise SetupError(f"{where}: {setting} names {name!r}", mend)
    both = sorted({*config.has} & {*config.lacks})
    if both:
        raise SetupError(f"{where}: `has` and `lacks` both name '{both[0]}'", "leave one out")


def capabilities_of(said: Any, config: BackendConfig) -> Capabilities:
    """Capabilities by the body of `GET /v1/models/{id}`, or None where there is none.

    What is configured goes before what is said.
    """
    info = said if isinstance(said, dict) else {}
    told = info.get("capabilities")
    told = told if isinstance(told, dict) else {}
    thinking, effort = _branch(told, "thinking"), _branch(told, "effort")
    window = config.window or _count(info.get("max_input_tokens")) or WINDOW
    output = config.max_output or _count(info.get("max_tokens")) or MAX_OUTPUT_TOKENS
    own = info.get("renga")
    kinds = _branch(thinking, "types") if thinking else {}
    able = Capabilities(
        window=window,
        max_output=min(output, MAX_OUTPUT_TOKENS),
        structured_output=_can(told, "structured_outputs"),
        prompt_caching=own.get("prompt_caching", True) if isinstance(own, dict) else True,
        tools=True,
        thinking=frozenset(kind for kind in THINKING if _can(kinds, kind)) | UNTHINKING,
        efforts=frozenset(level for level in EFFORTS if _can(effort, level)),
        images=_can(told, "image_input"),
        documents=True,
        pdfs=_can(told, "pdf_input"),
    )
    for name in config.has:
        able = replace(able, **ABILITIES[name][0])
    for name in config.lacks:
        able = replace(able, **ABILITIES[name][1])
    return able


def _can(branch: dict[str, Any], name: str) -> bool:
    """A leaf `{"supported": bool}`; one that is not there says nothing against it."""
    leaf = branch.get(name)
    return leaf.get("supported") is not False if isinstance(leaf, dict) else True


def _branch(told: dict[str, Any], name: str) -> dict[str, Any]:
    branch = told.get(name)
    return branch if isinstance(branch, dict) else {}


def _count(value: Any) -> int:
    """A number of tokens; 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
