"""What is read when somebody looks at the metrics: engines, the database's queue, states.

Owns which of an engine's figures are shown, and under which names: those of vLLM in meaning, with
the lane and the backend as labels. It is given functions, and asks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from renga.watching.counting import Readings
from renga.watching.metrics import Metrics, one

Figures = Mapping[str, Callable[[], Mapping[str, float]]]
"""Backend -> what gives its figures, by the names of `renga.engine.messages.Stats`."""

# Figure -> the metric, and what it says. All of them only go up while an engine lives.
COUNTED = {
    "steps": ("renga_engine_steps", "Steps of the engine."),
    "preemptions": ("renga_engine_preemptions", "Sequences put out for want of KV blocks."),
    "prompt_tokens": (
        "renga_engine_prompt_tokens",
        "Tokens of prompts that were computed or read.",
    ),
    "reused_tokens": (
        "renga_engine_prompt_tokens_reused",
        "Of those, the ones read from KV blocks: the cache's hit share is this part of them.",
    ),
    "output_tokens": ("renga_engine_output_tokens", "Tokens produced."),
    "drafted_tokens": ("renga_engine_drafted_tokens", "Tokens guessed ahead."),
    "accepted_tokens": ("renga_engine_accepted_tokens", "Of those, the ones that were right."),
    "model_seconds": ("renga_engine_model_seconds", "Time inside the model."),
    "step_seconds": ("renga_engine_step_seconds", "Time in whole steps."),
}
BLOCKS = {
    "blocks": "all",
    "free_blocks": "free",
    "cached_blocks": "cached",
    "pinned_blocks": "pinned",
}


def watch_engines(metrics: Metrics, engines: Figures) -> None:
    """Queues, KV blocks and totals of each engine."""
    _watch_queues(metrics, engines)
    metrics.watch(
        "renga_engine_kv_blocks",
        "KV blocks: all there are; free ones, of which cached hold a prefix that may be read; and "
        "those that cache entries keep.",
        ("backend", "state"),
        lambda: _blocks(engines),
    )
    metrics.watch(
        "renga_engine_kv_usage_ratio",
        "Share of the KV blocks that running sequences hold.",
        ("backend",),
        lambda: _usage(engines),
    )
    for figure, (name, about) in COUNTED.items():
        metrics.watch(name, about, ("backend",), _counted(engines, figure), counts=True)


def _watch_queues(metrics: Metrics, engines: Figures) -> None:
    states = (
        ("running", "renga_engine_requests_running", "Sequences that are computed, by lane."),
        ("waiting", "renga_engine_requests_waiting", "Sequences that wait for that, by lane."),
    )
    for state, name, about in states:
        metrics.watch(name, about, ("backend", "lane"), _lanes(engines, state))


def _read(engines: Figures) -> Iterator[tuple[str, Mapping[str, float]]]:
    for backend, figures in engines.items():
        if found := figures():
            yield backend, found


def _lanes(engines: Figures, state: str) -> Callable[[], Readings]:
    def read() -> Readings:
        for backend, found in _read(engines):
            batch = found.get(f"batch_{state}", 0)
            yield {"backend": backend, "lane": "interactive"}, found[state] - batch
            yield {"backend": backend, "lane": "batch"}, batch

    return read


def _counted(engines: Figures, figure: str) -> Callable[[], Readings]:
    def read() -> Readings:
        for backend, found in _read(engines):
            if figure in found:
                yield {"backend": backend}, found[figure]

    return read


def _blocks(engines: Figures) -> Readings:
    for backend, found in _read(engines):
        for figure, state in BLOCKS.items():
            if figure in found:
                yield {"backend": backend, "state": state}, found[figure]


def _usage(engines: Figures) -> Readings:
    for backend, found in _read(engines):
        if found.get("blocks"):
            yield {"backend": backend}, 1 - found["free_blocks"] / found["blocks"]


def watch_states(
    metrics: Metrics,
    name: str,
    about: str,
    labels: tuple[str, str],
    read: Callable[[], Mapping[str, str]],
) -> None:
    """Which state each of some things is in: 1 for that one. `labels`: the thing's, the state's."""

    def readings() -> Readings:
        for thing, state in read().items():
            yield {labels[0]: thing, labels[1]: state}, 1

    metrics.watch(name, about, labels, readings)


def watch_store(metrics: Metrics, waiting: Callable[[], int], failing: Callable[[], bool]) -> None:
    """The queue of rows that are not committed yet, and whether the database takes them."""
    metrics.watch(
        "renga_store_waiting_rows",
        "Rows of the ledger that are not committed yet.",
        (),
        lambda: one(waiting()),
    )
    metrics.watch(
        "renga_store_failing",
        "1 while the database cannot be written, and no request is taken.",
        (),
        lambda: one(failing()),
    )


def watch_limits(metrics: Metrics, refusals: Mapping[tuple[str, str], int]) -> None:
    """How many requests a limit refused: whose limit (key, workspace, tier), and which."""
    metrics.watch(
        "renga_limited",
        "Requests that a limit refused, by whose it was and which.",
        ("scope", "limit"),
        lambda: [({"scope": of, "limit": kind}, n) for (of, kind), n in refusals.items()],
        counts=True,
    )


def watch_breakers(metrics: Metrics, standings: Callable[[], Mapping[str, str]]) -> None:
    """How the breaker of each backend stands that was ever asked."""
    watch_states(
        metrics,
        "renga_breaker_state",
        "1 for how a backend's circuit breaker stands.",
        ("backend", "state"),
        standings,
    )


def watch_batches(
    metrics: Metrics, *, running: Callable[[], int], claimed: Callable[[], int]
) -> None:
    """What this server works on of batches: requests under way, and those it has taken."""
    metrics.watch(
        "renga_batch_requests",
        "Requests of batches that this server has taken, by whether they are under way.",
        ("state",),
        lambda: [({"state": "running"}, running()), ({"state": "claimed"}, claimed())],
    )
