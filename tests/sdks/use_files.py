"""Run with one release of the official SDK: files, by each namespace it has, as JSON.

Usage: use_files.py URL API_VERSION, where API_VERSION may be `default`.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import anthropic


def use(files: Any) -> dict[str, Any]:
    """Everything that one namespace can do."""
    made = [files.upload(file=(f"{n}.txt", f"words {n}".encode(), "text/plain")) for n in range(3)]
    one = made[0]
    return {
        "made": [file.to_dict(mode="json") for file in made],
        "found": files.retrieve_metadata(one.id).to_dict(mode="json"),
        "listed": [file.id for file in files.list(limit=2)],
        "download": failed(lambda: files.download(one.id)),
        "deleted": [files.delete(file.id).to_dict() for file in made],
        "gone": failed(lambda: files.retrieve_metadata(one.id)),
    }


def failed(call: Callable[[], Any]) -> dict[str, Any]:
    """What the SDK raises for `call`."""
    try:
        call()
    except anthropic.APIStatusError as error:
        return {"class": type(error).__name__, "status": error.status_code}
    raise AssertionError("nothing was raised")


def ask(client: anthropic.Anthropic) -> dict[str, Any]:
    """A document that was uploaded, and answers about it, whole and streamed."""
    text = b"The tower is 324 metres tall. It was built in 1889."
    files: Any = client.files if hasattr(client, "files") else client.beta.files
    made = files.upload(file=("tower.txt", text, "text/plain"))
    document = {
        "type": "document",
        "source": {"type": "file", "file_id": made.id},
        "title": "Tower",
        "citations": {"enabled": True},
    }
    question = {"type": "text", "text": "It was built in 1889. Nobody lives in it."}
    turns: Any = [{"role": "user", "content": [document, question]}]
    asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 60, "messages": turns}
    with client.messages.stream(**asked) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_message()
    whole = client.messages.create(**asked)
    answer: Any = {"role": "assistant", "content": whole.to_dict()["content"]}
    turns += [answer, {"role": "user", "content": "And then?"}]
    return {
        "file": made.id,
        "streamed": streamed.to_dict(),
        "events": events,
        "whole": whole.to_dict(),
        "next": client.messages.create(**{**asked, "messages": turns}).to_dict(),
    }


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
        "stable": use(client.files) if hasattr(client, "files") else None,
        "beta": use(client.beta.files),
        "asked": ask(client),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
