"""Fetching what `url` sources name: from whom, how much, how long, and never from inside.

A server on this machine stands for hosts of the internet: names are looked up in a table here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from renga.caller import Caller
from renga.config import MediaConfig
from renga.errors import InvalidRequest
from renga.media.fetching import Address, Fetcher, is_public, look_up
from renga.types import DocumentParam, ImageParam, UrlSource
from tests.media.pictures import pdf, picture

CALLER = Caller(workspace="w", request_id="r")
PNG = picture("x", size=(40, 30))
HERE = "127.0.0.1"
# Of the documentation's own networks, so that nobody answers there.
PUBLIC = "192.0.2.1"


class Site:
    """A server, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.looked_up: list[str] = []

    async def lookup(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        found = {
            "site.example": [HERE],
            "other.example": [HERE],
            "inside.example": ["10.0.0.7"],
            "both.example": [HERE, "169.254.169.254"],
        }
        if host not in found:
            raise OSError(f"{host} is not known")
        return found[host]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        name = request.path.strip("/")
        if name.startswith("to/"):
            raise web.HTTPFound(request.query["url"])
        if name == "endless":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"\x89PNG" * 100_000)
        if name == "silent":
            await asyncio.sleep(30)
        bodies = {"a.png": PNG, "a.pdf": pdf("hi"), "page": b"<html>", "none": b""}
        if name not in bodies:
            raise web.HTTPNotFound
        return web.Response(body=bodies[name], content_type="image/jpeg")


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_get("/{name:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    server = web.TCPSite(runner, HERE, 0)
    await server.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


def only_here(address: Address) -> bool:
    """As `is_public`, but this machine's own address is taken for one of the internet."""
    return str(address) == HERE or is_public(address)


def fetcher(made: Site, **options: Any) -> Fetcher:
    config = MediaConfig(
        **{"fetch_from": ("*.example",), "fetch_http": True, "fetch_seconds": 5.0, **options}
    )
    return Fetcher(config, lookup=made.lookup, public=only_here)


async def fetch(made: Fetcher, url: str, kind: Any = ImageParam) -> Any:
    return await made.resolve(kind(source=UrlSource(url=url)), "messages.0.content.0", CALLER)


async def refused(made: Fetcher, url: str, kind: Any = ImageParam) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await fetch(made, url, kind)
    message = caught.value.message
    assert message.startswith("messages.0.content.0.source.url: ")
    return message


async def test_an_image_and_a_pdf_are_known_by_their_bytes() -> None:
    async with site() as made:
        at = f"http://site.example:{made.port}"
        assert (await fetch(fetcher(made), f"{at}/a.png")).media_type == "image/png"
        found = await fetch(fetcher(made), f"{at}/a.pdf", DocumentParam)
        assert found.media_type == "application/pdf"


async def test_nothing_is_fetched_unless_hosts_are_named() -> None:
    async with site() as made:
        told = await refused(fetcher(made, fetch_from=()), f"http://site.example:{made.port}/a.png")
        assert "[media] fetch_from" in told
        assert made.asked == made.looked_up == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://elsewhere.test/a.png", "not among the hosts"),
        ("http://example/a.png", "not among the hosts"),
        ("http://badexample.test/x.example", "not among the hosts"),
        ("ftp://site.example/a.png", "'ftp'"),
        ("file:///etc/passwd", "'file'"),
        ("gopher://site.example/", "'gopher'"),
        ("http://user:secret@site.example/a.png", "a user or a password"),
        ("http://inside.example/a.png", "private address"),
        ("http://both.example/a.png", "private address"),
        ("http://unknown.example/a.png", "cannot be fetched"),
        ("http://site.example:port/a.png", "cannot be fetched"),
        ("nonsense", "not fetched"),
        ("http://", "not among the hosts"),
    ],
)
async def test_an_address_that_is_none_to_be_fetched_is_not_asked(url: str, says: str) -> None:
    async with site() as made:
        assert says in await refused(fetcher(made), url)
        assert made.asked == []


