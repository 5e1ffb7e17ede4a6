"""The fetch stage: batches of a source that has addresses only, with the pictures those lead to.

Rows keep their order. Requests run ahead of the row that is wanted next, over batch boundaries and for several shards
at once, so that a host that makes us wait holds up no other; how far is bounded in rows and in bytes. What fails is
data: `status` is the fetcher's word, `reason` says more. The network has a thread of its own.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import numpy as np
import pyarrow as pa

from heldout.addresses import AddressGuard
from heldout.errors import InputError
from heldout.fetching import USER_AGENT, Fetched, Fetcher, FetchLimits
from heldout.resolving import NameServerResolver
from indexer.batches import Batch
from indexer.machine import available_memory
from indexer.readers import BATCH_BYTES, PICTURE_BATCH
from indexer.samples import STATUS_NOT_FETCHED, STATUS_OK, add_reason, with_column

HELD_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of pictures that wait for the rows before them, where memory is plenty: one that never comes holds up some ten
thousand that have. One picture of each shard may go beyond."""
HELD_PART: Final = 8
"""Part of free memory that they may take up at most."""
AHEAD: Final = 8192
"""Rows of a shard under way: in the air, come already, or waiting for their host's turn."""
_FIRST_MEAN: Final = 100_000.0
"""Bytes of a picture before any has come."""
_MEAN_OVER: Final = 64
"""Pictures that the mean size goes back."""
_FILLED: Final = 0.8
"""Part of the space that is expected to be taken; the rest is for pictures above the mean."""
_LOOK_S: Final = 0.5
"""Between two looks at whether the run is to end."""

T = TypeVar("T")


@dataclass(frozen=True)
class FetchOptions:
    """What `--fetch` is told; picklable."""

    limits: FetchLimits = field(default_factory=FetchLimits)
    user_agent: str = USER_AGENT
    """Who asks, for the people who run servers."""
    allow: tuple[str, ...] = ()
    """Networks that may be asked although they are not public, such as 127.0.0.0/8."""
    refuse: tuple[str, ...] = ()
    """Networks that are never asked."""
    name_server: str | None = None
    """`address` or `address:port`; the system's resolver where it is not given."""
    held_bytes: int | None = None
    """Of pictures that wait for others; by the machine's memory where it is not given."""

    def make_fetcher(self) -> Fetcher:
        """A fetcher as told.

        Raises:
            InputError: a network or the name server cannot be read.
        """
        guard = AddressGuard(allow=map(_network, self.allow), refuse=map(_network, self.refuse))
        resolver = None if self.name_server is None else NameServerResolver(self.name_server)
        return Fetcher(guard=guard, limits=self.limits, user_agent=self.user_agent, resolver=resolver)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is no network ({error}): give an IP address, or one with a length, as 127.0.0.0/8"
        ) from error


