"""Why the prompt cache missed: a request's prompt compared with that of an earlier answer.

Owns what is compared and in which order (what serves it, tools, system text, messages), and what is
kept for it: of each answer whose request asked for diagnostics a fingerprint of about 300 bytes, of
the last MOST answers in all and of the last MOST_OF_A_WORKSPACE of a workspace, in memory alone. It
reads prompts by `renga.caching`, so that marks and bookkeeping make no difference, and it knows no
entries: whether they are alive is what usage says.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from renga.caching import positions
from renga.reading import written_turns
from renga.types import Diagnostics, MessagesRequest, NotCompared, PrefixChanged, Prompt, Usage

MOST: Final = 10_000
MOST_OF_A_WORKSPACE: Final = 1_000


class _Head(NamedTuple):
    """Digests of the tools, and of the tools with the system text behind them."""

    tools: bytes
    system: bytes


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is remembered of a prompt. `last` digests all of it: its first `blocks` blocks.

    `served_by` is what has the cache; `cached` are the tokens that the answer left in it.
    """

    served_by: str
    head: _Head
    blocks: int
    last: bytes
    cached: int


class Comparisons:
    """The fingerprints of one server."""

    def __init__(self, *, most: int = MOST, most_of_a_workspace: int = MOST_OF_A_WORKSPACE) -> None:
        self._most = most
        self._most_of_one = most_of_a_workspace
        # The least recently answered first, workspaces as well as their answers.
        self._kept: OrderedDict[str, OrderedDict[str, Fingerprint]] = OrderedDict()
        self._count = 0

    def judge(
        self,
        request: MessagesRequest,
        *,
        workspace: str,
        served_by: str,
        message: str,
        usage: Usage,
    ) -> Diagnostics | None:
        """What to say about `request`, whose answer `message` begins with this `usage`.

        None where nothing was asked, where there is nothing to compare with, and where the prompt
        goes on from the earlier one.
        """
        if request.diagnostics is None:
            return None
        keys, head = _keys(request)
        previous = request.diagnostics.previous_message_id
        told = None
        if previous is not None:
            mine = self._kept.get(workspace)
            known = mine.get(previous) if mine else None
            told = _compare(known, served_by, head, keys, usage)
        cached = usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        last = keys[-1] if keys else b""
        self._keep(workspace, message, Fingerprint(served_by, head, len(keys), last, cached))
        return told

    def _keep(self, workspace: str, message: str, fingerprint: Fingerprint) -> None:
        mine = self._kept.setdefault(workspace, OrderedDict())
        self._kept.move_to_end(workspace)
        mine[message] = fingerprint
        self._count += 1
        if len(mine) > self._most_of_one:
            mine.popitem(last=False)
            self._count -= 1
        while self._count > self._most:
            name, oldest = next(iter(self._kept.items()))
            oldest.popitem(last=False)
            self._count -= 1
            if not oldest:
                del self._kept[name]


def _keys(prompt: Prompt) -> tuple[list[bytes], _Head]:
    """The digests of all positions, and those of the prompt's head."""
    found = positions(prompt, written_turns(prompt))
    tools = [p.key for p in found if p.path.startswith("tools.")]
    system = [p.key for p in found if p.path.startswith("system.")]
    return [p.key for p in found], _Head((tools or [b""])[-1], (system or [b""])[-1])


def _compare(
    known: Fingerprint | None, served_by: str, head: _Head, keys: list[bytes], usage: Usage
) -> Diagnostics | None:
    if known is None:
        return Diagnostics(cache_miss_reason=NotCompared(type="previous_message_not_found"))
    missed = max(0, known.cached - usage.cache_read_input_tokens)
    if known.served_by != served_by:
        reason = PrefixChanged(type="model_changed", cache_missed_input_tokens=missed)
    elif known.head.tools != head.tools:
        reason = PrefixChanged(type="tools_changed", cache_missed_input_tokens=missed)
    elif known.head.system != head.system:
        reason = PrefixChanged(type="system_changed", cache_missed_input_tokens=missed)
    elif known.blocks and keys[known.blocks - 1 : known.blocks] != [known.last]:
        reason = PrefixChanged(type="messages_changed", cache_missed_input_tokens=missed)
    else:
        return None
    return Diagnostics(cache_miss_reason=reason)
