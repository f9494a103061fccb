"""How long things take, learned from what they took: prompt tokens for a step, places in a queue.

Owns the rule that a step keeps its target time however deep in a prompt it is: a token behind
100,000 others costs many times what the first one does, so steps have fewer of them. Pure
arithmetic over seconds that others measured. It knows neither sequences nor blocks.
"""

import math
from collections import deque
from dataclasses import dataclass

from renga.engine.blocks import BLOCK_SIZE

# Of the time that interactive prompts hold the batch lane back, this share is given to it.
_BATCH_SHARE = 0.1
# Seconds that it may have had beyond that share and be taken at their word: ten times as long the
# lane can be held back before it is owed again, so chats that leave pauses never wait for it.
_BATCH_CREDIT = 1.0
# A step that no stream waits for may take so many times the target: whoever comes meanwhile waits
# for it, and with a long context the same tokens take ever longer.
_PATIENCE = 5
# Before a deep prompt was seen: a token costs twice as much behind so many others.
_FIRST_BACK = 1 / 4096
# Half of each error is learned from, and of none more than a factor of seven: a step that took
# long because the machine did something else says little.
_LEARNING = 0.5
_LARGEST_ERROR = 2.0
_LEAST_SECONDS = 1e-9  # a clock may stand still
# A retry sooner than this would only come back; one later than this nobody waits for.
_RETRY_FLOOR, _RETRY_CEILING = 1.0, 60.0
# How many ends the pace is taken over: enough that some which come at once do not mislead.
_ENDS = 64


@dataclass(slots=True)
class PromptWork:
    """Prompt tokens that a step computes, and how many tokens each of them looks back at.

    `reads` counts pairs: a piece of n tokens behind c others looks back n * c + n * n / 2 times.
    """

    tokens: int = 0
    reads: float = 0.0

    def add(self, tokens: int, depth: int) -> None:
        """A piece of so many tokens behind `depth` others."""
        self.tokens += tokens
        self.reads += tokens * (depth + tokens / 2)


class TokenCost:
    """What a prompt token costs: `token + back * d` seconds behind d others.

    Every token goes through the same weights, and looks back at all before it: behind 40,000 tokens
    a small model does little else. Both parts are learned from steps, in logarithms, each by its
    share of the cost (normalised least mean squares): so prompts without a past, which say nothing
    about looking back, leave that as it was, and deep ones leave the other.
    """

    def __init__(self) -> None:
        self._token = 0.0
        self._back = 0.0

    @property
    def known(self) -> bool:
        """Whether a step was seen."""
        return self._token > 0

    def learn(self, work: PromptWork, seconds: float) -> None:
        """A step's prompt tokens, at least one, took so long."""
        each, depth = max(seconds, _LEAST_SECONDS) / work.tokens, work.reads / work.tokens
        if not self.known:
            self._token = each / (1 + _FIRST_BACK * depth)
            self._back = self._token * _FIRST_BACK
            return
        thought = self._token + self._back * depth
        error = min(max(math.log(each / thought), -_LARGEST_ERROR), _LARGEST_ERROR)
        share = self._token / thought
        error *= _LEARNING / (share**2 + (1 - share) ** 2)
        self._token *= math.exp(error * share)
        self._back *= math.exp(error * (1 - share))

    def fits(self, seconds: float, depth: int) -> int:
        """How many tokens behind `depth` others take so long: the root of a quadratic."""
        linear = self._token + self._back * depth
        return int(2 * seconds / (linear + math.sqrt(linear**2 + 2 * self._back * seconds)))

    def of(self, work: PromptWork) -> float:
        """The seconds that `work` takes."""
        return self._token * work.tokens + self._back * work.reads


class Room:
    """What a step has for prompts: so many tokens, in so many seconds (None: however long).

    `used` is what is in the step already, of other rooms too; it grows here. Whatever is left, a
    step has a block for prompts, and the first piece here may have `least` tokens.
    """

    def __init__(
        self, tokens: int, seconds: float | None, cost: TokenCost, used: PromptWork, least: int
    ) -> None:
        self._tokens = tokens
        self._seconds = seconds
        self._cost = cost
        self._used = used
        self._least = least

    def fits(self, depth: int) -> int:
        """Tokens of a piece behind `depth` others."""
        room = self._tokens - self._used.tokens
        if self._seconds is not None:
            left = self._seconds - self._cost.of(self._used)
            room = min(room, self._cost.fits(left, depth)) if left > 0 else 0
        return max(room, BLOCK_SIZE - self._used.tokens, self._least)

    def take(self, tokens: int, depth: int) -> None:
        """A piece of so many tokens behind `depth` others is in the step."""
        self._used.add(tokens, depth)
        self._least = 0


