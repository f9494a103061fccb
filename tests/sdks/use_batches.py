"""Run with one release of the official SDK: a batch from its creation to its deletion, as JSON.

Usage: use_batches.py URL API_VERSION, where API_VERSION may be `default`.
"""

import json
import sys
import time
from typing import Any

import anthropic


def use(batches: Any) -> dict[str, Any]:
    """Everything that one namespace can do."""
    requests = [
        {
            "custom_id": f"r{n}",
            "params": {
                "model": "claude-haiku-4-5",
                "max_tokens": 20,
                "messages": [{"role": "user", "content": f"words {n}"}],
            },
        }
        for n in range(5)
    ]
    wrong = {"model": "gpt-4", "max_tokens": 20, "messages": [{"role": "user", "content": "a"}]}
    requests.append({"custom_id": "wrong", "params": wrong})
    made = batches.create(requests=requests)
    seen = [made]
    while seen[-1].processing_status != "ended":
        time.sleep(0.1)
        seen.append(batches.retrieve(made.id))
    lines = list(batches.results(made.id))
    second = batches.create(requests=requests[:1])
    canceled = batches.cancel(second.id)
    while batches.retrieve(second.id).processing_status != "ended":
        time.sleep(0.1)
    return {
        "made": made.to_dict(mode="json"),
        "ended": seen[-1].to_dict(mode="json"),
        "lines": [line.to_dict(mode="json") for line in lines],
        "types": sorted({type(line.result).__name__ for line in lines}),
        "canceled": canceled.to_dict(mode="json"),
        "listed": [batch.id for batch in batches.list(limit=1)],
        "deleted": [batches.delete(name).to_dict() for name in (made.id, second.id)],
        "gone": failed(batches, made.id),
    }


def failed(batches: Any, name: str) -> str:
    """The class of what the SDK raises for a batch that is not there."""
    try:
        batches.retrieve(name)
    except anthropic.APIStatusError as error:
        return type(error).__name__
    raise AssertionError("nothing was raised")


def main(url: str, version: str) -> None:
    """Print what came of it."""
    headers = {} if version == "default" else {"anthropic-version": version}
    client = anthropic.Anthropic(
        base_url=url,
        api_key="any",
        default_headers=headers,
        max_retries=0,
        _strict_response_validation=True,
    )
    found = {
        "sdk": anthropic.__version__,
        "stable": use(client.messages.batches),
        "beta": use(client.beta.messages.batches),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
