"""What is asked of llama.cpp, and what comes back: plain values. It knows no sockets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from renga.engine.cache import CacheUse
from renga.engine.messages import Breakpoint, Lane, Output


class Said(Output, tag="said"):
    """What was added to an answer: `count` tokens, of which llama.cpp does not tell every id."""

    count: int = 0


@dataclass(frozen=True)
class Prompt:
    """What is read: tokens, or a text with a mark for each of some images."""

    tokens: Sequence[int] = ()
    text: str | None = None
    images: Sequence[str] = field(default=(), repr=False)
    """In base64, in the order of their marks."""

    def body(self) -> object:
        """The prompt as a request has it."""
        if self.text is None:
            return list(self.tokens)
        return {"prompt_string": self.text, "multimodal_data": list(self.images)}

    def then(self, text: str, tokens: Sequence[int]) -> "Prompt":
        """The prompt with what was answered so far, as text and as tokens."""
        if self.text is not None:
            return replace(self, text=self.text + text)
        return replace(self, tokens=[*self.tokens, *tokens])


@dataclass(frozen=True)
class Thinking:
    """An answer that begins inside a thought: `closing` ends it, of which `marker` says so.

    `budget` are tokens, those of `closing` not among them.
    """

    closing: str
    marker: str
    budget: int

    @property
    def ends(self) -> list[str]:
        """What says that the thought is over: with what belongs to it before it, or bare."""
        behind = self.closing.index(self.marker) + len(self.marker)
        return list(dict.fromkeys((self.closing[:behind], self.marker)))

    @property
    def behind(self) -> str:
        """What is written behind the marker."""
        return self.closing[self.closing.index(self.marker) + len(self.marker) :]


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn; temperature 0 takes the likeliest."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request.

    Attributes:
        most: tokens of the answer, thinking among them; 0 reads the prompt alone.
        grammar: in Lark, what the answer follows; with a `trigger`, from that text on.
        quiet: the text from which on no stop sequence holds, where there is no trigger.
        ends: tokens that may end an answer that follows a grammar.
        shown: control tokens that are shown as text, since calls are told by them.
        cache: the prompt's breakpoints, in its order.
    """

    workspace: str
    prompt: Prompt
    most: int
    draw: Draw = Draw()
    stop: Sequence[str] = ()
    grammar: str | None = None
    trigger: str | None = None
    quiet: str | None = None
    thinking: Thinking | None = None
    ends: Sequence[int] = ()
    shown: Sequence[str] = ()
    cache: Sequence[Breakpoint] = ()
    lane: Lane = "interactive"


Use = Callable[[int], CacheUse]
"""From the tokens that were read at a prompt's start to what its marks account for."""
