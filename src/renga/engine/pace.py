"""How long things take, learned from what they took: prompt tokens for a step, places in a queue.

Pure arithmetic over seconds that others measured. It knows neither sequences nor blocks.
"""

from collections import deque

from renga.engine.blocks import BLOCK_SIZE

# Of the time that interactive prompts hold the batch lane back, this share is given to it.
_BATCH_SHARE = 0.1
# Seconds that it may have had beyond that share and be taken at their word: ten times as long the
# lane can be held back before it is owed again, so chats that leave pauses never wait for it.
_BATCH_CREDIT = 1.0
# A step that no stream waits for may take so many times the target: whoever comes meanwhile waits
# for it, and with a long context the same tokens take ever longer.
_PATIENCE = 5
# A retry sooner than this would only come back; one later than this nobody waits for.
_RETRY_FLOOR, _RETRY_CEILING = 1.0, 60.0
# How many ends the pace is taken over: enough that some which come at once do not mislead.
_ENDS = 64


class StepBudget:
    """How many prompt tokens a step may compute.

    What decodes cost is learned from steps of decodes alone, by their number's magnitude; what is
    left of a step with prompt tokens is theirs.
    """

    def __init__(self, tokens: int, seconds: float) -> None:
        self._tokens = max(tokens, BLOCK_SIZE)
        self._seconds = seconds
        self._token_seconds = 0.0
        self._decode_seconds: dict[int, float] = {}

    def learn(self, prompt_tokens: int, decodes: int, seconds: float) -> None:
        """A step computed so many prompt tokens beside so many decodes in that time."""
        if not prompt_tokens and decodes:
            known = self._decode_seconds.get(decodes.bit_length(), seconds)
            self._decode_seconds[decodes.bit_length()] = known + (seconds - known) / 4
        elif prompt_tokens >= BLOCK_SIZE:
            rest = max(seconds - self._seconds_of(decodes), seconds / 10)
            # Half the past: the cost follows the context, which grows by every chunk.
            known = self._token_seconds or rest / prompt_tokens
            self._token_seconds = (known + rest / prompt_tokens) / 2

    def room(self, decodes: int, *, timed: bool, part: int = 1) -> int:
        """Prompt tokens for the next step, at least a block.

        `timed` keeps the step within the target time, else it may take several times as long; a
        `part` of n takes an nth of the tokens.
        """
        room = self._tokens // part - decodes
        if self._token_seconds:
            seconds = self._seconds if timed else self._seconds * _PATIENCE
            left = seconds - self._seconds_of(decodes)
            room = min(room, int(left / self._token_seconds))
        return max(room, BLOCK_SIZE)

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
