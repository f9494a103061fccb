"""The hub's routes: our client against a server that the official client takes for the hub."""

from __future__ import annotations

import asyncio
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from renga.errors import SetupError
from renga.models.hub import Hub, Interrupted, WrongBytes
from tests.models.fake_hub import COMMIT, FakeHub, Fault, digest_of

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 5_000, "sub/deep.gguf": b"g" * 2_000}


def official(hub: FakeHub, token: str | bool = False) -> huggingface_hub.HfApi:
    return huggingface_hub.HfApi(endpoint=hub.url, token=token)


def digests(hub: FakeHub) -> dict[str, tuple[int, str]]:
    """Size and digest of each file, as the official client reads them."""
    return {
        row.path: (row.size, row.lfs.sha256 if row.lfs else row.blob_id)
        for row in official(hub).list_repo_tree("org/name", recursive=True)
        if isinstance(row, huggingface_hub.RepoFile)
    }


def test_the_official_client_takes_this_hub_for_one(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", FILES, revisions=("main", "refs/pr/1"))
    hub.page = 2
    api = official(hub)
    about = api.model_info("org/name", revision="refs/pr/1")
    assert about.card_data is not None
    assert (about.sha, about.gated, about.card_data.license) == (COMMIT, False, "apache-2.0")
    assert digests(hub) == {
        path: (len(content), digest_of(content, large=len(content) >= hub.large))
        for path, content in FILES.items()
    }
    for path, content in FILES.items():
        assert (
            Path(api.hf_hub_download("org/name", path, local_dir=tmp_path)).read_bytes() == content
        )


def test_the_official_client_is_refused_as_by_the_real_one(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", FILES)
    hub.add("org/gated", FILES, gated="manual")
    hub.tokens = {"hf_good"}
    with pytest.raises(RepositoryNotFoundError):
        official(hub).model_info("org/nothing")
    with pytest.raises(RepositoryNotFoundError):
        official(hub, "hf_good").model_info("org/nothing")
    with pytest.raises(RevisionNotFoundError):
        official(hub).model_info("org/name", revision="other")
    with pytest.raises(GatedRepoError):
        official(hub).hf_hub_download("org/gated", "config.json", local_dir=tmp_path)


async def test_a_repository_is_described_as_the_official_client_reads_it(hub: FakeHub):
    hub.add(
        "org/name", FILES, card={"license": "other", "license_name": "own", "license_link": "l"}
    )
    hub.page = 2
    async with Hub(hub.url) as client:
        found = await client.describe("org/name", "main")
    assert {f.path: (f.size, f.digest) for f in found.files} == digests(hub)
    assert (found.commit, found.license, found.license_link) == (COMMIT, "own", "l")


async def read_all(hub: FakeHub, path: str, start: int = 0, token: str = "") -> bytes:
    async with Hub(hub.url, token) as client:
        found = await client.describe("org/name", "main")
        [file] = [file for file in found.files if file.path == path]
        return b"".join([piece async for _, piece in client.read(found, file, start)])


@pytest.mark.parametrize("path", FILES)
async def test_a_file_comes_from_any_byte_on(hub: FakeHub, path: str):
    hub.add("org/name", FILES)
    assert await read_all(hub, path) == FILES[path]
    assert await read_all(hub, path, 1) == FILES[path][1:]


async def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: FakeHub):
    hub.add("org/name", FILES, gated="auto")
    hub.tokens = {"hf_good"}
    assert await read_all(hub, "model.safetensors", token="hf_good") == FILES["model.safetensors"]
    sent = {path.startswith("/cdn/"): headers.get("authorization") for path, headers in hub.seen}
    assert sent == {False: "Bearer hf_good", True: None}


API = "/api/models/org/name/revision/main"
TREE = f"/api/models/org/name/tree/{COMMIT}"
FILE = f"/org/name/resolve/{COMMIT}/config.json"
WEIGHTS = "/cdn/model.safetensors"

REFUSALS = [
    (API, Fault(200, body=b"<html>log in</html>"), "its answer is not JSON"),
    (API, Fault(200, body=b"[" * 100_000), "its answer is not JSON"),
    (API, Fault(200, body=b'{"sha": "main"}'), "names no commit"),
    (API, Fault(418), "answers 418"),
    (API, Fault(403), "is gated"),
    (API, Fault(404, {"x-error-code": "RevisionNotFound"}), "no revision 'main'"),
    (TREE, Fault(200, body=b"{}"), "its listing is no list"),
    (TREE, Fault(200, {"link": '<https://other.example/>; rel="next"'}, b"[]"), "elsewhere"),
    (FILE, Fault(404, {"x-error-code": "EntryNotFound"}), "a file that its listing names"),
    (FILE, Fault(302, {"location": "file:///etc/passwd"}), "redirects to"),
    (FILE, Fault(302), "redirects"),
]


@pytest.mark.parametrize(("path", "fault", "words"), REFUSALS)
async def test_what_a_hub_never_says_is_refused_in_one_line(
    hub: FakeHub, path: str, fault: Fault, words: str
):
    hub.add("org/name", FILES)
    hub.faults[path] = [fault] * 8
    with pytest.raises(SetupError, match=words) as caught:
        await read_all(hub, "config.json")
    assert "\n" not in caught.value.message


async def test_redirects_end(hub: FakeHub):
    hub.add("org/name", FILES)
    hub.faults[FILE] = [Fault(307, {"location": FILE})] * 20
    with pytest.raises(SetupError, match="redirects without end"):
        await read_all(hub, "config.json")


ROWS = [
    ("../../etc/passwd", "outside of its folder"),
    ("/etc/passwd", "outside of its folder"),
    ("a/../b.gguf", "outside of its folder"),
    ("a//b.gguf", "outside of its folder"),
    ("a\\..\\b.gguf", "outside of its folder"),
    ("C:b.gguf", "outside of its folder"),
    ("b\x1b[2J.gguf", "outside of its folder"),
    ("b\n.gguf", "outside of its folder"),
    ("", "outside of its folder"),
    (7, "outside of its folder"),
]


@pytest.mark.parametrize(("path", "words"), ROWS)
async def test_names_that_lead_out_of_the_folder_are_refused(
    hub: FakeHub, path: object, words: str
):
    row = {"type": "file", "path": path, "size": 1, "oid": "0" * 40}
    hub.add("org/name", FILES, rows=[row])
    async with Hub(hub.url) as client:
        with pytest.raises(SetupError, match=words) as caught:
            await client.describe("org/name", "main")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "row",
    [
        "config.json",
        {"type": "link", "path": "a"},
        {"type": "file", "path": "a", "size": -1, "oid": "0" * 40},
        {"type": "file", "path": "a", "size": "9", "oid": "0" * 40},
        {"type": "file", "path": "a", "size": 9},
        {"type": "file", "path": "a", "size": 9, "oid": "../../a"},
        {"type": "file", "path": "a", "size": 9, "oid": "0" * 40, "lfs": {"oid": "x", "size": 1}},
    ],
)
async def test_rows_that_are_none_are_refused(hub: FakeHub, row: object):
    hub.add("org/name", FILES, rows=[row])
    async with Hub(hub.url) as client:
        with pytest.raises(SetupError, match="does not answer as a hub does"):
            await client.describe("org/name", "main")


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"retry-after": "7"}, 7),
        (429, {"ratelimit": '"api";r=0;t=55'}, 55),
        (503, {}, 0),
        (500, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
    ],
)
async def test_what_may_go_well_later_says_when(
    hub: FakeHub, status: int, headers: dict[str, str], wait: float
):
    hub.add("org/name", FILES)
    hub.faults[API] = [Fault(status, headers)]
    async with Hub(hub.url) as client:
        with pytest.raises(Interrupted, match=str(status)) as caught:
            await client.describe("org/name", "main")
    assert caught.value.wait == wait


