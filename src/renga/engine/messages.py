"""What the engine's process and its client say to each other: msgpack arrays of tagged structs.

Each frame on the pipe is a 4-byte big-endian length and that many bytes: one array of messages.
The first frame to the engine holds its settings alone. This is the whole vocabulary; who sends
what, and when, is in the docstrings. It knows neither pipes nor processes.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

Lane = Literal["interactive", "batch"]
Precision = Literal["serving", "exact"]
KvPrecision = Literal["auto", "u8", "bf16", "f32"]
Reason = Literal[
    "end_turn", "stop_sequence", "max_tokens", "window", "cancelled", "grammar", "error"
]

LENGTH_BYTES = 4

# What llguidance may spend on the regular expressions of one grammar, a fifth of its own bound: a
# repetition of millions is followed for six seconds with that, in a step that all wait for.
GRAMMAR_FUEL = 200_000


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one engine is started. Sizes in bytes or tokens, times in seconds.

    `exact` computes in float32 throughout, so that batching, chunking and reuse cannot change a
    greedy answer; `serving` uses what the machine does fastest.
    """

    model: str
    threads: int | None = None
    """Inference threads; None lets the runtime use every core it may."""
    precision: Precision = "serving"
    max_running: int = 32
    """Sequences that decode or prefill together."""
    max_waiting: int = 256
    """Sequences that may queue beyond those; then `Refused`."""
    step_tokens: int = 256
    """Prompt tokens that one step may compute."""
    step_seconds: float = 0.4
    """How long a step should take while streams run: it computes fewer prompt tokens where the
    model or its context is slow, but at least a block. That is how long a stream may pause for
    another's prompt. Measured on a model of 0.6B, where 256 tokens take about so long: with a
    twentieth of a second the last of a burst on a warm prefix waits a third longer."""
    kv_bytes: int | None = None
    """Memory for KV blocks; None keeps two full windows where those fit in about 400 MiB."""
    window: int | None = None
    """Longest prompt and answer together; None takes the model's, at most 32,768."""
    start_seconds: float = 30.0
    """How long a start or a restart may take before calls that wait for it give up."""
    cache_share: float = 0.5
    """Share of the blocks that cache entries (`Breakpoint`) may keep from being evicted."""
    kv_precision: KvPrecision = "auto"
    """How keys and values are stored. `auto` decides by model size and speculation."""
    draft_tokens: int | None = None
    """Tokens that a step may guess ahead for a sequence; 0 never, None where it pays."""
    end_ids: tuple[int, ...] = ()
    """Tokens that end a turn beside those that the model's own files name."""


# To the engine.


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """The end of a block that the caller wrote, as a place in the prompt.

    `key` is a digest of everything that the caller wrote up to there; `tokens` are the prompt's
    tokens up to there.
    """

    key: bytes
    tokens: int


class Breakpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix to keep for `ttl_seconds` from the request's start, and the ones to look for.

    The first of `marks` is the prefix to keep; those behind it, ever shorter, are where an entry
    that an earlier request wrote would serve as well.
    """

    ttl_seconds: int
    marks: list[Mark]


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that begins with thinking, which the prompt's end has opened.

    `end` are the tokens that close it as the model's template writes them, for instance those of
    `\\n</think>\\n\\n`, and `marker` is the one among them that says so. When the model writes the
    marker the engine writes the rest of `end`; when it has thought `budget` tokens, or would end
    the turn, all of it. Until then stop sequences, the grammar and its trigger do not apply.
    """

    end: list[int]
    marker: int
    budget: int | None = None
    """Tokens, those of `end` not among them; None sets no limit but `max_tokens`."""


class Submit(msgspec.Struct, tag="submit", kw_only=True):
    """One request. `salt` separates those who must not share blocks: the workspace.

    `grammar` is a llguidance grammar, as its matcher takes it (JSON or Lark text). With a
    `trigger`, the id of the one token that it begins with, it rules from that token on: what comes
    before is free, and so is whether it comes; from there on no stop sequence applies. `quiet` is a
    token that ends stop sequences alone, for a grammar that rules from the first token. `digits` is
    how many a number may have in a row where the grammar writes JSON (see `numbers`). `shown` are
    special tokens whose text belongs to the answer's, where there is a trigger from it on. `cache`
    holds the breakpoints in the order of the prompt. `max_tokens` 0 computes the prompt alone, and
    counts thinking as well. `logprobs` asks for each token's log probability and so many of the
    likeliest beside it.
    """

    id: str
    salt: str
    prompt: list[int]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] = []
    grammar: str | None = None
    trigger: int | None = None
    quiet: int | None = None
    digits: int | None = None
    shown: list[int] = []
    thinking: Thinking | None = None
    lane: Lane = "interactive"
    cache: list[Breakpoint] = []
    logprobs: int | None = None


class Score(msgspec.Struct, tag="score", kw_only=True):
    """How likely is each of some continuations of a prompt, which is computed once.

    With `choice` they are the only answers there may be, and an answer ends where one of them does.
    """

    id: str
    salt: str
    prompt: list[int]
    continuations: list[list[int]]
    choice: bool = False
    lane: Lane = "interactive"


IMAGE_TAG = "<ov_genai_image_{}>"
"""What stands in a prompt for the image of that index."""