def _held_bytes() -> int:
    free = available_memory()
    return HELD_BYTES if free is None else min(HELD_BYTES, free // HELD_PART)


class FetchStage:
    """Fetches for any number of shards, from any thread; a context manager.

    Raises:
        InputError: the options make no sense.
    """

    def __init__(self, options: FetchOptions) -> None:
        self._fetcher = options.make_fetcher()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._stack = AsyncExitStack()
        self._space = _Space(options.held_bytes or _held_bytes(), options.limits.concurrency)

    def __enter__(self) -> Self:
        self._thread.start()
        self._submit(self._stack.enter_async_context(self._fetcher)).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._submit(self._stack.aclose()).result()
        self._submit(self._loop.shutdown_default_executor()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def batches(self, source: Iterator[Batch], check: Callable[[], None] = lambda: None) -> Iterator[Batch]:
        """The rows of `source` with pictures where a URL led to one; batches of at most `PICTURE_BATCH` rows.

        Close it when it is not read to its end.

        Args:
            source: Read in another thread, one batch at a time.
            check: Called while waiting; what it raises ends the wait.

        Raises:
            InputError: as the source does, after the rows before it.
        """
        flow = _Flow(self._fetcher, self._space, source)
        self._submit(flow.start()).result()
        try:
            while (batch := self._wait(self._submit(flow.next()), check)) is not None:
                yield batch
        finally:
            self._submit(flow.close()).result()

    def _wait(self, result: "Future[T]", check: Callable[[], None]) -> T:
        try:
            while True:
                check()
                if wait([result], _LOOK_S).done:
                    return result.result()
        finally:
            result.cancel()


class NoRoomError(Exception):
    """A picture would take up bytes that others have."""


class _Space:
    """Bytes that pictures take up while they wait.

    A fetch begins when there is room for it and for those in the air, by the size of the pictures so far. One that
    finds none half-way ends and begins again later: waiting there would keep its turn at its host, which the row that
    is wanted next may need. That row always gets what it asks for.
    """

    def __init__(self, n_bytes: int, concurrency: int) -> None:
        self._n_bytes = n_bytes
        self._concurrency = concurrency
        self._held = 0
        self._begun = 0
        self._mean = _FIRST_MEAN
        self._waiting: list[tuple[asyncio.Future[None], Callable[[], bool]]] = []

    async def begin(self, is_first: Callable[[], bool]) -> None:
        """Wait until a fetch may begin; `end` when it has ended."""
        while not (self._is_open() or is_first()):
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append((waiter, is_first))
            await waiter
        self._begun += 1

    def end(self, n_bytes: int | None) -> None:
        """It ended, with a body of so many bytes or with none."""
        self._begun -= 1
        if n_bytes is not None:
            self._mean += (n_bytes - self._mean) / _MEAN_OVER
        self.tell()

    def _is_open(self) -> bool:
        expected = self._held + min(self._begun + 1, self._concurrency) * self._mean
        return expected <= self._n_bytes * _FILLED

    def take(self, n_bytes: int, *, is_first: bool) -> None:
        """A picture grows."""
        if self._held + n_bytes > self._n_bytes and not is_first:
            raise NoRoomError
        self._held += n_bytes

    def give(self, n_bytes: int) -> None:
        """To be followed by `tell`."""
        self._held -= n_bytes

    def tell(self) -> None:
        """Let those begin that may."""
        is_open, waiting = self._is_open(), self._waiting
        self._waiting = []
        for waiter, is_first in waiting:
            if is_open or is_first():
                if not waiter.done():  # cancelled
                    waiter.set_result(None)
            else:
                self._waiting.append((waiter, is_first))


class _Room:
    """A row's part of the space; the fetcher's `Room`."""

    def __init__(self, flow: "_Flow", number: int) -> None:
        self._flow = flow
        self._number = number
        self._held = 0

    def is_first(self) -> bool:
        return self._number == self._flow.first

    def grow(self, n_bytes: int) -> None:
        self._flow.space.take(n_bytes, is_first=self.is_first())
        self._flow.held += n_bytes
        self._held += n_bytes

    def clear(self) -> None:
        self._flow.space.give(self._held)
        self._flow.held -= self._held
        self._held = 0


@dataclass
class _Place:
    """A row in line, with its fetch; a whole batch where nothing of it is to be fetched."""

    batch: Batch
    row: int | None = None
    room: _Room | None = None
    task: "asyncio.Task[Fetched] | None" = None


@dataclass(frozen=True)
class _End:
    """Behind the last row."""

    error: Exception | None = None


class _Flow:
    """One shard's rows on their way, in one event loop."""

    def __init__(self, fetcher: Fetcher, space: _Space, source: Iterator[Batch]) -> None:
        self.space = space
        self.first = 0
        """Number of the row that is wanted next."""
        self.held = 0
        """Bytes of its pictures."""
        self._fetcher = fetcher
        self._source = source
        self._line: asyncio.Queue[_Place | _End] = asyncio.Queue(AHEAD)
        self._taken: _Place | _End | None = None
        """Out of the line, and of another batch than the rows before it."""
        self._under_way: set[asyncio.Task[Fetched]] = set()
        self._feeder: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._feeder = asyncio.create_task(self._feed())

    async def _feed(self) -> None:
        number = 0
        try:
            while (batch := await asyncio.to_thread(next, self._source, None)) is not None:
                wanted = _wanted(batch)
                if not wanted:
                    await self._line.put(_Place(batch))
                    continue
                for row in range(len(batch.table)):
                    place = _Place(batch, row)
                    if (url := wanted.get(row)) is not None:
                        place.room = _Room(self, number)
                        await self.space.begin(place.room.is_first)
                        place.task = asyncio.create_task(self._fetch(url, place.room))
                        self._under_way.add(place.task)
                        place.task.add_done_callback(self._under_way.discard)
                    number += 1
                    await self._line.put(place)
            await self._line.put(_End())
        except Exception as error:  # noqa: BLE001 - handed on to where it is raised
            await self._line.put(_End(error))

    async def _fetch(self, url: str, room: _Room) -> Fetched:
        """Fetch what has begun."""
        while True:
            n_bytes = None
            try:
                fetched = await self._fetcher.get(url, room=room)
                n_bytes = len(fetched.body) if fetched.ok else None
            except NoRoomError:
                room.clear()
            else:
                return fetched
            finally:
                self.space.end(n_bytes)
            await self.space.begin(room.is_first)

    async def next(self) -> Batch | None:
        """The next rows, or None at the end."""
        places: list[_Place] = []
        found: list[Fetched | None] = []
        n_bytes = 0
        while len(places) < PICTURE_BATCH and n_bytes < BATCH_BYTES:
            place = self._taken if self._taken is not None else await self._line.get()
            self._taken = None
            if isinstance(place, _End) or (places and place.batch is not places[0].batch):
                self._taken = place
                break
            if place.row is None:
                return place.batch
            fetched = None if place.task is None else await place.task
            places.append(place)
            found.append(fetched)
            n_bytes += 0 if fetched is None else len(fetched.body)
            self.first += 1
            self.space.tell()
        if not places:
            if isinstance(self._taken, _End) and self._taken.error is not None:
                raise self._taken.error
            return None
        for place in places:
            if place.room is not None:
                place.room.clear()  # the caller has them now
        self.space.tell()
        return _fill(places, found)

    async def close(self) -> None:
        tasks: set[asyncio.Task[Any]] = {*self._under_way} | ({self._feeder} if self._feeder else set())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.space.give(self.held)
        self.space.tell()


def _wanted(batch: Batch) -> dict[int, str]:
    """Rows to be fetched, with their URLs."""
    columns = zip(batch.table["status"].to_pylist(), batch.table["url"].to_pylist(), strict=True)
    return {row: url for row, (status, url) in enumerate(columns) if status == STATUS_NOT_FETCHED and url is not None}


def _fill(places: list[_Place], found: list[Fetched | None]) -> Batch:
    """Rows of one batch with what was found."""
    batch, start = places[0].batch, places[0].row or 0
    n = len(places)
    table = batch.table.slice(start, n)
    statuses, reasons = table["status"].to_pylist(), table["reason"].to_pylist()
    signals: list[list[str] | None] = table["signals"].to_pylist()
    pictures = batch.pictures[start : start + n]
    for row, fetched in enumerate(found):
        if fetched is None:
            continue
        statuses[row] = STATUS_OK if fetched.ok else fetched.status
        if fetched.reason is not None:
            reasons[row] = add_reason(reasons[row], fetched.reason)
        pictures[row] = fetched.body if fetched.ok else None
        # A server that was not reached has sent no signals, nor said that it has none.
        signals[row] = None if fetched.http_status is None else list(fetched.signals)
    for name, values in (("status", statuses), ("reason", reasons), ("signals", signals)):
        table = with_column(table, name, pa.array(values, table.schema.field(name).type))
    if batch.embeddings is None or batch.embedded is None:
        return Batch(table, pictures, batch.kept)
    low, high = np.searchsorted(batch.embedded, [start, start + n])
    return Batch(table, pictures, batch.kept, batch.embeddings[low:high], batch.embedded[low:high] - start)
