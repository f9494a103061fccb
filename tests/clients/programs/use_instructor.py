"""Run with instructor: a typed answer by a forced tool, whole and streamed, as JSON. Usage: URL."""

import json
import sys

import anthropic
import instructor
from pydantic import BaseModel

QUESTION = "I will be in Oslo for 3 days. Return JSON with the fields city and days."


class Visit(BaseModel):
    """A visit to a city."""

    city: str
    days: int


def main(url: str) -> None:
    """Use the server at `url` and print what came of it."""
    client = instructor.from_anthropic(
        anthropic.Anthropic(base_url=url, api_key="any", max_retries=0),
        mode=instructor.Mode.ANTHROPIC_TOOLS,
    )
    ask = {
        "model": "haiku",
        "max_tokens": 300,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    whole = client.messages.create(**ask, response_model=Visit)
    last = list(client.messages.create_partial(**ask, response_model=Visit))[-1]
    found = {"whole": whole.model_dump(), "streamed": last.model_dump()}
    json.dump(found, sys.stdout)


main(sys.argv[1])