class Picture(msgspec.Struct, frozen=True, array_like=True):
    """An image: rows of red, green and blue bytes."""

    width: int
    height: int
    pixels: bytes


class Show(msgspec.Struct, tag="show", kw_only=True):
    """A `Submit` to a model that sees (`renga.engine.vision`), whose prompts are text.

    `images` are in the order of their `IMAGE_TAG` in `prompt`. Without `max_tokens` the prompt is
    counted and not computed.
    """

    id: str
    prompt: str
    images: list[Picture]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: list[str] = []


class Cancel(msgspec.Struct, tag="cancel"):
    """End that request now; unknown ids are ignored, for it may just have finished."""

    id: str


class Drain(msgspec.Struct, tag="drain"):
    """Take nothing new: finish what runs and waits, then leave."""


ToEngine = Submit | Score | Show | Cancel | Drain


# From the engine.


class Ready(msgspec.Struct, tag="ready", kw_only=True):
    """The model is loaded; its facts. Sent once, first."""

    window: int
    vocab: int
    block_size: int
    blocks: int
    kv_bytes: int
    load_seconds: float
    threads: int
    precision: Precision


class Failed(msgspec.Struct, tag="failed"):
    """The model could not be loaded; the process ends after it."""

    message: str


class Started(msgspec.Struct, tag="started"):
    """The prompt is computed; the first token follows. `reused` tokens were read from blocks.

    `cache_read_tokens` are those of the reused ones for which a breakpoint found a live entry;
    `cache_write_*_tokens` are those beyond that the request's breakpoints now keep. All three are
    whole blocks; what is in none of them is input.
    """

    id: str
    prompt_tokens: int
    reused_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    waited_seconds: float = 0.0
    """From its arrival to its first step."""
    prefill_seconds: float = 0.0
    """From there to now, over so many steps:"""
    prefill_steps: int = 0


class Likely(msgspec.Struct, array_like=True):
    """A token's natural log probability before temperature and masks, and the likeliest tokens'."""

    logprob: float
    top: list[tuple[int, float]]


class Output(msgspec.Struct, tag="output"):
    """What one step, or a few close ones, added: every token, and the text that is certain by now.

    Text that may turn out to begin a stop sequence, or a character that is not complete, is held
    back; special tokens have no text, added ones that are not special have.
    """

    id: str
    tokens: list[int]
    text: str
    logprobs: list[Likely] | None = None
    """One for each of `tokens`, where the request asked for them."""
    thinking: bool = False
    """Whether all of it is thinking; else all of it is the answer. The tokens that close thinking
    belong to it and have no text."""


class Scored(msgspec.Struct, tag="scored"):
    """The answer to a `Score`: natural log probabilities, per continuation one for each token."""

    id: str
    logprobs: list[list[float]]


class Finished(msgspec.Struct, tag="finished", kw_only=True):
    """The last message about a request.

    `error` is a sentence where `reason` is "error", and where it is "grammar": then the request's
    own grammar cannot be followed, and nothing is wrong with the engine.
    """

    id: str
    reason: Reason
    stop_sequence: str | None = None
    prompt_tokens: int
    reused_tokens: int
    output_tokens: int
    thinking_tokens: int = 0
    """Of those, the ones of outputs that were thinking."""
    steps: int = 0
    """Steps that computed something of it, those of its prompt included."""
    error: str | None = None


class Refused(msgspec.Struct, tag="refused"):
    """No place in the queue, at once or since a workspace with fewer in it came.

    After `retry_after` seconds there is one, at the pace of late.
    """

    id: str
    reason: Literal["overloaded", "draining"]
    retry_after: float


class Stats(msgspec.Struct, tag="stats", kw_only=True):
    """A snapshot, sent with a flush a few times a second while something runs, and when idle."""

    running: int
    waiting: int
    batch_running: int = 0
    batch_waiting: int = 0
    """Of those, the ones in the batch lane."""
    blocks: int
    free_blocks: int
    """Blocks that a new sequence could take, cached ones included."""
    cached_blocks: int
    """Of those, the ones that hold a reusable prefix."""
    steps: int
    preemptions: int
    prompt_tokens: int
    reused_tokens: int
    output_tokens: int
    pinned_blocks: int = 0
    """Blocks that cache entries keep."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    """Tokens that were guessed ahead, and those of them that were right."""
    model_seconds: float = 0.0
    step_seconds: float = 0.0
    """Time inside the model, and in whole steps."""


FromEngine = Ready | Failed | Started | Output | Scored | Finished | Refused | Stats

_encoder = msgspec.msgpack.Encoder()
_to_engine = msgspec.msgpack.Decoder(list[ToEngine])
_from_engine = msgspec.msgpack.Decoder(list[FromEngine])
_settings = msgspec.msgpack.Decoder(EngineSettings)


def frame(messages: Sequence[ToEngine] | Sequence[FromEngine] | EngineSettings) -> bytes:
    """The bytes on the pipe of some messages, or of the settings that begin it."""
    body = _encoder.encode(messages)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_to_engine(body: bytes) -> list[ToEngine]:
    """The messages of one frame to the engine."""
    return _to_engine.decode(body)


def read_from_engine(body: bytes) -> list[FromEngine]:
    """The messages of one frame from the engine."""
    return _from_engine.decode(body)


def read_settings(body: bytes) -> EngineSettings:
    """The settings of the first frame."""
    return _settings.decode(body)
