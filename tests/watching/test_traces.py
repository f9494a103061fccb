"""Traces as OpenTelemetry's own SDK and its wire hold them, from HTTP to the engine's steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from renga.app import App
from renga.backends.steps import traced
from renga.config import BackendConfig, Config, TierConfig
from renga.engine.messages import Finished, Output, Started
from renga.http.server import listen, settings_of, url_of
from renga.watching.spans import SentTraces
from renga.watching.traces import NO_TRACE
from tests.conftest import StartServer, scripted
from tests.http.served import Connection, Served, asking, configured, open_served

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID = int(PARENT.split("-")[1], 16)
UNSAMPLED = PARENT[:-1] + "0"


class Spans:
    """What was kept, by name."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = SentTraces(SimpleSpanProcessor(self.exporter))

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.all if span.name == name]
        return found

    def path(self, span: ReadableSpan) -> list[str]:
        """The names from the outermost down to it."""
        by_id = {s.context.span_id: s for s in self.all}
        names = [span.name]
        while span.parent is not None and span.parent.span_id in by_id:
            span = by_id[span.parent.span_id]
            names.insert(0, span.name)
        return names


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def start(stack: AsyncExitStack, config: Config, spans: Spans) -> Served:
    app = await App.start(config, tracer=spans.tracer)
    stack.push_async_callback(app.aclose)
    return await open_served(stack, app)


@pytest.fixture
async def served(stack: AsyncExitStack, tmp_path: Path, spans: Spans) -> Served:
    config = configured(tmp_path / "home", haiku={}, sonnet={"fault": "error"})
    return await start(stack, replace(config, retry=replace(config.retry, attempts=1)), spans)


