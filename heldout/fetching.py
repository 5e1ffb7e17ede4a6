"""Fetch what strangers' addresses name: bounded, polite, and never from an address that is not public.

Needs the extra `fetch` (aiohttp, dnspython). A failure of the outside world is data (`Fetched.status`), not an
exception. The guard decides about every IP address twice: when a name is resolved, and when the socket is made that
connects to just that address; TLS and the Host header go by name. Redirects are followed here, one guarded hop after
the other. No proxies or credentials of the environment, no cookies, no referrer; http and https only.
"""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
from yarl import URL

from heldout import __version__
from heldout.addresses import AddressGuard
from heldout.connections import open_session
from heldout.content_coding import CodingError, decode_content
from heldout.errors import InputError
from heldout.fetch_failures import NOT_PUBLIC, describe_failure, printable
from heldout.fetch_limits import FetchLimits
from heldout.politeness import Manners, RestingError, Turns
from heldout.resolving import CachingResolver, Resolver, SystemResolver
from heldout.signals import read_signals
from heldout.targets import RefusedPortError, Target, parse_location, parse_target

__all__ = ["PAGES", "PICTURES", "USER_AGENT", "FetchLimits", "Fetched", "Fetcher", "Room", "parse_retry_after"]

USER_AGENT: Final = f"heldout/{__version__}"
PICTURES: Final = "image/*,*/*;q=0.8"
"""Accept header for pictures. Without naming WebP or AVIF, so that servers send the picture as it was published."""
PAGES: Final = "text/html,application/xhtml+xml,*/*;q=0.8"

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FOR_NOW: Final = frozenset({429, 503})
_OK: Final = frozenset({200, 203})
_DRAINED_BYTES: Final = 64 * 1024
"""So much of an answer that is not kept is read to use its connection again."""
_DECODED_AT_ONCE: Final = 256 * 1024
"""Larger bodies are decoded in a thread, so that other fetches go on."""


@dataclass(frozen=True)
class Fetched:
    """What came of a fetch.

    `status` is "ok" or one of: `bad_url`, `refused_address`, `refused_port`, `dns`, `connect`, `tls`, `timeout`,
    `reset` (the connection broke), `bad_response` (not HTTP, or headers without end), `bad_encoding`, `bad_redirect`,
    `too_many_redirects`, `too_large`, `empty`, `not_a_picture` (a page where one was asked for), `host_resting` (not
    asked: the host failed or wants to be left alone), `http_404` and its like.
    """

    url: str
    final_url: str
    """After redirects."""
    status: str
    reason: str | None = None
    """For people; None when ok. Without what is particular to the URL, so that equal ones can be counted."""
    http_status: int | None = None
    """Of the last answer."""
    headers: list[tuple[str, str]] = field(default_factory=list)
    """Of the last answer."""
    body: bytes = b""
    """Decoded; empty unless ok."""
    signals: tuple[str, ...] = ()
    """Opt-out signals of all answers on the way."""

    @property
    def ok(self) -> bool:
        """Whether there is a body."""
        return self.status == "ok"

    def header(self, name: str) -> str | None:
        """The first header of the last answer with this name, which is given in lower case."""
        return _header(self.headers, name)


class Room(Protocol):
    """Keeps the bodies of many fetches within memory."""

    def grow(self, n_bytes: int) -> None:
        """So many more bytes are kept. What it raises ends the fetch, and comes out of it."""
        ...

    def clear(self) -> None:
        """What was kept is gone."""
        ...


class _FailedError(Exception):
    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class _Try:
    """One try: what is known so far."""

    target: Target | None = None
    http_status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    signals: dict[str, None] = field(default_factory=dict)
    left_s: float = 0.0
    again: bool = False
    """Whether another try makes sense."""


