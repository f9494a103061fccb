"""Run with one release of the official SDK: everything a client does, what came of it as JSON.

Usage: use_sdk.py URL API_VERSION, where API_VERSION may be `default`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import anthropic

TURNS: Any = [{"role": "user", "content": "Where is my order?"}]
SYSTEM = "Be brief."
ASK: Any = {"model": "claude-haiku-4-5", "max_tokens": 40, "messages": TURNS, "system": SYSTEM}


def use(client: anthropic.Anthropic) -> dict[str, Any]:
    """Each kind of call, once."""
    raw = client.messages.with_raw_response.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()
    events = [event.type for event in client.messages.create(**ASK, stream=True)]
    beta = client.beta.messages.with_raw_response.create(**ASK, betas=["warp-2030-01-01"])
    count = client.messages.count_tokens(model="haiku", messages=TURNS, system=SYSTEM)
    return {
        "created": raw.parse().to_dict(),
        "headers": {k.lower(): v for k, v in raw.headers.items()},
        "pieces": pieces,
        "streamed": streamed.to_dict(),
        "events": events,
        "beta_ignored": beta.headers["renga-ignored"],
        "beta": beta.parse().to_dict(),
        "count": count.to_dict(),
        "models": [model.id for model in client.models.list(limit=2)],
        "cache": cache(client),
        "model": client.models.retrieve("claude-3-5-haiku-latest").to_dict(),
    }


def cache(client: anthropic.Anthropic) -> dict[str, Any]:
    """A prompt that is warmed, then read twice, the second time with another beginning."""
    words = f"{anthropic.__version__} {os.getpid()}: " + "Be brief and kind. " * 60
    mark = {"type": "ephemeral", "ttl": "1h"}

    def ask(text: str, most: int, previous: str | None) -> dict[str, Any]:
        system: Any = [{"type": "text", "text": text, "cache_control": mark}]
        body = {"diagnostics": {"previous_message_id": previous}}
        fields = {**ASK, "system": system, "max_tokens": most}
        answer: dict[str, Any] = client.messages.create(**fields, extra_body=body).to_dict()
        return answer

    warm = ask(words, 0, None)
    return {
        "warm": warm,
        "read": ask(words, 1, str(warm["id"])),
        "missed": ask("Now: " + words, 1, str(warm["id"])),
    }


def failed(call: Callable[[], Any]) -> dict[str, Any]:
    """What the SDK raises for `call`."""
    try:
        call()
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "type": body["error"]["type"],
            "message": body["error"]["message"],
            "same_id": body["request_id"] == error.request_id,
        }
    raise AssertionError("nothing was raised")


def errors(client: anthropic.Anthropic) -> dict[str, Any]:
    """Each kind of error that a scripted backend or a bad call gives."""
    create = client.messages.create

    def cut() -> None:
        with client.messages.stream(**{**ASK, "model": "opus"}) as stream:
            stream.until_done()

    return {
        "bad field": failed(lambda: create(**{**ASK, "max_tokens": -1})),
        "unknown model": failed(lambda: create(**{**ASK, "model": "gpt-4"})),
        "too large": failed(lambda: create(**{**ASK, "system": "x" * 33_000_000})),
        "overloaded": failed(lambda: create(**{**ASK, "model": "sonnet"})),
        "overloaded stream": failed(lambda: create(**{**ASK, "model": "sonnet"}, stream=True)),
        "cut stream": failed(cut),
        "sampling": sampling(client),
    }


def sampling(client: anthropic.Anthropic) -> dict[str, Any] | str:
    """What becomes of `temperature`, which one API version has and the other has not."""
    try:
        answer = client.messages.create(**ASK, extra_body={"temperature": 0.5})
    except anthropic.BadRequestError as error:
        return str(error)
    kind: str = answer.type
    return kind


async def use_async(url: str, options: dict[str, Any]) -> str:
    """The asynchronous client, streaming."""
    async with (
        anthropic.AsyncAnthropic(base_url=url, **options) as client,
        client.messages.stream(**ASK) as stream,
    ):
        return "".join([piece async for piece in stream.text_stream])


def main(url: str, version: str) -> None:
    """Use the server at `url` and print what came of it."""
    headers = {} if version == "default" else {"anthropic-version": version}
    options: dict[str, Any] = {
        "api_key": "any",
        "max_retries": 0,
        "timeout": 30.0,
        "default_headers": headers,
        "_strict_response_validation": True,
    }
    with anthropic.Anthropic(base_url=url, **options) as client:
        found = {"sdk": anthropic.__version__, **use(client), "errors": errors(client)}
    found["async"] = asyncio.run(use_async(url, options))
    json.dump(found, sys.stdout, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