async def test_cuts_and_hubs_that_are_not_there_are_interruptions(hub: FakeHub):
    hub.add("org/name", FILES)
    hub.faults[WEIGHTS] = [Fault(cut_after=100), Fault(cut_after=100, reset=True)]
    for _ in range(2):
        with pytest.raises(Interrupted, match="the connection"):
            await read_all(hub, "model.safetensors")
    async with Hub("http://127.0.0.1:9") as client:
        with pytest.raises(Interrupted, match="connection to 127"):
            await client.describe("org/name", "main")


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        (0, Fault(content=b"short")),
        (0, Fault(content=b"w" * 9_000)),
        (100, Fault(content=b"w" * 9_000)),
        (100, Fault(content=b"short")),
        (100, Fault(206, {"content-range": "bytes 0-4999/5000"}, b"w" * 5_000)),
        (100, Fault(206, {}, b"w" * 4_900)),
    ],
)
async def test_sizes_that_disagree_are_wrong_bytes(hub: FakeHub, start: int, fault: Fault):
    hub.add("org/name", FILES)
    hub.faults[WEIGHTS] = [fault]
    with pytest.raises(WrongBytes):
        await read_all(hub, "model.safetensors", start)


@pytest.mark.parametrize("endpoint", ["", "huggingface.co", "ftp://hub", "http://"])
def test_an_endpoint_that_is_no_address_is_named(endpoint: str):
    with pytest.raises(SetupError, match="HF_ENDPOINT"):
        Hub(endpoint)


async def test_passwords_of_other_programs_are_shown_to_nobody(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = tmp_path / "netrc"
    words.write_text("machine 127.0.0.1\nlogin me\npassword secret\n", encoding="utf-8")
    words.chmod(0o600)
    monkeypatch.setenv("NETRC", str(words))
    hub.add("org/name", {"large.bin": b"x" * 5_000})
    hub.tokens = {"hf_x"}
    for token, shown in (("hf_x", "Bearer hf_x"), ("", None)):
        hub.seen.clear()
        await read_all(hub, "large.bin", token=token)
        for path, headers in hub.seen:
            expected = None if path.startswith("/cdn/") else shown
            assert headers.get("authorization") == expected, path


async def test_what_the_proxys_variable_names_is_asked(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
):
    hub.add("acme/tiny", {"a.bin": b"x"})
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with proxy, Hub(hub.url) as there:
        with pytest.raises(Interrupted, match="503"):
            await there.describe("acme/tiny", "main")
        assert asked[0].startswith(f"GET {hub.url}/api/models/acme/tiny/")
        assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in asked[0]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert (await there.describe("acme/tiny", "main")).repo == "acme/tiny"
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
        with pytest.raises(SetupError, match="HTTP_PROXY names no proxy"):
            await there.describe("acme/tiny", "main")


def test_an_endpoint_keeps_no_secrets():
    with pytest.raises(SetupError) as refused:
        Hub("https://me:secret@example.com")
    assert "secret@" not in refused.value.message


def test_no_redirect_leads_from_a_secure_hub_to_an_open_one():
    hub = Hub("https://hub.example")
    with pytest.raises(SetupError, match="redirects to 'http://"):
        hub.follow("https://hub.example/a", "http://cdn.example/a")
    assert hub.follow("https://hub.example/a", "/b") == "https://hub.example/b"
    assert hub.follow("https://hub.example/a", "https://cdn.example/b?x=%2F").endswith("?x=%2F")
