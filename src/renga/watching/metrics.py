"""What a server counts about itself, for Prometheus: names, labels, and the page of them.

Owns the names. Where OpenTelemetry's conventions for generative AI have one, it is theirs in the
form that Prometheus writes; the others begin with `renga_`. Owns that no label is a text of a
caller: each is a name of the configuration, or a word of a table here or of the API. There is one
set for each server, and none of the process's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from renga.prices import PICO, Tokens
from renga.watching.counting import Counter, Histogram, Labels, Readings, gauge, total

PROVIDER: Final = "renga"

# As the conventions advise for each of the three.
DURATION_BOUNDS: Final = tuple(0.01 * 2**n for n in range(14))
FIRST_TOKEN_BOUNDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
TOKEN_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
)  # fmt: skip

TOKEN_CLASSES: Final = (
    "input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reused", "thinking",
)  # fmt: skip

_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model")
_STATUS: Final = re.compile(r"status_[45]\d\d")
CAUSES: Final = frozenset(
    """refused reset_before_headers reset_after_headers cut_mid_stream slow_first_byte slow_trickle
    status_429 status_429_retry_after status_500 status_503 status_529 malformed_json malformed_sse
    wrong_content_type empty_stream missing_stop tls timeout overloaded unavailable""".split()
)


@dataclass(slots=True, kw_only=True)
class Answered:
    """What is counted of an answer that ended. Times in seconds, the cost in pico-dollars."""

    tier: str
    model: str
    backend: str
    service: str
    status: str
    error_type: str | None
    operation: Literal["chat", "score"]
    seconds: float
    first_token_seconds: float | None
    tokens: Tokens
    cost_pico: int | None


class Metrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        self._answers = Counter(
            "renga_answers",
            "Answers that ended, by how.",
            ("tier", "backend", "service", "status"),
        )
        self._tokens = Counter(
            "renga_tokens",
            "Tokens of answers by class. All but reused (of input) and thinking (of output) are "
            "disjoint.",
            ("tier", "service", "class"),
        )
        self._cost = Counter(
            "renga_cost_dollars", "What answers cost by list price.", ("tier", "service"), PICO
        )
        self._own_cost = Counter(
            "renga_own_cost_dollars",
            "What attempts cost on own hardware, by cost_per_hour.",
            ("backend",),
            PICO,
        )
        self._attempts = Counter(
            "renga_attempts",
            "Attempts at backends that ended, by how, and why they failed.",
            ("backend", "status", "cause"),
        )
        self._responses = Counter(
            "renga_http_responses",
            "Responses by route and status.",
            ("route", "method", "status"),
        )
        self._durations = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From an answer's request to its end.",
            (*_AI, "error_type"),
            DURATION_BOUNDS,
        )
        self._first_tokens = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From an answer's request to its first content.",
            _AI,
            FIRST_TOKEN_BOUNDS,
        )
        self._token_times = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Time between the tokens of an answer behind its first, on average over the answer.",
            _AI,
            TOKEN_BOUNDS,
        )
        self._watched: list[Callable[[], Metric]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collected(self._collect))
        ProcessCollector(registry=self._registry)

    def answered(self, answer: Answered) -> None:
        """Count an answer that ended."""
        tier, service = answer.tier, answer.service
        self._answers.add((tier, answer.backend or "none", service, answer.status))
        for name in TOKEN_CLASSES:
            if count := getattr(answer.tokens, name):
                self._tokens.add((tier, service, name), count)
        if answer.cost_pico:
            self._cost.add((tier, service), answer.cost_pico)
        labels: Labels = (answer.operation, PROVIDER, answer.model)
        self._durations.see((*labels, answer.error_type or ""), answer.seconds)
        first, output = answer.first_token_seconds, answer.tokens.output
        if first is not None:
            self._first_tokens.see(labels, first)
            if output is not None and output > 1 and answer.status == "ok":
                self._token_times.see(labels, (answer.seconds - first) / (output - 1))

    def attempted(
        self, backend: str, status: str, cause: str | None, own_cost_pico: int | None
    ) -> None:
        """Count an attempt that ended. `cause` is a word of the table, or counts as other."""
        self._attempts.add((backend, status, _bounded(cause) if status == "error" else ""))
        if own_cost_pico:
            self._own_cost.add((backend,), own_cost_pico)

    def responded(self, route: str, method: str, status: int) -> None:
        """Count a response. `route` is one of the server's, with its placeholders."""
        self._responses.add((route, method, str(status)))

    def watch(
        self,
        name: str,
        about: str,
        labels: Sequence[str],
        read: Callable[[], Readings],
        *,
        counts: bool = False,
    ) -> None:
        """Have `read` asked for labels and values whenever somebody looks.

        With `counts` they only ever go up, and `name` gets `_total` behind it.
        """
        make = total if counts else gauge
        self._watched.append(lambda: make(name, about, labels, read()))

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """Everything as text, in a form that `accept` takes, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def _collect(self) -> Iterator[Metric]:
        own: tuple[Counter | Histogram, ...] = (
            self._answers,
            self._tokens,
            self._cost,
            self._own_cost,
            self._attempts,
            self._responses,
            self._durations,
            self._first_tokens,
            self._token_times,
        )
        for one in own:
            yield one.collect()
        for read in self._watched:
            yield read()


class _Collected(Collector):
    """What prometheus_client asks."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()


def _bounded(cause: str | None) -> str:
    if cause is None:
        return "none"
    return cause if cause in CAUSES or _STATUS.fullmatch(cause) else "other"


def one(value: float, **labels: str) -> list[tuple[Mapping[str, str], float]]:
    """A single reading."""
    return [(labels, value)]
