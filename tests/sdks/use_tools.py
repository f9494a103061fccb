"""Run with one release of the official SDK: tools, thinking, `parse` and the tool runner, as JSON.

Usage: use_tools.py URL API_VERSION, where API_VERSION may be `default`.
"""

import json
import sys
from typing import Any, Literal

import anthropic
from anthropic import beta_tool
from pydantic import BaseModel

TURNS: Any = [{"role": "user", "content": "Switch the lamp on, please."}]
SWITCH: Any = {
    "name": "switch",
    "description": "Switch a device on or off.",
    "input_schema": {
        "type": "object",
        "properties": {
            "device": {"type": "string", "enum": ["lamp", "heater"]},
            "on": {"type": "boolean"},
        },
        "required": ["device", "on"],
        "additionalProperties": False,
    },
}
ASK: Any = {"model": "haiku", "max_tokens": 100, "messages": TURNS, "tools": [SWITCH]}
FORCED: Any = {**ASK, "tool_choice": {"type": "tool", "name": "switch"}}
STRICT: Any = {**FORCED, "tools": [{**SWITCH, "strict": True}]}
THINK: Any = {
    "model": "haiku",
    "max_tokens": 1_100,
    "messages": TURNS,
    "thinking": {"type": "enabled", "budget_tokens": 1_024},
}


class Wish(BaseModel):
    """What is wanted."""

    device: Literal["lamp", "heater"]
    on: bool


def answered(call: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation after `call`, with a result for each call in it."""
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "done"}
        for block in call["content"]
        if block["type"] == "tool_use"
    ]
    return [
        *TURNS,
        {"role": "assistant", "content": call["content"]},
        {"role": "user", "content": results},
    ]


def use_tools(client: anthropic.Anthropic) -> dict[str, Any]:
    """Calls, forced and free, whole and streamed, and a turn with their results."""
    forced = client.messages.create(**FORCED).to_dict()
    pieces: list[str] = []
    with client.messages.stream(**FORCED) as stream:
        pieces += [event.partial_json for event in stream if event.type == "input_json"]
        streamed = stream.get_final_message().to_dict()
    follow = {**ASK, "messages": answered(forced)}
    counted = client.messages.count_tokens(
        model="haiku", messages=follow["messages"], tools=ASK["tools"]
    )
    return {
        "forced": forced,
        "strict": client.messages.create(**STRICT).to_dict(),
        "pieces": pieces,
        "streamed": streamed,
        "none": client.messages.create(**{**ASK, "tool_choice": {"type": "none"}}).to_dict(),
        "followed": client.messages.create(**follow).to_dict(),
        "counted": counted.input_tokens,
    }


def use_thinking(client: anthropic.Anthropic) -> dict[str, Any]:
    """Thinking, streamed; what was thought sent back, whole and tampered with."""
    with client.messages.stream(**THINK) as stream:
        kinds = list(dict.fromkeys(event.type for event in stream))
        thought = stream.get_final_message().to_dict()
    said: Any = {"role": "assistant", "content": thought["content"]}
    more: Any = [*TURNS, said, {"role": "user", "content": "And now?"}]
    again = client.messages.create(**{**THINK, "messages": more})
    content: Any = [{**said["content"][0], "thinking": "Something else."}, *said["content"][1:]]
    said["content"] = content
    try:
        client.messages.create(**{**THINK, "messages": more})
        refused = ""
    except anthropic.BadRequestError as error:
        refused = str(error)
    hidden: Any = {**THINK, "thinking": {**THINK["thinking"], "display": "omitted"}}
    return {
        "kinds": kinds,
        "thought": thought,
        "again": again.to_dict(),
        "tampered": refused,
        "hidden": client.messages.create(**hidden).to_dict(),
    }


def use_runner(client: anthropic.Anthropic) -> dict[str, Any]:
    """The tool runner over a Python function, one forced call long."""
    calls: list[tuple[str, bool]] = []

    @beta_tool
    def switch(device: Literal["lamp", "heater"], on: bool) -> str:
        """Switch a device on or off.

        Args:
            device: Which one.
            on: Whether it is to be on.
        """
        calls.append((device, on))
        return "done"

    runner = client.beta.messages.tool_runner(
        model="haiku",
        max_tokens=100,
        max_iterations=1,
        messages=TURNS,
        tools=[switch],
        tool_choice={"type": "any"},
    )
    for _ in runner:
        runner.generate_tool_call_response()
    return {"calls": calls}


def main(url: str, version: str) -> None:
    """Use the server at `url` and print what came of it."""
    headers = {} if version == "default" else {"anthropic-version": version}
    options: dict[str, Any] = {
        "api_key": "any",
        "max_retries": 0,
        "timeout": 60.0,
        "default_headers": headers,
        "_strict_response_validation": True,
    }
    with anthropic.Anthropic(base_url=url, **options) as client:
        parsed = client.messages.parse(
            model="haiku", max_tokens=100, messages=TURNS, output_format=Wish
        )
        assert parsed.parsed_output is not None
        found = {
            "sdk": anthropic.__version__,
            "tools": use_tools(client),
            "thinking": use_thinking(client),
            "runner": use_runner(client),
            "parsed": parsed.parsed_output.model_dump(),
        }
    json.dump(found, sys.stdout, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