LITERALS = [
    *("10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "[::1]", "[fe80::1]", "[fc00::1]", "[::ffff:10.0.0.1]"),
    *("[64:ff9b::a00:1]", "[2002:a00:1::]", "[2001:0:1::1]", "[::]", "[ff02::1]", "[fec0::1]"),
]


@pytest.mark.parametrize("host", LITERALS)
async def test_no_private_address_is_fetched_even_where_every_host_may_be(host: str) -> None:
    async with site() as made:
        told = await refused(fetcher(made, fetch_from=("*",)), f"http://{host}/a.png")
        assert "private address" in told


# Other ways to write 127.0.0.1: whatever a resolver makes of them, they are no way in.
@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
async def test_no_spelling_of_this_machine_is_fetched(host: str) -> None:
    strict = Fetcher(MediaConfig(fetch_from=("*",), fetch_http=True))
    told = await refused(strict, f"http://{host}:1/a.png")
    assert "private address" in told or "cannot be fetched" in told


async def test_https_is_asked_for_unless_http_is_allowed() -> None:
    async with site() as made:
        told = await refused(
            fetcher(made, fetch_http=False), f"http://site.example:{made.port}/a.png"
        )
        assert "only https" in told
        assert "fetch_http" in told


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("http://10.0.0.1/a.png", "not among the hosts"),
        ("http://inside.example/a.png", "private address"),
        ("http://elsewhere.test/a.png", "not among the hosts"),
        ("file:///etc/passwd", "'file'"),
        ("/to/x?url=/to/x?url=/to/x?url=/to/x", "leads on more than 3 times"),
    ],
)
async def test_a_redirect_is_asked_all_the_same_questions(to: str, says: str) -> None:
    async with site() as made:
        if to.startswith("/"):
            to = "/to/x?url=/to/x%3Furl%3D/to/x%253Furl%253D/to/x%25253Furl%25253D/a.png"
        told = await refused(fetcher(made), f"http://site.example:{made.port}/to/x?url={to}")
        assert says in told
        assert "/a.png" not in made.asked


async def test_a_redirect_to_another_host_of_the_list_is_followed() -> None:
    async with site() as made:
        to = f"http://other.example:{made.port}/a.png"
        found = await fetch(fetcher(made), f"http://site.example:{made.port}/to/x?url={to}")
        assert found.media_type == "image/png"
        assert made.looked_up == ["site.example", "other.example"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("endless", "larger than"),
        ("nothing-there", "answers 404"),
        ("page", "a web page"),
        ("none", "an empty file"),
        ("a.pdf", "a PDF"),
    ],
)
async def test_what_comes_is_bounded_and_looked_at(path: str, says: str) -> None:
    async with site() as made:
        assert says in await refused(fetcher(made), f"http://site.example:{made.port}/{path}")


async def test_a_host_that_says_nothing_is_not_waited_for() -> None:
    async with site() as made:
        patient = fetcher(made, fetch_seconds=0.2)
        assert "0.2 s" in await refused(patient, f"http://site.example:{made.port}/silent")


@given(st.ip_addresses(v=4))
def test_an_address_carried_in_another_is_as_public_as_itself(address: Any) -> None:
    number = int(address)
    carried = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
        ipaddress.IPv6Address((0xFFFF << 48) | number),
    ]
    assert {is_public(one) for one in carried} == {is_public(address)}


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"])
def test_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["64:ff9b:1::a00:1", "3fff::1", "5f00::1", "fec0::1", "100::1", "2001:0:808:808::1", "::",
     "fe80::1%eth0", "192.0.0.8", "192.88.99.1", "100.64.0.1", "0.0.0.0", "255.255.255.255"],
)  # fmt: skip
def test_what_is_set_aside_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


async def test_lookups_that_nobody_answers_hold_up_no_other_thread() -> None:
    answered = threading.Event()

    def silent(*asked: object, **more: object) -> list[object]:
        answered.wait(30)
        return []

    waiting = [asyncio.create_task(look_up("slow.example", 443, silent)) for _ in range(100)]
    await asyncio.sleep(0)
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 20) == "read"
        assert not any(task.done() for task in waiting)
    finally:
        answered.set()
        assert await asyncio.gather(*waiting) == [[]] * 100


async def test_why_nothing_can_be_fetched_is_said_in_words() -> None:
    async with site() as made:
        told = await refused(fetcher(made), "http://nobody.example/a.png")
        assert told.endswith("url: it cannot be fetched: the host 'nobody.example' is not known")
        assert "only https and http" in await refused(fetcher(made), "ftp://site.example/a.png")
