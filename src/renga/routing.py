"""Model name -> tier -> candidate backends.

Owns the rule how names resolve: a tier's own name, renga's canonical ids, every Claude name by its
family, and the operator's aliases; anything else is a 404. And the rule who serves a tier that is
not configured: the next larger one that is, else the largest there is. And the order of those who
may answer: who cannot honour a field of the request is none of them; those that are ready come
first, a tier's backends before those of the tier it falls back to. Where none is loaded, a 503
says why and what to do. It calls no backend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from renga.backends.base import Backend, Capabilities, Health, refuse
from renga.errors import NotFound, RengaError, SetupError, Unavailable
from renga.loading import LOADING_SECONDS
from renga.types import MAX_OUTPUT_TOKENS, Effort, MessagesRequest, ModelInfo, Prompt

Tier = Literal["haiku", "sonnet", "opus"]
TIERS: tuple[Tier, ...] = ("haiku", "sonnet", "opus")  # small to large

# Larger families that appear beside the three are served by the largest tier.
FAMILIES: dict[str, Tier] = {
    "haiku": "haiku",
    "sonnet": "sonnet",
    "opus": "opus",
    "fable": "opus",
    "mythos": "opus",
}

CANONICAL: dict[Tier, str] = {
    "haiku": "renga-haiku-1",
    "sonnet": "renga-sonnet-1",
    "opus": "renga-opus-1",
}

AUTO: Final = "auto"
"""The model that leaves the tier open: `renga.auto` chooses one."""

EFFORTS = get_args(Effort)
THINKING_TYPES = ("adaptive", "enabled", "disabled", "between_tools")

# Release of the tiers' first edition, as /v1/models reports it.
CREATED_AT = "2026-11-22T00:00:00Z"

# claude-haiku-4-5, claude-haiku-4.5, claude-3-5-haiku-latest, claude-opus-4-1@20250805,
# anthropic/claude-sonnet-5, claude-sonnet-4-5[1m]: a family, around it only numbers, "latest" and
# "preview".
_CLAUDE = re.compile(
    r"(?:anthropic[/.])?claude-"
    r"(?:\d+(?:[.-]\d+)*-)?"
    r"(?P<family>" + "|".join(FAMILIES) + r")"
    r"(?:[-.@](?:\d+|latest|preview|v\d+(?::\d+)?))*"
    r"(?:\[\w+\])?"
)


@dataclass(frozen=True)
class Route:
    """Where a request may go: the tier asked for, the tier that serves it, backends in order.

    `tiers` says of each candidate which tier it serves there: a fallback's are behind the others.
    """

    tier: Tier
    served_tier: Tier
    model: str
    candidates: tuple[Backend, ...]
    tiers: tuple[Tier, ...]

    def tier_of(self, backend: Backend) -> Tier:
        """The tier that one of the candidates serves."""
        return self.tiers[self.candidates.index(backend)]


def tier_of(name: str, aliases: Mapping[str, str] | None = None) -> Tier:
    """The tier that `name` asks for. Raises NotFound for a name of no family."""
    name = (aliases or {}).get(name, name)
    for tier, canonical in CANONICAL.items():
        if name in (tier, canonical):
            return tier
    match = _CLAUDE.fullmatch(name.lower())
    if match is None:
        raise NotFound(
            f"model: {name} (accepted: haiku, sonnet, opus, {CANONICAL['haiku']}, or a Claude name "
            "of one of these families; GET /v1/models lists what is served)"
        )
    return FAMILIES[match["family"]]


def check_aliases(aliases: Mapping[str, str]) -> None:
    """Raise SetupError for an alias of something that is no model's name; it would be a 404."""
    for name, target in aliases.items():
        try:
            tier_of(target)
        except NotFound as error:
            raise SetupError(
                f"aliases.{name} = {target!r} is no model's name",
                f"accepted: {', '.join(TIERS)}, or a Claude name of one of these families",
            ) from error


def serving_tier(tier: Tier, configured: Sequence[Tier]) -> Tier:
    """The tier that serves `tier`: itself, the next larger configured, else the largest."""
    ranked = [t for t in TIERS if t in configured]
    larger = [t for t in ranked if TIERS.index(t) >= TIERS.index(tier)]
    return larger[0] if larger else ranked[-1]


