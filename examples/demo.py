"""`make demo`: what renga does, shown on the model that it ships, through the official Claude SDK.

Starts `renga serve` on a free port with an empty state folder of its own, and asks: a streamed
support answer; 20 rows of a public test set, with the labels in the prompt; an extraction whose
JSON meets a schema by construction; a token count; the list of models. Prints answers, times and
what each call cost. The exit code is 1 if anything was wrong: the list is in `Problems`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic

ROWS = Path(__file__).parent / "data" / "clinc150_20.jsonl"
MODEL = "claude-haiku-4-5"
LEAST_ACCURACY = 0.5  # ten labels: chance is 0.1
STOP_SECONDS = 30

SUPPORT = """\
You are the support assistant of Birchwood Books, an online bookshop. Orders arrive within 3 to 5 \
days. Returns are free within 30 days. Support is open from 9 to 5, Monday to Friday."""
QUESTION = "Hello! How long does delivery take?"

CLASSIFY = """\
Classify the message into one of these categories. Answer with the category only.

Categories: {labels}"""

LETTER = """\
Hi, my name is Dana Meyer. I would like to return order 48213: the lamp I bought for $39.90 is \
broken. You can reach me at dana.meyer@example.com. Thank you!"""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "email": {"type": "string"},
        "order_number": {"type": "string"},
        "product": {"type": "string"},
        "amount": {"type": "number"},
    },
    "required": ["name", "email", "order_number", "product", "amount"],
    "additionalProperties": False,
}
VALUES = {
    "name": "Dana Meyer",
    "email": "dana.meyer@example.com",
    "order_number": "48213",
    "product": "lamp",
    "amount": 39.9,
}
TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float)}


class Problems:
    """What went wrong.

    That is: an error, an empty answer, JSON that does not meet its schema, accuracy below
    `LEAST_ACCURACY`, a cost that is missing or 0, an answer whose row in the ledger is not closed,
    a server that does not stop.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, holds: bool, otherwise: str) -> None:
        """Note `otherwise` unless it holds."""
        if not holds:
            self.found.append(otherwise)
            print(f"  !! {otherwise}")


class Demo:
    """The calls, over one client."""

    def __init__(self, client: anthropic.Anthropic, problems: Problems) -> None:
        self._client = client
        self._problems = problems

    def run(self) -> None:
        """All of them, in order."""
        self.list_models()
        self.stream_support_answer()
        self.classify_rows()
        self.extract_json()
        self.count_tokens()

    def list_models(self) -> None:
        """`GET /v1/models`."""
        _title("Models")
        models = list(self._client.models.list())
        for model in models:
            print(f"  {model.id}  ({model.display_name})")
        self._problems.check(len(models) == 3, f"{len(models)} models are listed instead of 3")

    def stream_support_answer(self) -> None:
        """A streamed answer under a system prompt."""
        _title("A support answer, streamed")
        print(f"  Q: {QUESTION}\n  A: ", end="", flush=True)
        began, first = time.perf_counter(), None
        with self._client.messages.stream(
            model=MODEL,
            max_tokens=200,
            system=SUPPORT,
            messages=[{"role": "user", "content": QUESTION}],
        ) as stream:
            for text in stream.text_stream:
                first = first or time.perf_counter()
                print(text, end="", flush=True)
            message, request_id = stream.get_final_message(), stream.request_id
        ended = time.perf_counter()
        print()
        self._problems.check(first is not None, "the support answer is empty")
        first = first or ended
        speed = max(message.usage.output_tokens - 1, 0) / max(ended - first, 1e-9)
        print(
            f"  -- first token after {(first - began) * 1000:.0f} ms, {speed:.0f} tokens/s, "
            f"{_usage(message)}, ${self._cost(request_id)}"
        )

    def classify_rows(self) -> None:
        """Rows of a public test set with the labels in the prompt, and how many come out right."""
        _title("20 rows of CLINC150, ten labels in the prompt")
        rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
        labels = sorted({row["intent"] for row in rows})
        system = CLASSIFY.format(labels=", ".join(labels))
        right, total, began = 0, Decimal(0), time.perf_counter()
        for row in rows:
            answer, _, cost = self._ask(f"Message: {row['text']}", system=system, max_tokens=24)
            hit = answer.strip().lower() == row["intent"]
            right, total = right + hit, total + cost
            mark, text = "ok " if hit else "not", row["text"][:52]
            print(f"  {mark}  {text:<52}  {answer.strip():<24}  ${cost}")
        accuracy, each = right / len(rows), (time.perf_counter() - began) / len(rows)
        print(
            f"  -- accuracy {accuracy:.0%} ({right} of {len(rows)}), "
            f"{each * 1000:.0f} ms a row, ${total} together"
        )
        self._problems.check(
            accuracy >= LEAST_ACCURACY, f"accuracy {accuracy:.0%} is below {LEAST_ACCURACY:.0%}"
        )

    def extract_json(self) -> None:
        """An answer that meets a JSON Schema, and which of its values are what the letter says."""
        _title("JSON by a schema")
        answer, message, cost = self._ask(
            "Extract the following fields from the message and return JSON: "
            f"{', '.join(SCHEMA['properties'])}.\n\nMessage: {LETTER}",
            max_tokens=200,
            output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
        )
        print(f"  {LETTER}")
        whole = _meets_schema(answer)
        self._problems.check(whole, "the extraction does not meet its schema")
        found = json.loads(answer) if whole else {}
        for field, value in found.items():
            print(f"  {'ok ' if value == VALUES[field] else 'not'}  {field:<12}  {value}")
        right = sum(value == VALUES[field] for field, value in found.items())
        print(f"  -- {right} of {len(VALUES)} values right, {_usage(message)}, ${cost}")
        self._problems.check(
            right >= LEAST_ACCURACY * len(VALUES), f"{right} of {len(VALUES)} values are right"
        )

    def count_tokens(self) -> None:
        """The size of a prompt, before it is sent and after."""
        _title("Tokens, counted before")
        messages: list[Any] = [{"role": "user", "content": QUESTION}]
        counted = self._client.messages.count_tokens(model=MODEL, messages=messages).input_tokens
        _, message, cost = self._ask(QUESTION, max_tokens=1)
        print(f"  counted {counted}, charged {message.usage.input_tokens}; counting is free")
        print(f"  -- {_usage(message)}, ${cost}")
        self._problems.check(
            counted == message.usage.input_tokens, "count_tokens and the answer's usage differ"
        )

    def _ask(self, question: str, **more: Any) -> tuple[str, anthropic.types.Message, Decimal]:
        """One whole answer, its text and its cost."""
        raw = self._client.messages.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": question}], **more
        )
        message = raw.parse()
        text = "".join(block.text for block in message.content if block.type == "text")
        self._problems.check(bool(text.strip()), f"the answer to {question[:40]!r} is empty")
        in_ledger = self._cost(raw.headers.get("request-id"))
        header = raw.headers.get("renga-cost-usd")
        self._problems.check(
            header is not None and Decimal(header) == in_ledger,
            f"renga-cost-usd says {header}, the ledger {in_ledger}",
        )
        return text, message, in_ledger

    def _cost(self, request_id: str | None) -> Decimal:
        """Dollars that an answer cost, from its row in the ledger, which must be closed."""
        row = self._client.get(f"/v1/renga/requests/{request_id}", cast_to=dict[str, Any])
        self._problems.check(row["status"] == "ok", f"the row of {request_id} is {row['status']}")
        cost = Decimal(row["cost_usd"] or 0)
        self._problems.check(cost > 0, f"the cost of {request_id} is {row['cost_usd']}")
        return cost


