"""Fetch what strangers' addresses name: bounded, polite, and never from an address that is not public.

Needs the extra `fetch` (aiohttp). A failure of the outside world is data (`Fetched.status`), not an exception. The
guard decides about IP addresses after name resolution and again when the socket is made; redirects are followed here,
one guarded hop after the other. No proxies and credentials of the environment, no cookies, http and https only.
"""

import asyncio
import socket
import ssl
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
import can_ada
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from heldout import __version__
from heldout.addresses import AddressGuard
from heldout.errors import InputError
from heldout.signals import read_signals
from heldout.urls import canonical_key

USER_AGENT: Final = f"heldout/{__version__}"
PICTURES: Final = "image/*,*/*;q=0.8"
"""Accept header for pictures. Without naming WebP or AVIF, so that servers send the picture as it was published."""


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may cost, and what one host is asked to bear."""

    max_bytes: int = 32 * 1024 * 1024
    """Of a body, as sent and again when decoded."""
    max_redirects: int = 5
    connect_s: float = 10.0
    read_s: float = 10.0
    """Between two pieces of an answer."""
    total_s: float = 60.0
    """Of one fetch with its redirects; waiting for a host's turn does not count."""
    concurrency: int = 64
    """Requests in the air."""
    per_host: int = 4
    """Of them to one host."""
    min_host_interval_s: float = 0.0
    """Between the starts of two requests to one host."""


@dataclass(frozen=True)
class Fetched:
    """What came of a fetch."""

    url: str
    final_url: str
    """After redirects."""
    status: str
    """"ok", or a machine word that says what failed."""
    reason: str | None = None
    """For people."""
    http_status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    """Of the last answer."""
    body: bytes = b""
    signals: tuple[str, ...] = ()
    """Opt-out signals of every answer on the way."""


class _RefusedError(OSError):
    """The guard's no, in the one type that aiohttp passes on."""


class _FailedError(Exception):
    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _GuardedResolver(AbstractResolver):
    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        for info in infos:
            _check(self._guard, str(info[4][0]))
        return [
            ResolveResult(hostname=host, host=str(info[4][0]), port=port, family=info[0], proto=info[2], flags=0)
            for info in infos
        ]

    async def close(self) -> None:
        pass


def _check(guard: AddressGuard, address: str) -> None:
    try:
        guard.check(address)
    except InputError as error:
        raise _RefusedError(str(error)) from error


class Fetcher:
    """Fetches over a pool of connections; use it as an async context manager."""

    def __init__(
        self,
        *,
        guard: AddressGuard | None = None,
        limits: FetchLimits | None = None,
        user_agent: str = USER_AGENT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard or AddressGuard()
        self._limits = limits or FetchLimits()
        self._user_agent = user_agent
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(self._limits.concurrency)
        self._hosts: OrderedDict[str, asyncio.Semaphore] = OrderedDict()

    async def __aenter__(self) -> Self:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            resolver=_GuardedResolver(self._guard),
            use_dns_cache=False,
            limit=limits.concurrency,
            ssl=self._tls or True,
            socket_factory=self._make_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.read_s),
            trust_env=False,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def _make_socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        _check(self._guard, str(address[0]))
        return socket.socket(family, kind, protocol)

    async def get(self, url: str, *, accept: str = PICTURES) -> Fetched:
        """Fetch a URL. Whatever goes wrong outside is in the result's `status`."""
        target, signals = url, dict[str, None]()
        left_s = self._limits.total_s
        try:
            for _ in range(self._limits.max_redirects + 1):
                target, host = self._parse(target)
                slot = self._hosts.setdefault(host, asyncio.Semaphore(self._limits.per_host))
                async with slot, self._slots:
                    began = time.monotonic()
                    async with asyncio.timeout(left_s):
                        status, headers, body = await self._ask(target, accept)
                    left_s -= time.monotonic() - began
                signals.update(dict.fromkeys(read_signals(headers)))
                location = next((value for name, value in headers if name.lower() == "location"), None)
                if status in {301, 302, 303, 307, 308} and location is not None:
                    target = can_ada.parse(location, target).href
                    continue
                word = "ok" if status == 200 else f"http_{status}"
                reason = None if status == 200 else f"the server answered with status {status}"
                return Fetched(url, target, word, reason, status, headers, body, tuple(signals))
        except _FailedError as error:
            return Fetched(url, target, error.status, str(error), signals=tuple(signals))
        except TimeoutError:
            return Fetched(url, target, "timeout", "the server took too long", signals=tuple(signals))
        except aiohttp.ClientConnectorError as error:
            word = "refused_address" if isinstance(error.os_error, _RefusedError) else "connect"
            return Fetched(url, target, word, str(error.os_error), signals=tuple(signals))
        except (aiohttp.ClientError, ValueError, OSError) as error:
            return Fetched(url, target, "bad_response", str(error) or type(error).__name__, signals=tuple(signals))
        return Fetched(url, target, "too_many_redirects", "the redirects do not end", signals=tuple(signals))

    def _parse(self, url: str) -> tuple[str, str]:
        try:
            canonical_key(url)
            parsed = can_ada.parse(url)
        except (InputError, ValueError) as error:
            raise _FailedError("bad_url", str(error)) from error
        host = parsed.hostname.strip("[]")
        try:
            literal = host if ":" in host or host.replace(".", "").isdigit() else None
            if literal:
                self._guard.check(literal)
        except InputError as error:
            raise _FailedError("refused_address", str(error)) from error
        return parsed.href, host

    async def _ask(self, url: str, accept: str) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._session is None:
            raise RuntimeError("use the Fetcher as an async context manager")
        target = URL(url, encoded=True)
        async with self._session.get(target, headers={"Accept": accept}, allow_redirects=False) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > self._limits.max_bytes:
                    raise _FailedError("too_large", f"more than {self._limits.max_bytes:,} bytes")
            return response.status, list(response.headers.items()), bytes(body)
