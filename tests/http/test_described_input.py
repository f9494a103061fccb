"""Whatever schemathesis makes of the OpenAPI document is answered as it says: no 500, no hang."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from renga.http.openapi import document
from tests.conftest import scripted
from tests.http.served import asking
from tests.serving import Served, serving

DESCRIBED = schemathesis.openapi.from_dict(document())
OPERATIONS = {
    f"{found.method} {found.path}": found
    for result in DESCRIBED.get_all_operations()
    if (found := result.ok()) is not None  # type: ignore[union-attr]
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HANG_SECONDS = 20.0

# Of 500 cases, how many each operation gets; those that are not here share the rest.
CASES = {
    "post /v1/messages": 160,
    "post /v1/chat/completions": 160,
    "post /v1/messages/count_tokens": 60,
    "post /v1/renga/score": 40,
}
REST = 10
IN_ALL = sum(CASES.get(name, REST) for name in OPERATIONS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server whose every tier repeats what it is told, for all operations."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, scripted(), home=folder / "home") as served:
        yield served


@pytest.fixture
def url(server: Served) -> Iterator[str]:
    """Its address; whatever it was sent, it lives."""
    yield server.url
    assert server.process.poll() is None


def fuzz(name: str, url: str, cases: int) -> set[int]:
    """`cases` requests for one operation, valid ones and others, each judged by the document.

    Returns the statuses that were seen.
    """
    operation = OPERATIONS[name]
    seen: set[int] = set()
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    with requests.Session() as session:

        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # making less of a failure takes longer than all cases
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(modes), data=st.data())
        def run(case: Any, data: st.DataObject) -> None:
            case.headers.setdefault("x-api-key", "any")
            if isinstance(case.body, dict):
                case.body = calmed(case.body, data)
            response = case.call(base_url=url, session=session, timeout=HANG_SECONDS)
            case.validate_response(response, checks=CHECKS)
            seen.add(response.status_code)

        run()
    return seen


def calmed(body: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Often, a good request with a few of the fields of `body`: of all together, one is refused."""
    if isinstance(body.get("model"), str):
        body = {**body, "model": "haiku"}  # no other word leads anywhere
    if not body or data.draw(st.integers(0, 3), label="as it was made") == 0:
        return body
    few = data.draw(st.sets(st.sampled_from(sorted(body)), max_size=2), label="of its fields")
    good = asking() if "max_tokens" in body else without(asking(), "max_tokens")
    return {**good, **{name: body[name] for name in few}}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def test_there_are_at_least_five_hundred_cases() -> None:
    assert IN_ALL >= 500


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_described_is_what_is_answered(url: str, name: str) -> None:
    seen = fuzz(name, url, CASES.get(name, REST))
    if name in CASES:
        assert 400 in seen
        assert (200 in seen) == ("score" not in name)  # which no scripted model can say


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_described_is_what_is_answered_for_long(url: str, name: str) -> None:
    fuzz(name, url, 10 * CASES.get(name, REST))
