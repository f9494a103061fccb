"""A prompt and what follows it, as the engine computes it, and a step's part of it.

Pure state. Who sets which field, and when, is the scheduler's rule, and that of what a sequence is
for: an answer (`request`) or a score (`scoring`).
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from renga.engine.blocks import BlockPool
from renga.engine.cache import Lookup
from renga.engine.messages import Breakpoint, Lane


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and what was generated after it, and the blocks that hold its keys and values."""

    id: str
    workspace: str
    lane: Lane
    tokens: list[int]
    limit: int
    """Tokens at which it must end, prompt included."""
    breakpoints: Seq[Breakpoint] = ()
    """Prefixes of the prompt to keep, in its order."""
    lookup: Lookup | None = None
    """What they found, until the prompt is computed."""
    prompt_length: int = 0
    reused: int = 0
    """Prompt tokens that were read from blocks when it was first let in."""
    computed: int = 0
    draft: list[int] = field(default_factory=list)
    """Tokens guessed to follow, which the next step should try; they are none of `tokens`."""
    blocks: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    arrival: int = 0
    running: bool = False
    filling: bool = False
    """Running, and its known tokens are not all planned yet; else it decodes."""
    admitted: bool = False
    size: int = 0
    """Which of its workspace's tracks it waits in."""
    awaits: bytes = b""
    """The block that it last waited for while another computed it."""
    arrived: float = 0.0
    """When it came, in the engine's seconds."""
    begun: float | None = None
    """When its first step began."""
    steps: int = 0
    """Steps that computed something of it."""

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)

    @property
    def generated(self) -> int:
        """Tokens produced so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def missing(self) -> int:
        """Known tokens that are not computed yet."""
        return len(self.tokens) - self.computed

    def free(self, pool: BlockPool) -> None:
        """Give back every block that it holds, when it is put out or has ended."""
        pool.release(self.blocks)
        self.blocks = []


@dataclass(eq=False, slots=True)
class Piece:
    """What one sequence computes in a step: `count` tokens from `sequence.computed` on.

    The last `draft` of them are the beginning of `sequence.draft`, the others are known tokens.
    """

    sequence: Sequence
    count: int
    samples: bool
    """Whether the last known token is among them, so that the next one can be sampled."""
    draft: int = 0
    rejected: int = 0
    """How many of the draft's tokens turned out wrong; said before `Scheduler.advance`."""
