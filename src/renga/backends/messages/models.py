"""What a model of another server can do, by what that server's list of models says of it.

Source: `ModelInfo` of the official `anthropic` package, 2.12. Where nothing is said, everything is
believed to be possible: the server refuses in its own words what is not.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from renga.backends.base import Capabilities
from renga.config import BackendConfig
from renga.types import MAX_OUTPUT_TOKENS, Effort

WINDOW: Final = 200_000  # tokens: of every Claude model; where neither side says another
THINKING: Final = ("adaptive", "enabled", "disabled")


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
    return Capabilities(
        window=window,
        max_output=min(output, MAX_OUTPUT_TOKENS),
        structured_output=_can(told, "structured_outputs"),
        prompt_caching=own.get("prompt_caching", True) if isinstance(own, dict) else True,
        tools=True,
        thinking=frozenset(kind for kind in THINKING if _can(kinds, kind)) | {"disabled"},
        efforts=frozenset(level for level in get_args(Effort) if _can(effort, level)),
        images=_can(told, "image_input"),
        documents=True,
    )


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
