"""How positions turn queries and keys: the frequencies that a `config.json` asks for.

Owns the formulas of rotary embeddings and of their scalings for long contexts, each with its paper,
and both ways of writing them down: `rope_parameters`, and the older `rope_theta` with
`rope_scaling`. Pure arithmetic: of graphs it knows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from renga.errors import SetupError

KINDS = ("default", "linear", "llama3", "yarn", "longrope")
_ORIGINAL = "original_max_position_embeddings"
_FROM_ORIGINAL = ("llama3", "yarn", "longrope")
# Older names of LongRoPE, in configurations of Phi 3.
_OLDER = ("su", "yarn")


@dataclass(frozen=True)
class Rotation:
    """Radians by which a position turns each pair of a head's first `2 * len(frequencies)` values.

    `gain` multiplies cosines and sines. `beyond` is the context, in tokens, from which `far` holds
    instead of `frequencies`; both are None but for LongRoPE.
    """

    frequencies: tuple[float, ...]
    gain: float = 1.0
    far: tuple[float, ...] | None = None
    beyond: int | None = None


@dataclass(frozen=True)
class _Asked:
    """One rotation as a configuration asks for it."""

    given: Mapping[str, Any]
    theta: float
    width: int
    longest: int
    original: int

    def number(self, key: str, default: float | None = None) -> float:
        """A number above 0 of that key. Raises SetupError."""
        value = self.given.get(key)
        if value is None and default is not None:
            return default
        if value is None or type(value) not in (int, float) or not 1e-9 < value < 1e9:
            raise _refused(f"{key} = {value!r}", "a number above 0")
        return float(value)

    def plain(self) -> tuple[float, ...]:
        """The unscaled frequencies (Su et al. 2021, arXiv:2104.09864)."""
        return tuple(self.theta ** (-pair / self.width) for pair in range(0, self.width, 2))


def read_rotation(
    config: Mapping[str, Any], head_dim: int, *, layer_type: str, theta: float = 10_000.0
) -> Rotation:
    """The rotation of a configuration's layers of that type.

    Args:
        config: a `config.json`.
        head_dim: values of one head.
        layer_type: "full_attention" or "sliding_attention": some families turn them differently.
        theta: the base where the configuration says none.

    Raises:
        SetupError: a scaling that is not built here, or numbers that make no sense.
    """
    given = _given(config, layer_type)
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind in _OLDER and "short_factor" in given:
        kind = "longrope"
    if kind not in KINDS:
        raise _refused(f"rope type {kind!r}", ", ".join(KINDS))
    share = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    longest = _tokens(config, "max_position_embeddings")
    base = given.get("rope_theta") or config.get("rope_theta") or theta
    if type(base) not in (int, float) or not 1 < base < math.inf:
        raise _refused(f"rope_theta = {base!r}", "a number above 1")
    if type(share) not in (int, float) or not 0 < share <= 1:
        raise _refused(f"partial_rotary_factor = {share!r}", "a number from 0 to 1")
    width = int(head_dim * share)
    if width < 2 or width % 2:
        raise _refused(f"heads of {head_dim} values, of which {width} turn", "an even number")
    original = _tokens(config, _ORIGINAL) or _tokens(given, _ORIGINAL) or longest
    if kind in _FROM_ORIGINAL and original < 2:
        raise _refused(f"{_ORIGINAL} = {original}", "2 or more")
    asked = _Asked(given, float(base), width, longest, original)
    return _FORMULAS[kind](asked)


def _tokens(config: Mapping[str, Any], key: str) -> int:
    """A length in tokens, 0 where none is said."""
    value = config.get(key)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise _refused(f"{key} = {value!r}", "a number of tokens")
    return value


def _given(config: Mapping[str, Any], layer_type: str) -> Mapping[str, Any]:
    """What the configuration says of the rotation of that type, in whichever form."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        raise _refused(f"rope_parameters = {found!r}", "an object")
    if "full_attention" in found or "sliding_attention" in found:
        found = found.get(layer_type) or {}
        if not isinstance(found, Mapping):
            raise _refused(f"rope_parameters.{layer_type} = {found!r}", "an object")
    return found


