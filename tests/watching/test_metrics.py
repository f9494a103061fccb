"""`GET /metrics`: read by Prometheus' own parser, beside what was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as TheirCounter
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from renga.app import App
from renga.watching.counting import Counter, Histogram
from renga.watching.metrics import Metrics
from renga.watching.readings import watch_engines
from tests.http.served import Served, asking, configured, open_served

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: str) -> dict[Sample, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    """The sum over all that has these labels."""
    wanted = set(labels.items())
    found = [v for (n, ls), v in samples(text).items() if n == name and wanted <= set(ls)]
    assert found, f"{name} {labels} is not in\n{text}"
    return sum(found)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    config = configured(tmp_path / "home", haiku={"cost_per_hour": 3.6}, sonnet={"fault": "error"})
    config = replace(config, retry=replace(config.retry, attempts=1))
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        yield await open_served(stack, app)


async def page(served: Served, **headers: str) -> str:
    response = await served.client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    return response.text


async def test_answers_are_counted_by_what_the_configuration_calls_them(served: Served):
    good = await served.post(asking("one two three"))
    await served.post(asking(stream=True))
    await served.post(asking(model="sonnet"))
    await served.post({"model": "haiku"})
    text = await page(served)
    haiku = {"tier": "haiku", "backend": "HAIKU", "service": "standard"}
    assert value(text, "renga_answers_total", **haiku, status="ok") == 2
    assert value(text, "renga_answers_total", tier="sonnet", status="error") == 1
    assert value(text, "renga_attempts_total", backend="HAIKU", status="ok") == 2
    assert value(text, "renga_attempts_total", backend="SONNET", status="error") == 1
    usage = good.json()["usage"]
    assert (
        value(text, "renga_tokens_total", tier="haiku", **{"class": "output"})
        == 2 * (usage["output_tokens"])
    )
    cost = float((await served.row(good)).cost_usd or 0)
    assert value(text, "renga_cost_dollars_total", tier="haiku") == pytest.approx(2 * cost)
    assert value(text, "renga_own_cost_dollars_total", backend="HAIKU") > 0
    model = {"gen_ai_response_model": "renga-haiku-1", "gen_ai_operation_name": "chat"}
    for name in ("request_duration", "time_to_first_token", "time_per_output_token"):
        assert value(text, f"gen_ai_server_{name}_seconds_count", **model) == 2
    route = {"route": "/v1/messages", "method": "POST"}
    assert value(text, "renga_http_responses_total", **route, status="400") == 1
    assert value(text, "renga_http_requests_open") == 1  # this one
    assert value(text, "renga_backend_state", backend="HAIKU", state="ready") == 1
    assert value(text, "renga_store_failing") == 0


async def test_openmetrics_is_spoken_to_who_asks_for_it(served: Served):
    await served.post(asking())
    text = await page(served, accept="application/openmetrics-text; version=1.0.0")
    assert "renga_answers" in {family.name for family in openmetrics(text)}
    assert text.endswith("# EOF\n")


async def test_no_text_of_a_caller_becomes_a_label(served: Served):
    marker = "MARKER-7f3a"
    await served.post(asking(marker, metadata={"user_id": marker}))
    await served.post(asking(model=f"claude-{marker}"))
    await served.client.request(marker, f"/{marker}")
    await served.client.get(f"/v1/renga/requests/{marker}?{marker}={marker}")
    text = await page(served)
    assert marker.lower() not in text.lower()
    assert value(text, "renga_http_responses_total", route="unmatched", method="_OTHER") == 1


async def test_reading_takes_a_key_with_the_scope_once_there_are_keys(served: Served):
    plain = await served.app.keys.create("alice", "team")
    watcher = await served.app.keys.create("prometheus", "team", scopes=["metrics"])
    root = await served.app.keys.create("root", "team", scopes=["admin"])
    for key in (watcher, root):
        await page(served, authorization=f"Bearer {key.plain}", **{"x-api-key": ""})
    for headers, status in (({"x-api-key": plain.plain}, 403), ({"x-api-key": "wrong"}, 401)):
        refused = await served.client.get("/metrics", headers=headers)
        assert (refused.status_code, "renga_answers" in refused.text) == (status, False)
    asked = await served.post(asking(), x_api_key=watcher.plain)
    assert asked.status_code == 403


async def test_while_there_are_no_keys_this_machine_reads_without_one(served: Served):
    await page(served, **{"x-api-key": ""})
    elsewhere = {"host": "pages.example.org", "x-api-key": ""}
    assert (await served.client.get("/metrics", headers=elsewhere)).status_code == 401


async def test_where_they_are_off_there_is_no_page(tmp_path: Path):
    config = configured(tmp_path / "home", haiku={})
    config = replace(config, telemetry=replace(config.telemetry, metrics=False))
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        served = await open_served(stack, app)
        assert (await served.client.get("/metrics")).status_code == 404


async def test_each_server_counts_for_itself(tmp_path: Path):
    async with AsyncExitStack() as stack:
        both = []
        for name in ("one", "two"):
            app = await App.start(configured(tmp_path / name, haiku={}))
            stack.push_async_callback(app.aclose)
            both.append(await open_served(stack, app))
        await both[0].post(asking())
        assert value(await page(both[0]), "renga_answers_total") == 1
        assert "renga_answers_total{" not in await page(both[1])


def test_an_engine_is_shown_by_lane_and_by_block():
    figures = {
        "running": 5, "waiting": 7, "batch_running": 2, "batch_waiting": 6, "blocks": 100,
        "free_blocks": 25, "cached_blocks": 10, "pinned_blocks": 4, "prompt_tokens": 1_000,
        "reused_tokens": 900, "steps": 12, "step_seconds": 1.5,
    }  # fmt: skip
    metrics = Metrics()
    watch_engines(metrics, {"small": lambda: figures, "gone": dict})
    text = metrics.page()[0].decode()
    lanes = {
        (state, lane): value(text, f"renga_engine_requests_{state}", backend="small", lane=lane)
        for state in ("running", "waiting")
        for lane in ("interactive", "batch")
    }
    assert lanes == {
        ("running", "interactive"): 3,
        ("running", "batch"): 2,
        ("waiting", "interactive"): 1,
        ("waiting", "batch"): 6,
    }
    assert value(text, "renga_engine_kv_usage_ratio", backend="small") == 0.75
    assert value(text, "renga_engine_kv_blocks", state="pinned") == 4
    assert value(text, "renga_engine_prompt_tokens_reused_total") == 900
    assert value(text, "renga_engine_step_seconds_total") == 1.5
    assert "gone" not in text


seen = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 200, allow_nan=False)), max_size=30
)


@given(seen)
def test_counters_and_histograms_are_written_as_the_client_library_writes_them(
    values: list[tuple[str, float]],
):
    bounds = (0.5, 1.0, 10.0, 100.0)
    theirs = CollectorRegistry(auto_describe=False)
    their_counter = TheirCounter("c", "about", ["x"], registry=theirs)
    their_histogram = TheirHistogram("h", "about", ["x"], buckets=bounds, registry=theirs)
    counter, histogram = Counter("c", "about", ("x",)), Histogram("h", "about", ("x",), bounds)
    for label, amount in values:
        counter.add((label,), int(amount))
        their_counter.labels(label).inc(int(amount))
        histogram.see((label,), amount)
        their_histogram.labels(label).observe(amount)
    expected: dict[Any, float] = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in theirs.collect()
        for s in family.samples
        if not s.name.endswith("_created")
    }
    found = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in (counter.collect(), histogram.collect())
        for s in family.samples
    }
    assert found == pytest.approx(expected)


def test_every_cause_is_counted_and_a_strange_one_as_other():
    metrics = Metrics()
    for cause in ("refused", "status_503", "status_599", "status_777", "x" * 99, None):
        metrics.attempted("b", "error", cause, None)
    metrics.attempted("b", "ok", "refused", None)
    text = metrics.page()[0].decode()
    found = {
        dict(labels)["cause"]: v
        for (name, labels), v in samples(text).items()
        if name == "renga_attempts_total"
    }
    assert found == {
        "refused": 1, "status_503": 1, "status_599": 1, "other": 2, "none": 1, "": 1
    }  # fmt: skip
