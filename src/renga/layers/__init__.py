"""Layers: what stands between a request and the backend that answers it.

Owns which of them every server has, in which order. Context edits come first, so that what they
leave out is neither summarised nor counted against the trigger of a summary; searches for tools
come last, so that all rounds of one answer read the same conversation.
"""

from renga.chat.signing import Signer
from renga.ids import Ids
from renga.layers.base import Layer
from renga.layers.compaction import compaction
from renga.layers.context import context_edits
from renga.layers.tool_search import tool_search


def standard(*, ids: Ids, signer: Signer) -> list[Layer]:
    """The layers of a server, the outermost first."""
    return [context_edits, compaction(signer), tool_search(ids)]