class Router:
    """Names and tiers over started backends."""

    def __init__(
        self,
        tiers: Mapping[Tier, Sequence[Backend]],
        aliases: Mapping[str, str] | None = None,
        *,
        fallbacks: Mapping[Tier, Tier] | None = None,
    ) -> None:
        self._tiers = {tier: tuple(backends) for tier, backends in tiers.items()}
        self._aliases = dict(aliases or {})
        self._fallbacks = dict(fallbacks or {})

    def canonical(self, name: str) -> str:
        """The id of the model that `name` asks for. Raises NotFound."""
        return CANONICAL[tier_of(name, self._aliases)]

    def route(self, request: Prompt) -> Route:
        """Candidates for `request`: those that are ready first, a tier's before its fallback's.

        Raises NotFound (model), Unavailable (nothing is loaded) or InvalidRequest (a field).
        """
        tier = tier_of(request.model, self._aliases)
        served = self.served_by(tier)
        found: dict[str, tuple[tuple[bool, int, bool], Backend, Tier]] = {}
        refusals: list[RengaError] = []
        for place, at in enumerate(self._with_fallbacks(served)):
            try:
                loaded = self._loaded(at)
            except Unavailable as error:
                refusals.append(error)
                continue
            for backend, health in loaded:
                missing = backend.capabilities.missing_for(request)
                if missing is None:
                    rank = (not health.ready, place, _is_short(backend, request))
                    found.setdefault(backend.name, (rank, backend, at))
                else:
                    refusals.append(refuse(backend.name, missing, request))
        if not found:
            raise refusals[0]
        ranked = sorted(found.values(), key=lambda one: one[0])
        candidates = tuple(backend for _, backend, _ in ranked)
        return Route(tier, served, CANONICAL[tier], candidates, tuple(at for *_, at in ranked))

    def _with_fallbacks(self, tier: Tier) -> Iterator[Tier]:
        """`tier`, and those that answer in its place, in order."""
        at: Tier | None = tier
        while at is not None:
            yield at
            at = self._fallbacks.get(at)

    def _loaded(self, tier: Tier) -> list[tuple[Backend, Health]]:
        """The tier's backends that take requests. Raises Unavailable where there is none."""
        found = [(backend, backend.health()) for backend in self._tiers[tier]]
        loaded = [(backend, health) for backend, health in found if health.loaded]
        if not loaded:
            words = "; ".join(f"backend '{b.name}': {health.words}" for b, health in found)
            soon = any(health.state == "loading" for _, health in found)
            raise Unavailable(
                f"model: nothing that serves {tier} is loaded: {words}",
                retry_after=LOADING_SECONDS if soon else None,
            )
        return loaded

    def served_by(self, tier: Tier) -> Tier:
        """The configured tier that serves `tier`."""
        return serving_tier(tier, tuple(self._tiers))

    def backends_of(self, tier: Tier) -> tuple[Backend, ...]:
        """Backends that serve `tier`, in order of preference."""
        return self._tiers[self.served_by(tier)]

    def model(self, name: str) -> ModelInfo:
        """What `/v1/models/{name}` says. Raises NotFound.

        `auto` is told as the largest tier is, and not listed: it leads to one of those that are.
        """
        if name == AUTO and AUTO not in self._aliases:
            largest = self.model(CANONICAL[TIERS[-1]])
            return largest.model_copy(update={"id": AUTO, "display_name": "renga auto"})
        tier = tier_of(name, self._aliases)
        backends = self.backends_of(tier)
        able = _abilities(backends)
        return ModelInfo(
            id=CANONICAL[tier],
            display_name=f"renga {tier} 1",
            created_at=CREATED_AT,
            line=tier,
            max_input_tokens=able.window if able else None,
            max_tokens=able.max_output if able else MAX_OUTPUT_TOKENS,
            capabilities=_capabilities(able),
            renga={
                "tier": tier,
                "served_by": self.served_by(tier),
                "backends": [b.name for b in backends],
                "states": {b.name: b.health().state for b in backends},
                "prompt_caching": able is not None and able.prompt_caching,
            },
        )

    def models(self) -> list[ModelInfo]:
        """All tiers, largest first."""
        return [self.model(tier) for tier in reversed(TIERS)]


def _is_short(backend: Backend, request: Prompt) -> bool:
    """Whether an answer that is as long as it may be would be cut by `backend`.

    Such a one is asked behind others of its tier, and not left out: few answers are that long.
    """
    most = backend.capabilities.max_output
    return isinstance(request, MessagesRequest) and request.max_tokens > most


def _abilities(backends: Sequence[Backend]) -> Capabilities | None:
    """What the first of them can do that is loaded or was; None where none ever was."""
    for backend in sorted(backends, key=lambda b: not b.health().loaded):
        with suppress(Unavailable):
            return backend.capabilities
    return None


def _capabilities(able: Capabilities | None) -> dict[str, object]:
    """The API's capability object: what the backend can do, and what the path does for every one.

    What a later edition brings is false until then; so is what nobody can tell yet.
    """
    thinks = able.thinking if able else frozenset()
    efforts = able.efforts if able else frozenset()
    no = _support(False)
    return {
        "batch": _support(True),
        "citations": _support(able is not None and able.documents),
        "code_execution": no,
        "image_input": _support(able is not None and able.images),
        "pdf_input": _support(able is not None and able.documents),
        "structured_outputs": _support(able is not None and able.structured_output),
        "server_tools": _support(False, code_execution=False, web_search=False),
        "context_management": _support(
            True,
            clear_thinking_20251015=True,
            clear_tool_uses_20250919=True,
            compact_20260112=True,
        ),
        "compaction": _support(True, summarize=True),
        "effort": _support(bool(efforts), **{level: level in efforts for level in EFFORTS}),
        "thinking": {
            **_support(bool(thinks - {"disabled"})),
            "types": {kind: _support(kind in thinks) for kind in THINKING_TYPES},
        },
    }


def _support(whether: bool, **parts: bool) -> dict[str, object]:
    """A leaf of the capability object, or a branch with its leaves."""
    leaves = {name: {"supported": can} for name, can in parts.items()}
    return {"supported": whether, **leaves}
