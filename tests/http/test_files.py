"""The Files API over HTTP: uploads as they come, lists in both forms, errors by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest

from renga.app import App
from renga.config import FilesConfig
from renga.files.library import Files
from renga.http.files import OLD_BETA
from tests.http.served import Serve, Served, open_served

OLD = {"anthropic-beta": OLD_BETA}


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()


async def upload(served: Served, data: bytes = b"words", name: str = "a.txt", **fields: Any) -> Any:
    response = await served.client.post("/v1/files", files={"file": (name, data)}, data=fields)
    assert response.status_code == 200, response.text
    return response.json()


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert body["request_id"] == response.headers["request-id"]
    return response.status_code, body["error"]["type"], body["error"]["message"]


def code(response: httpx.Response) -> str:
    found: str = response.json()["error"]["details"]["error_code"]
    return found


async def test_an_upload_is_described_as_it_is_found_again(served: Served) -> None:
    made = await upload(served, b"%PDF-1.7\n", "some/where/report.bin", expires_in_seconds="3600")
    assert made["id"].startswith("file_")
    assert (made["type"], made["filename"], made["mime_type"], made["size_bytes"]) == (
        "file",
        "report.bin",
        "application/pdf",
        9,
    )
    assert made["downloadable"] is False
    assert made["created_at"] < made["expires_at"]
    assert (await served.client.get(f"/v1/files/{made['id']}")).json() == made
    assert (await served.client.get("/v1/files")).json() == {"data": [made], "next_page": None}


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
async def test_a_body_cut_anywhere_is_the_same_file(served: Served, chunk: int) -> None:
    data = b"--x\r\n--edge\r\n\r\n" * 9
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n7200\r\n'
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xbc.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n"
        + data.replace(b"--edge", b"--edg")
        + b"\r\n--edge--\r\n"
    )

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), chunk):
            yield body[at : at + chunk]

    response = await served.client.post(
        "/v1/files",
        content=pieces(),
        headers={"content-type": "multipart/form-data; boundary=edge"},
    )
    assert response.status_code == 200, response.text
    assert (response.json()["filename"], response.json()["mime_type"]) == ("ü.txt", "text/plain")
    _, read = await served.app.files.read("default", response.json()["id"], 10**6)
    assert read == data.replace(b"--edge", b"--edg")


async def test_a_file_without_a_name_is_named_by_its_type(served: Served) -> None:
    body = b'--e\r\nContent-Disposition: form-data; name="file"\r\n\r\nhi\r\n--e--'
    headers = {"content-type": "multipart/form-data; boundary=e"}
    response = await served.client.post("/v1/files", content=body, headers=headers)
    assert response.json()["filename"] == "unnamed.txt"


FILE = b'--e\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhi\r\n'
FORM = "multipart/form-data; boundary=e"


def field(name: str, value: str) -> bytes:
    return f'--e\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"{}", "application/json", "content-type: 'application/json'; accepted: multipart/form"),
        (b"", "multipart/form-data", "content-type: its boundary has 0 characters"),
        (FILE + b"--e--", f"multipart/form-data; boundary={'e' * 71}", "content-type: its bound"),
        (b"", FORM, "body: it is not valid multipart/form-data: its last part has no end"),
        (FILE, FORM, "body: it is not valid multipart/form-data"),
        (b"words", FORM, "body: it is not valid multipart/form-data"),
        (b"--e--", FORM, "file: Field required"),
        (field("purpose", "x") + b"--e--", FORM, "purpose: Extra inputs are not permitted"),
        (field("expires_in_seconds", "3600") + b"--e--", FORM, "file: Field required"),
        (FILE + FILE + b"--e--", FORM, "file: it is there twice"),
        (b"--e\r\nX: y\r\n\r\nhi\r\n--e--", FORM, "body: part 1 has no `content-disposition"),
        (b"--e\r\nX: " + b"y" * 9000 + b"\r\n\r\nhi\r\n--e--", FORM, "body: it is not valid"),
        (field("file", "x") * 20 + b"--e--", FORM, "body: it has more than 16 parts"),
        *(
            (field("expires_in_seconds", value) + FILE + b"--e--", FORM, "expires_in_seconds: '")
            for value in ("3599", "7776001", "-1", "1e4", "", "x" * 200, "\u0664000")
        ),
        (FILE.replace(b'"a"', b'"a|b"') + b"--e--", FORM, "file: its filename has the forbidden"),
    ],
)
async def test_a_bad_upload_is_refused_by_name_and_leaves_nothing(
    served: Served, body: bytes, kind: str, told: str
) -> None:
    response = await served.client.post("/v1/files", content=body, headers={"content-type": kind})
    status, type_, message = error(response)
    assert (status, type_) == (400, "invalid_request_error")
    assert message.startswith(told)
    assert (await served.client.get("/v1/files")).json()["data"] == []
    folder = served.app.config.home / "files"
    assert not folder.exists() or list(folder.iterdir()) == []


async def test_a_packed_upload_is_refused(served: Served) -> None:
    headers = {"content-type": FORM, "content-encoding": "gzip"}
    response = await served.client.post("/v1/files", content=FILE + b"--e--", headers=headers)
    assert code(response) == "request_body_encoding_unsupported"


async def limited(served: Served, **limits: Any) -> Served:
    """The same server with other limits of its files."""
    app = served.app
    files = Files(app.ledger.store, app.config.home / "f", clock=app.clock, ids=app.ids, **limits)
    changed: App = replace(app, files=files)
    return await open_served(AsyncExitStack(), changed)


async def test_a_file_over_the_limit_is_413_whether_it_says_so_or_not(served: Served) -> None:
    small = await limited(served, most_bytes=100_000)
    announced = await small.client.post("/v1/files", files={"file": b"x" * 200_000})
    assert error(announced)[:2] == (413, "request_too_large")

    async def endless() -> AsyncIterator[bytes]:
        yield FILE[:-4]
        while True:
            yield b"x" * 65_536

    headers = {"content-type": FORM}
    silent = await small.client.post("/v1/files", content=endless(), headers=headers)
    assert error(silent) == (
        413,
        "request_too_large",
        "file: it is over the limit of 0.1 MB (100,000 bytes)",
    )
    assert (await small.client.get("/v1/files")).json()["data"] == []


async def test_where_there_is_no_room_the_code_says_so(served: Served) -> None:
    small = await limited(served, most_stored=3)
    response = await small.client.post("/v1/files", files={"file": b"four"})
    assert (error(response)[0], code(response)) == (400, "storage_quota_exceeded")


async def test_pages_follow_one_another_by_their_cursor(served: Served) -> None:
    made = [(await upload(served, name=f"{n}.txt"))["id"] for n in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await served.client.get("/v1/files", params=query)).json()
        seen += [file["id"] for file in page["data"]]
        if page["next_page"] is None:
            break
        assert page["next_page"].startswith("page_")
        query["page"] = page["next_page"]
    assert sorted(seen) == sorted(made)
    listed = (await served.client.get("/v1/files", params={"ids[]": [made[3], "file_x"]})).json()
    assert [file["id"] for file in listed["data"]] == [made[3]]


async def test_under_the_beta_pages_follow_by_ids(served: Served) -> None:
    for n in range(5):
        await upload(served, name=f"{n}.txt")
    whole = (await served.client.get("/v1/files", headers=OLD)).json()
    ids = [file["id"] for file in whole["data"]]
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, ids[0], ids[-1])
    query = {"limit": 2, "after_id": ids[1]}
    behind = (await served.client.get("/v1/files", params=query, headers=OLD)).json()
    assert ([f["id"] for f in behind["data"]], behind["has_more"]) == (ids[2:4], True)
    query = {"limit": 2, "before_id": ids[2]}
    ahead = (await served.client.get("/v1/files", params=query, headers=OLD)).json()
    assert ([f["id"] for f in ahead["data"]], ahead["has_more"]) == (ids[:2], False)


@pytest.mark.parametrize(
    ("query", "headers", "told"),
    [
        ({"limit": "0"}, {}, "limit: '0'"),
        ({"limit": "1001"}, OLD, "limit: '1001'"),
        ({"page": "page_!"}, {}, "page: 'page_!'"),
        ({"page": "cGFnZQ=="}, {}, "page: 'cGFnZQ=='"),
        ({"page": "page_eDp5"}, {}, "page: 'page_eDp5'"),
        ({"after_id": "file_x"}, {}, "after_id: send `page` instead"),
        ({"after_id": "file_x"}, OLD, "after_id: File not found: file_x"),
        ({"after_id": "a", "before_id": "b"}, OLD, "before_id: send either"),
        ({"ids[]": "a", "limit": "5"}, {}, "ids: cannot be combined"),
        ({"ids[]": [str(n) for n in range(101)]}, {}, "ids: 101 of them; accepted: 100"),
        ({"scope_id": "s"}, OLD, "scope_id: this server has no sessions"),
    ],
)
async def test_a_bad_list_is_refused_by_name(
    served: Served, query: Any, headers: dict[str, str], told: str
) -> None:
    response = await served.client.get("/v1/files", params=query, headers=headers)
    assert error(response)[0] == 400
    assert error(response)[2].startswith(told)


async def test_what_was_uploaded_is_not_downloaded_unless_that_is_configured(
    served: Served,
) -> None:
    made = await upload(served, b"words", 'ü "q".txt'.replace('"', ""))
    refused = await served.client.get(f"/v1/files/{made['id']}/content")
    assert (error(refused)[0], code(refused)) == (400, "file_not_downloadable")

    config = replace(served.app.config, files=FilesConfig(downloadable=True))
    opened = await open_served(AsyncExitStack(), replace(served.app, config=config))
    response = await opened.client.get(f"/v1/files/{made['id']}/content")
    assert response.content == b"words"
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC%20q.txt"
    shown = (await opened.client.get(f"/v1/files/{made['id']}")).json()
    assert shown["downloadable"] is True


async def test_a_deleted_file_is_gone(served: Served) -> None:
    made = await upload(served)
    response = await served.client.delete(f"/v1/files/{made['id']}")
    assert response.json() == {"id": made["id"], "type": "file_deleted"}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        response = await served.client.request(method, f"/v1/files/{made['id']}{path}")
        assert error(response) == (404, "not_found_error", f"File not found: {made['id']}")


async def test_keys_of_other_workspaces_do_not_see_a_file(served: Served) -> None:
    made = await upload(served)
    key = await served.app.keys.create("theirs", "theirs")
    theirs = {"x-api-key": key.plain}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        url = f"/v1/files/{made['id']}{path}"
        response = await served.client.request(method, url, headers=theirs)
        assert error(response)[0] == 404
    assert (await served.client.get("/v1/files", headers=theirs)).json()["data"] == []


async def test_a_method_that_is_none_is_told_all_that_are(served: Served) -> None:
    for path, methods in (("/v1/files", "GET, HEAD, POST"), ("/v1/files/x", "DELETE, GET, HEAD")):
        answer = await served.client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
        assert answer.json()["error"]["message"].endswith(f"accepted: {methods}")


async def test_a_version_and_a_key_are_asked_for(served: Served) -> None:
    request = served.client.build_request("GET", "/v1/files")
    del request.headers["anthropic-version"]
    assert error(await served.client.send(request))[2].startswith("anthropic-version: ")
    response = await served.client.get("/v1/files", headers={"x-api-key": ""})
    assert error(response)[0] == 401