class Fetcher:
    """Fetches over one pool of connections; an async context manager, for one event loop.

    Args:
        guard: Says which IP addresses may be asked; public ones by default.
        limits: See there.
        user_agent: Sent with every request. Operators say here who they are and how to reach them.
        resolver: Gives names' addresses; the system's by default. Closed with the fetcher.
        tls: Trust for https; the system's authorities by default.
    """

    def __init__(
        self,
        *,
        guard: AddressGuard | None = None,
        limits: FetchLimits | None = None,
        user_agent: str = USER_AGENT,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not user_agent.isprintable() or not user_agent.isascii() or not user_agent:
            raise InputError(f"the user agent {user_agent!a} must be printable ASCII, such as 'name/1.0 (+URL)'")
        self._guard = guard or AddressGuard()
        self._limits = limits = limits or FetchLimits()
        self._user_agent = user_agent
        self._resolver = CachingResolver(resolver or SystemResolver())
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._turns = Turns(
            limits.concurrency,
            Manners(
                per_host=limits.per_host,
                min_interval_s=limits.min_host_interval_s,
                backoff_s=limits.backoff_s,
                max_wait_s=limits.max_wait_s,
                max_failures=limits.max_failures,
                rest_s=limits.rest_s,
            ),
        )

    async def __aenter__(self) -> Self:
        self._session = open_session(
            self._guard, self._resolver, self._limits, user_agent=self._user_agent, tls=self._tls
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        self._resolver.close()

    async def get(self, url: str, *, accept: str = PICTURES, room: Room | None = None) -> Fetched:
        """Fetch a URL. Whatever goes wrong outside is in the result's `status`.

        Args:
            url: As a stranger wrote it.
            accept: The Accept header: `PICTURES` also refuses pages, `PAGES` does not.
            room: Told of every growth of the body.
        """
        for left in range(self._limits.max_retries, -1, -1):
            attempt = _Try(left_s=self._limits.total_s)
            fetched = await self._try(url, attempt, accept, room)
            if room is not None and not fetched.ok:
                room.clear()
            if not (attempt.again and left):
                break
        return fetched

    async def _try(self, url: str, attempt: _Try, accept: str, room: Room | None) -> Fetched:
        body, status, reason = b"", "ok", None
        try:
            body = await self._follow(parse_target(url), attempt, accept, room)
        except RefusedPortError as error:
            status, reason = "refused_port", str(error)
        except _FailedError as error:
            status, reason = error.status, str(error)
        except RestingError:
            status, reason = "host_resting", "the host failed several times, or asked to be left alone"
        except InputError:
            status, reason = "bad_url", "no http or https address that can be asked for"
            if attempt.target is not None:
                status, reason = "bad_redirect", "it leads to no http or https address that can be asked for"
        final = attempt.target.url if attempt.target else url
        return Fetched(url, final, status, reason, attempt.http_status, attempt.headers, body, tuple(attempt.signals))

    async def _follow(self, target: Target, attempt: _Try, accept: str, room: Room | None) -> bytes:
        """The body at the end of the redirects.

        Raises:
            _FailedError, RestingError, InputError: there is none.
        """
        seen = set()
        for _ in range(self._limits.max_redirects + 1):
            attempt.target = target
            seen.add(target.url)
            body = await self._hop(target, attempt, accept, room)
            location = _header(attempt.headers, "location")
            if attempt.http_status not in _REDIRECTS or location is None:
                return body
            target = parse_location(location, target)
            if target.url in seen:
                raise _FailedError("too_many_redirects", "the redirects lead in a circle")
        raise _FailedError("too_many_redirects", f"more than {self._limits.max_redirects} redirects")

    async def _hop(self, target: Target, attempt: _Try, accept: str, room: Room | None) -> bytes:
        """One request in its host's turn; the body, or nothing when it is a redirect."""
        if target.address is not None:
            try:
                self._guard.check(target.address)
            except InputError as error:
                raise _FailedError("refused_address", NOT_PUBLIC) from error
        async with self._turns.turn(target.host) as began:
            try:
                body = await self._ask(target, attempt, accept, room)
            except _FailedError as error:
                if error.status in {"dns", "connect", "tls", "timeout", "reset"}:
                    retry = error.status == "reset"
                    attempt.again = self._turns.failed(target.host, began, refused=retry) and retry
                elif attempt.http_status in _FOR_NOW:
                    after_s = parse_retry_after(_header(attempt.headers, "retry-after"), datetime.now(UTC))
                    attempt.again = self._turns.failed(target.host, began, refused=True, retry_after_s=after_s)
                elif attempt.http_status is not None:
                    self._turns.answered(target.host)
                raise
            self._turns.answered(target.host)
            return body

    async def _ask(self, target: Target, attempt: _Try, accept: str, room: Room | None) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(max(attempt.left_s, 0.0)):
                return await self._read(target, attempt, accept, room)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _FailedError(*describe_failure(error, self._limits)) from error
        finally:
            attempt.left_s -= loop.time() - began

    async def _read(self, target: Target, attempt: _Try, accept: str, room: Room | None) -> bytes:
        if self._session is None:
            raise RuntimeError("use the Fetcher as an async context manager")
        attempt.http_status = None
        async with self._session.get(
            URL(target.url, encoded=True), headers={"Accept": accept}, allow_redirects=False
        ) as response:
            status = attempt.http_status = response.status
            attempt.headers = list(response.headers.items())
            attempt.signals.update(dict.fromkeys(read_signals(attempt.headers)))
            if status not in _OK:
                if (response.content_length or _DRAINED_BYTES) < _DRAINED_BYTES:
                    await response.read()
                else:
                    response.close()
                if status in _REDIRECTS and "location" in response.headers:
                    return b""
                raise _FailedError(f"http_{status}", f"the server answered with status {status}")
            return await self._body(response, accept, room)

    async def _body(self, response: aiohttp.ClientResponse, accept: str, room: Room | None) -> bytes:
        limit, encoding = self._limits.max_bytes, response.headers.get("Content-Encoding", "")
        if (response.content_length or 0) > limit:
            response.close()
            raise _FailedError("too_large", f"more than the limit of {limit:,} bytes")
        body = bytearray()
        async for piece in response.content.iter_any():
            if len(body) + len(piece) > limit:
                response.close()
                raise _FailedError("too_large", f"more than the limit of {limit:,} bytes")
            if not body and accept == PICTURES and not encoding:
                _refuse_page(piece, response)
            if room is not None:
                room.grow(len(piece))
            body += piece
        if not body:
            raise _FailedError("empty", "the server sent 0 bytes")
        if not encoding:
            return bytes(body)
        decoded = await _decode(bytes(body), encoding, limit)
        if accept == PICTURES:
            _refuse_page(decoded, response)
        if room is not None:
            room.grow(max(0, len(decoded) - len(body)))
        return decoded


async def _decode(body: bytes, encoding: str, limit: int) -> bytes:
    try:
        if len(body) > _DECODED_AT_ONCE:
            return await asyncio.to_thread(decode_content, body, encoding, limit)
        return decode_content(body, encoding, limit)
    except CodingError as error:
        raise _FailedError("too_large" if error.too_large else "bad_encoding", str(error)) from error


def _refuse_page(start: bytes, response: aiohttp.ClientResponse) -> None:
    """No picture format begins like markup or JSON, whatever the type says."""
    if start.lstrip()[:1] in {b"<", b"{", b"["}:
        response.close()
        said = printable(response.headers.get("Content-Type", "unknown"))
        raise _FailedError("not_a_picture", f"a page or text came instead of a picture ({said})")


def _header(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    return next((value for field_name, value in headers if field_name.lower() == name), None)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110 §10.2.3): a number of them, or a date; None if unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
