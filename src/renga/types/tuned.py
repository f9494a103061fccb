"""What an edge of another API may ask beside the fields of the Messages API.

Owns the rule that these stay inside: a body on the Messages wire is never read as a
`TunedRequest`, and what answers them (`renga.events.TextDelta.logprobs`) is not written there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from renga.types.requests import MessagesRequest

MOST_LOGPROBS = 20


class TunedRequest(MessagesRequest):
    """A request with more ways to draw tokens.

    `seed` makes drawing repeatable; `logprobs` asks for the log probability of each token of the
    text, and so many of the likeliest beside it. Temperatures up to 2 are flatter than the model.
    """

    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
