"""What must hold: each bar as a ratio of measured figures and the least or most that it may be.

Bars are for the shape and the peers that they name; where a figure is missing there is no verdict.
They hold on idle cores; ratios of one run are what survives a busy machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

# workload -> figure -> engine -> median
Medians = Mapping[str, Mapping[str, Mapping[str, float]]]

NATIVE, WHEEL, GENAI, OURS = "llama-server", "llamacpp", "openvino-genai", "renga"


class Held(msgspec.Struct, frozen=True):
    """A bar and what was measured. `least` says whether `bar` is a lower or an upper limit."""

    name: str
    value: float
    bar: float
    least: bool

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.value >= self.bar if self.least else self.value <= self.bar


@dataclass(frozen=True)
class Bar:
    """`value` computes from the medians; a KeyError in it means that something is missing."""

    name: str
    bar: float
    value: Callable[[Medians], float]
    least: bool = True
    models: tuple[str, ...] = ("0.6b",)

    def judge(self, medians: Medians) -> Held | None:
        """The verdict; None where a figure is missing."""
        try:
            return Held(self.name, self.value(medians), self.bar, self.least)
        except KeyError:
            return None


def faster(workload: str, figure: str, peer: str) -> Callable[[Medians], float]:
    """How many times the peer's rate ours is."""
    return lambda m: m[workload][figure][OURS] / m[workload][figure][peer]


def sooner(workload: str, figure: str, peer: str) -> Callable[[Medians], float]:
    """How many times our time the peer's is."""
    return lambda m: m[workload][figure][peer] / m[workload][figure][OURS]


def own(workload: str, figure: str) -> Callable[[Medians], float]:
    """Our figure as it is."""
    return lambda m: m[workload][figure][OURS]


def ratio(workload: str, above: str, below: str) -> Callable[[Medians], float]:
    """One of our figures over another of the same workload."""
    return lambda m: m[workload][above][OURS] / m[workload][below][OURS]


def over_floor(medians: Medians) -> float:
    """The cold burst over what it cannot avoid: one shared prefill and the warm burst."""
    figures = medians["burst"]
    floor = figures["one shared prefill s"][OURS] + figures["warm total s"][OURS]
    return figures["cold total s"][OURS] / floor


BOTH = ("0.6b", "shipped")
SHARE = "scheduler's share of a step"

BARS = (
    Bar("prefill, times llama-server", 2.5, faster("prefill", "prefill tok/s", NATIVE)),
    Bar("prefill, times llamacpp (wheel)", 4.0, faster("prefill", "prefill tok/s", WHEEL)),
    Bar("prefill, times openvino-genai", 0.95, faster("prefill", "prefill tok/s", GENAI)),
    Bar(
        "decode, 16 together, times llama-server", 2.7,
        faster("decode", "16 together tok/s", NATIVE),
    ),
    Bar(
        "decode, 16 together, times openvino-genai", 0.97,
        faster("decode", "16 together tok/s", GENAI),
    ),
    Bar(
        "decode, one alone, times openvino-genai", 0.95,
        faster("decode", "one alone tok/s", GENAI),
    ),
    Bar("cold burst, total, times llama-server", 8.0, sooner("burst", "cold total s", NATIVE)),
    Bar("cold burst, total, times openvino-genai", 3.0, sooner("burst", "cold total s", GENAI)),
    Bar("cold burst over one shared prefill and the warm time", 1.3, over_floor, least=False),
    Bar("warm burst, total, times llama-server", 3.0, sooner("burst", "warm total s", NATIVE)),
    Bar(
        "warm burst, TTFT p95, times llama-server", 5.0,
        sooner("burst", "warm TTFT p95 s", NATIVE),
    ),
    Bar(
        "chat TTFT p95 beside a batch lane, times alone", 1.25,
        ratio("lanes", "chat TTFT p95 beside batch s", "chat TTFT p95 alone s"),
        least=False, models=BOTH,
    ),
    Bar(
        "chat and batch tok/s, times the batch lane alone", 0.9,
        ratio("lanes", "chat and batch tok/s", "batch alone tok/s"), models=BOTH,
    ),
    Bar(
        "classification by scoring, times decoding", 5.0,
        ratio("scoring", "chosen requests/s", "decoded requests/s"), models=BOTH,
    ),
    Bar(
        "extraction with guesses, times plain", 1.5,
        ratio("lookup", "extraction, guessing tok/s", "extraction, plain tok/s"), models=BOTH,
    ),
    Bar(
        "chat with guesses, times plain", 0.97,
        ratio("lookup", "chat, guessing tok/s", "chat, plain tok/s"), models=BOTH,
    ),
    Bar(
        "16 clients, warm prefix: TTFT p95, s", 0.2, own("clients", "TTFT p95 s"),
        least=False, models=("shipped",),
    ),
    Bar(
        "unique prompts at half of saturation: TTFT p95, s", 0.2,
        own("arrivals", "TTFT p95 at half of it s"), least=False, models=("shipped",),
    ),
    Bar("the scheduler's share of a step", 0.05, own("decode", SHARE), least=False),
    Bar(
        "the scheduler's share of a step", 0.3, own("decode", SHARE),
        least=False, models=("shipped",),
    ),
)  # fmt: skip