def _default(asked: _Asked) -> Rotation:
    return Rotation(asked.plain())


def _linear(asked: _Asked) -> Rotation:
    """Positions divided by a factor (Chen et al. 2023, arXiv:2306.15595)."""
    factor = asked.number("factor")
    return Rotation(tuple(value / factor for value in asked.plain()))


def _llama3(asked: _Asked) -> Rotation:
    """Slow turns are slowed further, fast ones stay, with a ramp between (Llama 3.1's report)."""
    factor = asked.number("factor")
    low, high = asked.number("low_freq_factor"), asked.number("high_freq_factor")
    if high <= low:
        raise _refused(f"high_freq_factor = {high}", f"more than low_freq_factor, {low}")

    def scaled(value: float) -> float:
        turns = asked.original * value / (2 * math.pi)
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        return (1 - kept) * value / factor + kept * value

    return Rotation(tuple(scaled(value) for value in asked.plain()))


def _yarn(asked: _Asked) -> Rotation:
    """YaRN (Peng et al. 2023, arXiv:2309.00071), with its temperature as `gain`."""
    factor = asked.number("factor", asked.longest / asked.original)
    fast, slow = asked.number("beta_fast", 32.0), asked.number("beta_slow", 1.0)

    def place(turns: float) -> float:
        """The pair that makes so many turns in the original context."""
        ratio = math.log(asked.original / (turns * 2 * math.pi))
        return asked.width * ratio / (2 * math.log(asked.theta))

    first, last = place(fast), place(slow)
    if asked.given.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, asked.width - 1)
    if first == last:
        last += 0.001  # the published code does so too: a ramp needs a length

    def scaled(pair: int, value: float) -> float:
        slowed = min(max((pair - first) / (last - first), 0.0), 1.0)
        return slowed * value / factor + (1 - slowed) * value

    frequencies = (scaled(pair, value) for pair, value in enumerate(asked.plain()))
    return Rotation(tuple(frequencies), gain=_temperature(asked, factor))


def _temperature(asked: _Asked, factor: float) -> float:
    def gain(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if asked.given.get("attention_factor") is not None:
        return asked.number("attention_factor")
    one, all_ = asked.given.get("mscale"), asked.given.get("mscale_all_dim")
    if one and all_:
        return gain(asked.number("mscale")) / gain(asked.number("mscale_all_dim"))
    return gain(1.0)


def _longrope(asked: _Asked) -> Rotation:
    """LongRoPE (Ding et al. 2024, arXiv:2402.13753): a divisor for each pair, two sets of them."""
    near, far = _divisors(asked, "short_factor"), _divisors(asked, "long_factor")
    factor = asked.number("factor", asked.longest / asked.original)
    gain = math.sqrt(1 + math.log(factor) / math.log(asked.original)) if factor > 1 else 1.0
    plain = asked.plain()
    return Rotation(
        frequencies=tuple(value / by for value, by in zip(plain, near, strict=True)),
        gain=asked.number("attention_factor", gain),
        far=tuple(value / by for value, by in zip(plain, far, strict=True)),
        beyond=asked.original,
    )


def _divisors(asked: _Asked, key: str) -> list[float]:
    found = asked.given.get(key)
    pairs = asked.width // 2
    if not (
        isinstance(found, list)
        and len(found) == pairs
        and all(type(value) in (int, float) and 0 < value < math.inf for value in found)
    ):
        raise _refused(f"{key} of the rotary embedding", f"{pairs} numbers above 0")
    return [float(value) for value in found]


_FORMULAS = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}


def _refused(what: str, accepted: str) -> SetupError:
    return SetupError(
        f"config.json: {what}; accepted: {accepted}",
        "this form of rotary embedding is not built here; a GGUF of the model may run",
    )
