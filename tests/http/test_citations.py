"""Documents, files and citations over HTTP: the rules, the stream, and the next turn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.served import Serve, Served, events_of

REPLY = "The tower is 324 metres tall. That is a lot!"
TEXT = "It stands in Paris. The tower is 324 metres tall."
ON: dict[str, Any] = {"citations": {"enabled": True}}
NEW = {"anthropic_version": "2026-10-21"}


def plain(**more: Any) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": TEXT}
    return {"type": "document", "source": source, "title": "Tower", **more}


def found(text: str = TEXT, **more: Any) -> dict[str, Any]:
    block = {"type": "text", "text": text}
    return {"type": "search_result", "source": "s", "title": "t", "content": [block], **more}


def asking(*blocks: Any, **more: Any) -> dict[str, Any]:
    question = {"type": "text", "text": "How tall is the tower?"}
    turns = [{"role": "user", "content": [*blocks, question]}]
    return {"model": "haiku", "max_tokens": 99, "messages": turns, **more}


CITED = {
    "type": "char_location",
    "cited_text": "The tower is 324 metres tall.",
    "document_index": 0,
    "document_title": "Tower",
    "file_id": None,
    "start_char_index": 20,
    "end_char_index": 49,
}


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve(haiku={"reply": REPLY})


async def upload(served: Served, data: bytes, name: str = "a.txt") -> str:
    made = (await served.client.post("/v1/files", files={"file": (name, data)})).json()
    file_id: str = made["id"]
    return file_id


async def test_an_answer_and_its_stream_have_the_same_citations(served: Served) -> None:
    whole = (await served.post(asking(plain(**ON)))).json()
    assert whole["content"] == [
        {"type": "text", "text": "The tower is 324 metres tall. ", "citations": [CITED]},
        {"type": "text", "text": "That is a lot!", "citations": None},
    ]
    events = events_of((await served.post(asking(plain(**ON), stream=True))).text)
    deltas = [d["delta"] for name, d in events if name == "content_block_delta"]
    assert [d["type"] for d in deltas] == ["text_delta", "citations_delta", "text_delta"]
    assert deltas[1]["citation"] == CITED
    assert "".join(d.get("text", "") for d in deltas) == REPLY


async def test_an_answer_comes_back_with_its_citations_and_costs_nothing_for_them(
    served: Served,
) -> None:
    body = asking(plain(**ON))
    content = (await served.post(body)).json()["content"]
    plainly = [{**block, "citations": None} for block in content]
    counts = []
    for said in (content, plainly):
        turns = [*body["messages"], {"role": "assistant", "content": said}]
        turns.append({"role": "user", "content": "And how old?"})
        for headers in ({}, NEW):
            answer = await served.post({**body, "messages": turns}, **headers)
            assert answer.status_code == 200, answer.text
            counts.append(answer.json()["usage"]["input_tokens"])
    assert len(set(counts)) == 1


async def test_the_users_own_texts_have_no_citations_in_the_newer_version(served: Served) -> None:
    cited = {"type": "text", "text": "x", "citations": [CITED]}
    inside = {**found(), "content": [cited]}
    for block, path in (
        (cited, "messages.0.content.0.citations"),
        (inside, "messages.0.content.0.content.0.citations"),
    ):
        assert (await served.post(asking(block))).status_code == 200
        refused = await served.post(asking(block), **NEW)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"].startswith(f"{path}: ")


CALLED: Any = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}],
    },
]


def told(*content: Any) -> list[Any]:
    return [{"type": "tool_result", "tool_use_id": "toolu_1", "content": list(content)}]


FORM = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {},
                                                     "additionalProperties": False}}}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            asking(plain(**ON), plain()),
            "messages.0.content.1.citations.enabled: citations must be enabled for all `document`",
        ),
        (
            asking(found(), found(**ON)),
            "messages.0.content.1.citations.enabled: citations must be enabled for all `search_res",
        ),
        (asking(plain(**ON), output_config=FORM), "output_config.format: cannot be combined"),
        (
            {
                **asking(),
                "messages": [
                    *CALLED,
                    {"role": "user", "content": told(found(), {"type": "text", "text": "x"})},
                ],
            },
            "messages.2.content.0.content.1: a `tool_result` with `search_result` blocks holds",
        ),
        (asking(plain(citations={"on": True})), "messages.0.content.0.citations.on: "),
        (
            asking({"type": "text", "text": "x", "citations": [{**CITED, "document_index": -1}]}),
            "messages.0.content.0.citations.0.document_index: ",
        ),
        (
            asking({"type": "text", "text": "x", "citations": [{"type": "song"}]}),
            "messages.0.content.0.citations.0",
        ),
        (asking({"type": "container_upload", "file_id": "f"}), "messages.0.content.0"),
    ],
)
async def test_what_does_not_go_together_is_refused_by_name(
    served: Served, body: Any, message: str
) -> None:
    response = await served.post(body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"].startswith(message)


async def test_documents_and_search_results_may_differ(served: Served) -> None:
    content = (await served.post(asking(plain(), found(**ON)))).json()["content"]
    (citation,) = content[0]["citations"]
    assert (citation["type"], citation["search_result_index"]) == ("search_result_location", 0)


async def test_a_count_is_of_what_is_read(served: Served) -> None:
    for block in (plain(**ON), plain(), found(**ON)):
        body = asking(block)
        answer = (await served.post(body)).json()
        del body["max_tokens"]
        count = (await served.post(body, "/v1/messages/count_tokens")).json()
        assert count["input_tokens"] == answer["usage"]["input_tokens"]


async def test_an_uploaded_text_is_a_document_and_cited_with_its_file(served: Served) -> None:
    file_id = await upload(served, b"\xef\xbb\xbf" + TEXT.encode())
    source = {"type": "file", "file_id": file_id}
    body = asking({"type": "document", "source": source, "title": "Tower", **ON})
    whole = (await served.post(body)).json()
    assert whole["content"][0]["citations"] == [{**CITED, "file_id": file_id}]
    inline = asking(plain(**ON))
    assert whole["usage"] == (await served.post(inline)).json()["usage"]


async def test_a_file_that_is_not_there_is_404_with_its_path(served: Served) -> None:
    made = await upload(served, TEXT.encode())
    key = await served.app.keys.create("theirs", "theirs")
    source = {"type": "file", "file_id": made}
    unknown = {"type": "file", "file_id": "file_x"}
    for file, headers in ((unknown, {}), (source, {"x_api_key": key.plain})):
        response = await served.post(asking({"type": "document", "source": file}), **headers)
        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (404, "not_found_error")
        assert error["message"] == (
            f"messages.0.content.0.source.file_id: File not found: {file['file_id']}"
        )


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("image", b"%PDF-1.7", "is of type application/pdf (a `document` block can hold it)"),
        ("image", b"words", "is of type text/plain (a `document` block can hold it)"),
        ("document", b"\x89PNG\r\n\x1a\n", "is of type image/png (an `image` block can hold it)"),
        ("document", b"\x00\x01", "is of type application/octet-stream; accepted in a `document`"),
        ("document", b"", "is empty"),
    ],
)
async def test_a_file_of_another_type_is_refused_by_name(
    served: Served, kind: str, data: bytes, message: str
) -> None:
    file_id = await upload(served, data, "a")
    source = {"type": "file", "file_id": file_id}
    response = await served.post(asking({"type": kind, "source": source}))
    assert response.status_code == 400, response.text
    told = response.json()["error"]["message"]
    assert told.startswith(f"messages.0.content.0.source.file_id: {file_id} {message}")
