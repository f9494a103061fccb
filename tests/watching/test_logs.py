"""The log: its two forms, what stands in it of a request, and what never does."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.watching.logs import Json, Lines, Text, logging_to
from tests.conftest import StartServer, scripted
from tests.serving import Served

MARKER = "MARKER-9d2e"


def record(message: str, **told: object) -> logging.LogRecord:
    made = logging.LogRecord("renga.http", logging.INFO, "file", 1, message, (), None)
    made.created = 1_800_000_000.25
    made.told = told
    return made


def test_a_line_as_text_and_as_json():
    made = record("request", status=200, path="/v1/messages", workspace="two words")
    begin = "2027-01-15T08:00:00.250Z INFO    request"
    assert Text().format(made) == f'{begin} status=200 path=/v1/messages workspace="two words"'
    assert json.loads(Json().format(made)) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "logger": "renga.http",
        "message": "request",
        "status": 200,
        "path": "/v1/messages",
        "workspace": "two words",
    }


@given(st.text(), st.text())
def test_whatever_is_told_a_line_is_one_line(message: str, value: str):
    made = record("%s", told=value)
    made.args = (message,)
    for formatter in (Text(), Json()):
        assert len(formatter.format(made).splitlines()) == 1
    assert json.loads(Json().format(made))["told"] == value


def test_a_trace_stands_behind_its_line():
    try:
        raise ValueError("broken")
    except ValueError:
        made = record("request failed")
        made.exc_info = sys.exc_info()
    assert Text().format(made).endswith("ValueError: broken")
    assert json.loads(Json().format(made))["exception"].endswith("ValueError: broken")


def test_lines_come_in_order_and_the_last_before_the_end():
    out = io.StringIO()
    with logging_to(out.write, "json"):
        for number in range(500):
            logging.getLogger("renga.test").info("line %d", number)
        logging.getLogger("elsewhere").info("nobody's business")
        logging.getLogger("elsewhere").warning("look")
    found = [json.loads(line)["message"] for line in out.getvalue().splitlines()]
    assert found == [*(f"line {number}" for number in range(500)), "look"]


def test_a_log_that_nobody_reads_stops_nobody_and_says_what_is_missing():
    free, out = threading.Event(), io.StringIO()

    def write(text: str) -> None:
        free.wait(20)
        out.write(text)

    handler = Lines(write, most=10)
    handler.setFormatter(Text())
    for number in range(100):
        handler.emit(record(f"line {number}"))
    free.set()
    handler.close()
    lines = out.getvalue().splitlines()
    assert 10 <= len(lines) < 30
    assert lines[-1].endswith("lines of the log were left out: they were not read fast enough")


def served_log(served: Served) -> list[str]:
    """What it had written when it ended."""
    served.process.terminate()
    return (served.process.communicate(timeout=30)[1] or "").splitlines()


def ask(served: Served) -> str:
    """Requests with the marker wherever a caller may put one; the id of the first."""
    turns = [{"role": "user", "content": MARKER}]
    plain: Any = {"model": "haiku", "max_tokens": 20, "messages": turns}
    with anthropic.Anthropic(base_url=served.url, api_key=f"key-{MARKER}", max_retries=0) as client:
        raw = client.messages.with_raw_response.create(
            **plain, system=MARKER, metadata={"user_id": MARKER}
        )
        assert MARKER in raw.text()
        with client.messages.stream(**plain) as stream:
            assert MARKER in stream.get_final_text()
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(**plain, extra_body={"temperature": MARKER})
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**{**plain, "model": f"claude-{MARKER}"})
    headers = {"x-api-key": MARKER, "anthropic-version": "2023-06-01"}
    httpx.post(f"{served.url}/v1/messages?q={MARKER}", content=MARKER, headers=headers)
    return raw.headers["request-id"]


def test_each_request_has_one_line_and_no_text_of_it_nor_its_key(start_server: StartServer):
    served = start_server(scripted() + '[telemetry]\nlogs = "json"\n')
    request_id = ask(served)
    httpx.get(f"{served.url}/readyz")
    metrics = httpx.get(f"{served.url}/metrics").text
    text = served_log(served)
    lines = [json.loads(line) for line in text]
    assert [(line["path"], line["status"]) for line in lines if line["message"] == "request"] == [
        ("/v1/messages", 200),
        ("/v1/messages", 200),
        ("/v1/messages", 400),
        ("/v1/messages", 404),
        ("/v1/messages", 400),
    ]
    first = lines[0]
    assert first["request_id"] == request_id
    assert (first["workspace"], first["tier"], first["backend"]) == ("default", "haiku", "script")
    assert first["output_tokens"] > 0
    assert first["ms"] > 0
    assert MARKER not in "".join(text) + metrics


def test_a_line_says_how_an_answer_ended_whatever_its_status_was(start_server: StartServer):
    served = start_server(
        """
[telemetry]
logs = "json"
[backends.down]
kind = "messages"
model = "m"
urls = ["http://127.0.0.1:1"]
[backends.breaks]
kind = "scripted"
fault = "error"
fail_after = 3
reply = "one two three four five six"
[tiers.haiku]
backends = ["down"]
fallback = "sonnet"
[tiers.sonnet]
backends = ["breaks"]
[retry]
attempts = 1
"""
    )
    headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
    turns = [{"role": "user", "content": "hi"}]
    for model, stream in (("haiku", True), ("opus", False)):
        body = {"model": model, "max_tokens": 20, "messages": turns, "stream": stream}
        httpx.post(f"{served.url}/v1/messages", json=body, headers=headers)
    lines = [json.loads(line) for line in served_log(served)]
    told = [line for line in lines if line["message"] == "request"]
    assert [(t["status"], t["tier"], t["served_tier"], t["attempts"]) for t in told] == [
        (200, "haiku", "sonnet", 1),
        (500, "opus", "sonnet", 1),
    ]
    assert [(line["ended"], line["cause"]) for line in told] == [("error", "api_error")] * 2


def test_prompts_are_logged_where_that_was_asked_for(start_server: StartServer):
    served = start_server(scripted() + "[telemetry]\nlog_prompts = true\n")
    ask(served)
    text = served_log(served)
    assert any(MARKER in line and "request_id=req_" in line for line in text)
    assert f"key-{MARKER}" not in "".join(text)


def test_lines_about_requests_can_be_turned_off(start_server: StartServer):
    served = start_server(scripted() + "[telemetry]\naccess = false\n")
    ask(served)
    assert served_log(served) == []


def test_without_traces_nothing_of_opentelemetry_is_loaded_or_sent(tmp_path: Path):
    program = """
import asyncio, sys
from pathlib import Path
from renga.app import App
from renga.config import load_config
async def main():
    app = await App.start(load_config(Path(sys.argv[1]), env={"RENGA_HOME": sys.argv[2]}))
    await app.aclose()
asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    config = tmp_path / "renga.toml"
    config.write_text(scripted(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", program, str(config), str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
