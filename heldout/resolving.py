"""Names to IP addresses without stalling a fetch: the system's resolver in threads, or a name server asked directly.

Nothing is judged here: `heldout.addresses` does that with the answer.
"""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver

from heldout.errors import InputError

CACHE_S: Final = 60.0
"""How long an answer, good or bad, is used again. Name servers' own limits are not known through the system."""
CACHE_SIZE: Final = 65_536
THREADS: Final = 32
"""Names looked up at once; a dead name can hold a thread for ten seconds."""
MAX_ADDRESSES: Final = 16
"""Of one name. More is an attempt to keep a client busy."""

MAX_TEXTS: Final = 64
"""Of one name, that are looked at."""


_SAID: Final[Mapping[type[Exception], str]] = {
    dns.resolver.NXDOMAIN: "no such name",
    dns.resolver.NoAnswer: "no address under that name",
    dns.resolver.NoNameservers: "the name server cannot tell",
    dns.resolver.LifetimeTimeout: "the name server does not answer",
}


class NoSuchNameError(OSError):
    """The name server says that there is no such name (NXDOMAIN)."""


class Resolver(Protocol):
    """Gives a name's addresses."""

    async def resolve(self, host: str) -> list[str]:
        """At least one IP address, best first.

        Raises:
            OSError: there is none, or nobody answered.
        """
        ...

    def close(self) -> None:
        """Stop threads and sockets."""
        ...


class SystemResolver:
    """The system's own resolver, with its configuration and hosts file."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(self, host: str) -> list[str]:
        """As `Resolver.resolve`."""
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(self._pool, _getaddrinfo, host)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))[:MAX_ADDRESSES]

    def close(self) -> None:
        """As `Resolver.close`; a lookup under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _getaddrinfo(host: str) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    try:
        return list(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))  # type: ignore[arg-type]
    except UnicodeError as error:  # a label over 63 characters
        raise OSError(f"no name server can hold {host[:100]!r}") from error


class NameServerResolver:
    """One name server, `address` or `address:port`, asked over UDP and TCP: a crawl's own cache, or a test's."""

    def __init__(self, server: str, *, timeout_s: float = 5.0) -> None:
        address, port = _split_server(server)
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = [address]
        self._resolver.port = port
        self._resolver.lifetime = timeout_s

    async def resolve(self, host: str) -> list[str]:
        """As `Resolver.resolve`."""
        try:
            answers = await self._resolver.resolve_name(host, search=False)
        except dns.exception.DNSException as error:
            raise OSError(
                _SAID.get(type(error), f"the name server's answer is no use: {type(error).__name__}")
            ) from error
        return list(dict.fromkeys(answers.addresses()))[:MAX_ADDRESSES]

    async def texts(self, name: str) -> list[str]:
        """The TXT records of a name, where CNAMEs lead; each one's strings joined, other octets as U+FFFD.

        Empty where the name has none.

        Raises:
            NoSuchNameError: there is no such name.
            OSError: nobody answered, or not to the question.
        """
        try:
            answer = await self._resolver.resolve(name, "TXT", search=False)
        except dns.resolver.NoAnswer:
            return []
        except dns.resolver.NXDOMAIN as error:
            raise NoSuchNameError(_SAID[dns.resolver.NXDOMAIN]) from error
        except dns.exception.DNSException as error:
            raise OSError(
                _SAID.get(type(error), f"the name server's answer is no use: {type(error).__name__}")
            ) from error
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer][:MAX_TEXTS]

    def close(self) -> None:
        """As `Resolver.close`."""


def _split_server(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = server, "53"
    try:
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError as error:
        raise InputError(f"{server!r} is no name server: give an IP address, or address:port") from error


@dataclass
class _Answer:
    until: float
    addresses: list[str]
    error: str | None


class CachingResolver:
    """Asks another resolver once for many at the same time, and remembers."""

    def __init__(self, resolver: Resolver, *, cache_s: float = CACHE_S) -> None:
        self._resolver = resolver
        self._cache_s = cache_s
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Answer]] = {}

    async def resolve(self, host: str) -> list[str]:
        """As `Resolver.resolve`."""
        answer = self._answers.get(host)
        if answer is None or answer.until < time.monotonic():
            task = self._asking.get(host)
            if task is None:
                task = self._asking[host] = asyncio.create_task(self._ask(host))
            answer = await asyncio.shield(task)  # others wait for it too
        if answer.error is not None:
            raise OSError(answer.error)
        return answer.addresses

    async def _ask(self, host: str) -> _Answer:
        addresses, said = [], None
        try:
            addresses = await self._resolver.resolve(host)
        except OSError as error:
            said = error.strerror or str(error) or "no answer"
        finally:
            del self._asking[host]
        answer = _Answer(time.monotonic() + self._cache_s, addresses, said)
        self._answers[host] = answer
        if len(self._answers) > CACHE_SIZE:
            self._answers.popitem(last=False)
        return answer

    def close(self) -> None:
        """As `Resolver.close`."""
        for task in self._asking.values():
            task.cancel()
        self._resolver.close()