class StepBudget:
    """How many prompt tokens a step may compute.

    What decodes cost is learned from steps of decodes alone, by their number's magnitude; what is
    left of a step with prompt tokens is theirs.
    """

    def __init__(self, tokens: int, seconds: float) -> None:
        self._tokens = max(tokens, BLOCK_SIZE)
        self._seconds = seconds
        self._cost = TokenCost()
        self._decode_seconds: dict[int, float] = {}

    def learn(self, prompts: PromptWork, decodes: int, seconds: float) -> None:
        """A step computed so much of prompts beside so many decodes in that time."""
        if not prompts.tokens and decodes:
            known = self._decode_seconds.get(decodes.bit_length(), seconds)
            self._decode_seconds[decodes.bit_length()] = known + (seconds - known) / 4
        elif prompts.tokens >= BLOCK_SIZE:
            self._cost.learn(prompts, max(seconds - self._seconds_of(decodes), seconds / 10))

    def room(
        self, decodes: int, used: PromptWork, *, least: int, timed: bool, part: int = 1
    ) -> Room:
        """The room for prompts in the next step, beside what is `used` of it; see `Room`.

        `timed` keeps the step within the target time, else it may take several times as long; a
        `part` of n takes an nth of the tokens.
        """
        left = None
        if self._cost.known:
            target = self._seconds if timed else self._seconds * _PATIENCE
            left = target - self._seconds_of(decodes)
        return Room(self._tokens // part - decodes, left, self._cost, used, least)

    def _seconds_of(self, decodes: int) -> float:
        """What so many decodes take, or the next smaller magnitude that is known."""
        for bits in range(decodes.bit_length(), 0, -1):
            if bits in self._decode_seconds:
                return self._decode_seconds[bits]
        return 0.0


class BatchShare:
    """When the batch lane has had so little of the time that it is owed a step."""

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._owed = 0.0

    @property
    def due(self) -> bool:
        """Whether what is owed fills a step."""
        return self._owed >= self._step_seconds

    @property
    def spent(self) -> bool:
        """Whether the lane has had all of its credit, too."""
        return self._owed <= -_BATCH_CREDIT

    def held(self, seconds: float) -> None:
        """A step of that time went without the lane, which had work."""
        self._owed += seconds * _BATCH_SHARE

    def ran(self, seconds: float) -> None:
        """A step of that time had work of the lane in it."""
        self._owed = max(self._owed - seconds * (1 - _BATCH_SHARE), -_BATCH_CREDIT)


class QueuePace:
    """How fast sequences of a lane end, and so when there is a place for who finds none."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._ends: deque[float] = deque()
        self._promised: deque[float] = deque(maxlen=4_096)

    def begins(self, now: float) -> None:
        """Idle until now: the pause says nothing about the pace."""
        self._since = now
        self._ends.clear()
        self._promised.clear()

    def ended(self, now: float) -> None:
        """A sequence ended."""
        self._ends.append(now)
        if len(self._ends) > _ENDS:
            self._since = self._ends.popleft()

    def promise(self, now: float) -> float:
        """The seconds until one more can come, after all who were told so before and may."""
        while self._promised and self._promised[0] <= now:
            self._promised.popleft()
        last = self._ends[-1] if self._ends else self._since
        regular = (last - self._since) / max(len(self._ends), 1)
        interval = max(regular, now - last)
        # Part of the interval that runs is over.
        seconds = interval * (len(self._promised) + 1) - min(now - last, regular / 2)
        seconds = min(max(seconds, _RETRY_FLOOR), _RETRY_CEILING)
        # In order, though the pace may have quickened since the last promise.
        last = self._promised[-1] if self._promised else now
        self._promised.append(max(now + seconds, last))
        return seconds