async def test_one_trace_from_the_callers_span_to_the_attempt(served: Served, spans: Spans):
    response = await served.post(asking(temperature=0.5), traceparent=PARENT, tracestate="a=b")
    request, attempt = spans.one("POST /v1/messages"), spans.one("chat renga-haiku-1")
    assert {span.context.trace_id for span in spans.all} == {TRACE_ID}
    assert request.parent is not None
    assert request.parent.span_id == int(PARENT.split("-")[2], 16)
    assert request.context.trace_state.get("a") == "b"
    assert spans.path(attempt) == ["POST /v1/messages", "answer", "chat renga-haiku-1"]
    assert (request.kind, attempt.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    told = dict(request.attributes or {})
    assert told["http.response.status_code"] == 200
    assert told["http.route"] == "/v1/messages"
    assert told["renga.request_id"] == response.headers["request-id"]
    asked, usage = dict(attempt.attributes or {}), response.json()["usage"]
    assert asked["gen_ai.operation.name"] == "chat"
    assert asked["gen_ai.request.model"] == "renga-haiku-1"
    assert asked["gen_ai.request.temperature"] == 0.5
    assert asked["gen_ai.usage.input_tokens"] == usage["input_tokens"]
    assert asked["gen_ai.usage.output_tokens"] == usage["output_tokens"]
    assert asked["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert dict(spans.one("answer").attributes or {})["renga.workspace"] == "default"


async def test_names_are_those_of_the_conventions(served: Served, spans: Spans):
    await served.post(asking(top_p=0.5, top_k=3, stream=True))
    names = {name for name in vars(gen_ai_attributes) if name.startswith("GEN_AI_")}
    known = {getattr(gen_ai_attributes, name) for name in names}
    used = {name for span in spans.all for name in span.attributes or {} if "gen_ai" in name}
    assert len(used) > 8
    assert used <= known


async def test_a_trace_begins_here_where_none_comes_in_and_a_broken_one_is_none(
    served: Served, spans: Spans
):
    await served.post(asking())
    await served.post(asking(), traceparent="00-zz-zz-01")
    roots = [span for span in spans.all if span.parent is None]
    assert [span.name for span in roots] == ["POST /v1/messages"] * 2
    assert len({span.context.trace_id for span in roots}) == 2


async def test_who_does_not_sample_is_not_sampled(served: Served, spans: Spans):
    response = await served.post(asking(), traceparent=UNSAMPLED)
    assert response.status_code == 200
    assert spans.all == []


async def test_what_fails_says_so(served: Served, spans: Spans):
    await served.post(asking(model="sonnet"))
    attempt, answer = spans.one("chat renga-sonnet-1"), spans.one("answer")
    for span in (attempt, answer, spans.one("POST /v1/messages")):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"]
    await served.post({"model": "haiku"})
    bad = [s for s in spans.all if (s.attributes or {}).get("http.response.status_code") == 400]
    assert [span.status.status_code for span in bad] == [StatusCode.UNSET]


async def test_every_span_ends_when_the_client_leaves(
    stack: AsyncExitStack, tmp_path: Path, spans: Spans
):
    slow = {"token_delay_ms": 20.0, "reply": "word " * 200}
    served = await start(stack, configured(tmp_path / "home", haiku=slow), spans)
    connection = Connection(served, asking(stream=True, max_tokens=300))
    async with stack:
        task = asyncio.create_task(connection.run())
        await connection.until(lambda c: b"content_block_delta" in c.body)
        connection.leave()
        await task
    statuses = {s.name: (s.attributes or {}).get("renga.status") for s in spans.all}
    assert statuses["answer"] == statuses["chat renga-haiku-1"] == "cancelled"


MARKER = "MARKER-51c9"


async def test_prompts_stand_in_spans_only_where_that_was_asked_for(
    stack: AsyncExitStack, tmp_path: Path
):
    for prompts in (False, True):
        spans = Spans()
        config = configured(tmp_path / f"home{prompts}", haiku={})
        telemetry = replace(config.telemetry, log_prompts=prompts)
        served = await start(stack, replace(config, telemetry=telemetry), spans)
        body = asking(MARKER, system=MARKER, metadata={"user_id": MARKER})
        response = await served.post(body)
        assert MARKER in response.text
        await served.client.get(f"/{MARKER}?q={MARKER}")
        text = "".join(span.to_json() for span in spans.all)
        assert (MARKER in text) is prompts


async def test_another_renga_continues_the_trace(
    stack: AsyncExitStack, tmp_path: Path, spans: Spans
):
    """The upstream is a server of its own; its spans stand below the call to it."""
    theirs = Spans()
    behind = await start(stack, configured(tmp_path / "behind", haiku={}), theirs)
    async with listening(behind) as url:
        backend = BackendConfig(
            name="far", kind="messages", urls=(url,), model="claude-haiku-4-5", window=10_000
        )
        config = Config(
            home=tmp_path / "front",
            backends={"far": backend},
            tiers={"haiku": TierConfig(name="haiku", backends=("far",))},
        )
        front = await start(stack, config, spans)
        response = await front.post(asking(), traceparent=PARENT)
        assert response.status_code == 200, response.text
        await stack.aclose()
    there = [span for span in theirs.all if span.name == "POST /v1/messages"]
    assert [span.context.trace_id for span in there] == [TRACE_ID]
    (call,) = [s for s in spans.all if s.name == "POST" and s.kind is SpanKind.CLIENT]
    assert there[0].parent is not None
    assert there[0].parent.span_id == call.context.span_id
    assert spans.path(call)[-2:] == ["chat renga-haiku-1", "POST"]


@asynccontextmanager
async def listening(served: Served) -> AsyncIterator[str]:
    """The application of `served` on a port."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(settings_of(served.http))
    task = asyncio.ensure_future(server._serve(sockets=[listener]))
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        await task
        listener.close()


async def test_a_model_that_runs_here_is_traced_to_its_engines_steps(
    stack: AsyncExitStack, tmp_path: Path, spans: Spans
):
    backend = BackendConfig(name="small", kind="local", threads=1)
    tiers = {"haiku": TierConfig(name="haiku", backends=("small",))}
    config = Config(home=tmp_path / "home", backends={"small": backend}, tiers=tiers)
    served = await start(stack, config, spans)
    response = await served.post(asking(max_tokens=8), traceparent=PARENT)
    decode, prefill = spans.one("engine.decode"), spans.one("engine.prefill")
    above = ["POST /v1/messages", "answer", "chat renga-haiku-1"]
    for name in ("queue", "prefill", "decode"):
        assert spans.path(spans.one(f"engine.{name}")) == [*above, f"engine.{name}"]
    told: dict[str, Any] = dict(decode.attributes or {})
    assert told["gen_ai.usage.output_tokens"] == response.json()["usage"]["output_tokens"]
    filled: dict[str, Any] = dict(prefill.attributes or {})
    assert told["renga.engine.steps"] >= filled["renga.engine.steps"] >= 1
    attempt = spans.one("chat renga-haiku-1")
    order = [attempt.start_time, spans.one("engine.queue").start_time, prefill.start_time]
    order += [prefill.end_time, decode.end_time, attempt.end_time]
    assert order == sorted(order, key=lambda at: at or 0)


def test_an_engines_messages_become_spans_with_its_own_times(spans: Spans):
    root = spans.tracer.request("POST", {}, 0.0)
    seen: list[Any] = []
    with traced(root, seen.append) as meter:
        times: Any = {"waited_seconds": 3.0, "prefill_seconds": 2.0, "prefill_steps": 4}
        messages = [
            Started("a", 100, 40, **times),
            Output("a", [1], "x"),
            Finished(
                id="a", reason="end_turn", prompt_tokens=100, reused_tokens=40, output_tokens=1,
                steps=9,
            ),
        ]  # fmt: skip
        for message in messages:
            meter(message)
    root.end()
    assert seen == messages
    queue, prefill = spans.one("engine.queue"), spans.one("engine.prefill")
    decode = spans.one("engine.decode")
    assert _seconds(queue) == pytest.approx(3.0)
    assert _seconds(prefill) == pytest.approx(2.0)
    assert queue.end_time == pytest.approx(prefill.start_time, abs=10**7)
    assert (prefill.attributes or {})["renga.engine.steps"] == 4
    assert (decode.attributes or {})["renga.engine.steps"] == 9
    assert {span.parent.span_id for span in (queue, prefill, decode) if span.parent} == {
        spans.one("POST").context.span_id
    }


def _seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_an_answer_that_is_left_ends_its_span_and_what_is_not_traced_costs_nothing(spans: Spans):
    root = spans.tracer.request("POST", {}, 0.0)
    with traced(root, lambda _: None) as meter:
        meter(Started("a", 1, 0))
    assert [span.name for span in spans.all] == ["engine.decode"]
    seen: list[object] = []
    plain = seen.append
    with traced(NO_TRACE, plain) as meter:
        assert meter == plain


class Collector(BaseHTTPRequestHandler):
    """Takes what OTLP sends."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        received: list[tuple[str, bytes]] = self.server.received  # type: ignore[attr-defined]
        received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_server_sends_its_traces_to_where_the_standard_variable_says(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
):
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    received: list[tuple[str, bytes]] = []
    collector.received = received  # type: ignore[attr-defined]
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
        monkeypatch.setenv("NO_PROXY", "*")
        served = start_server(scripted() + "[telemetry]\ntraces = true\n")
        headers = {"x-api-key": "any", "anthropic-version": "2023-06-01", "traceparent": PARENT}
        httpx.post(f"{served.url}/v1/messages", json=asking(), headers=headers)
        assert served.stop() == 0
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    assert {path for path, _ in received} == {"/v1/traces"}
    sent = [ExportTraceServiceRequest.FromString(body) for _, body in received]
    resources = [r for request in sent for r in request.resource_spans]
    names = {a.value.string_value for r in resources for a in r.resource.attributes}
    assert "ours" in names
    found = [s for r in resources for scope in r.scope_spans for s in scope.spans]
    assert {span.name for span in found} == {"POST /v1/messages", "answer", "chat renga-haiku-1"}
    assert {span.trace_id.hex() for span in found} == {f"{TRACE_ID:032x}"}
