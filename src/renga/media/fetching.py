"""What a `url` source names, fetched: off unless hosts are named, and never from inside.

Owns who may be fetched from: hosts on the list, by https (http where that is said), at public
addresses alone. A name is looked up once, every address it has must be public, and the connection
goes to one of those and nowhere else, so that a name cannot change its meaning in between; each
redirect is a new address with all the same questions. Owns also how much may come, and how long it
may take. What came is known by its bytes, not by what the server says of it.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from renga.caller import Caller
from renga.config import MediaConfig
from renga.errors import InvalidRequest
from renga.media.formats import (
    MOST_IMAGE_BYTES,
    MOST_PDF_BYTES,
    NotReadable,
    check_pdf,
    look,
)
from renga.media.walking import Medium
from renga.types import Base64Image, Base64Pdf, ImageParam, UrlSource

MOST_REDIRECTS: Final = 3
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_READ_BYTES: Final = 65_536

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises OSError where it has none."""

# Where an IPv6 address carries an IPv4 one: prefix, and how many bits stand behind that address.
_CARRIERS: Final = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
# What stands among the global ones, or is called so, and leads to nobody's host: Teredo, which
# carries an address behind a mask; documentation; protocol assignments; relays of 6to4.
_ODD: Final = (
    ipaddress.IPv6Network("2001::/32"),
    ipaddress.IPv6Network("3fff::/20"),
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
)


class _Refused(Exception):
    """Why an address is not fetched."""


def is_public(address: Address) -> bool:
    """Whether `address` is one that anybody on the internet reaches, and nothing inside."""
    if isinstance(address, ipaddress.IPv6Address):
        for network, behind in _CARRIERS:
            if address in network:
                return is_public(ipaddress.IPv4Address(int(address) >> behind & 0xFFFFFFFF))
        if address not in _GLOBAL:
            return False  # all else is set aside, as a translator's prefix inside a network is
    if any(address in network for network in _ODD):
        return False
    return address.is_global and not address.is_multicast


# Of their own: a lookup that nobody answers takes the system half a minute, and cannot be ended;
# the threads that read bodies and files must not wait for those.
_LOOKUPS: Final = ThreadPoolExecutor(4, thread_name_prefix="lookup")


async def look_up(
    host: str, port: int, ask: Callable[..., Sequence[Any]] = socket.getaddrinfo
) -> list[str]:
    """What the system says."""
    asked = partial(ask, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, asked)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True)
class _Public(AbstractResolver):
    """Names to addresses for one connection: all of them public, or none."""

    lookup: Lookup
    public: Callable[[Address], bool]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises _Refused where one of the addresses is none that may be fetched from."""
        addresses = [ipaddress.ip_address(told) for told in await self.lookup(host, port)]
        for address in addresses:
            if not self.public(address):
                raise _Refused(f"{host} is a private address")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Fetcher:
    """Fetches for `media.resolving`. The last two parameters are what tests put in their place."""

    def __init__(
        self,
        config: MediaConfig,
        *,
        lookup: Lookup = look_up,
        public: Callable[[Address], bool] = is_public,
    ) -> None:
        self._config = config
        self._lookup = lookup
        self._public = public

    async def resolve(self, block: Medium, path: str, caller: Caller) -> Base64Image | Base64Pdf:
        """The image or the PDF that a block's URL leads to.

        Raises InvalidRequest: fetching is off, an address that is none to be fetched from, or what
        came of it.
        """
        source = block.source
        assert isinstance(source, UrlSource)
        where = f"{path}.source.url"
        if not self._config.fetch_from:
            raise InvalidRequest(
                f"{where}: this server fetches nothing; send the content as `base64`, or name the "
                "hosts to fetch from in its configuration: [media] fetch_from"
            )
        most = MOST_IMAGE_BYTES if isinstance(block, ImageParam) else MOST_PDF_BYTES
        try:
            async with asyncio.timeout(self._config.fetch_seconds):
                data = await self._fetch(source.url, most)
            return await asyncio.to_thread(_as_source, data, isinstance(block, ImageParam))
        except TimeoutError as error:
            seconds = self._config.fetch_seconds
            raise InvalidRequest(f"{where}: nothing whole came within {seconds:g} s") from error
        except (_Refused, NotReadable) as error:
            raise InvalidRequest(f"{where}: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise InvalidRequest(f"{where}: it cannot be fetched: {_told(error)}") from error

    async def _fetch(self, address: str, most: int) -> bytes:
        connector = aiohttp.TCPConnector(
            resolver=_Public(self._lookup, self._public), use_dns_cache=False, force_close=True
        )
        headers = {"accept-encoding": "identity", "user-agent": "renga"}
        async with aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        ) as session:
            url = URL(address)
            for _ in range(MOST_REDIRECTS + 1):
                self._check(url)
                async with session.get(url, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await _body(response, most)
                    url = url.join(URL(response.headers.get("location", "")))
        raise _Refused(f"it leads on more than {MOST_REDIRECTS} times")

    def _check(self, url: URL) -> None:
        """Raise _Refused where `url` is none to be fetched, whatever its host's address is."""
        schemes = ("https", "http") if self._config.fetch_http else ("https",)
        if url.scheme not in schemes:
            also = " (the setting [media] fetch_http adds http)"
            more = " and http" if self._config.fetch_http else also
            raise _Refused(f"'{url.scheme}' addresses are not fetched, only https{more}")
        if url.user is not None or url.password is not None:
            raise _Refused("addresses with a user or a password are not fetched")
        host = (url.host or "").rstrip(".")
        if not any(_matches(host, allowed) for allowed in self._config.fetch_from):
            raise _Refused(
                f"'{host}' is not among the hosts that this server fetches from; they are listed "
                "in its configuration: [media] fetch_from"
            )
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        if not self._public(address):
            raise _Refused(f"{host} is a private address")


def _matches(host: str, allowed: str) -> bool:
    """Whether `host` is on the list: itself, below `*.` something, or anything for `*`."""
    host, allowed = host.lower(), allowed.lower()
    return (
        allowed == "*"
        or host == allowed
        or (
            allowed.startswith("*.") and host.endswith(allowed[1:]) and len(host) > len(allowed) - 1
        )
    )


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    if response.status != 200:
        raise _Refused(f"the host answers {response.status}")
    told = response.content_length or 0
    data = bytearray()
    while told <= most and len(data) <= most:
        read = await response.content.read(_READ_BYTES)
        if not read:
            return bytes(data)
        data += read
    raise _Refused(f"what is there is larger than {most:,} bytes")


def _as_source(data: bytes, is_image: bool) -> Base64Image | Base64Pdf:
    """What came, by its bytes. Raises NotReadable."""
    text = base64.b64encode(data).decode("ascii")
    if is_image:
        return Base64Image.model_validate({"media_type": look(data).media_type, "data": text})
    check_pdf(data)
    return Base64Pdf(media_type="application/pdf", data=text)


def _told(error: Exception) -> str:
    """One line of a client's error, without the addresses that it tried."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host '{error.host[:100]}' is not known"
    return type(error).__name__ if isinstance(error, OSError) else str(error)[:200]
