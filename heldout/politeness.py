"""Turns at hosts: so many requests at once, so far apart, and rest where a host asks for it or does not answer.

Times are those of a monotonic clock, in seconds. One event loop uses it.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

_MAX_HOSTS: Final = 100_000
"""Hosts remembered. Beyond it the longest unused are forgotten."""


@dataclass(frozen=True)
class Manners:
    """What one host is asked to bear."""

    per_host: int
    """Requests at once."""
    min_interval_s: float
    """Between two starts."""
    backoff_s: float
    """Rest after a refusal without `Retry-After`; doubles with each that follows."""
    max_wait_s: float
    """Longest rest that a request waits for."""
    max_failures: int
    """In a row, after which a host is left alone for `rest_s`."""
    rest_s: float


@dataclass
class Host:
    """What is known of a host."""

    slots: asyncio.Semaphore
    users: int = 0
    next_at: float = 0.0
    rest_until: float = 0.0
    failures: int = 0
    failed_at: float = field(default=-1.0)


class RestingError(Exception):
    """The host wants, or needs, to be left alone for longer than a request waits."""


class Turns:
    """Gives turns; a request that waits for its host takes no place from requests to others."""

    def __init__(self, concurrency: int, manners: Manners) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._manners = manners
        self._hosts: OrderedDict[str, Host] = OrderedDict()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[float]:
        """Wait until the host may be asked; gives the time of the start.

        Raises:
            RestingError: that will take longer than `max_wait_s`.
        """
        host = self._host(name)
        host.users += 1
        try:
            async with host.slots:
                began = await self._start(name, host)
                try:
                    yield began
                finally:
                    self._slots.release()
        finally:
            host.users -= 1

    async def _start(self, name: str, host: Host) -> float:
        while True:
            now = time.monotonic()
            if (rest := host.rest_until - now) > self._manners.max_wait_s:
                raise RestingError(f"{name} is left alone for {rest:,.0f} s: it failed or asked for it")
            if (wait := max(host.next_at, host.rest_until) - now) > 0:
                await asyncio.sleep(wait)
                continue
            await self._slots.acquire()
            now = time.monotonic()
            if max(host.next_at, host.rest_until) <= now:  # nobody started, and it has not failed, meanwhile
                host.next_at = now + self._manners.min_interval_s
                return now
            self._slots.release()

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(asyncio.Semaphore(self._manners.per_host))
            if len(self._hosts) > _MAX_HOSTS:
                self._forget()
        self._hosts.move_to_end(name)
        return host

    def _forget(self) -> None:
        idle = next((name for name, host in self._hosts.items() if not host.users), None)
        if idle is not None:
            del self._hosts[idle]

    def answered(self, name: str) -> None:
        """The host works."""
        self._host(name).failures = 0

    def failed(self, name: str, began: float, *, refused: bool, retry_after_s: float | None = None) -> bool:
        """A request that began then was refused for now, or came to nothing; whether to try again.

        Requests under way at the same time count as one failure.
        """
        host, manners, now = self._host(name), self._manners, time.monotonic()
        if began > host.failed_at:
            host.failures += 1
            host.failed_at = now
            rest = 0.0
            if refused:
                spread = random.uniform(1.0, 1.5)  # noqa: S311 - not a secret: keeps waiters from returning as one
                rest = min(manners.backoff_s * 2 ** (host.failures - 1) * spread, manners.max_wait_s)
            if host.failures >= manners.max_failures:
                rest = manners.rest_s
            host.rest_until = max(host.rest_until, now + rest)
        if retry_after_s is not None:
            host.rest_until = max(host.rest_until, now + retry_after_s)
        return host.rest_until - now <= manners.max_wait_s
