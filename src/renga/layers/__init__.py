"""Layers: what stands between a request and the backend that answers it.

Owns which of them every server has, in which order. An old answer stands in for all of them, so
it is looked for around them. What is named by a source is put into the
request before anything looks at it. Citations are of that, and of the whole answer, whoever
wrote which part of it. Context edits come next, so that what they
leave out is neither summarised nor counted against the trigger of a summary; searches for tools
come last, so that all rounds of one answer read the same conversation.
"""

from renga.chat.signing import Signer
from renga.citations.finding import ReadPages
from renga.ids import Ids
from renga.layers.base import Layer
from renga.layers.cached import CachedAnswers
from renga.layers.citations import citing
from renga.layers.compaction import compaction
from renga.layers.context import context_edits
from renga.layers.sources import resolving
from renga.layers.tool_search import tool_search
from renga.media.resolving import Resolver


def standard(
    *,
    ids: Ids,
    signer: Signer,
    resolver: Resolver | None = None,
    pages: ReadPages | None = None,
    answers: CachedAnswers | None = None,
) -> list[Layer]:
    """The layers of a server, the outermost first.

    Without a `resolver`, sources stay sources; without `pages`, nothing is cited; without
    `answers`, none is given again.
    """
    first: list[Layer] = [] if answers is None else [answers.layer]
    if resolver is not None:
        first.append(resolving(resolver))
    if pages is not None:
        first.append(citing(pages))
    return [*first, context_edits, compaction(signer), tool_search(ids)]