def _title(text: str) -> None:
    print(f"\n{text}")


def _usage(message: anthropic.types.Message) -> str:
    return f"{message.usage.input_tokens} tokens in, {message.usage.output_tokens} out"


def _meets_schema(text: str) -> bool:
    """Whether `text` is what SCHEMA describes: these keys, of these types, no others."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    fields = SCHEMA["properties"]
    return (
        isinstance(value, dict)
        and value.keys() == fields.keys()
        and all(isinstance(value[name], TYPES[f["type"]]) for name, f in fields.items())
    )


def _others(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are no settings of the person's own server."""
    return {k: v for k, v in environment.items() if not k.startswith("RENGA_")}


@contextmanager
def running_server(home: str, config: str, problems: Problems) -> Iterator[str]:
    """`renga serve` on a free port; its address. Stopped as an operator stops it."""
    began = time.perf_counter()
    log = Path(home) / "server.log"
    with log.open("wb") as logged:
        process = subprocess.Popen(
            [sys.executable, "-m", "renga.cli", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=logged,
            text=True,
            cwd=home,
            env={**_others(os.environ), "RENGA_HOME": home, "RENGA_CONFIG": config},
        )
    try:
        assert process.stdout is not None
        banner: list[str] = []
        for line in process.stdout:
            print(line, end="")
            banner.append(line)
            if line.startswith("  configuration:"):
                break
        else:
            raise SystemExit(process.wait() or 1)
        print(f"  ready after {time.perf_counter() - began:.1f} s")
        yield banner[0].split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
            problems.check(code == 0, f"the server ended with exit code {code}")
        except subprocess.TimeoutExpired:
            problems.check(False, f"the server did not stop within {STOP_SECONDS} s")
            process.kill()
        # A line for each request is for operators; what else the server says is for everybody.
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if " INFO " not in line:
                sys.stderr.write(line)


def main() -> int:
    """Run the demo; 0 if nothing was wrong."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--config", default="", help="a renga.toml, to show another model")
    config = options.parse_args().config
    problems, began = Problems(), time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as home,
        running_server(home, config and str(Path(config).resolve()), problems) as url,
        # A proxy that the environment names cannot reach this machine's own address.
        anthropic.DefaultHttpxClient(mounts={"http://": None}) as http,
        anthropic.Anthropic(
            base_url=url, api_key="any", timeout=60, max_retries=0, http_client=http
        ) as client,
    ):
        try:
            Demo(client, problems).run()
        except anthropic.AnthropicError as error:
            problems.check(False, f"{type(error).__name__}: {error}")
    print(f"\n{time.perf_counter() - began:.0f} s, ", end="")
    print("all is well" if not problems.found else f"{len(problems.found)} things were wrong:")
    for problem in problems.found:
        print(f"  - {problem}")
    return 1 if problems.found else 0


if __name__ == "__main__":
    sys.exit(main())
