"""HTTP connections that go to checked addresses only: aiohttp with our resolver, our sockets and limits on headers."""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Final

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage

from heldout.addresses import AddressGuard
from heldout.errors import InputError
from heldout.fetch_limits import FetchLimits
from heldout.resolving import Resolver

MAX_HEADER_BYTES: Final = 16 * 1024
"""Of one header field, name and value; a response has at most `MAX_HEADERS` of them."""
MAX_HEADERS: Final = 128
_MAX_INTERIM: Final = 16
"""Interim answers (1xx) before the one that counts."""
_FIRST_ADDRESSES: Final = 4
"""Addresses of one name that are tried."""


class RefusedAddressError(OSError):
    """The guard's no, in the one type that aiohttp hands on."""


def open_session(
    guard: AddressGuard, resolver: Resolver, limits: FetchLimits, *, user_agent: str, tls: ssl.SSLContext | None
) -> aiohttp.ClientSession:
    """A session whose every connection the guard has let pass: the name's addresses, then the socket's own."""

    def make_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        _check(guard, [str(address[0])])
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=_GuardedResolver(resolver, guard, limits.connect_s),
        use_dns_cache=False,  # ours is asked again for every connection, and so is the guard
        limit=limits.concurrency,
        limit_per_host=limits.per_host,
        ssl=tls or True,
        socket_factory=make_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        response_class=_Answer,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.read_s),
        max_field_size=MAX_HEADER_BYTES,
        max_line_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
        trust_env=False,
        auto_decompress=False,
    )


class _Answer(aiohttp.ClientResponse):
    """A response whose interim answers (100 Continue and its like) come to an end.

    aiohttp reads any number of them, ten thousand from one piece of the network, and nothing else is served meanwhile.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        if protocol is None:  # closed meanwhile; aiohttp says so
            return await super().start(connection)
        read, left = protocol.read, _MAX_INTERIM

        async def counted() -> tuple[RawResponseMessage, aiohttp.StreamReader]:
            nonlocal left
            left -= 1
            if left < 0:
                raise HttpProcessingError(code=400, message="interim answers without end")
            return await read()

        protocol.read = counted  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            del protocol.read


class _GuardedResolver(AbstractResolver):
    """aiohttp's view of a resolver; every address of an answer must pass, or none is used."""

    def __init__(self, resolver: Resolver, guard: AddressGuard, timeout_s: float) -> None:
        self._resolver = resolver
        self._guard = guard
        self._timeout_s = timeout_s

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's interface; both families serve
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._resolver.resolve(host)
        except TimeoutError as error:
            raise OSError(f"no name server answered in {self._timeout_s:g} s") from error
        # Also those that would not be tried: a name that is partly private is one somebody plays with.
        _check(self._guard, addresses)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses[:_FIRST_ADDRESSES]
        ]

    async def close(self) -> None:
        """Nothing: the fetcher closes its resolver."""


def _check(guard: AddressGuard, addresses: Iterable[str]) -> None:
    try:
        for address in addresses:
            guard.check(address)
    except InputError as error:
        raise RefusedAddressError(str(error)) from error
