"""What clients send beside the API's own fields, and what each does here: betas, harmless fields.

Owns the table of every beta that the newest official package names or that Claude Code sends, and
of top-level fields that other ways to Claude put into a body. A beta has one of three effects:
what it turns on is always on; it changes this request; it does nothing, and is named in
`renga-ignored`. What a beta brings and renga lacks is refused where it is used, by its own field.
It reads no headers; that is `renga.http.versions`.

Source: `anthropic.types.AnthropicBetaParam`, 2.12; the headers of Claude Code 2.1.330.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from renga.errors import InvalidRequest

Effect = Literal["always on", "changes the request", "nothing"]
MOST_NAMED: Final = 10
LONGEST_NAME: Final = 100

INTERLEAVED: Final = "interleaved-thinking-2025-05-14"


class Beta(NamedTuple):
    """What naming a beta does here."""

    effect: Effect
    words: str


def _all(effect: Effect, words: str, *values: str) -> dict[str, Beta]:
    return dict.fromkeys(values, Beta(effect, words))


def _on(words: str, *values: str) -> dict[str, Beta]:
    return _all("always on", words, *values)


def _off(words: str, *values: str) -> dict[str, Beta]:
    return _all("nothing", words, *values)


BETAS: dict[str, Beta] = {
    **_all(
        "changes the request",
        "a thinking budget may be larger than `max_tokens`, which then bounds it",
        INTERLEAVED,
    ),
    **_all(
        "changes the request",
        "lists of files come in pages by `after_id` and `before_id`",
        "files-api-2025-04-14",
    ),
    **_on("Message Batches", "message-batches-2024-09-24"),
    **_on(
        "`context_management` and its edits",
        "context-management-2025-06-27",
        "compact-2026-01-12",
    ),
    **_on("`compaction`", "compact-2026-09-04"),
    **_on("`output_format`, strict tools", "structured-outputs-2025-11-13"),
    **_on("`output_config.effort`", "effort-2025-11-24"),
    **_on(
        "the computer's tools",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
    ),
    **_on(
        "`defer_loading`, tool search, `input_examples`; tools are called by the model alone",
        "advanced-tool-use-2025-11-20",
    ),
    **_on("a call's input is streamed as it comes", "fine-grained-tool-streaming-2025-05-14"),
    **_on(
        "`cache_control`, also of an hour",
        "prompt-caching-2024-07-31",
        "extended-cache-ttl-2025-04-11",
    ),
    **_on("`diagnostics`", "cache-diagnosis-2026-04-07"),
    **_on("`POST /v1/messages/count_tokens`", "token-counting-2024-11-01"),
    **_on("that stop reason", "model-context-window-exceeded-2025-08-26"),
    **_on("`max_tokens` up to 128,000", "output-128k-2025-02-19"),
    **_on("thinking is shown whole", "dev-full-thinking-2025-05-14"),
    **_on(
        "`clear_at` on system messages",
        "mid-conversation-system-clear-at-2026-08-21",
    ),
    **_on(
        "`output_config` on system messages",
        "mid-conversation-output-config-2026-07-01",
        "per-turn-control-2026-07-01",
    ),
    **_off("it says who asks", "claude-code-20250219"),
    **_off("the window is the model's", "context-1m-2025-08-07"),
    **_off("`max_tokens` is 128,000 at most", "output-300k-2026-03-24"),
    **_off("calls are written as the model learned it", "token-efficient-tools-2025-02-19"),
    **_off("no estimates are sent while thinking", "thinking-token-count-2026-05-13"),
    **_off("`display` is `summarized` or `omitted`", "thinking-display-updates-2026-08-18"),
    **_off("`block_binding` is refused by name", "thinking-binding-controls-2026-08-01"),
    **_off(
        "`tool_addition` and `tool_removal` blocks are refused by name",
        "mid-conversation-tool-changes-2026-07-01",
        "inline-tools-2026-09-15",
    ),
    **_off("`task_budget` is refused by name", "task-budgets-2026-03-13"),
    **_off("one speed; `fast` is refused by name", "fast-mode-2026-02-01"),
    **_off(
        "`mcp_servers` is refused by name",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "mcp-client-2026-09-15",
    ),
    **_off("the tool is refused by name", "code-execution-2025-05-22", "advisor-tool-2026-03-01"),
    **_off(
        "`fallbacks` and its token are refused by name",
        "server-side-fallback-2026-06-01",
        "server-side-fallback-2026-07-01",
        "fallback-credit-2026-06-01",
        "fallback-credit-2026-07-01",
    ),
    **_off("`thread` is refused by name", "message-threads-2026-08-12"),
    **_on("`document` blocks", "pdfs-2024-09-25"),
    **_off(
        "`user_profile_id` is refused by name, the header ignored",
        "user-profiles-2026-03-24",
        "user-profiles-2026-08-18",
        "user-profiles-2026-09-04",
        "user-profiles-billing-2026-10-01",
    ),
    **_off(
        "its endpoints are not part of this server",
        "admin-user-sign-out-2026-10-08",
        "agent-memory-2026-07-22",
        "analytics-usage-cost-2026-08-24",
        "ce-claude-code-managed-settings-2026-10-06",
        "ce-plugins-2026-09-01",
        "ce-user-management-2026-07-13",
        "dreaming-2026-04-21",
        "experimental-claude-tag-2026-10-21",
        "managed-agents-2026-04-01",
        "mcp-tunnels-2026-06-22",
        "skills-2025-10-02",
        "spend-limit-reads-2026-09-26",
        "telemetry-destinations-2026-08-11",
        "webhooks-2026-10-07",
    ),
}

# Top-level fields of a body that are no fields of the API here and do no harm: ignored and named.
HARMLESS_FIELDS: dict[str, str] = {
    "anthropic_version": "the version in a body, as other clouds have it; here it is a header",
    "anthropic_beta": "betas in a body, as other clouds have it; here they are a header",
    "betas": "an argument of the official packages, which make a header of it",
}


def ineffective(betas: Sequence[str]) -> list[str]:
    """Those of `betas` that have no effect, unknown ones among them."""
    return [beta for beta in betas if beta not in BETAS or BETAS[beta].effect == "nothing"]


def unknown(betas: Sequence[str]) -> list[str]:
    """Those of `betas` that nobody here has heard of."""
    return [beta for beta in betas if beta not in BETAS]


def refuse_unknown(betas: Sequence[str]) -> None:
    """A 400 in the API's words for a beta that is not known."""
    found = unknown(betas)
    if not found:
        return
    told = ", ".join(f"`{beta[:LONGEST_NAME]}`" for beta in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    raise InvalidRequest(
        f"anthropic-beta: Unexpected value(s) {told}{more} for the `anthropic-beta` header. "
        "This server is configured to refuse what it does not know; leave it out."
    )
