"""The body of a batch: however it is cut, the same requests come of it, and faults are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.batches.incoming import Incoming, prefix_of
from renga.errors import InvalidRequest, RengaError, RequestTooLarge
from renga.store.batching import NewItem

MOST = 10_000


def read(body: bytes, cuts: list[int] | None = None, *, most: int = MOST) -> list[NewItem]:
    incoming = Incoming(lambda model: f"<{model}>", most_bytes=most)
    found: list[NewItem] = []
    places = sorted({min(cut, len(body)) for cut in cuts or ()} | {0, len(body)})
    for begin, end in zip(places, places[1:], strict=False):
        found += incoming.feed(body[begin:end])
    incoming.end()
    assert incoming.count == len(found)
    return found


def one(custom_id: str = "a", **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": {"model": "haiku", **params}}


def body_of(*requests: Any) -> bytes:
    return json.dumps({"requests": list(requests)}).encode()


texts = st.text(max_size=30) | st.sampled_from(
    ['"', "\\", '\\"', "}{][", "\\\\", "é\U0001f600", ","]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.dictionaries(texts, values, max_size=3), min_size=1, max_size=6),
    st.lists(st.integers(0, 600), max_size=12),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_however_a_body_is_cut_the_same_requests_come_of_it(
    params: list[dict[str, Any]], cuts: list[int], indent: int | None, ascii_only: bool
) -> None:
    sent = [{"custom_id": f"r{i}", "params": p} for i, p in enumerate(params)]
    body = json.dumps({"requests": sent}, indent=indent, ensure_ascii=ascii_only).encode()
    found = read(body, cuts)
    assert [json.loads(item.request) for item in found] == sent
    assert [(item.number, item.custom_id) for item in found] == [
        (i, f"r{i}") for i in range(len(sent))
    ]
    assert found == read(body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 120), st.lists(st.integers(0, 130), max_size=4))
def test_no_bytes_break_it_and_what_it_takes_is_json(
    noise: bytes, at: int, cuts: list[int]
) -> None:
    body = body_of(one("a", x="y"), one("b"))
    broken = body[:at] + noise + body[at:]
    try:
        found = read(broken, cuts)
    except RengaError as error:
        assert error.status in (400, 413)  # noqa: PT017  either may come
        return
    requests = json.loads(broken)["requests"]
    assert [json.loads(item.request) for item in found] == requests


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "body: it is empty"),
        (b"  \n", "body: it is empty"),
        (b"[]", "body: Input should be an object, it begins with `[`"),
        (b"{}", "requests: Field required"),
        (b'{"requests": {}}', "requests: Input should be a valid list, it begins with `{`"),
        (b'{"requests": null}', "requests: Input should be a valid list"),
        (b'{"requests": []}', "requests: List should have at least 1 item after validation, not 0"),
        (b'{"model": "haiku"}', "model: Extra inputs are not permitted"),
        (body_of(one())[:-1] + b', "more": 1}', "more: Extra inputs are not permitted"),
        (body_of(one())[:-1] + b', "requests": []}', "requests: it is there twice"),
        (body_of(one())[:-1] + b",}", "body: it is not valid JSON: a name was expected"),
        (body_of(one())[:-1], "body: it is not valid JSON: it ends in the middle"),
        (body_of(one())[:-9], "body: it is not valid JSON: it ends in the middle"),
        (body_of(one()) + b"x", "body: it is not valid JSON: something follows its end: `x`"),
        (b'{"requests" [1]}', "body: it is not valid JSON: `:` was expected"),
        (b'{"requests": [{} {}]}', "requests.0.custom_id: Field required"),
        (body_of(one(), 5), "requests.1: Input should be an object, it begins with `5`"),
        (body_of({"params": {}}), "requests.0.custom_id: Field required"),
        (body_of({"custom_id": 5, "params": {}}), "requests.0.custom_id: Input should be a valid"),
        (body_of(one(""), one("b")), "requests.0.custom_id: String should match pattern '^[a-zA"),
        (body_of(one(), one("b c")), "requests.1.custom_id: String should match pattern"),
        (body_of(one("x" * 65)), "requests.0.custom_id: String should match pattern"),
        (body_of(one(), one("b"), one("a")), "requests.2.custom_id: 'a' is there twice"),
        (body_of({"custom_id": "a"}), "requests.0.params: Field required"),
        (body_of({"custom_id": "a", "params": []}), "requests.0.params: Input should be an object"),
        (body_of({**one(), "extra": 1}), "requests.0.extra: Extra inputs are not permitted"),
        (b'{"requests": [{"custom_id": NaN}]}', "requests.0: it is not valid JSON"),
        (b'{"requests": [{"a": 1, "a": 2}]}', "requests.0: it is not valid JSON"),
        (b'{"requests": [{"a": ]}]}', "requests.0: it is not valid JSON"),
        (b'{"requests": [{"a": "\xff"}]}', "requests.0: it is not valid JSON"),
    ],
)
def test_what_makes_no_batch_is_told_with_its_place(body: bytes, told: str) -> None:
    for cuts in ([], list(range(len(body)))):
        with pytest.raises(InvalidRequest) as raised:
            read(body, cuts)
        assert raised.value.message.startswith(told)


def test_one_request_more_than_there_may_be_is_refused() -> None:
    incoming = Incoming(lambda model: "", most_bytes=MOST)
    incoming.feed(b'{"requests": [')
    for i in range(100_000):
        incoming.feed(b'{"custom_id": "%d", "params": {}},' % i)
    with pytest.raises(InvalidRequest, match="List should have at most 100000 items"):
        incoming.feed(b'{"custom_id": "more", "params": {}}')


def test_a_request_over_the_limit_is_refused_before_all_of_it_came() -> None:
    incoming = Incoming(lambda model: "", most_bytes=MOST)
    incoming.feed(b'{"requests": [{"custom_id": "a", "params": {"system": "')
    with pytest.raises(RequestTooLarge, match=r"requests\.0: it is over the limit of 0\.01 MB"):
        for _ in range(10):
            incoming.feed(b"x" * 1_500)
    with pytest.raises(RequestTooLarge):
        read(body_of(one(system="x" * MOST)))


def test_prompts_that_begin_alike_stand_together() -> None:
    def params(system: str, text: str) -> dict[str, Any]:
        return {"system": system, "messages": [{"role": "user", "content": text}]}

    long = "one two three " * 100
    kinds = [params(f"{kind} {long}", f"{i} {long}") for i in range(20) for kind in "abc"]
    ordered = sorted(kinds, key=prefix_of)
    changes = sum(x["system"] != y["system"] for x, y in zip(ordered, ordered[1:], strict=False))
    assert changes == 2  # three kinds, each in a row
    assert prefix_of({}) == prefix_of({"max_tokens": 5})
    assert prefix_of({"model": "a"}) != prefix_of({"model": "b"})
