"""Which tier a request for `auto` goes to.

Owns the policy: of the tiers that can serve the request, the one whose right answer is worth most
beyond its price. A right answer is worth `[auto] worth_usd`; how likely one is, `difficulty` says
for a small and a large model, and a tier between is taken to be between. Four rules bound it:

- abilities come first: a tier that cannot serve the request is no choice;
- a conversation is never answered by a smaller tier than before, as long as it is remembered;
- a turn that goes on with results of tools stays where it is;
- what was read before costs a read of the cache where the conversation is, and its full price
  elsewhere, so that a tier is left only for what pays that, too.

What is remembered are digests, of the newest conversations, in this process. A conversation that is
not remembered is judged as a new one. It asks no backend and writes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from renga.auto.difficulty import Chances, Difficulty
from renga.config import AutoConfig
from renga.errors import InvalidRequest, RengaError, Unavailable
from renga.prices import PICO, Price
from renga.routing import AUTO, TIERS, Router, Tier
from renga.types import MessageParam, MessagesRequest, Prompt, TextParam, ToolResultParam

CHARACTERS_PER_TOKEN: Final = 4
MOST_PREFIXES: Final = 64  # of a conversation that are looked for, its longest ones
# Where each tier stands between the two models that the chances are of.
STANDS: Final[Mapping[Tier, float]] = {"haiku": 0.0, "sonnet": 0.5, "opus": 1.0}


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why: `before` is the tier that the conversation was at, if known."""

    tier: Tier
    why: str
    chances: Chances
    before: Tier | None = None

    def note(self) -> dict[str, Any]:
        """It as the ledger keeps it."""
        told = {
            "tier": self.tier,
            "why": self.why,
            "small": round(self.chances.small, 3),
            "large": round(self.chances.large, 3),
        }
        return told if self.before is None else {**told, "before": self.before}


class Auto:
    """Chooses tiers. `prices` are those of the tiers that are configured."""

    def __init__(
        self,
        config: AutoConfig,
        router: Router,
        prices: Mapping[str, Price],
        difficulty: Difficulty | None = None,
    ) -> None:
        self._config, self._router, self._prices = config, router, prices
        self._difficulty = difficulty or Difficulty.load()
        self._memory: OrderedDict[bytes, Tier] = OrderedDict()

    def choose(self, request: Prompt, workspace: str) -> Choice:
        """The tier for `request`. What is answered, not only counted, is remembered.

        Raises what the largest tier would where none can serve it.
        """
        prefixes = list(_prefixes(request, workspace))
        before = self._known(prefixes[:-1])
        able, refusal = self._able(request)
        if before is not None:
            able = [tier for tier in able if TIERS.index(tier) >= TIERS.index(before)]
        if not able:
            raise refusal or Unavailable(f"model: {AUTO}: nothing as large as {before} is ready")
        chances = self._difficulty.chances(_asked(request))
        if before in able and _goes_on(request):
            chosen = Choice(before, "the turn goes on", chances, before)
        else:
            old, new = _sizes(request)
            old, new = (old, new) if before is not None else (0, old + new)
            worth = {tier: self._worth(tier, chances, old, new, before, request) for tier in able}
            best = max(able, key=lambda tier: worth[tier])  # the smallest of equals
            chosen = Choice(best, "one tier can" if len(able) == 1 else "worth", chances, before)
        if isinstance(request, MessagesRequest):
            self._remember(prefixes[-1], chosen.tier)
        return chosen

    def _able(self, request: Prompt) -> tuple[list[Tier], RengaError | None]:
        """The configured tiers that can serve `request`, small to large; else why not."""
        able: list[Tier] = []
        refusal: RengaError | None = None
        for tier in TIERS:
            if self._router.served_by(tier) != tier:
                continue
            try:
                self._router.route(request.model_copy(update={"model": tier}))
            except (InvalidRequest, Unavailable) as error:
                refusal = error
            else:
                able.append(tier)
        return able, refusal

    def _worth(
        self,
        tier: Tier,
        chances: Chances,
        old: int,
        new: int,
        before: Tier | None,
        request: Prompt,
    ) -> float:
        """Dollars that an answer is worth beyond its price."""
        price = self._prices[tier]
        most = request.max_tokens if isinstance(request, MessagesRequest) else 0
        output = min(self._config.output_tokens, most)
        again = price.cache_read if tier == before else price.input
        cost = (old * again + new * price.input + output * price.output) / PICO
        lead = max(0.0, chances.large - chances.small)
        return self._config.worth_usd * (chances.small + lead * STANDS[tier]) - cost

    def _known(self, prefixes: list[bytes]) -> Tier | None:
        """The tier that the longest remembered beginning of a conversation went to."""
        for prefix in reversed(prefixes[-MOST_PREFIXES:]):
            if prefix in self._memory:
                return self._memory[prefix]
        return None

    def _remember(self, whole: bytes, tier: Tier) -> None:
        self._memory[whole] = tier
        self._memory.move_to_end(whole)
        while len(self._memory) > self._config.remembered:
            self._memory.popitem(last=False)


# --- what is looked at ----------------------------------------------------------------------------


def _prefixes(prompt: Prompt, workspace: str) -> Iterator[bytes]:
    """Digests of what was asked before each answer of the conversation, then of all of it.

    Answers are none of it but for their place: clients change them.
    """
    digest = blake2b(workspace.encode(), digest_size=16)
    for block in prompt.system or ():
        digest.update(block.text.encode("utf-8", "replace"))
    for message in prompt.messages:
        if message.role == "assistant":
            yield digest.digest()
            digest.update(b"\0answer")
        else:
            for text in _texts(message):
                digest.update(b"\0" + text.encode("utf-8", "replace"))
    yield digest.digest()


def _texts(message: MessageParam) -> Iterator[str]:
    """The texts of a message, and of results in it."""
    for block in message.content:
        if isinstance(block, TextParam | ToolResultParam):
            yield block.text


def _asked(prompt: Prompt) -> str:
    """What the user said last."""
    for message in reversed(prompt.messages):
        if message.role == "user":
            texts = [block.text for block in message.content if isinstance(block, TextParam)]
            if any(text.strip() for text in texts):
                return "\n".join(texts)
    return ""


def _goes_on(prompt: Prompt) -> bool:
    """Whether the prompt ends with what a tool said, or with a begun answer."""
    last = prompt.messages[-1]
    return last.role == "assistant" or any(isinstance(b, ToolResultParam) for b in last.content)


def _sizes(prompt: Prompt) -> tuple[int, int]:
    """Tokens of the prompt up to its last answer, and behind that; by their characters."""
    answers = [i for i, message in enumerate(prompt.messages) if message.role == "assistant"]
    cut = answers[-1] + 1 if answers else 0
    sizes = [sum(map(len, _texts(message))) for message in prompt.messages]
    head = sum(len(block.text) for block in prompt.system or ())
    old, new = head + sum(sizes[:cut]), sum(sizes[cut:])
    return old // CHARACTERS_PER_TOKEN, new // CHARACTERS_PER_TOKEN
